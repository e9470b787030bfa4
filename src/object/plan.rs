//! Labelled trees as a list of objects.
//!
//! Content objects come first: each distinct pair of header and body once, however many names it
//! has and in however many trees. When their checksums are known, the directories follow from the
//! leaves up.

use std::collections::hash_map::Entry;
use std::iter;
use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use foldhash::HashMap;

use super::directory::file_name;
use super::{FileHeader, MetadataObject, dirmeta, dirtree};
use crate::bodies::BodyId;
use crate::digest::Digest;
use crate::path::{ImagePath, PathBuffer};
use crate::tree::{Content, Inode, Tree};

/// Everything that trees become in a repo.
#[derive(Debug, Default)]
pub struct Plan<'l> {
    files: Vec<FileObject>,
    /// The label of each of `files`.
    labels: Vec<Option<&'l str>>,
    /// Where each of `files` is in it.
    known: HashMap<FileObject, usize>,
    /// One name of each of `files`, for messages: the index of a directory, and of the name in its
    /// `files`. Whole paths of a deep tree would take more memory than all else.
    names: Vec<(usize, usize)>,
    /// Those of each tree together, parents before what they hold, the root first.
    directories: Vec<Directory>,
    /// Of each of `directories`.
    dirmetas: Vec<MetadataObject>,
    /// Where the directories of each tree start.
    trees: Vec<usize>,
}

/// A content object to be: a regular file or a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileObject {
    /// Owner, mode, xattrs and link target.
    pub header: FileHeader,
    /// The content of a regular file; `None` for a link.
    pub body: Option<BodyId>,
}

#[derive(Debug)]
struct Directory {
    /// Index of the directory that holds it; the root's own for the root.
    parent: usize,
    /// Its name there; empty for the root.
    name: Box<[u8]>,
    /// Names, and indices into [`Plan::files`].
    files: Vec<(Box<[u8]>, usize)>,
    /// Indices into [`Plan::directories`].
    directories: Vec<usize>,
}

/// The directories of a tree as objects.
#[derive(Debug)]
pub struct Directories {
    /// Dirtrees and dirmetas; equal ones may be there more than once.
    pub objects: Vec<MetadataObject>,
    /// Checksum of the root's dirtree.
    pub root_dirtree: Digest,
    /// Checksum of the root's dirmeta.
    pub root_dirmeta: Digest,
}

impl<'l> Plan<'l> {
    /// A plan of `tree` alone; see [`Plan::add`].
    ///
    /// # Errors
    /// Those of [`Plan::add`].
    pub fn new(tree: &Tree, labels: &[Option<&'l str>]) -> Result<Self> {
        let mut plan = Self::default();
        plan.add(tree, labels)?;
        Ok(plan)
    }

    /// Plans one more tree. `labels` holds the SELinux context of each path in the order of
    /// [`Tree::walk`], `None` where it has none.
    ///
    /// # Errors
    /// A name, an xattr or a link that ostree cannot hold, and special files, which no fixup may
    /// leave; more or fewer labels than paths. So nothing of such a tree is ever written.
    pub fn add(&mut self, tree: &Tree, labels: &[Option<&'l str>]) -> Result<()> {
        self.trees.push(self.directories.len());
        let mut labels = labels.iter();
        // The directories from the root down to where the walk is, and the lengths of their paths.
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (path, id) in tree.walk() {
            let &label = labels
                .next()
                .with_context(|| format!("the labels end before {path}"))?;
            let inode = tree.inode(id);
            let name = path.file_name().unwrap_or_default();
            let parent_length = (path.as_bytes().len() - name.len()).saturating_sub(1);
            while open
                .last()
                .is_some_and(|&(_, length)| length > parent_length)
            {
                open.pop();
            }
            let parent = open.last().map(|&(index, _)| index);
            if parent.is_some() {
                file_name(|| path.parent().unwrap_or_default(), name)?;
            }
            if inode.content.is_directory() {
                let index = self.add_directory(&path, parent, inode, label)?;
                open.push((index, path.as_bytes().len()));
                continue;
            }
            let parent = parent.context("the root is not a directory")?;
            let index = self.add_file(&path, parent, label, inode)?;
            self.directories[parent].files.push((name.into(), index));
        }
        let spare = labels.len();
        ensure!(spare == 0, "there are {spare} more labels than paths");
        Ok(())
    }

    /// The content objects, to be hashed and written.
    pub fn files(&self) -> &[FileObject] {
        &self.files
    }

    /// The label of the content object at `index` of [`Plan::files`].
    pub fn label(&self, index: usize) -> Option<&'l str> {
        self.labels[index]
    }

    /// How many trees were added.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The indices in [`Plan::files`] of what the names of the tree that was added as number `tree`
    /// lead to; the same one more than once where it has several names.
    pub fn files_of(&self, tree: usize) -> impl Iterator<Item = usize> {
        let directories = &self.directories[self.range(tree)];
        directories
            .iter()
            .flat_map(|directory| directory.files.iter().map(|&(_, file)| file))
    }

    /// Which of [`Plan::files`] has a body in a tree; the last in its order where names of one file have
    /// different labels.
    pub fn file_of_bodies(&self, tree: usize) -> HashMap<BodyId, usize> {
        self.files_of(tree)
            .filter_map(|file| Some((self.files[file].body?, file)))
            .collect()
    }

    /// A name of the content object at `index` of [`Plan::files`].
    pub fn path(&self, index: usize) -> ImagePath {
        let (directory, name) = self.names[index];
        let (name, _) = &self.directories[directory].files[name];
        path_of(&self.directories, directory).join(name)
    }

    /// The directories of each tree, given the checksums of [`Plan::files`].
    ///
    /// # Errors
    /// A name that ostree cannot hold.
    pub fn directories(&self, checksums: &[Digest]) -> Result<Vec<Directories>> {
        (0..self.trees.len())
            .map(|tree| self.directories_of(tree, checksums))
            .collect()
    }

    fn directories_of(&self, tree: usize, checksums: &[Digest]) -> Result<Directories> {
        let range = self.range(tree);
        let start = range.start;
        let mut objects = Vec::with_capacity(2 * range.len());
        // Dirtree and dirmeta of each directory; children come after parents, hence backwards.
        let mut done = vec![None; range.len()];
        for index in range.rev() {
            let (directory, dirmeta) = (&self.directories[index], &self.dirmetas[index]);
            let files = directory
                .files
                .iter()
                .map(|(n, file)| (&**n, checksums[*file]));
            let below = directory.directories.iter().map(|&index| {
                let (dirtree, dirmeta) = done[index - start].expect("children are done first");
                (&*self.directories[index].name, dirtree, dirmeta)
            });
            let tree = dirtree(|| path_of(&self.directories, index), files, below)?;
            done[index - start] = Some((tree.checksum, dirmeta.checksum));
            objects.extend([tree, dirmeta.clone()]);
        }
        let (root_dirtree, root_dirmeta) = done
            .first()
            .copied()
            .flatten()
            .context("a tree has a root")?;
        Ok(Directories {
            objects,
            root_dirtree,
            root_dirmeta,
        })
    }

    /// Where the directories of a tree are.
    fn range(&self, tree: usize) -> Range<usize> {
        let end = self.trees.get(tree + 1);
        self.trees[tree]..end.copied().unwrap_or(self.directories.len())
    }

    /// No `parent`: the root.
    fn add_directory(
        &mut self,
        path: &ImagePath,
        parent: Option<usize>,
        inode: &Inode,
        label: Option<&str>,
    ) -> Result<usize> {
        let dirmeta = dirmeta(&inode.metadata, label).with_context(|| path.to_string())?;
        let index = self.directories.len();
        if let Some(parent) = parent {
            self.directories[parent].directories.push(index);
        }
        self.directories.push(Directory {
            parent: parent.unwrap_or(index),
            name: path.file_name().unwrap_or_default().into(),
            files: Vec::new(),
            directories: Vec::new(),
        });
        self.dirmetas.push(dirmeta);
        Ok(index)
    }

    fn add_file(
        &mut self,
        path: &ImagePath,
        parent: usize,
        label: Option<&'l str>,
        inode: &Inode,
    ) -> Result<usize> {
        let (header, body) = match &inode.content {
            Content::File { body, .. } => {
                (FileHeader::regular(&inode.metadata, label), Some(*body))
            }
            Content::Symlink(target) => (FileHeader::symlink(&inode.metadata, label, target), None),
            Content::Special(special) => bail!(
                "{path} is a {special}, which ostree cannot hold; the fixup special-files drops it"
            ),
            Content::Directory(_) => unreachable!("directories are no content objects"),
        };
        let header = header.with_context(|| path.to_string())?;
        let file = FileObject { header, body };
        let vacant = match self.known.entry(file) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(vacant) => vacant,
        };
        let index = self.files.len();
        self.names
            .push((parent, self.directories[parent].files.len()));
        self.labels.push(label);
        self.files.push(vacant.key().clone());
        vacant.insert(index);
        Ok(index)
    }
}

/// The path of the directory at `index`.
fn path_of(directories: &[Directory], index: usize) -> ImagePath {
    let upwards = iter::successors(Some(&directories[index]), |directory| {
        Some(&directories[directory.parent])
    });
    let names: Vec<_> = upwards
        .map(|directory| &directory.name)
        .take_while(|name| !name.is_empty())
        .collect();
    let mut path = PathBuffer::default();
    for name in names.into_iter().rev() {
        path.push(name);
    }
    path.to_path()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;
    use crate::testing::Layers;

    fn digests(plan: &Plan) -> Vec<Digest> {
        (0..plan.files().len())
            .map(|i| Digest::of(&i.to_be_bytes()))
            .collect()
    }

    #[test]
    fn hardlinks_share_an_object_unless_their_labels_differ() {
        let (tree, _) = Layers::new()
            .file("a", "")
            .hardlink("b", "a")
            .hardlink("c", "a")
            .merge();
        let plan = Plan::new(&tree, &[None, Some("x"), Some("x"), Some("y")]).unwrap();
        let paths: Vec<_> = (0..plan.files().len())
            .map(|i| plan.path(i).to_string())
            .collect();
        assert_eq!(paths, ["/a", "/c"]);
    }

    #[test]
    fn paths_are_put_together_again() {
        let (tree, _) = Layers::new()
            .file("a/b/c", "")
            .file("a/b.", "")
            .file("a/d/e/f", "")
            .file("ab/x", "")
            .file("g", "")
            .merge();
        let labels = vec![None; tree.walk().count()];
        let plan = Plan::new(&tree, &labels).unwrap();
        let paths: Vec<_> = (0..plan.files().len())
            .map(|i| plan.path(i).to_string())
            .collect();
        assert_eq!(paths, ["/a/b/c", "/a/b.", "/a/d/e/f", "/ab/x", "/g"]);
    }

    #[test]
    fn every_path_needs_a_label_or_none() {
        let (tree, _) = Layers::new().file("a", "").file("b", "").merge();
        for (labels, message) in [
            (2, "the labels end before /b"),
            (5, "there are 2 more labels than paths"),
        ] {
            let error = Plan::new(&tree, &vec![None; labels]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn nested_directories_are_put_together_from_the_leaves_up() {
        let (tree, _) = Layers::new()
            .file("a/b/c", "")
            .file("a/d", "")
            .file("e", "")
            .merge();
        let labels = vec![None; tree.walk().count()];
        let plan = Plan::new(&tree, &labels).unwrap();
        let digests = digests(&plan);
        let by_path = |p: &str| digests[(0..3).find(|&i| plan.path(i).to_string() == p).unwrap()];
        let path = |p: &str| ImagePath::parse(p.as_bytes()).unwrap();
        let meta = dirmeta(&Metadata::implicit_directory(), None).unwrap();
        let b = dirtree(|| path("a/b"), [(&b"c"[..], by_path("/a/b/c"))], []).unwrap();
        let a = dirtree(
            || path("a"),
            [(&b"d"[..], by_path("/a/d"))],
            [(&b"b"[..], b.checksum, meta.checksum)],
        )
        .unwrap();
        let root = dirtree(
            ImagePath::root,
            [(&b"e"[..], by_path("/e"))],
            [(&b"a"[..], a.checksum, meta.checksum)],
        )
        .unwrap();
        let directories = plan.directories(&digests).unwrap().remove(0);
        assert_eq!(directories.root_dirtree, root.checksum);
        assert_eq!(directories.root_dirmeta, meta.checksum);
        assert_eq!(directories.objects.len(), 6);
    }

    #[test]
    fn trees_share_what_is_the_same() {
        let layers = || Layers::new().file("a/x", "").symlink("l", "x");
        let (one, _) = layers().merge();
        let (two, _) = layers().file("b/y", "").hardlink("b/z", "a/x").merge();
        let mut plan = Plan::new(&one, &[None; 4]).unwrap();
        let labels = [None, None, None, None, None, Some("t"), None];
        plan.add(&two, &labels).unwrap();
        let paths: Vec<_> = (0..plan.files().len())
            .map(|i| plan.path(i).to_string())
            .collect();
        assert_eq!(paths, ["/a/x", "/l", "/b/y", "/b/z"]);
        assert_eq!(plan.label(3), Some("t"));
        let files = |tree| plan.files_of(tree).collect::<Vec<_>>();
        assert_eq!((files(0), files(1)), (vec![1, 0], vec![1, 0, 2, 3]));
        let digests = digests(&plan);
        let both = plan.directories(&digests).unwrap();
        for (directories, (tree, labels)) in
            both.iter().zip([(&one, &labels[..4]), (&two, &labels[..])])
        {
            let alone = Plan::new(tree, labels).unwrap();
            let digests: Vec<_> = alone
                .files()
                .iter()
                .map(|file| digests[plan.known[file]])
                .collect();
            let alone = alone.directories(&digests).unwrap().remove(0);
            assert_eq!(directories.root_dirtree, alone.root_dirtree);
        }
    }

    #[test]
    fn names_that_ostree_cannot_hold_are_refused() {
        let (mut tree, _) = Layers::new().file("a", "").merge();
        let file = tree.remove(&ImagePath::parse(b"a").unwrap()).unwrap();
        let path = ImagePath::parse(b"b/\xff").unwrap();
        tree.link(&path, file).unwrap();
        let error = Plan::new(&tree, &[None; 3]).unwrap_err().to_string();
        assert!(error.starts_with("/b/\\xff: the name is not"), "{error}");
    }

    #[test]
    fn special_files_are_refused() {
        let (tree, _) = Layers::new()
            .special("x", crate::metadata::Special::Fifo)
            .merge();
        let error = Plan::new(&tree, &[None, None]).unwrap_err().to_string();
        assert!(error.contains("/x") && error.contains("FIFO"), "{error}");
    }
}
