//! What others clean up, and what of ours they leave.

use std::fs;
use std::process::Command;

use crate::place::{
    Place, SHAPES, Snapshot, blob_ref, digests, image_ref, larger, our_base_ref, path, places,
};
use crate::support::command::{import, is_root, not_run, run, text};
use crate::support::layout::specimen;

/// Runs a command of `ostree container image` on the repo.
fn image(place: &Place, command: &str, arguments: &[&str]) -> String {
    let repo = format!("--repo={}", place.repo().display());
    place.peer(&[&["container", "image", command, &repo], arguments].concat())
}

#[test]
fn an_image_is_removed() {
    for place in places(&["bare-user", "bare", "archive"]) {
        for options in SHAPES {
            let small = place.write(&format!("small{}", options.len()), specimen());
            let large = place.write(&format!("large{}", options.len()), larger());
            let kept = place.import(&small, options);
            let removed = place.import(&large, options);
            let manifests = [&small, &large].map(|source| place.query(source)["manifest"].clone());
            let before = place.snapshot();

            assert_eq!(
                image(&place, "remove", &[&large]),
                "Removed images: 1 layers: 0\n"
            );
            let image_ref = image_ref(&large);
            assert_eq!(place.snapshot(), before.without(&[&image_ref]));
            assert_eq!(image(&place, "prune-layers", &[]), "Removed layers: 0\n");

            // Without what holds it, it goes with all that is its own.
            let base = our_base_ref(&large);
            place.ostree(&["refs", "--delete", &base]);
            let [of_small, of_large] = manifests.each_ref().map(|manifest| digests(manifest));
            let own: Vec<_> = of_large.iter().filter(|d| !of_small.contains(d)).collect();
            assert_eq!(own.len(), 1);
            assert_eq!(image(&place, "prune-layers", &[]), "Removed layers: 1\n");
            let refs = place.snapshot().refs;
            assert!(!refs.contains_key(&blob_ref(own[0])));
            assert!(of_small.iter().all(|d| refs.contains_key(&blob_ref(d))));
            place.ostree(&["prune", "--refs-only", "--depth=0"]);
            place.fsck();
            assert!(!place.ostree(&["ls", text(&kept, "/commit")]).is_empty());
            let gone = format!("{}.commit", &text(&removed, "/commit")[2..]);
            let objects = place.snapshot().objects;
            assert!(!objects.iter().any(|object| object.ends_with(&gone)));
        }
    }
}

/// `bootc upgrade` and `rpm-ostree cleanup` drop images that are not deployed; ours come back without
/// being read.
#[test]
fn images_that_are_not_deployed() {
    if !is_root() {
        return not_run("a sysroot takes root");
    }
    for place in places(&["bare"]) {
        let sysroot = place.at("sysroot");
        fs::create_dir(&sysroot).unwrap();
        run(Command::new("ostree").args(["admin", "init-fs", path(&sysroot)]));
        let repo = sysroot.join("ostree/repo");
        let source = place.write("image", larger());
        let first = import(&repo, "bare", &source, &[]);
        let before = Snapshot::of(&repo);

        let prune = |how: &[&str]| {
            let sysroot = format!("--sysroot={}", sysroot.display());
            place.peer(&[&["container", "image", "prune-images", &sysroot], how].concat())
        };
        let said = prune(&["--full"]);
        assert!(
            said.contains("Removed images: 1\nRemoved layers: 0\nRemoved objects: 0\n"),
            "{said}"
        );
        let after = Snapshot::of(&repo);
        assert_eq!(after, before.without(&[&image_ref(&source)]));

        fs::remove_dir_all(place.at("image/blobs")).ok();
        let source_again = place.write("again", larger());
        for layer in digests(&first) {
            let blob = layer.replace(':', "/");
            fs::remove_file(place.at("again/blobs").join(blob)).unwrap();
        }
        let target = format!("--target-imgref={source}");
        let again = import(&repo, "bare", &source_again, &[&target]);
        assert_eq!(again["commit"], first["commit"]);
        assert!(Snapshot::of(&repo).refs.contains_key(&image_ref(&source)));
        assert_eq!(
            prune(&["--and-layers"]),
            format!("Removed: {source}\nRemoved layers: 0\n")
        );
    }
}
