//! The image decides the commit, and nothing else: not the transport, the compression, the number
//! of threads, the mode of the repo, nor the host and its policy. What we write about an image is
//! pinned here, on images that the tests write byte for byte.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use import_oci::digest::Digest;
use ostree::glib::Variant;
use serde_json::Value;
use support::command::{
    fsck, import, import_arguments, import_oci, is_root, not_run, run, scratch, skopeo_copy,
    skopeo_digest, text,
};
use support::layout::{CREATED, EPOCH, FILE_CONTEXTS, Image, Layer, specimen};
use support::listing::{open, read_commit};

/// The commit of [`specimen`]. It changes when what we make of an image changes: that is when
/// `contract::metadata::FORMAT` has to grow, too.
const GOLDEN: &str = "9bfcc6ef8104b6de74ecae653ed19f0cbff79fe01164399ab6a275ec38104235";

#[test]
fn golden_in_repos_of_every_mode() {
    let directory = scratch();
    let image = specimen().write(&directory.path().join("image"));
    for (mode, options) in [
        ("bare", &[][..]),
        ("bare-user", &["--threads=1"]),
        ("bare-user", &["--threads=2"]),
        ("archive", &["--threads=5"]),
    ] {
        if mode == "bare" && !is_root() {
            not_run("a bare repo takes root");
            continue;
        }
        let repo = directory.path().join(mode);
        let json = import(&repo, mode, &image, options);
        assert_eq!(json["commit"], GOLDEN, "{mode} {options:?}: {json:#}");
        fsck(&repo);
        let again = import(&repo, mode, &image, options);
        assert_eq!(again["commit"], GOLDEN, "{mode} {options:?}");
        assert_eq!(again["objects"]["content_written"], 0);
        assert_eq!(again["objects"]["metadata_written"], 0);
    }
}

#[test]
fn copies_of_an_image() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let image = specimen().write(Path::new(&at("image")));
    let tree = import(&repo, "bare-user", &image, &[])["tree"].clone();

    let verbatim = "--dest-oci-accept-uncompressed-layers";
    let zstd = "--dest-compress-format=zstd";
    for (transport, name, options, same_manifest) in [
        ("oci", "verbatim:v1", &[verbatim][..], true),
        ("oci-archive", "verbatim.tar:v1", &[verbatim], true),
        ("oci", "gzip:v1", &[], false),
        ("oci-archive", "gzip.tar:v1", &[], false),
        ("oci", "zstd:v1", &[zstd], false),
        ("docker-archive", "docker.tar:a/b:v1", &[], false),
    ] {
        let copy = format!("{transport}:{}", at(name));
        skopeo_copy(&image, &copy, options);
        let json = import(&repo, "bare-user", &copy, &[]);
        assert_eq!(json["tree"], tree, "{copy}");
        assert_eq!(json["commit"] == GOLDEN, same_manifest, "{copy}");
        assert_eq!(json["manifest_digest"], skopeo_digest(&copy), "{copy}");
        assert_eq!(json["timestamp"], EPOCH, "{copy}");
    }
    fsck(&repo);
}

#[test]
fn metadata_of_an_image() {
    let directory = scratch();
    let (repo, layout) = (
        directory.path().join("repo"),
        directory.path().join("image"),
    );
    let image = specimen().write(&layout);
    let json = import(&repo, "bare-user", &image, &[]);
    let blob = |digest: &str| {
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        fs::read_to_string(path).unwrap()
    };
    let manifest_digest = skopeo_digest(&image);
    let manifest = blob(&manifest_digest);
    let config: Value = serde_json::from_str(&manifest).unwrap();
    let config = blob(text(&config, "/config/digest"));
    assert_eq!(Digest::of(manifest.as_bytes()).to_string(), manifest_digest);
    // Others cannot read it without.
    let mut stored: Value = serde_json::from_str(&config).unwrap();
    stored["history"] = Value::Array(Vec::new());
    let stored = stored.to_string();
    assert_eq!(
        metadata(&repo, &json),
        [
            ("import-oci.options", "s", "--no-kernel"),
            ("ostree.bootable", "b", "true"),
            ("ostree.container.image-config", "s", &stored),
            ("ostree.importer.version", "s", "import-oci 5"),
            ("ostree.linux", "s", "6.1.0"),
            ("ostree.manifest", "s", &manifest),
            ("ostree.manifest-digest", "s", &manifest_digest),
            ("version", "s", "1.2"),
        ]
        .map(|(key, kind, value)| [key, kind, value].map(str::to_owned))
    );
    assert_eq!(text(&json, "/manifest_digest"), manifest_digest);
    assert_eq!(
        text(&json, "/config_digest"),
        Digest::of(config.as_bytes()).to_string()
    );

    // Neither a parent nor related objects, neither a subject nor a body.
    let (commit, _) = open(&repo).load_commit(text(&json, "/commit")).unwrap();
    assert_eq!(commit.type_().as_str(), "(a{sv}aya(say)sstayay)");
    assert_eq!(
        [1, 2].map(|index| commit.child_value(index).n_children()),
        [0, 0]
    );
    assert_eq!(
        [3, 4].map(|index| commit.child_value(index).str().unwrap().len()),
        [0, 0]
    );
    assert_eq!(u64::from_be(commit.child_value(5).get().unwrap()), EPOCH);
}

#[test]
fn metadata_of_a_root() {
    let directory = scratch();
    let (repo, root) = (directory.path().join("repo"), directory.path().join("root"));
    fs::create_dir_all(root.join("usr")).unwrap();
    let root = format!("rootfs:{}", root.display());
    let json = import(&repo, "bare-user", &root, &["--timestamp=86400"]);
    let [options, config, importer, manifest, digest] = metadata(&repo, &json).try_into().unwrap();
    assert_eq!(options, ["import-oci.options", "s", "--no-kernel"]);
    assert_eq!(importer, ["ostree.importer.version", "s", "import-oci 5"]);
    let [key, _, manifest] = manifest;
    assert_eq!(key, "ostree.manifest");
    let manifest_digest = Digest::of(manifest.as_bytes()).to_string();
    assert_eq!(digest, ["ostree.manifest-digest", "s", &manifest_digest]);
    assert_eq!(text(&json, "/manifest_digest"), manifest_digest);
    let [key, _, config] = config;
    assert_eq!(key, "ostree.container.image-config");
    assert_eq!(
        text(&json, "/config_digest"),
        Digest::of(config.as_bytes()).to_string()
    );

    // One layer that nobody has: its digest is also its diff_id.
    let [manifest, config]: [Value; 2] =
        [manifest, config].map(|text| serde_json::from_str(&text).unwrap());
    assert_eq!(manifest["config"]["digest"], json["config_digest"]);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    assert_eq!(
        manifest["layers"][0]["digest"],
        config["rootfs"]["diff_ids"][0]
    );
    assert_eq!(config["created"], "1970-01-02T00:00:00Z");
}

#[test]
fn date_of_an_image() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let layer = || Layer::new().directory("usr", 0o755);
    let dated = |created: Option<&str>, annotation: Option<&str>| {
        let mut image = Image::new().layer(layer());
        if let Some(date) = created {
            image = image.created(date);
        }
        match annotation {
            Some(date) => image.created_annotation(date),
            None => image,
        }
    };
    for (index, (created, annotation, expected)) in [
        (Some(CREATED), None, EPOCH),
        (None, Some(CREATED), EPOCH),
        (Some("2001-09-09T01:46:40Z"), Some(CREATED), EPOCH),
        (
            Some(CREATED),
            Some("2001-09-09T03:46:40.9+02:00"),
            1_000_000_000,
        ),
        (Some(CREATED), Some("long ago"), EPOCH),
        (Some("0001-01-01T00:00:00Z"), None, 0),
        (None, None, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let layout = directory.path().join(index.to_string());
        let image = dated(created, annotation).write(&layout);
        // Nothing that dates a root dates an image.
        let output = run(import_oci()
            .args(import_arguments(&repo, "bare-user", &image))
            .env("SOURCE_DATE_EPOCH", "5")
            .arg("--quiet"));
        let commit = String::from_utf8(output.stdout).unwrap();
        let date = timestamp(&repo, commit.trim());
        assert_eq!(date, expected, "{created:?} {annotation:?}");
    }
}

#[test]
fn date_of_a_root() {
    let directory = scratch();
    let (repo, root) = (directory.path().join("repo"), directory.path().join("root"));
    fs::create_dir_all(root.join("usr")).unwrap();
    fs::write(root.join("usr/file"), "").unwrap();
    for (path, seconds) in [("usr/file", 7_000), ("usr", 9_000), ("", 8_000)] {
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 999);
        let file = File::open(root.join(path)).unwrap();
        file.set_modified(date).unwrap();
    }
    let source = format!("rootfs:{}", root.display());
    for (variable, option, expected) in [
        (None, None, 9_000),
        (Some("6"), None, 6),
        (None, Some("--timestamp=5"), 5),
        (Some("6"), Some("--timestamp=5"), 5),
    ] {
        let mut command = import_oci();
        command
            .args(import_arguments(&repo, "bare-user", &source))
            .arg("--quiet")
            .args(option)
            .envs(variable.map(|date| ("SOURCE_DATE_EPOCH", date)));
        let commit = String::from_utf8(run(&mut command).stdout).unwrap();
        let date = timestamp(&repo, commit.trim());
        assert_eq!(date, expected, "{variable:?} {option:?}");
    }
}

#[test]
fn bootable_with_exactly_one_kernel() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let base = || Layer::new().directory("usr/lib/modules/empty", 0o755);
    for (index, (layer, expected)) in [
        (base(), None),
        (
            base().file("usr/lib/modules/6.1/vmlinuz", 0o644, "1"),
            Some("6.1"),
        ),
        (
            base().file("usr/lib/modules/6.1/vmlinuz", 0o644, "1").file(
                "usr/lib/modules/6.2/vmlinuz",
                0o644,
                "2",
            ),
            None,
        ),
        (
            base()
                .file("usr/lib/modules/6.1/vmlinuz", 0o644, "1")
                .symlink("usr/lib/modules/6.2/vmlinuz", "../6.1/vmlinuz"),
            Some("6.1"),
        ),
        (base().file("boot/vmlinuz-6.1", 0o644, "1"), None),
    ]
    .into_iter()
    .enumerate()
    {
        let layout = directory.path().join(index.to_string());
        let image = Image::new().layer(layer).write(&layout);
        let json = import(&repo, "bare-user", &image, &[]);
        assert_eq!(json["kernel"].as_str(), expected, "{index}");
        let metadata = metadata(&repo, &json);
        let of = |wanted: &str| metadata.iter().find(|[key, ..]| key == wanted);
        let linux = of("ostree.linux").map(|[_, kind, value]| [&**kind, &**value]);
        let bootable = of("ostree.bootable").map(|[_, kind, value]| [&**kind, &**value]);
        assert_eq!(linux, expected.map(|version| ["s", version]), "{index}");
        assert_eq!(bootable, expected.map(|_| ["b", "true"]), "{index}");
    }
}

#[test]
fn no_policy_no_labels() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let json = import(&repo, "bare-user", &without_policy(directory.path()), &[]);
    assert_eq!(json["selinux"], Value::Null);
    let commit = read_commit(&repo, text(&json, "/commit"));
    assert!(commit.listing.values().all(|node| node.xattrs.is_empty()));
}

/// An `/etc` with nothing but a policy, one that labels everything wrong, makes no difference.
#[test]
fn the_policy_of_the_host_is_never_consulted() {
    let may_mount = Command::new("unshare").args(["--mount", "true"]).output();
    if !may_mount.unwrap().status.success() {
        return not_run("another /etc takes the right to mount");
    }
    let directory = scratch();
    let repo = directory.path().join("repo");
    let etc = directory.path().join("etc");
    let files = etc.join("selinux/tiny/contexts/files");
    fs::create_dir_all(&files).unwrap();
    let config = "SELINUX=enforcing\nSELINUXTYPE=tiny\n";
    fs::write(etc.join("selinux/config"), config).unwrap();
    let contexts = FILE_CONTEXTS.replace("_t:s0", "_of_the_host_t:s0");
    fs::write(files.join("file_contexts"), contexts).unwrap();
    fs::write(files.join("file_contexts.subs"), "/usr/bin /usr/lib\n").unwrap();

    let with_policy = specimen().write(&directory.path().join("with-policy"));
    for source in [with_policy, without_policy(directory.path())] {
        let expected = import(&repo, "bare-user", &source, &[]);
        let output = run(Command::new("unshare")
            .args(["--mount", "sh", "-ec"])
            .arg("mount --bind \"$0\" /etc; test -e /etc/selinux/tiny; exec \"$@\"")
            .arg(&etc)
            .arg(import_oci().get_program())
            .args(import_arguments(&repo, "bare-user", &source)));
        let commit = String::from_utf8(output.stdout).unwrap();
        assert_eq!(commit.trim(), text(&expected, "/commit"));
    }
}

/// Writes an image without a policy into `directory`.
fn without_policy(directory: &Path) -> String {
    let layer = Layer::new()
        .file("etc/shadow", 0o640, "")
        .file("usr/bin/sh", 0o755, "#!");
    let image = Image::new().layer(layer);
    image.write(&directory.join("without-policy"))
}

/// Key, type and value of the metadata of a commit, in its order.
fn metadata(repo: &Path, json: &Value) -> Vec<[String; 3]> {
    let (commit, _) = open(repo).load_commit(text(json, "/commit")).unwrap();
    let entries = commit.child_value(0);
    let entry = |entry: Variant| {
        let (key, value) = (entry.child_value(0), entry.child_value(1));
        let value = value.as_variant().expect("a variant");
        let printed = value
            .str()
            .map_or_else(|| value.print(false).into(), str::to_owned);
        [
            key.str().unwrap().to_owned(),
            value.type_().to_string(),
            printed,
        ]
    };
    entries.iter().map(entry).collect()
}

fn timestamp(repo: &Path, commit: &str) -> u64 {
    let (commit, _) = open(repo).load_commit(commit).unwrap();
    ostree::commit_get_timestamp(&commit)
}
