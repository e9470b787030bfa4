//! A compiled policy, and the look-up of a path in it.

use regex_automata::hybrid::dfa::{self, Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures, pikevm::PikeVM};
use regex_automata::{Anchored, Input, MatchKind, PatternID, PatternSet};
use regex_syntax::hir::Hir;

use super::pattern;
use super::prefixes::Prefixes;
use super::{ContextId, Contexts, FileKind, PolicyError, PolicyFiles, PolicyLine};
use crate::policy::{Aliases, Specification};

/// Bound of the automaton in bytes, against `((x{999}){999}){999}`. Fedora's policy needs 4 MB.
const NFA_SIZE_LIMIT: usize = 64 << 20;

/// What the lazy DFA of a [`Labeler`] may hold in bytes before it starts anew. The 300,000 paths
/// of a large root need 5 MB with Debian's or Fedora's policy.
const DFA_CACHE: usize = 16 << 20;

/// A policy of an image: what its text files say, compiled. It is immutable; threads share it,
/// each with a [`Labeler`] of its own.
#[derive(Debug)]
pub struct Policy {
    /// The deciding one first: its index is the pattern's number in the automata.
    specs: Vec<Spec>,
    contexts: Contexts,
    aliases: Aliases,
    dfa: DFA,
    simulation: PikeVM,
}

/// A specification without its regular expression, which the automata hold.
#[derive(Debug)]
struct Spec {
    line: PolicyLine,
    kind: Option<FileKind>,
    stem: Option<Box<[u8]>>,
    context: Option<ContextId>,
}

/// A line of `file_contexts`, `.homedirs` or `.local` of a [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecId(PatternID);

/// The answer for a path that some line matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The line that decides.
    pub spec: SpecId,
    /// Its context; `None` is `<<none>>`: the path is to have no label.
    pub context: Option<ContextId>,
}

/// The answer for a path with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'p> {
    /// The path that was matched: without superfluous slashes, aliases applied.
    pub path: Vec<u8>,
    /// The aliases that were applied, in their order: at most one of each file.
    pub aliases: Vec<&'p PolicyLine>,
    /// The line that decided; `None`: no line matches.
    pub line: Option<&'p PolicyLine>,
    /// The context; `None`: no line matches, or it says `<<none>>`.
    pub context: Option<&'p str>,
}

impl Policy {
    /// Compiles the policy.
    ///
    /// Fails with [`PolicyError::Malformed`] where libselinux cannot make sense of these files,
    /// either, and with another error where it can and this cannot.
    pub fn parse(files: &PolicyFiles) -> Result<Self, PolicyError> {
        Self::compile(files.specifications()?, Aliases::parse(files)?)
    }

    /// The policy as far as it concerns `paths`, which are absolute: their answers are the same, and
    /// most lines of a policy are for programs that an image has not.
    ///
    /// # Errors
    /// As for [`Policy::parse`]; what is wrong with the regular expression of a line that concerns
    /// none of the paths, libselinux does not look at, either.
    pub fn for_paths(
        files: &PolicyFiles,
        paths: impl Iterator<Item = Vec<u8>>,
    ) -> Result<Self, PolicyError> {
        let specifications = files.specifications()?;
        let aliases = Aliases::parse(files)?;
        let prefixes: Vec<_> = specifications.iter().map(Specification::prefix).collect();
        let mut seen = Prefixes::new(&prefixes);
        for path in paths {
            seen.see(&aliases.resolve(&path).0);
        }
        let concerned = specifications
            .into_iter()
            .zip(&prefixes)
            .filter(|(_, prefix)| seen.has_seen(prefix));
        Self::compile(concerned.map(|(line, _)| line).collect(), aliases)
    }

    fn compile(
        specifications: Vec<Specification<'_>>,
        aliases: Aliases,
    ) -> Result<Self, PolicyError> {
        let (literals, regexes): (Vec<_>, Vec<_>) = specifications
            .into_iter()
            .partition(Specification::is_literal);
        let mut contexts = Contexts::default();
        let mut specs = Vec::with_capacity(literals.len() + regexes.len());
        let mut patterns = Vec::with_capacity(specs.capacity());
        for spec in literals.into_iter().rev().chain(regexes.into_iter().rev()) {
            match pattern::translate(spec.regex) {
                Ok(pattern) => patterns.push(pattern),
                Err(reason) => {
                    let line = spec.line.cite();
                    return Err(PolicyError::Unsupported { line, reason });
                }
            }
            specs.push(Spec {
                kind: spec.kind,
                stem: spec.stem().map(|stem| stem.as_bytes().into()),
                context: spec.context.map(|context| contexts.intern(context)),
                line: spec.line.cite(),
            });
        }

        let nfa = automaton(&patterns)?;
        Ok(Self {
            specs,
            contexts,
            aliases,
            dfa: lazy_dfa(nfa.clone(), dfa::Config::new().cache_capacity(DFA_CACHE))?,
            simulation: simulation(nfa)?,
        })
    }

    /// Something that looks paths up. It learns from each path, and takes up to 16 MB for that.
    pub fn labeler(&self) -> Labeler<'_> {
        Labeler {
            policy: self,
            cache: self.dfa.create_cache(),
        }
    }

    /// The contexts that its lines give.
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// The text of `context`, which must be of this policy.
    pub fn context(&self, context: ContextId) -> &str {
        self.contexts.get(context)
    }

    /// The line behind `spec`, which must be of this policy.
    pub fn line(&self, spec: SpecId) -> &PolicyLine {
        &self.specs[spec.0].line
    }
}

impl Spec {
    /// Is it to be considered for this path at all?
    fn concerns(&self, path: &[u8], kind: FileKind) -> bool {
        self.kind.is_none_or(|k| k == kind)
            && self.stem.as_deref().is_none_or(|stem| {
                path.strip_prefix(stem)
                    .is_some_and(|rest| rest.first() == Some(&b'/'))
            })
    }
}

/// One automaton of all patterns; each ends with the path, so it matches once or not at all.
fn automaton(patterns: &[Hir]) -> Result<NFA, PolicyError> {
    thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(NFA_SIZE_LIMIT)),
        )
        .build_many_from_hir(patterns)
        .map_err(too_large)
}

fn lazy_dfa(nfa: NFA, config: dfa::Config) -> Result<DFA, PolicyError> {
    dfa::Builder::new()
        .configure(
            config
                .match_kind(MatchKind::All)
                .skip_cache_capacity_check(true),
        )
        .build_from_nfa(nfa)
        .map_err(too_large)
}

fn simulation(nfa: NFA) -> Result<PikeVM, PolicyError> {
    PikeVM::builder()
        .configure(PikeVM::config().match_kind(MatchKind::All))
        .build_from_nfa(nfa)
        .map_err(too_large)
}

fn too_large(error: impl std::error::Error) -> PolicyError {
    PolicyError::TooLarge(error.to_string())
}

/// Looks paths up in a [`Policy`].
#[derive(Debug)]
pub struct Labeler<'p> {
    policy: &'p Policy,
    cache: Cache,
}

impl<'p> Labeler<'p> {
    /// What the policy says of a file of this kind at `path`, which must be absolute; `None` if
    /// no line matches. See [`lookup_path`](super::lookup_path) for a node of the tree.
    pub fn label(&mut self, path: &[u8], kind: FileKind) -> Option<Match> {
        let (path, _) = self.policy.aliases.resolve(path);
        self.find(&path, kind)
    }

    /// [`label`](Self::label) with the lines of the policy that lead to the answer.
    pub fn explain(&mut self, path: &[u8], kind: FileKind) -> Explanation<'p> {
        let policy = self.policy;
        let (path, aliases) = policy.aliases.resolve(path);
        let found = self.find(&path, kind);
        Explanation {
            path: path.into_owned(),
            aliases: aliases.into_iter().flatten().map(|a| &a.line).collect(),
            line: found.map(|found| policy.line(found.spec)),
            context: found.and_then(|found| found.context.map(|id| policy.context(id))),
        }
    }

    fn find(&mut self, path: &[u8], kind: FileKind) -> Option<Match> {
        let specs = &self.policy.specs;
        let concerns = |id: &PatternID| specs[*id].concerns(path, kind);
        let decisive = match self.search(path, concerns) {
            Ok(decisive) => decisive,
            Err(GaveUp) => self.simulate(path).iter().find(concerns),
        }?;
        Some(Match {
            spec: SpecId(decisive),
            context: specs[decisive].context,
        })
    }

    /// The deciding one of the patterns that match `path` and that `concerns` lets pass.
    fn search(
        &mut self,
        path: &[u8],
        concerns: impl Fn(&PatternID) -> bool,
    ) -> Result<Option<PatternID>, GaveUp> {
        let (dfa, cache) = (&self.policy.dfa, &mut self.cache);
        let start = Input::new(path).anchored(Anchored::Yes);
        let mut state = dfa.start_state_forward(cache, &start).map_err(|_| GaveUp)?;
        for &byte in path {
            state = dfa.next_state(cache, state, byte).map_err(|_| GaveUp)?;
            if state.is_dead() {
                return Ok(None);
            }
        }
        state = dfa.next_eoi_state(cache, state).map_err(|_| GaveUp)?;
        if !state.is_match() {
            return Ok(None);
        }
        Ok((0..dfa.match_len(cache, state))
            .map(|n| dfa.match_pattern(cache, state, n))
            .filter(concerns)
            .min())
    }

    /// The same by simulation of the automaton: a hundred times slower, but it cannot give up.
    fn simulate(&self, path: &[u8]) -> PatternSet {
        let vm = &self.policy.simulation;
        let mut matching = PatternSet::new(self.policy.specs.len());
        let input = Input::new(path).anchored(Anchored::Yes);
        vm.which_overlapping_matches(&mut vm.create_cache(), &input, &mut matching);
        matching
    }
}

/// The lazy DFA refused to go on. As it is configured it starts anew instead; what a regex engine
/// may do at any release must not become a label, though, nor a panic.
#[derive(Debug)]
struct GaveUp;

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(files: &PolicyFiles) -> Policy {
        Policy::parse(files).unwrap()
    }

    fn main_file(text: &str) -> PolicyFiles {
        PolicyFiles {
            file_contexts: text.into(),
            ..PolicyFiles::default()
        }
    }

    /// The context of a regular file, `<<none>>`, or `-` where no line matches.
    fn context<'p>(labeler: &mut Labeler<'p>, path: &[u8]) -> &'p str {
        match labeler.label(path, FileKind::Regular) {
            Some(found) => found
                .context
                .map_or("<<none>>", |context| labeler.policy.context(context)),
            None => "-",
        }
    }

    #[test]
    fn threads_share_a_policy() {
        fn shared<T: Send + Sync>() {}
        shared::<Policy>();
    }

    #[test]
    fn precedence() {
        let files = PolicyFiles {
            homedirs: Some(b"/home/u(/.*)? home\n/x/.* home\n/l/homedirs home\n".to_vec()),
            local: Some(b"/x/local local\n/x/l.* local\n/l/homedirs local\n".to_vec()),
            ..main_file(
                "/x/literal first\n\
                 /x/literal second\n\
                 /x/literal -d directory\n\
                 /.* all\n\
                 /tmp/.* <<none>>\n\
                 /tmp/keep kept\n\
                 /home/u/late late\n\
                 /home/u/early.* early\n",
            )
        };
        let policy = policy(&files);
        let mut labeler = policy.labeler();
        for (path, want) in [
            ("/", "all"),
            ("/x/literal", "second"),
            ("/x/literals", "local"),
            ("/x/other", "home"),
            ("/x/local", "local"),
            ("/l/homedirs", "local"),
            ("/tmp/x", "<<none>>"),
            ("/tmp/keep", "kept"),
            ("/tmp", "all"),
            ("/home/u", "home"),
            ("/home/u/late", "late"),
            ("/home/u/early", "home"),
        ] {
            assert_eq!(context(&mut labeler, path.as_bytes()), want, "{path}");
        }
        assert_eq!(context(&mut labeler, b"relative"), "-");
        let directory = labeler.label(b"/x/literal", FileKind::Directory).unwrap();
        assert_eq!(policy.context(directory.context.unwrap()), "directory");
    }

    #[test]
    fn every_kind_has_its_line() {
        use FileKind::*;
        let kinds = [
            (Regular, "--"),
            (Directory, "-d"),
            (Symlink, "-l"),
            (CharDevice, "-c"),
            (BlockDevice, "-b"),
            (Fifo, "-p"),
            (Socket, "-s"),
        ];
        let lines: String = kinds
            .map(|(_, kind)| format!("/x {kind} t{kind}\n"))
            .concat();
        let policy = policy(&main_file(&lines));
        let mut labeler = policy.labeler();
        for (kind, letter) in kinds {
            let context = labeler.label(b"/x", kind).unwrap().context.unwrap();
            assert_eq!(policy.context(context), format!("t{letter}"));
        }
    }

    #[test]
    fn paths_are_bytes() {
        let policy = policy(&main_file(
            "/a/[^/]* class\n/b/.* dot\n/c/literal literal\n/run/*.pid stem\n",
        ));
        let mut labeler = policy.labeler();
        let cases: [(&[u8], &str); 13] = [
            (b"/a/\xff\xfe", "class"),
            (b"/a/new\nline", "class"),
            (b"/b/\xc3\x28\n/x", "dot"),
            (b"/c/literal", "literal"),
            (b"/c/literal\n", "literal"),
            (b"/c/literal\n\n", "-"),
            (b"//c///literal//", "literal"),
            (b"/c/literal/", "literal"),
            (b"/c/literalx", "-"),
            (b"/x/c/literal", "-"),
            (b"/run/a.pid", "-"),
            (b"/run/apid", "stem"),
            (b"/runapid", "-"),
        ];
        for (path, want) in cases {
            assert_eq!(context(&mut labeler, path), want, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn aliases_and_explanations() {
        let files = PolicyFiles {
            subs: Some(b"/data /srv\n/data /opt/data\n/opt/data /nowhere\n".to_vec()),
            subs_dist: Some(b"# dist\n/opt /usr/lib\n/srv /var\n".to_vec()),
            ..main_file("/usr/lib(/.*)? lib\n/var/.* <<none>>\n")
        };
        let policy = policy(&files);
        let mut labeler = policy.labeler();
        let mut explain = |path: &str| {
            let explanation = labeler.explain(path.as_bytes(), FileKind::Regular);
            let aliases: Vec<_> = explanation
                .aliases
                .iter()
                .map(ToString::to_string)
                .collect();
            (
                String::from_utf8(explanation.path).unwrap(),
                aliases.join(" then "),
                explanation.line.map(ToString::to_string),
                explanation.context,
            )
        };
        let lib = Some("file_contexts:1: /usr/lib(/.*)? lib".to_owned());
        assert_eq!(
            explain("/data//x/"),
            (
                "/usr/lib/data/x".to_owned(),
                "file_contexts.subs:2: /data /opt/data then \
                 file_contexts.subs_dist:2: /opt /usr/lib"
                    .to_owned(),
                lib.clone(),
                Some("lib")
            )
        );
        assert_eq!(
            explain("/srv/x"),
            (
                "/var/x".to_owned(),
                "file_contexts.subs_dist:3: /srv /var".to_owned(),
                Some("file_contexts:2: /var/.* <<none>>".to_owned()),
                None
            )
        );
        assert_eq!(
            explain("/database"),
            ("/database".to_owned(), String::new(), None, None)
        );
    }

    #[test]
    fn a_lazy_dfa_that_gives_up_changes_nothing() {
        let mut policy = policy(&main_file(
            "/.* all\n/[a-z]+/[0-9]{2,5}(/.*)? two\n/run/*.pid stem\n/lit lit\n",
        ));
        let paths: Vec<Vec<u8>> = (0..400)
            .map(|n: u32| format!("/{}/{}/{n:x}", "abcxyz".repeat(n as usize % 5), n * n).into())
            .chain([
                b"/lit".to_vec(),
                b"/run/xpid".to_vec(),
                b"/runxpid".to_vec(),
            ])
            .collect();
        let answers = |policy: &Policy| -> Vec<Option<Match>> {
            let mut labeler = policy.labeler();
            let label = |path: &Vec<u8>| labeler.label(path, FileKind::Regular);
            paths.iter().map(label).collect()
        };
        let patient = answers(&policy);
        let nfa = policy.dfa.get_nfa().clone();
        let impatient = dfa::Config::new()
            .cache_capacity(0)
            .minimum_cache_clear_count(Some(0));
        policy.dfa = lazy_dfa(nfa, impatient).unwrap();
        let gave_up = |path: &Vec<u8>| policy.labeler().search(path, |_| true).is_err();
        assert!(paths.iter().any(gave_up));
        assert_eq!(answers(&policy), patient);
    }

    #[test]
    fn lines_that_concern_no_path_are_left_out() {
        let lines = "/.* all\n/usr/bin/sh shell\n/usr/bin/b.* bin\n/usr(/.*)? usr\n/srv/x served\n\
                     /b(?!c)/d pcre\n";
        let files = PolicyFiles {
            subs: Some(b"/data /srv\n".to_vec()),
            ..main_file(lines)
        };
        let for_paths = |paths: &[&str]| {
            let paths = paths.iter().map(|path| path.as_bytes().to_vec());
            let policy = Policy::for_paths(&files, paths)?;
            let lines = policy.specs.iter().map(|spec| spec.line.number);
            let mut lines: Vec<_> = lines.collect();
            lines.sort_unstable();
            Ok::<_, PolicyError>(lines)
        };
        assert_eq!(for_paths(&["/usr/lib"]), Ok(vec![1, 4]));
        assert_eq!(for_paths(&["/usr/bin/bash", "/etc"]), Ok(vec![1, 3, 4]));
        assert_eq!(for_paths(&["/usr/bin/sh"]), Ok(vec![1, 2, 4]));
        assert_eq!(for_paths(&["//data//x"]), Ok(vec![1, 5]));
        assert!(matches!(
            for_paths(&["/bc/d"]),
            Err(PolicyError::Unsupported { .. })
        ));
    }

    #[test]
    fn what_only_pcre_reads_is_cited() {
        let error = Policy::parse(&main_file("/a u:r:t\n\n/b(?!c)/d -- u:r:t\n")).unwrap_err();
        assert!(matches!(error, PolicyError::Unsupported { .. }));
        let message = error.to_string();
        let want = "the policy needs PCRE at file_contexts:3: /b(?!c)/d -- u:r:t: ";
        assert!(message.starts_with(want), "{message}");
        let error = Policy::parse(&main_file("/((a{999}){999}){999} u:r:t\n")).unwrap_err();
        assert!(matches!(error, PolicyError::TooLarge(_)), "{error}");
    }
}
