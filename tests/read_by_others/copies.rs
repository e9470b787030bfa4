//! Images of ours that ostree-ext copies and exports.

use std::fs;

use crate::encapsulated::{OPTIONS, added, base, derive};
use crate::place::{SHAPES, Snapshot, image_ref, path, places};
use crate::support::command::{fsck, text};
use crate::support::layout::specimen;
use crate::support::listing::{assert_equal, read_commit};

#[test]
fn copied_to_another_repo() {
    for place in places(&["bare-user", "bare", "archive"]) {
        let plain = place.write("plain", specimen());
        let base = base(&place, "base", 0o755);
        let derived = derive(&base, &place.at("derived"), vec![added()]);
        let images = [&plain, &derived]
            .into_iter()
            .flat_map(|source| SHAPES.map(|shape| (source, shape)));
        for (number, (source, shape)) in images.enumerate() {
            let json = place.import(source, shape);
            let copy = place.init(&format!("copy{number}"));
            let (from, to) = (
                format!("--src-repo={}", place.repo().display()),
                format!("--dest-repo={}", copy.display()),
            );
            let image = format!("ostree-unverified-image:{source}");
            place.peer(&["container", "image", "copy", &from, &to, &image]);
            fsck(&copy);
            let copied = place.peer_json(&["query", path(&copy), source]);
            assert_eq!(copied, place.query(source));
            let refs = Snapshot::of(&copy).refs;
            assert_eq!(refs[&image_ref(source)], text(&json, "/commit"));
            let layers = copied["manifest"]["layers"].as_array().unwrap().len();
            assert_eq!(refs.len(), 1 + layers);
        }
    }
}

/// What is exported is the image that was imported, to who pulls it.
#[test]
fn exported_as_an_image() {
    for place in places(&["bare-user", "bare"]) {
        let base = base(&place, "base", 0o755);
        let source = derive(&base, &place.at("image"), vec![added()]);
        place.import(&source, &OPTIONS);
        let exported = place.at("exported");
        fs::create_dir(&exported).unwrap();
        let exported = format!("oci:{}", exported.display());
        let repo = format!("--repo={}", place.repo().display());
        place.peer(&["container", "image", "reexport", &repo, &source, &exported]);

        let pulled = ["original", "again"].map(|name| place.init(name));
        place.pull(&pulled[0], &source);
        place.pull(&pulled[1], &exported);
        let [original, again] =
            [(&pulled[0], &source), (&pulled[1], &exported)].map(|(repo, image)| {
                fsck(repo);
                let known = place.peer_json(&["query", path(repo), image]);
                let commit = text(&known, "/merge_commit");
                (
                    known["base_commit"].clone(),
                    read_commit(repo, commit).listing,
                )
            });
        assert_eq!(again.0, base.commit);
        assert_eq!(again.0, original.0);
        assert_equal(&original.1, &again.1);
    }
}

/// 0.15.3 exports nothing else, whoever imported it.
#[test]
fn plain_images_are_not_exported() {
    for place in places(&["bare-user"]) {
        let source = place.write("image", specimen());
        place.import(&source, &[]);
        let exported = place.at("exported");
        fs::create_dir(&exported).unwrap();
        let exported = format!("oci:{}", exported.display());
        let repo = format!("--repo={}", place.repo().display());
        let said = place.peer_fails(&["container", "image", "reexport", &repo, &source, &exported]);
        assert!(
            said.contains("No ostree.final-diffid label found"),
            "{said}"
        );
    }
}
