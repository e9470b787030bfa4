//! The databases of package managers: they describe `/usr`, so they lie in it and are replaced with it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{BY, fixed, write};
use crate::fixup::tmpfiles::Line;
use crate::fixup::{Image, drop_subtree, etc};
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, InodeId, Tree};

/// Where a database lies, and where it lies in an OS tree.
const DATABASES: &[(&str, &str)] = &[
    ("var/lib/dpkg", "usr/lib/sysimage/dpkg"),
    ("var/lib/pacman", "usr/lib/sysimage/pacman"),
    (RPM_IN_VAR, RPM),
    // Which program of several has the name of a link in /usr/bin.
    ("var/lib/alternatives", "usr/lib/alternatives"),
];

const RPM_IN_VAR: &str = "var/lib/rpm";
/// Where rpm has its database by default since 4.16.
const RPM: &str = "usr/lib/sysimage/rpm";
/// Where rpm-ostree has it.
const RPM_OSTREE: &str = "usr/share/rpm";
/// Where rpm-ostree looks for the packages of the base commit.
const BASE: &str = "usr/lib/sysimage/rpm-ostree-base-db";
/// What tells rpm.
const MACROS: &str = "usr/lib/rpm/macros.d/macros.import-oci";

/// Moves the databases out of `/var`. Returns the links by which a host finds them under their old names.
pub fn settle(image: &mut Image, report: &mut Report) -> Result<Vec<Line>> {
    let mut links = Vec::new();
    let mut moved_rpm = false;
    for &(from, to) in DATABASES {
        let (old, new) = (fixed(from), fixed(to));
        if !is_filled(&image.tree, &old) {
            continue;
        }
        if from == RPM_IN_VAR {
            // An rpm of another default than its image's first one left it behind.
            if is_filled(&image.tree, &new) || is_filled(&image.tree, &fixed(RPM_OSTREE)) {
                continue;
            }
            moved_rpm = true;
        }
        let why = format!("the one in use lies in {old}");
        drop_subtree(&mut image.tree, &new, BY, &why, report);
        if let Some(id) = image.tree.remove(&old) {
            image.tree.link(&new, id)?;
        }
        report.note(BY, Action::Moved, &old, format!("to {new}"));
        links.push(Line::new(b'L', old).argument(format!("../../{to}").as_bytes()));
    }
    if image.options.rpm_ostree_compat {
        links.extend(for_rpm_ostree(image, report)?);
    } else if moved_rpm {
        tell_rpm(image, RPM, report)?;
    }
    Ok(links)
}

/// Puts the database where rpm-ostree has it, and once more where it keeps that of the base commit: the same
/// objects, which take no space.
fn for_rpm_ostree(image: &mut Image, report: &mut Report) -> Result<Option<Line>> {
    let (default, path, base) = (fixed(RPM), fixed(RPM_OSTREE), fixed(BASE));
    if is_filled(&image.tree, &default) && !is_filled(&image.tree, &path) {
        if let Some(id) = image.tree.remove(&default) {
            image.tree.link(&path, id)?;
        }
        report.note(BY, Action::Moved, &default, format!("to {path}"));
    }
    if !is_filled(&image.tree, &path) {
        return Ok(None);
    }
    if image.tree.lookup(&default).is_none() {
        let link = Inode {
            metadata: Metadata {
                mode: 0o777,
                ..Metadata::default()
            },
            content: Content::Symlink((*b"../../share/rpm").into()),
        };
        image.tree.insert(&default, link)?;
        report.note(BY, Action::Added, &default, format!("link to {path}"));
    }
    copy_base(image, &path, &base, report)?;
    tell_rpm(image, RPM_OSTREE, report)?;
    let link = Line::new(b'L', fixed(RPM_IN_VAR)).argument(b"../../usr/share/rpm");
    Ok(Some(link))
}

/// Gives every file below `path` a second name below `base`.
fn copy_base(
    image: &mut Image,
    path: &ImagePath,
    base: &ImagePath,
    report: &mut Report,
) -> Result<()> {
    let originals = files(&image.tree, path);
    let copies = files(&image.tree, base);
    let mut is_copy = copies.keys().eq(originals.keys());
    for (&original, &copy) in originals.values().zip(copies.values()) {
        is_copy = is_copy && etc::same(image, original, copy)?;
    }
    if is_copy {
        return Ok(());
    }
    drop_subtree(&mut image.tree, base, BY, "not that of this image", report);
    let mut bytes = 0;
    for (name, id) in originals {
        if let Content::File { size, .. } = image.tree.inode(id).content {
            bytes += size;
        }
        image
            .tree
            .link(&name.rebase(&ImagePath::root(), base), id)?;
    }
    let detail = format!("the objects of {path} again: {bytes} bytes not stored twice");
    report.note(BY, Action::Added, base, detail);
    Ok(())
}

/// What is no directory below `top`, by its path from there.
fn files(tree: &Tree, top: &ImagePath) -> BTreeMap<ImagePath, InodeId> {
    let files = tree
        .walk_from(top)
        .filter(|&(_, id)| tree.children(id).is_none());
    files
        .map(|(path, id)| (path.rebase(top, &ImagePath::root()), id))
        .collect()
}

/// Names the database to rpm, whatever the default of its build.
fn tell_rpm(image: &mut Image, database: &str, report: &mut Report) -> Result<()> {
    let text = format!("%_dbpath /{database}\n");
    write(image, &fixed(MACROS), text.as_bytes(), report)
}

/// Is it a directory with something in it?
fn is_filled(tree: &Tree, path: &ImagePath) -> bool {
    let children = tree.lookup(path).and_then(|id| tree.children(id));
    children.is_some_and(|children| !children.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::MoveVar;
    use super::*;
    use crate::fixup::FixupOptions;
    use crate::fixup::testing::run;
    use crate::testing::Layers;

    const COMPAT: bool = true;

    /// What is made of an image: the listing without directories as such, and the notes.
    fn settled(layers: Layers, rpm_ostree_compat: bool) -> (Vec<String>, Vec<String>) {
        let options = FixupOptions {
            rpm_ostree_compat,
            ..FixupOptions::default()
        };
        let (mut tree, notes) = run(&MoveVar, layers, options).unwrap();
        tree.retain(|line| !line.ends_with("/ 755"));
        (tree, notes)
    }

    fn lines(lines: &[&str]) -> String {
        let text = lines.join("\\\\n");
        let header = "# Made by import-oci, see tmpfiles.d(5).";
        format!("/usr/lib/tmpfiles.d/import-oci-var.conf 644 \"{header}\\\\n{text}\\\\n\"")
    }

    fn macros(database: &str) -> String {
        format!("/{MACROS} 644 \"%_dbpath /{database}\\\\n\"")
    }

    const VAR_LIB: &str = "d /var/lib 0755 root root -";

    #[test]
    fn databases_move_into_usr() {
        let layers = Layers::new()
            .file("var/lib/dpkg/status", "s")
            .file("usr/lib/sysimage/dpkg/status", "stale")
            .file("var/lib/pacman/local/x", "p")
            .file("var/lib/alternatives/vi", "a")
            .file("var/lib/rpm/rpmdb.sqlite", "r");
        let (tree, notes) = settled(layers, !COMPAT);
        assert_eq!(
            tree,
            [
                "/usr/lib/alternatives/vi 644 \"a\"",
                &macros(RPM),
                "/usr/lib/sysimage/dpkg/status 644 \"s\"",
                "/usr/lib/sysimage/pacman/local/x 644 \"p\"",
                "/usr/lib/sysimage/rpm/rpmdb.sqlite 644 \"r\"",
                &lines(&[
                    VAR_LIB,
                    "L /var/lib/alternatives - - - - ../../usr/lib/alternatives",
                    "L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg",
                    "L /var/lib/pacman - - - - ../../usr/lib/sysimage/pacman",
                    "L /var/lib/rpm - - - - ../../usr/lib/sysimage/rpm",
                ]),
            ]
        );
        assert_eq!(
            notes,
            [
                "dropped /usr/lib/sysimage/dpkg",
                "dropped /usr/lib/sysimage/dpkg/status",
                "moved /var/lib/dpkg",
                "moved /var/lib/pacman",
                "moved /var/lib/rpm",
                "moved /var/lib/alternatives",
                &format!("added /{MACROS}"),
                "moved /var/lib",
                "added /usr/lib/tmpfiles.d/import-oci-var.conf",
            ]
        );
    }

    #[test]
    fn an_rpm_database_in_usr_stays() {
        for place in [RPM, RPM_OSTREE] {
            let layers = || Layers::new().file(&format!("{place}/rpmdb.sqlite"), "r");
            let target = "../../usr/lib/sysimage/rpm";
            let (tree, _) = settled(layers().symlink("var/lib/rpm", target), !COMPAT);
            let link = format!("L /var/lib/rpm - - - - {target}");
            assert!(tree.contains(&lines(&[VAR_LIB, &link])), "{tree:#?}");
            assert!(!tree.contains(&macros(place)));
            // What another rpm left in /var is no database of the image.
            let (tree, _) = settled(layers().file("var/lib/rpm/Packages", "old"), !COMPAT);
            let file = "/usr/share/factory/var/lib/rpm/Packages 644 \"old\"";
            assert!(tree.contains(&file.to_owned()), "{tree:#?}");
        }
    }

    #[test]
    fn as_rpm_ostree_has_it() {
        let other = "L /var/lib/rpm - - - - ../../usr/share/rpm";
        for place in [RPM_IN_VAR, RPM, RPM_OSTREE] {
            let layers = Layers::new()
                .file(&format!("{place}/rpmdb.sqlite"), "12345")
                .file("usr/lib/sysimage/rpm-ostree-base-db/Packages", "stale");
            let (tree, notes) = settled(layers, COMPAT);
            let macros = macros(RPM_OSTREE);
            let have = |line: &str| assert!(tree.iter().any(|l| l == line), "{line} {tree:#?}");
            have("/usr/lib/sysimage/rpm -> ../../share/rpm");
            have("/usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite 644 \"12345\"");
            have("/usr/share/rpm/rpmdb.sqlite 644 \"12345\"");
            have(&macros);
            match place {
                RPM_IN_VAR => have(&lines(&[VAR_LIB, other])),
                _ => have(&lines(&[other])),
            }
            let stale = format!("dropped /{BASE}/Packages");
            assert!(notes.contains(&stale), "{notes:?}");
        }
        let (tree, notes) = settled(Layers::new(), COMPAT);
        assert_eq!((tree, notes), (vec![], vec![]));
    }

    #[test]
    fn the_base_database_is_the_same_object() {
        let layers = Layers::new().file("usr/share/rpm/rpmdb.sqlite", "12345");
        let (tree, bodies) = layers.merge();
        let mut image = Image {
            tree,
            bodies,
            packages: Default::default(),
            options: FixupOptions {
                rpm_ostree_compat: true,
                ..FixupOptions::default()
            },
        };
        let mut report = Report::default();
        settle(&mut image, &mut report).unwrap();
        let file = |directory| image.tree.lookup(&fixed(directory).join(b"rpmdb.sqlite"));
        assert_eq!(file(BASE), file(RPM_OSTREE));
        let told = report.notes().iter().find(|note| note.path == fixed(BASE));
        assert!(told.unwrap().detail.contains("5 bytes not stored twice"));
    }
}
