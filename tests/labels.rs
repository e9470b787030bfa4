//! Labels equal libselinux's: on paths made from every line of two real policies, on the paths of
//! this machine, and on random policies.
//!
//! `IMPORT_OCI_FIXTURES` holds `fedora-targeted/` (`../shared/fixtures` if unset);
//! `IMPORT_OCI_DEMO_IMAGE` is an OCI layout that has Debian's policy in it.
//! libselinux up to 3.7 answers some 2,500 questions a second, so the tests ask an even selection;
//! `IMPORT_OCI_LABELS_FULL=1` asks everything.

mod support {
    pub mod command;
    pub mod layout;
    pub mod schema;
}

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use import_oci::import::{ImportOptions, prepare};
use import_oci::label::{
    FileKind, Oracle, Policy, PolicyError, PolicyFiles, Reference, find_policy, label_all,
};
use import_oci::path::{ImagePath, escape};
use import_oci::progress::Silent;
use import_oci::report::Report;
use import_oci::source::{self, Platform};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;
use support::command::{import, import_oci, run, scratch};
use support::layout::{Image, Layer};

const KINDS: [FileKind; 7] = [
    FileKind::Regular,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::CharDevice,
    FileKind::BlockDevice,
    FileKind::Fifo,
    FileKind::Socket,
];

/// Questions to libselinux by each test that does not ask everything.
const QUESTIONS: usize = 60_000;

type Question = (Vec<u8>, FileKind);

#[test]
fn fedora_adversarial() {
    on(fedora(), adversarial);
}

#[test]
fn fedora_real() {
    on(fedora(), |_| real());
}

#[test]
fn debian_adversarial() {
    on(debian(), adversarial);
}

#[test]
fn debian_real() {
    on(debian(), |_| real());
}

fn on(policy: Result<PolicyFiles, String>, questions: impl FnOnce(&PolicyFiles) -> Vec<Question>) {
    match policy {
        Ok(files) => equal(&files, &questions(&files)),
        Err(reason) => eprintln!("not run: {reason}"),
    }
}

fn fedora() -> Result<PolicyFiles, String> {
    let fixtures = std::env::var_os("IMPORT_OCI_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"),
        PathBuf::from,
    );
    let directory = fixtures.join("fedora-targeted");
    if !directory.is_dir() {
        let reason = format!("no Fedora policy at {}", directory.display());
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        return Err(reason);
    }
    Ok(read(&directory))
}

/// Debian's policy, as it lies in the demo image.
fn debian() -> Result<PolicyFiles, String> {
    let Some(image) = std::env::var_os("IMPORT_OCI_DEMO_IMAGE") else {
        let reason = "IMPORT_OCI_DEMO_IMAGE names no image".to_owned();
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        return Err(reason);
    };
    let reference = format!("oci:{}", image.to_str().unwrap());
    let (_, source) = source::open(&reference).unwrap();
    let options = ImportOptions {
        platform: Platform::host(),
        merge: Default::default(),
        fixups: Default::default(),
        write_ref: None,
        timestamp: None,
        threads: thread::available_parallelism().unwrap(),
    };
    let (spools, mut report) = (std::env::temp_dir(), Report::default());
    let prepared = prepare(source, &spools, &options, &Silent, &mut report).unwrap();
    let policy = find_policy(&prepared.tree, &prepared.bodies).unwrap();
    Ok(policy.expect("the demo image has a policy").1)
}

fn read(directory: &Path) -> PolicyFiles {
    let file = |name: &str| fs::read(directory.join(name)).ok();
    PolicyFiles {
        file_contexts: file("file_contexts")
            .unwrap_or_else(|| panic!("no file_contexts in {}", directory.display())),
        homedirs: file("file_contexts.homedirs"),
        local: file("file_contexts.local"),
        subs: file("file_contexts.subs"),
        subs_dist: file("file_contexts.subs_dist"),
    }
}

/// Asks both, on all cores, and fails with what differs.
fn equal(files: &PolicyFiles, questions: &[Question]) {
    let started = Instant::now();
    let policy = Policy::parse(files).unwrap();
    let compiled = started.elapsed();

    let started = Instant::now();
    let mut labeler = policy.labeler();
    let ours: Vec<Option<&str>> = questions
        .iter()
        .map(|(path, kind)| labeler.label(path, *kind)?.context)
        .map(|context| context.map(|context| policy.context(context)))
        .collect();
    let answered = started.elapsed();

    let stride = if full() {
        1
    } else {
        questions.len().div_ceil(QUESTIONS)
    };
    let asked: Vec<usize> = (0..questions.len()).step_by(stride.max(1)).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let different: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = asked
            .chunks(asked.len().div_ceil(threads).max(1))
            .map(|chunk| scope.spawn(|| differences(files, questions, &ours, chunk)))
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join().unwrap());
        joined.flatten().collect()
    });
    eprintln!(
        "compiled in {compiled:.0?}; {} paths in {answered:.0?}, {} of them by libselinux in {:.0?} \
         with {threads} threads; {} labels; {} differ",
        questions.len(),
        asked.len(),
        started.elapsed(),
        ours.iter().collect::<BTreeSet<_>>().len(),
        different.len(),
    );
    assert!(
        different.is_empty(),
        "{:#?}",
        &different[..different.len().min(20)]
    );
}

fn differences(
    files: &PolicyFiles,
    questions: &[Question],
    ours: &[Option<&str>],
    chunk: &[usize],
) -> Vec<String> {
    let mut oracle = Oracle::new(files).unwrap();
    let mut different = Vec::new();
    for &n in chunk {
        let (path, kind) = &questions[n];
        let theirs = oracle.lookup(path, *kind).unwrap();
        if theirs.as_deref() != ours[n] {
            let path = escape(path);
            different.push(format!(
                "{path} {kind:?}: {:?}, libselinux {theirs:?}",
                ours[n]
            ));
        }
    }
    different
}

/// The paths below `/` on its filesystem.
fn real() -> Vec<Question> {
    let device = fs::metadata("/").unwrap().dev();
    let mut questions = vec![(b"/".to_vec(), FileKind::Directory)];
    let mut directories = vec![PathBuf::from("/")];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let (Ok(metadata), path) = (entry.metadata(), entry.path()) else {
                continue;
            };
            let file_type = metadata.file_type();
            let kind = match file_type {
                t if t.is_dir() => FileKind::Directory,
                t if t.is_symlink() => FileKind::Symlink,
                t if t.is_char_device() => FileKind::CharDevice,
                t if t.is_block_device() => FileKind::BlockDevice,
                t if t.is_fifo() => FileKind::Fifo,
                t if t.is_socket() => FileKind::Socket,
                _ => FileKind::Regular,
            };
            questions.push((path.as_os_str().as_bytes().to_vec(), kind));
            if file_type.is_dir() && metadata.dev() == device {
                directories.push(path);
            }
        }
    }
    questions
}

/// Paths that each line matches, and paths that it nearly matches, with several kinds of file.
fn adversarial(files: &PolicyFiles) -> Vec<Question> {
    let fields = |content: &Option<Vec<u8>>| -> Vec<Vec<String>> {
        String::from_utf8_lossy(content.as_deref().unwrap_or_default())
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter(|fields| fields.len() > 1)
            .collect()
    };
    let main = Some(files.file_contexts.clone());
    let mut paths = BTreeSet::new();
    for line in [&main, &files.homedirs, &files.local]
        .into_iter()
        .flat_map(fields)
    {
        paths.extend(near(&line[0]));
    }
    for alias in [&files.subs, &files.subs_dist].into_iter().flat_map(fields) {
        let (from, to) = (alias[0].as_bytes(), alias[1].as_bytes());
        let below: Vec<Vec<u8>> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(to))
            .map(|rest| [from, rest].concat())
            .collect();
        paths.extend(below.into_iter().step_by(7));
        paths.extend([from.to_vec(), [from, b"x"].concat(), [from, b"/"].concat()]);
    }
    paths
        .into_iter()
        .enumerate()
        .flat_map(|(n, path)| {
            let kinds = if full() { KINDS.len() } else { 2 };
            let kinds = KINDS.into_iter().cycle().skip(n % KINDS.len()).take(kinds);
            kinds
                .map(move |kind| (path.clone(), kind))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Paths that `regex` matches and paths that it nearly matches.
fn near(regex: &str) -> Vec<Vec<u8>> {
    let hir = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .build()
        .parse(regex)
        .unwrap();
    let matching = expand(&hir).into_iter().take(6);
    matching
        .flat_map(|path| mutations(&path).into_iter().chain([path]))
        .filter(|path| path.first() == Some(&b'/') && !path.contains(&0))
        .collect()
}

/// Some strings that `hir` matches: each part in several shapes, the others in their first.
fn expand(hir: &Hir) -> Vec<Vec<u8>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Class(class) => {
            let class = match class {
                Class::Bytes(class) => class.clone(),
                Class::Unicode(class) => class.to_byte_class().expect("a class of bytes"),
            };
            let ranges = class.ranges();
            let has = |byte: u8| ranges.iter().any(|r| (r.start()..=r.end()).contains(&byte));
            let mut members: Vec<u8> = b"aA5/\n\xff".iter().copied().filter(|b| has(*b)).collect();
            members.extend(ranges.first().map(|r| r.start()));
            members.extend(ranges.last().map(|r| r.end()));
            members.into_iter().map(|byte| vec![byte]).collect()
        }
        HirKind::Capture(capture) => expand(&capture.sub),
        HirKind::Alternation(parts) => parts.iter().flat_map(expand).collect(),
        HirKind::Repetition(repetition) => {
            let once = expand(&repetition.sub);
            let mut all = Vec::new();
            for count in [1, 0, 3] {
                if count >= repetition.min && repetition.max.is_none_or(|max| count <= max) {
                    let pick = |n| once[n as usize % once.len()].clone();
                    all.push((0..count).flat_map(pick).collect());
                }
            }
            if all.is_empty() {
                all.push(once[0].repeat(repetition.min as usize));
            }
            all.extend(once.into_iter().skip(1).filter(|_| repetition.min <= 1));
            all
        }
        HirKind::Concat(parts) => {
            let parts: Vec<Vec<Vec<u8>>> = parts.iter().map(expand).collect();
            let first: Vec<&[u8]> = parts.iter().map(|shapes| &*shapes[0]).collect();
            let mut all = vec![first.concat()];
            for (n, shapes) in parts.iter().enumerate() {
                for shape in &shapes[1..] {
                    let mut varied = first.clone();
                    varied[n] = shape;
                    all.push(varied.concat());
                }
            }
            all
        }
    }
}

/// Paths that differ a little from `path`.
fn mutations(path: &[u8]) -> Vec<Vec<u8>> {
    let middle = path.len() / 2;
    let with = |at: usize, byte: u8| {
        let mut path = path.to_vec();
        path[at] = byte;
        path
    };
    let mut all = vec![
        [path, b"x"].concat(),
        [path, b"/x"].concat(),
        [path, b"/"].concat(),
        [path, b"\n"].concat(),
        [path, b"\n\n"].concat(),
        [b"/x", path].concat(),
        [b"/", path].concat(),
        [&path[..middle], b"//", &path[middle..]].concat(),
        path[..path.len().saturating_sub(1)].to_vec(),
    ];
    if path.len() > 1 {
        all.push(with(middle, 0xff));
        all.push(with(path.len() - 1, b'\n'));
    }
    for byte in [b'.', b'/'] {
        if let Some(at) = path.iter().skip(1).rposition(|&b| b == byte) {
            all.push(with(at + 1, b'x'));
        }
        if let Some(at) = path.iter().skip(1).position(|&b| b == byte) {
            all.push(with(at + 1, b'X'));
        }
    }
    all
}

#[test]
fn a_tree_is_labelled_with_libselinux_at_hand() {
    let nodes = ["usr/bin/sh", "usr/etc/passwd", "usr/lib/x", "tmp/x"].map(|path| {
        (
            ImagePath::parse(path.as_bytes()).unwrap(),
            FileKind::Regular,
        )
    });
    for (bin, pcre) in [("/usr/bin/.*", false), ("/usr/(?!lib).*", true)] {
        let files = PolicyFiles {
            file_contexts: format!("{bin} u:r:bin\n/etc/.* u:r:etc\n/tmp/.* <<none>>\n").into(),
            ..PolicyFiles::default()
        };
        let labels = label_all(
            Policy::parse(&files),
            || Oracle::new(&files),
            || nodes.iter().cloned(),
        )
        .unwrap();
        assert_eq!(labels.taken_over.is_some(), pcre, "{bin}");
        assert_eq!(labels.checked, nodes.len());
        let texts: Vec<_> = labels
            .labels
            .iter()
            .map(|label| label.map(|label| labels.contexts.get(label)))
            .collect();
        assert_eq!(
            texts,
            [Some("u:r:bin"), Some("u:r:etc"), None, None],
            "{bin}"
        );
    }
}

/// The command says what an import does: with libselinux where only that can read the policy, and
/// of the file that a path leads to.
#[test]
fn the_command_answers_as_the_import_does() {
    let directory = scratch();
    for (name, bin, libselinux) in [
        ("lines", "/usr/bin/.*", false),
        ("pcre", "/usr/(?!lib).*", true),
    ] {
        let layer = Layer::new()
            .file(
                "etc/selinux/config",
                0o644,
                "SELINUX=enforcing\nSELINUXTYPE=p\n",
            )
            .file(
                "etc/selinux/p/contexts/files/file_contexts",
                0o644,
                &format!("/.* u:r:other\n{bin} u:r:bin\n"),
            )
            .file("usr/bin/ls", 0o755, "")
            .symlink("bin", "usr/bin")
            .symlink("usr/bin/dir", "ls");
        let image = Image::new()
            .layer(layer)
            .write(&directory.path().join(name));
        let paths = ["/bin/ls", "/bin/dir", "/bin", "/bin/absent", "/nothing/ls"];
        let labels = |options: &[&str]| {
            let arguments = ["labels", "--quiet", &image];
            let output = run(import_oci().args(arguments).args(options).args(paths));
            String::from_utf8(output.stdout).unwrap()
        };
        let said = labels(&[]);
        for line in [
            "/bin/ls -> /usr/bin/ls  u:r:bin\n",
            "/bin/dir -> /usr/bin/dir  u:r:bin\n",
            "/bin  u:r:other\n",
            "/bin/absent -> /usr/bin/absent  u:r:bin  (not in the image)\n",
            "/nothing/ls  u:r:other  (not in the image)\n",
        ] {
            assert!(said.contains(line), "{line:?} is not in {said}");
        }
        let unexplained = said.matches("said by libselinux, the deciding line is not known: ");
        assert_eq!(
            unexplained.count(),
            if libselinux { paths.len() } else { 0 }
        );
        assert_eq!(said.contains("the policy needs PCRE at"), libselinux);
        for line in labels(&["--json"]).lines() {
            let answer: Value = serde_json::from_str(line).unwrap();
            assert_eq!(answer["libselinux"].is_string(), libselinux, "{line}");
            let lines = answer["lines"].as_array().unwrap();
            assert_eq!(lines.is_empty(), libselinux, "{line}");
        }
        let imported = import(&directory.path().join("repo"), "bare-user", &image, &[]);
        assert_eq!(imported["selinux"]["taken_over"], libselinux);
    }
}

#[test]
fn what_is_malformed_is_refused_by_both() {
    for content in [
        "/a\n",
        "/a -x u:r:t\n",
        "/a -dd u:r:t\n",
        "/a u:r:t more\n",
        "/a\u{e9} u:r:t\n",
        "/a u:r:\u{e9}\n",
    ] {
        let content = [b"/ok u:r:t\n", content.as_bytes()].concat();
        let main = PolicyFiles {
            file_contexts: content.clone(),
            ..PolicyFiles::default()
        };
        let local = PolicyFiles {
            local: Some(content.clone()),
            ..PolicyFiles::default()
        };
        for files in [main, local] {
            let content = content.escape_ascii();
            assert!(Oracle::new(&files).is_err(), "libselinux on {content}");
            let error = Policy::parse(&files).unwrap_err();
            assert!(
                matches!(error, PolicyError::Malformed { .. }),
                "{content}: {error}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if full() { 100_000 } else { 2000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Order, kinds, `<<none>>`, companions and aliases: small policies over few names, so that
    /// lines collide.
    #[test]
    fn random_policies(
        main in specifications(),
        homedirs in proptest::option::of(specifications()),
        local in proptest::option::of(specifications()),
        subs in proptest::option::of(aliases()),
        subs_dist in proptest::option::of(aliases()),
        questions in questions(),
    ) {
        let files = PolicyFiles { file_contexts: main, homedirs, local, subs, subs_dist };
        agree(&Policy::parse(&files).unwrap(), &files, &questions)?;
    }

    /// Whatever of a regular expression is accepted means the same to PCRE.
    #[test]
    fn random_regexes(parts in vec(select(SYNTAX), 1..8), mut questions in questions()) {
        let regex = format!("/{}", parts.concat());
        let file_contexts = format!("{regex} u:r:t\n").into_bytes();
        let files = PolicyFiles { file_contexts, ..PolicyFiles::default() };
        if let Ok(policy) = Policy::parse(&files) {
            questions.extend(near(&regex).into_iter().map(|path| (path, FileKind::Regular)));
            agree(&policy, &files, &questions)?;
        }
    }
}

/// Pieces of regular expressions, of both dialects or of one.
const SYNTAX: &[&str] = &[
    "a",
    "b",
    "/",
    ".",
    "-",
    ",",
    "1",
    "x",
    ":",
    "=",
    "&&",
    "--",
    "~~",
    "#",
    "\\.",
    "\\-",
    "\\/",
    "\\_",
    "\\",
    "*",
    "+",
    "?",
    "{2}",
    "{1,}",
    "{0,2}",
    "{,2}",
    "{",
    "}",
    "(",
    ")",
    "(a|/b)",
    "|",
    "(?:",
    "(?i)",
    "(?x)",
    "(?=",
    "(?!",
    "(?>",
    "(?P<n>",
    "(?R)",
    "[",
    "]",
    "[^",
    "^",
    "$",
    "[ab]",
    "[^/]",
    "[-+]",
    "[a-]",
    "[[:alpha:]]",
    "[:alpha:]",
    "[]a]",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\b",
    "\\B",
    "\\<",
    "\\>",
    "\\A",
    "\\z",
    "\\Z",
    "\\Q",
    "\\E",
    "\\R",
    "\\v",
    "\\h",
    "\\n",
    "\\x61",
    "\\1",
    "\\K",
    "\\N",
    "\\C",
    "\\pL",
];

fn agree(
    policy: &Policy,
    files: &PolicyFiles,
    questions: &[Question],
) -> Result<(), TestCaseError> {
    let mut labeler = policy.labeler();
    let mut oracle = Oracle::new(files).unwrap();
    for (path, kind) in questions {
        let ours = labeler.label(path, *kind).and_then(|found| found.context);
        let theirs = oracle
            .lookup(path, *kind)
            .map_err(|error| TestCaseError::fail(format!("{}: {error:#}", escape(path))))?;
        let ours = ours.map(|context| policy.context(context));
        prop_assert_eq!(ours, theirs.as_deref(), "{} {:?}", escape(path), kind);
    }
    Ok(())
}

fn specifications() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[&str] = &[
        "/a", "/a", "/b", "/ab", "/a\\.b", "/.*", "/[^/]+", "(/.*)?", "/a?", "/*", "(a|/b)", "\\-",
        "/[ab]", "x",
    ];
    const KINDS: &[&str] = &["", "", "", "--", "-d", "-l"];
    const CONTEXTS: &[&str] = &["u:r:t1", "u:r:t2", "u:r:t3", "<<none>>"];
    let regex = vec(select(PARTS), 1..4).prop_map(|parts| parts.concat());
    vec((regex, select(KINDS), select(CONTEXTS)), 0..8).prop_map(|lines| {
        let line = |(regex, kind, context)| format!("{regex}\t{kind}\t{context}\n");
        lines.into_iter().map(line).collect::<String>().into_bytes()
    })
}

fn aliases() -> impl Strategy<Value = Vec<u8>> {
    const PATHS: &[&str] = &["/", "/a", "/b", "/a/b", "/ab", "/a/"];
    vec((select(PATHS), select(PATHS)), 0..4).prop_map(|lines| {
        let line = |(from, to)| format!("{from} {to}\n");
        lines.into_iter().map(line).collect::<String>().into_bytes()
    })
}

fn questions() -> impl Strategy<Value = Vec<Question>> {
    let byte = select(b"//////aaaaaabbbb.-\n\xff1x\\|][{}".as_slice());
    let path = vec(byte, 0..8).prop_map(|rest| [b"/", &*rest].concat());
    vec((path, select(&KINDS[..3])), 40)
}

fn full() -> bool {
    std::env::var_os("IMPORT_OCI_LABELS_FULL").is_some()
}
