//! Random policies and random regular expressions.

use import_oci::label::{FileKind, Oracle, Policy, PolicyFiles, Reference};
use import_oci::path::escape;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::adversarial::near;
use super::{KINDS, Question, for_questions, full};

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
        agree(&for_questions(&files, &questions).unwrap(), &files, &questions)?;
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
            agree(&for_questions(&files, &questions).unwrap(), &files, &questions)?;
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
