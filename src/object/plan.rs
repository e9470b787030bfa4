//! A labelled tree as a list of objects.
//!
//! Content objects come first: each distinct pair of inode and label once, however many names it
//! has. When their checksums are known, the directories follow from the leaves up.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};

use super::directory::file_name;
use super::{FileHeader, MetadataObject, dirmeta, dirtree};
use crate::bodies::BodyId;
use crate::digest::Digest;
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::tree::{Content, Inode, InodeId, Tree};

/// Everything a tree becomes in a repo.
#[derive(Debug)]
pub struct Plan {
    files: Vec<FileObject>,
    /// One name of each of `files`, for messages.
    paths: Vec<ImagePath>,
    /// Parents before what they hold.
    directories: Vec<Directory>,
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
    path: ImagePath,
    metadata: MetadataObject,
    /// Names, and indices into [`Plan::files`].
    files: Vec<(Box<[u8]>, usize)>,
    /// Names, and indices into [`Plan::directories`].
    directories: Vec<(Box<[u8]>, usize)>,
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
    /// leave. So nothing of such a tree is ever written.
    pub fn new(tree: &Tree, labels: &[Option<&str>]) -> Result<Self> {
        let mut plan = Self {
            files: Vec::new(),
            paths: Vec::new(),
            directories: Vec::new(),
        };
        let mut known_files = HashMap::new();
        // The directories from the root down to where the walk is.
        let mut open: Vec<usize> = Vec::new();
        for ((path, id), &label) in tree.walk().zip(labels) {
            let inode = tree.inode(id);
            let parent = path.parent();
            while let Some(&last) = open.last()
                && parent.as_ref() != Some(&plan.directories[last].path)
            {
                open.pop();
            }
            let name = path.file_name().map(Box::from);
            let parent = open.last().copied().zip(name);
            if let Some((parent, name)) = &parent {
                file_name(&plan.directories[*parent].path, name)?;
            }
            if inode.content.is_directory() {
                let index = plan.add_directory(&path, inode, label)?;
                open.push(index);
                if let Some((parent, name)) = parent {
                    plan.directories[parent].directories.push((name, index));
                }
            } else {
                let index = plan.add_file(&path, id, inode, label, &mut known_files)?;
                let (parent, name) = parent.context("the root is not a directory")?;
                plan.directories[parent].files.push((name, index));
            }
        }
        Ok(plan)
    }

    /// The content objects, to be hashed and written.
    pub fn files(&self) -> &[FileObject] {
        &self.files
    }

    /// A name of the content object at `index` of [`Plan::files`].
    pub fn path(&self, index: usize) -> &ImagePath {
        &self.paths[index]
    }

    /// The directories, given the checksums of [`Plan::files`].
    ///
    /// # Errors
    /// A name that ostree cannot hold.
    pub fn directories(self, checksums: &[Digest]) -> Result<Directories> {
        let mut objects = Vec::with_capacity(2 * self.directories.len());
        // Dirtree and dirmeta of each directory; children come after parents, hence backwards.
        let mut done = vec![None; self.directories.len()];
        for (index, directory) in self.directories.into_iter().enumerate().rev() {
            let files = directory
                .files
                .iter()
                .map(|(n, file)| (&**n, checksums[*file]));
            let below = directory.directories.iter().map(|(name, index)| {
                let (dirtree, dirmeta) = done[*index].expect("children are done first");
                (&**name, dirtree, dirmeta)
            });
            let tree = dirtree(&directory.path, files, below)?;
            done[index] = Some((tree.checksum, directory.metadata.checksum));
            objects.extend([tree, directory.metadata]);
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

    fn add_directory(
        &mut self,
        path: &ImagePath,
        inode: &Inode,
        label: Option<&str>,
    ) -> Result<usize> {
        let metadata =
            dirmeta(&labelled(&inode.metadata, label)).with_context(|| path.to_string())?;
        self.directories.push(Directory {
            path: path.clone(),
            metadata,
            files: Vec::new(),
            directories: Vec::new(),
        });
        Ok(self.directories.len() - 1)
    }

    fn add_file<'l>(
        &mut self,
        path: &ImagePath,
        id: InodeId,
        inode: &Inode,
        label: Option<&'l str>,
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
        self.paths.push(path.clone());
        known.insert((id, label), self.files.len() - 1);
        Ok(self.files.len() - 1)
    }
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
        let b = dirtree(&path("a/b"), [(&b"c"[..], by_path("/a/b/c"))], []).unwrap();
        let a = dirtree(
            &path("a"),
            [(&b"d"[..], by_path("/a/d"))],
            [(&b"b"[..], b.checksum, meta.checksum)],
        )
        .unwrap();
        let root = dirtree(
            &path(""),
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
