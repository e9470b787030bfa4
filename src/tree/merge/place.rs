//! Entries of a layer into the tree, one after the other.

use super::{DirectoryMetadata, Merge, MergeError};
use crate::entry::{Entry, EntryKind};
use crate::path::ImagePath;
use crate::report::Action;
use crate::tree::{Content, Inode, InodeId};

impl Merge<'_> {
    /// Places an entry, or defers it: a hardlink whose target is not there (yet).
    pub(super) fn place(&mut self, index: usize, entry: &Entry) -> Result<(), MergeError> {
        let Some(name) = entry.path.file_name() else {
            return self.describe_root(entry);
        };
        let parent = entry
            .path
            .parent()
            .expect("a path with a name has a parent");
        let parent = self.enter_directory(&parent, &entry.path)?;
        let content = match &entry.kind {
            EntryKind::Directory => {
                self.place_directory(index, parent, name, entry);
                return Ok(());
            }
            EntryKind::Hardlink(target) => {
                if let Some(id) = self.find(target) {
                    return self.place_link(index, parent, name, entry, target, id);
                }
                // Whoever takes the name after this entry keeps it.
                if self.placed.insert((parent, name.into()), index).is_some() {
                    self.note_duplicate(entry);
                }
                self.deferred.insert(index, parent);
                self.awaiting.insert(parent);
                return Ok(());
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
        Ok(())
    }

    fn describe_root(&mut self, entry: &Entry) -> Result<(), MergeError> {
        if entry.kind != EntryKind::Directory {
            return Err(MergeError::RootNotADirectory);
        }
        let root = self.tree.root();
        self.describe_directory(root, self.lower_root, entry);
        self.tree.root_described = true;
        Ok(())
    }

    /// `lower`: do the lower layers have this directory?
    fn describe_directory(&mut self, id: InodeId, lower: bool, entry: &Entry) {
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
                self.describe_directory(id, !self.is_own(id), entry);
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

    pub(super) fn note_followed(&mut self, link: &ImagePath, entry: &ImagePath) {
        if self.followed.insert(link.clone()) {
            let detail = format!("symbolic link followed for {entry}");
            self.report.note("merge", Action::Warning, link, detail);
        }
    }

    pub(super) fn place_link(
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

    pub(super) fn keep_aufs(&mut self, entry: &Entry) {
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
