//! Images that skopeo reads for us, from a real registry and from containers-storage, which skopeo
//! and buildah filled.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod server;
mod signatures;
mod storage;
mod transport;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use common::image::{Image, Layout};
use common::{output, run, stderr};
use server::Place;

/// An image with three layers, each compressed in another way.
fn image() -> Image {
    Image::new()
        .dir("etc", 0o755)
        .file("etc/hostname.conf", "one")
        .file("usr/lib/big", "many words ".repeat(100_000))
        .layer()
        .zstd()
        .file("etc/two", "two")
        .whiteout("etc/hostname.conf")
        .layer()
        .plain()
        .file("usr/bin/three", "three")
}

/// The layout of [`image`].
fn layout(place: &Place) -> Layout {
    image().write(&place.at("layout"))
}

/// Imports; what was done.
fn imported(place: &Place, source: &str, options: &[&str]) -> Value {
    let answer = run(&mut place.import(source, options));
    serde_json::from_str(&answer).expect("JSON")
}

/// Without what an import that finds layers in the repo says otherwise.
fn apart_from_cost(value: &Value) -> Value {
    let mut value = value.clone();
    for layer in value.as_array_mut().into_iter().flatten() {
        if let Some(layer) = layer.as_object_mut() {
            layer.remove("cached");
        }
    }
    value
}

/// Imports what must be refused; the one line that says why. The repo is still without refs.
fn refused(place: &Place, source: &str, options: &[&str]) -> String {
    refused_by(&mut place.import(source, options), &place.at("repo"))
}

fn refused_by(command: &mut Command, repo: &Path) -> String {
    let output = output(command);
    assert_eq!(output.status.code(), Some(1), "{command:?}");
    let error = stderr(&output);
    let lines: Vec<_> = error.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    if repo.exists() {
        let mut refs = Command::new("ostree");
        let refs = run(refs.arg("refs").arg("--repo").arg(repo));
        assert_eq!(refs, "", "{error}");
    }
    lines[0].to_owned()
}

fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in: {text}");
}
