//! A labelled tree as a list of objects.
//!
//! Content objects come first: each distinct pair of inode and label once, however many names it
//! has. When their checksums are known, the directories follow from the leaves up.

use std::collections::HashMap;
use std::iter;

use anyhow::{Context as _, Result, bail, ensure};

use super::directory::file_name;
use super::{FileHeader, MetadataObject, dirmeta, dirtree};
use crate::bodies::BodyId;
use crate::digest::Digest;
use crate::metadata::Metadata;
use crate::path::{ImagePath, PathBuffer};
use crate::tree::{Content, Inode, InodeId, Tree};

/// Everything a tree becomes in a repo.
#[derive(Debug)]
pub struct Plan {
    files: Vec<FileObject>,
    /// One name of each of `files`, for messages: the index of a directory, and of the name in its
    /// `files`. Whole paths of a deep tree would take more memory than all else.
    names: Vec<(usize, usize)>,
    /// Parents before what they hold, the root first.
    directories: Vec<Directory>,
    /// Of each of `directories`.
    dirmetas: Vec<MetadataObject>,
}

/// A content object to be: a regular file or a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Plan {
    /// Plans `tree`. `labels` holds the SELinux context of each path in the order of
    /// [`Tree::walk`], `None` where it has none.
    ///
    /// # Errors
    /// A name, an xattr or a link that ostree cannot hold, and special files, which no fixup may
    /// leave; more or fewer labels than paths. So nothing of such a tree is ever written.
    pub fn new(tree: &Tree, labels: &[Option<&str>]) -> Result<Self> {
        let mut plan = Self {
            files: Vec::new(),
            names: Vec::new(),
            directories: Vec::new(),
            dirmetas: Vec::new(),
        };
        let mut known_files = HashMap::new();
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
                let index = plan.add_directory(&path, parent, inode, label)?;
                open.push((index, path.as_bytes().len()));
            } else {
                let parent = parent.context("the root is not a directory")?;
                let index = plan.add_file(&path, parent, id, label, inode, &mut known_files)?;
                plan.directories[parent].files.push((name.into(), index));
            }
        }
        let spare = labels.len();
        ensure!(spare == 0, "there are {spare} more labels than paths");
        Ok(plan)
    }

    /// The content objects, to be hashed and written.
    pub fn files(&self) -> &[FileObject] {
        &self.files
    }

    /// A name of the content object at `index` of [`Plan::files`].
    pub fn path(&self, index: usize) -> ImagePath {
        let (directory, name) = self.names[index];
        let (name, _) = &self.directories[directory].files[name];
        path_of(&self.directories, directory).join(name)
    }

    /// The directories, given the checksums of [`Plan::files`].
    ///
    /// # Errors
    /// A name that ostree cannot hold.
    pub fn directories(self, checksums: &[Digest]) -> Result<Directories> {
        let mut objects = Vec::with_capacity(2 * self.directories.len());
        // Dirtree and dirmeta of each directory; children come after parents, hence backwards.
        let mut done = vec![None; self.directories.len()];
        for (index, dirmeta) in self.dirmetas.into_iter().enumerate().rev() {
            let directory = &self.directories[index];
            let files = directory
                .files
                .iter()
                .map(|(n, file)| (&**n, checksums[*file]));
            let below = directory.directories.iter().map(|&index| {
                let (dirtree, dirmeta) = done[index].expect("children are done first");
                (&*self.directories[index].name, dirtree, dirmeta)
            });
            let tree = dirtree(|| path_of(&self.directories, index), files, below)?;
            done[index] = Some((tree.checksum, dirmeta.checksum));
            objects.extend([tree, dirmeta]);
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

    /// No `parent`: the root.
    fn add_directory(
        &mut self,
        path: &ImagePath,
        parent: Option<usize>,
        inode: &Inode,
        label: Option<&str>,
    ) -> Result<usize> {
        let dirmeta =
            dirmeta(&labelled(&inode.metadata, label)).with_context(|| path.to_string())?;
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

    fn add_file<'l>(
        &mut self,
        path: &ImagePath,
        parent: usize,
        id: InodeId,
        label: Option<&'l str>,
        inode: &Inode,
        known: &mut HashMap<(InodeId, Option<&'l str>), usize>,
    ) -> Result<usize> {
        if let Some(&index) = known.get(&(id, label)) {
            return Ok(index);
        }
        let metadata = labelled(&inode.metadata, label);
        let (header, body) = match &inode.content {
            Content::File { body, .. } => (FileHeader::regular(&metadata), Some(*body)),
            Content::Symlink(target) => (FileHeader::symlink(&metadata, target), None),
            Content::Special(special) => bail!(
                "{path} is a {special}, which ostree cannot hold; the fixup special-files drops it"
            ),
            Content::Directory(_) => unreachable!("directories are no content objects"),
        };
        let header = header.with_context(|| path.to_string())?;
        self.files.push(FileObject { header, body });
        self.names
            .push((parent, self.directories[parent].files.len()));
        known.insert((id, label), self.files.len() - 1);
        Ok(self.files.len() - 1)
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

/// `metadata` with a SELinux context, as libselinux stores it: with a trailing NUL.
fn labelled(metadata: &Metadata, label: Option<&str>) -> Metadata {
    let mut metadata = metadata.clone();
    if let Some(label) = label {
        let value = [label.as_bytes(), b"\0"].concat();
        metadata
            .xattrs
            .insert((*b"security.selinux").into(), value.into());
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let meta = dirmeta(&Metadata::implicit_directory()).unwrap();
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
        let directories = plan.directories(&digests).unwrap();
        assert_eq!(directories.root_dirtree, root.checksum);
        assert_eq!(directories.root_dirmeta, meta.checksum);
        assert_eq!(directories.objects.len(), 6);
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
