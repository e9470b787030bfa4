//! Layers that the repo has are not read again, and nobody can tell from the commit.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use import_oci::digest::Digest;
use serde_json::Value;
use support::command::{
    fsck, import, import_arguments, import_oci, is_root, not_run, run, scratch, skopeo_copy, text,
};
use support::layout::{FILE_CONTEXTS, Image, Layer, specimen};
use support::listing::open;
use tempfile::TempDir;

/// Two repos: one to be updated, one for what an import from nothing gives.
struct Place {
    directory: TempDir,
    mode: &'static str,
}

impl Place {
    fn new(mode: &'static str) -> Self {
        let directory = scratch();
        Self { directory, mode }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, image: Image) -> String {
        let count = fs::read_dir(self.directory.path()).unwrap().count();
        image.write(&self.at(&format!("image{count}")))
    }

    /// Updates the repo.
    fn update(&self, source: &str, options: &[&str]) -> Value {
        import(&self.at("updated"), self.mode, source, options)
    }

    /// Imports into a repo of its own.
    fn cold(&self, source: &str) -> Value {
        fs::remove_dir_all(self.at("cold")).ok();
        import(&self.at("cold"), self.mode, source, &[])
    }

    /// The commits of layers in a repo, by ref.
    fn layers(&self, repo: &str) -> BTreeMap<String, String> {
        refs(&self.at(repo), Some("ostree/container/blob"))
    }

    fn ostree(&self, arguments: &[&str]) -> String {
        let output = run(Command::new("ostree")
            .args(arguments)
            .arg(format!("--repo={}", self.at("updated").display())));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Which layers were not read.
fn cached(json: &Value) -> Vec<bool> {
    let layers = json["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["cached"].as_bool().unwrap())
        .collect()
}

fn digest(json: &Value, layer: usize) -> String {
    text(json, &format!("/layers/{layer}/digest")).to_owned()
}

/// Removes the blobs of the first `count` layers that `json` tells of from the layout of `source`.
fn remove_blobs(source: &str, json: &Value, count: usize) {
    for layer in 0..count {
        fs::remove_file(blob(source, &digest(json, layer))).unwrap();
    }
}

fn blob(source: &str, digest: &str) -> PathBuf {
    let layout = source.strip_prefix("oci:").unwrap();
    let layout = layout.rsplit_once(':').map_or(layout, |(path, _)| path);
    Path::new(layout)
        .join("blobs")
        .join(digest.replace(':', "/"))
}

/// The same but for what differs by nature: which layers were read, of how many paths libselinux
/// was asked, and what is new in the repo.
fn without_cost(json: &Value) -> Value {
    let mut json = json.clone();
    json["objects"] = Value::Null;
    json["selinux"]["checked"] = Value::Null;
    for layer in json["layers"].as_array_mut().unwrap() {
        layer["cached"] = Value::Null;
    }
    json
}

/// Changes what the manifest of an image says of each layer; how many it says something of.
fn edit_manifest(source: &str, edit: impl Fn(&mut Value)) -> usize {
    let layout = blob(source, "x:y").ancestors().nth(3).unwrap().to_owned();
    let index_file = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&index_file).unwrap()).unwrap();
    let descriptor = &mut index["manifests"][0];
    let manifest = blob(source, descriptor["digest"].as_str().unwrap());
    let mut manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let layers = manifest["layers"].as_array_mut().unwrap();
    layers.iter_mut().for_each(edit);
    let count = layers.len();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = format!("sha256:{}", Digest::of(&bytes).hex());
    descriptor["digest"] = Value::from(&*digest);
    descriptor["size"] = Value::from(bytes.len());
    fs::write(blob(source, &digest), &bytes).unwrap();
    fs::write(index_file, index.to_string()).unwrap();
    count
}

/// The refs of a repo below `prefix`, or all.
fn refs(repo: &Path, prefix: Option<&str>) -> BTreeMap<String, String> {
    let refs = open(repo).list_refs(prefix, ostree::gio::Cancellable::NONE);
    refs.unwrap().into_iter().collect()
}

fn modes() -> impl Iterator<Item = &'static str> {
    let modes = ["bare-user", "archive", "bare"].into_iter();
    modes.filter(|&mode| {
        let possible = mode != "bare" || is_root();
        if !possible {
            not_run("a bare repo takes root");
        }
        possible
    })
}

fn top() -> Layer {
    Layer::new()
        .file("usr/bin/new", 0o755, "new")
        .file("usr/bin/.wh.ping4", 0o644, "")
        .hardlink("usr/lib/again", "usr/lib/annotated")
}

#[test]
fn an_update_is_what_an_import_from_nothing_is() {
    for mode in modes() {
        let place = Place::new(mode);
        let old = place.write(specimen());
        let new = place.write(specimen().layer(top()));
        let first = place.update(&old, &[]);
        assert_eq!(cached(&first), [false, false]);
        let cold = place.cold(&new);
        remove_blobs(&new, &first, 2);
        let update = place.update(&new, &[]);
        assert_eq!(cached(&update), [true, true, false], "{mode}");
        assert_eq!(without_cost(&update), without_cost(&cold), "{mode}");
        assert_eq!(place.layers("updated"), place.layers("cold"), "{mode}");
        let written = |json: &Value| json["objects"]["content_written"].as_u64().unwrap();
        assert!(written(&update) < 5, "{mode}: {}", update["objects"]);
        fsck(&place.at("updated"));

        // And back: nothing at all is read.
        fs::remove_file(blob(&new, &digest(&cold, 2))).unwrap();
        let options = &["--skip-fixup=pyc"];
        let again = place.update(&new, options);
        assert_eq!(cached(&again), [true, true, true], "{mode}");
    }
}

#[test]
fn another_policy_is_applied_to_what_the_repo_has() {
    for mode in modes() {
        let place = Place::new(mode);
        let old = place.write(specimen());
        let contexts = FILE_CONTEXTS.replace("bin_t", "other_bin_t").replace(
            "/etc/shadow\t",
            "/usr/lib/annotated\t--\t<<none>>\n/etc/shadow\t",
        );
        let policy = Layer::new().file(
            "etc/selinux/tiny/contexts/files/file_contexts",
            0o644,
            &contexts,
        );
        let new = place.write(specimen().layer(policy));
        let first = place.update(&old, &[]);
        let before = place.layers("updated");
        let cold = place.cold(&new);
        remove_blobs(&new, &first, 2);
        let update = place.update(&new, &[]);
        assert_eq!(cached(&update), [true, true, false]);
        assert_eq!(without_cost(&update), without_cost(&cold), "{mode}");
        let after = place.layers("updated");
        assert_eq!(after, place.layers("cold"), "{mode}");
        assert!(before.iter().all(|(name, commit)| after[name] != *commit));
        fsck(&place.at("updated"));

        // The refs of layers are the last importer's; the first image is made of them again.
        remove_blobs(&old, &first, 2);
        let back = place.update(&old, &["--squash"]);
        assert_eq!(cached(&back), [true, true]);
        assert_eq!(back["tree"], first["tree"]);
    }
}

/// The ref of a layer says that its blob is this commit, so the blob is read. Of one without compression
/// the digest says so already.
#[test]
fn layers_that_were_compressed_anew() {
    let place = Place::new("bare-user");
    let plain = place.write(specimen());
    let gzip = format!("oci:{}:v1", place.at("copy").display());
    skopeo_copy(&plain, &gzip, &[]);
    let cold = place.cold(&gzip);
    let first = place.update(&plain, &[]);
    assert_ne!(digest(&cold, 0), digest(&first, 0));
    let update = place.update(&gzip, &[]);
    assert_eq!(cached(&update), [false, false]);
    assert_eq!(without_cost(&update), without_cost(&cold));
    let all = place.layers("updated");
    assert!(
        place
            .layers("cold")
            .iter()
            .all(|(name, commit)| all[name] == *commit)
    );

    let other = Place::new("bare-user");
    other.update(&gzip, &[]);
    remove_blobs(&plain, &first, 2);
    let update = other.update(&plain, &[]);
    assert_eq!(cached(&update), [true, true]);
    assert_eq!(without_cost(&update), without_cost(&first));

    // Whoever else pulls an image with that digest would get what the ref says.
    let liar = Place::new("bare-user");
    liar.update(&gzip, &[]);
    let lie = liar.write(specimen());
    let manifest = edit_manifest(&lie, |layer| {
        layer["digest"] = Value::from(format!("sha256:{}", "a".repeat(64)));
    });
    assert!(manifest > 0);
    let output = import_oci()
        .args(import_arguments(&liar.at("updated"), liar.mode, &lie))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        !liar
            .layers("updated")
            .keys()
            .any(|name| name.contains("aaaa"))
    );
}

/// What a commit says of itself is no proof: an image with an encapsulated base brings one, byte by byte.
#[test]
fn layers_that_no_image_of_ours_has() {
    let place = Place::new("bare-user");
    let source = place.write(specimen());
    let cold = place.cold(&source);
    run(Command::new("ostree")
        .args(["init", "--mode=bare-user"])
        .arg(format!("--repo={}", place.at("updated").display())));
    place.ostree(&["pull-local", &place.at("cold").display().to_string()]);
    for (name, commit) in place.layers("cold") {
        place.ostree(&["refs", &commit, &format!("--create={name}")]);
    }
    for (name, _) in refs(&place.at("updated"), None) {
        if !name.starts_with("ostree/container/blob/") {
            place.ostree(&["refs", "--delete", &name]);
        }
    }
    let update = place.update(&source, &[]);
    assert_eq!(cached(&update), [false, false]);
    assert_eq!(update["commit"], cold["commit"]);
    // From now on it is one of ours.
    let again = place.update(&source, &["--skip-fixup=pyc"]);
    assert_eq!(cached(&again), [true, true]);
}

/// Of the names of one file a record of its layer knows one label.
#[test]
fn names_of_a_file_with_several_labels() {
    let place = Place::new("bare-user");
    let names = || {
        Layer::new()
            .file("usr/bin/linked", 0o755, "linked")
            .hardlink("usr/lib/linked", "usr/bin/linked")
            .hardlink("linked", "usr/bin/linked")
    };
    let above = Layer::new().hardlink("usr/share-linked", "usr/lib/linked");
    let old = place.write(specimen().layer(names()));
    let new = place.write(specimen().layer(names()).layer(above).layer(top_alone()));
    place.update(&old, &[]);
    let (cold, update) = (place.cold(&new), place.update(&new, &[]));
    assert_eq!(cached(&update), [true, true, true, false, false]);
    assert_eq!(without_cost(&update), without_cost(&cold));
    assert_eq!(place.layers("updated"), place.layers("cold"));
    // All layers come from the repo now.
    let again = place.update(&new, &["--target-imgref=docker://example.org/other"]);
    assert_eq!(cached(&again), [true; 5]);
    assert_eq!(again["commit"], cold["commit"]);
}

/// What is odd about a layer is told again, though it is not seen again.
#[test]
fn notes_of_layers_are_kept() {
    let place = Place::new("bare-user");
    // An entry of a type that nobody knows.
    let odd = || {
        Layer::new()
            .file("usr/a", 0o644, "")
            .unknown("usr/odd", b'Z')
    };
    let old = place.write(Image::new().layer(odd()));
    let new = place.write(Image::new().layer(odd()).layer(top_alone()));
    let first = place.update(&old, &[]);
    let told = |json: &Value| {
        let notes = json["notes"].as_array().unwrap().iter();
        notes.filter(|note| note["by"] == "layer").count()
    };
    assert_eq!(told(&first), 1, "{:#}", first["notes"]);
    remove_blobs(&new, &first, 1);
    assert_eq!(told(&place.update(&new, &[])), 1);
}

fn top_alone() -> Layer {
    Layer::new().file("usr/bin/new", 0o755, "new")
}

#[test]
fn commits_of_others_are_no_cache() {
    let place = Place::new("bare-user");
    let old = place.write(specimen());
    let new = place.write(specimen().layer(top()));
    let first = place.update(&old, &[]);
    let names: Vec<_> = place.layers("updated").into_keys().collect();
    let [lower, upper] = [0, 1].map(|layer| {
        let name = digest(&first, layer).replace(':', "_3A_");
        format!("ostree/container/blob/{name}")
    });
    assert_eq!(names.len(), 2);

    // Without a record, and with that of another layer.
    let empty = place.at("empty");
    fs::create_dir(&empty).unwrap();
    let tree = format!("--tree=dir={}", empty.display());
    place.ostree(&["commit", &tree, &format!("--branch={lower}")]);
    let commit = place.ostree(&["rev-parse", &lower]);
    place.ostree(&["refs", "--delete", &upper]);
    place.ostree(&["refs", &commit, &format!("--create={upper}")]);
    let cold = place.cold(&new);
    let update = place.update(&new, &[]);
    assert_eq!(cached(&update), [false, false, false]);
    assert_eq!(without_cost(&update), without_cost(&cold));
    assert_eq!(place.layers("updated"), place.layers("cold"));

    let commit = place.ostree(&["rev-parse", &lower]);
    place.ostree(&["refs", "--delete", &upper]);
    place.ostree(&["refs", &commit, &format!("--create={upper}")]);
    let update = place.update(&new, &["--skip-fixup=pyc"]);
    assert_eq!(cached(&update), [true, false, true]);
    assert_eq!(place.layers("updated"), place.layers("cold"));
}

/// A layer whose commit cannot hold all of its files is read each time.
#[test]
fn layers_that_have_a_path_twice() {
    let place = Place::new("bare-user");
    let twice = || {
        Layer::new()
            .file("usr/a", 0o644, "1")
            .file("usr/a", 0o644, "2")
    };
    let old = place.write(Image::new().layer(twice()));
    let new = place.write(Image::new().layer(twice()).layer(top_alone()));
    place.update(&old, &[]);
    let cold = place.cold(&new);
    let update = place.update(&new, &[]);
    assert_eq!(cached(&update), [false, false]);
    assert_eq!(without_cost(&update), without_cost(&cold));
}

/// An object that is not what its name says is never taken for the layer's file.
#[test]
fn damaged_objects() {
    let place = Place::new("bare-user");
    let old = place.write(specimen());
    place.update(&old, &[]);
    let listing = place.ostree(&["ls", "-C", &image_ref(&place), "/usr/bin/sh"]);
    let checksum = listing.split_whitespace().nth(4).unwrap().to_owned();
    let (directory, name) = checksum.split_at(2);
    let object = place
        .at("updated/objects")
        .join(directory)
        .join(format!("{name}.file"));

    let contexts = FILE_CONTEXTS.replace("bin_t", "other_bin_t");
    let policy = Layer::new().file(
        "etc/selinux/tiny/contexts/files/file_contexts",
        0o644,
        &contexts,
    );
    let new = place.write(specimen().layer(policy));
    let plain = place.write(specimen().layer(top()));
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 2] = [
        (&new, |object| fs::write(object, "?!").unwrap()),
        (&plain, |object| fs::remove_file(object).unwrap()),
    ];
    for (source, damage) in damages {
        let attributes = fs::metadata(&object).unwrap().permissions();
        damage(&object);
        let output = import_oci()
            .args(import_arguments(&place.at("updated"), "bare-user", source))
            .arg("--quiet")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(&checksum) && errors.contains("fsck --delete"),
            "{errors}"
        );

        // As it says: then the layer is read again.
        let mut fsck_delete = Command::new("ostree");
        fsck_delete.args(["fsck", "--delete"]);
        fsck_delete.arg(format!("--repo={}", place.at("updated").display()));
        fsck_delete.output().unwrap();
        let cold = place.cold(source);
        let update = place.update(source, &[]);
        assert_eq!(without_cost(&update), without_cost(&cold));
        fs::set_permissions(&object, attributes).ok();
        place.update(&old, &["--skip-fixup=pyc"]);
    }
}

/// What a fixup moved is another object than in its layer, and the commit of the image says which:
/// nobody looks at the one of the layer again.
#[test]
fn what_fixups_changed_is_not_read_again() {
    let place = Place::new("bare-user");
    let contexts = format!("{FILE_CONTEXTS}/var/.*\tsystem_u:object_r:var_t:s0\n");
    let moved = || {
        Layer::new()
            .file(
                "etc/selinux/tiny/contexts/files/file_contexts",
                0o644,
                &contexts,
            )
            .file("var/lib/app/data", 0o644, "of an application")
    };
    let old = place.write(specimen().layer(moved()));
    let new = place.write(specimen().layer(moved()).layer(top()));
    let first = place.update(&old, &[]);
    let layer = digest(&first, 2).replace(':', "_3A_");
    let layer = format!("ostree/container/blob/{layer}");
    let object = |commit: &str, path: &str| {
        let listing = place.ostree(&["ls", "-C", commit, path]);
        listing.split_whitespace().nth(4).unwrap().to_owned()
    };
    let in_layer = object(&layer, "/var/lib/app/data");
    let in_image = object(&image_ref(&place), "/usr/share/factory/var/lib/app/data");
    assert_ne!(in_layer, in_image, "the labels differ");

    let (directory, name) = in_layer.split_at(2);
    let path = place.at("updated/objects").join(directory);
    let path = path.join(format!("{name}.file"));
    fs::write(path, "of somebody else").unwrap();
    let update = place.update(&new, &[]);
    let cold = place.cold(&new);
    assert_eq!(without_cost(&update), without_cost(&cold));

    // Under another policy it is another object, which must be made of that of the layer.
    let policy = Layer::new().file(
        "etc/selinux/tiny/contexts/files/file_contexts",
        0o644,
        &contexts.replace("default_t", "other_t"),
    );
    let other = place.write(specimen().layer(moved()).layer(policy));
    let output = import_oci()
        .args(import_arguments(&place.at("updated"), "bare-user", &other))
        .arg("--quiet")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&in_layer), "{errors}");
}

fn image_ref(place: &Place) -> String {
    let refs = place.ostree(&["refs"]);
    let image = refs.lines().find(|name| name.contains("container/image/"));
    image.unwrap().to_owned()
}
