//! Why a layer was refused.

use std::io;

use crate::compression::{Compression, UnsupportedCompression as Unsupported};
use crate::digest::Digest;
use crate::tar_format::TarError;

/// Why a layer was refused. [`read`](super::read) puts the layer's position and digest before it.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A media type that is not that of a layer.
    #[error("media type {0:?} is not one of a layer: expected tar, tar+gzip or tar+zstd")]
    UnsupportedMediaType(String),
    /// An encrypted layer.
    #[error("the layer is encrypted ({0}): decrypt the image first (skopeo copy --decryption-key)")]
    Encrypted(String),
    /// A compression that OCI does not know.
    #[error("the blob is {0}")]
    UnsupportedCompression(#[from] Unsupported),
    /// The source failed while the blob was read.
    #[error("reading the blob")]
    Read(#[source] io::Error),
    /// The blob is shorter or longer than its descriptor says.
    #[error(
        "the blob is {}: expected {expected} bytes, found {}{found}",
        if found < expected { "truncated" } else { "too long" },
        if found < expected { "" } else { "at least " }
    )]
    SizeMismatch {
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Bytes read. Reading stops one byte after the expected end.
        found: u64,
    },
    /// The blob is not the one that the descriptor names.
    #[error("the blob is corrupt: expected digest {expected}, found {found}")]
    DigestMismatch {
        /// Digest in the descriptor.
        expected: Digest,
        /// Digest of the blob.
        found: Digest,
    },
    /// The blob is the right one, but not what the image configuration says of its content.
    #[error("the layer's content is not the image's: expected diff_id {expected}, found {found}")]
    DiffIdMismatch {
        /// diff_id in the image configuration.
        expected: Digest,
        /// Digest of the decompressed blob.
        found: Digest,
    },
    /// The blob is the right one, but its compressed stream has no end.
    #[error("the {0} stream is truncated")]
    Truncated(Compression),
    /// The blob is the right one, but its compressed stream is damaged.
    #[error("the {compression} stream is damaged")]
    Damaged {
        /// How it is compressed.
        compression: Compression,
        /// What the decompressor says.
        source: io::Error,
    },
    /// The archive cannot be read.
    #[error("entry {entry} at offset {offset}")]
    Tar {
        /// Name of the entry, printable; `(unnamed)` where its header could not be read.
        entry: String,
        /// Offset of its header in the decompressed stream, in bytes.
        offset: u64,
        /// Why.
        source: TarError,
    },
}

impl LayerError {
    /// Did the place where contents go fail, rather than the layer?
    pub(super) fn is_store(&self) -> bool {
        matches!(
            self,
            Self::Tar {
                source: TarError::Store(_),
                ..
            }
        )
    }
}
