//! Small images for unit tests: layers written like a listing, and trees printed like one.

use crate::bodies::{Bodies, BodySink, MemoryStore};
use crate::entry::{Entry, EntryKind};
use crate::metadata::{Metadata, Special};
use crate::path::{ImagePath, escape};
use crate::tree::{Content, Tree, merge};

/// Builds the layers of an image, bodies in memory.
#[derive(Debug)]
pub struct Layers {
    store: MemoryStore,
    layers: Vec<Vec<Entry>>,
}

impl Layers {
    /// One empty layer.
    pub fn new() -> Self {
        Self {
            store: MemoryStore::new(0),
            layers: vec![Vec::new()],
        }
    }

    /// Starts the next layer.
    pub fn layer(mut self) -> Self {
        self.layers.push(Vec::new());
        self
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, mode, EntryKind::Directory)
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        self.bytes(path, content.as_bytes())
    }

    pub fn bytes(mut self, path: &str, content: &[u8]) -> Self {
        self.store.write(content).unwrap();
        let kind = EntryKind::File {
            body: self.store.finish().unwrap(),
            size: content.len() as u64,
        };
        self.entry(path, 0o644, kind)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, EntryKind::Symlink(target.as_bytes().into()))
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0, EntryKind::Hardlink(image_path(target)))
    }

    pub fn special(self, path: &str, special: Special) -> Self {
        self.entry(path, 0o600, EntryKind::Special(special))
    }

    /// Mode of the last entry.
    pub fn mode(self, mode: u32) -> Self {
        self.last(|m| m.mode = mode)
    }

    /// Modification time of the last entry.
    pub fn mtime(self, mtime: i64) -> Self {
        self.last(|m| m.mtime = mtime)
    }

    /// Owner of the last entry.
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        self.last(|m| (m.uid, m.gid) = (uid, gid))
    }

    /// An xattr of the last entry.
    pub fn xattr(self, name: &str, value: &[u8]) -> Self {
        self.last(|m| {
            m.xattrs.insert(name.as_bytes().into(), value.into());
        })
    }

    /// The layers as they are and the bodies.
    pub fn build(self) -> (Vec<Vec<Entry>>, Bodies) {
        (self.layers, Bodies::new(vec![Box::new(self.store)]))
    }

    /// The merged tree and the bodies.
    pub fn merge(self) -> (Tree, Bodies) {
        let (layers, bodies) = self.build();
        let mut tree = Tree::new();
        for layer in layers {
            merge::apply(
                &mut tree,
                &layer,
                &Default::default(),
                &mut Default::default(),
            )
            .unwrap();
        }
        (tree, bodies)
    }

    fn entry(mut self, path: &str, mode: u32, kind: EntryKind) -> Self {
        let metadata = Metadata {
            mode,
            ..Metadata::default()
        };
        self.layers.last_mut().unwrap().push(Entry {
            path: image_path(path),
            kind,
            metadata,
        });
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Metadata)) -> Self {
        change(&mut self.layers.last_mut().unwrap().last_mut().unwrap().metadata);
        self
    }
}

pub fn image_path(text: &str) -> ImagePath {
    ImagePath::parse(text.as_bytes()).unwrap()
}

/// The tree as lines: `/usr/ 755`, `/usr/x 644 "content"`, `/lib -> usr/lib`, owner where it is not root, xattr
/// names where there are any. The root only when it differs from an implicit one.
pub fn list(tree: &Tree, bodies: &Bodies) -> Vec<String> {
    let root_is_plain = tree.inode(tree.root()).metadata == Metadata::implicit_directory();
    tree.walk()
        .skip(usize::from(root_is_plain))
        .map(|(path, id)| {
            let inode = tree.inode(id);
            let mode = inode.metadata.mode;
            let mut line = match &inode.content {
                Content::Directory(_) if path.is_root() => format!("/ {mode:o}"),
                Content::Directory(_) => format!("{path}/ {mode:o}"),
                Content::File { body, .. } => {
                    let content = bodies.read(*body, 1 << 20).unwrap();
                    format!("{path} {mode:o} {:?}", escape(&content))
                }
                Content::Symlink(target) => format!("{path} -> {}", escape(target)),
                Content::Special(special) => format!("{path} {special}"),
            };
            if (inode.metadata.uid, inode.metadata.gid) != (0, 0) {
                line += &format!(" {}:{}", inode.metadata.uid, inode.metadata.gid);
            }
            for name in inode.metadata.xattrs.keys() {
                line += &format!(" {}", escape(name));
            }
            line
        })
        .collect()
}
