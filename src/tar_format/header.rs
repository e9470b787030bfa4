//! One tar header block: where its fields lie (POSIX ustar, GNU, V7) and how their numbers read.
//!
//! The `tar` crate's `Header` is not used because it refuses fields left blank, which other
//! readers take for 0, cuts base-256 numbers to their last eight bytes and does not show whether
//! the checksum matches.

use std::ops::Range;

use super::TarError;
use crate::path::escape;

/// Everything in a tar comes in blocks of this many bytes.
pub const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;
const USTAR_PREFIX: Range<usize> = 345..500;
const GNU_SPARSE_MAP: Range<usize> = 386..482;
const GNU_SPARSE_CONTINUES: usize = 482;
const GNU_REAL_SIZE: Range<usize> = 483..495;
const GNU_EXTENSION_MAP: Range<usize> = 0..504;
const GNU_EXTENSION_CONTINUES: usize = 504;
/// A segment of a GNU sparse map: two numbers of twelve bytes.
const GNU_SEGMENT: usize = 24;

/// Which fields stand behind the link name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// None.
    V7,
    /// Owner names, device numbers and a prefix of the name.
    Ustar,
    /// Owner names and device numbers; where ustar has a prefix there are times and sparse maps.
    Gnu,
}

/// A header block.
pub struct Header([u8; BLOCK]);

impl Header {
    /// Wraps a block that is not all zeros, after a look at its checksum. Some old writers summed
    /// signed bytes; both sums are good.
    pub fn parse(block: [u8; BLOCK]) -> Result<Self, TarError> {
        let header = Self(block);
        let expected = header
            .number("checksum", CHECKSUM)
            .map_err(|_| TarError::Checksum)?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (i, &byte) in header.0.iter().enumerate() {
            let byte = if CHECKSUM.contains(&i) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if expected == unsigned || expected == signed {
            Ok(header)
        } else {
            Err(TarError::Checksum)
        }
    }

    /// Which dialect the magic names.
    pub fn dialect(&self) -> Dialect {
        match &self.0[MAGIC] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar") => Dialect::Ustar,
            _ => Dialect::V7,
        }
    }

    /// The type flag.
    pub fn type_flag(&self) -> u8 {
        self.0[TYPE]
    }

    /// Appends the name, with ustar's prefix before it.
    pub fn name(&self, name: &mut Vec<u8>) {
        if self.dialect() == Dialect::Ustar {
            let prefix = self.text(USTAR_PREFIX);
            if !prefix.is_empty() {
                name.extend_from_slice(prefix);
                name.push(b'/');
            }
        }
        name.extend_from_slice(self.text(NAME));
    }

    /// What a link points to.
    pub fn link_name(&self) -> &[u8] {
        self.text(LINK_NAME)
    }

    /// Permission bits, without whatever stands above `0o7777`.
    pub fn mode(&self) -> Result<u32, TarError> {
        Ok((self.number("mode", MODE)? & 0o7777) as u32)
    }

    /// Owner.
    pub fn uid(&self) -> Result<u32, TarError> {
        self.unsigned("uid", UID)
    }

    /// Group.
    pub fn gid(&self) -> Result<u32, TarError> {
        self.unsigned("gid", GID)
    }

    /// Bytes that follow the header, if the type has any.
    pub fn size(&self) -> Result<u64, TarError> {
        self.unsigned("size", SIZE)
    }

    /// Modification time in seconds since the epoch.
    pub fn mtime(&self) -> Result<i64, TarError> {
        self.number("mtime", MTIME)
    }

    /// Major and minor number of a device.
    pub fn device(&self) -> Result<(u32, u32), TarError> {
        if self.dialect() == Dialect::V7 {
            return Ok((0, 0));
        }
        Ok((
            self.unsigned("device major number", DEVICE_MAJOR)?,
            self.unsigned("device minor number", DEVICE_MINOR)?,
        ))
    }

    /// Logical size of an old GNU sparse file.
    pub fn real_size(&self) -> Result<u64, TarError> {
        self.unsigned("real size", GNU_REAL_SIZE)
    }

    /// The part of an old GNU sparse map that stands in the header itself.
    pub fn sparse_map(&self) -> SparseMapPart<'_> {
        SparseMapPart {
            bytes: &self.0[GNU_SPARSE_MAP],
            continues: self.0[GNU_SPARSE_CONTINUES] != 0,
        }
    }

    /// The bytes of a text field up to its first NUL.
    fn text(&self, field: Range<usize>) -> &[u8] {
        let bytes = &self.0[field];
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        &bytes[..end]
    }

    fn number(&self, field: &'static str, at: Range<usize>) -> Result<i64, TarError> {
        number(&self.0[at.clone()]).ok_or_else(|| TarError::Number {
            field,
            value: escape(&self.0[at]),
        })
    }

    fn unsigned<T: TryFrom<i64>>(
        &self,
        field: &'static str,
        at: Range<usize>,
    ) -> Result<T, TarError> {
        let number = self.number(field, at)?;
        T::try_from(number).map_err(|_| TarError::Number {
            field,
            value: number.to_string(),
        })
    }
}

/// A piece of an old GNU sparse map: from the header or from an extension block behind it.
pub struct SparseMapPart<'a> {
    bytes: &'a [u8],
    /// Does an extension block follow?
    pub continues: bool,
}

impl<'a> SparseMapPart<'a> {
    /// The part that an extension block holds.
    pub fn extension(block: &'a [u8; BLOCK]) -> Self {
        Self {
            bytes: &block[GNU_EXTENSION_MAP],
            continues: block[GNU_EXTENSION_CONTINUES] != 0,
        }
    }

    /// Offset and length of the segments, up to the first unused one; `None` for those that are
    /// not numbers.
    pub fn segments(&self) -> impl Iterator<Item = Option<(u64, u64)>> {
        self.bytes
            .chunks_exact(GNU_SEGMENT)
            .take_while(|segment| segment[0] != 0)
            .map(|segment| {
                let (offset, length) = segment.split_at(GNU_SEGMENT / 2);
                Some((
                    u64::try_from(number(offset)?).ok()?,
                    u64::try_from(number(length)?).ok()?,
                ))
            })
    }
}

/// A numeric field: octal digits after blanks and NULs and up to the next one (no digit at all is
/// 0), or, if the first bit is set, a big-endian two's complement number in the other bits
/// (base-256, GNU and star).
fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // The marker bit takes the place of the sign; the bit below it is the sign.
        let first = i64::from((first << 1).cast_signed() >> 1);
        return rest.iter().try_fold(first, |number, &byte| {
            Some(number.checked_mul(256)? + i64::from(byte))
        });
    }
    let blank = |b: &&u8| matches!(b, b' ' | 0);
    let mut digits = field
        .iter()
        .skip_while(blank)
        .take_while(|byte| !blank(byte));
    digits.try_fold(0i64, |number, &digit| {
        let digit = char::from(digit).to_digit(8)?;
        number.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(fields: &[(Range<usize>, &[u8])]) -> Header {
        let mut block = [0; BLOCK];
        for (at, value) in fields {
            block[at.clone()][..value.len()].copy_from_slice(value);
        }
        Header(block)
    }

    #[test]
    fn numbers() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0 644\0\0", Some(0o644)),
            (b"644\0rest!", Some(0o644)),
            (b"77777777", Some(0o77777777)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\xff\xff\xff\xff", Some(0xffff_ffff)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                Some(-1),
            ),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"0000648\0", None),
            (b"-000001\0", None),
            (b"12x4567\0", None),
        ] {
            assert_eq!(number(field), want, "{}", escape(field));
        }
    }

    #[test]
    fn prefix_is_read_of_ustar_only() {
        for (magic, dialect, want) in [
            (&b"ustar\x0000"[..], Dialect::Ustar, "prefix/name"),
            (b"ustar\0\0\0", Dialect::Ustar, "prefix/name"),
            (b"ustar  \0", Dialect::Gnu, "name"),
            (b"", Dialect::V7, "name"),
        ] {
            let header = header(&[(NAME, b"name"), (MAGIC, magic), (USTAR_PREFIX, b"prefix")]);
            let mut name = Vec::new();
            header.name(&mut name);
            assert_eq!(name, want.as_bytes());
            assert_eq!(header.dialect(), dialect);
        }
    }

    #[test]
    fn names_may_fill_their_fields() {
        let header = header(&[
            (NAME, &[b'n'; 100]),
            (MODE, b"0000644"),
            (LINK_NAME, &[b'l'; 100]),
            (MAGIC, b"ustar\x0000"),
            (USTAR_PREFIX, &[b'p'; 155]),
        ]);
        let mut name = Vec::new();
        header.name(&mut name);
        assert_eq!(name.len(), 256);
        assert_eq!(header.link_name(), [b'l'; 100]);
    }

    #[test]
    fn both_checksums_are_good() {
        let named = header(&[(NAME, b"\xff\xff")]);
        let blanks = 8 * i64::from(b' ');
        for (sum, good) in [
            (blanks + 2 * 255, true),
            (blanks - 2, true),
            (blanks, false),
        ] {
            let mut block = named.0;
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(Header::parse(block).is_ok(), good, "{sum}");
        }
    }

    #[test]
    fn owners_must_fit() {
        let too_large = header(&[(UID, b"\x80\0\0\x01\0\0\0\0"), (GID, b"\xff\xff")]);
        let error = too_large.uid().unwrap_err().to_string();
        assert_eq!(error, "invalid uid \"4294967296\"");
        assert!(too_large.gid().is_err(), "negative");
        let mode = header(&[(MODE, b"0104755\0")]);
        assert_eq!(mode.mode().unwrap(), 0o4755);
    }
}
