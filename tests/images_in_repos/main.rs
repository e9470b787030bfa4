//! The images of a repo: listed, told, removed, pruned and copied, beside what others left there.

#[allow(dead_code, reason = "one test uses a part of it")]
#[path = "../common/image.rs"]
mod containerfile;
mod copy;
mod list;
mod others;
mod prune;
mod remove;
mod system;

#[path = "../support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod peers;
    pub mod schema;
}

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use import_oci::contract::ref_escape::escape_with_prefix;
use serde_json::Value;
use support::command::{import, import_oci, run, scratch, text};
use support::layout::{CREATED, Image, Layer};
use support::listing::open;
use support::schema;
use tempfile::TempDir;

const IMAGES: &str = "ostree/container/image";
const LAYERS: &str = "ostree/container/blob";
const OURS: &str = "ostree/container/baseimage/import-oci";

/// A layer with one file.
fn layer(name: &str) -> Layer {
    let content = format!("of {name}, {}", "long ".repeat(1000));
    Layer::new().file(&format!("usr/lib/{name}"), 0o644, &content)
}

/// An image of layers with these names, the first of which could boot.
fn image(layers: &[&str]) -> Image {
    let mut image = Image::new().created(CREATED).version("7");
    for (index, name) in layers.iter().enumerate() {
        let mut layer = layer(name);
        if index == 0 {
            layer = layer
                .file("usr/lib/modules/1/vmlinuz", 0o644, "kernel")
                .file("usr/lib/modules/1/initramfs.img", 0o644, "initramfs")
                .file("usr/lib/os-release", 0o644, "ID=test\n")
                .file("etc/hostname", 0o644, "test\n");
        }
        image = image.layer(layer);
    }
    image
}

/// A directory with images and repos.
struct Place {
    directory: TempDir,
    mode: &'static str,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: scratch(),
            mode: "bare-user",
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repo(&self) -> PathBuf {
        self.at("repo")
    }

    /// Writes an image of these layers, named after the last; as a source.
    fn write(&self, layers: &[&str]) -> String {
        let name = layers.last().expect("a layer");
        image(layers).write(&self.at(name))
    }

    /// Imports an image of these layers, named after the last; its source.
    fn import(&self, layers: &[&str]) -> String {
        let source = self.write(layers);
        import(&self.repo(), self.mode, &source, &["--initramfs=keep"]);
        source
    }

    /// Runs a verb on the repo, whatever it says.
    fn output(&self, verb: &str, arguments: &[&str]) -> Output {
        let repo = format!("--repo={}", self.repo().display());
        let mut command = import_oci();
        command.args([verb, &repo]).args(arguments);
        command.output().unwrap()
    }

    /// Runs a verb on the repo; the object that it prints, which is as its schema says.
    fn json(&self, verb: &str, arguments: &[&str]) -> Value {
        let repo = format!("--repo={}", self.repo().display());
        json(verb, &[&[&*repo], arguments].concat())
    }

    /// Runs a verb on the repo; what it prints for people.
    fn said(&self, verb: &str, arguments: &[&str]) -> String {
        let output = self.output(verb, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{verb}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb that must fail and change no ref; its one line.
    fn fails(&self, verb: &str, arguments: &[&str]) -> String {
        let before = self.refs("");
        let output = self.output(verb, arguments);
        assert_eq!(output.status.code(), Some(1), "{verb} {arguments:?}");
        assert_eq!(self.refs(""), before, "{verb} {arguments:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        errors
    }

    fn ostree(&self, arguments: &[&str]) -> String {
        ostree(&self.repo(), arguments)
    }

    /// The names of all refs below `prefix`, of all where that is empty.
    fn refs(&self, prefix: &str) -> BTreeSet<String> {
        refs(&self.repo(), prefix)
    }

    fn resolve(&self, name: &str) -> Option<String> {
        let commit = open(&self.repo()).resolve_rev(name, true).unwrap();
        commit.map(Into::into)
    }

    fn has(&self, object: &str) -> bool {
        let objects = self.repo().join("objects");
        objects.join(&object[..2]).join(&object[2..]).exists()
    }

    /// The commit of an image, and those of its layers: all must be there.
    fn commits(&self, source: &str) -> Vec<String> {
        let inspected = self.json("inspect", &[source]);
        let mut commits = vec![text(&inspected, "/commit").to_owned()];
        for layer in inspected["layers"].as_array().unwrap() {
            commits.push(text(layer, "/commit").to_owned());
        }
        commits
    }
}

/// Runs a verb; the object that it prints, which is as its schema says.
fn json(verb: &str, arguments: &[&str]) -> Value {
    let output = run(import_oci().arg(verb).arg("--json").args(arguments));
    let json: Value = serde_json::from_slice(&output.stdout).expect("--json prints one object");
    let wrong = schema::images_v1(verb).check(&json);
    assert!(wrong.is_empty(), "{verb}: {wrong:#?}");
    json
}

fn ostree(repo: &Path, arguments: &[&str]) -> String {
    let repo = format!("--repo={}", repo.display());
    let output = run(Command::new("ostree").args(arguments).arg(repo));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn refs(repo: &Path, prefix: &str) -> BTreeSet<String> {
    let refs = open(repo).list_refs(None, ostree::gio::Cancellable::NONE);
    let refs = refs.unwrap().into_keys();
    refs.filter(|name| name.starts_with(prefix)).collect()
}

fn image_ref(source: &str) -> String {
    escape_with_prefix(IMAGES, source).unwrap()
}

fn our_ref(source: &str) -> String {
    escape_with_prefix(OURS, source).unwrap()
}

/// The texts of an array.
fn texts(json: &Value) -> Vec<&str> {
    let values = json.as_array().unwrap().iter();
    values.map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn the_schema_describes_everything() {
    for verb in ["list", "inspect", "history", "remove", "prune", "copy"] {
        let undescribed = schema::images_v1(verb).undescribed();
        assert_eq!(undescribed, Vec::<String>::new(), "{verb}");
    }
}

#[test]
fn a_repo_must_be_there() {
    let place = Place::new();
    let missing = place.at("missing");
    for arguments in [
        &["list"][..],
        &["inspect", "oci:x"],
        &["history", "oci:x"],
        &["remove", "oci:x"],
        &["prune"],
        &["copy", "oci:x", "--dest-repo=x"],
    ] {
        let mut command = import_oci();
        let repo = format!("--repo={}", missing.display());
        let output = command.args(arguments).arg(repo).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("is not an ostree repo"), "{errors}");
    }
}
