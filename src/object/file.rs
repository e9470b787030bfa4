//! Content objects: a header and, for regular files, a body.

use std::sync::Arc;

use super::{ObjectError, variant};
use crate::digest::Hasher;
use crate::metadata::Metadata;
use crate::path::escape;

const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The header of a content object, framed as libostree's streams and checksums want it: its length
/// as a big-endian `u32`, four NULs, then `(uuuusa(ayay))`. A symbolic link is all header.
///
/// Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileHeader(Arc<[u8]>);

impl FileHeader {
    /// The header of a regular file, its SELinux context being `label`. Where that is `None`, a
    /// context may be among the xattrs, its value with the trailing NUL that libselinux writes.
    ///
    /// # Errors
    /// [`ObjectError::InvalidXattrName`], [`ObjectError::EmptyXattr`]
    pub fn regular(metadata: &Metadata, label: Option<&str>) -> Result<Self, ObjectError> {
        Self::new(metadata, label, S_IFREG | metadata.mode, "")
    }

    /// The header of a symbolic link, whose mode is always `0777`.
    ///
    /// # Errors
    /// [`ObjectError::InvalidTarget`], [`ObjectError::TargetNotUtf8`], and those of
    /// [`FileHeader::regular`].
    pub fn symlink(
        metadata: &Metadata,
        label: Option<&str>,
        target: &[u8],
    ) -> Result<Self, ObjectError> {
        if target.is_empty() || target.contains(&0) {
            return Err(ObjectError::InvalidTarget(escape(target)));
        }
        let target =
            std::str::from_utf8(target).map_err(|_| ObjectError::TargetNotUtf8(escape(target)))?;
        Self::new(metadata, label, S_IFLNK | 0o777, target)
    }

    fn new(
        metadata: &Metadata,
        label: Option<&str>,
        mode: u32,
        target: &str,
    ) -> Result<Self, ObjectError> {
        const FRAME: usize = 8;
        // Most headers are a label beside the numbers.
        let mut out = Vec::with_capacity(128);
        out.resize(FRAME, 0);
        let device = 0;
        for number in [metadata.uid, metadata.gid, mode, device] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        variant::string(&mut out, target.as_bytes());
        let target_end = out.len();
        variant::xattrs(&mut out, &metadata.xattrs, label)?;
        variant::end_container(&mut out, FRAME, [target_end].into_iter());
        let length = u32::try_from(out.len() - FRAME).expect("xattrs of less than 4 GiB");
        out[..4].copy_from_slice(&length.to_be_bytes());
        Ok(Self(out.into()))
    }

    /// The framed header.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A hasher that took in the header; with the body it gives the checksum of the object.
    pub fn hasher(&self) -> Hasher {
        let mut hasher = Hasher::default();
        hasher.update(&self.0);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_header_cannot_hold() {
        let metadata = Metadata::default();
        for (target, error) in [
            (&b""[..], ObjectError::InvalidTarget(String::new())),
            (b"a\0b", ObjectError::InvalidTarget("a\\u{0}b".into())),
            (b"\xff", ObjectError::TargetNotUtf8("\\xff".into())),
        ] {
            assert_eq!(FileHeader::symlink(&metadata, None, target), Err(error));
        }
        for (name, value, error) in [
            ("", "value", ObjectError::InvalidXattrName(String::new())),
            (
                "a\0b",
                "value",
                ObjectError::InvalidXattrName("a\\u{0}b".into()),
            ),
            ("user.a", "", ObjectError::EmptyXattr("user.a".into())),
        ] {
            let metadata = Metadata {
                xattrs: [(name.as_bytes().into(), value.as_bytes().into())].into(),
                ..Metadata::default()
            };
            assert_eq!(FileHeader::regular(&metadata, None), Err(error));
        }
    }
}
