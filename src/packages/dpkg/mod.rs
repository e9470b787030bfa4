//! What dpkg's database says of modes and owners. Packages themselves say nothing there: dpkg
//! forgets what it unpacked. What is left are the overrides of `dpkg-statoverride(1)` and what the
//! scripts of packages do once their files are unpacked.

mod postinst;
mod script;
mod statoverride;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use ostree::glib::ChecksumType;

use super::fragments::{path, read_file};
use super::{DeclaredChecksum, DeclaredContent, DeclaredFile};
use crate::bodies::Bodies;
use crate::path::ImagePath;
use crate::tree::Tree;

/// Where the database may lie: dpkg's default, and where images keep it that are booted from.
const PLACES: &[&str] = &["var/lib/dpkg", "usr/lib/sysimage/dpkg"];

/// The name under which overrides stand in for a package.
const OVERRIDES: &str = "dpkg-statoverride";

/// Reads the overrides, and what scripts of packages do to paths that no override speaks of.
///
/// # Errors
/// A file of the database cannot be read, or is too large to be one.
pub fn read(tree: &Tree, bodies: &Bodies) -> Result<Vec<DeclaredFile>> {
    let found = PLACES
        .iter()
        .find_map(|place| tree.resolve(&path(place)).ok().flatten());
    let Some((place, _)) = found else {
        return Ok(Vec::new());
    };
    let overrides = read_file(tree, bodies, &place.join(b"statoverride"))?.unwrap_or_default();
    let mut files = statoverride::parse(&OVERRIDES.into(), &overrides);
    let overridden: Vec<_> = files.iter().map(|file| file.path.clone()).collect();

    let info = place.join(b"info");
    let names = tree.resolve(&info).ok().flatten();
    let names = names.and_then(|(_, id)| tree.children(id));
    for name in names.into_iter().flat_map(|children| children.keys()) {
        let Some(stem) = name.strip_suffix(b".postinst") else {
            continue;
        };
        let text = read_file(tree, bodies, &info.join(name))?.unwrap_or_default();
        let mut declared = postinst::parse(&package_name(stem), &text);
        declared.retain(|file| !overridden.contains(&file.path) && !fell_back(tree, file));
        if !declared.is_empty() {
            let sums = info.join(&[stem, b".md5sums"].concat());
            let sums = read_file(tree, bodies, &sums)?.unwrap_or_default();
            let sums = checksums(&sums);
            for file in &mut declared {
                let known = sums.get(&file.path).cloned();
                file.content = known.map_or(DeclaredContent::Unknown, DeclaredContent::Checksum);
            }
        }
        files.extend(declared);
    }
    Ok(files)
}

/// Is the file set-user-ID in place of the capabilities that its script would set? So scripts do
/// where there is no `setcap`, or where it fails.
fn fell_back(tree: &Tree, file: &DeclaredFile) -> bool {
    const SET_USER_ID: u32 = 0o4000;
    let found = tree.resolve(&file.path).ok().flatten();
    let mode = found.map_or(0, |(_, id)| tree.inode(id).metadata.mode);
    file.capabilities.is_some() && mode & SET_USER_ID != 0
}

/// The name in `NAME` or `NAME:ARCHITECTURE`.
fn package_name(stem: &[u8]) -> Arc<str> {
    let name = stem.split(|&b| b == b':').next().unwrap_or(stem);
    String::from_utf8_lossy(name).into()
}

/// The lines of an `md5sums` file: a checksum, two spaces, a path without its slash.
fn checksums(text: &[u8]) -> HashMap<ImagePath, DeclaredChecksum> {
    let line = |line: &[u8]| {
        let (sum, path) = line.split_at_checked(32)?;
        let sum = DeclaredChecksum::parse(ChecksumType::Md5, sum)?;
        let path = ImagePath::parse(path.strip_prefix(b"  ")?).ok()?;
        Some((path, sum))
    };
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn overrides_come_before_scripts() {
        let script = "setcap cap_net_raw+ep /usr/bin/a\nchmod 4755 /usr/bin/b\nchmod 0700 /etc/c\n";
        let sums = "900150983cd24fb0d6963f7d28e17f72  usr/bin/a\n";
        for place in PLACES {
            let (tree, bodies) = Layers::new()
                .file(
                    &format!("{place}/statoverride"),
                    "root #50 2755 /usr/bin/b\n",
                )
                .file(&format!("{place}/info/p:amd64.postinst"), script)
                .file(&format!("{place}/info/p:amd64.md5sums"), sums)
                .file(&format!("{place}/info/q.postinst"), "exit 0\n")
                .file(&format!("{place}/info/q.prerm"), script)
                .merge();
            let found: Vec<_> = read(&tree, &bodies)
                .unwrap()
                .into_iter()
                .map(|file| {
                    let checked = matches!(file.content, DeclaredContent::Checksum(_));
                    (file.package.to_string(), file.path.to_string(), checked)
                })
                .collect();
            let want = [
                (OVERRIDES, "/usr/bin/b", false),
                ("p", "/etc/c", false),
                ("p", "/usr/bin/a", true),
            ];
            assert_eq!(
                found,
                want.map(|(p, path, c)| (p.to_owned(), path.to_owned(), c))
            );
        }
        let (tree, bodies) = Layers::new().merge();
        assert_eq!(read(&tree, &bodies).unwrap(), []);
    }

    #[test]
    fn set_user_id_stands_in_for_capabilities() {
        let script = "setcap cap_net_raw+ep /bin/ping";
        for (mode, declared) in [(0o4755, 0), (0o755, 1)] {
            let (mut tree, bodies) = Layers::new()
                .symlink("bin", "usr/bin")
                .file("usr/bin/ping", "")
                .file("var/lib/dpkg/info/iputils-ping.postinst", script)
                .merge();
            let id = tree.lookup(&path("usr/bin/ping")).unwrap();
            tree.inode_mut(id).metadata.mode = mode;
            assert_eq!(read(&tree, &bodies).unwrap().len(), declared, "{mode:o}");
        }
    }
}
