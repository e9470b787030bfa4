//! What all packages together claim of each path that is there.

use std::collections::{BTreeMap, HashMap};

use super::{ContentDigest, ImagePath, InodeId};
use crate::packages::{Account, DeclaredFile, DeclaredKind};
use crate::tree::{Content, Tree};

/// What is declared of a path that is there, and is of the kind declared.
#[derive(Debug, Clone)]
pub(super) struct Claim<'a> {
    /// The path on the host.
    pub(super) path: ImagePath,
    pub(super) inode: InodeId,
    /// Who says so, for messages: the first of several.
    pub(super) package: &'a str,
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<&'a Account>,
    pub(super) group: Option<&'a Account>,
    pub(super) capabilities: Option<&'a [u8]>,
    pub(super) digest: Option<&'a ContentDigest>,
    pub(super) config: bool,
    pub(super) setuid_instead: bool,
}

/// A package whose word on directories counts more than that of others, which only put files there.
const FILESYSTEM: &str = "filesystem";

/// The claims on the paths of `tree`, in byte order. Where packages contradict each other, that of
/// [`FILESYSTEM`] counts, and else what they disagree about is left open.
pub(super) fn of_paths<'a>(tree: &Tree, files: &'a [DeclaredFile]) -> Vec<Claim<'a>> {
    let mut places = Places::new(tree);
    let mut by_path: BTreeMap<ImagePath, (InodeId, Vec<&DeclaredFile>)> = BTreeMap::new();
    for file in files {
        let Some((path, inode)) = places.locate(&file.path) else {
            continue;
        };
        if is_kind(&tree.inode(inode).content, file.kind) {
            let entry = by_path.entry(path).or_insert((inode, Vec::new()));
            entry.1.push(file);
        }
    }
    let merge = |(path, (inode, files)): (_, (_, Vec<_>))| merge(path, inode, &files);
    by_path.into_iter().map(merge).collect()
}

fn merge<'a>(path: ImagePath, inode: InodeId, files: &[&'a DeclaredFile]) -> Claim<'a> {
    let filesystem = files
        .iter()
        .copied()
        .find(|file| *file.package == *FILESYSTEM);
    Claim {
        path,
        inode,
        package: &filesystem.unwrap_or(files[0]).package,
        mode: agreed(files, filesystem, |file| file.mode),
        owner: agreed(files, filesystem, |file| file.owner.as_ref()),
        group: agreed(files, filesystem, |file| file.group.as_ref()),
        capabilities: agreed(files, filesystem, |file| file.capabilities.as_deref()),
        digest: agreed(files, filesystem, |file| file.digest.as_ref()),
        config: files.iter().any(|file| file.config),
        setuid_instead: files.iter().any(|file| file.setuid_instead),
    }
}

/// The value that all who have one agree on, or that of `chief`.
fn agreed<'a, T: PartialEq>(
    files: &[&'a DeclaredFile],
    chief: Option<&'a DeclaredFile>,
    value: impl Fn(&'a DeclaredFile) -> Option<T>,
) -> Option<T> {
    if let Some(value) = chief.and_then(&value) {
        return Some(value);
    }
    let mut values = files.iter().filter_map(|file| value(file));
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

fn is_kind(content: &Content, kind: Option<DeclaredKind>) -> bool {
    match kind {
        None => true,
        Some(DeclaredKind::Directory) => content.is_directory(),
        Some(DeclaredKind::File) => matches!(content, Content::File { .. }),
        Some(DeclaredKind::Symlink) => matches!(content, Content::Symlink(_)),
    }
}

/// Finds declared paths, whose parents may be links (`/bin/x` is `/usr/bin/x`), and which are those of
/// a host (`/etc` of a commit is `/usr/etc`).
#[derive(Debug)]
struct Places<'t> {
    tree: &'t Tree,
    etc: Option<InodeId>,
    /// Where each directory that was asked for is.
    parents: HashMap<ImagePath, Option<(ImagePath, InodeId)>>,
}

impl<'t> Places<'t> {
    fn new(tree: &'t Tree) -> Self {
        let usr_etc = || tree.child(tree.child(tree.root(), b"usr")?, b"etc");
        Self {
            tree,
            etc: tree.child(tree.root(), b"etc").or_else(usr_etc),
            parents: HashMap::new(),
        }
    }

    fn locate(&mut self, path: &ImagePath) -> Option<(ImagePath, InodeId)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Some((path.clone(), self.tree.root()));
        };
        if !self.parents.contains_key(&parent) {
            let found = self
                .tree
                .resolve_by(&parent, |id, name| self.child(id, name));
            self.parents.insert(parent.clone(), found.ok().flatten());
        }
        let (parent, directory) = self.parents[&parent].as_ref()?;
        Some((parent.join(name), self.child(*directory, name)?))
    }

    fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        match name {
            b"etc" if directory == self.tree.root() => self.etc,
            name => self.tree.child(directory, name),
        }
    }
}
