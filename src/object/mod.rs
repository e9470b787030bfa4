//! The bytes of ostree objects and their checksums, equal to libostree's bit for bit.
//!
//! Pure: metadata in, bytes out. libostree could do this too, but it hashes several times slower
//! than [`Digest`], and old versions neither sort nor deduplicate extended attributes and so write
//! objects that `ostree fsck` refuses. [`crate::repo`] writes what is made here.
//!
//! An ostree object is a serialised GVariant with integers in network order:
//!
//! | object | type | checksum of |
//! |---|---|---|
//! | file header | `(uuuusa(ayay))`: uid, gid, mode, 0, link target, xattrs | framed header, then the body |
//! | dirmeta | `(uuua(ayay))`: uid, gid, mode, xattrs | its bytes |
//! | dirtree | `(a(say)a(sayay))`: files and their checksum; directories, their dirtree and dirmeta | its bytes |

mod directory;
mod file;
mod plan;
mod variant;

use crate::digest::Digest;

pub use directory::{dirmeta, dirtree};
pub use file::FileHeader;
pub use plan::{Directories, FileObject, Plan};

/// A metadata object: its bytes and the checksum that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataObject {
    /// What it is.
    pub kind: MetadataKind,
    /// What is stored.
    pub bytes: Box<[u8]>,
    /// SHA-256 of `bytes`.
    pub checksum: Digest,
}

impl MetadataObject {
    /// An object of these bytes.
    pub fn new(kind: MetadataKind, bytes: Vec<u8>) -> Self {
        let checksum = Digest::of(&bytes);
        Self {
            kind,
            bytes: bytes.into_boxed_slice(),
            checksum,
        }
    }
}

/// Which metadata object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataKind {
    /// Owner, mode and xattrs of a directory.
    DirMeta,
    /// What a directory holds.
    DirTree,
    /// A root, and what is said of it.
    Commit,
}

/// What cannot be said in an ostree object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A name in a directory is no UTF-8. Holds the escaped path.
    #[error("{0}: the name is not UTF-8, which ostree cannot store; rename it in the image")]
    NameNotUtf8(String),
    /// A name in a directory is empty, `.`, `..` or holds `/` or NUL. Holds the escaped path.
    #[error("{0}: not a file name")]
    InvalidName(String),
    /// The text of a symbolic link is no UTF-8. Holds it escaped.
    #[error("link target \"{0}\" is not UTF-8, which ostree cannot store")]
    TargetNotUtf8(String),
    /// The text of a symbolic link is empty or holds NUL. Holds it escaped.
    #[error("invalid link target \"{0}\"")]
    InvalidTarget(String),
    /// The name of an extended attribute is empty or holds NUL. Holds it escaped.
    #[error("invalid name of an extended attribute: \"{0}\"")]
    InvalidXattrName(String),
    /// An extended attribute has an empty value. Holds its name, escaped.
    #[error(
        "the extended attribute {0} is empty: libostree skips such attributes when it reads a bare \
         repo, so the object would be corrupt there"
    )]
    EmptyXattr(String),
}
