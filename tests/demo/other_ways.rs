//! The same image by other ways gives the same tree, and the same commit where the way keeps the
//! manifest.

use std::path::Path;

use serde_json::Value;

use crate::support::command::{fsck, scratch, skopeo_copy, skopeo_digest, text};
use crate::{Imported, demo, import};

#[test]
fn one_thread() {
    by_another_way(|demo, directory| {
        let repo = directory.join("repo");
        let json = import(&repo, "bare-user", &demo.source, &["--threads=1"]);
        assert_eq!(json["commit"], demo.json["commit"]);
        json
    });
}

#[test]
fn oci_archive_into_an_archive() {
    by_another_way(|demo, directory| {
        let copy = format!("oci-archive:{}:v1", directory.join("image.tar").display());
        skopeo_copy(&demo.source, &copy, &[]);
        let json = import(&directory.join("repo"), "archive", &copy, &["--threads=3"]);
        assert_eq!(json["commit"], demo.json["commit"]);
        json
    });
}

#[test]
fn docker_archive() {
    by_another_way(|demo, directory| {
        let archive = format!("docker-archive:{}", directory.join("image.tar").display());
        let copy = format!("{archive}:demo:v1");
        skopeo_copy(&demo.source, &copy, &[]);
        let json = import(&directory.join("repo"), "bare-user", &archive, &[]);
        assert_eq!(text(&json, "/manifest_digest"), skopeo_digest(&copy));
        assert_eq!(json["timestamp"], demo.json["timestamp"]);
        json
    });
}

#[test]
fn zstd() {
    by_another_way(|demo, directory| {
        let copy = format!("oci:{}:v1", directory.join("image").display());
        skopeo_copy(&demo.source, &copy, &["--dest-compress-format=zstd"]);
        let json = import(&directory.join("repo"), "bare-user", &copy, &[]);
        assert_eq!(text(&json, "/manifest_digest"), skopeo_digest(&copy));
        assert_ne!(json["manifest_digest"], demo.json["manifest_digest"]);
        json
    });
}

/// A root has no manifest, but umoci's has all that the layers say, the mode of its top included.
#[test]
fn unpacked_root() {
    let Some(unpacked) = demo().and_then(Imported::unpacked) else {
        return;
    };
    by_another_way(|_, directory| {
        let root = format!("rootfs:{}", unpacked.path.display());
        import(&directory.join("repo"), "bare-user", &root, &[])
    });
}

/// Imports the demo image in another way into `repo` in the directory given; that must be sound and
/// hold the same tree.
fn by_another_way(import: impl FnOnce(&Imported, &Path) -> Value) {
    let Some(demo) = demo() else {
        return;
    };
    let directory = scratch();
    let json = import(demo, directory.path());
    assert_eq!(json["tree"], demo.json["tree"]);
    // How many paths libselinux is asked about depends on what layers have besides.
    for what in ["policy", "labelled", "unlabelled", "taken_over"] {
        assert_eq!(json["selinux"][what], demo.json["selinux"][what]);
    }
    assert_eq!(json["kernel"], demo.json["kernel"]);
    fsck(&directory.path().join("repo"));
}
