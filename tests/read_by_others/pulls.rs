//! Pulls into a repo that has images of ours.

use std::fs;

use crate::encapsulated::base;
use crate::place::{SHAPES, image_ref, larger, path, places, unverified};
use crate::support::command::{import, text};
use crate::support::layout::specimen;

#[test]
fn what_is_there_is_not_pulled() {
    for place in places(&["bare-user", "bare", "archive"]) {
        let source = place.write("image", specimen());
        for options in SHAPES {
            let json = place.import(&source, options);
            let before = place.snapshot();
            let image = unverified(&source);
            let commit = text(&json, "/commit");
            let said = place.pull(&place.repo(), &source);
            assert_eq!(said, format!("No changes in {image} => {commit}\n"));
            let answer = place.peer_json(&["prepare", path(&place.repo()), &image]);
            assert_eq!(text(&answer, "/present/merge_commit"), commit);
            assert_eq!(place.snapshot(), before);
        }
    }
}

#[test]
fn another_image_leaves_ours_alone() {
    for place in places(&["bare-user", "bare"]) {
        let other = base(&place, "other", 0o755).source;
        for options in SHAPES {
            let ours = place.write(&format!("ours{}", options.len()), specimen());
            let json = place.import(&ours, options);
            let before = place.snapshot();
            let tree = place.tree(text(&json, "/commit"));

            place.pull(&place.repo(), &other);
            let after = place.snapshot();
            for (name, commit) in &before.refs {
                assert_eq!(after.refs.get(name), Some(commit), "{name}");
            }
            assert!(after.objects.is_superset(&before.objects));
            assert_eq!(place.tree(text(&json, "/commit")).listing, tree.listing);
            place.fsck();
            let repo = format!("--repo={}", place.repo().display());
            place.peer(&["container", "image", "remove", &repo, &other]);
        }
    }
}

/// An image that is none of a commit is not for 0.15.3, which only takes note of the new version; with
/// us it goes on.
#[test]
fn the_next_version_of_a_plain_image() {
    for place in places(&["bare-user"]) {
        let source = place.write("image", specimen().history());
        let json = place.import(&source, &[]);
        let before = place.snapshot();
        fs::remove_dir_all(place.at("image")).unwrap();
        place.write("image", larger().history());
        let pull = [
            "container",
            "image",
            "pull",
            path(&place.repo()),
            &unverified(&source),
        ]
        .map(str::to_owned);
        let said = place.peer_fails(&pull.each_ref().map(String::as_str));
        assert!(
            said.contains("No ostree.final-diffid label found"),
            "{said}"
        );
        let after = place.snapshot();
        assert_eq!(after.refs, before.refs);
        let known = place.query(&source);
        assert_eq!(known["merge_commit"], json["commit"]);

        let next = place.import(&source, &[]);
        assert_eq!(known["update"], next["manifest_digest"]);
        let cold = import(&place.at("cold"), "bare-user", &source, &[]);
        assert_eq!(next["commit"], cold["commit"]);
        let known = place.query(&source);
        assert_eq!(known["merge_commit"], next["commit"]);
        assert!(known["update"].is_null());
        place.fsck();
    }
}

/// One ref that names no image stops every pull of ostree-ext; it does not stop us, and is not ours to
/// mend.
#[test]
fn refs_that_others_broke() {
    for place in places(&["bare-user"]) {
        let source = place.write("image", specimen());
        let json = place.import(&source, &[]);
        let broken = "ostree/container/image/nonsense";
        let create = format!("--create={broken}");
        place.ostree(&["refs", text(&json, "/commit"), &create]);
        let repo = format!("--repo={}", place.repo().display());
        place.peer_fails(&["container", "image", "prune-layers", &repo]);

        let other = place.write("other", larger());
        let json = place.import(&other, &[]);
        let refs = place.snapshot().refs;
        assert_eq!(refs[&image_ref(&other)], text(&json, "/commit"));
        assert!(refs.contains_key(broken));
    }
}
