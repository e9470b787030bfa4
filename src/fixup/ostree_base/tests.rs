//! Trees before and after, with repos of a few objects.

use ostree::glib::prelude::*;

use super::super::FixupOptions;
use super::super::testing::{check, run};
use super::*;
use crate::testing::Layers;

const FILE: &str = "aa11";
const COMMIT: &str = "cc00";

fn object(checksum: &str, kind: &str) -> String {
    let (first, rest) = checksum.split_at(2);
    format!("sysroot/ostree/repo/objects/{first}/{rest}.{kind}")
}

/// `a(ayay)` of a label and of these names, each with the value `v`.
fn named(names: &[&str]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let names = ["security.selinux"].iter().chain(names);
    names
        .map(|name| ([name.as_bytes(), b"\0"].concat(), b"v".to_vec()))
        .collect()
}

/// A repo with one file object, `x`, that has these xattrs.
fn repo(names: &[&str]) -> Layers {
    let xattrs = object("ee00", "file-xattrs");
    Layers::new()
        .bytes(&xattrs, named(names).to_variant().data())
        .hardlink(&object(FILE, "file-xattrs-link"), &xattrs)
        .file(&object(FILE, "file"), "x")
        .mode(0o755)
}

/// Lets the root of a commit hold `f`, that file, and `usr/etc/f`, it too, in a directory with
/// an xattr.
fn committed(layers: Layers) -> Layers {
    type Directories = Vec<(String, Vec<u8>, Vec<u8>)>;
    let id = |text: &str| hex::decode(text).unwrap();
    let tree = |files: &[&str], directories: &[(&str, &str, &str)]| {
        let files: Vec<_> = files
            .iter()
            .map(|name| (name.to_string(), id(FILE)))
            .collect();
        let directories: Directories = directories
            .iter()
            .map(|(name, tree, meta)| (name.to_string(), id(tree), id(meta)))
            .collect();
        (files, directories).to_variant()
    };
    let meta = |names: &[&str]| (0_u32, 0_u32, 0o40755_u32.to_be(), named(names)).to_variant();
    let no_metadata = ostree::glib::VariantDict::new(None).end();
    let commit = ostree::glib::Variant::tuple_from_iter([
        no_metadata,
        Vec::<u8>::new().to_variant(),
        Vec::<(String, Vec<u8>)>::new().to_variant(),
        "".to_variant(),
        "".to_variant(),
        0_u64.to_variant(),
        id("7700").to_variant(),
        id("ff00").to_variant(),
    ]);
    layers
        .bytes(&object(COMMIT, "commit"), commit.data())
        .bytes(
            &object("7700", "dirtree"),
            tree(&["f"], &[("usr", "7701", "ff00")]).data(),
        )
        .bytes(
            &object("7701", "dirtree"),
            tree(&[], &[("etc", "7702", "ff01")]).data(),
        )
        .bytes(&object("7702", "dirtree"), tree(&["f"], &[]).data())
        .bytes(&object("ff00", "dirmeta"), meta(&[]).data())
        .bytes(&object("ff01", "dirmeta"), meta(&["user.d"]).data())
}

/// The end of what is left of `/sysroot`.
const SYSROOT: [&str; 2] = ["/sysroot/ 755", "/sysroot/ostree/ 755"];

#[track_caller]
fn becomes(layers: Layers, tree: &[&str], notes: &[&str]) {
    let tree: Vec<_> = [&SYSROOT, tree].concat();
    let notes: Vec<_> = [notes, &["dropped /sysroot/ostree/repo"]].concat();
    check(&OstreeBase, layers, &tree, &notes);
}

#[test]
fn hard_links_have_the_xattrs_of_their_object() {
    let linked = |names: &[&str]| {
        repo(names)
            .hardlink("u/f", &object(FILE, "file"))
            .hardlink("u/g", &object(FILE, "file"))
    };
    becomes(
        linked(&["security.capability", "user.x"]),
        &[
            "/u/ 755",
            "/u/f 755 \"x\" security.capability user.x",
            "/u/g 755 \"x\" security.capability user.x",
        ],
        &["changed /u/f", "changed /u/g"],
    );
    becomes(
        linked(&[]),
        &["/u/ 755", "/u/f 755 \"x\"", "/u/g 755 \"x\""],
        &[],
    );
}

#[test]
fn what_the_image_has_itself_stays() {
    let layers = repo(&["user.x", "user.y"])
        .xattr("user.x", b"own")
        .hardlink("u/f", &object(FILE, "file"));
    becomes(
        layers,
        &["/u/ 755", "/u/f 755 \"x\" user.x user.y"],
        &["changed /u/f"],
    );
}

#[test]
fn hard_links_become_files_of_their_own() {
    let (tree, bodies) = repo(&["user.x"])
        .hardlink("f", &object(FILE, "file"))
        .hardlink("g", &object(FILE, "file"))
        .merge();
    let mut image = Image {
        tree,
        bodies,
        packages: Default::default(),
        options: FixupOptions::default(),
    };
    let mut report = Report::default();
    OstreeBase.apply(&mut image, &mut report).unwrap();
    let [f, g] = [b"f", b"g"].map(|name| image.tree.child(image.tree.root(), name).unwrap());
    assert_ne!(f, g);
    assert_eq!(image.tree.inode(f), image.tree.inode(g));
    let told = &report.notes().last().unwrap().detail;
    let bytes = named(&["user.x"]).to_variant().size();
    let want = format!(
        "the repo of the base: 3 files, {bytes} bytes that nothing else has; \
         2 hard links into it are files of their own"
    );
    assert_eq!(*told, want);
}

#[test]
fn copies_are_known_by_the_commit() {
    let base = || committed(repo(&["user.x"]));
    for (layers, tree, notes) in [
        (
            base().file("f", "x"),
            &["/f 644 \"x\" user.x"][..],
            &["changed /f"][..],
        ),
        (
            base().file("f", "x").owner(1, 0),
            &["/f 644 \"x\" 1:0"],
            &[],
        ),
        (base().file("f", "y"), &["/f 644 \"y\""], &[]),
        (base().file("g", "x"), &["/g 644 \"x\""], &[]),
        (base().symlink("f", "x"), &["/f -> x"], &[]),
        (
            base().dir("etc", 0o700).file("etc/f", "x"),
            &["/etc/ 700 user.d", "/etc/f 644 \"x\" user.x"],
            &["changed /etc", "changed /etc/f"],
        ),
    ] {
        // /usr is of the commit, too: without it nothing below is looked for.
        let (layers, usr) = (layers.dir("usr", 0o755), ["/usr/ 755"]);
        let tree: Vec<_> = [tree, &SYSROOT, &usr].concat();
        let notes: Vec<_> = [notes, &["dropped /sysroot/ostree/repo"]].concat();
        check(&OstreeBase, layers, &tree, &notes);
    }
}

#[test]
fn the_database_of_the_base_goes_where_the_image_has_another() {
    let base = |now: &str| {
        repo(&[])
            .file("usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite", "then")
            .file("usr/share/rpm/rpmdb.sqlite", now)
    };
    let dropped = |layers| {
        let (_, notes) = run(&OstreeBase, layers, FixupOptions::default()).unwrap();
        notes.contains(&"dropped /usr/lib/sysimage/rpm-ostree-base-db".to_owned())
    };
    assert!(dropped(base("later")));
    assert!(!dropped(base("then")));
    let alone = repo(&[]).file("usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite", "then");
    assert!(!dropped(alone));
}

#[test]
fn without_a_repo_nothing_is_done() {
    let image = || {
        Layers::new()
            .dir("sysroot", 0o755)
            .file("usr/share/rpm/rpmdb.sqlite", "1")
            .file("usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite", "2")
    };
    let (tree, bodies) = image().merge();
    let before = crate::testing::list(&tree, &bodies);
    let (after, notes) = run(&OstreeBase, image(), FixupOptions::default()).unwrap();
    assert_eq!((after, notes), (before, Vec::new()));
}

#[test]
fn objects_that_are_none_are_named() {
    let malformed = |kind: &str| {
        let layers = Layers::new().file(&object(COMMIT, kind), "no commit");
        let error = run(&OstreeBase, layers, FixupOptions::default()).unwrap_err();
        format!("{error:#}")
    };
    let want = "reading the object cc00.commit in /sysroot/ostree/repo/objects: \
                not what ostree writes";
    assert_eq!(malformed("commit"), want);
    let layers = Layers::new()
        .file(&object(FILE, "file"), "x")
        .dir(&object(FILE, "file-xattrs-link"), 0o755);
    let error = run(&OstreeBase, layers, FixupOptions::default()).unwrap_err();
    assert!(
        format!("{error:#}").ends_with(": no regular file"),
        "{error:#}"
    );
}
