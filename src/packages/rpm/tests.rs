//! Databases made with SQLite itself.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::header::tag;
use super::header::tests::Writer;
use super::*;
use crate::bodies::MemoryStore;
use crate::metadata::Metadata;
use crate::testing::{Layers, image_path};
use crate::tree::Inode;

/// A database as rpm makes it, with these packages; the connection keeps its log from being written
/// back.
fn database(path: &Path, packages: &[&[u8]]) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);",
        )
        .unwrap();
    for package in packages {
        connection
            .execute("INSERT INTO Packages (blob) VALUES (?1)", [package])
            .unwrap();
    }
    connection
}

fn package(name: &str) -> Vec<u8> {
    Writer::default()
        .strings(tag::NAME, &[name])
        .strings(tag::DIRNAMES, &["/usr/share/"])
        .words(tag::DIRINDEXES, &[0])
        .strings(tag::BASENAMES, &[name])
        .finish()
}

/// The bytes of a database whose packages are all in it.
fn settled(packages: &[&[u8]]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    database(&path, packages).close().unwrap();
    fs::read(path).unwrap()
}

/// A tree with these files, and links.
fn image(files: &[(&str, Vec<u8>)], links: &[(&str, &str)]) -> (Tree, Bodies) {
    let mut layers = Layers::new();
    for (path, target) in links {
        layers = layers.symlink(path, target);
    }
    let (mut tree, _) = layers.merge();
    let mut store = MemoryStore::new(0);
    for (path, content) in files {
        let content = Content::File {
            size: content.len() as u64,
            body: store.push(content.clone().into()),
        };
        let metadata = Metadata::default();
        tree.insert(&image_path(path), Inode { metadata, content })
            .unwrap();
    }
    (tree, Bodies::new(vec![Box::new(store)]))
}

/// The paths that are declared, and those that are not read with why.
fn read_image(files: &[(&str, Vec<u8>)], links: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let (tree, bodies) = image(files, links);
    let scratch = tempfile::tempdir().unwrap();
    let mut unread = Vec::new();
    let declared = read(&tree, &bodies, scratch.path(), &mut unread).unwrap();
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "left behind"
    );
    (
        declared.iter().map(|file| file.path.to_string()).collect(),
        unread
            .iter()
            .map(|unread| format!("{}: {}", unread.path, unread.reason))
            .collect(),
    )
}

#[test]
fn the_log_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let open = database(&path, &[&package("a"), &package("b")]);
    let log = fs::read(directory.path().join("db-wal")).unwrap();
    assert!(!log.is_empty(), "everything was written back");
    let database = fs::read(&path).unwrap();
    drop(open);

    let main = "usr/lib/sysimage/rpm/rpmdb.sqlite";
    let with_log = [
        (main, database.clone()),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", log),
    ];
    let (found, unread) = read_image(&with_log, &[]);
    assert_eq!(found, ["/usr/share/a", "/usr/share/b"]);
    assert!(unread.is_empty(), "{unread:?}");
    let (found, unread) = read_image(&[(main, database)], &[]);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(
        unread,
        ["/usr/lib/sysimage/rpm/rpmdb.sqlite: is not read: it has no table of packages"]
    );
}

#[test]
fn the_first_place_counts_and_links_lead_to_it() {
    let [a, b] = ["a", "b"].map(|name| settled(&[&package(name)]));
    let ours = "usr/share/rpm/rpmdb.sqlite";
    let links = [
        ("usr/lib/sysimage/rpm", "../../share/rpm"),
        ("var/lib/rpm", "/usr/share/rpm"),
    ];
    let (found, unread) = read_image(&[(ours, a.clone())], &links);
    assert_eq!(found, ["/usr/share/a"]);
    assert!(unread.is_empty(), "{unread:?}");

    let (found, unread) = read_image(&[(ours, a), ("var/lib/rpm/rpmdb.sqlite", b)], &[]);
    assert_eq!(found, ["/usr/share/a"]);
    assert_eq!(
        unread,
        ["/var/lib/rpm/rpmdb.sqlite: a second database of RPM packages, which is not read"]
    );
}

#[test]
fn what_is_not_read_is_named() {
    let good = package("good");
    let main = "var/lib/rpm/rpmdb.sqlite";
    for (path, content, paths, reason) in [
        (
            "var/lib/rpm/Packages",
            Vec::new(),
            0,
            "/var/lib/rpm/Packages: an RPM database in Berkeley DB form is not read",
        ),
        (
            "var/lib/rpm/Packages.db",
            Vec::new(),
            0,
            "/var/lib/rpm/Packages.db: an RPM database in ndb form is not read",
        ),
        (
            main,
            b"no database at all, but long enough to be one".repeat(40),
            0,
            "/var/lib/rpm/rpmdb.sqlite: is not read: file is not a database",
        ),
        (
            main,
            Vec::new(),
            0,
            "/var/lib/rpm/rpmdb.sqlite: is not read: it has no table of packages",
        ),
        (
            main,
            settled(&[&good, &[0; 3]]),
            1,
            "/var/lib/rpm/rpmdb.sqlite: its package 2 is not read: the header ends too early",
        ),
    ] {
        let (found, unread) = read_image(&[(path, content)], &[]);
        assert_eq!(found.len(), paths, "{reason}");
        assert_eq!(unread, [reason]);
    }
}

#[test]
fn a_view_is_no_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let endless = "CREATE VIEW Packages AS WITH RECURSIVE n(hnum, blob) AS \
                   (VALUES (1, x'') UNION ALL SELECT hnum + 1, x'' FROM n) SELECT * FROM n";
    Connection::open(&path)
        .unwrap()
        .execute_batch(endless)
        .unwrap();
    let (_, unread) = read_image(
        &[("var/lib/rpm/rpmdb.sqlite", fs::read(path).unwrap())],
        &[],
    );
    assert_eq!(
        unread,
        ["/var/lib/rpm/rpmdb.sqlite: is not read: it has no table of packages"]
    );
}
