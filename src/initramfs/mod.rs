//! What an initramfs holds: concatenated cpio archives, each plain or compressed, with zeros
//! between them, as Linux unpacks them (`init/initramfs.c`, and `buffer-format.rst` in its
//! documentation).
//!
//! It is read once from its start to its end, in bounded memory, whatever its bytes claim.

mod cpio;
mod input;
mod lz4;
mod ostree;
#[cfg(test)]
mod tests;

use std::io::{self, Read};

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;
use lz4_flex::frame::FrameDecoder;

use crate::path::{ImagePath, PathError};
use input::{Input, Limited};

pub use ostree::{CONFIGURATIONS, Contents, Settings, inspect};

/// One entry of an initramfs. A later one of the same path takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: ImagePath,
    /// File type and permissions, as `st_mode` has them.
    pub mode: u32,
    /// Size of its content in bytes; for a symbolic link of its target. Of a file with several
    /// names the last may have it alone.
    pub size: u32,
}

/// Why an initramfs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The bytes cannot be had or do not decompress.
    #[error("{0}")]
    Read(io::Error),
    /// Something is missing.
    #[error("it ends in the middle of something")]
    Truncated,
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// A compression that Linux knows and we do not.
    #[error("it is compressed with {0}, which is not read here")]
    Unsupported(&'static str),
    /// Neither a cpio archive nor anything known that may hold one.
    #[error("byte {0} begins neither a cpio archive nor anything that may hold one")]
    Unknown(u64),
    /// The header of an entry holds no numbers.
    #[error("byte {0} begins no header of a cpio entry")]
    Header(u64),
    /// The path of an entry.
    #[error("{0}")]
    Path(#[from] PathError),
}

impl From<io::Error> for InitramfsError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Read(error),
        }
    }
}

/// What is called for each entry, with its content.
pub type Visit<'a> = dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()> + 'a;

/// How many bytes an initramfs may have, as it lies there and unpacked: it must fit into memory.
const LARGEST: u64 = 8 << 30;

/// How much memory an xz archive may ask for.
const XZ_MEMORY: u64 = 256 << 20;

/// Calls `visit` for each entry of the initramfs that `source` reads, in order.
///
/// # Errors
/// It is damaged, of a format that is not known, too large for any machine, or `visit` failed.
pub fn read(source: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), InitramfsError> {
    let (mut left, mut left_unpacked) = (LARGEST, LARGEST);
    let mut input = Input::new(Limited::new(source, &mut left));
    let mut empty = true;
    while input.skip_zeros()? {
        empty = false;
        let offset = input.offset();
        let mut unpack = |archive: &mut dyn Read| {
            let mut archive = Input::new(Limited::new(archive, &mut left_unpacked));
            while archive.skip_zeros()? {
                cpio::read(&mut archive, visit)?;
            }
            Ok::<_, InitramfsError>(())
        };
        match Format::sniff(input.peek(MAGIC)?) {
            Some(Format::Cpio) => cpio::read(&mut input, visit)?,
            Some(Format::Gzip) => unpack(&mut GzDecoder::new(&mut input))?,
            Some(Format::Xz) => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, 0).map_err(io::Error::from)?;
                unpack(&mut XzDecoder::new_stream(&mut input, stream))?;
            }
            Some(Format::Zstd) => {
                unpack(&mut zstd::Decoder::with_buffer(&mut input)?.single_frame())?;
            }
            Some(Format::Lz4) => unpack(&mut FrameDecoder::new(&mut input))?,
            Some(Format::Lz4Legacy) => unpack(&mut lz4::LegacyDecoder::new(&mut input)?)?,
            Some(Format::Unsupported(name)) => return Err(InitramfsError::Unsupported(name)),
            None => return Err(InitramfsError::Unknown(offset)),
        }
    }
    if empty {
        return Err(InitramfsError::Empty);
    }
    Ok(())
}

/// What an archive of an initramfs is, told from its first bytes (`lib/decompress.c` of Linux).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Cpio,
    Gzip,
    Xz,
    Zstd,
    Lz4,
    Lz4Legacy,
    Unsupported(&'static str),
}

/// How many bytes [`Format::sniff`] wants to see.
const MAGIC: usize = 6;

impl Format {
    fn sniff(start: &[u8]) -> Option<Self> {
        const FORMATS: [(&[u8], Format); 11] = [
            (b"070701", Format::Cpio),
            (b"070702", Format::Cpio),
            (b"07070", Format::Unsupported("an old format of cpio")),
            (b"\x1f\x8b", Format::Gzip),
            (b"\xfd7zXZ\0", Format::Xz),
            (b"\x28\xb5\x2f\xfd", Format::Zstd),
            (b"\x04\x22\x4d\x18", Format::Lz4),
            (&lz4::LEGACY_MAGIC, Format::Lz4Legacy),
            (b"BZh", Format::Unsupported("bzip2")),
            (b"\x5d\0\0", Format::Unsupported("lzma")),
            (b"\x89LZO", Format::Unsupported("lzo")),
        ];
        let known = FORMATS.iter().find(|(magic, _)| start.starts_with(magic));
        known.map(|&(_, format)| format)
    }
}
