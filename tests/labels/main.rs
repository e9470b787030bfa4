//! Labels equal libselinux's: on paths made from every line of two real policies, on the paths of
//! this machine, and on random policies.
//!
//! `IMPORT_OCI_FIXTURES` holds `fedora-targeted/` (`../shared/fixtures` if unset);
//! `IMPORT_OCI_DEMO_IMAGE` is an OCI layout that has Debian's policy in it.
//! libselinux up to 3.7 answers some 2,500 questions a second, so the tests ask an even selection;
//! `IMPORT_OCI_LABELS_FULL=1` asks everything.

#[path = "../support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod schema;
}

mod adversarial;
mod equivalences;
mod random;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use adversarial::adversarial;
use import_oci::import::{ImportOptions, prepare};
use import_oci::label::{
    FileKind, Oracle, Policy, PolicyError, PolicyFiles, Reference, find_policy, label_all,
};
use import_oci::path::{ImagePath, escape};
use import_oci::progress::Silent;
use import_oci::report::Report;
use import_oci::source::{self, FetchOptions, Platform};
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

/// Debian's own policy, as it lies in the demo image.
fn debian() -> Result<PolicyFiles, String> {
    let (_, source) = source::open(&demo_image()?, &FetchOptions::default()).unwrap();
    let (spools, mut report) = (std::env::temp_dir(), Report::default());
    let mut options = options();
    options.fixups.skip.push("selinux-subs".to_owned());
    let prepared = prepare(source, &spools, &options, &Silent, &mut report).unwrap();
    let policy = find_policy(&prepared.tree, &prepared.bodies).unwrap();
    Ok(policy.expect("the demo image has a policy").1)
}

/// The demo image as a source.
fn demo_image() -> Result<String, String> {
    let Some(image) = std::env::var_os("IMPORT_OCI_DEMO_IMAGE") else {
        let reason = "IMPORT_OCI_DEMO_IMAGE names no image".to_owned();
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        return Err(reason);
    };
    Ok(format!("oci:{}", image.to_str().unwrap()))
}

fn options() -> ImportOptions {
    ImportOptions {
        platform: Platform::host(),
        merge: Default::default(),
        fixups: Default::default(),
        squash: false,
        refs: Default::default(),
        signing: Default::default(),
        timestamp: None,
        threads: thread::available_parallelism().unwrap(),
    }
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

    let concerned = for_questions(files, questions).unwrap();
    let mut labeler = concerned.labeler();
    for ((path, kind), whole) in questions.iter().zip(&ours) {
        let found = labeler.label(path, *kind).and_then(|found| found.context);
        let context = found.map(|context| concerned.context(context));
        assert_eq!(context, *whole, "{} {kind:?}", escape(path));
    }

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

/// The policy as far as it concerns the questions.
fn for_questions(files: &PolicyFiles, questions: &[Question]) -> Result<Policy, PolicyError> {
    Policy::for_paths(files, questions.iter().map(|(path, _)| path.clone()))
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

fn full() -> bool {
    std::env::var_os("IMPORT_OCI_LABELS_FULL").is_some()
}
