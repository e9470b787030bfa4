//! ostree-ext reads what these verbs leave, and would drop nothing more.

use std::path::Path;

use serde_json::json;

use super::containerfile::Image;
use super::support::command::{self, run};
use super::support::peers;
use super::{Place, image_ref, ostree};

/// Imports an image with a history, without which ostree-ext 0.15 reads none.
fn import(place: &Place, name: &str) -> String {
    let image = Image::new().file("usr/lib/base", "base");
    let image = image.layer().file("usr/lib/name", name);
    let image = image.config(|config| config["history"] = json!([]));
    let source = image.write(&place.at(name)).reference();
    command::import(&place.repo(), place.mode, &source, &[]);
    source
}

#[test]
fn ostree_ext_agrees() {
    if peers::ostree_ext().is_none() {
        return;
    }
    let place = Place::new();
    let (one, two) = (import(&place, "one"), import(&place, "two"));
    let other = place.at("other");
    ostree(&other, &["init", "--mode=archive"]);
    let to = format!("--dest-repo={}", other.display());
    place.json("copy", &[&one, &to]);
    place.json(
        "copy",
        &[&two, &to, "--target-imgref=docker://quay.io/os/two"],
    );
    place.json("remove", &[&one]);
    place.json("prune", &[]);

    let commit = |image: &str| place.resolve(&image_ref(image)).unwrap();
    let two_there = ostree(
        &other,
        &["rev-parse", &image_ref("docker://quay.io/os/two")],
    );
    let one_there = ostree(&other, &["rev-parse", &image_ref(&one)]);
    assert_eq!(two_there, commit(&two));
    let read = |repo: &Path| {
        let mut peer = peers::ostree_ext().unwrap();
        let output = run(peer.arg("images").arg(repo));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read(&place.repo()), format!("{two} {two_there}\n0\n"));
    let expected = format!("docker://quay.io/os/two {two_there}\n{one} {one_there}\n0\n");
    assert_eq!(read(&other), expected);
}
