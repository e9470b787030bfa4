//! Transports against images that other tools wrote: umoci makes the layouts, skopeo and GNU tar
//! the archives, and skopeo says what manifest they have.

mod damage;
mod images;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use import_oci::digest::Digest;
use import_oci::source::{self, FetchOptions, ImageSource, Platform, ResolvedImage, Source};

/// Runs a command that has to succeed; its standard output.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

/// Runs shell commands in `directory`.
fn shell(directory: &Path, commands: &str) {
    run(Command::new("sh")
        .args(["-ec", commands])
        .current_dir(directory));
}

/// Runs shell commands that not every machine permits; whether they succeeded.
fn may(directory: &Path, commands: &str) -> bool {
    let output = Command::new("sh")
        .args(["-ec", commands])
        .current_dir(directory)
        .output()
        .unwrap();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("not run: {commands}: {errors}");
    }
    output.status.success()
}

fn open(reference: &str) -> anyhow::Result<Box<dyn ImageSource>> {
    match source::open(reference, &FetchOptions::default())?.1 {
        Source::Image(image) => Ok(image),
        Source::Root(root) => panic!("{root} is not an image"),
    }
}

fn resolve(reference: &str) -> anyhow::Result<ResolvedImage> {
    open(reference)?.resolve(&Platform::host())
}

/// The message of what must fail.
fn error_of<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.map(|_| ()).expect_err("it must fail"))
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// A directory with `layout`, an OCI layout that umoci wrote: two layers, tagged `v1`.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fixture.shell(
            "mkdir files; echo one >files/one; seq 10000 >files/two
             umoci init --layout layout
             umoci new --image layout:v1
             umoci insert --rootless --image layout:v1 files /etc
             umoci insert --rootless --image layout:v1 files/two /usr/two
             umoci gc --layout layout",
        );
        fixture
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `TRANSPORT:` and `name` in this directory.
    fn reference(&self, transport: &str, name: &str) -> String {
        format!("{transport}:{}/{name}", self.path().display())
    }

    fn shell(&self, commands: &str) {
        shell(self.path(), commands);
    }

    /// Copies `layout:v1` with skopeo.
    fn copy_to(&self, transport: &str, name: &str) {
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .arg(self.reference("oci", "layout:v1"))
            .arg(self.reference(transport, name)));
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.path().join("layout/blobs/sha256").join(digest.hex())
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }
}
