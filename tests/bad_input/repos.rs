//! Repos, branches and sources that cannot be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{import, not_run, output, run, stderr, stdout};
use crate::repo::{GROUND, error_line};

/// Paths that lead to no repo: a name, what makes one of a directory, and what the line says.
type NoRepo = (&'static str, &'static str, &'static [&'static str]);

#[test]
fn what_is_no_repo() {
    let cases: &[NoRepo] = &[
        (
            "nothing",
            "true",
            &["repo is not an ostree repo; --init makes one"],
        ),
        (
            "some directory",
            "mkdir -p repo/usr",
            &["repo is not an ostree repo; --init makes one"],
        ),
        ("a file", "touch repo", &["repo", "Not a directory"]),
        (
            "bare-user-only",
            "ostree init --repo=repo --mode=bare-user-only",
            &["repo", "bare-user-only cannot hold owners and labels"],
        ),
        (
            "unknown mode",
            "ostree init --repo=repo --mode=archive; sed -i s/archive-z2/zip/ repo/config",
            &["opening the repo", "'zip'"],
        ),
        (
            "damaged config",
            "ostree init --repo=repo --mode=archive; echo [ >repo/config",
            &["opening the repo", "config"],
        ),
    ];
    for (name, make, expected) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = || {
            let mut ls = Command::new("ls");
            run(ls.arg("-lR").current_dir(directory.path()))
        };
        let mut shell = Command::new("sh");
        run(shell.args(["-ec", make]).current_dir(directory.path()));
        let before = files();
        let repo = directory.path().join("repo");
        let line = error_line(
            name,
            &output(&mut import(&repo, &GROUND.first().reference())),
        );
        println!("{name}: {line}");
        for part in *expected {
            assert!(line.contains(part), "{name}: {part:?} is not in: {line}");
        }
        assert_eq!(files(), before, "{name}");
    }
}

/// Arguments that do not fit the repo, and what the line says.
#[test]
fn arguments() {
    for (arguments, expected) in [
        (
            &["--init=archive"][..],
            &["is already a repo of mode bare-user, not archive"][..],
        ),
        (&["--write-ref=../x"], &["\"../x\" cannot be a ref"]),
        (&["--write-ref=a b"], &["\"a b\" cannot be a ref"]),
        (&["--write-ref="], &["\"\" cannot be a ref"]),
        (&["--write-ref=origin:x"], &["\"origin:x\" cannot be a ref"]),
        (
            &["--write-ref=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
            &["cannot be a ref: it looks like a checksum"],
        ),
        (
            &["--write-ref=ostree/container/image/x"],
            &["\"ostree/container/image/x\" cannot be a branch"],
        ),
        (&["--write-ref=x/"], &["\"x/\" cannot be a ref"]),
        (
            &["--write-ref=first/below"],
            &["\"first/below\" cannot be a ref beside the ref \"first\""],
        ),
    ] {
        let name = arguments[0];
        let repo = GROUND.repo("bare-user");
        let source = GROUND.second().reference();
        let command = || {
            let mut command = import(&repo.path, &source);
            command.args(arguments);
            command
        };
        let line = repo.survives(name, command, expected);
        println!("{name}: {line}");
        repo.import_second(name);
    }
}

#[test]
fn sources() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("text"), "text").unwrap();
    run(Command::new("mkfifo").arg(at("fifo")));
    for (source, expected) in [
        (at("nothing"), "no such file or directory"),
        (at("nothing:v1"), "no such file or directory"),
        (
            format!("oci:{}", at("nothing")),
            "No such file or directory",
        ),
        (
            format!("oci-archive:{}", at("nothing")),
            "No such file or directory",
        ),
        (at("fifo"), "neither a file nor a directory"),
        (format!("oci:{}", at("fifo")), "Not a directory"),
        (at("empty"), "neither an OCI image layout"),
        (format!("oci:{}", at("empty")), "oci-layout: No such file"),
        (format!("rootfs:{}", at("empty")), "the directory is empty"),
        (at("text"), "looked for oci-layout"),
        ("docker://127.0.0.1:1/a/b:c".to_owned(), "skopeo: "),
        ("a\nb\u{1b}[31m".to_owned(), "no such file or directory"),
    ] {
        let repo = GROUND.repo("archive");
        let line = repo.survives(&source, || import(&repo.path, &source), &[expected]);
        println!("{line}");
        repo.import_second(&source);
    }
}

/// The refs have moved by then, so the line has to say so.
#[test]
fn an_answer_that_nobody_can_read() {
    let repo = GROUND.repo("archive");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let source = GROUND.second().reference();
    let mut command = import(&repo.path, &source);
    let line = error_line("stdout", &output(command.arg("--quiet").stdout(full())));
    for part in [
        "the import is done and ostree/container/image/",
        " is ",
        "No space left",
    ] {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    // What is said beside the answer does not matter.
    let answer = output(
        import(&repo.path, &source)
            .stderr(full())
            .stdout(Stdio::piped()),
    );
    assert!(answer.status.success(), "{}", answer.status);
    assert!(line.contains(stdout(&answer).trim_end()), "{line}");
    repo.import_second("after an unread answer");
    let unheard = output(import(&repo.path, "oci:nothing").stderr(full()));
    assert_eq!(unheard.status.code(), Some(1));
}

/// `import-oci` as a user who owns nothing, if that is possible.
fn as_nobody(command: &Command) -> Option<Command> {
    const SETPRIV: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let may = |program: &mut Command| {
        let output = program.output();
        output.is_ok_and(|output| output.status.success())
    };
    let mut test = Command::new("setpriv");
    test.args(SETPRIV)
        .args(["test", "-x"])
        .arg(command.get_program());
    if !may(&mut test) {
        not_run("needs root, setpriv, and a build directory that every user can enter");
        return None;
    }
    let mut nobody = Command::new("setpriv");
    nobody
        .args(SETPRIV)
        .arg(command.get_program())
        .args(command.get_args());
    Some(nobody)
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("our own directory");
}

#[test]
fn a_repo_of_somebody_else() {
    for mode in ["archive", "bare-user"] {
        let repo = GROUND.repo(mode);
        open_to_all(repo.path.parent().expect("a directory"));
        open_to_all(GROUND.path());
        let command = import(&repo.path, &GROUND.second().reference());
        let Some(_) = as_nobody(&command) else {
            return;
        };
        let expected = ["cannot write to the repo", "Permission denied"];
        let line = repo.survives(mode, || as_nobody(&command).expect("as before"), &expected);
        println!("{line}");
        repo.import_second(mode);
    }
}

#[test]
fn a_bare_repo_without_root() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    open_to_all(GROUND.path());
    let mut command = import(&directory.path().join("repo"), &GROUND.second().reference());
    let Some(mut nobody) = as_nobody(command.arg("--init")) else {
        return;
    };
    run(Command::new("chown")
        .arg("65534:65534")
        .arg(directory.path()));
    let line = error_line("bare", &output(&mut nobody));
    println!("{line}");
    for part in [
        "writing to the bare repo",
        "needs root",
        "a bare-user repo does not",
    ] {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    let refs = output(
        Command::new("ostree")
            .arg("refs")
            .arg("--repo")
            .arg(directory.path().join("repo")),
    );
    assert_eq!((stdout(&refs), stderr(&refs)), ("", ""));
}
