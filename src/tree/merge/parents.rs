//! The directories that entries and whiteouts of a layer lie in, and the links on the way there.

use super::{MAX_IMPLICIT_DIRECTORIES, Merge, MergeError, SymlinkParent};
use crate::path::ImagePath;
use crate::report::Action;
use crate::tree::{Content, Cursor, InodeId};

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

/// What stands in the way of an entry's parents.
enum Obstacle {
    Follow(Box<[u8]>),
    Replace(&'static str),
}

impl Merge<'_> {
    /// The directory of the lower layers in which a whiteout acts, if there is one.
    pub(super) fn lower_directory(&self, path: &ImagePath) -> Result<Option<InodeId>, MergeError> {
        let mut cursor = Cursor::new(path);
        while let Some(name) = cursor.next_name() {
            let at = cursor.directory(self.tree);
            let Some(&child) = self.tree.children(at).and_then(|c| c.get(&name)) else {
                return Ok(None);
            };
            match &self.tree.inode(child).content {
                Content::Directory(_) => cursor.enter(&name, child),
                Content::Symlink(target) if self.follows(&cursor.path().join(&name)) => {
                    cursor.follow(target)?;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(cursor.directory(self.tree)))
    }

    pub(super) fn follows(&self, link: &ImagePath) -> bool {
        match self.options.symlink_parent {
            SymlinkParent::Follow => true,
            SymlinkParent::Replace => is_merged_directory_link(link),
            SymlinkParent::Error => false,
        }
    }

    /// The directory at `path`, made with its parents where missing; `entry` is what asks for it.
    /// Existing directories are left as they are.
    pub(super) fn enter_directory(
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
                None => self.make_directory(at, name, entry)?,
            };
            self.mark_own_content(at);
        }
        Ok(at)
    }

    /// [`Merge::enter_directory`] where some component is not a directory. Links could lead deeper
    /// and deeper: what would lie beyond `PATH_MAX` is refused.
    fn enter_around_obstacles(
        &mut self,
        path: &ImagePath,
        entry: &ImagePath,
    ) -> Result<InodeId, MergeError> {
        let mut cursor = Cursor::new(path);
        while let Some(name) = cursor.next_name() {
            if !cursor.has_room_for(&name) {
                return Err(MergeError::PathTooLong(entry.clone()));
            }
            let at = cursor.directory(self.tree);
            let children = self
                .tree
                .children(at)
                .expect("only directories are entered");
            let child = match children.get(&name).copied() {
                Some(child) if self.tree.inode(child).content.is_directory() => child,
                None => self.make_directory(at, &name, entry)?,
                Some(child) => {
                    let here = cursor.path().join(&name);
                    match self.obstacle(at, &name, child, &here, entry)? {
                        Obstacle::Follow(target) => {
                            cursor.follow(&target)?;
                            continue;
                        }
                        Obstacle::Replace(what) => {
                            let detail =
                                format!("{what} of a lower layer became a directory for {entry}");
                            self.report.note("merge", Action::Warning, &here, detail);
                            self.make_directory(at, &name, entry)?
                        }
                    }
                }
            };
            self.mark_own_content(child);
            cursor.enter(&name, child);
        }
        if entry
            .file_name()
            .is_some_and(|name| !cursor.has_room_for(name))
        {
            return Err(MergeError::PathTooLong(entry.clone()));
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

    fn make_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        entry: &ImagePath,
    ) -> Result<InodeId, MergeError> {
        if self.tree.implicit_directories == MAX_IMPLICIT_DIRECTORIES {
            return Err(MergeError::TooManyDirectories(entry.clone()));
        }
        self.tree.implicit_directories += 1;
        Ok(self.tree.add_directory(parent, name))
    }

    fn mark_own_content(&mut self, directory: InodeId) {
        let index = directory.0 as usize;
        if index >= self.own_content.len() {
            self.own_content.resize(self.tree.inodes.len(), false);
        }
        self.own_content[index] = true;
    }

    pub(super) fn has_own_content(&self, id: InodeId) -> bool {
        let has_entries = self.tree.children(id).is_some_and(|c| !c.is_empty());
        self.awaiting.contains(&id)
            || has_entries && self.own_content.get(id.0 as usize) == Some(&true)
    }
}
