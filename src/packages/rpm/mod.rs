//! The database of installed RPM packages.

mod database;
mod files;
mod header;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;

use super::fragments::path;
use super::{DeclaredFile, Unread};
use crate::bodies::{Bodies, BodyId};
use crate::path::ImagePath;
use crate::tree::{Content, InodeId, Tree};
use header::Header;

/// Where it may lie: rpm's default, rpm-ostree's, and rpm's before 4.16.
const PLACES: &[&str] = &["usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm"];

/// The database as an SQLite file, and the log of changes that are not in the file yet.
const SQLITE: &[u8] = b"rpmdb.sqlite";
const SQLITE_LOG: &[u8] = b"rpmdb.sqlite-wal";

/// Its older forms.
const OTHERS: &[(&[u8], &str)] = &[(b"Packages.db", "ndb"), (b"Packages", "Berkeley DB")];

/// Reads the files of all packages of the first database that is there; what is not read is named.
///
/// # Errors
/// A body of the image cannot be read, or the directory `scratch` not be written.
pub fn read(
    tree: &Tree,
    bodies: &Bodies,
    scratch: &Path,
    unread: &mut Vec<Unread>,
) -> Result<Vec<DeclaredFile>> {
    let mut files = None;
    let mut seen = HashSet::new();
    for place in PLACES {
        let Some((place, directory)) = tree.resolve(&path(place)).ok().flatten() else {
            continue;
        };
        if !seen.insert(directory) {
            continue;
        }
        if let Some((found, body)) = child_file(tree, &place, directory, SQLITE) {
            if files.is_some() {
                unread.push(Unread {
                    path: found,
                    reason: "a second database of RPM packages, which is not read".to_owned(),
                    fix: "remove the one that rpm does not use".to_owned(),
                });
                continue;
            }
            let log = child_file(tree, &place, directory, SQLITE_LOG).map(|(_, body)| body);
            files = Some(read_sqlite(bodies, &found, body, log, scratch, unread)?);
            continue;
        }
        for &(name, form) in OTHERS {
            if let Some((found, _)) = child_file(tree, &place, directory, name) {
                unread.push(Unread {
                    path: found,
                    reason: format!("an RPM database in {form} form is not read"),
                    fix: "make it an SQLite one: rpmdb --rebuilddb -D '_db_backend sqlite'"
                        .to_owned(),
                });
            }
        }
    }
    Ok(files.unwrap_or_default())
}

fn child_file(
    tree: &Tree,
    place: &ImagePath,
    directory: InodeId,
    name: &[u8],
) -> Option<(ImagePath, BodyId)> {
    let path = place.join(name);
    let id = tree.child(directory, name)?;
    match tree.inode(id).content {
        Content::File { body, .. } => Some((path, body)),
        _ => None,
    }
}

fn read_sqlite(
    bodies: &Bodies,
    path: &ImagePath,
    body: BodyId,
    log: Option<BodyId>,
    scratch: &Path,
    unread: &mut Vec<Unread>,
) -> Result<Vec<DeclaredFile>> {
    let mut skip = |reason: String| {
        unread.push(Unread {
            path: path.clone(),
            reason,
            fix: "see what rpm --verifydb says of it".to_owned(),
        });
    };
    let copy = database::Copy::make(bodies, body, log, scratch)?;
    let mut files = Vec::new();
    let read = copy.for_each_header(|number, blob| {
        let declared = Header::parse(blob)
            .map_err(files::PackageError::from)
            .and_then(|header| files::declared(&header));
        match declared {
            Ok(declared) => files.extend(declared),
            Err(error) => skip(format!("its package {number} is not read: {error}")),
        }
    });
    if let Err(error) = read {
        skip(format!("is not read: {error}"));
    }
    Ok(files)
}
