//! The header of an installed RPM package, as the database holds it: `rpmtag.h` and `header.c` of rpm.
//!
//! Big-endian: the number of index entries, the number of data bytes, the index (tag, type, offset,
//! count of each entry), the data. An installed header has no magic in front.

/// More entries or data than `headerCheck` of rpm allows.
const MAX_ENTRIES: usize = 0x00ff_ffff / 16;
const MAX_DATA: usize = 256 << 20;
const ENTRY: usize = 16;

/// Types of entries.
const CHAR: u32 = 1;
const INT8: u32 = 2;
const INT16: u32 = 3;
const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// A tag that we read (`rpmtag.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Tag {
    Name = 1000,
    FileStates = 1029,
    FileModes = 1030,
    FileDigests = 1035,
    FileFlags = 1037,
    FileUserName = 1039,
    FileGroupName = 1040,
    FileVerifyFlags = 1045,
    DirIndexes = 1116,
    BaseNames = 1117,
    DirNames = 1118,
    FileCaps = 5010,
    FileDigestAlgo = 5011,
}

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("it ends too early")]
    Truncated,
    #[error("it says it has {entries} entries and {data} bytes of data")]
    TooLarge { entries: usize, data: usize },
    #[error("the data of tag {0} lies outside of it")]
    Outside(u32),
    #[error("tag {0} has another type than it should")]
    Type(u32),
}

/// A parsed header. Values are looked up when they are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    /// Takes a header apart; bytes behind it do not count.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        let (entries, rest) = take_u32(bytes).ok_or(HeaderError::Truncated)?;
        let (data, rest) = take_u32(rest).ok_or(HeaderError::Truncated)?;
        let (entries, data) = (entries as usize, data as usize);
        if entries > MAX_ENTRIES || data > MAX_DATA {
            return Err(HeaderError::TooLarge { entries, data });
        }
        let (index, rest) = rest
            .split_at_checked(entries * ENTRY)
            .ok_or(HeaderError::Truncated)?;
        let data = rest.get(..data).ok_or(HeaderError::Truncated)?;
        Ok(Self { index, data })
    }

    /// The texts of a tag; none where it is absent. Bytes that are no UTF-8 stay bytes.
    pub(super) fn texts(&self, tag: Tag) -> Result<Vec<&'a [u8]>, HeaderError> {
        let Some(entry) = self.find(tag) else {
            return Ok(Vec::new());
        };
        let count = match entry.kind {
            STRING => 1,
            STRING_ARRAY | I18N_STRING => entry.count,
            _ => return Err(HeaderError::Type(entry.tag)),
        };
        let mut rest = self.data_of(&entry)?;
        let mut texts = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|&b| b == 0);
            let end = end.ok_or(HeaderError::Outside(entry.tag))?;
            texts.push(&rest[..end]);
            rest = &rest[end + 1..];
        }
        Ok(texts)
    }

    /// The numbers of a tag, of whatever width; none where it is absent.
    pub(super) fn numbers(&self, tag: Tag) -> Result<Vec<u32>, HeaderError> {
        let Some(entry) = self.find(tag) else {
            return Ok(Vec::new());
        };
        let width = match entry.kind {
            CHAR | INT8 => 1,
            INT16 => 2,
            INT32 => 4,
            _ => return Err(HeaderError::Type(entry.tag)),
        };
        let length = entry.count.checked_mul(width);
        let bytes = length.and_then(|length| self.data_of(&entry).ok()?.get(..length));
        let bytes = bytes.ok_or(HeaderError::Outside(entry.tag))?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &b| n << 8 | u32::from(b));
        Ok(bytes.chunks_exact(width).map(number).collect())
    }

    fn find(&self, tag: Tag) -> Option<IndexEntry> {
        let entries = self.index.chunks_exact(ENTRY).map(IndexEntry::read);
        entries.into_iter().find(|entry| entry.tag == tag as u32)
    }

    fn data_of(&self, entry: &IndexEntry) -> Result<&'a [u8], HeaderError> {
        let data = self.data.get(entry.offset..);
        data.ok_or(HeaderError::Outside(entry.tag))
    }
}

#[derive(Debug)]
struct IndexEntry {
    tag: u32,
    kind: u32,
    offset: usize,
    count: usize,
}

impl IndexEntry {
    /// Reads the [`ENTRY`] bytes of an entry.
    fn read(bytes: &[u8]) -> Self {
        let word = |index: usize| {
            let bytes = &bytes[index * 4..][..4];
            u32::from_be_bytes(bytes.try_into().expect("four bytes"))
        };
        Self {
            tag: word(0),
            kind: word(1),
            offset: word(2) as usize,
            count: word(3) as usize,
        }
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Builds a header.
    #[derive(Debug, Default)]
    pub(in super::super) struct Builder {
        index: Vec<u8>,
        data: Vec<u8>,
    }

    impl Builder {
        pub(in super::super) fn texts(self, tag: Tag, texts: &[&str]) -> Self {
            let bytes: Vec<_> = texts.iter().flat_map(|t| [t.as_bytes(), b"\0"]).collect();
            self.entry(tag, STRING_ARRAY, texts.len(), &bytes.concat())
        }

        pub(in super::super) fn words(self, tag: Tag, words: &[u32]) -> Self {
            let bytes: Vec<_> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            self.entry(tag, INT32, words.len(), &bytes)
        }

        pub(in super::super) fn modes(self, modes: &[u16]) -> Self {
            let bytes: Vec<_> = modes.iter().flat_map(|w| w.to_be_bytes()).collect();
            self.entry(Tag::FileModes, INT16, modes.len(), &bytes)
        }

        pub(in super::super) fn states(self, states: &[u8]) -> Self {
            self.entry(Tag::FileStates, CHAR, states.len(), states)
        }

        fn entry(mut self, tag: Tag, kind: u32, count: usize, bytes: &[u8]) -> Self {
            for word in [tag as u32, kind, self.data.len() as u32, count as u32] {
                self.index.extend(word.to_be_bytes());
            }
            self.data.extend(bytes);
            self
        }

        pub(in super::super) fn build(self) -> Vec<u8> {
            let counts = [self.index.len() / ENTRY, self.data.len()];
            let counts = counts.map(|n| (n as u32).to_be_bytes()).concat();
            [counts, self.index, self.data].concat()
        }
    }

    fn sample() -> Vec<u8> {
        Builder::default()
            .texts(Tag::Name, &["name"])
            .modes(&[0o100755, 0o040700])
            .words(Tag::FileFlags, &[1, 64])
            .states(b"\x00\x01")
            .texts(Tag::BaseNames, &["a", "", "c"])
            .build()
    }

    #[test]
    fn values() {
        let bytes = sample();
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.texts(Tag::Name).unwrap(), [b"name"]);
        assert_eq!(
            header.texts(Tag::BaseNames).unwrap(),
            [&b"a"[..], b"", b"c"]
        );
        assert_eq!(
            header.numbers(Tag::FileModes).unwrap(),
            [0o100755, 0o040700]
        );
        assert_eq!(header.numbers(Tag::FileFlags).unwrap(), [1, 64]);
        assert_eq!(header.numbers(Tag::FileStates).unwrap(), [0, 1]);
        assert_eq!(header.numbers(Tag::DirIndexes).unwrap(), [0; 0]);
        let wrong = HeaderError::Type(Tag::Name as u32);
        assert_eq!(header.numbers(Tag::Name), Err(wrong));
        let wrong = HeaderError::Type(Tag::FileFlags as u32);
        assert_eq!(header.texts(Tag::FileFlags), Err(wrong));
    }

    #[test]
    fn what_is_no_header() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert_eq!(
                Header::parse(&bytes[..length]).unwrap_err(),
                HeaderError::Truncated
            );
        }
        let huge = [[0xff; 4], [0; 4]].concat();
        assert!(matches!(
            Header::parse(&huge),
            Err(HeaderError::TooLarge { .. })
        ));
        let mut outside = sample();
        outside[8 + 12..8 + 16].copy_from_slice(&9_u32.to_be_bytes()); // nine names
        outside[8 + 8..8 + 12].copy_from_slice(&9999_u32.to_be_bytes());
        let header = Header::parse(&outside).unwrap();
        let wrong = HeaderError::Outside(Tag::Name as u32);
        assert_eq!(header.texts(Tag::Name), Err(wrong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, at in 0..200_usize, byte: u8) {
            let mut mutated = sample();
            let length = mutated.len();
            mutated[at % length] = byte;
            for bytes in [&bytes, &mutated] {
                let Ok(header) = Header::parse(bytes) else { continue };
                for tag in [Tag::Name, Tag::BaseNames, Tag::FileModes, Tag::FileStates] {
                    let _ = (header.texts(tag), header.numbers(tag));
                }
            }
        }
    }
}
