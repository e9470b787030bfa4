//! The database of installed packages of pacman.

mod mtree;

use std::collections::HashSet;
use std::io::Read as _;
use std::sync::Arc;

use anyhow::Result;
use flate2::read::MultiGzDecoder;

use super::fragments::{self, path};
use super::{DeclaredContent, DeclaredFile, Unread};
use crate::bodies::{Bodies, BodyReader};
use crate::path::ImagePath;
use crate::tree::{Content, Tree};

/// Where the database may lie: pacman's default, and where images keep it that are booted from.
const PLACES: &[&str] = &[
    "var/lib/pacman",
    "usr/lib/sysimage/pacman",
    "usr/lib/sysimage/lib/pacman",
    "usr/lib/pacman",
];

/// A list of files is some ten bytes for each. A larger one is a bomb.
const LIMIT: u64 = 64 << 20;

/// Reads the files of all packages; what is not read is named.
///
/// # Errors
/// A body of the image cannot be read.
pub fn read(tree: &Tree, bodies: &Bodies, unread: &mut Vec<Unread>) -> Result<Vec<DeclaredFile>> {
    let mut files = Vec::new();
    for place in PLACES {
        let local = path(&format!("{place}/local"));
        let Some((local, id)) = tree.resolve(&local).ok().flatten() else {
            continue;
        };
        for name in tree.children(id).into_iter().flat_map(|c| c.keys()) {
            let directory = local.join(name);
            let list = directory.join(b"mtree");
            let Some(reader) = open(tree, bodies, &list) else {
                continue;
            };
            let mut text = Vec::new();
            let mut decoder = MultiGzDecoder::new(reader).take(LIMIT + 1);
            let failed = decoder.read_to_end(&mut text).err();
            let reason = match failed {
                Some(error) => error.to_string(),
                None if text.len() as u64 > LIMIT => "too large".to_owned(),
                None => {
                    let edited = edited_files(tree, bodies, &directory)?;
                    let mut declared = mtree::parse(&package_name(name), &text);
                    for file in &mut declared {
                        if edited.contains(&file.path) {
                            file.content = DeclaredContent::Any;
                        }
                    }
                    files.extend(declared);
                    continue;
                }
            };
            unread.push(Unread {
                path: list,
                reason: format!("a package's list of files is not read: {reason}"),
                fix: "install the package again".to_owned(),
            });
        }
        // The others are links to this one, or what an earlier pacman left.
        break;
    }
    Ok(files)
}

fn open<'b>(tree: &Tree, bodies: &'b Bodies, path: &ImagePath) -> Option<BodyReader<'b>> {
    let (_, id) = tree.resolve(path).ok().flatten()?;
    match tree.inode(id).content {
        Content::File { body, .. } => Some(bodies.reader(body)),
        _ => None,
    }
}

/// The name in `NAME-VERSION-RELEASE`.
fn package_name(directory: &[u8]) -> Arc<str> {
    let directory = String::from_utf8_lossy(directory);
    let name = directory.rsplitn(3, '-').nth(2);
    name.unwrap_or(&directory).into()
}

/// The configuration of a package: what its `files` lists below `%BACKUP%`, with an MD5 checksum
/// behind each path.
fn edited_files(tree: &Tree, bodies: &Bodies, directory: &ImagePath) -> Result<HashSet<ImagePath>> {
    let text = fragments::read_file(tree, bodies, &directory.join(b"files"))?.unwrap_or_default();
    let lines = text.split(|&b| b == b'\n');
    let section = lines
        .skip_while(|&line| line != b"%BACKUP%")
        .skip(1)
        .take_while(|line| !line.starts_with(b"%"));
    Ok(section
        .filter_map(|line| ImagePath::parse(line.split(|&b| b == b'\t').next()?).ok())
        .filter(|path| !path.is_root())
        .collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;

    use super::*;
    use crate::bodies::MemoryStore;
    use crate::metadata::Metadata;
    use crate::testing::{Layers, image_path};
    use crate::tree::Inode;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read_files(files: &[(&str, Vec<u8>)]) -> (Vec<DeclaredFile>, Vec<Unread>) {
        let (mut tree, _) = Layers::new().merge();
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
        let mut unread = Vec::new();
        let bodies = Bodies::new(vec![Box::new(store)]);
        let files = read(&tree, &bodies, &mut unread).unwrap();
        (files, unread)
    }

    #[test]
    fn the_lists_of_packages_are_read() {
        let list = "/set type=file uid=0 gid=0 mode=644\n./etc/sudoers mode=440\n./usr/bin/sudo mode=4755\n";
        for place in ["var/lib/pacman", "usr/lib/sysimage/pacman"] {
            let at = |name: &str| format!("{place}/local/sudo-ldap-1.9.p5-1/{name}");
            let backup = "%FILES%\netc/sudoers\nusr/bin/sudo\n\n%BACKUP%\netc/sudoers\t0123\n\n%X%\nusr/bin/sudo\n";
            let (files, unread) = read_files(&[
                (&at("mtree"), gzip(list)),
                (&at("files"), backup.into()),
                (&format!("{place}/local/ALPM_DB_VERSION"), b"9\n".to_vec()),
            ]);
            let found: Vec<_> = files
                .iter()
                .map(|file| (&*file.package, file.path.to_string(), &file.content))
                .collect();
            assert_eq!(
                found,
                [
                    (
                        "sudo-ldap",
                        "/etc/sudoers".to_owned(),
                        &DeclaredContent::Any
                    ),
                    (
                        "sudo-ldap",
                        "/usr/bin/sudo".to_owned(),
                        &DeclaredContent::Unknown
                    ),
                ]
            );
            assert!(unread.is_empty());
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        let mut short = gzip("./usr/bin/x mode=755\n");
        short.truncate(short.len() - 4);
        let (files, unread) = read_files(&[("var/lib/pacman/local/x-1-1/mtree", short)]);
        assert!(files.is_empty());
        assert_eq!(
            unread[0].path,
            image_path("var/lib/pacman/local/x-1-1/mtree")
        );
    }
}
