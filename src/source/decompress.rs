//! Archives that are compressed as a whole, and layers that docker-archives hold compressed.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use crate::compression::Compression;

/// The decompressed bytes of `reader`.
pub(super) fn decompress<'a>(
    reader: impl Read + Send + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::new(reader)?),
    })
}
