//! The objects of the repo that ostree-ext leaves in an image (`ostree-ext/src/tar/export.rs`), in
//! the mode `bare-split-xattrs`: a file's xattrs lie beside it, in `CHECKSUM.file-xattrs-link`.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, ensure};
use ostree::glib::{Bytes, Variant, VariantTy};

use crate::bodies::Bodies;
use crate::metadata::{LABEL_XATTR, Xattrs};
use crate::path::ImagePath;
use crate::tree::{Content, InodeId, Tree};

/// Where ostree-ext puts the repo.
pub const BASE_REPO: &[u8] = b"sysroot/ostree/repo";

/// The largest metadata object that libostree reads (`OSTREE_MAX_METADATA_SIZE`).
const LARGEST: u64 = 128 << 20;

/// The objects of a repo inside an image.
#[derive(Debug)]
pub struct Objects<'i> {
    tree: &'i Tree,
    bodies: &'i Bodies,
    directory: ImagePath,
    labels: bool,
    /// Most files have the xattrs of many others, which are one file.
    xattrs: BTreeMap<InodeId, Rc<Xattrs>>,
}

/// `a(ayay)`: names end in a NUL.
type Named = Vec<(Vec<u8>, Vec<u8>)>;

/// The names in a directory and their checksums.
#[derive(Debug, Default)]
pub struct Directory {
    /// Files and links.
    pub files: Vec<(String, String)>,
    /// Directories: of their `dirtree` and of their `dirmeta`.
    pub directories: Vec<(String, String, String)>,
}

impl<'i> Objects<'i> {
    /// Those of the repo in `tree`; `None`: there is none. Are `labels` among xattrs?
    pub fn of(tree: &'i Tree, bodies: &'i Bodies, labels: bool) -> Option<Self> {
        let directory = ImagePath::parse(BASE_REPO).ok()?.join(b"objects");
        tree.children(tree.lookup(&directory)?)?;
        Some(Self {
            tree,
            bodies,
            directory,
            labels,
            xattrs: BTreeMap::new(),
        })
    }

    /// The checksums of all objects of a kind, and where they lie.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = (String, InodeId)> {
        let end = format!(".{kind}");
        self.tree
            .walk_from(&self.directory)
            .filter_map(move |(path, id)| {
                let name = path.file_name()?.strip_suffix(end.as_bytes())?;
                let first = path.parent()?;
                let checksum = [first.file_name()?, name].concat();
                Some((String::from_utf8(checksum).ok()?, id))
            })
    }

    /// Where an object lies.
    pub fn find(&self, checksum: &str, kind: &str) -> Option<InodeId> {
        let (first, rest) = checksum.split_at_checked(2)?;
        let name = format!("{rest}.{kind}");
        let path = self.directory.join(first.as_bytes());
        self.tree.lookup(&path.join(name.as_bytes()))
    }

    /// The xattrs of a file. None where there is nothing about them.
    pub fn xattrs_of_file(&mut self, checksum: &str) -> Result<Rc<Xattrs>> {
        let kind = "file-xattrs-link";
        let Some(id) = self.find(checksum, kind) else {
            return Ok(Rc::default());
        };
        if let Some(known) = self.xattrs.get(&id) {
            return Ok(known.clone());
        }
        let named = self.read(id, "a(ayay)", checksum, kind)?;
        let xattrs = Rc::new(self.xattrs(get(&named)?));
        self.xattrs.insert(id, xattrs.clone());
        Ok(xattrs)
    }

    /// The `dirtree` and the `dirmeta` of the root of a commit.
    pub fn root_of_commit(&self, checksum: &str, id: InodeId) -> Result<(String, String)> {
        let commit = self.read(id, "(a{sv}aya(say)sstayay)", checksum, "commit")?;
        let checksum = |index| get::<Vec<u8>>(&commit.child_value(index)).map(hex::encode);
        Ok((checksum(6)?, checksum(7)?))
    }

    /// What lies in a directory. Nothing where the object is missing.
    pub fn directory(&self, checksum: &str) -> Result<Directory> {
        let Some(id) = self.find(checksum, "dirtree") else {
            return Ok(Directory::default());
        };
        let read = self.read(id, "(a(say)a(sayay))", checksum, "dirtree")?;
        type DirTree = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>, Vec<u8>)>);
        let (files, directories): DirTree = get(&read)?;
        Ok(Directory {
            files: files
                .into_iter()
                .map(|(name, file)| (name, hex::encode(file)))
                .collect(),
            directories: directories
                .into_iter()
                .map(|(name, tree, meta)| (name, hex::encode(tree), hex::encode(meta)))
                .collect(),
        })
    }

    /// The xattrs of a directory.
    pub fn xattrs_of_directory(&self, checksum: &str) -> Result<Xattrs> {
        let Some(id) = self.find(checksum, "dirmeta") else {
            return Ok(Xattrs::new());
        };
        let read = self.read(id, "(uuua(ayay))", checksum, "dirmeta")?;
        Ok(self.xattrs(get(&read.child_value(3))?))
    }

    /// The bytes of an object that is a variant.
    pub fn bytes(&self, id: InodeId, checksum: &str, kind: &str) -> Result<Vec<u8>> {
        let bytes = match self.tree.inode(id).content {
            Content::File { body, .. } => self.bodies.read(body, LARGEST).map_err(Into::into),
            _ => Err(anyhow!("no regular file")),
        };
        bytes.with_context(|| self.reading(checksum, kind))
    }

    /// An object that is a variant of this type.
    fn read(&self, id: InodeId, variant: &str, checksum: &str, kind: &str) -> Result<Variant> {
        let bytes = Bytes::from_owned(self.bytes(id, checksum, kind)?);
        let variant = Variant::from_bytes_with_type(&bytes, VariantTy::new(variant)?);
        ensure!(
            variant.is_normal_form(),
            "{}: not what ostree writes",
            self.reading(checksum, kind)
        );
        Ok(variant)
    }

    fn reading(&self, checksum: &str, kind: &str) -> String {
        let directory = &self.directory;
        format!("reading the object {checksum}.{kind} in {directory}")
    }

    fn xattrs(&self, named: Named) -> Xattrs {
        let xattrs = named.into_iter().map(|(mut name, value)| {
            name.pop_if(|last| *last == 0);
            (name.into(), value.into())
        });
        xattrs
            .filter(|(name, _): &(Box<[u8]>, _)| !name.is_empty())
            .filter(|(name, _)| self.labels || **name != *LABEL_XATTR)
            .collect()
    }
}

/// A value of a variant that has its type.
fn get<T: ostree::glib::variant::FromVariant>(variant: &Variant) -> Result<T> {
    variant.get().context("a variant of another type")
}
