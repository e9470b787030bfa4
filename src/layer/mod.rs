//! From the bytes of a layer blob to its entries.
//!
//! A layer is read once: the blob is digested, decompressed, digested again (the diff_id) and
//! parsed as tar in one pass, bodies going straight to a [`BodySink`](crate::bodies::BodySink).
//! Nothing leaves this module as good before size, digest and diff_id matched.

use crate::bodies::BodyId;
use crate::metadata::{Metadata, Special};
use crate::path::ImagePath;

/// One entry of a layer, as OCI sees it: nothing merged, nothing repaired, whiteouts under their
/// literal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: ImagePath,
    /// What.
    pub kind: EntryKind,
    /// Mode, owner, xattrs and time. Meaningless for hardlinks, which share their target's.
    pub metadata: Metadata,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its content.
        body: BodyId,
        /// Size of the content in bytes.
        size: u64,
    },
    /// A symbolic link and the text it holds: any bytes without NUL.
    Symlink(Box<[u8]>),
    /// Another name of the file, link or special file at this path.
    Hardlink(ImagePath),
    /// A device, FIFO or socket.
    Special(Special),
}
