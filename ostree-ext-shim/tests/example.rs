//! `tests/peers/example`, a program written against ostree-ext, says the same with ours in its place.
//!
//! Its image is one that both can import: a commit that ostree-ext encapsulated, with a layer on top.

mod common;
#[path = "../../tests/support/peers.rs"]
mod peers;

mod command {
    pub use crate::common::not_run;
}

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{image, not_run, output, repo, run, stderr, stdout, sysroot};
use import_oci::digest::Digest;
use serde_json::{Value, json};

#[test]
fn both_say_the_same() {
    if !rustix::process::geteuid().is_root() {
        return not_run("deployments take root");
    }
    let programs = [
        peers::ostree_ext(),
        peers::example(),
        peers::example_of_shim(),
    ];
    let [Some(encapsulate), Some(theirs), Some(ours)] = programs else {
        return;
    };
    // ostree-ext lets skopeo read the image as nobody.
    let images = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(images.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let layout = images.path().join("image");
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    make_image(place.path(), encapsulate, &layout);

    let source = format!("ostree-unverified-image:oci:{}", layout.display());
    let [theirs, ours] = [("theirs", theirs), ("ours", ours)].map(|(name, mut program)| {
        let system = place.path().join(name);
        sysroot(&system);
        program.arg(&system).arg(&source);
        let output = output(&mut program);
        let said = stdout(&output);
        assert!(output.status.success(), "{name}: {said}{}", stderr(&output));
        said
    });
    println!("{ours}");
    assert_eq!(comparable(&theirs), comparable(&ours));
    for part in [
        "layers 5",
        "of the commit 4",
        "derived 1",
        "Fetched layer",
        "deployed true",
    ] {
        assert!(ours.contains(part), "{part}: {ours}");
    }
}

#[test]
fn the_line_of_the_dependency_is_all_that_differs() {
    if peers::example_of_shim().is_none() {
        return;
    }
    let [theirs, ours] = peers::manifests_of_example().map(|manifest| {
        fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{manifest:?}: {error}"))
    });
    assert_eq!(theirs.lines().count(), ours.lines().count());
    let differing: Vec<_> = theirs
        .lines()
        .zip(ours.lines())
        .filter(|(theirs, ours)| theirs != ours)
        .collect();
    let [(theirs, ours)] = differing[..] else {
        panic!("{differing:#?}");
    };
    assert_eq!(theirs, "ostree-ext = \"=0.15.3\"");
    let start = "ostree-ext = { package = \"ostree-ext-shim\", path = ";
    assert!(ours.starts_with(start), "{ours}");
}

/// Commits differ: theirs has no repaired tree.
fn comparable(said: &str) -> Vec<&str> {
    let lines = said.lines();
    lines.filter(|line| !line.starts_with("commit ")).collect()
}

/// Writes an encapsulated commit with a layer on top to `layout`.
fn make_image(place: &Path, mut encapsulate: Command, layout: &Path) {
    let at = place.join("repo");
    repo(&at, "bare-user");
    let source = image(&place.join("plain"), "1");
    let path = at.to_str().unwrap();
    let pulled = run(Command::new(env!("CARGO_BIN_EXE_ostree-container"))
        .args(["container", "image", "pull", "--quiet", path])
        .arg(format!("ostree-unverified-image:{source}")));
    let (_, commit) = pulled.trim().rsplit_once(" => ").expect("a commit");
    let refs = ["refs", "--create=base", commit];
    run(Command::new("ostree")
        .arg(format!("--repo={path}"))
        .args(refs));
    run(encapsulate.args(["encapsulate", path, "base"]).arg(layout));
    derive(layout);
}

/// Puts a layer with one file on top of the image in `layout`.
fn derive(layout: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(5);
    tar.append_data(&mut header, "usr/share/derived", &b"file\n"[..])
        .unwrap();
    let layer = tar.into_inner().unwrap();

    let mut index = read(&layout.join("index.json"));
    let manifest = &mut index["manifests"][0];
    let mut image = read(&blob(layout, manifest));
    let mut config = read(&blob(layout, &image["config"]));
    push(
        &mut config["rootfs"]["diff_ids"],
        json!(Digest::of(&layer).to_string()),
    );
    push(
        &mut config["history"],
        json!({"created_by": "a layer on top"}),
    );
    replace(layout, &mut image["config"], config.to_string().as_bytes());
    let mut descriptor = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar"});
    replace(layout, &mut descriptor, &layer);
    push(&mut image["layers"], descriptor);
    replace(layout, manifest, image.to_string().as_bytes());
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

fn push(array: &mut Value, value: Value) {
    array.as_array_mut().expect("an array").push(value);
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes another blob, and lets the descriptor be of it.
fn replace(layout: &Path, descriptor: &mut Value, content: &[u8]) {
    descriptor["digest"] = json!(Digest::of(content).to_string());
    descriptor["size"] = json!(content.len());
    fs::write(blob(layout, descriptor), content).unwrap();
}
