//! The shapes of what is imported: which commits and refs there are, and what they say to others.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::command::{
    fsck, import, import_arguments, import_oci, run, scratch, skopeo_digest, text,
};
use support::layout::{FILE_CONTEXTS, Image, Layer, specimen};
use support::listing::{Kind, Listing, open, read_commit};
use tempfile::TempDir;

/// A directory with the specimen and a repo.
struct Place {
    directory: TempDir,
    source: String,
}

impl Place {
    fn new() -> Self {
        Self::of(specimen())
    }

    fn of(image: Image) -> Self {
        let directory = scratch();
        let source = image.write(&directory.path().join("image"));
        Self { directory, source }
    }

    fn repo(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    fn import(&self, options: &[&str]) -> Value {
        import(&self.repo(), "bare-user", &self.source, options)
    }

    /// What an import says that may fail.
    fn output(&self, options: &[&str]) -> Output {
        let mut command = import_oci();
        command.args(import_arguments(&self.repo(), "bare-user", &self.source));
        command.arg("--quiet").args(options).output().unwrap()
    }

    /// The commit that a ref points to.
    fn resolve(&self, name: &str) -> Option<String> {
        let commit = open(&self.repo()).resolve_rev(name, true).unwrap();
        commit.map(Into::into)
    }

    /// A text in the metadata of a commit.
    fn said(&self, commit: &str, key: &str) -> Option<String> {
        let (commit, _) = open(&self.repo()).load_commit(commit).unwrap();
        let dictionary = ostree::glib::VariantDict::new(Some(&commit.child_value(0)));
        dictionary.lookup(key).unwrap()
    }

    /// The names of all refs.
    fn refs(&self) -> BTreeSet<String> {
        let refs = open(&self.repo()).list_refs(None, ostree::gio::Cancellable::NONE);
        refs.unwrap().into_keys().collect()
    }

    /// Makes sure that nothing of the image but manifest and configuration is read any more.
    fn remove_layers(&self, json: &Value) {
        for digest in digests(json) {
            fs::remove_file(self.blob(&digest)).unwrap();
        }
    }

    fn blob(&self, digest: &str) -> PathBuf {
        let blobs = self.directory.path().join("image/blobs");
        blobs.join(digest.replace(':', "/"))
    }
}

/// The digests of the layers.
fn digests(json: &Value) -> Vec<String> {
    let layers = json["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| text(layer, "/digest").to_owned())
        .collect()
}

fn blob_ref(digest: &str) -> String {
    format!("ostree/container/blob/{}", digest.replace(':', "_3A_"))
}

/// `prefix/` and the reference as refs hold it.
fn escaped(prefix: &str, reference: &str) -> String {
    import_oci::contract::ref_escape::escape_with_prefix(prefix, reference).unwrap()
}

const IMAGES: &str = "ostree/container/image";
const OUR_BASE_IMAGES: &str = "ostree/container/baseimage/import-oci";

#[test]
fn refs_of_an_image() {
    let place = Place::new();
    let json = place.import(&["--write-ref=os/test"]);
    let commit = text(&json, "/commit");
    let blobs: Vec<_> = digests(&json).iter().map(|d| blob_ref(d)).collect();
    let mut expected = blobs.clone();
    expected.extend([
        escaped(OUR_BASE_IMAGES, &place.source),
        "os/test".to_owned(),
        escaped(IMAGES, &place.source),
    ]);
    assert_eq!(json["refs"], json!(expected));
    assert_eq!(json["image"], place.source);
    assert_eq!(place.refs(), expected.iter().cloned().collect());
    for name in &expected {
        let points_to = place.resolve(name).unwrap();
        assert_eq!(points_to == commit, !blobs.contains(name), "{name}");
    }
    let manifest = place.said(commit, "ostree.manifest").unwrap();
    let digest = skopeo_digest(&place.source);
    assert_eq!(manifest, fs::read_to_string(place.blob(&digest)).unwrap());
    for (layer, name) in json["layers"].as_array().unwrap().iter().zip(&blobs) {
        let commit = place.resolve(name).unwrap();
        let said = |key| place.said(&commit, key);
        assert_eq!(
            said("import-oci.diff-id").as_deref(),
            layer["diff_id"].as_str()
        );
        let importer = said("ostree.importer.version");
        assert_eq!(importer.as_deref(), Some("import-oci 5"));
        assert_eq!(said("ostree.manifest-digest"), None);
    }
    fsck(&place.repo());
}

/// What checkouts of the layers, one over the other, hold: as ostree-ext merges them.
fn checked_out(place: &Place, blobs: &[String]) -> PathBuf {
    let tree = place.directory.path().join("tree");
    for name in blobs {
        run(Command::new("ostree")
            .args(["checkout", "--user-mode", "--union", "--whiteouts"])
            .arg(format!("--repo={}", place.repo().display()))
            .arg(name)
            .arg(&tree));
    }
    tree
}

#[test]
fn layers_laid_over_each_other_are_the_image() {
    let place = Place::new();
    let json = place.import(&[]);
    let blobs: Vec<_> = digests(&json).iter().map(|d| blob_ref(d)).collect();
    let tree = checked_out(&place, &blobs);
    let commit = read_commit(&place.repo(), text(&json, "/commit")).listing;
    let mut compared = 0;
    for (path, node) in commit.iter().filter(|(path, _)| path.starts_with(b"usr/")) {
        let file = tree.join(std::str::from_utf8(path).unwrap());
        let Ok(metadata) = file.symlink_metadata() else {
            // What fixups add, and where they move what lay in /var.
            let added = [
                &b"usr/lib/tmpfiles.d"[..],
                b"usr/lib/sysusers.d",
                b"usr/share/factory",
            ];
            let added = added.iter().any(|place| path.starts_with(place)) || path == b"usr/share";
            assert!(added, "{}", file.display());
            continue;
        };
        // What fixups change.
        if [&b"file_contexts.subs_dist"[..], b"usr/etc/shadow"]
            .iter()
            .any(|name| path.ends_with(name))
        {
            continue;
        }
        match &node.kind {
            Kind::File { content, .. } if metadata.is_file() => {
                let bytes = fs::read(&file).unwrap_or_default();
                let unreadable = node.mode & 0o400 == 0;
                let same = import_oci::digest::Digest::of(&bytes) == *content;
                assert!(same || unreadable, "{}", file.display());
                compared += 1;
            }
            Kind::Directory => assert!(metadata.is_dir(), "{}", file.display()),
            Kind::Symlink(_) => assert!(metadata.is_symlink(), "{}", file.display()),
            other => panic!("{}: {other:?}", file.display()),
        }
    }
    assert!(compared > 10, "{compared}");
    for gone in [
        "bin",
        "usr/lib/old/gone",
        "etc",
        "dev/null",
        "var/games/queue",
    ] {
        assert!(!tree.join(gone).exists(), "{gone}");
    }
}

/// Of every regular file and link, its object by its path.
fn objects(repo: &Path, commit: &str) -> Vec<(String, String)> {
    let output = run(Command::new("ostree")
        .args(["ls", "-R", "-C", commit])
        .arg(format!("--repo={}", repo.display())));
    let listing = String::from_utf8(output.stdout).unwrap();
    let files = listing.lines().filter(|line| !line.starts_with('d'));
    files
        .map(|line| {
            let mut words = line.split_whitespace().skip(4);
            let checksum = words.next().unwrap().to_owned();
            (words.next().unwrap().to_owned(), checksum)
        })
        .collect()
}

#[test]
fn what_survives_unchanged_is_one_object() {
    let lower = Layer::new()
        .file("etc/a", 0o644, "a")
        .file("usr/lib/shadowed", 0o644, "below")
        .file("usr/lib/b", 0o600, "b")
        .symlink("usr/lib/c", "b");
    let upper = Layer::new().file("usr/lib/shadowed", 0o644, "above");
    let place = Place::of(Image::new().layer(lower).layer(upper));
    let json = place.import(&[]);
    let merged = objects(&place.repo(), text(&json, "/commit"));
    let of_layer = |index: usize| {
        let commit = place.resolve(&blob_ref(&digests(&json)[index]));
        objects(&place.repo(), &commit.unwrap())
    };
    let (lower, upper) = (of_layer(0), of_layer(1));
    let of = |objects: &[(String, String)], path: &str| {
        let found = objects.iter().find(|(name, _)| name == path);
        found.unwrap_or_else(|| panic!("{path}")).1.clone()
    };
    for path in ["/usr/etc/a", "/usr/lib/b", "/usr/lib/c"] {
        assert_eq!(of(&lower, path), of(&merged, path), "{path}");
    }
    let shadowed = "/usr/lib/shadowed";
    assert_eq!(of(&upper, shadowed), of(&merged, shadowed));
    assert_ne!(of(&lower, shadowed), of(&merged, shadowed));
}

#[test]
fn layers_carry_the_final_policy() {
    let lower = Layer::new()
        .file("usr/bin/sh", 0o755, "#!")
        .xattrs(&[("security.selinux", b"of_the_builder\0")])
        .file("etc/shadow", 0o640, "");
    let upper = Layer::new()
        .file(
            "etc/selinux/config",
            0o644,
            "SELINUX=enforcing\nSELINUXTYPE=tiny\n",
        )
        .file(
            "etc/selinux/tiny/contexts/files/file_contexts",
            0o644,
            FILE_CONTEXTS,
        );
    let place = Place::of(Image::new().layer(lower).layer(upper));
    let json = place.import(&[]);
    let commit = place.resolve(&blob_ref(&digests(&json)[0])).unwrap();
    let listing: Listing = read_commit(&place.repo(), &commit).listing;
    for (path, label) in [
        ("usr/bin/sh", "bin_t"),
        ("usr/etc/shadow", "shadow_t"),
        ("usr/etc", "etc_t"),
        ("", "root_t"),
    ] {
        let xattrs = &listing[path.as_bytes()].xattrs;
        let expected = format!("system_u:object_r:{label}:s0\0").into_bytes();
        assert_eq!(
            xattrs.get(&b"security.selinux"[..]),
            Some(&expected),
            "{path}"
        );
    }
}

#[test]
fn squashed() {
    let place = Place::new();
    let faithful = place.import(&["--no-imgref"]);
    let json = place.import(&["--squash"]);
    assert_eq!(json["tree"], faithful["tree"]);
    assert_ne!(json["commit"], faithful["commit"]);
    let commit = text(&json, "/commit");
    let stored =
        |key: &str| -> Value { serde_json::from_str(&place.said(commit, key).unwrap()).unwrap() };
    let (manifest, config) = (
        stored("ostree.manifest"),
        stored("ostree.container.image-config"),
    );

    // One layer that nobody else has, whose commit is this one.
    let layer = text(&manifest, "/layers/0/digest");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(config["rootfs"]["diff_ids"], json!([layer]));
    assert_eq!(config["history"].as_array().unwrap().len(), 1);
    assert_eq!(place.resolve(&blob_ref(layer)).as_deref(), Some(commit));
    assert!(!digests(&faithful).contains(&layer.to_owned()));
    assert_eq!(json["refs"][0], blob_ref(layer));
    assert_eq!(json["refs"].as_array().unwrap().len(), 3);

    // Who pulls the image finds it by its own digests.
    let digest = skopeo_digest(&place.source);
    assert_eq!(place.said(commit, "ostree.manifest-digest"), Some(digest));
    assert_eq!(manifest["config"]["digest"], json["config_digest"]);
    let image = escaped(IMAGES, &place.source);
    assert_eq!(place.resolve(&image).as_deref(), Some(commit));
    assert_eq!(
        place.said(commit, "import-oci.options").as_deref(),
        Some("--no-kernel --squash")
    );
    fsck(&place.repo());
}

#[test]
fn roots_have_no_name_for_others() {
    let place = Place::new();
    let root = place.directory.path().join("root");
    fs::create_dir_all(root.join("usr")).unwrap();
    let source = format!("rootfs:{}", root.display());
    let import = |options: &[&str]| import(&place.repo(), "bare-user", &source, options);
    let json = import(&["--write-ref=os/root"]);
    let commit = text(&json, "/commit");
    let manifest = place.said(commit, "ostree.manifest").unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let blob = blob_ref(text(&manifest, "/layers/0/digest"));
    assert_eq!(json["image"], Value::Null);
    let refs = [&*blob, &escaped(OUR_BASE_IMAGES, &source), "os/root"];
    assert_eq!(json["refs"], json!(refs));
    assert!(
        refs.iter()
            .all(|name| place.resolve(name).as_deref() == Some(commit))
    );

    let json = import(&["--target-imgref=oci:/os"]);
    assert_eq!(json["commit"], commit);
    let refs = [
        &*blob,
        &escaped(OUR_BASE_IMAGES, "oci:/os"),
        &escaped(IMAGES, "oci:/os"),
    ];
    assert_eq!(json["refs"], json!(refs));
}

#[test]
fn targets() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let place = Place::new();
    let with_both = format!("docker://quay.io/os/image:tag@{digest}");
    for (target, expected) in [
        (
            "docker://quay.io/os/image:tag",
            "docker://quay.io/os/image:tag",
        ),
        ("registry:quay.io/os/image:1", "docker://quay.io/os/image:1"),
        (
            "ostree-unverified-registry:quay.io/os/x",
            "docker://quay.io/os/x",
        ),
        (
            "ostree-image-signed:docker://quay.io/os/y",
            "docker://quay.io/os/y",
        ),
        ("oci-archive:/mnt/a.tar:b", "oci-archive:/mnt/a.tar:b"),
        (&*with_both, &*format!("docker://quay.io/os/image@{digest}")),
    ] {
        let json = place.import(&[&format!("--target-imgref={target}")]);
        assert_eq!(json["image"], expected, "{target}");
        for prefix in [OUR_BASE_IMAGES, IMAGES] {
            let commit = place.resolve(&escaped(prefix, expected));
            assert_eq!(commit.as_deref(), json["commit"].as_str(), "{target}");
        }
    }
    for (options, said) in [
        (&["--target-imgref=quay.io/os/image"][..], "missing `:`"),
        (&["--target-imgref=sif:x"], "unknown transport \"sif\""),
        (&["--target-imgref=docker://A B"], "invalid"),
        (
            &["--target-imgref=oci:x", "--no-imgref"],
            "cannot be used with",
        ),
    ] {
        let output = place.output(options);
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(said), "{said:?} is not in: {errors}");
    }
    let output = place.output(&[&format!("--target-imgref=oci:/{}", "x".repeat(256))]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--target-imgref"), "{errors}");
}

#[test]
fn no_image_for_others() {
    let place = Place::new();
    let json = place.import(&["--no-imgref"]);
    assert_eq!(json["image"], Value::Null);
    let name = escaped(OUR_BASE_IMAGES, &place.source);
    assert_eq!(json["refs"].as_array().unwrap().last(), Some(&json!(name)));
    assert!(place.refs().iter().all(|name| !name.starts_with(IMAGES)));
}

#[test]
fn an_image_that_is_there_is_not_read() {
    let place = Place::new();
    let first = place.import(&["--unchanged-exit-77"]);
    assert_eq!(first["unchanged"], false);
    place.remove_layers(&first);
    let again = place.import(&[]);
    assert_eq!(again["unchanged"], true);
    for field in [
        "commit",
        "manifest_digest",
        "config_digest",
        "timestamp",
        "kernel",
        "image",
    ] {
        assert_eq!(again[field], first[field], "{field}");
    }
    assert_eq!(
        (&again["tree"], &again["layers"]),
        (&Value::Null, &json!([]))
    );
    let output = place.output(&["--unchanged-exit-77"]);
    assert_eq!(output.status.code(), Some(77));
    let commit = String::from_utf8(output.stdout).unwrap();
    assert_eq!(commit.trim(), text(&first, "/commit"));

    // Another ref needs no layer, but is a change.
    let branch = &["--write-ref=os/test", "--unchanged-exit-77"];
    for code in [0, 77] {
        assert_eq!(place.output(branch).status.code(), Some(code));
        assert_eq!(place.resolve("os/test").as_deref(), Some(commit.trim()));
    }
}

/// What is there was made with other options, or is not all there.
#[test]
fn an_image_that_is_there_otherwise_is_read() {
    let place = Place::new();
    let first = place.import(&[]);
    for options in [
        &["--squash"][..],
        &["--skip-fixup=etc"],
        &["--var=drop"],
        &["--dir-metadata=first"],
        &[],
    ] {
        let json = place.import(options);
        assert_eq!(json["unchanged"], false, "{options:?}");
        assert_ne!(json["tree"], Value::Null, "{options:?}");
        let said = place.said(text(&json, "/commit"), "import-oci.options");
        // The tests' own, and the option that was given.
        let joined = [&["--no-kernel"], options].concat().join(" ");
        assert_eq!(said.as_deref(), Some(&*joined));
        assert_eq!(json["commit"] == first["commit"], options.is_empty());
    }
    let blob = blob_ref(&digests(&first)[1]);
    run(Command::new("ostree")
        .args(["refs", "--delete", &blob])
        .arg(format!("--repo={}", place.repo().display())));
    let json = place.import(&[]);
    assert_eq!(
        (&json["commit"], json["tree"].is_null()),
        (&first["commit"], false)
    );
    assert!(place.resolve(&blob).is_some());
}
