//! Images of a commit that ostree-ext encapsulated: with those it does most, and reuses what we wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use import_oci::digest::Digest;
use ostree::gio;
use ostree::glib::VariantDict;
use serde_json::{Value, json};

use crate::place::{Place, Snapshot, blob_ref, digests, path, places, unverified};
use crate::support::command::{fsck, import, import_arguments, import_oci, run, text};
use crate::support::layout::{CAPABILITY, CREATED, FILE_CONTEXTS, Image, Layer};
use crate::support::listing::{assert_equal, open, read_commit};

const NOT_CANCELLED: Option<&gio::Cancellable> = gio::Cancellable::NONE;

/// What is said beside the commit of a base, as signatures are.
const DETACHED: &str = "test.said";

/// An image that is a commit.
pub struct Base {
    /// Where it lies.
    pub layout: PathBuf,
    pub source: String,
    /// The commit.
    pub commit: String,
}

/// Encapsulates a commit whose `/usr/share/box` has this mode: two such bases differ in their lowest
/// layer alone, that of directories.
pub fn base(place: &Place, name: &str, mode: u32) -> Base {
    let policy = "etc/selinux/tiny";
    let layer = Layer::new()
        .file(
            "etc/selinux/config",
            0o644,
            "SELINUX=enforcing\nSELINUXTYPE=tiny\n",
        )
        .file(
            &format!("{policy}/contexts/files/file_contexts"),
            0o644,
            FILE_CONTEXTS,
        )
        // Its name and its bytes are all that libostree asks for.
        .file(&format!("{policy}/policy/policy.33"), 0o644, "compiled")
        .owned_file("etc/shadow", 0o640, (0, 42), "root:*:19000:0:99999:7:::\n")
        .file("usr/bin/sh", 0o755, "#!")
        .xattrs(&[("security.capability", &CAPABILITY[..])])
        .file("usr/bin/ping", 0o755, "p")
        .symlink("usr/bin/ping4", "ping")
        .file("usr/bin/removed", 0o755, "removed")
        .file("usr/lib/large", 0o644, &"large ".repeat(50_000))
        .file("usr/lib/replaced", 0o644, "below")
        .file("usr/share/empty", 0o644, "")
        .directory("usr/share/box", mode)
        .file("usr/share/box/a", 0o644, "a")
        .file("usr/share/box/b", 0o644, "b");
    let tree = place.write(
        &format!("tree-of-{name}"),
        Image::new().created(CREATED).layer(layer),
    );
    let commits = place.at("commits");
    let first = import(&commits, "bare-user", &tree, &["--write-ref=base"]);
    let commit = text(&first, "/commit");
    let repo = open(&commits);
    let detached = VariantDict::new(None);
    detached.insert(DETACHED, "by its maker");
    repo.write_commit_detached_metadata(commit, Some(&detached.end()), NOT_CANCELLED)
        .unwrap();
    let layout = place.at(name);
    place.peer(&["encapsulate", path(&commits), "base", path(&layout)]);
    Base {
        source: format!("oci:{}", layout.display()),
        layout,
        commit: commit.to_owned(),
    }
}

/// What an image derived from a base adds to it.
pub fn added() -> Layer {
    Layer::new()
        .directory("etc", 0o755)
        .file("etc/added", 0o644, "to the host")
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .file("usr/bin/.wh.removed", 0o644, "")
        .file("usr/bin/added", 0o755, "added")
        .directory("usr/lib", 0o755)
        .file("usr/lib/replaced", 0o644, "above")
}

fn more() -> Layer {
    Layer::new()
        .directory("usr", 0o755)
        .directory("usr/lib", 0o755)
        .file("usr/lib/replaced", 0o644, "anew")
}

/// Puts an image of these layers over a base at `layout`, in place of the one that is there; the
/// source.
pub fn derive(base: &Base, layout: &Path, layers: Vec<Layer>) -> String {
    edit(base, layout, |of_base, write| {
        of_base.extend(layers.into_iter().map(write));
    })
}

/// A layer in a manifest, and its diff_id.
type InImage = (Value, Value);

/// [`derive`], but `change` decides what layers there are, and writes those that are new.
fn edit(
    base: &Base,
    layout: &Path,
    change: impl FnOnce(&mut Vec<InImage>, &dyn Fn(Layer) -> InImage),
) -> String {
    let _ = fs::remove_dir_all(layout);
    run(Command::new("cp").arg("-a").args([&base.layout, layout]));
    let read = |blob: &Value| -> Value {
        let name = text(blob, "/digest").replace(':', "/");
        serde_json::from_slice(&fs::read(layout.join("blobs").join(name)).unwrap()).unwrap()
    };
    let write = |kind: &str, content: &[u8]| {
        let digest = Digest::of(content);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), content).unwrap();
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": kind, "digest": digest, "size": content.len()})
    };
    let index = layout.join("index.json");
    let mut entries: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let mut manifest = read(&entries["manifests"][0]);
    let mut config = read(&manifest["config"]);
    let list = |value: &Value| value.as_array().unwrap().clone().into_iter();
    let diff_ids = list(&config["rootfs"]["diff_ids"]);
    let mut layers: Vec<_> = list(&manifest["layers"]).zip(diff_ids).collect();
    change(&mut layers, &|layer| {
        let tar = layer.tar();
        (write("layer.v1.tar", &tar), json!(Digest::of(&tar)))
    });
    let (layers, diff_ids): (Vec<_>, Vec<_>) = layers.into_iter().unzip();
    config["rootfs"]["diff_ids"] = json!(diff_ids);
    config["history"] = json!(vec![json!({"created_by": "a test"}); layers.len()]);
    manifest["layers"] = json!(layers);
    manifest["config"] = write("config.v1+json", config.to_string().as_bytes());
    let entry = write("manifest.v1+json", manifest.to_string().as_bytes());
    entries["manifests"] = json!([entry]);
    fs::write(index, entries.to_string()).unwrap();
    format!("oci:{}", layout.display())
}

/// What the tests compare has no `/var`: we make lines of tmpfiles.d of it, ostree-ext leaves it.
pub const OPTIONS: [&str; 1] = ["--var=keep"];

/// The commit of the base is the one that was encapsulated, and each of its other layers the set of
/// objects that ostree-ext makes of it.
#[test]
fn layers_of_a_base() {
    for place in places(&["bare-user", "bare", "archive"]) {
        let base = base(&place, "base", 0o755);
        let source = derive(&base, &place.at("image"), vec![added()]);
        place.import(&source, &OPTIONS);
        place.fsck();
        let refs = place.snapshot().refs;
        let known = place.query(&source);
        assert_eq!(known["base_commit"], base.commit);

        let detached =
            open(&place.repo()).read_commit_detached_metadata(&base.commit, NOT_CANCELLED);
        let detached = VariantDict::new(detached.unwrap().as_ref());
        let detached = detached.lookup::<String>(DETACHED).unwrap();
        assert_eq!(detached.as_deref(), Some("by its maker"));

        let theirs = place.init("theirs");
        place.peer(&[
            "container",
            "unencapsulate",
            "--quiet",
            "--repo",
            path(&theirs),
            &unverified(&base.source),
        ]);
        assert_equal(
            &read_commit(&theirs, &base.commit).listing,
            &place.tree(&base.commit).listing,
        );
        let layers = digests(&known["manifest"]);
        let (derived, in_base) = layers.split_last().unwrap();
        let (lowest, chunks) = in_base.split_first().unwrap();
        assert_eq!(refs[&blob_ref(lowest)], base.commit);
        assert_eq!(chunks.len(), 3);
        let mut objects = 0;
        for chunk in chunks {
            let chunk = place.tree(&refs[&blob_ref(chunk)]);
            for (name, object) in &chunk.objects {
                assert_eq!(name, object.as_bytes());
            }
            objects += chunk.objects.len();
        }
        assert!(objects > 10, "{objects}");
        let derived = place.tree(&refs[&blob_ref(derived)]).listing;
        assert!(derived.contains_key(&b"usr/etc/added"[..]));
        assert!(derived.contains_key(&b"usr/bin/.wh.removed"[..]));
    }
}

/// The next version, which ostree-ext pulls: with another layer on top, and with another base.
#[test]
fn a_next_version_is_laid_over_our_layers() {
    for place in places(&["bare-user", "bare"]) {
        let old = base(&place, "old", 0o755);
        let new = base(&place, "new", 0o700);
        let layout = place.at("image");
        for (number, (base, layers, derived)) in [
            (&old, vec![added(), more()], [true, false]),
            (&new, vec![more(), added()], [false, true]),
        ]
        .into_iter()
        .enumerate()
        {
            let repo = place.at(&format!("repo{number}"));
            let source = derive(&old, &layout, vec![added()]);
            import(&repo, place.mode, &source, &OPTIONS);
            let before = Snapshot::of(&repo);
            derive(base, &layout, layers);

            let plan = place.peer_json(&["prepare", path(&repo), &unverified(&source)]);
            let there = |layer: &Value| !layer["commit"].is_null();
            let all = |layers: &Value| -> Vec<bool> {
                layers.as_array().unwrap().iter().map(there).collect()
            };
            assert_eq!(there(&plan["base"]), base.commit == old.commit);
            assert_eq!(all(&plan["chunks"]), [true; 3]);
            assert_eq!(all(&plan["derived"]), derived);

            place.pull(&repo, &source);
            fsck(&repo);
            let theirs = place.init(&format!("theirs{number}"));
            place.pull(&theirs, &source);
            let pulled = |repo: &Path| {
                let known = place.peer_json(&["query", path(repo), &source]);
                read_commit(repo, text(&known, "/merge_commit"))
            };
            assert_equal(&pulled(&theirs).listing, &pulled(&repo).listing);

            // Our own ref still holds the version that we imported.
            let after = Snapshot::of(&repo).refs;
            let kept = |name: &&String| !name.starts_with("ostree/container/image/");
            for name in before.refs.keys().filter(kept) {
                assert_eq!(after.get(name), before.refs.get(name), "{name}");
            }
        }
    }
}

/// What ostree-ext pulled is a fine repo to go on with, too.
#[test]
fn our_import_after_a_pull() {
    for place in places(&["bare-user", "bare"]) {
        let base = base(&place, "base", 0o755);
        let layout = place.at("image");
        let source = derive(&base, &layout, vec![added()]);
        let repo = place.init("repo");
        place.pull(&repo, &source);
        derive(&base, &layout, vec![added(), more()]);
        let json = place.import(&source, &OPTIONS);
        let cold = import(&place.at("cold"), place.mode, &source, &OPTIONS);
        assert_eq!(json["commit"], cold["commit"]);
        let [warm, cold] = [repo, place.at("cold")].map(|repo| Snapshot::of(&repo).refs);
        assert!(cold.iter().all(|(name, commit)| warm[name] == *commit));
        place.fsck();
        let answer = place.peer_json(&["prepare", path(&place.repo()), &unverified(&source)]);
        assert_eq!(answer["present"]["merge_commit"], json["commit"]);
    }
}

/// A base that is not whole is refused before a ref moves; as one layer, the image can be had.
#[test]
fn a_base_that_is_not_whole() {
    for place in places(&["bare-user"]) {
        let base = base(&place, "base", 0o755);
        let source = edit(&base, &place.at("image"), |layers, write| {
            layers[1] = write(Layer::new().file("usr/other", 0o644, ""));
        });
        let output = import_oci()
            .args(import_arguments(&place.repo(), "bare-user", &source))
            .arg("--quiet")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for said in ["is in none of its layers", "--squash"] {
            assert!(errors.contains(said), "{errors}");
        }
        assert!(place.snapshot().refs.is_empty());

        place.import(&source, &["--squash"]);
        let known = place.query(&source);
        let labels = &known["config"]["config"]["Labels"];
        assert!(labels["ostree.final-diffid"].is_null());
        assert_eq!(labels["ostree.commit"], base.commit);
    }
}
