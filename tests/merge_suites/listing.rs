//! Trees as lines, one a path: what is compared, whoever made the tree.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::Hash;

use anyhow::{Context as _, Result};
use import_oci::bodies::{BodyStore as _, MemoryStore};
use import_oci::entry::{Entry, EntryKind};
use import_oci::metadata::Metadata;
use import_oci::path::{ImagePath, PathError, escape};
use import_oci::report::Report;
use import_oci::tree::merge::{self, MergeError, MergeOptions};
use import_oci::tree::{Content, Tree, TreeError};

use crate::format::{Node, NodeKind};

/// What lies at each path. Of several names of one file the first in byte order has the
/// description, the others say whose hardlinks they are.
pub type Listing = BTreeMap<ImagePath, String>;

/// Lists names, each with the identity of what it names and its description.
pub fn list<K: Eq + Hash>(names: impl IntoIterator<Item = (ImagePath, K, String)>) -> Listing {
    let names: BTreeMap<_, _> = names
        .into_iter()
        .map(|(path, inode, description)| (path, (inode, description)))
        .collect();
    let mut first_names = HashMap::new();
    let mut listing = Listing::new();
    for (path, (inode, description)) in names {
        let line = match first_names.get(&inode) {
            Some(first) => format!("hardlink -> {first}"),
            None => description,
        };
        first_names.entry(inode).or_insert_with(|| path.clone());
        listing.insert(path, line);
    }
    listing
}

/// One line for what is not a hardlink.
pub fn describe(kind: &NodeKind, metadata: &Metadata) -> String {
    let mut line = match kind {
        NodeKind::Directory => "dir".to_owned(),
        NodeKind::File(content) => format!("file \"{}\"", escape(content)),
        NodeKind::Symlink(target) => format!("symlink -> {}", escape(target)),
        NodeKind::Hardlink(_) => unreachable!("hardlinks are described as what they name"),
        NodeKind::Special(special) => special.to_string(),
    };
    let Metadata { mode, uid, gid, .. } = metadata;
    write!(line, " {mode:04o} {uid}:{gid}").expect("strings can be written");
    for (name, value) in &metadata.xattrs {
        write!(line, " {}=\"{}\"", escape(name), escape(value)).expect("strings can be written");
    }
    line
}

/// Lists a tree as a data file describes it. The root, unless described, is an implicit directory.
pub fn list_expected(nodes: &[Node]) -> Result<Listing> {
    let mut names = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        names.insert(ImagePath::parse(&node.path)?, index);
    }
    let mut lines = vec![];
    if !names.contains_key(&ImagePath::root()) {
        let root = describe(&NodeKind::Directory, &Metadata::implicit_directory());
        lines.push((ImagePath::root(), usize::MAX, root));
    }
    for (path, mut index) in names.clone() {
        while let NodeKind::Hardlink(target) = &nodes[index].kind {
            let target = ImagePath::parse(target)?;
            let of = names.get(&target).copied();
            index = of.with_context(|| format!("no {target} is expected that {path} could be"))?;
        }
        let description = describe(&nodes[index].kind, &nodes[index].metadata);
        lines.push((path, index, description));
    }
    Ok(list(lines))
}

/// Differences between two listings, `-` what was expected and `+` what was found.
pub fn difference(expected: &Listing, found: &Listing) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut text = String::new();
    let paths: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for path in paths {
        let (expected, found) = (expected.get(path), found.get(path));
        let marked: &[_] = match expected == found {
            true => &[(" ", expected)],
            false => &[("-", expected), ("+", found)],
        };
        for (mark, line) in marked {
            if let Some(line) = line {
                let path = path.to_string();
                writeln!(text, "    {mark} {path:<32} {line}").expect("strings can be written");
            }
        }
    }
    Some(text)
}

/// An image under construction by the merge under test.
#[derive(Debug)]
pub struct Merged {
    tree: Tree,
    bodies: MemoryStore,
    /// What the merge took note of.
    pub report: Report,
}

impl Merged {
    /// An image without layers.
    pub fn new() -> Self {
        Self {
            tree: Tree::new(),
            bodies: MemoryStore::new(0),
            report: Report::default(),
        }
    }

    /// Lays a layer on it. An error is `KIND PATH`, the words of the data files.
    pub fn apply(&mut self, layer: &[Node], options: &MergeOptions) -> Result<(), String> {
        let entries = layer
            .iter()
            .map(|node| self.entry(node))
            .collect::<Result<Vec<_>, _>>()
            .map_err(path_error)?;
        merge::apply(&mut self.tree, &entries, options, &mut self.report).map_err(merge_error)
    }

    /// What it holds.
    pub fn list(&self) -> Listing {
        list(self.tree.walk().map(|(path, id)| {
            let inode = self.tree.inode(id);
            let kind = match &inode.content {
                Content::Directory(_) => NodeKind::Directory,
                Content::File { body, size } => {
                    let mut content = vec![0; *size as usize];
                    let read = self.bodies.read_at(body.index, 0, &mut content);
                    assert_eq!(read.ok(), Some(content.len()), "{path}");
                    NodeKind::File(content)
                }
                Content::Symlink(target) => NodeKind::Symlink(target.to_vec()),
                Content::Special(special) => NodeKind::Special(*special),
            };
            (path, id, describe(&kind, &inode.metadata))
        }))
    }

    fn entry(&mut self, node: &Node) -> Result<Entry, PathError> {
        Ok(Entry {
            path: ImagePath::parse(&node.path)?,
            kind: match &node.kind {
                NodeKind::Directory => EntryKind::Directory,
                NodeKind::File(content) => EntryKind::File {
                    body: self.bodies.push(content.as_slice().into()),
                    size: content.len() as u64,
                },
                NodeKind::Symlink(target) => EntryKind::Symlink(target.as_slice().into()),
                NodeKind::Hardlink(target) => EntryKind::Hardlink(ImagePath::parse(target)?),
                NodeKind::Special(special) => EntryKind::Special(*special),
            },
            metadata: node.metadata.clone(),
        })
    }
}

fn path_error(error: PathError) -> String {
    match error {
        PathError::ParentComponent(path) => format!("parent-component {path}"),
        PathError::Nul(path) => format!("nul {path}"),
        PathError::TooLong(path) => format!("too-long {path}"),
    }
}

fn merge_error(error: MergeError) -> String {
    match error {
        MergeError::InvalidWhiteout(path) => format!("invalid-whiteout {path}"),
        MergeError::RootNotADirectory => "root-not-a-directory /".to_owned(),
        MergeError::HardlinkTargetMissing { path, .. } => format!("hardlink-target-missing {path}"),
        MergeError::HardlinkToDirectory { path, .. } => format!("hardlink-to-directory {path}"),
        MergeError::ReplacesOwnDirectory(path) => format!("replaces-own-directory {path}"),
        MergeError::ParentNotADirectory { path, .. } => format!("parent-not-a-directory {path}"),
        MergeError::SymlinkedParent { path, .. } => format!("symlinked-parent {path}"),
        MergeError::TooManyDirectories(path) => format!("too-many-directories {path}"),
        MergeError::PathTooLong(path) => format!("path-too-long {path}"),
        MergeError::Tree(TreeError::Loop(path)) => format!("symlink-loop {path}"),
        MergeError::Tree(error) => format!("tree {error}"),
    }
}
