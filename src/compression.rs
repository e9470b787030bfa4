//! How a stream is compressed, told from its first bytes.

use std::fmt;

/// A compression that OCI knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// Zstandard frames and skippable frames (RFC 8878), as zstd:chunked has them.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// A compression that is known and not read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("compressed with {0}: recompress it with gzip or zstd")]
pub struct UnsupportedCompression(pub &'static str);

/// How many bytes [`Compression::sniff`] wants to see.
pub const MAGIC: usize = 10;

/// What every gzip member starts with.
pub const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame starts with 0x184D2A50 to 0x184D2A5F, little-endian.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const XZ: &[u8] = b"\xfd7zXZ\0";
/// The level is the fourth byte; what follows marks the first block, or the end if there is none.
/// All of it is checked because a plain tar may well start with a file called `BZh`.
const BZIP2: &[u8] = b"BZh";
const BZIP2_BLOCK: [&[u8]; 2] = [b"1AY&SY", b"\x17rE8P\x90"];

impl Compression {
    /// Tells the compression from the first bytes of a blob. What looks like nothing known is
    /// taken for a plain tar, whose own checksums judge it.
    pub fn sniff(start: &[u8]) -> Result<Self, UnsupportedCompression> {
        let skippable = start.first().is_some_and(|byte| byte & 0xf0 == 0x50)
            && start[1..].starts_with(ZSTD_SKIPPABLE);
        let bzip2 = start.starts_with(BZIP2)
            && start
                .get(4..)
                .is_some_and(|rest| BZIP2_BLOCK.iter().any(|magic| rest.starts_with(magic)));
        if start.starts_with(GZIP) {
            Ok(Self::Gzip)
        } else if start.starts_with(ZSTD) || skippable {
            Ok(Self::Zstd)
        } else if bzip2 {
            Err(UnsupportedCompression("bzip2"))
        } else if start.starts_with(XZ) {
            Err(UnsupportedCompression("xz"))
        } else {
            Ok(Self::None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_by_magic() {
        for (start, want) in [
            (&b"\x1f\x8b\x08\0"[..], Compression::Gzip),
            (b"\x28\xb5\x2f\xfd\0", Compression::Zstd),
            (b"\x5f\x2a\x4d\x18\0", Compression::Zstd),
            (b"\x4f\x2a\x4d\x18\0", Compression::None),
            (b"etc/passwd", Compression::None),
            (b"", Compression::None),
        ] {
            assert_eq!(Compression::sniff(start), Ok(want), "{start:?}");
        }
    }

    #[test]
    fn refuses_what_oci_does_not_know() {
        for (blob, want) in [
            (&b"BZh91AY&SY"[..], "bzip2"),
            (b"BZh9\x17rE8P\x90", "bzip2"),
            (b"\xfd7zXZ\0", "xz"),
        ] {
            assert_eq!(Compression::sniff(blob), Err(UnsupportedCompression(want)));
        }
        let named_like_bzip2 = b"BZh9-notes";
        let plain = Compression::sniff(named_like_bzip2).unwrap();
        assert_eq!(plain, Compression::None);
    }
}
