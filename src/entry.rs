//! One entry of a layer or of an unpacked root, before anything is merged.

use crate::bodies::BodyId;
use crate::metadata::{Metadata, Special};
use crate::path::ImagePath;

/// One entry, as OCI or the file system sees it: nothing merged, nothing repaired, whiteouts under
/// their literal names.
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
