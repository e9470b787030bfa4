//! Lays one layer onto the tree of the layers below it.
//!
//! The semantics are image-spec's `layer.md` as container runtimes show it: what `podman run`
//! would see is what the tree holds. A layer is known whole before it is merged, so the order of
//! its entries matters only where tar says so: first all whiteouts act on the lower layers, then
//! the entries are placed one after the other.

use std::collections::{HashMap, HashSet};

use super::{Content, Cursor, Inode, InodeId, Tree, TreeError};
use crate::entry::{Entry, EntryKind};
use crate::path::ImagePath;
use crate::report::{Action, Report};

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
        own_content: vec![false; tree.inodes.len()],
        placed: HashMap::with_capacity(entries.len()),
        aufs_links: HashMap::new(),
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
    let mut deferred = Vec::new();
    for (index, (entry, class)) in entries.iter().zip(&classes).enumerate() {
        match class {
            Class::Whiteout(_) => {}
            Class::Opaque(directory) => {
                merge.enter_directory(directory, &entry.path)?;
            }
            Class::Aufs => merge.keep_aufs(entry),
            Class::Plain => {
                if !merge.place(index, entry)? {
                    deferred.push(index);
                }
            }
        }
    }
    merge.place_deferred(entries, deferred, &lower_targets)
}

/// What an entry means by its name.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    Plain,
    /// Hides this path of the lower layers.
    Whiteout(ImagePath),
    /// Hides what the lower layers have in this directory.
    Opaque(ImagePath),
    /// Bookkeeping of AUFS, which some images still carry.
    Aufs,
}

const WHITEOUT: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

fn classify(path: &ImagePath, whiteouts: bool) -> Result<Class, MergeError> {
    let (Some(name), true) = (path.file_name(), whiteouts) else {
        return Ok(Class::Plain);
    };
    let parent = path.parent().expect("a path with a name has a parent");
    if parent.components().any(|c| c.starts_with(AUFS)) {
        return Ok(Class::Aufs);
    }
    if parent.components().any(|c| c.starts_with(WHITEOUT)) {
        return Err(MergeError::InvalidWhiteout(path.clone()));
    }
    if name == OPAQUE {
        return Ok(Class::Opaque(parent));
    }
    if name.starts_with(AUFS) {
        return Ok(Class::Aufs);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Class::Plain),
        Some(b"" | b"." | b"..") => Err(MergeError::InvalidWhiteout(path.clone())),
        Some(hidden) => Ok(Class::Whiteout(parent.join(hidden))),
    }
}

/// Links that every distribution with a merged `/usr` has, and `/var/run` and `/var/lock`.
fn is_merged_directory_link(path: &ImagePath) -> bool {
    matches!(
        path.as_bytes(),
        b"bin"
            | b"sbin"
            | b"lib"
            | b"lib32"
            | b"lib64"
            | b"libx32"
            | b"libo32"
            | b"usr/bin"
            | b"usr/sbin"
            | b"usr/lib32"
            | b"usr/lib64"
            | b"usr/libx32"
            | b"var/run"
            | b"var/lock"
    )
}

/// A layer being merged.
struct Merge<'a> {
    tree: &'a mut Tree,
    options: &'a MergeOptions,
    report: &'a mut Report,
    /// Inodes from here on are this layer's own.
    first_own: InodeId,
    /// Directories in or below which this layer put something.
    own_content: Vec<bool>,
    /// Which entry of this layer was last to take a name.
    placed: HashMap<(InodeId, Box<[u8]>), usize>,
    /// Inodes below `.wh..wh.plnk`, which have no name in the tree but hardlinks to them.
    aufs_links: HashMap<ImagePath, InodeId>,
    /// Directories in which a hardlink will be placed whose target has yet to come.
    awaiting: HashSet<InodeId>,
    /// Links of lower layers that were followed, each of which is told once.
    followed: HashSet<ImagePath>,
}

/// What stands in the way of an entry's parents.
enum Obstacle {
    Follow(Box<[u8]>),
    Replace(&'static str),
}

impl Merge<'_> {
    fn is_own(&self, id: InodeId) -> bool {
        id >= self.first_own
    }

    fn lower_hardlink_targets(&self, entries: &[Entry]) -> HashMap<usize, InodeId> {
        entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| match &entry.kind {
                EntryKind::Hardlink(target) => Some((index, self.find(target)?)),
                _ => None,
            })
            .collect()
    }

    /// Where `path` leads when links are followed, the last one excepted.
    fn find(&self, path: &ImagePath) -> Option<InodeId> {
        if let Some(id) = self.tree.lookup(path) {
            return Some(id);
        }
        let (_, parent) = self.tree.resolve(&path.parent()?).ok()??;
        self.tree.children(parent)?.get(path.file_name()?).copied()
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

    /// The directory of the lower layers in which a whiteout acts, if there is one.
    fn lower_directory(&self, path: &ImagePath) -> Result<Option<InodeId>, MergeError> {
        let mut cursor = Cursor::new(path);
        while let Some(name) = cursor.next_name() {
            let at = cursor.directory(self.tree);
            let Some(&child) = self.tree.children(at).and_then(|c| c.get(&name)) else {
                return Ok(None);
            };
            match &self.tree.inode(child).content {
                Content::Directory(_) => cursor.enter(name, child),
                Content::Symlink(target) if self.follows(&cursor.path().join(&name)) => {
                    cursor.follow(target)?;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(cursor.directory(self.tree)))
    }

    fn follows(&self, link: &ImagePath) -> bool {
        match self.options.symlink_parent {
            SymlinkParent::Follow => true,
            SymlinkParent::Replace => is_merged_directory_link(link),
            SymlinkParent::Error => false,
        }
    }

    /// Places an entry. `false`: a hardlink whose target is not there (yet).
    fn place(&mut self, index: usize, entry: &Entry) -> Result<bool, MergeError> {
        let Some(name) = entry.path.file_name() else {
            self.describe_root(entry)?;
            return Ok(true);
        };
        let parent = entry
            .path
            .parent()
            .expect("a path with a name has a parent");
        let parent = self.enter_directory(&parent, &entry.path)?;
        let content = match &entry.kind {
            EntryKind::Directory => {
                self.place_directory(index, parent, name, entry);
                return Ok(true);
            }
            EntryKind::Hardlink(target) => {
                let linked = self
                    .find(target)
                    .or_else(|| self.aufs_links.get(target).copied());
                if let Some(id) = linked {
                    self.place_link(index, parent, name, entry, target, id)?;
                } else {
                    // Whoever takes the name after this entry keeps it.
                    self.awaiting.insert(parent);
                    if self.placed.insert((parent, name.into()), index).is_some() {
                        self.note_duplicate(entry);
                    }
                }
                return Ok(linked.is_some());
            }
            EntryKind::File { body, size } => Content::File {
                body: *body,
                size: *size,
            },
            EntryKind::Symlink(target) => Content::Symlink(target.clone()),
            EntryKind::Special(special) => Content::Special(*special),
        };
        self.take_name(index, parent, name, entry)?;
        let id = self.tree.allocate(Inode {
            metadata: entry.metadata.clone(),
            content,
        });
        self.tree.set_child(parent, name, id);
        Ok(true)
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), MergeError> {
        if entry.kind != EntryKind::Directory {
            return Err(MergeError::RootNotADirectory);
        }
        let root = self.tree.root();
        self.describe_directory(root, entry);
        Ok(())
    }

    fn describe_directory(&mut self, id: InodeId, entry: &Entry) {
        // The root of an empty tree belongs to nobody yet.
        let lower = !self.is_own(id) && self.first_own > InodeId(1);
        if !lower || self.options.directory_metadata == DirectoryMetadata::Last {
            self.tree.inode_mut(id).metadata = entry.metadata.clone();
        }
    }

    fn place_directory(&mut self, index: usize, parent: InodeId, name: &[u8], entry: &Entry) {
        let existing = self
            .tree
            .children(parent)
            .and_then(|c| c.get(name))
            .copied();
        let before = self.placed.insert((parent, name.into()), index);
        match existing {
            Some(id) if before.is_none() && self.stays_for_directory(id, &entry.path) => {
                self.note_followed(&entry.path, &entry.path);
            }
            Some(id) if self.tree.inode(id).content.is_directory() => {
                if before.is_some() && self.tree.inode(id).metadata != entry.metadata {
                    self.note_duplicate(entry);
                }
                self.describe_directory(id, entry);
            }
            _ => {
                if before.is_some() {
                    self.note_duplicate(entry);
                }
                let id = self.tree.allocate(Inode {
                    metadata: entry.metadata.clone(),
                    content: Content::empty_directory(),
                });
                self.tree.set_child(parent, name, id);
            }
        }
    }

    /// Is `id` a link of a lower layer to a directory, and one that is followed? Then a directory
    /// entry means the directory behind it, whose metadata the layer did not see.
    fn stays_for_directory(&self, id: InodeId, path: &ImagePath) -> bool {
        matches!(self.tree.inode(id).content, Content::Symlink(_))
            && self.follows(path)
            && matches!(self.tree.resolve(path), Ok(Some((_, id))) if self.tree.children(id).is_some())
    }

    fn note_followed(&mut self, link: &ImagePath, entry: &ImagePath) {
        if self.followed.insert(link.clone()) {
            let detail = format!("symbolic link followed for {entry}");
            self.report.note("merge", Action::Warning, link, detail);
        }
    }

    fn place_link(
        &mut self,
        index: usize,
        parent: InodeId,
        name: &[u8],
        entry: &Entry,
        target: &ImagePath,
        id: InodeId,
    ) -> Result<(), MergeError> {
        if self.tree.inode(id).content.is_directory() {
            return Err(MergeError::HardlinkToDirectory {
                path: entry.path.clone(),
                target: target.clone(),
            });
        }
        self.take_name(index, parent, name, entry)?;
        self.tree.set_child(parent, name, id);
        Ok(())
    }

    /// Makes room for something that is not a directory.
    fn take_name(
        &mut self,
        index: usize,
        parent: InodeId,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), MergeError> {
        let existing = self.tree.children(parent).and_then(|c| c.get(name));
        if existing.is_some_and(|id| self.has_own_content(*id)) {
            return Err(MergeError::ReplacesOwnDirectory(entry.path.clone()));
        }
        let before = self.placed.insert((parent, name.into()), index);
        if before.is_some_and(|before| before != index) {
            self.note_duplicate(entry);
        }
        Ok(())
    }

    fn note_duplicate(&mut self, entry: &Entry) {
        self.report.note(
            "merge",
            Action::Warning,
            &entry.path,
            "the layer has this path more than once; the last one counts",
        );
    }

    /// Hardlinks whose target came later in the layer, or lay below it before it was hidden.
    fn place_deferred(
        &mut self,
        entries: &[Entry],
        mut deferred: Vec<usize>,
        lower_targets: &HashMap<usize, InodeId>,
    ) -> Result<(), MergeError> {
        // A link's target may itself be a deferred link: go round while it helps.
        let mut from_lower = false;
        while !deferred.is_empty() {
            let mut missing = Vec::new();
            for &index in &deferred {
                let entry = &entries[index];
                let EntryKind::Hardlink(target) = &entry.kind else {
                    unreachable!("only hardlinks are deferred");
                };
                let lower = from_lower.then(|| lower_targets.get(&index).copied());
                let aufs = self.aufs_links.get(target).copied();
                let Some(id) = self.find(target).or(aufs).or(lower.flatten()) else {
                    missing.push(index);
                    continue;
                };
                let (parent, name) = (entry.path.parent(), entry.path.file_name());
                let (Some(parent), Some(name)) = (parent, name) else {
                    return Err(MergeError::RootNotADirectory);
                };
                let parent = self.enter_directory(&parent, &entry.path)?;
                if self.placed.get(&(parent, name.into())) == Some(&index) {
                    self.place_link(index, parent, name, entry, target, id)?;
                }
            }
            if missing.len() == deferred.len() {
                if from_lower {
                    let entry = &entries[missing[0]];
                    let EntryKind::Hardlink(target) = &entry.kind else {
                        unreachable!("only hardlinks are deferred");
                    };
                    return Err(MergeError::HardlinkTargetMissing {
                        path: entry.path.clone(),
                        target: target.clone(),
                    });
                }
                from_lower = true;
            }
            deferred = missing;
        }
        Ok(())
    }

    /// The directory at `path`, made with its parents where missing; `entry` is what asks for it.
    /// Existing directories are left as they are.
    fn enter_directory(
        &mut self,
        path: &ImagePath,
        entry: &ImagePath,
    ) -> Result<InodeId, MergeError> {
        let mut at = self.tree.root();
        for name in path.components() {
            let children = self
                .tree
                .children(at)
                .expect("only directories are entered");
            at = match children.get(name) {
                Some(&child) if self.tree.inode(child).content.is_directory() => child,
                Some(_) => return self.enter_around_obstacles(path, entry),
                None => self.tree.add_directory(at, name),
            };
            self.mark_own_content(at);
        }
        Ok(at)
    }

    /// [`Merge::enter_directory`] where some component is not a directory.
    fn enter_around_obstacles(
        &mut self,
        path: &ImagePath,
        entry: &ImagePath,
    ) -> Result<InodeId, MergeError> {
        let mut cursor = Cursor::new(path);
        while let Some(name) = cursor.next_name() {
            let at = cursor.directory(self.tree);
            let here = cursor.path().join(&name);
            let children = self
                .tree
                .children(at)
                .expect("only directories are entered");
            let child = match children.get(&name).copied() {
                Some(child) if self.tree.inode(child).content.is_directory() => child,
                None => self.tree.add_directory(at, &name),
                Some(child) => match self.obstacle(at, &name, child, &here, entry)? {
                    Obstacle::Follow(target) => {
                        cursor.follow(&target)?;
                        continue;
                    }
                    Obstacle::Replace(what) => {
                        let detail =
                            format!("{what} of a lower layer became a directory for {entry}");
                        self.report.note("merge", Action::Warning, &here, detail);
                        self.tree.add_directory(at, &name)
                    }
                },
            };
            self.mark_own_content(child);
            cursor.enter(name, child);
        }
        Ok(cursor.directory(self.tree))
    }

    fn obstacle(
        &mut self,
        at: InodeId,
        name: &[u8],
        child: InodeId,
        here: &ImagePath,
        entry: &ImagePath,
    ) -> Result<Obstacle, MergeError> {
        let own = self.is_own(child) || self.placed.contains_key(&(at, name.into()));
        match &self.tree.inode(child).content {
            Content::Symlink(target) if own || self.follows(here) => {
                let target = target.clone();
                self.note_followed(here, entry);
                Ok(Obstacle::Follow(target))
            }
            Content::Symlink(_) if self.options.symlink_parent == SymlinkParent::Error => {
                Err(MergeError::SymlinkedParent {
                    path: entry.clone(),
                    link: here.clone(),
                })
            }
            Content::Symlink(_) => Ok(Obstacle::Replace("symbolic link")),
            _ if own => Err(MergeError::ParentNotADirectory {
                path: entry.clone(),
                parent: here.clone(),
            }),
            _ => Ok(Obstacle::Replace("file")),
        }
    }

    fn mark_own_content(&mut self, directory: InodeId) {
        let index = directory.0 as usize;
        if index >= self.own_content.len() {
            self.own_content.resize(self.tree.inodes.len(), false);
        }
        self.own_content[index] = true;
    }

    fn has_own_content(&self, id: InodeId) -> bool {
        let has_entries = self.tree.children(id).is_some_and(|c| !c.is_empty());
        self.awaiting.contains(&id)
            || has_entries && self.own_content.get(id.0 as usize) == Some(&true)
    }

    fn keep_aufs(&mut self, entry: &Entry) {
        self.report.note(
            "merge",
            Action::Dropped,
            &entry.path,
            "bookkeeping of the AUFS storage driver",
        );
        if let EntryKind::File { body, size } = entry.kind {
            let id = self.tree.allocate(Inode {
                metadata: entry.metadata.clone(),
                content: Content::File { body, size },
            });
            self.aufs_links.insert(entry.path.clone(), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layers, image_path, list};

    /// Merges with `options`; the listing, or the error; and the report's lines.
    fn merge_with(
        layers: Layers,
        options: MergeOptions,
    ) -> (Result<Vec<String>, MergeError>, Vec<String>) {
        let (layers, bodies) = layers.build();
        let (mut tree, mut report) = (Tree::new(), Report::default());
        let result = layers
            .iter()
            .try_for_each(|layer| apply(&mut tree, layer, &options, &mut report))
            .map(|()| list(&tree, &bodies));
        let notes = report
            .notes()
            .iter()
            .map(|n| format!("{} {}", n.action, n.path));
        (result, notes.collect())
    }

    #[track_caller]
    fn check(layers: Layers, expected: &[&str]) {
        let (result, _) = merge_with(layers, MergeOptions::default());
        assert_eq!(result.unwrap(), expected);
    }

    #[track_caller]
    fn check_notes(layers: Layers, expected: &[&str], notes: &[&str]) {
        let (result, found) = merge_with(layers, MergeOptions::default());
        assert_eq!(result.unwrap(), expected);
        assert_eq!(found, notes);
    }

    fn error(layers: Layers) -> MergeError {
        merge_with(layers, MergeOptions::default()).0.unwrap_err()
    }

    #[test]
    fn whiteouts_hide_lower_layers_only_in_any_order() {
        let lower = || Layers::new().file("d/x", "low").file("d/y", "low").layer();
        check(
            lower().file("d/x", "up").file("d/.wh.x", ""),
            &["/d/ 755", "/d/x 644 \"up\"", "/d/y 644 \"low\""],
        );
        check(lower().file(".wh.d", ""), &[]);
        check(
            lower().file("d/new", "up").file("d/.wh..wh..opq", ""),
            &["/d/ 755", "/d/new 644 \"up\""],
        );
        check(
            lower().file(".wh.d", "").file("d/new", "up"),
            &["/d/ 755", "/d/new 644 \"up\""],
        );
        check(
            lower().file(".wh.nothing", "").file(".wh..wh..opq", ""),
            &[],
        );
    }

    #[test]
    fn directories_keep_entries_and_take_the_last_metadata() {
        let layers = || {
            Layers::new()
                .dir("d", 0o700)
                .owner(1, 2)
                .file("d/x", "")
                .layer()
                .dir("d", 0o755)
                .file("d/y", "")
        };
        check(layers(), &["/d/ 755", "/d/x 644 \"\"", "/d/y 644 \"\""]);
        let first = MergeOptions {
            directory_metadata: DirectoryMetadata::First,
            ..MergeOptions::default()
        };
        let (result, _) = merge_with(layers(), first);
        assert_eq!(result.unwrap()[0], "/d/ 700 1:2");
    }

    #[test]
    fn implicit_parents_touch_nothing_that_exists() {
        check(
            Layers::new()
                .dir("d", 0o700)
                .owner(1, 2)
                .layer()
                .file("d/e/x", ""),
            &["/d/ 700 1:2", "/d/e/ 755", "/d/e/x 644 \"\""],
        );
        check(
            Layers::new().file("d/x", "").dir("d", 0o700),
            &["/d/ 700", "/d/x 644 \"\""],
        );
    }

    #[test]
    fn the_root_can_be_described() {
        check(Layers::new().dir("", 0o555), &["/ 555"]);
        assert_eq!(
            error(Layers::new().file("", "")),
            MergeError::RootNotADirectory
        );
    }

    #[test]
    fn types_replace_each_other() {
        check(
            Layers::new()
                .file("d/x", "")
                .file("f", "")
                .layer()
                .file("d", "up")
                .file("f/x", ""),
            &["/d 644 \"up\"", "/f/ 755", "/f/x 644 \"\""],
        );
        check(
            Layers::new()
                .symlink("l", "d")
                .dir("d", 0o700)
                .layer()
                .dir("l", 0o711)
                .symlink("d", "l"),
            &["/d -> l", "/l/ 711"],
        );
        assert_eq!(
            error(Layers::new().file("d/x", "").file("d", "")),
            MergeError::ReplacesOwnDirectory(image_path("d"))
        );
        assert_eq!(
            error(Layers::new().file("f", "").file("f/x", "")),
            MergeError::ParentNotADirectory {
                path: image_path("f/x"),
                parent: image_path("f")
            }
        );
    }

    #[test]
    fn duplicates_last_wins_with_a_warning() {
        check_notes(
            Layers::new()
                .file("x", "1")
                .file("x", "2")
                .dir("d", 0o755)
                .dir("d", 0o755),
            &["/d/ 755", "/x 644 \"2\""],
            &["warning /x"],
        );
    }

    #[test]
    fn hardlinks() {
        check(
            Layers::new()
                .file("a", "1")
                .owner(3, 4)
                .layer()
                .hardlink("b", "a"),
            &["/a 644 \"1\" 3:4", "/b 644 \"1\" 3:4"],
        );
        check(
            Layers::new()
                .hardlink("c", "b")
                .hardlink("b", "a")
                .file("a", "forward"),
            &[
                "/a 644 \"forward\"",
                "/b 644 \"forward\"",
                "/c 644 \"forward\"",
            ],
        );
        check(
            Layers::new()
                .file("a", "low")
                .layer()
                .file(".wh.a", "")
                .hardlink("b", "a"),
            &["/b 644 \"low\""],
        );
        check(
            Layers::new()
                .file("a", "low")
                .layer()
                .hardlink("b", "a")
                .file("a", "up"),
            &["/a 644 \"up\"", "/b 644 \"low\""],
        );
        check(
            Layers::new().symlink("l", "x").hardlink("m", "l"),
            &["/l -> x", "/m -> x"],
        );
        check(
            Layers::new()
                .hardlink("b", "a")
                .file("b", "later")
                .file("a", ""),
            &["/a 644 \"\"", "/b 644 \"later\""],
        );
        assert!(matches!(
            error(Layers::new().hardlink("b", "a")),
            MergeError::HardlinkTargetMissing { .. }
        ));
        assert!(matches!(
            error(Layers::new().dir("a", 0o755).hardlink("b", "a")),
            MergeError::HardlinkToDirectory { .. }
        ));
    }

    #[test]
    fn links_as_parents() {
        let lower = || {
            Layers::new()
                .symlink("lib", "usr/lib")
                .symlink("srv", "usr/lib")
                .file("usr/lib/x", "")
                .layer()
        };
        check_notes(
            lower().file("lib/y", "").file("lib/.wh.x", ""),
            &[
                "/lib -> usr/lib",
                "/srv -> usr/lib",
                "/usr/ 755",
                "/usr/lib/ 755",
                "/usr/lib/y 644 \"\"",
            ],
            &["warning /lib"],
        );
        check_notes(
            lower().dir("lib", 0o700).file("lib/y", ""),
            &[
                "/lib -> usr/lib",
                "/srv -> usr/lib",
                "/usr/ 755",
                "/usr/lib/ 755",
                "/usr/lib/x 644 \"\"",
                "/usr/lib/y 644 \"\"",
            ],
            &["warning /lib"],
        );
        check_notes(
            lower().file("srv/y", ""),
            &[
                "/lib -> usr/lib",
                "/srv/ 755",
                "/srv/y 644 \"\"",
                "/usr/ 755",
                "/usr/lib/ 755",
                "/usr/lib/x 644 \"\"",
            ],
            &["warning /srv"],
        );
        check_notes(
            Layers::new().symlink("a", "/b/../c").file("a/x", ""),
            &["/a -> /b/../c", "/b/ 755", "/c/ 755", "/c/x 644 \"\""],
            &["warning /a"],
        );
        let refuse = MergeOptions {
            symlink_parent: SymlinkParent::Error,
            ..MergeOptions::default()
        };
        assert_eq!(
            merge_with(lower().file("srv/y", ""), refuse).0,
            Err(MergeError::SymlinkedParent {
                path: image_path("srv/y"),
                link: image_path("srv")
            })
        );
        assert!(matches!(
            error(Layers::new().symlink("a", "a").file("a/x", "")),
            MergeError::Tree(TreeError::Loop(_))
        ));
    }

    #[test]
    fn invalid_and_foreign_names() {
        for name in ["d/.wh.", "d/.wh..", "d/.wh...", "d/.wh.x/y"] {
            assert_eq!(
                error(Layers::new().file(name, "")),
                MergeError::InvalidWhiteout(image_path(name))
            );
        }
        check_notes(
            Layers::new()
                .file(".wh..wh.plnk/1", "link")
                .hardlink("a", ".wh..wh.plnk/1")
                .file(".wh..wh.aufs", ""),
            &["/a 644 \"link\""],
            &["dropped /.wh..wh.plnk/1", "dropped /.wh..wh.aufs"],
        );
        let literal = MergeOptions {
            whiteouts: false,
            ..MergeOptions::default()
        };
        let (result, _) = merge_with(Layers::new().file(".wh.x", ""), literal);
        assert_eq!(result.unwrap(), ["/.wh.x 644 \"\""]);
    }
}
