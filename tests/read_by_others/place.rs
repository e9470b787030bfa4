//! A directory of one test, with repos and images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{fsck, import, is_root, not_run, run, scratch};
use crate::support::layout::{Image, Layer, specimen};
use crate::support::listing::{Commit, open, read_commit};
use crate::support::peers;

pub struct Place {
    directory: TempDir,
    peer: PathBuf,
    pub mode: &'static str,
}

/// All refs of a repo with their commits, and all files below its `objects`.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub refs: BTreeMap<String, String>,
    pub objects: BTreeSet<PathBuf>,
}

/// One for each mode that is possible here; none, and said, without the peer.
pub fn places(modes: &[&'static str]) -> Vec<Place> {
    let Some(peer) = peers::ostree_ext() else {
        return Vec::new();
    };
    let mut places = Vec::new();
    for &mode in modes {
        if mode == "bare" && !is_root() {
            not_run("a bare repo takes root");
            continue;
        }
        places.push(Place {
            directory: scratch(),
            peer: peer.get_program().into(),
            mode,
        });
    }
    places
}

impl Place {
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.at("repo")
    }

    /// Writes an image; the source.
    pub fn write(&self, name: &str, image: Image) -> String {
        image.write(&self.at(name))
    }

    pub fn import(&self, source: &str, options: &[&str]) -> Value {
        import(&self.repo(), self.mode, source, options)
    }

    /// Makes an empty repo, of a mode that ostree-ext can write.
    pub fn init(&self, name: &str) -> PathBuf {
        let repo = self.at(name);
        let mode = match self.mode {
            "archive" => "bare-user",
            mode => mode,
        };
        run(Command::new("ostree")
            .arg("init")
            .arg(format!("--mode={mode}"))
            .arg(format!("--repo={}", repo.display())));
        repo
    }

    /// What ostree-ext prints; it has to succeed.
    pub fn peer(&self, arguments: &[&str]) -> String {
        let output = run(Command::new(&self.peer).args(arguments));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn peer_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.peer(arguments)).unwrap()
    }

    /// What ostree-ext says when it fails, as it has to.
    pub fn peer_fails(&self, arguments: &[&str]) -> String {
        let output: Output = Command::new(&self.peer).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What ostree-ext knows of an image of the repo.
    pub fn query(&self, image: &str) -> Value {
        self.peer_json(&["query", path(&self.repo()), image])
    }

    /// Pulls an image into a repo.
    pub fn pull(&self, repo: &Path, source: &str) -> String {
        let image = unverified(source);
        self.peer(&["container", "image", "pull", "--quiet", path(repo), &image])
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.repo())
    }

    pub fn fsck(&self) {
        fsck(&self.repo());
    }

    /// The tree of a commit of the repo.
    pub fn tree(&self, commit: &str) -> Commit {
        read_commit(&self.repo(), commit)
    }

    /// Runs `ostree` on the repo.
    pub fn ostree(&self, arguments: &[&str]) -> String {
        let output = run(Command::new("ostree")
            .args(arguments)
            .arg(format!("--repo={}", self.repo().display())));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Snapshot {
    pub fn of(repo: &Path) -> Self {
        let refs = open(repo).list_refs(None, ostree::gio::Cancellable::NONE);
        let refs = refs.unwrap().into_iter();
        let mut objects = BTreeSet::new();
        for directory in fs::read_dir(repo.join("objects")).unwrap() {
            let files = fs::read_dir(directory.unwrap().path()).unwrap();
            objects.extend(files.map(|file| file.unwrap().path()));
        }
        Self {
            refs: refs.collect(),
            objects,
        }
    }

    /// The same with other refs.
    pub fn without(mut self, gone: &[&str]) -> Self {
        for name in gone {
            assert!(self.refs.remove(*name).is_some(), "{name}");
        }
        self
    }
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image as `ostree container` wants what it pulls.
pub fn unverified(source: &str) -> String {
    format!("ostree-unverified-image:{source}")
}

pub fn image_ref(source: &str) -> String {
    escaped("ostree/container/image", source)
}

pub fn our_base_ref(source: &str) -> String {
    escaped("ostree/container/baseimage/import-oci", source)
}

pub fn blob_ref(digest: &str) -> String {
    format!("ostree/container/blob/{}", digest.replace(':', "_3A_"))
}

fn escaped(prefix: &str, reference: &str) -> String {
    import_oci::contract::ref_escape::escape_with_prefix(prefix, reference).unwrap()
}

/// The digests of the layers in a manifest.
pub fn digests(manifest: &Value) -> Vec<&str> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect()
}

/// [`specimen`] and one layer more, so that it shares two with that.
pub fn larger() -> Image {
    specimen().layer(Layer::new().file("usr/bin/added", 0o755, "added"))
}

/// As it is, and as one layer.
pub const SHAPES: [&[&str]; 2] = [&[], &["--squash"]];
