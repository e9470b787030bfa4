//! Images derived from one that ostree-ext encapsulated carry the ostree repo of their base.
//!
//! Each file of the base is a hard link to an object in `/sysroot/ostree/repo`, empty ones excepted.
//! Containers see no xattrs of the base: they lie in objects of their own ([`objects`]), and nothing
//! but an ostree host reads them there. A later layer that changes a file's mode copies it without.

mod objects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::{Fixup, Image};
use crate::metadata::Xattrs;
use crate::path::{ImagePath, escape};
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, InodeId, Tree};
pub use objects::{BASE_REPO, Objects};

/// Takes the xattrs of the base from its repo, and drops the repo.
#[derive(Debug)]
pub struct OstreeBase;

/// Where rpm-ostree has the package database of what it adds packages to.
const BASE_DATABASE: &[u8] = b"usr/lib/sysimage/rpm-ostree-base-db";
/// Where it and Fedora have that of the image.
const DATABASES: [&[u8]; 2] = [b"usr/share/rpm", b"usr/lib/sysimage/rpm"];

impl Fixup for OstreeBase {
    fn name(&self) -> &'static str {
        "ostree-base"
    }

    fn summary(&self) -> &'static str {
        "take the xattrs of an encapsulated base from the ostree repo it brings, and drop that repo"
    }

    fn reason(&self) -> &'static str {
        "The base is in the image twice, and its capabilities only beside the objects of its repo."
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let repo = ImagePath::parse(BASE_REPO)?;
        // Labels come from the image's own policy.
        let Some(objects) = Objects::of(&image.tree, &image.bodies, false) else {
            return Ok(());
        };
        let found = xattrs(image, objects)?;
        self.drop_base_database(image, report)?;
        // Before names of the same file become files of their own.
        self.give_xattrs(&mut image.tree, &repo, &found, report);
        self.drop_repo(&mut image.tree, &repo, report);
        Ok(())
    }
}

/// The xattrs that the repo has for what lies in the tree, by inode.
fn xattrs(image: &Image, mut objects: Objects<'_>) -> Result<BTreeMap<InodeId, Xattrs>> {
    let mut found = BTreeMap::new();
    let files: Vec<_> = objects.all("file").collect();
    for (checksum, id) in files {
        let xattrs = objects.xattrs_of_file(&checksum)?;
        if !xattrs.is_empty() {
            found.insert(id, (*xattrs).clone());
        }
    }
    let commits: Vec<_> = objects.all("commit").collect();
    for (checksum, id) in commits {
        let (tree, meta) = objects.root_of_commit(&checksum, id)?;
        let mut pending = vec![(ImagePath::root(), tree, meta)];
        while let Some((path, tree, meta)) = pending.pop() {
            // The image's own tree bounds the walk.
            let Some(id) = image.tree.lookup(&path) else {
                continue;
            };
            if !image.tree.inode(id).content.is_directory() {
                continue;
            }
            let xattrs = objects.xattrs_of_directory(&meta)?;
            if !xattrs.is_empty() {
                found.insert(id, xattrs);
            }
            let directory = objects.directory(&tree)?;
            for (name, checksum) in &directory.files {
                let Some(id) = child(&path, name).and_then(|path| image.tree.lookup(&path)) else {
                    continue;
                };
                let xattrs = objects.xattrs_of_file(checksum)?;
                if xattrs.is_empty() || found.contains_key(&id) {
                    continue;
                }
                if let Some(original) = objects.find(checksum, "file")
                    && is_copy(image, id, original)?
                {
                    found.insert(id, (*xattrs).clone());
                }
            }
            for (name, tree, meta) in directory.directories {
                pending.extend(child(&path, &name).map(|path| (path, tree, meta)));
            }
        }
    }
    Ok(found)
}

/// Where the image has what a commit has as `name` in the directory `parent` of the image; its
/// `/usr/etc` is exported as `/etc`.
fn child(parent: &ImagePath, name: &str) -> Option<ImagePath> {
    if parent.as_bytes() == b"usr" && name == "etc" {
        return Some(ImagePath::root().join(b"etc"));
    }
    let plain = !name.is_empty() && !name.contains('/') && !name.contains('\0');
    plain.then(|| parent.join(name.as_bytes()))
}

/// Is it the file of the base all the same, empty or copied because its mode was to change? A change
/// of its owner takes the capabilities of a file.
fn is_copy(image: &Image, copy: InodeId, original: InodeId) -> Result<bool> {
    let (copy, original) = (image.tree.inode(copy), image.tree.inode(original));
    let owner = |inode: &Inode| (inode.metadata.uid, inode.metadata.gid);
    if owner(copy) != owner(original) {
        return Ok(false);
    }
    Ok(match (&copy.content, &original.content) {
        (Content::File { body: a, .. }, Content::File { body: b, .. }) => {
            image.bodies.same(*a, *b)?
        }
        (Content::Symlink(a), Content::Symlink(b)) => a == b,
        _ => false,
    })
}

impl OstreeBase {
    /// Gives each path what it lacks of these xattrs.
    fn give_xattrs(
        &self,
        tree: &mut Tree,
        repo: &ImagePath,
        found: &BTreeMap<InodeId, Xattrs>,
        report: &mut Report,
    ) {
        let names: Vec<_> = tree
            .walk()
            .filter(|(path, id)| found.contains_key(id) && !path.starts_with(repo))
            .collect();
        let mut given: BTreeMap<InodeId, Vec<String>> = BTreeMap::new();
        for (path, id) in names {
            let xattrs = &mut tree.inode_mut(id).metadata.xattrs;
            let given = given.entry(id).or_insert_with(|| {
                let missing = found[&id]
                    .iter()
                    .filter(|(name, _)| !xattrs.contains_key(*name));
                let missing: Vec<_> = missing.map(|(n, v)| (n.clone(), v.clone())).collect();
                let names = missing.iter().map(|(name, _)| escape(name)).collect();
                xattrs.extend(missing);
                names
            });
            if !given.is_empty() {
                let detail = format!("xattrs of the base: {}", given.join(", "));
                report.note(self.name(), Action::Changed, &path, detail);
            }
        }
    }

    /// Drops the repo.
    fn drop_repo(&self, tree: &mut Tree, repo: &ImagePath, report: &mut Report) {
        let (mut objects, mut in_repo) = (0, BTreeSet::new());
        for (_, id) in tree.walk_from(repo) {
            if !tree.inode(id).content.is_directory() {
                objects += 1;
                in_repo.insert(id);
            }
        }
        tree.remove(repo);
        let linked = unlink(tree, &in_repo);
        let elsewhere: BTreeSet<_> = tree.ids().collect();
        let bytes: u64 = in_repo
            .difference(&elsewhere)
            .map(|&id| size(tree, id))
            .sum();
        let detail = format!(
            "the repo of the base: {objects} files, {bytes} bytes that nothing else has; \
             {linked} hard links into it are files of their own"
        );
        report.note(self.name(), Action::Dropped, repo, detail);
    }

    /// Drops the package database of the base where the image has another. rpm-ostree takes it for
    /// that of the commit, and the commit is of the whole image.
    fn drop_base_database(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let path = ImagePath::parse(BASE_DATABASE)?;
        let mut databases = Vec::new();
        for database in DATABASES {
            databases.extend(image.tree.resolve(&ImagePath::parse(database)?)?);
        }
        let Some((_, database)) = databases.first() else {
            return Ok(());
        };
        let (mut bytes, mut differs) = (0, false);
        for (below, id) in image.tree.walk_from(&path) {
            let Content::File { body, size } = image.tree.inode(id).content else {
                continue;
            };
            bytes += size;
            let name = below.file_name().expect("a file is not the root");
            let current = image.tree.child(*database, name);
            differs |= match current.map(|id| &image.tree.inode(id).content) {
                Some(Content::File { body: current, .. }) => !image.bodies.same(body, *current)?,
                _ => true,
            };
        }
        if differs {
            image.tree.remove(&path);
            let detail = format!("the package database of the base, {bytes} bytes");
            report.note(self.name(), Action::Dropped, &path, detail);
        }
        Ok(())
    }
}

/// Makes each name of these files a file of its own: that equal files are hard links of each other
/// is the repo's doing. Returns how many names they have.
fn unlink(tree: &mut Tree, files: &BTreeSet<InodeId>) -> usize {
    let names: Vec<_> = tree.walk().filter(|(_, id)| files.contains(id)).collect();
    let mut seen = BTreeSet::new();
    for (path, id) in &names {
        if !seen.insert(id) {
            let inode = tree.inode(*id).clone();
            let inserted = tree.insert(path, inode);
            inserted.expect("its parents are directories of the tree");
        }
    }
    names.len()
}

fn size(tree: &Tree, id: InodeId) -> u64 {
    match tree.inode(id).content {
        Content::File { size, .. } => size,
        _ => 0,
    }
}
