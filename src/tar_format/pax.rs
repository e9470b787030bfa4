//! PAX extended headers (POSIX.1-2001 pax, "Extended Header"): records `LENGTH KEY=VALUE\n` that
//! override fields of the header behind them. A value is as long as the record says, whatever
//! bytes it holds.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Limits;
use super::TarError;
use super::sparse::{PaxSparse, decimal};
use crate::metadata::Xattrs;
use crate::path::escape;

/// What the extended header of an entry overrides.
#[derive(Debug, Default)]
pub struct Overrides<'a> {
    /// `path`.
    pub path: Option<&'a [u8]>,
    /// `linkpath`.
    pub link_path: Option<&'a [u8]>,
    /// `size`.
    pub size: Option<u64>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `mtime`, rounded down to seconds.
    pub mtime: Option<i64>,
    /// `GNU.sparse.*`.
    pub sparse: PaxSparse<'a>,
    /// `SCHILY.xattr.*`, and `LIBARCHIVE.xattr.*` where there is no other.
    pub xattrs: Xattrs,
    /// Keys of records of metadata that is not taken over, and why.
    pub lost: BTreeMap<&'a [u8], &'static str>,
    /// Bytes of the records that `xattrs` come from.
    pub xattr_bytes: usize,
}

const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// libarchive leaves out the padding, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `XATTR_NAME_MAX` of Linux.
const XATTR_NAME_MAX: usize = 255;

impl<'a> Overrides<'a> {
    /// Reads the records of an extended header. Of a key that comes twice the last counts; an
    /// empty value leaves the header's own; keys that mean nothing here (`atime`, `uname` …)
    /// are passed over.
    pub fn parse(header: &'a [u8], limits: &Limits) -> Result<Self, TarError> {
        let mut overrides = Self::default();
        let mut encoded = Vec::new();
        for record in Records::new(header) {
            let (offset, key, value) = record?;
            let bad = |reason| TarError::Pax { offset, reason };
            if key.starts_with(SCHILY) || key.starts_with(LIBARCHIVE) {
                overrides.xattr_bytes += key.len() + value.len();
                if overrides.xattr_bytes > limits.xattrs {
                    return Err(TarError::Limit {
                        what: "bytes of extended attributes",
                        limit: limits.xattrs as u64,
                    });
                }
            }
            if let Some(name) = key.strip_prefix(SCHILY) {
                let name = xattr_name(name.into()).map_err(bad)?;
                overrides.xattrs.insert(name, value.into());
            } else if let Some(name) = key.strip_prefix(LIBARCHIVE) {
                let name = xattr_name(url_decode(name)).map_err(bad)?;
                let value = BASE64
                    .decode(value)
                    .map_err(|_| bad("an extended attribute that is not base64"))?;
                encoded.push((name, value.into_boxed_slice()));
            } else if let Some(key) = key.strip_prefix(SPARSE) {
                overrides.sparse.record(key, value)?;
            } else if !value.is_empty() {
                overrides.field(key, value)?;
            }
        }
        for (name, value) in encoded {
            overrides.xattrs.entry(name).or_insert(value);
        }
        Ok(overrides)
    }

    fn field(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = Some(value),
            b"linkpath" => self.link_path = Some(value),
            b"size" => self.size = Some(number("size", value)?),
            b"uid" => self.uid = Some(number("uid", value)?),
            b"gid" => self.gid = Some(number("gid", value)?),
            b"mtime" => self.mtime = Some(seconds(value).ok_or_else(|| wrong("mtime", value))?),
            // GNU tar.
            b"RHT.security.selinux" => {
                self.lost.insert(key, "label of the build host");
            }
            // star, GNU tar and libarchive.
            b"SCHILY.acl.access" | b"SCHILY.acl.default" | b"SCHILY.acl.ace" => {
                self.lost.insert(key, "ACLs in words are not converted");
            }
            _ => {}
        }
        Ok(())
    }
}

/// The records of an extended header: offset, key and value.
struct Records<'a> {
    header: &'a [u8],
    offset: usize,
}

impl<'a> Records<'a> {
    fn new(header: &'a [u8]) -> Self {
        Self { header, offset: 0 }
    }

    /// Takes a record off `rest`; says how long it was.
    fn split(rest: &'a [u8]) -> Result<(usize, &'a [u8], &'a [u8]), &'static str> {
        let space = rest
            .iter()
            .position(|&b| b == b' ')
            .ok_or("no space after the length")?;
        let length = decimal(&rest[..space])
            .ok()
            .and_then(|length| usize::try_from(length).ok())
            .ok_or("the length is not a number")?;
        let record = rest
            .get(space + 1..length)
            .ok_or("the length is not that of a record")?;
        let record = record
            .strip_suffix(b"\n")
            .ok_or("no newline where the record ends")?;
        let equals = record
            .iter()
            .position(|&b| b == b'=')
            .filter(|&equals| equals > 0)
            .ok_or("no key")?;
        Ok((length, &record[..equals], &record[equals + 1..]))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(usize, &'a [u8], &'a [u8]), TarError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = &self.header[offset..];
        if rest.is_empty() {
            return None;
        }
        Some(match Self::split(rest) {
            Ok((length, key, value)) => {
                self.offset += length;
                Ok((offset, key, value))
            }
            Err(reason) => {
                self.offset = self.header.len();
                Err(TarError::Pax { offset, reason })
            }
        })
    }
}

fn wrong(field: &'static str, value: &[u8]) -> TarError {
    TarError::Number {
        field,
        value: escape(value),
    }
}

fn number<T: TryFrom<u64>>(field: &'static str, value: &[u8]) -> Result<T, TarError> {
    decimal(value)
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| wrong(field, value))
}

/// A time: seconds with an optional sign and fraction, rounded down.
fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    if whole.starts_with('-') && fraction.bytes().any(|b| b != b'0') {
        return seconds.checked_sub(1);
    }
    Some(seconds)
}

fn xattr_name(name: Box<[u8]>) -> Result<Box<[u8]>, &'static str> {
    match name.len() {
        1..=XATTR_NAME_MAX if !name.contains(&0) => Ok(name),
        _ => Err("not the name of an extended attribute"),
    }
}

/// Undoes `%XX`; what is no such escape stays as it is, as libarchive has it.
fn url_decode(text: &[u8]) -> Box<[u8]> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let mut code = [0];
        if byte == b'%'
            && let Some((digits, behind)) = rest.split_first_chunk::<2>()
            && hex::decode_to_slice(digits, &mut code).is_ok()
        {
            decoded.push(code[0]);
            rest = behind;
        } else {
            decoded.push(byte);
        }
    }
    decoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut header = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            header.extend_from_slice(format!("{length} {key}=").as_bytes());
            header.extend_from_slice(value);
            header.push(b'\n');
        }
        header
    }

    fn parse(header: &[u8]) -> Result<Overrides<'_>, TarError> {
        Overrides::parse(header, &Limits::default())
    }

    fn xattr<'a>(overrides: &'a Overrides<'_>, name: &str) -> Option<&'a [u8]> {
        overrides.xattrs.get(name.as_bytes()).map(|value| &**value)
    }

    #[test]
    fn values_are_as_long_as_they_say() {
        let value = b"\x01\0\0\x02\n=\n12 size=1\n\0";
        let bytes = header(&[
            ("path", b"first"),
            ("SCHILY.xattr.security.capability", value),
            ("SCHILY.xattr.user.empty", b""),
            ("size", b"8589934592"),
            ("uid", b"4294967294"),
            ("gid", b"2097152"),
            ("path", b"a\nb=c"),
            ("linkpath", b"\xff"),
        ]);
        let overrides = parse(&bytes).unwrap();
        assert_eq!(xattr(&overrides, "security.capability"), Some(&value[..]));
        assert_eq!(xattr(&overrides, "user.empty"), Some(&b""[..]));
        assert_eq!(overrides.size, Some(1 << 33));
        assert_eq!(overrides.uid, Some(u32::MAX - 1));
        assert_eq!(overrides.gid, Some(1 << 21));
        assert_eq!(overrides.path, Some(&b"a\nb=c"[..]));
        assert_eq!(overrides.link_path, Some(&b"\xff"[..]));
    }

    #[test]
    fn schily_wins_over_libarchive() {
        for order in [[0, 1], [1, 0]] {
            let both: [(&str, &[u8]); 2] = [
                ("SCHILY.xattr.user.a", b"schily"),
                ("LIBARCHIVE.xattr.user.a", b"bGliYXJjaGl2ZQ"),
            ];
            let bytes = header(&order.map(|i| both[i]));
            let overrides = parse(&bytes).unwrap();
            assert_eq!(xattr(&overrides, "user.a"), Some(&b"schily"[..]));
        }
        let bytes = header(&[
            ("LIBARCHIVE.xattr.user.padded", b"AP8="),
            ("LIBARCHIVE.xattr.user.bare", b"AP8"),
            ("LIBARCHIVE.xattr.user.a%3Db%25%zz%", b""),
        ]);
        let overrides = parse(&bytes).unwrap();
        assert_eq!(xattr(&overrides, "user.padded"), Some(&b"\0\xff"[..]));
        assert_eq!(xattr(&overrides, "user.bare"), Some(&b"\0\xff"[..]));
        assert_eq!(xattr(&overrides, "user.a=b%%zz%"), Some(&b""[..]));
    }

    #[test]
    fn other_keys_mean_nothing() {
        let bytes = header(&[
            ("SCHILY.acl.default", b""),
            ("atime", b"x"),
            ("path", b""),
            ("size", b""),
            ("hdrcharset", b"BINARY"),
        ]);
        let overrides = parse(&bytes).unwrap();
        assert!(overrides.xattrs.is_empty() && overrides.lost.is_empty());
        assert_eq!((overrides.path, overrides.size), (None, None));
    }

    #[test]
    fn metadata_in_other_words_is_told() {
        let bytes = header(&[
            ("SCHILY.acl.access", b"user::rw-"),
            ("SCHILY.acl.default", b"user::rwx"),
            ("RHT.security.selinux", b"system_u:object_r:etc_t:s0"),
            ("SCHILY.acl.access", b"user::rw-"),
        ]);
        let overrides = parse(&bytes).unwrap();
        assert!(overrides.xattrs.is_empty());
        let lost: Vec<_> = overrides.lost.keys().map(|key| escape(key)).collect();
        assert_eq!(
            lost,
            [
                "RHT.security.selinux",
                "SCHILY.acl.access",
                "SCHILY.acl.default"
            ]
        );
    }

    #[test]
    fn times_round_down() {
        for (text, want) in [
            ("1700000000.999999999", Some(1_700_000_000)),
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("-1.000", Some(-1)),
            ("-1.5", Some(-2)),
            ("-0.5", Some(-1)),
            ("1.x", None),
            (".5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn refused_headers() {
        for bytes in [
            &b"path=x\n"[..],
            b"10 path=x",
            b"10 path=xy",
            b"99 path=x\n",
            b"3 path=x\n",
            b"1 path=x\n",
            b"-9 path=x\n",
            b"+9 path=x\n",
            b"18446744073709551616 path=x\n",
            b"9 pathxx\n",
            b"5 =x\n",
            b"9 path=x\n\0\0\0",
            b"10 uid=-1\n",
            b"18 uid=4294967296\n",
            b"10 size=x\n",
            b"10 size=+\n",
            b"18 SCHILY.xattr.=\n",
            b"27 LIBARCHIVE.xattr.a%00=AA\n",
            b"25 LIBARCHIVE.xattr.a=A*\n",
        ] {
            assert!(parse(bytes).is_err(), "{}", escape(bytes));
        }
        let long = header(&[("SCHILY.xattr.user.a", &[0; 65_536])]);
        assert!(matches!(
            parse(&long),
            Err(TarError::Limit { limit: 65_536, .. })
        ));
    }
}
