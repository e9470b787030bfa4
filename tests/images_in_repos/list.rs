//! What `list`, `inspect` and `history` tell.

use std::fs;

use serde_json::{Value, json};

use super::support::command::{import, text};
use super::support::layout::{EPOCH, specimen};
use super::{IMAGES, LAYERS, Place, image_ref, our_ref, texts};

#[test]
fn images() {
    let place = Place::new();
    let sources = [
        place.import(&["base", "one"]),
        place.import(&["base", "two"]),
    ];
    let listed = place.json("list", &[]);
    let images = listed["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!(
        (&listed["kept"], &listed["unreadable"]),
        (&json!([]), &json!([]))
    );
    for (image, source) in images.iter().zip(&sources) {
        assert_eq!(text(image, "/image"), source);
        assert_eq!(
            image["commit"].as_str(),
            place.resolve(&image_ref(source)).as_deref()
        );
        let rest = ["image_version", "timestamp", "layers", "deployed", "format"];
        let rest: Vec<_> = rest.iter().map(|field| image[field].clone()).collect();
        assert_eq!(json!(rest), json!(["7", EPOCH, 2, false, 2]));
    }
    let said = place.said("list", &[]);
    assert_eq!(said.lines().count(), 3, "{said}");
    for part in [
        "image",
        sources[0].as_str(),
        &sources[1],
        "2023-11-14T22:13:20Z",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn imports_without_a_name_for_others() {
    let place = Place::new();
    let root = place.at("root/usr");
    fs::create_dir_all(&root).unwrap();
    let root = format!("rootfs:{}", root.parent().unwrap().display());
    import(&place.repo(), "bare-user", &root, &[]);
    let unnamed = place.write(&["base", "unnamed"]);
    import(&place.repo(), "bare-user", &unnamed, &["--no-imgref"]);
    let listed = place.json("list", &[]);
    assert_eq!(listed["images"], json!([]));
    let kept = listed["kept"].as_array().unwrap();
    let references: Vec<_> = kept.iter().map(|kept| text(kept, "/reference")).collect();
    assert_eq!(references, [&*unnamed, &*root]);
    for kept in kept {
        let commit = place.resolve(&our_ref(text(kept, "/reference")));
        assert_eq!(kept["commit"].as_str(), commit.as_deref());
    }
    assert!(place.said("list", &[]).contains(&root));
}

#[test]
fn one_image() {
    let place = Place::new();
    let source = specimen().write(&place.at("image"));
    let imported = import(&place.repo(), "bare-user", &source, &["--var=drop"]);
    let inspected = place.json("inspect", &[&source]);
    for field in ["commit", "timestamp", "manifest_digest", "config_digest"] {
        assert_eq!(inspected[field], imported[field], "{field}");
    }
    for (field, expected) in [
        ("image", json!(source)),
        ("base_commit", Value::Null),
        ("deployed", json!(false)),
        ("image_version", json!("1.2")),
        ("kernel", json!("6.1.0")),
        ("policy", json!("tiny")),
        ("importer", json!("import-oci 2")),
        ("format", json!(2)),
        ("options", json!("--no-kernel --var=drop")),
        ("cached_update", Value::Null),
        ("refs", json!([our_ref(&source), image_ref(&source)])),
    ] {
        assert_eq!(inspected[field], expected, "{field}");
    }
    let layers = inspected["layers"].as_array().unwrap();
    for (layer, imported) in layers.iter().zip(imported["layers"].as_array().unwrap()) {
        let digest = text(imported, "/digest");
        assert_eq!(layer["digest"], digest);
        assert_eq!(layer["size"], imported["size"]);
        let name = format!("{LAYERS}/{}", digest.replace(':', "_3A_"));
        assert_eq!(layer["commit"].as_str(), place.resolve(&name).as_deref());
    }
    // Byte for byte what the image has.
    for (option, field) in [("--manifest", "manifest"), ("--config", "config")] {
        let said = place.said("inspect", &[&source, option]);
        let blob = text(&inspected, &format!("/{field}_digest")).replace(':', "/");
        let blob = fs::read_to_string(place.at("image/blobs").join(blob)).unwrap();
        assert_eq!(said, blob);
        let parsed: Value = serde_json::from_str(&blob).unwrap();
        assert_eq!(inspected[field], parsed);
    }
    let said = place.said("inspect", &[&source]);
    for part in [
        "policy    tiny\n",
        "made by   import-oci, format 2\n",
        "version   1.2\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let missing = place.fails("inspect", &["oci:missing"]);
    assert!(missing.contains("has no image oci:missing"), "{missing}");
    let odd = place.fails("inspect", &["missing"]);
    assert!(odd.contains("names no image"), "{odd}");
}

/// An image is found under what was typed when it was imported, and under what an origin says.
#[test]
fn many_ways_to_name_it() {
    let place = Place::new();
    let source = place.write(&["base"]);
    let digest = format!("sha256:{}", "0".repeat(64));
    let target = format!("--target-imgref=docker://quay.io/os/x:1@{digest}");
    import(&place.repo(), "bare-user", &source, &[&target]);
    let canonical = format!("docker://quay.io/os/x@{digest}");
    for name in [
        canonical.clone(),
        format!("docker://quay.io/os/x:1@{digest}"),
        format!("registry:quay.io/os/x@{digest}"),
        format!("ostree-unverified-registry:quay.io/os/x:1@{digest}"),
    ] {
        let inspected = place.json("inspect", &[&name]);
        assert_eq!(text(&inspected, "/image"), canonical, "{name}");
    }
}

/// `ostree/container/image/…` as others may leave it, and what they say.
#[test]
fn what_cannot_be_read_is_told() {
    let place = Place::new();
    let good = place.import(&["base", "good"]);
    let headless = place.import(&["lowest", "headless"]);
    let lowest = text(&place.json("inspect", &[&headless]), "/layers/0/digest").to_owned();
    let lowest = format!("{LAYERS}/{}", lowest.replace(':', "_3A_"));
    place.ostree(&["refs", "--delete", &lowest]);
    let tree = place.at("tree");
    fs::create_dir(&tree).unwrap();
    let plain = format!("{IMAGES}/oci_3A_plain");
    let odd = format!("{IMAGES}/no.transport");
    let tree = format!("--tree=dir={}", tree.display());
    place.ostree(&["commit", "--branch", &plain, &tree]);
    place.ostree(&["refs", &plain, "--create", &odd]);

    let listed = place.json("list", &[]);
    assert_eq!(listed["images"].as_array().unwrap().len(), 1);
    assert_eq!(text(&listed, "/images/0/image"), good);
    let unreadable = listed["unreadable"].as_array().unwrap();
    let names: Vec<_> = unreadable.iter().map(|one| text(one, "/name")).collect();
    assert_eq!(names, [&*odd, &*image_ref(&headless), &plain]);
    for (one, reason) in unreadable.iter().zip([
        "unescaped character '.'",
        "of its lowest layer is missing",
        "ostree.manifest-digest is missing",
    ]) {
        let said = text(one, "/reason");
        assert!(said.contains(reason), "{reason:?} is not in: {said}");
    }
    let said = place.said("list", &[]);
    assert!(said.contains(&format!("unreadable  {odd}: ")), "{said}");
    let error = place.fails("inspect", &["oci:plain"]);
    assert!(error.contains("ostree.manifest-digest"), "{error}");
    // The commit of the image without its lowest layer says all that is asked of it.
    assert_eq!(
        place.json("inspect", &[&headless])["layers"][0]["commit"],
        Value::Null
    );
}

#[test]
fn how_layers_were_made() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let history = place.json("history", &[&source]);
    assert_eq!(
        history["layers"],
        place.json("inspect", &[&source])["layers"]
    );
    assert_eq!(place.said("history", &[&source]).lines().count(), 3);

    let squashed = place.write(&["base", "squashed"]);
    import(&place.repo(), "bare-user", &squashed, &["--squash"]);
    let history = place.json("history", &[&squashed]);
    let layers = history["layers"].as_array().unwrap();
    let made: Vec<_> = layers.iter().map(|layer| &layer["created_by"]).collect();
    assert_eq!(made, ["import-oci"]);
    assert!(place.said("history", &[&squashed]).contains("import-oci"));
    assert_eq!(texts(&place.json("inspect", &[&squashed])["refs"]).len(), 3);
}

/// An image as old versions of ostree-ext left it, and an update that a newer one saw.
#[test]
fn images_of_others() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let inspected = place.json("inspect", &[&source]);
    let commit = text(&inspected, "/commit");
    let tree = format!("--tree=ref={commit}");
    let parent = format!("--parent={commit}");
    let metadata = [
        ("ostree.manifest", inspected["manifest"].to_string()),
        (
            "ostree.manifest-digest",
            format!("sha256:{}", "a".repeat(64)),
        ),
        ("ostree.container.image-config", "null".to_owned()),
        ("ostree.importer.version", "0.15.3".to_owned()),
    ];
    let metadata = metadata.map(|(key, value)| format!("--add-metadata-string={key}={value}"));
    let update = format!("sha256:{}", "b".repeat(64));
    let detached = [
        ("manifest-digest", update.clone()),
        ("manifest", inspected["manifest"].to_string()),
        ("config", inspected["config"].to_string()),
    ];
    let detached = detached.map(|(key, value)| {
        format!("--add-detached-metadata-string=ostree-ext.cached.{key}={value}")
    });
    let arguments = ["commit", "--orphan", &tree, &parent].map(str::to_owned);
    let arguments: Vec<_> = arguments.iter().chain(&metadata).chain(&detached).collect();
    let arguments: Vec<_> = arguments.into_iter().map(String::as_str).collect();
    let foreign = place.ostree(&arguments);
    place.ostree(&["refs", &foreign, "--create", &image_ref("oci:foreign")]);

    let inspected = place.json("inspect", &["oci:foreign"]);
    for (field, expected) in [
        ("base_commit", json!(commit)),
        (
            "manifest_digest",
            json!(format!("sha256:{}", "a".repeat(64))),
        ),
        ("image_version", Value::Null),
        ("importer", json!("0.15.3")),
        ("format", Value::Null),
        ("options", Value::Null),
        (
            "cached_update",
            json!({ "manifest_digest": update, "image_version": "7" }),
        ),
    ] {
        assert_eq!(inspected[field], expected, "{field}");
    }
    let said = place.said("inspect", &["oci:foreign"]);
    for part in ["made by   0.15.3\n", &format!("update    {update} 7\n")] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert_eq!(
        place.json("list", &[])["images"].as_array().unwrap().len(),
        2
    );
}
