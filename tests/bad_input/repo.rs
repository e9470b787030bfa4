//! A repo that must survive, and the questions put to it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::common::image::{Image, Layout, sha256};
use crate::common::{import, output, run, stderr, stdout};

/// What all cases have in common: two good images, and a repo of each mode with the first.
pub struct Ground {
    directory: TempDir,
    first: Layout,
    second: Layout,
    /// The commit of `second`.
    commit: String,
}

pub static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);

impl Ground {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let base = || {
            Image::new()
                .dir("etc", 0o755)
                .file("etc/hostname", "first")
                .file("usr/bin/tool", [b'x'; 5000])
                .symlink("bin", "usr/bin")
        };
        let first = base().write(&at("first"));
        let second = base()
            .layer()
            .zstd()
            .whiteout("etc/hostname")
            .file("usr/bin/other", "second")
            .write(&at("second"));
        for mode in ["bare-user", "archive"] {
            run(import(&at(mode), &first.reference())
                .arg(format!("--init={mode}"))
                .args(["--write-ref", "first"]));
        }
        let commit = run(import(&at("fresh"), &second.reference()).arg("--init=archive"));
        Self {
            directory,
            first,
            second,
            commit,
        }
    }

    /// A copy of the repo of this mode, which holds the first image on the branch `first`.
    pub fn repo(&self, mode: &str) -> Repo {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let repo = Repo {
            path: directory.path().join("repo"),
            _directory: Some(directory),
        };
        self.copy_repo(mode, &repo.path);
        repo
    }

    /// The same at a given place.
    pub fn repo_at(&self, mode: &str, path: PathBuf) -> Repo {
        self.copy_repo(mode, &path);
        Repo {
            path,
            _directory: None,
        }
    }

    /// Where all of it lies.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// An image that no repo holds.
    pub fn second(&self) -> &Layout {
        &self.second
    }

    /// The image that every repo holds.
    pub fn first(&self) -> &Layout {
        &self.first
    }

    fn copy_repo(&self, mode: &str, to: &Path) {
        let from = self.directory.path().join(mode);
        run(Command::new("cp").arg("-a").arg(from).arg(to));
    }
}

fn ostree(repo: &Path, command: &str) -> Command {
    let mut ostree = Command::new("ostree");
    ostree.arg(command).arg("--repo").arg(repo);
    ostree
}

/// A repo of a case.
pub struct Repo {
    pub path: PathBuf,
    _directory: Option<TempDir>,
}

/// Files by their path in the repo: kind, mode, and the digest of their content.
pub type State = BTreeMap<PathBuf, String>;

impl Repo {
    /// All refs and objects.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for part in ["refs", "objects"] {
            list(&self.path, Path::new(part), true, &mut state);
        }
        state
    }

    /// What lies in `tmp`, by name only: what is reused may change.
    pub fn temporary(&self) -> Vec<PathBuf> {
        let mut state = State::new();
        list(&self.path, Path::new("tmp"), false, &mut state);
        state.into_keys().collect()
    }

    /// Is every object intact?
    pub fn check(&self, name: &str) {
        let output = output(&mut ostree(&self.path, "fsck"));
        assert!(
            output.status.success(),
            "{name}: {}{}",
            stdout(&output),
            stderr(&output)
        );
    }

    /// Leaves so much of the disk free, as `ostree config` says it (`10MB`).
    pub fn reserve(&self, size: &str) {
        run(ostree(&self.path, "config").args(["set", "core.min-free-space-size", size]));
    }

    /// Imports the second image and compares its commit.
    pub fn import_second(&self, name: &str) {
        let output = output(&mut import(&self.path, &GROUND.second.reference()));
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output).trim_end(), GROUND.commit, "{name}");
        self.check(name);
    }

    /// Runs what must fail, twice, and looks at what it says and leaves. Returns the line it says.
    pub fn survives(
        &self,
        name: &str,
        mut command: impl FnMut() -> Command,
        expected: &[&str],
    ) -> String {
        let before = self.state();
        let mut fail = || {
            let line = error_line(name, &output(&mut command()));
            for part in expected {
                assert!(line.contains(part), "{name}: {part:?} is not in: {line}");
            }
            assert!(self.state() == before, "{name}: refs or objects changed");
            line
        };
        let line = fail();
        let temporary = self.temporary();
        fail();
        assert_eq!(self.temporary(), temporary, "{name}: tmp grows");
        self.check(name);
        line
    }
}

/// The one line of a failure, without `error: `.
pub fn error_line(name: &str, output: &Output) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{name}: {said}");
    assert_eq!(stdout(output), "", "{name}");
    let line = said
        .strip_suffix('\n')
        .and_then(|said| said.strip_prefix("error: "));
    let line = line.unwrap_or_else(|| panic!("{name}: not an error line: {said:?}"));
    assert!(
        !line.contains(char::is_control),
        "{name}: not one line: {said:?}"
    );
    line.to_owned()
}

fn list(root: &Path, directory: &Path, content: bool, state: &mut State) {
    let entries = fs::read_dir(root.join(directory)).expect("a directory of the repo");
    for entry in entries.flatten() {
        let path = directory.join(entry.file_name());
        // A process that is killed may still take its files with it.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            list(root, &path, content, state);
            state.insert(path, "directory".to_owned());
            continue;
        }
        let digest = match entry.path() {
            _ if !content => String::new(),
            link if metadata.is_symlink() => format!("{:?}", fs::read_link(link)),
            file => sha256(&fs::read(file).expect("a file of the repo")),
        };
        state.insert(path, format!("{:o} {digest}", metadata.mode()));
    }
}
