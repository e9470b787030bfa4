//! containers-storage: layers are kept unpacked there, and only diff_ids can be checked.

use std::fs;
use std::path::{Path, PathBuf};

use crate::server::{INSECURE, Place, Registry};
use crate::{apart_from_cost, assert_contains, imported, layout, refused};

/// Gives `place` a store of its own.
fn make_store(place: &Place) {
    let at = |name: &str| place.at(name).display().to_string();
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        at("store"),
        at("run")
    );
    place.write("storage.conf", &text);
}

/// The file `name` in the tree of a layer.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.find_map(|entry| {
        let path = entry.ok()?.path();
        match path.ends_with(name) && path.is_file() {
            true => Some(path),
            false => find(&path, name),
        }
    })
}

#[test]
fn what_was_pulled_is_the_commit_of_the_registry() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    make_store(&place);
    let layout = layout(&place);
    let image = registry.image("os:v1");
    place.push(&layout, &image, &[]);
    place.run(&["buildah", "pull", "--quiet", "--tls-verify=false", &image]);

    let expected = imported(&place, &image, &[INSECURE]);
    let stored = image.replace("docker://", "containers-storage:");
    let got = imported(&place, &stored, &[]);
    assert_eq!(got["source"], stored);
    for what in ["commit", "manifest_digest", "layers", "notes"] {
        assert_eq!(
            apart_from_cost(&got[what]),
            apart_from_cost(&expected[what]),
            "{what}"
        );
    }

    let file = find(&place.at("store"), "usr/bin/three").expect("the unpacked layer");
    fs::write(file, "THREE").unwrap();
    let place = place.without_repo();
    let error = refused(&place, &stored, &[]);
    assert_contains(&error, "layer 3");
}

#[test]
fn what_was_built_and_pushed() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    make_store(&place);
    place.write("files/usr/lib/content", "built");
    let container = place.run(&["buildah", "from", "scratch"]);
    place.run(&["buildah", "copy", "--quiet", &container, "files", "/"]);
    place.run(&["buildah", "commit", "--quiet", &container, "built:v1"]);
    let stored = imported(&place, "containers-storage:localhost/built:v1", &[]);

    // Pushed, layers are compressed, and so have other digests.
    let image = registry.image("built:v1");
    place.run(&[
        "buildah",
        "push",
        "--quiet",
        "--tls-verify=false",
        "built:v1",
        &image,
    ]);
    let pushed = imported(&place, &image, &[INSECURE]);
    assert_eq!(pushed["tree"], stored["tree"]);
    assert_ne!(pushed["manifest_digest"], stored["manifest_digest"]);
    let copy = format!("oci:{}:v1", place.at("copy").display());
    place.copy(&image, &copy, &[]);
    assert_eq!(imported(&place, &copy, &[])["commit"], pushed["commit"]);

    let place = place.without_repo();
    let error = refused(&place, "containers-storage:localhost/none", &[]);
    assert_contains(&error, "containers-storage:localhost/none: skopeo: ");
    place.policy(r#"{"default": [{"type": "reject"}]}"#);
    let error = refused(&place, "containers-storage:localhost/built:v1", &[]);
    assert_contains(&error, "policy");
}
