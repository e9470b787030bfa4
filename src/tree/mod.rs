//! The merged tree of an image: what a container started from it would see.
//!
//! An arena of inodes in the OCI namespace: nothing here knows of ostree, and nothing does I/O.
//! [`merge::apply`] lays layers onto it; fixups change it afterwards.

pub mod merge;

use std::collections::{BTreeMap, btree_map};

use crate::bodies::BodyId;
use crate::metadata::{Metadata, Special};
use crate::path::{ImagePath, PathBuffer};

/// Names an inode of a [`Tree`]. Two paths with the same one are hard links of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

/// The names in a directory, in byte order, and what they lead to.
pub type Children = BTreeMap<Box<[u8]>, InodeId>;

/// A file, directory, link or special file, whatever its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Mode, owner, xattrs.
    pub metadata: Metadata,
    /// What it is and holds.
    pub content: Content,
}

/// What an [`Inode`] is and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory(Children),
    /// A regular file.
    File {
        /// Its content.
        body: BodyId,
        /// Size of the content in bytes.
        size: u64,
    },
    /// A symbolic link and the text it holds.
    Symlink(Box<[u8]>),
    /// A device, FIFO or socket.
    Special(Special),
}

impl Content {
    /// A directory without entries.
    pub fn empty_directory() -> Self {
        Self::Directory(Children::new())
    }

    /// Is this a directory?
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// Why a [`Tree`] could not be changed or a path not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A component of the path is neither a directory nor (where links are followed) a link.
    #[error("{0} is not a directory")]
    NotADirectory(ImagePath),
    /// Following links did not end.
    #[error("{0}: too many levels of symbolic links")]
    Loop(ImagePath),
    /// The operation makes no sense for the root.
    #[error("the root of the image cannot be replaced or removed")]
    Root,
}

/// How many links are followed on one path, as Linux does.
const MAX_LINKS: u32 = 40;

/// A file system tree in memory.
#[derive(Debug, Clone)]
pub struct Tree {
    inodes: Vec<Inode>,
    /// Did a layer have an entry for the root?
    root_described: bool,
    /// How many directories were made because entries of layers lie in them.
    implicit_directories: u32,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A root directory, `0755` and owned by root, with nothing in it.
    pub fn new() -> Self {
        Self {
            inodes: vec![Inode {
                metadata: Metadata::implicit_directory(),
                content: Content::empty_directory(),
            }],
            root_described: false,
            implicit_directories: 0,
        }
    }

    /// The root directory.
    pub fn root(&self) -> InodeId {
        InodeId(0)
    }

    /// What `id` names.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    /// What `id` names, to be changed: under all its names.
    pub fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.0 as usize]
    }

    /// The entries of a directory; `None` for everything else.
    pub fn children(&self, id: InodeId) -> Option<&Children> {
        match &self.inode(id).content {
            Content::Directory(children) => Some(children),
            _ => None,
        }
    }

    /// What `name` leads to in a directory; nothing in everything else.
    pub fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.children(directory)?.get(name).copied()
    }

    /// What lies at `path`. No link is followed.
    pub fn lookup(&self, path: &ImagePath) -> Option<InodeId> {
        path.components()
            .try_fold(self.root(), |id, name| self.child(id, name))
    }

    /// Where `path` leads when links are followed, the last one too, as a process confined to
    /// the image would: absolute targets and `..` never leave the root. `None`: nothing there.
    pub fn resolve(&self, path: &ImagePath) -> Result<Option<(ImagePath, InodeId)>, TreeError> {
        self.resolve_by(path, |directory, name| self.child(directory, name))
    }

    /// Like [`Tree::resolve`], with `child` in place of [`Tree::child`]: for a place where some
    /// names lead elsewhere than in the image.
    pub fn resolve_by(
        &self,
        path: &ImagePath,
        child: impl Fn(InodeId, &[u8]) -> Option<InodeId>,
    ) -> Result<Option<(ImagePath, InodeId)>, TreeError> {
        let mut cursor = Cursor::new(path);
        while let Some(name) = cursor.next_name() {
            let Some(child) = child(cursor.directory(self), &name) else {
                return Ok(None);
            };
            match &self.inode(child).content {
                Content::Symlink(target) => cursor.follow(target)?,
                _ => cursor.enter(&name, child),
            }
        }
        Ok(Some((cursor.path(), cursor.directory(self))))
    }

    /// Puts `inode` at `path`, in place of whatever is there. Missing parents are made, `0755`
    /// and owned by root; a parent that is not a directory is an error.
    pub fn insert(&mut self, path: &ImagePath, inode: Inode) -> Result<InodeId, TreeError> {
        let id = self.allocate(inode);
        self.link(path, id)?;
        Ok(id)
    }

    /// Gives the inode `id` the name `path`, in place of whatever is there; parents as for
    /// [`Tree::insert`].
    pub fn link(&mut self, path: &ImagePath, id: InodeId) -> Result<(), TreeError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(TreeError::Root);
        };
        let parent = self.create_directories(&parent)?;
        self.set_child(parent, name, id);
        Ok(())
    }

    /// The directory at `path`; it and its parents are made where missing.
    pub fn create_directories(&mut self, path: &ImagePath) -> Result<InodeId, TreeError> {
        let mut at = self.root();
        let mut so_far = PathBuffer::default();
        for name in path.components() {
            so_far.push(name);
            let Some(children) = self.children(at) else {
                return Err(TreeError::NotADirectory(so_far.to_path()));
            };
            at = match children.get(name) {
                Some(&child) => child,
                None => self.add_directory(at, name),
            };
        }
        if self.children(at).is_none() {
            return Err(TreeError::NotADirectory(path.clone()));
        }
        Ok(at)
    }

    /// Removes the name `path` and, for a directory, all below it. Returns what it named: other
    /// names of it stay.
    pub fn remove(&mut self, path: &ImagePath) -> Option<InodeId> {
        let parent = self.lookup(&path.parent()?)?;
        let name = path.file_name()?;
        match &mut self.inode_mut(parent).content {
            Content::Directory(children) => children.remove(name),
            _ => None,
        }
    }

    /// What every path leads to, in no order that means anything: a [`Tree::walk`] for those who want
    /// no paths.
    pub fn ids(&self) -> impl Iterator<Item = InodeId> {
        let mut open = vec![self.root()];
        std::iter::from_fn(move || {
            let id = open.pop()?;
            open.extend(self.children(id).into_iter().flat_map(Children::values));
            Some(id)
        })
    }

    /// Every path with its inode: parents first, siblings in byte order, the root at the start.
    pub fn walk(&self) -> Walk<'_> {
        self.walk_from(&ImagePath::root())
    }

    /// Like [`Tree::walk`], from `path` (included) down. Nothing where nothing is.
    pub fn walk_from(&self, path: &ImagePath) -> Walk<'_> {
        Walk {
            tree: self,
            start: self.lookup(path).map(|id| (path.clone(), id)),
            open: Vec::new(),
        }
    }

    fn allocate(&mut self, inode: Inode) -> InodeId {
        let id = InodeId(u32::try_from(self.inodes.len()).expect("fewer than 2^32 inodes"));
        self.inodes.push(inode);
        id
    }

    fn add_directory(&mut self, parent: InodeId, name: &[u8]) -> InodeId {
        let id = self.allocate(Inode {
            metadata: Metadata::implicit_directory(),
            content: Content::empty_directory(),
        });
        self.set_child(parent, name, id);
        id
    }

    /// `parent` must be a directory.
    fn set_child(&mut self, parent: InodeId, name: &[u8], child: InodeId) {
        match &mut self.inode_mut(parent).content {
            Content::Directory(children) => {
                children.insert(name.into(), child);
            }
            other => unreachable!("set_child on {other:?}"),
        }
    }
}

/// The entries of a directory that are to come.
type Siblings<'a> = btree_map::Iter<'a, Box<[u8]>, InodeId>;

/// Walks a [`Tree`]; see [`Tree::walk`]. It keeps one path for each directory on the way to where
/// it is, however many names lie in them.
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    start: Option<(ImagePath, InodeId)>,
    /// The directories on the way and what is to come of each, the innermost last.
    open: Vec<(ImagePath, Siblings<'a>)>,
}

impl Iterator for Walk<'_> {
    type Item = (ImagePath, InodeId);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, id) = self.start.take().or_else(|| self.next_below())?;
        if let Some(children) = self.tree.children(id) {
            self.open.push((path.clone(), children.iter()));
        }
        Some((path, id))
    }
}

impl Walk<'_> {
    fn next_below(&mut self) -> Option<(ImagePath, InodeId)> {
        loop {
            let (directory, children) = self.open.last_mut()?;
            if let Some((name, &id)) = children.next() {
                return Some((directory.join(name), id));
            }
            self.open.pop();
        }
    }
}

/// A walk along a path that may meet links: where it is and which names are still to come.
/// A link's target is put in front of the names to come, so that nothing recurses.
#[derive(Debug)]
struct Cursor {
    /// Names to come, the next one last.
    ahead: Vec<Box<[u8]>>,
    /// Directories passed, from below the root.
    behind: Vec<InodeId>,
    /// Where it is: the names of `behind`.
    path: PathBuffer,
    links: u32,
    origin: ImagePath,
}

impl Cursor {
    fn new(path: &ImagePath) -> Self {
        Self {
            ahead: path.components().rev().map(Into::into).collect(),
            behind: Vec::new(),
            path: PathBuffer::default(),
            links: 0,
            origin: path.clone(),
        }
    }

    /// The next name to look up in [`Cursor::directory`]; `.` and `..` of link targets are
    /// dealt with here.
    fn next_name(&mut self) -> Option<Box<[u8]>> {
        loop {
            let name = self.ahead.pop()?;
            match &*name {
                b"" | b"." => {}
                b".." => {
                    self.behind.pop();
                    self.path.pop();
                }
                _ => return Some(name),
            }
        }
    }

    fn directory(&self, tree: &Tree) -> InodeId {
        self.behind.last().copied().unwrap_or(tree.root())
    }

    fn enter(&mut self, name: &[u8], id: InodeId) {
        self.behind.push(id);
        self.path.push(name);
    }

    /// Goes on along a link's target; a link that was the last name ends the walk there.
    fn follow(&mut self, target: &[u8]) -> Result<(), TreeError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(TreeError::Loop(self.origin.clone()));
        }
        if target.first() == Some(&b'/') {
            self.behind.clear();
            self.path.clear();
        }
        self.ahead
            .extend(target.split(|&b| b == b'/').rev().map(Into::into));
        Ok(())
    }

    /// May the walk go on to `name` without leaving `PATH_MAX`?
    fn has_room_for(&self, name: &[u8]) -> bool {
        self.path.has_room_for(name)
    }

    /// Where the walk is.
    fn path(&self) -> ImagePath {
        self.path.to_path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text.as_bytes()).unwrap()
    }

    fn symlink(target: &str) -> Inode {
        Inode {
            metadata: Metadata::default(),
            content: Content::Symlink(target.as_bytes().into()),
        }
    }

    fn sample() -> Tree {
        let mut tree = Tree::new();
        tree.create_directories(&path("usr/lib/a")).unwrap();
        for (at, target) in [
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("usr/up", "../../../usr/./lib"),
            ("loop", "loop"),
            ("dangling", "nowhere/x"),
        ] {
            tree.insert(&path(at), symlink(target)).unwrap();
        }
        tree
    }

    #[test]
    fn resolves_links_inside_the_image() {
        let tree = sample();
        for (from, to) in [
            ("lib/a", Some("/usr/lib/a")),
            ("abs/a", Some("/usr/lib/a")),
            ("usr/up/a", Some("/usr/lib/a")),
            ("lib", Some("/usr/lib")),
            ("", Some("/")),
            ("dangling", None),
            ("lib/b", None),
        ] {
            let found = tree.resolve(&path(from)).unwrap();
            assert_eq!(found.map(|(p, _)| p.to_string()).as_deref(), to, "{from}");
        }
        assert_eq!(
            tree.resolve(&path("loop/x")),
            Err(TreeError::Loop(path("loop/x")))
        );
    }

    #[test]
    fn lookup_follows_nothing() {
        let tree = sample();
        assert!(tree.lookup(&path("lib/a")).is_none());
        let lib = tree.lookup(&path("lib")).unwrap();
        assert!(matches!(tree.inode(lib).content, Content::Symlink(_)));
    }

    #[test]
    fn walks_parents_first_in_byte_order() {
        let paths: Vec<_> = sample().walk().map(|(p, _)| p.to_string()).collect();
        assert_eq!(
            paths,
            [
                "/",
                "/abs",
                "/dangling",
                "/lib",
                "/loop",
                "/usr",
                "/usr/lib",
                "/usr/lib/a",
                "/usr/up"
            ]
        );
    }

    #[test]
    fn removal_keeps_other_names() {
        let mut tree = sample();
        let link = tree.lookup(&path("lib")).unwrap();
        tree.link(&path("usr/other"), link).unwrap();
        assert_eq!(tree.remove(&path("lib")), Some(link));
        assert_eq!(tree.lookup(&path("usr/other")), Some(link));
        assert_eq!(tree.remove(&path("lib")), None);
        assert_eq!(tree.remove(&ImagePath::root()), None);
        assert_eq!(
            tree.link(&path("usr/other/x"), link),
            Err(TreeError::NotADirectory(path("usr/other")))
        );
        assert_eq!(tree.link(&ImagePath::root(), link), Err(TreeError::Root));
    }
}
