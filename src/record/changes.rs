//! The record of an image: the files that fixups changed, and the objects that hold them.
//!
//! A file that is moved gets another label, and a compiled Python file other bytes, so that it is
//! another object than the one of its layer. The commit of the image says which, so that an update
//! need not read and hash it again.
//!
//! # Format
//!
//! A byte with [`CHANGES_VERSION`], then, in the notation of the record of a layer:
//!
//! - the diff_ids of the image's layers (32 bytes each);
//! - what was done to files (32 bytes each; see [`ChangedFile::change`]), each once;
//! - the files: number of the layer, of the file among those of the layer, of the change, and the
//!   checksum of the object (32 bytes).

use std::collections::HashMap;

use super::reader::Reader;
use super::{RecordError, number};
use crate::digest::Digest;

/// The version of the format.
pub const CHANGES_VERSION: u8 = 1;

/// The largest record in bytes. libostree refuses metadata objects of more than 10 MiB, and an
/// image has a manifest and a configuration, too.
const LARGEST: usize = 4 << 20;

/// The files of an image that fixups changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFiles {
    /// The diff_ids of the layers.
    pub layers: Vec<Digest>,
    /// The files.
    pub files: Vec<ChangedFile>,
}

/// A file that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedFile {
    /// The number of its layer.
    pub layer: u32,
    /// Its number among the regular files of the layer, in the order of the stream.
    pub file: u32,
    /// A digest of what it became: its header, and the bytes that are others.
    pub change: Digest,
    /// The checksum of the object.
    pub object: Digest,
}

impl ChangedFiles {
    /// Writes the record; `None` if there is nothing to say, or so much that no commit can hold it.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if self.files.is_empty() {
            return None;
        }
        let mut out = vec![CHANGES_VERSION];
        digests(&mut out, &self.layers);
        let mut changes = Vec::new();
        let mut numbers = HashMap::new();
        for file in &self.files {
            numbers.entry(file.change).or_insert_with(|| {
                changes.push(file.change);
                changes.len() as u64 - 1
            });
        }
        digests(&mut out, &changes);
        number(&mut out, self.files.len() as u64);
        for file in &self.files {
            number(&mut out, file.layer.into());
            number(&mut out, file.file.into());
            number(&mut out, numbers[&file.change]);
            out.extend_from_slice(file.object.as_bytes());
        }
        (out.len() <= LARGEST).then_some(out)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Those of [`RecordError`].
    pub fn decode(record: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(record);
        match reader.byte()? {
            CHANGES_VERSION => {}
            version => return Err(RecordError::Version(version)),
        }
        let layers = reader.list(Reader::digest)?;
        let changes = reader.list(Reader::digest)?;
        let files = reader.list(|reader| {
            let layer = reader.small("number of a layer")?;
            if layers.len() <= layer as usize {
                return Err(RecordError::Range("number of a layer"));
            }
            let file = reader.small("number of a file")?;
            let change = changes.get(reader.small("number of a change")? as usize);
            Ok(ChangedFile {
                layer,
                file,
                change: *change.ok_or(RecordError::Range("number of a change"))?,
                object: reader.digest()?,
            })
        })?;
        reader.end()?;
        Ok(Self { layers, files })
    }
}

fn digests(out: &mut Vec<u8>, digests: &[Digest]) {
    number(out, digests.len() as u64);
    out.extend(digests.iter().flat_map(Digest::as_bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(files: &[(u32, u32, u8)]) -> ChangedFiles {
        ChangedFiles {
            layers: [b"a", b"b"].map(|layer| Digest::of(layer)).into(),
            files: files
                .iter()
                .map(|&(layer, file, change)| ChangedFile {
                    layer,
                    file,
                    change: Digest::of(&[change]),
                    object: Digest::of(&file.to_be_bytes()),
                })
                .collect(),
        }
    }

    proptest! {
        #[test]
        fn records_come_back(files in prop::collection::vec((0..2u32, any::<u32>(), 0..3u8), 0..9)) {
            let record = record(&files);
            let Some(encoded) = record.encode() else {
                prop_assert!(record.files.is_empty());
                return Ok(());
            };
            prop_assert_eq!(ChangedFiles::decode(&encoded), Ok(record));
            for cut in 0..encoded.len() {
                prop_assert!(ChangedFiles::decode(&encoded[..cut]).is_err());
            }
        }

        #[test]
        fn nothing_else_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ChangedFiles::decode(&[&[CHANGES_VERSION], &*bytes].concat());
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (record, error) in [
            (
                record(&[(2, 0, 0)]).encode(),
                RecordError::Range("number of a layer"),
            ),
            (Some(vec![9]), RecordError::Version(9)),
            (
                Some([record(&[(0, 0, 0)]).encode().unwrap(), vec![0]].concat()),
                RecordError::TooLong(1),
            ),
        ] {
            assert_eq!(ChangedFiles::decode(&record.unwrap()), Err(error));
        }
        let many: Vec<_> = (0..130_000).map(|file| (0, file, 0)).collect();
        assert_eq!(record(&many).encode(), None, "a commit could not hold it");
    }
}
