//! Why a piece of an archive was refused.

use std::io;

use crate::path::PathError;

/// Why an entry of an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The decompressed stream could not be read.
    #[error("reading the archive")]
    Read(#[source] io::Error),
    /// The content of a file could not be stored.
    #[error("storing the content of a file")]
    Store(#[source] io::Error),
    /// The archive ends inside an entry.
    #[error("the archive is truncated")]
    Truncated,
    /// 512 bytes that should be a header are none.
    #[error("not a tar header: its checksum does not match")]
    Checksum,
    /// A numeric field holds something else, or a number that cannot be.
    #[error("invalid {field} {value:?}")]
    Number {
        /// Which field.
        field: &'static str,
        /// What it holds, printable.
        value: String,
    },
    /// A damaged PAX record.
    #[error("invalid PAX record at byte {offset} of the extended header: {reason}")]
    Pax {
        /// Where it starts in the extended header.
        offset: usize,
        /// Why.
        reason: &'static str,
    },
    /// A map of a sparse file that makes no sense.
    #[error("invalid sparse file: {0}")]
    Sparse(&'static str),
    /// A name that cannot be a path in an image.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A hardlink whose target cannot be a path in an image.
    #[error("hardlink target")]
    HardlinkTarget(#[source] PathError),
    /// No name, or a link without a target.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A symbolic link that no Linux file system could hold.
    #[error("the target of the symbolic link {0}")]
    SymlinkTarget(&'static str),
    /// The image's root is something else than a directory.
    #[error("the root of the image is not a directory")]
    Root,
    /// More than [`Limits`](super::Limits) allow.
    #[error("{what}: more than {limit}")]
    Limit {
        /// What there is too much of, with its unit.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
}
