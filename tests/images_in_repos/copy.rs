//! `copy`: an image goes to another repo, whole or not at all.

use std::fs;
use std::path::Path;

use super::support::command::{fsck, import, import_oci, is_root, text};
use super::{LAYERS, Place, image_ref, json, ostree, our_ref, refs, texts};

/// The repo `name`, made with this mode; as an option.
fn destination(place: &Place, name: &str, mode: &str) -> String {
    let repo = place.at(name);
    ostree(&repo, &["init", &format!("--mode={mode}")]);
    format!("--dest-repo={}", repo.display())
}

#[test]
fn every_mode_takes_it() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    place.import(&["base", "two"]);
    let commits = place.commits(&source);
    let mut modes = vec!["bare-user", "archive"];
    modes.extend(is_root().then_some("bare"));
    for mode in modes {
        let to = destination(&place, mode, mode);
        let copied = place.json("copy", &[&source, &to]);
        assert_eq!(text(&copied, "/commit"), commits[0]);
        let names = texts(&copied["refs"]);
        assert_eq!(names[2..], [our_ref(&source), image_ref(&source)]);
        assert_eq!(
            refs(&place.at(mode), ""),
            names.iter().map(|name| (*name).to_owned()).collect()
        );
        fsck(&place.at(mode));
        let there = format!("--repo={}", place.at(mode).display());
        let inspected = json("inspect", &[&there, &source]);
        assert_eq!(inspected, place.json("inspect", &[&source]), "{mode}");
    }
}

/// What was copied is what an import there would have made: the next version reads only its own.
#[test]
fn layers_are_known_there() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let to = destination(&place, "other", "bare-user");
    assert_eq!(
        place.said("copy", &[&source, &to]),
        format!("{}\n", place.commits(&source)[0])
    );
    let same = import(
        &place.at("other"),
        "bare-user",
        &source,
        &["--initramfs=keep"],
    );
    assert_eq!(same["unchanged"], true);
    let next = place.write(&["base", "one", "next"]);
    let digests = place.json("inspect", &[&source]);
    for layer in digests["layers"].as_array().unwrap() {
        let blob = text(layer, "/digest").replace(':', "/");
        fs::remove_file(place.at("next/blobs").join(blob)).unwrap();
    }
    let json = import(
        &place.at("other"),
        "bare-user",
        &next,
        &["--initramfs=keep"],
    );
    let layers = json["layers"].as_array().unwrap();
    let cached: Vec<_> = layers.iter().map(|layer| layer["cached"] == true).collect();
    assert_eq!(cached, [true, true, false]);
}

#[test]
fn under_another_name() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let to = destination(&place, "other", "archive");
    let target = "docker://quay.io/os/one:1";
    let copied = place.json(
        "copy",
        &[&source, &to, &format!("--target-imgref={target}")],
    );
    assert_eq!(text(&copied, "/image"), target);
    let names = refs(&place.at("other"), "");
    assert_eq!(names.len(), 4);
    assert!(names.contains(&image_ref(target)) && names.contains(&our_ref(target)));
}

/// A repo may be its own destination: then the image gets another name.
#[test]
fn within_a_repo() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let to = format!("--dest-repo={}", place.repo().display());
    place.json("copy", &[&source, &to, "--target-imgref=oci:/again"]);
    assert_eq!(place.commits("oci:/again"), place.commits(&source));
    assert_eq!(place.refs("").len(), 6);
    fsck(&place.repo());
}

/// What others pulled is not ours to keep.
#[test]
fn images_of_others_stay_theirs() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let image = place.resolve(&image_ref(&source)).unwrap();
    let importer = "--add-metadata-string=ostree.importer.version=0.15.3";
    let foreign = place.ostree(&[
        "commit",
        "--orphan",
        &format!("--tree=ref={image}"),
        importer,
        &metadata(&place, &image, "ostree.manifest"),
        &metadata(&place, &image, "ostree.manifest-digest"),
    ]);
    place.ostree(&["refs", &foreign, "--create", &image_ref("oci:foreign")]);
    let to = destination(&place, "other", "bare-user");
    let copied = place.json("copy", &["oci:foreign", &to]);
    assert_eq!(texts(&copied["refs"])[2..], [image_ref("oci:foreign")]);
    fsck(&place.at("other"));
}

/// A text of a commit as an option of `ostree commit`.
fn metadata(place: &Place, commit: &str, key: &str) -> String {
    let repo = super::support::listing::open(&place.repo());
    let (commit, _) = repo.load_commit(commit).unwrap();
    let dictionary = ostree::glib::VariantDict::new(Some(&commit.child_value(0)));
    let value: String = dictionary.lookup(key).unwrap().unwrap();
    format!("--add-metadata-string={key}={value}")
}

#[test]
fn nothing_moves_unless_all_is_there() {
    let place = Place::new();
    let (one, two) = (
        place.import(&["base", "one"]),
        place.import(&["base", "two"]),
    );
    let to = destination(&place, "other", "bare-user");
    place.json("copy", &[&one, &to]);
    let before = refs(&place.at("other"), "");
    let unchanged = |error: &str, part: &str| {
        assert!(error.contains(part), "{part:?} is not in: {error}");
        assert_eq!(refs(&place.at("other"), ""), before);
        fsck(&place.at("other"));
    };
    unchanged(
        &place.fails("copy", &["oci:missing", &to]),
        "has no image oci:missing",
    );

    // An object of its tree is gone.
    let file = place.ostree(&["ls", "-C", &image_ref(&two), "/usr/lib/two"]);
    let file = file.split_whitespace().nth(4).unwrap();
    let file = format!("objects/{}/{}.file", &file[..2], &file[2..]);
    fs::rename(place.repo().join(&file), place.at("object")).unwrap();
    unchanged(&place.fails("copy", &[&two, &to]), "copying from the repo");
    fs::rename(place.at("object"), place.repo().join(&file)).unwrap();

    // The ref of a layer is gone.
    let layer = text(&place.json("inspect", &[&two]), "/layers/1/digest").replace(':', "_3A_");
    place.ostree(&["refs", "--delete", &format!("{LAYERS}/{layer}")]);
    unchanged(
        &place.fails("copy", &[&two, &to]),
        "are not all in the repo",
    );

    // No repo is there.
    let nowhere = format!("--dest-repo={}", Path::new("/nowhere").display());
    let error = place.fails("copy", &[&one, &nowhere]);
    assert!(error.contains("/nowhere is not an ostree repo"), "{error}");
    let output = import_oci().args(["copy", &one]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
