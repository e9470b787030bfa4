//! RPM headers as a package database holds them: two lengths, an index of tags, and their data.
//!
//! The bytes come from an image and are not to be trusted: nothing is read outside of them, and no
//! number in them decides how much memory is taken.

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It ends before its index or data do.
    #[error("the header ends too early")]
    Truncated,
    /// A tag's data lies outside of the header's, or is none of its type.
    #[error("the data of tag {0} is not as its index says")]
    BadTag(u32),
}

/// Tags, by their names in rpmtag.h.
pub mod tag {
    #![allow(missing_docs, reason = "rpmtag.h says what they are")]

    pub const NAME: u32 = 1000;
    pub const FILESTATES: u32 = 1029;
    pub const FILEMODES: u32 = 1030;
    pub const FILEDIGESTS: u32 = 1035;
    pub const FILEFLAGS: u32 = 1037;
    pub const FILEUSERNAME: u32 = 1039;
    pub const FILEGROUPNAME: u32 = 1040;
    pub const FILEVERIFYFLAGS: u32 = 1045;
    pub const DIRINDEXES: u32 = 1116;
    pub const BASENAMES: u32 = 1117;
    pub const DIRNAMES: u32 = 1118;
    pub const FILECAPS: u32 = 5010;
    pub const FILEDIGESTALGO: u32 = 5011;
}

/// How the data of a tag is written (rpmtypes in rpmtag.h).
mod kind {
    pub const CHAR: u32 = 1;
    pub const INT8: u32 = 2;
    pub const INT16: u32 = 3;
    pub const INT32: u32 = 4;
    pub const STRING: u32 = 6;
    pub const STRING_ARRAY: u32 = 8;
    pub const I18N_STRING: u32 = 9;
}

/// One line of the index: four numbers of four bytes, the highest first.
const INDEX_ENTRY: usize = 16;

/// A header.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    kind: u32,
    offset: usize,
    count: usize,
}

impl<'a> Header<'a> {
    /// Splits a header into its index and its data.
    ///
    /// # Errors
    /// It is too short for them. What tags hold is checked when they are asked for.
    pub fn parse(blob: &'a [u8]) -> Result<Self, HeaderError> {
        let (lengths, rest) = blob
            .split_first_chunk::<8>()
            .ok_or(HeaderError::Truncated)?;
        let [index, data] = [number(&lengths[..4]), number(&lengths[4..])];
        let index = index
            .checked_mul(INDEX_ENTRY)
            .ok_or(HeaderError::Truncated)?;
        let (index, rest) = rest.split_at_checked(index).ok_or(HeaderError::Truncated)?;
        let data = rest.get(..data).ok_or(HeaderError::Truncated)?;
        Ok(Self { index, data })
    }

    /// The strings of a tag; `None`: it is not there or not of strings.
    pub fn strings(&self, tag: u32) -> Result<Option<Vec<&'a [u8]>>, HeaderError> {
        const KINDS: &[u32] = &[kind::STRING, kind::STRING_ARRAY, kind::I18N_STRING];
        let Some(entry) = self.find(tag).filter(|entry| KINDS.contains(&entry.kind)) else {
            return Ok(None);
        };
        let bad = HeaderError::BadTag(tag);
        let mut rest = self.data.get(entry.offset..).ok_or(bad)?;
        let mut strings = Vec::new();
        for _ in 0..entry.count {
            let end = rest.iter().position(|&b| b == 0).ok_or(bad)?;
            strings.push(&rest[..end]);
            rest = &rest[end + 1..];
        }
        Ok(Some(strings))
    }

    /// The numbers of a tag, whatever their width; `None`: it is not there or not of numbers.
    pub fn numbers(&self, tag: u32) -> Result<Option<Vec<u32>>, HeaderError> {
        let Some(entry) = self.find(tag) else {
            return Ok(None);
        };
        let width = match entry.kind {
            kind::CHAR | kind::INT8 => 1,
            kind::INT16 => 2,
            kind::INT32 => 4,
            _ => return Ok(None),
        };
        let length = entry.count.checked_mul(width);
        let data = self.data.get(entry.offset..);
        let data = data
            .zip(length)
            .and_then(|(data, length)| data.get(..length));
        let data = data.ok_or(HeaderError::BadTag(tag))?;
        let fold = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | u32::from(byte));
        Ok(Some(data.chunks_exact(width).map(fold).collect()))
    }

    /// The last of a tag counts: what was added to a package when it was installed stands behind
    /// what it was built with.
    fn find(&self, tag: u32) -> Option<Entry> {
        let entries = self.index.chunks_exact(INDEX_ENTRY).map(|bytes| Entry {
            tag: number(&bytes[..4]) as u32,
            kind: number(&bytes[4..8]) as u32,
            offset: number(&bytes[8..12]),
            count: number(&bytes[12..]),
        });
        entries.rev().find(|entry| entry.tag == tag)
    }
}

/// Four bytes as a number.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes a header, tag by tag.
    #[derive(Debug, Default)]
    pub struct Writer {
        index: Vec<u8>,
        data: Vec<u8>,
        tags: u32,
    }

    impl Writer {
        pub fn strings(self, tag: u32, strings: &[&str]) -> Self {
            let data: Vec<u8> = strings
                .iter()
                .flat_map(|s| [s.as_bytes(), b"\0"].concat())
                .collect();
            self.tag(tag, kind::STRING_ARRAY, strings.len(), &data)
        }

        pub fn shorts(self, tag: u32, numbers: &[u16]) -> Self {
            let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
            self.tag(tag, kind::INT16, numbers.len(), &data)
        }

        pub fn words(self, tag: u32, numbers: &[u32]) -> Self {
            let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
            self.tag(tag, kind::INT32, numbers.len(), &data)
        }

        pub fn bytes(self, tag: u32, bytes: &[u8]) -> Self {
            self.tag(tag, kind::CHAR, bytes.len(), bytes)
        }

        pub fn tag(mut self, tag: u32, kind: u32, count: usize, data: &[u8]) -> Self {
            for word in [tag, kind, self.data.len() as u32, count as u32] {
                self.index.extend(word.to_be_bytes());
            }
            self.data.extend(data);
            self.tags += 1;
            self
        }

        pub fn finish(self) -> Vec<u8> {
            let data = self.data.len() as u32;
            let lengths = [self.tags.to_be_bytes(), data.to_be_bytes()].concat();
            [lengths, self.index, self.data].concat()
        }
    }

    #[test]
    fn tags_are_found() {
        let blob = Writer::default()
            .strings(tag::NAME, &["old"])
            .strings(tag::BASENAMES, &["a", "", "c"])
            .shorts(tag::FILEMODES, &[0o100755, 0o40750])
            .words(tag::FILEFLAGS, &[1, u32::MAX])
            .bytes(tag::FILESTATES, &[0, 2])
            .strings(tag::NAME, &["new"])
            .finish();
        let header = Header::parse(&blob).unwrap();
        let strings = |tag| header.strings(tag).unwrap();
        let numbers = |tag| header.numbers(tag).unwrap();
        assert_eq!(strings(tag::NAME), Some(vec![&b"new"[..]]));
        assert_eq!(strings(tag::BASENAMES), Some(vec![&b"a"[..], b"", b"c"]));
        assert_eq!(numbers(tag::FILEMODES), Some(vec![0o100755, 0o40750]));
        assert_eq!(numbers(tag::FILEFLAGS), Some(vec![1, u32::MAX]));
        assert_eq!(numbers(tag::FILESTATES), Some(vec![0, 2]));
        assert_eq!(numbers(tag::NAME), None, "of another type");
        assert_eq!(strings(tag::FILEMODES), None, "of another type");
        assert_eq!(strings(tag::FILECAPS), None);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let huge = usize::from(u16::MAX);
        for (kind, count, data) in [
            (kind::STRING_ARRAY, 2, &b"a\0b"[..]),
            (kind::STRING, 1, b"endless"),
            (kind::INT32, 2, &[0; 7]),
            (kind::INT16, huge, &[0; 7]),
        ] {
            let blob = Writer::default().tag(7, kind, count, data).finish();
            let header = Header::parse(&blob).unwrap();
            let found = (header.strings(7), header.numbers(7));
            let bad = HeaderError::BadTag(7);
            assert!(
                matches!(found, (Err(e), Ok(None)) | (Ok(None), Err(e)) if e == bad),
                "{kind}"
            );
        }
        let blob = Writer::default().strings(7, &["x"]).finish();
        for length in 0..blob.len() {
            let error = Header::parse(&blob[..length]).unwrap_err();
            assert_eq!(error, HeaderError::Truncated, "{length} bytes");
        }
        assert!(Header::parse(&[0xff; 64]).is_err());
    }

    /// Reads everything.
    fn read(blob: &[u8]) {
        if let Ok(header) = Header::parse(blob) {
            for tag in (tag::NAME..=tag::DIRNAMES).chain(tag::FILECAPS..=tag::FILEDIGESTALGO) {
                header.strings(tag).ok();
                header.numbers(tag).ok();
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(blob in prop::collection::vec(any::<u8>(), 0..256)) {
            read(&blob);
        }

        #[test]
        fn any_index_can_be_read(
            entries in prop::collection::vec(
                (1000u32..1120, 0u32..12, any::<u32>(), any::<u32>(), any::<bool>()), 0..8),
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut blob = [entries.len() as u32, data.len() as u32].map(u32::to_be_bytes).concat();
            for (tag, kind, offset, count, small) in entries {
                let limit = if small { 16 } else { u32::MAX };
                for word in [tag, kind, offset % limit, count % limit] {
                    blob.extend(word.to_be_bytes());
                }
            }
            blob.extend(data);
            read(&blob);
        }
    }
}
