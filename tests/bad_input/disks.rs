//! Filesystems that are full or read-only.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::image::{Image, Layout};
use crate::common::{import, not_run, output, run};
use crate::repo::{GROUND, Repo, error_line};

/// A small filesystem that only one process has mounted. Others reach it through that process.
struct Disk {
    holder: Child,
    directory: TempDir,
}

impl Disk {
    /// A tmpfs with these options, or `None` where mounting is not allowed.
    fn new(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = r#"mount -t tmpfs -o "$1" none "$2" && echo mounted && exec cat"#;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", script, "sh"])
            .arg(options)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is part of every system");
        let mut answer = String::new();
        let stdout = holder.stdout.take().expect("it is a pipe");
        BufReader::new(stdout)
            .read_line(&mut answer)
            .expect("UTF-8");
        let disk = Self { holder, directory };
        if answer != "mounted\n" {
            not_run("mounting a filesystem needs root");
            return None;
        }
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        let inside = self.directory.path().strip_prefix("/");
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(inside.expect("an absolute path"))
    }

    fn repo(&self) -> Repo {
        GROUND.repo_at("archive", self.path().join("repo"))
    }

    fn remount(&self, options: &str) {
        run(Command::new("nsenter")
            .args(["--mount", "--target", &self.holder.id().to_string()])
            .args(["mount", "-o", &format!("remount,{options}")])
            .arg(self.directory.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // With its standard input closed it ends, and the mount with it.
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
    }
}

/// An image of about 3 MB that do not compress.
fn large(directory: &Path) -> Layout {
    let mut image = Image::new();
    let mut state = 1_u32;
    for number in 0..150 {
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        if number % 50 == 49 {
            image = image.layer();
        }
        image = image.file(
            &format!("usr/{number}"),
            noise.take(20_000).collect::<Vec<u8>>(),
        );
    }
    image.write(&directory.join("large"))
}

#[test]
fn full_of_bytes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = large(directory.path()).reference();
    for (kilobytes, reserve, stage) in [
        (1_000, "0MB", "spool file in"),
        (2_500, "0MB", "spool file in"),
        (4_000, "0MB", " to the repo: "),
        (5_500, "0MB", " to the repo: "),
        (10_000, "6MB", "no space left in the repo"),
    ] {
        let Some(disk) = Disk::new(&format!("size={kilobytes}k")) else {
            return;
        };
        let repo = disk.repo();
        let name = format!("{kilobytes} kB");
        repo.reserve(reserve);
        let line = repo.survives(&name, || import(&repo.path, &source), &[&source, stage]);
        println!("{name}: {line}");
        // What is missing now is there now.
        disk.remount("size=20000k");
        repo.reserve("0MB");
        repo.import_second(&name);
        let retried = run(&mut import(&repo.path, &source));
        assert_eq!(retried, undisturbed(&source), "{name}");
        repo.check(&name);
    }
}

/// Without a free inode an import fails before objects become part of the repo, not amidst that.
#[test]
fn full_of_files() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = large(directory.path()).reference();
    let expected = undisturbed(&source);
    let mut failures = Vec::new();
    // The repo has some 330 files and directories. The image adds 157 objects, 3 spools, and more
    // than 100 directories for objects that are not yet part of the repo.
    for inodes in (340..).step_by(20) {
        let Some(disk) = Disk::new(&format!("size=20000k,nr_inodes={inodes}")) else {
            return;
        };
        let repo = disk.repo();
        repo.reserve("0MB");
        let before = repo.state();
        let output = output(&mut import(&repo.path, &source));
        if output.status.success() {
            break;
        }
        let name = format!("{inodes} inodes");
        let line = error_line(&name, &output);
        println!("{name}: {line}");
        assert!(
            line.contains("no space left in the repo") || line.contains("spool file"),
            "{name}: {line}"
        );
        assert!(repo.state() == before, "{name}: the repo changed");
        repo.check(&name);
        failures.push(line);
        disk.remount("nr_inodes=2000");
        assert_eq!(run(&mut import(&repo.path, &source)), expected, "{name}");
        repo.check(&name);
    }
    assert!(failures.len() > 5, "it hardly ever failed: {failures:#?}");
}

#[test]
fn read_only() {
    let Some(disk) = Disk::new("size=5000k") else {
        return;
    };
    let repo = disk.repo();
    disk.remount("ro");
    let source = GROUND.second().reference();
    let expected = ["cannot write to the repo", "Read-only file system"];
    let line = repo.survives("read-only", || import(&repo.path, &source), &expected);
    println!("{line}");
    disk.remount("rw");
    repo.import_second("read-only");
}

/// The commit of `source` where nothing is in the way.
fn undisturbed(source: &str) -> String {
    let repo = GROUND.repo("archive");
    run(&mut import(&repo.path, source))
}
