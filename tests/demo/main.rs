//! A real image against what others make of it: umoci unpacks it, libselinux labels it, skopeo
//! copies it, libostree reads the commit.
//!
//! `IMPORT_OCI_DEMO_IMAGE` names the OCI layout that `scripts/demo-image` makes, tag `v1`. Nothing
//! here knows its numbers, only what its recipe promises. umoci can give files their owners only
//! as root.

mod changes;
mod labels;
mod other_ways;
mod repaired;
mod tree;

#[path = "../support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod origin;
    pub mod schema;
}

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use import_oci::fixup::FIXUPS;
use serde_json::Value;
use support::command::{is_root, not_run, run, scratch};
use support::layout::specimen;
use support::listing::{Directory, read_directory};
use tempfile::TempDir;

/// An image, imported once for all tests into a bare-user repo.
#[derive(Debug)]
struct Imported {
    /// As a source: `oci:DIR:v1`.
    source: String,
    /// Where all that is made of it lies.
    directory: PathBuf,
    repo: PathBuf,
    /// What `--json` printed.
    json: Value,
    unpacked: OnceLock<Option<Unpacked>>,
}

/// The image as umoci unpacks it.
#[derive(Debug)]
struct Unpacked {
    path: PathBuf,
    found: Directory,
}

/// The demo image.
fn demo() -> Option<&'static Imported> {
    static DEMO: OnceLock<Option<Imported>> = OnceLock::new();
    let demo = DEMO.get_or_init(|| {
        let image = std::env::var("IMPORT_OCI_DEMO_IMAGE").ok()?;
        // Not in a TempDir: statics are never dropped. The next run takes its place.
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        Some(Imported::new(directory, format!("oci:{image}:v1")))
    });
    if demo.is_none() {
        not_run("IMPORT_OCI_DEMO_IMAGE names no image; scripts/demo-image makes one");
    }
    demo.as_ref()
}

/// A small image of our own, for what the demo image lacks and where there is none.
fn small() -> (TempDir, Imported) {
    let directory = scratch();
    let source = specimen().write(&directory.path().join("image"));
    let imported = Imported::new(directory.path().to_owned(), source);
    (directory, imported)
}

/// Leaves out all fixups but those that [`changes`] knows.
fn known_fixups_alone() -> Vec<String> {
    FIXUPS
        .iter()
        .filter(|fixup| !changes::KNOWN.contains(&fixup.name()))
        .map(|fixup| format!("--skip-fixup={}", fixup.name()))
        .collect()
}

/// Imports with no other fixups.
fn import(repo: &Path, mode: &str, source: &str, options: &[&str]) -> Value {
    let mut all = known_fixups_alone();
    all.extend(options.iter().map(|&option| option.to_owned()));
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    support::command::import(repo, mode, source, &all)
}

impl Imported {
    fn new(directory: PathBuf, source: String) -> Self {
        let repo = directory.join("repo");
        Self {
            json: import(&repo, "bare-user", &source, &[]),
            source,
            directory,
            repo,
            unpacked: OnceLock::new(),
        }
    }

    fn commit(&self) -> &str {
        support::command::text(&self.json, "/commit")
    }

    /// The image as umoci unpacks it.
    fn unpacked(&self) -> Option<&Unpacked> {
        let unpacked = self.unpacked.get_or_init(|| {
            if !is_root() {
                return None;
            }
            let path = self.directory.join("unpacked");
            let image = self.source.strip_prefix("oci:").expect("a layout");
            run(Command::new("umoci")
                .args(["raw", "unpack", "--image", image])
                .arg(&path));
            let found = read_directory(&path).unwrap();
            Some(Unpacked { path, found })
        });
        if unpacked.is_none() {
            not_run("umoci gives files their owners only as root");
        }
        unpacked.as_ref()
    }
}
