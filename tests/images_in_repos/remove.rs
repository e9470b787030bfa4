//! `remove`: an image leaves, others stay whole.

use std::fs;

use serde_json::json;

use super::support::command::{fsck, import, text};
use super::{IMAGES, LAYERS, OURS, Place, image_ref, our_ref, texts};

#[test]
fn the_other_image_stays_whole() {
    let place = Place::new();
    let (one, two) = (
        place.import(&["base", "one"]),
        place.import(&["base", "two"]),
    );
    let gone = place.commits(&one);
    let stays = place.commits(&two);
    let layer_of_one = text(&place.json("inspect", &[&one]), "/layers/1/digest").to_owned();

    let removed = place.json("remove", &[&one]);
    assert_eq!(texts(&removed["images"]), [&*one]);
    assert_eq!(texts(&removed["kept"]), [&*one]);
    assert_eq!(texts(&removed["layers"]), [&*layer_of_one]);
    assert_eq!(removed["unreadable"], json!([]));
    assert_eq!(place.refs(IMAGES), [image_ref(&two)].into());
    assert_eq!(place.refs(OURS), [our_ref(&two)].into());
    assert_eq!(place.refs(LAYERS).len(), 2);

    // Objects stay until they are pruned.
    assert!(place.has(&format!("{}.commit", gone[0])));
    let pruned = place.json("prune", &[]);
    assert!(pruned["objects"]["removed"].as_u64() > Some(3), "{pruned}");
    fsck(&place.repo());
    assert_eq!(place.commits(&two), stays);
    let has = |commit: &String| place.has(&format!("{commit}.commit"));
    assert!(stays.iter().all(has));
    assert!(!has(&gone[0]) && !has(&gone[2]), "{gone:?}");
    assert!(
        place
            .ostree(&["ls", &stays[0], "/usr/lib/two"])
            .ends_with("/usr/lib/two")
    );
    let again = import(&place.repo(), place.mode, &two, &["--initramfs=keep"]);
    assert_eq!(again["unchanged"], true);
}

#[test]
fn layers_can_be_kept() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let said = place.said("remove", &[&source, "--skip-gc"]);
    assert_eq!(
        said,
        format!("removed {source}\n`import-oci prune` frees the space\n")
    );
    assert_eq!(place.refs(LAYERS).len(), 2);
    assert_eq!(place.refs(IMAGES).len() + place.refs(OURS).len(), 0);
    // No image says any more that they are what their refs say; but their objects are there.
    let json = import(&place.repo(), place.mode, &source, &["--initramfs=keep"]);
    let layers = json["layers"].as_array().unwrap();
    assert!(layers.iter().all(|layer| layer["cached"] == false));
    assert_eq!(json["objects"]["content_written"], 0);
}

#[test]
fn all_or_nothing() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let error = place.fails("remove", &[&source, "oci:missing", "oci:lost"]);
    assert!(error.contains("no image oci:missing, oci:lost;"), "{error}");
    let output = place.output("remove", &[]);
    assert_eq!(output.status.code(), Some(2));
    // One named twice is one.
    let removed = place.json("remove", &[&source, &source]);
    assert_eq!(texts(&removed["images"]), [&*source]);
    assert_eq!(texts(&removed["layers"]).len(), 2);
}

#[test]
fn imports_without_a_name_for_others() {
    let place = Place::new();
    fs::create_dir_all(place.at("root/usr")).unwrap();
    let root = format!("rootfs:{}", place.at("root").display());
    import(&place.repo(), "bare-user", &root, &[]);
    let removed = place.json("remove", &[&root]);
    assert_eq!(
        (&removed["images"], texts(&removed["kept"])),
        (&json!([]), vec![&*root])
    );
    assert_eq!(place.refs("").len(), 0);
}

/// The same image under two names: each has refs of its own.
#[test]
fn another_name_of_the_image_stays() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let target = [
        "--initramfs=keep",
        "--target-imgref=docker://quay.io/os/one:1",
    ];
    import(&place.repo(), place.mode, &source, &target);
    place.json("remove", &["docker://quay.io/os/one:1"]);
    assert_eq!(place.refs(IMAGES), [image_ref(&source)].into());
    assert_eq!(place.refs(OURS), [our_ref(&source)].into());
    assert_eq!(place.refs(LAYERS).len(), 2);
}

/// What cannot be read may need any layer, and a name that cannot be read needs those of its commit.
#[test]
fn what_is_not_understood_keeps_its_layers() {
    let place = Place::new();
    let (one, two) = (
        place.import(&["base", "one"]),
        place.import(&["base", "two"]),
    );
    let odd = format!("{IMAGES}/no.transport");
    place.ostree(&["refs", &image_ref(&one), "--create", &odd]);
    let removed = place.json("remove", &[&one]);
    assert_eq!(texts(&removed["images"]), [&*one]);
    assert_eq!(removed["layers"], json!([]));
    assert_eq!(text(&removed, "/unreadable/0/name"), odd);
    place.ostree(&["refs", "--delete", &odd]);

    fs::create_dir(place.at("tree")).unwrap();
    let tree = format!("--tree=dir={}", place.at("tree").display());
    let plain = format!("{IMAGES}/oci_3A_plain");
    place.ostree(&["commit", "--branch", &plain, &tree]);
    let removed = place.json("remove", &[&two]);
    assert_eq!(removed["layers"], json!([]));
    assert_eq!(text(&removed, "/unreadable/0/name"), plain);
    assert_eq!(place.refs(LAYERS).len(), 3);

    // A layer whose name cannot be read stays, the others leave.
    let layer = format!("{LAYERS}/odd.name");
    place.ostree(&["refs", &plain, "--create", &layer]);
    let removed = place.json("remove", &["oci:plain"]);
    assert_eq!(texts(&removed["layers"]).len(), 3);
    assert_eq!(text(&removed, "/unreadable/0/name"), layer);
    assert_eq!(place.refs(""), [layer].into());
}
