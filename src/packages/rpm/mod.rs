//! The database of RPM packages that an image carries.

mod files;
mod header;

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use rusqlite::{Connection, OpenFlags};

use super::declared::DeclaredFile;
use super::fragments;
use crate::bodies::Bodies;
use crate::path::ImagePath;
use crate::tree::{Content, Tree};
use header::Header;

/// Where a database may lie, today's place first.
const DIRECTORIES: [&str; 3] = ["usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm"];
/// The database of today, and what sqlite writes ahead of it.
const SQLITE: &str = "rpmdb.sqlite";
const WRITE_AHEAD: &str = "rpmdb.sqlite-wal";
/// Databases of other forms, with the names of the forms.
const OTHER_FORMS: [(&str, &str); 2] = [("Packages.db", "ndb"), ("Packages", "Berkeley DB")];

/// What the RPM packages of an image declare.
#[derive(Debug, Default)]
pub(super) struct Rpm {
    /// Every path of every package.
    pub(super) files: Vec<DeclaredFile>,
    /// A database of a form that is not read: its path and the name of the form.
    pub(super) unread: Option<(ImagePath, &'static str)>,
    /// What could not be understood, in words, with the path of the database.
    pub(super) odd: Vec<(ImagePath, String)>,
}

/// Reads the database of `tree`. sqlite reads files only, so it gets copies in a private directory
/// below `scratch`.
///
/// # Errors
/// The copy cannot be made. A damaged database is no error: it is told in [`Rpm::odd`].
pub(super) fn read(tree: &Tree, bodies: &Bodies, scratch: &Path) -> Result<Rpm> {
    let mut found = Rpm::default();
    for directory in DIRECTORIES {
        let directory = fragments::path(directory);
        let database = directory.join(SQLITE.as_bytes());
        if fragments::is_file(tree, &database) {
            if let Err(error) = read_sqlite(tree, bodies, &directory, scratch, &mut found)? {
                let what = format!("the database of RPM packages cannot be read: {error:#}");
                found.odd.push((database, what));
            }
            return Ok(found);
        }
        let other = OTHER_FORMS.iter().find_map(|&(name, form)| {
            let path = directory.join(name.as_bytes());
            fragments::is_file(tree, &path).then_some((path, form))
        });
        found.unread = found.unread.or(other);
    }
    Ok(found)
}

/// The outer error is the host's, the inner one the database's.
fn read_sqlite(
    tree: &Tree,
    bodies: &Bodies,
    directory: &ImagePath,
    scratch: &Path,
    found: &mut Rpm,
) -> Result<Result<()>> {
    let private = tempfile::tempdir_in(scratch)
        .with_context(|| format!("making a directory in {}", scratch.display()))?;
    for name in [SQLITE, WRITE_AHEAD] {
        let path = directory.join(name.as_bytes());
        let Some(id) = fragments::resolve(tree, &path) else {
            continue;
        };
        if let Content::File { body, .. } = tree.inode(id).content {
            let copy = private.path().join(name);
            let context = || format!("copying {path} to {}", copy.display());
            let mut file = File::create(&copy).with_context(context)?;
            io::copy(&mut bodies.reader(body), &mut file).with_context(context)?;
        }
    }
    let database = directory.join(SQLITE.as_bytes());
    Ok(read_packages(
        &private.path().join(SQLITE),
        &database,
        found,
    ))
}

/// Reads the copy of `database`.
fn read_packages(copy: &Path, database: &ImagePath, found: &mut Rpm) -> Result<()> {
    // Writable: what was written ahead is only seen once sqlite has an index of it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags)?;
    let mut statement = connection.prepare("SELECT hnum, blob FROM Packages ORDER BY hnum")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let blob = row.get_ref(1)?.as_blob()?;
        let mut odd = Vec::new();
        let declared = Header::parse(blob)
            .map_err(files::FilesError::from)
            .and_then(|header| files::declared(&header, &mut odd));
        match declared {
            Ok(files) => found.files.extend(files),
            Err(error) => odd.push(format!("package number {number}: {error}")),
        }
        let odd = odd.into_iter().map(|what| (database.clone(), what));
        found.odd.extend(odd);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::header::Tag;
    use super::header::tests::Builder;
    use super::*;
    use crate::testing::Layers;

    fn header(name: &str, file: &str) -> Vec<u8> {
        Builder::default()
            .texts(Tag::Name, &[name])
            .texts(Tag::DirNames, &["/usr/"])
            .texts(Tag::BaseNames, &[file])
            .words(Tag::DirIndexes, &[0])
            .modes(&[0o040711])
            .build()
    }

    /// The files of a database that was never closed: `first` is in it, `second` only written ahead.
    fn database(first: &[u8], second: &[u8]) -> [Vec<u8>; 2] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SQLITE);
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);",
            )
            .unwrap();
        let insert = |blob: &[u8]| {
            let insert = "INSERT INTO Packages (blob) VALUES (?)";
            connection.execute(insert, [blob]).unwrap();
        };
        insert(first);
        connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        insert(second);
        [SQLITE, WRITE_AHEAD].map(|name| std::fs::read(directory.path().join(name)).unwrap())
    }

    fn read_layers(layers: Layers) -> Rpm {
        let (tree, bodies) = layers.merge();
        let scratch = tempfile::tempdir().unwrap();
        let found = read(&tree, &bodies, scratch.path()).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        found
    }

    fn paths(found: &Rpm) -> Vec<String> {
        found.files.iter().map(|f| f.path.to_string()).collect()
    }

    #[test]
    fn what_was_written_ahead_counts() {
        let [main, ahead] = database(&header("a", "first"), &header("b", "second"));
        for place in DIRECTORIES {
            let found = read_layers(
                Layers::new()
                    .bytes(&format!("{place}/{SQLITE}"), &main)
                    .bytes(&format!("{place}/{WRITE_AHEAD}"), &ahead),
            );
            assert_eq!(paths(&found), ["/usr/first", "/usr/second"]);
            assert_eq!(found.odd, []);
        }
        let linked = Layers::new()
            .symlink("usr/lib/sysimage/rpm", "../../share/rpm")
            .bytes(&format!("usr/share/rpm/{SQLITE}"), &main);
        assert_eq!(paths(&read_layers(linked)), ["/usr/first"]);
    }

    #[test]
    fn damage_is_told() {
        let [main, ahead] = database(&header("a", "first"), b"no header");
        let found = read_layers(
            Layers::new()
                .bytes("var/lib/rpm/rpmdb.sqlite", &main)
                .bytes("var/lib/rpm/rpmdb.sqlite-wal", &ahead),
        );
        assert_eq!(paths(&found), ["/usr/first"]);
        assert!(
            found.odd[0].1.starts_with("package number 2: "),
            "{:?}",
            found.odd
        );
        let found = read_layers(Layers::new().file("var/lib/rpm/rpmdb.sqlite", "no database"));
        assert!(found.odd[0].1.contains("cannot be read"), "{:?}", found.odd);
    }

    #[test]
    fn other_forms_are_named() {
        for (name, form) in OTHER_FORMS {
            let found = read_layers(Layers::new().file(&format!("var/lib/rpm/{name}"), ""));
            let (path, found) = found.unread.unwrap();
            assert_eq!(
                (path.to_string(), found),
                (format!("/var/lib/rpm/{name}"), form)
            );
        }
    }
}
