//! Compression around archives, told by its first bytes.

use std::io::{self, Read};

use anyhow::{Result, bail};
use flate2::read::MultiGzDecoder;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames.
    Zstd,
}

/// The first bytes that tell one compression from the other.
pub(super) const MAGIC_LENGTH: usize = 6;

/// How a stream that starts with `head` is compressed; `None` if it is not.
///
/// # Errors
///
/// Compressions that tools like to use for archives but that are not read here.
pub(super) fn sniff(head: &[u8]) -> Result<Option<Compression>> {
    Ok(match head {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => bail!("compressed with bzip2; decompress it first: bunzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            bail!("compressed with xz; decompress it first: unxz")
        }
        _ => None,
    })
}

/// Decompresses `reader`.
pub(super) fn decompress<'a>(
    reader: impl Read + Send + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::new(reader)?),
    })
}
