//! An image derived from one that ostree-ext encapsulated is imported as the commit it came from,
//! with the changes of the derived image.
//!
//! The first commit is ours. ostree-ext makes an image of it, buildah changes that, and the second
//! commit has every mode, owner, capability and label of the first but where it was changed.

#[path = "support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod peers;
    pub mod schema;
}

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use import_oci::digest::Digest;
use support::command::{fsck, import, is_root, not_run, run, scratch, text};
use support::layout::{Layer, specimen};
use support::listing::{Kind, Listing, Node, assert_equal, read_commit};
use support::peers;

/// `cap_net_raw=ep` as Linux stores it.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The trees are compared as they are, with what a container has in `/var`.
const OPTIONS: [&str; 3] = ["--initramfs=keep", "--allow-no-initramfs", "--var=keep"];

/// All that an encapsulated image may lose.
fn base(directory: &Path) -> String {
    let capable: &[(&str, &[u8])] = &[("security.capability", CAPABILITY)];
    let described: &[(&str, &[u8])] = &[("user.described", b"\0 \n")];
    let layer = Layer::new()
        .xattrs(capable)
        .file("usr/bin/capable", 0o755, "capable")
        .xattrs(capable)
        .file("usr/bin/chmodded", 0o755, "chmodded")
        .xattrs(capable)
        .file("usr/bin/chowned", 0o755, "chowned")
        .xattrs(capable)
        .file("usr/bin/replaced", 0o755, "replaced")
        .xattrs(capable)
        .file("usr/bin/removed", 0o755, "removed")
        .xattrs(described)
        .file("usr/share/empty", 0o644, "")
        .file("usr/share/empty-too", 0o640, "")
        .xattrs(described)
        .directory("usr/share/described", 0o2755)
        .xattrs(described)
        .file("etc/described", 0o600, "of the host")
        .file("usr/share/same", 0o644, "the same thrice")
        .file("usr/share/described/same", 0o644, "the same thrice")
        .file("etc/same", 0o644, "the same thrice")
        .symlink("usr/share/link", "described/same");
    specimen().layer(layer).write(directory)
}

/// What the derived image changes, in its root directory. Files are replaced, as package managers do:
/// not every storage driver copies a file before it is written to, and then all names of an object
/// change.
fn change(root: &Path) {
    let path = |name: &str| root.join(name);
    let mode = |name: &str, mode| {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let put = |name: &str, of_mode, content: &str| {
        let _ = fs::remove_file(path(name));
        fs::write(path(name), content).unwrap();
        mode(name, of_mode);
    };
    mode("usr/bin/chmodded", 0o711);
    put("usr/bin/chowned", 0o755, "chowned");
    chown(path("usr/bin/chowned"), Some(7), Some(7)).unwrap();
    put("usr/bin/replaced", 0o755, "by another");
    fs::remove_file(path("usr/bin/removed")).unwrap();
    put("usr/bin/added", 0o755, "added");
    run(Command::new("setcap")
        .arg("cap_net_raw=ep")
        .arg(path("usr/bin/added")));
    put("etc/added", 0o644, "to the host");
    put("usr/share/same", 0o644, "no longer the same");
}

/// The same, done to the listing of the first commit.
fn changed(mut tree: Listing) -> Listing {
    let labels = [&b"usr/bin/sh"[..], b"usr/etc/same"].map(|path| {
        let label = &tree[path].xattrs[&b"security.selinux"[..]];
        (b"security.selinux".to_vec(), label.clone())
    });
    let [in_bin, in_etc] = labels;
    let file = |mode, content: &str| Node {
        kind: Kind::File {
            content: Digest::of(content.as_bytes()),
            size: content.len() as u64,
        },
        ..Node::directory(mode)
    };
    let mut node = |path: &str, change: &dyn Fn(&mut Node)| {
        change(tree.get_mut(path.as_bytes()).expect("a path of the base"));
    };
    node("usr/bin/chmodded", &|node| node.mode = 0o711);
    node("usr/bin/chowned", &|node| {
        (node.uid, node.gid) = (7, 7);
        node.xattrs.remove(&b"security.capability"[..]);
    });
    node("usr/share/same", &|node| {
        node.kind = file(0, "no longer the same").kind;
    });
    tree.remove(&b"usr/bin/removed"[..]);
    let mut put = |path: &[u8], mut node: Node, label: &(Vec<u8>, Vec<u8>)| {
        node.xattrs.extend([label.clone()]);
        tree.insert(path.to_vec(), node);
    };
    put(b"usr/bin/replaced", file(0o755, "by another"), &in_bin);
    let mut added = file(0o755, "added");
    let capability = (b"security.capability".to_vec(), CAPABILITY.to_vec());
    added.xattrs.extend([capability]);
    put(b"usr/bin/added", added, &in_bin);
    put(b"usr/etc/added", file(0o644, "to the host"), &in_etc);
    tree
}

#[test]
fn derived_on_overlayfs() {
    check("overlay");
}

#[test]
fn derived_on_vfs() {
    check("vfs");
}

fn check(driver: &str) {
    if !is_root() {
        return not_run("buildah gives files their owners only as root");
    }
    let Some(mut peer) = peers::ostree_ext() else {
        return;
    };
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);

    let first = first(directory.path());
    run(peer
        .args(["encapsulate", at("first").to_str().unwrap(), "base"])
        .arg(at("encapsulated")));
    let Some(derived) = derive(driver, directory.path()) else {
        return not_run(&format!("buildah cannot use {driver} here"));
    };
    let (second, notes) = second(directory.path(), &derived);
    assert_equal(&changed(first), &second);
    check_notes(&notes);
}

/// The encapsulated image with a layer of changes on top, as a source; `None`: the storage driver
/// does not work here.
fn derive(driver: &str, directory: &Path) -> Option<String> {
    let storage = Storage {
        driver: driver.to_owned(),
        directory: directory.to_owned(),
    };
    // The least that tells whether the driver works.
    let created = storage.buildah(&["from", "--quiet", "--name=derived", "scratch"]);
    let mounted = storage.buildah(&["mount", "derived"]);
    created.and(mounted)?;
    storage.buildah(&["rm", "derived"]).unwrap();

    let all = "every step works once the driver does";
    let from = ["from", "--quiet", "--name=derived", "oci:encapsulated"];
    storage.buildah(&from).expect(all);
    let root = storage.buildah(&["mount", "derived"]).expect(all);
    change(Path::new(root.trim()));
    storage.buildah(&["umount", "derived"]).expect(all);
    let image = format!("oci:{}:v1", directory.join("derived").display());
    let commit = ["commit", "--quiet", "derived", &image];
    storage.buildah(&commit).expect(all);
    Some(image)
}

/// What buildah keeps, below `storage` and `run` of a directory in which it works: it names images
/// after their paths, and takes only some for names.
struct Storage {
    driver: String,
    directory: PathBuf,
}

impl Storage {
    /// What `buildah` with this storage prints; `None`: it fails.
    fn buildah(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("buildah")
            .arg("--storage-driver")
            .arg(&self.driver)
            .arg("--root")
            .arg(self.directory.join("storage"))
            .arg("--runroot")
            .arg(self.directory.join("run"))
            .args(arguments)
            .current_dir(&self.directory)
            .output()
            .unwrap();
        if !output.status.success() {
            println!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Storage {
    /// What is still mounted would keep the directory.
    fn drop(&mut self) {
        self.buildah(&["umount", "--all"]);
        self.buildah(&["rm", "--all"]);
        let _ = Command::new("umount")
            .arg(self.directory.join("storage").join(&self.driver))
            .output();
    }
}

/// The commit that is encapsulated.
fn first(directory: &Path) -> Listing {
    let repo = directory.join("first");
    let source = base(&directory.join("image"));
    let options = [&OPTIONS[..], &["--write-ref=base"]].concat();
    let first = import(&repo, "bare-user", &source, &options);
    read_commit(&repo, text(&first, "/commit")).listing
}

/// The commit that an encapsulated image becomes, and what the fixup said.
fn second(directory: &Path, source: &str) -> (Listing, Vec<String>) {
    let repo = directory.join("second");
    let second = import(&repo, "bare-user", source, &OPTIONS);
    fsck(&repo);
    let mut listing = read_commit(&repo, text(&second, "/commit")).listing;
    // ostree-ext adds it for containers.
    let added = listing.remove(&b"var/tmp"[..]);
    assert_eq!(added.map(|node| node.mode), Some(0o1777));
    let notes = second["notes"].as_array().unwrap().iter();
    let notes = notes.filter(|note| note["by"] == "ostree-base");
    let notes = notes.map(|note| format!("{} {}", text(note, "/action"), text(note, "/path")));
    (listing, notes.collect())
}

/// Everything that came from the repo is told, and the repo.
fn check_notes(told: &[String]) {
    for want in [
        "changed /etc/described",
        "changed /usr/bin/capable",
        "changed /usr/bin/chmodded",
        "changed /usr/share/described",
        "changed /usr/share/empty",
        "dropped /sysroot/ostree/repo",
    ] {
        assert!(told.iter().any(|note| note == want), "{want}: {told:#?}");
    }
    assert!(
        !told.iter().any(|note| note.contains("chowned")),
        "{told:#?}"
    );
}

/// The image as it was encapsulated, without a layer on top, is the commit again.
#[test]
fn of_itself() {
    let Some(mut peer) = peers::ostree_ext() else {
        return;
    };
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let first = first(directory.path());
    run(peer
        .args(["encapsulate", at("first").to_str().unwrap(), "base"])
        .arg(at("encapsulated")));
    let encapsulated = format!("oci:{}", at("encapsulated").display());
    let (second, _) = second(directory.path(), &encapsulated);
    assert_equal(&first, &second);
}
