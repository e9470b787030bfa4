//! Every path of a commit is what umoci unpacks, changed as promised, and every change is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use import_oci::path::escape;
use serde_json::Value;

use crate::changes::{Changed, Note, change};
use crate::support::command::{fsck, is_root, not_run, run, text};
use crate::support::listing::{Kind, Listing, assert_equal, read_commit, read_directory};
use crate::{Imported, demo, import, small};

/// Who may notice oddities of the image without changing anything, besides the fixups.
const READERS: [&str; 3] = ["layer", "merge", "label"];

#[test]
fn of_the_demo_image() {
    if let Some(demo) = demo() {
        check(demo);
    }
}

#[test]
fn of_a_small_image() {
    let (_directory, image) = small();
    check(&image);
}

#[test]
fn as_it_is_checked_out() {
    if let Some(demo) = demo() {
        check_bare(demo);
    }
}

fn check(image: &Imported) {
    fsck(&image.repo);
    let Some(unpacked) = image.unpacked() else {
        return;
    };
    let Changed { tree, notes } = change(unpacked.found.listing.clone());
    let commit = read_commit(&image.repo, image.commit());
    assert_equal(&tree, &without_labels(&commit.listing));

    // Each change that was made was told, each that was told was made.
    assert_eq!(told(&image.json), notes);
    for note in image.json["notes"].as_array().unwrap() {
        check_words(note, &unpacked.found.listing);
    }
    check_counts(&image.json["tree"], &tree);

    // Names of one file are names of one object where their labels are the same.
    for names in &unpacked.found.hardlinks {
        let objects: BTreeSet<_> = names
            .iter()
            .map(|name| match name.starts_with(b"etc/") {
                true => [b"usr/", &**name].concat(),
                false => name.clone(),
            })
            .filter_map(|name| Some((commit.listing.get(&name)?, commit.objects.get(&name)?)))
            .map(|(node, object)| (node.xattrs.get(&b"security.selinux"[..]), object))
            .collect();
        let labels: BTreeSet<_> = objects.iter().map(|(label, _)| label).collect();
        assert_eq!(objects.len(), labels.len(), "{names:?}");
    }
}

/// A bare repo holds the same commit, and a checkout of it is the tree, labels and all.
fn check_bare(image: &Imported) {
    if !is_root() {
        return not_run("a bare repo takes root");
    }
    let repo = image.directory.join("bare");
    let json = import(&repo, "bare", &image.source, &[]);
    assert_eq!(json["commit"], image.json["commit"]);
    fsck(&repo);

    let checkout = image.directory.join("checkout");
    run(Command::new("ostree")
        .arg(format!("--repo={}", repo.display()))
        .args(["checkout", "--require-hardlinks", image.commit()])
        .arg(&checkout));
    let found = read_directory(&checkout).unwrap().listing;
    assert_equal(&read_commit(&image.repo, image.commit()).listing, &found);
}

fn without_labels(tree: &Listing) -> Listing {
    let mut tree = tree.clone();
    for node in tree.values_mut() {
        node.xattrs.remove(&b"security.selinux"[..]);
    }
    tree
}

/// The notes of the fixups. All others change nothing.
fn told(json: &Value) -> BTreeSet<Note> {
    let mut told = BTreeSet::new();
    for note in json["notes"].as_array().unwrap() {
        let [by, action, path] = ["/by", "/action", "/path"].map(|field| text(note, field));
        if READERS.contains(&by) {
            assert_eq!(action, "warning", "{note}");
            println!("{by}: {path}: {}", text(note, "/detail"));
        } else {
            told.insert((
                known(&["special-files", "xattrs", "toplevel", "etc"], by),
                known(&["added", "changed", "moved", "dropped"], action),
                path.to_owned(),
            ));
        }
    }
    told
}

fn known(words: &[&'static str], word: &str) -> &'static str {
    let found = words.iter().find(|known| **known == word);
    found.unwrap_or_else(|| panic!("{word} is none of {words:?}"))
}

/// The words of a note agree with the image.
fn check_words(note: &Value, image: &Listing) {
    let [by, path, detail] = ["/by", "/path", "/detail"].map(|field| text(note, field));
    let node = image
        .iter()
        .find(|(p, _)| path == format!("/{}", escape(p)));
    match (by, node) {
        ("special-files", Some((_, node))) => match &node.kind {
            Kind::Special(what) => assert!(detail.starts_with(what), "{note}"),
            _ => panic!("{note}, but it is a {node}"),
        },
        ("xattrs", Some((_, node))) => {
            let named = node
                .xattrs
                .keys()
                .any(|name| detail.contains(&escape(name)));
            assert!(named, "{note}, but it is a {node}");
        }
        ("toplevel", node) => {
            let added = note["action"] == "added";
            assert_eq!(added, node.is_none(), "{note}");
        }
        ("etc", Some(_)) => assert!(Path::new(path).starts_with("/etc"), "{note}"),
        // Of paths of the commit, and compared with it among the labels.
        ("label", _) => {}
        (by, node) => assert!(READERS.contains(&by) && node.is_some(), "{note}"),
    }
}

/// The counts of the report are those of the tree.
fn check_counts(counts: &Value, tree: &Listing) {
    let count = |wanted: fn(&Kind) -> bool| tree.values().filter(|n| wanted(&n.kind)).count();
    for (name, expected) in [
        ("files", count(|kind| matches!(kind, Kind::File { .. }))),
        ("directories", count(|kind| matches!(kind, Kind::Directory))),
        ("symlinks", count(|kind| matches!(kind, Kind::Symlink(_)))),
    ] {
        assert_eq!(counts[name], expected, "{name}");
    }
}
