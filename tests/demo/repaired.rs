//! The demo image with all fixups, as a user imports it: nothing is changed in silence, and a checkout
//! of the commit has nothing left to change.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use import_oci::path::escape;
use serde_json::Value;

use crate::support::command::{fsck, import, is_root, not_run, run, scratch, text};
use crate::support::listing::{Listing, read_commit};
use crate::support::origin::{host_path, original_path};
use crate::{Imported, demo};

/// The initramfs of the demo image knows nothing of ostree; making one is another test's business.
const OPTIONS: &[&str] = &["--initramfs=keep"];

#[test]
fn every_difference_is_told() {
    let Some((demo, unpacked)) = demo().and_then(|demo| Some((demo, demo.unpacked()?))) else {
        return;
    };
    let directory = scratch();
    let repo = directory.path().join("repo");
    let json = import(&repo, "bare-user", &demo.source, OPTIONS);
    fsck(&repo);
    let before = by_host_path(&unpacked.found.listing);
    let after = by_host_path(&read_commit(&repo, text(&json, "/commit")).listing);
    let (told, moves) = (changed_paths(&json), moves(&json));
    let mut untold = Vec::new();
    for path in before.keys().chain(after.keys()) {
        let same = before.get(path) == after.get(path);
        let moved = || {
            moves
                .iter()
                .any(|(from, to)| is_moved(path, from, to, &before))
        };
        // A directory that something needs which was added or moved.
        let needed = || {
            let below = format!("{path}/");
            let mut new = moves.iter().map(|(_, to)| to).chain(&told);
            !before.contains_key(path) && new.any(|new| new.starts_with(&below))
        };
        if !same && !is_told(path, &told) && !moved() && !needed() {
            untold.push(path.clone());
        }
    }
    assert!(untold.is_empty(), "{untold:#?}");
}

#[test]
fn a_checkout_has_nothing_left_to_change() {
    let Some(demo) = demo() else {
        return;
    };
    if !is_root() {
        return not_run("a checkout with owners takes root");
    }
    again(demo, &[]);
    again(demo, &["--var=keep", "--layout=strict"]);
}

/// Imports a checkout of the commit: the same tree, and what is still to say is what was said of the
/// image and no change.
fn again(demo: &Imported, options: &[&str]) {
    let options = &[OPTIONS, options].concat();
    let directory = scratch();
    let repo = directory.path().join("repo");
    let first = import(&repo, "bare", &demo.source, options);
    let checkout = directory.path().join("checkout");
    run(Command::new("ostree")
        .arg(format!("--repo={}", repo.display()))
        .args(["checkout", "--require-hardlinks", text(&first, "/commit")])
        .arg(&checkout));
    let source = format!("rootfs:{}", checkout.display());
    let second = import(&repo, "bare", &source, options);
    assert_eq!(changes(&second), Vec::<&Value>::new());
    // Equal files of an image are names of one file in a checkout, so sizes are not the same.
    for root in ["dirtree", "dirmeta"] {
        assert_eq!(second["tree"][root], first["tree"][root]);
    }
    assert_eq!(findings(&second), findings(&first));
}

/// A listing by the paths of the host: `/etc` is where `/usr/etc` was. Without labels.
fn by_host_path(listing: &Listing) -> BTreeMap<String, String> {
    let nodes = listing.iter().map(|(path, node)| {
        let mut node = node.clone();
        node.xattrs.remove(&b"security.selinux"[..]);
        (
            host_path(&format!("/{}", escape(path))),
            format!("{node:?}"),
        )
    });
    nodes.collect()
}

fn changed_paths(json: &Value) -> BTreeSet<String> {
    let notes = changes(json).into_iter();
    let paths = notes.map(|note| host_path(text(note, "/path")));
    // That it moved says nothing of what lies in it.
    paths.filter(|path| path != "/etc").collect()
}

/// Does a line of the report name `path` or what it lies in?
fn is_told(path: &str, told: &BTreeSet<String>) -> bool {
    let ends = path.char_indices().filter(|&(at, c)| at > 0 && c == '/');
    let parents = ends.map(|(at, _)| &path[..at]);
    parents.chain([path]).any(|path| told.contains(path))
}

/// From where to where what was moved, as the report has it.
fn moves(json: &Value) -> Vec<(String, String)> {
    let moved = changes(json)
        .into_iter()
        .filter(|note| note["action"] == "moved");
    moved
        .filter_map(|note| {
            let detail = text(note, "/detail");
            let words = &detail[detail.find("to /")? + "to ".len()..];
            let to = words.split([';', ',', ' ']).next()?;
            Some((host_path(text(note, "/path")), host_path(to)))
        })
        .collect()
}

/// Is `path` where a path of the image went that lay in `from`?
fn is_moved(path: &str, from: &str, to: &str, image: &BTreeMap<String, String>) -> bool {
    let below = path.strip_prefix(to);
    below.is_some_and(|below| image.contains_key(&format!("{from}{below}")))
}

/// The lines of the report that say that something is another than it was.
fn changes(json: &Value) -> Vec<&Value> {
    let notes = json["notes"].as_array().unwrap().iter();
    notes.filter(|note| note["action"] != "warning").collect()
}

/// What is left to say, by the paths that the image had. What was odd about layers is not seen any
/// more, nor what lay in `/var`, which is empty; words may count paths of it.
fn findings(json: &Value) -> BTreeSet<String> {
    let notes = json["notes"].as_array().unwrap().iter();
    notes
        .filter(|note| {
            note["action"] == "warning" && note["by"] != "layer" && note["by"] != "merge"
        })
        .map(|note| (text(note, "/by"), original_path(text(note, "/path"))))
        .filter(|(_, path)| !path.starts_with("/var/"))
        .map(|(by, path)| format!("{by} {path}"))
        .collect()
}
