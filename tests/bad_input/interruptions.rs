//! Imports that are killed, and imports that run at the same time.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::image::{Image, Layout};
use crate::common::{import, run};
use crate::repo::{GROUND, Repo};

/// An image that takes a while: three layers of many files.
fn slow(directory: &Path, name: &str) -> Layout {
    let mut image = Image::new();
    for layer in 0..3 {
        for file in 0..200 {
            let content = format!("{name} {layer} {file}\n").repeat(500);
            image = image.file(&format!("usr/{name}/{layer}/{file}"), content);
        }
        image = image.layer();
    }
    image
        .file("etc/hostname", name)
        .write(&directory.join(name))
}

fn start(repo: &Repo, source: &str) -> Child {
    import(&repo.path, source)
        .arg("--write-ref=killed")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn stop(mut child: Child, signal: Signal) -> ExitStatus {
    // An import that is done already is not there to be killed.
    kill_process(Pid::from_child(&child), signal).ok();
    child.wait().expect("it is our child")
}

/// What must hold after an import was killed, whenever that was: everything that was there is
/// there, and there are no new refs, unless that was the last thing that the import did. The ref of
/// the image comes after all others, because alone it would make other tools stumble.
fn check(name: &str, repo: &Repo, before: &crate::repo::State, commit: &str) {
    let after = repo.state();
    for (path, was) in before {
        assert_eq!(after.get(path), Some(was), "{name}: {}", path.display());
    }
    let new = || after.iter().filter(|(path, _)| !before.contains_key(*path));
    let mut moved = Vec::new();
    for (path, kind) in new().filter(|(path, _)| !path.starts_with("objects")) {
        assert!(path.starts_with("refs/heads"), "{name}: {}", path.display());
        if kind != "directory" {
            moved.push(path);
        }
    }
    for path in &moved {
        let text = fs::read_to_string(repo.path.join(path)).unwrap();
        let is_layer = path.starts_with("refs/heads/ostree/container/blob");
        assert_eq!(
            text.trim_end() != commit,
            is_layer,
            "{name}: {}",
            path.display()
        );
    }
    let image = "refs/heads/ostree/container/image";
    if moved.iter().any(|path| path.starts_with(image)) {
        // Four layers, the image, what keeps it, and the branch.
        assert_eq!(moved.len(), 4 + 3, "{name}: {moved:?}");
    }
    repo.check(name);
    let staging = repo.temporary().into_iter().filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.components().count() == 2 && name.starts_with("staging-") && !name.ends_with("-lock")
    });
    let staging: Vec<_> = staging.collect();
    assert!(staging.len() <= 1, "{name}: tmp grows: {staging:?}");
}

#[test]
fn killed_at_any_moment() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = slow(directory.path(), "slow").reference();
    let begun = Instant::now();
    let commit = run(&mut import(&GROUND.repo("bare-user").path, &source));
    let whole = begun.elapsed();
    let mut killed = 0;
    for part in 0..10 {
        let name = format!("after {part}/10");
        let repo = GROUND.repo("bare-user");
        let before = repo.state();
        for _ in 0..2 {
            let child = start(&repo, &source);
            thread::sleep(whole * part / 10);
            let status = stop(child, Signal::KILL);
            killed += u32::from(status.signal() == Some(9));
            check(&name, &repo, &before, &commit);
        }
        assert_eq!(run(&mut import(&repo.path, &source)), commit, "{name}");
        repo.check(&name);
    }
    assert!(
        killed > 2,
        "only {killed} of 20 imports were still running when killed"
    );
}

#[test]
fn killed_while_objects_are_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = slow(directory.path(), "slow").reference();
    let commit = run(&mut import(&GROUND.repo("archive").path, &source));
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let name = format!("{signal:?}");
        // The import may be done before it is killed: then another one is.
        let repo = (0..10).find_map(|_| {
            let repo = GROUND.repo("archive");
            let before = repo.state();
            let child = start(&repo, &source);
            let begun = Instant::now();
            let staged = || {
                repo.temporary()
                    .iter()
                    .any(|path| path.components().count() == 4)
            };
            while !staged() && begun.elapsed() < Duration::from_secs(10) {
                thread::sleep(Duration::from_millis(1));
            }
            let status = stop(child, signal);
            check(&name, &repo, &before, &commit);
            (status.signal() == Some(signal.as_raw())).then_some(repo)
        });
        let repo = repo.unwrap_or_else(|| panic!("{name}: no import could be killed"));
        assert_eq!(run(&mut import(&repo.path, &source)), commit, "{name}");
        repo.check(&name);
        repo.import_second(&name);
    }
}

/// The archive comes through a FIFO into which nobody writes, so that it is known what is
/// interrupted.
#[test]
fn interrupted_while_the_source_is_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fifo = directory.path().join("fifo");
    run(Command::new("mkfifo").arg(&fifo));
    let source = format!("oci-archive:{}", fifo.display());
    for signal in [Signal::INT, Signal::TERM] {
        let name = format!("{signal:?}");
        let repo = GROUND.repo("archive");
        let before = (repo.state(), repo.temporary());
        let child = start(&repo, &source);
        // Opening succeeds when the other side is open.
        let writer = fs::File::options().write(true).open(&fifo).unwrap();
        let status = stop(child, signal);
        drop(writer);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{name}");
        assert_eq!((repo.state(), repo.temporary()), before, "{name}");
        repo.import_second(&name);
    }
}

#[test]
fn two_at_a_time() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let sources = ["one", "two"].map(|name| slow(directory.path(), name).reference());
    let alone = sources.each_ref().map(|source| {
        let repo = GROUND.repo("archive");
        run(&mut import(&repo.path, source))
    });
    for mode in ["archive", "bare-user"] {
        let repo = GROUND.repo(mode);
        let running = sources.each_ref().map(|source| {
            let mut command = import(&repo.path, source);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("it starts")
        });
        for (child, commit) in running.into_iter().zip(&alone) {
            let output = child.wait_with_output().expect("it is our child");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{mode}: {said}");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim_end(),
                commit,
                "{mode}"
            );
        }
        repo.check(mode);
        repo.import_second(mode);
    }
}
