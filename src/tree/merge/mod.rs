//! Lays one layer onto the tree of the layers below it.
//!
//! The semantics are image-spec's `layer.md` as container runtimes show it: what `podman run`
//! would see is what the tree holds. A layer is known whole before it is merged, so the order of
//! its entries matters only where tar says so: first all whiteouts act on the lower layers, then
//! the entries are placed one after the other.

use std::collections::{BTreeMap, HashMap, HashSet};

mod hardlinks;
mod parents;
mod place;
#[cfg(test)]
mod tests;
mod whiteout;

use super::{Content, InodeId, Tree, TreeError};
use crate::entry::Entry;
use crate::path::ImagePath;
use crate::report::Report;
use whiteout::{Class, classify};

/// What to do with an entry below a symbolic link of a lower layer (`lib/x` where `lib` is a link).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum SymlinkParent {
    /// As overlayfs shows it: the link is replaced by a directory. Except for the links of a
    /// merged `/usr` and of `/var/run` and `/var/lock`, which are followed: replacing them is
    /// never what a layer's author meant.
    #[default]
    Replace,
    /// The link is followed inside the image, as tar extractors do.
    Follow,
    /// The layer is refused.
    Error,
}

/// Whose metadata a directory gets that several layers describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum DirectoryMetadata {
    /// The highest layer's, as container runtimes show it.
    #[default]
    Last,
    /// The lowest layer's, as ostree-ext imports it.
    First,
}

/// How [`apply`] decides where tools differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// Entries below a link.
    pub symlink_parent: SymlinkParent,
    /// Directories that several layers describe.
    pub directory_metadata: DirectoryMetadata,
    /// Are `.wh.` names whiteouts? Not in an unpacked root, where they are plain names.
    pub whiteouts: bool,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self {
            symlink_parent: SymlinkParent::default(),
            directory_metadata: DirectoryMetadata::default(),
            whiteouts: true,
        }
    }
}

/// How many directories of an image its layers may imply: have entries in, but none for, or none
/// yet. A few bytes of an archive imply thousands; no real image comes near.
pub const MAX_IMPLICIT_DIRECTORIES: u32 = 1_000_000;

/// Why a layer cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A `.wh.` name that hides nothing (`.wh.`, `.wh..`, `.wh...`) or that is used as a directory.
    #[error("{0}: invalid whiteout")]
    InvalidWhiteout(ImagePath),
    /// The root is described as something else than a directory.
    #[error("the root of the layer is not a directory")]
    RootNotADirectory,
    /// A hardlink to a path that neither this layer nor the ones below have.
    #[error("{path}: hardlink to {target}, which does not exist")]
    HardlinkTargetMissing {
        /// The link.
        path: ImagePath,
        /// What it should be a link of.
        target: ImagePath,
    },
    /// A hardlink to a directory.
    #[error("{path}: hardlink to {target}, which is a directory")]
    HardlinkToDirectory {
        /// The link.
        path: ImagePath,
        /// The directory.
        target: ImagePath,
    },
    /// The layer puts something else where it put a directory with content before.
    #[error("{0}: the same layer has it as a directory with entries and as something else")]
    ReplacesOwnDirectory(ImagePath),
    /// The layer puts entries below what it made a file or special file before.
    #[error("{path}: {parent} is not a directory in the same layer")]
    ParentNotADirectory {
        /// The entry.
        path: ImagePath,
        /// What should hold it.
        parent: ImagePath,
    },
    /// An entry below a link, with [`SymlinkParent::Error`].
    #[error("{path}: its parent {link} is a symbolic link of a lower layer")]
    SymlinkedParent {
        /// The entry.
        path: ImagePath,
        /// The link.
        link: ImagePath,
    },
    /// The layers imply more than [`MAX_IMPLICIT_DIRECTORIES`]. Holds the entry that is too much.
    #[error(
        "{0}: the image has more than {MAX_IMPLICIT_DIRECTORIES} directories without entries of \
         their own before what lies in them"
    )]
    TooManyDirectories(ImagePath),
    /// An entry that lies too deep once links are followed. Holds its path.
    #[error("{0}: with the symbolic links on its way followed, the path is longer than PATH_MAX")]
    PathTooLong(ImagePath),
    /// Links that lead to each other.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Lays the entries of one layer, in the order of its tar stream, onto `tree`, which holds the
/// layers below. What was unusual goes to `report`. After an error the tree is half merged and of
/// no use.
pub fn apply(
    tree: &mut Tree,
    entries: &[Entry],
    options: &MergeOptions,
    report: &mut Report,
) -> Result<(), MergeError> {
    let mut merge = Merge {
        first_own: InodeId(tree.inodes.len() as u32),
        lower_root: tree.root_described,
        own_content: vec![false; tree.inodes.len()],
        placed: HashMap::with_capacity(entries.len()),
        aufs_links: HashMap::new(),
        deferred: BTreeMap::new(),
        awaiting: HashSet::new(),
        followed: HashSet::new(),
        tree,
        options,
        report,
    };
    let classes = entries
        .iter()
        .map(|entry| classify(&entry.path, options.whiteouts))
        .collect::<Result<Vec<_>, _>>()?;

    // Before anything is hidden: a hardlink may name what this very layer whites out.
    let lower_targets = merge.lower_hardlink_targets(entries);
    for class in &classes {
        merge.hide(class)?;
    }
    for (index, (entry, class)) in entries.iter().zip(&classes).enumerate() {
        match class {
            Class::Whiteout(_) => {}
            Class::Opaque(directory) => {
                merge.enter_directory(directory, &entry.path)?;
            }
            Class::Aufs => merge.keep_aufs(entry),
            Class::Plain => merge.place(index, entry)?,
        }
    }
    merge.place_deferred(entries, &lower_targets)
}

/// A layer being merged.
struct Merge<'a> {
    tree: &'a mut Tree,
    options: &'a MergeOptions,
    report: &'a mut Report,
    /// Inodes from here on are this layer's own.
    first_own: InodeId,
    /// Do the lower layers describe the root?
    lower_root: bool,
    /// Directories in or below which this layer put something.
    own_content: Vec<bool>,
    /// Which entry of this layer was last to take a name.
    placed: HashMap<(InodeId, Box<[u8]>), usize>,
    /// Inodes below `.wh..wh.plnk`, which have no name in the tree but hardlinks to them.
    aufs_links: HashMap<ImagePath, InodeId>,
    /// Hardlinks whose target has yet to come, by index, and the directories they go to.
    deferred: BTreeMap<usize, InodeId>,
    /// Directories in which a hardlink will be placed whose target has yet to come.
    awaiting: HashSet<InodeId>,
    /// Links of lower layers that were followed, each of which is told once.
    followed: HashSet<ImagePath>,
}

impl Merge<'_> {
    fn is_own(&self, id: InodeId) -> bool {
        id >= self.first_own
    }

    fn hide(&mut self, class: &Class) -> Result<(), MergeError> {
        match class {
            Class::Whiteout(path) => {
                let parent = path.parent().expect("a whiteout hides a name");
                if let Some(parent) = self.lower_directory(&parent)?
                    && let Content::Directory(children) = &mut self.tree.inode_mut(parent).content
                {
                    children.remove(path.file_name().expect("a whiteout hides a name"));
                }
            }
            Class::Opaque(path) => {
                if let Some(directory) = self.lower_directory(path)?
                    && let Content::Directory(children) =
                        &mut self.tree.inode_mut(directory).content
                {
                    children.clear();
                }
            }
            Class::Plain | Class::Aufs => {}
        }
        Ok(())
    }
}
