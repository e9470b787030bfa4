//! A compiled policy, and the look-up of a path in it.

use std::borrow::Cow;

use regex_automata::hybrid::dfa::{self, Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures, pikevm::PikeVM};
use regex_automata::{Anchored, Input, MatchKind, PatternID, PatternSet};

use super::parse::{self, Alias, Specification};
use super::pattern;
use super::{ContextId, Contexts, FileKind, PolicyError, PolicyFile, PolicyFiles, PolicyLine};

/// Bound of the automaton's size in bytes; Fedora's policy needs a fifth of it.
const NFA_SIZE_LIMIT: usize = 64 << 20;

/// What the lazy DFA of a [`Labeler`] may hold in bytes before it starts anew.
const DFA_CACHE: usize = 24 << 20;

/// A policy of an image: what its text files say, compiled. It is immutable; threads share it,
/// each with a [`Labeler`] of its own.
#[derive(Debug)]
pub struct Policy {
    /// The deciding one first: its index is the pattern's number in the automata.
    specs: Vec<Spec>,
    contexts: Contexts,
    subs: Vec<Alias>,
    subs_dist: Vec<Alias>,
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
    /// Fails with [`PolicyError::Malformed`] where libselinux cannot open these files, either,
    /// and with another error where it can and this cannot.
    pub fn parse(files: &PolicyFiles) -> Result<Self, PolicyError> {
        let mut literals = Vec::new();
        let mut regexes = Vec::new();
        let (mut subs, mut subs_dist) = (Vec::new(), Vec::new());
        for (file, content) in files.present() {
            match file {
                PolicyFile::Subs => subs = parse::aliases(file, content)?,
                PolicyFile::SubsDist => subs_dist = parse::aliases(file, content)?,
                PolicyFile::FileContexts | PolicyFile::Homedirs | PolicyFile::Local => {
                    let (literal, regex): (Vec<_>, Vec<_>) = parse::specifications(file, content)?
                        .into_iter()
                        .partition(Specification::is_literal);
                    literals.extend(literal);
                    regexes.extend(regex);
                }
            }
        }

        let mut contexts = Contexts::default();
        let mut specs = Vec::with_capacity(literals.len() + regexes.len());
        let mut patterns = Vec::with_capacity(specs.capacity());
        for spec in literals.into_iter().rev().chain(regexes.into_iter().rev()) {
            match pattern::translate(spec.regex) {
                Ok(pattern) => patterns.push(pattern),
                Err(reason) => {
                    let line = spec.line;
                    return Err(PolicyError::Unsupported { line, reason });
                }
            }
            specs.push(Spec {
                kind: spec.kind,
                stem: spec.stem().map(|stem| stem.as_bytes().into()),
                context: spec.context.map(|context| contexts.intern(context)),
                line: spec.line,
            });
        }

        let (dfa, simulation) = compile(&patterns)?;
        Ok(Self {
            specs,
            contexts,
            subs,
            subs_dist,
            dfa,
            simulation,
        })
    }

    /// Something that looks paths up. It grows to some 30 MB while it learns the tree's paths.
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

    /// The path to match instead of `path`, and the aliases that lead to it.
    fn resolve<'a>(&self, path: &'a [u8]) -> (Cow<'a, [u8]>, [Option<&Alias>; 2]) {
        let mut path = without_superfluous_slashes(path);
        let mut applied = [None; 2];
        for (applied, aliases) in applied.iter_mut().zip([&self.subs, &self.subs_dist]) {
            let fitting = aliases
                .iter()
                .find_map(|alias| Some((alias, alias.apply(&path)?)));
            if let Some((alias, target)) = fitting {
                *applied = Some(alias);
                path = Cow::Owned(target);
            }
        }
        (path, applied)
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

fn without_superfluous_slashes(path: &[u8]) -> Cow<'_, [u8]> {
    let mut path = Cow::Borrowed(path);
    if path.windows(2).any(|pair| pair == b"//") {
        path.to_mut().dedup_by(|a, b| (*a, *b) == (b'/', b'/'));
    }
    match path {
        Cow::Borrowed([head @ .., b'/']) if !head.is_empty() => Cow::Borrowed(head),
        Cow::Owned(mut path) => {
            if path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            Cow::Owned(path)
        }
        path => path,
    }
}

/// One automaton of all patterns, in two ways of running it.
fn compile(patterns: &[regex_syntax::hir::Hir]) -> Result<(DFA, PikeVM), PolicyError> {
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(NFA_SIZE_LIMIT)),
        )
        .build_many_from_hir(patterns)
        .map_err(|e| PolicyError::TooLarge(e.to_string()))?;
    let simulation = PikeVM::builder()
        .configure(PikeVM::config().match_kind(MatchKind::All))
        .build_from_nfa(nfa.clone())
        .map_err(|e| PolicyError::TooLarge(e.to_string()))?;
    let dfa = dfa::Builder::new()
        .configure(
            dfa::Config::new()
                .match_kind(MatchKind::All)
                .cache_capacity(DFA_CACHE)
                .skip_cache_capacity_check(true),
        )
        .build_from_nfa(nfa)
        .map_err(|e| PolicyError::TooLarge(e.to_string()))?;
    Ok((dfa, simulation))
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
        let (path, _) = self.policy.resolve(path);
        self.find(&path, kind)
    }

    /// [`label`](Self::label) with the lines of the policy that lead to the answer.
    pub fn explain(&mut self, path: &[u8], kind: FileKind) -> Explanation<'p> {
        let policy = self.policy;
        let (path, aliases) = policy.resolve(path);
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

    /// The same by simulation of the NFA: slow, but nothing can make it give up.
    fn simulate(&self, path: &[u8]) -> PatternSet {
        let vm = &self.policy.simulation;
        let mut matching = PatternSet::new(self.policy.specs.len());
        let input = Input::new(path).anchored(Anchored::Yes);
        vm.which_overlapping_matches(&mut vm.create_cache(), &input, &mut matching);
        matching
    }
}

/// The lazy DFA ran out of its cache.
#[derive(Debug)]
struct GaveUp;
