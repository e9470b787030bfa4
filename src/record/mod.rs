//! The record of a layer: the layer as OCI sees it, beside its commit.
//!
//! The commit of a layer forgets what a merge needs: which directories the layer has entries for,
//! whether they lie in `etc` or `usr/etc`, special files, xattrs that no commit holds, modification
//! times, what is a hardlink of what. Its record keeps all of that, and for each regular file the
//! object that holds its content and the label it was written with. So the layer need never be
//! read again.
//!
//! # Format
//!
//! A byte with [`VERSION`], then one zstd frame. In it numbers are LEB128 (signed ones in zigzag),
//! bytes and text come after their length, and lists after their number:
//!
//! - the diff_id (32 bytes), the size of the decompressed tar stream;
//! - the digest of the checked policy (a list of none or one of 32 bytes);
//! - labels (text), each once;
//! - notes of the reading of the layer: action (a byte), path, detail (text);
//! - entries in the order of the stream: kind (a byte), path, mode, uid, gid, mtime (signed),
//!   xattrs (name, value; ascending), then for
//!   a file its size and 0 or one more than the number of its label,
//!   a link its target, a hardlink its path, a device its numbers;
//! - the checksum of the object of each file (32 bytes each, not counted);
//! - of each entry 0 or one more than the number of its label (not counted);
//! - starts: the number of a file, counted from 0, and its first bytes.
//!
//! Who reads a record of another version takes the layer for unknown.

mod changes;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

use crate::bodies::BodyId;
use crate::digest::Digest;
use crate::entry::{Entry, EntryKind};
use crate::metadata::{Metadata, Special, Xattrs};
use crate::path::{ImagePath, PathError};
use crate::report::{Action, Report};
pub use changes::{CHANGES_VERSION, ChangedFile, ChangedFiles};
use reader::Reader;

/// The version of the format.
pub const VERSION: u8 = 2;

/// The largest record in bytes. libostree refuses metadata objects of more than 10 MiB, and a
/// commit holds more than the record.
pub const LARGEST: usize = 9 << 20;

/// The most that a record is decompressed to, in bytes.
const LARGEST_DECOMPRESSED: u64 = 256 << 20;

/// A layer, and the objects that hold its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// Digest of the decompressed tar stream.
    pub diff_id: Digest,
    /// Size of the decompressed tar stream in bytes.
    pub uncompressed_size: u64,
    /// Digest of the policy that gave the labels, if libselinux was asked about a sample of them
    /// and agreed.
    pub checked_policy: Option<Digest>,
    /// What was odd about it when it was read.
    pub report: Report,
    /// The entries in the order of the stream.
    pub entries: Vec<Entry>,
    /// The object of each regular file among `entries`, in their order.
    pub files: Vec<StoredFile>,
    /// What the policy says of the path that each of `entries` has in the commit, and of what the
    /// entry is: for other images with this path. `None`: nothing, or it is not known.
    pub labels: Vec<Option<Arc<str>>>,
    /// How files begin of which fixups read no more than that, so that they need not open them.
    pub starts: Vec<FileStart>,
}

/// The first bytes of a file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStart {
    /// The number of the file among the regular files of its layer, counted from 0.
    pub file: u32,
    /// Its first bytes.
    pub bytes: Box<[u8]>,
}

/// A file of a layer as it lies in the repo: under the metadata of its entry, cleaned of xattrs
/// that no commit holds, and a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Checksum of the content object.
    pub object: Digest,
    /// The label in its header.
    pub label: Option<Arc<str>>,
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Of a version that is not read here.
    #[error("of the unknown version {0}")]
    Version(u8),
    /// No zstd frame, or one that holds more than any layer needs.
    #[error("not decompressed: {0}")]
    Compression(String),
    /// It ends too early.
    #[error("cut off")]
    Truncated,
    /// It does not end where it should.
    #[error("{0} bytes too long")]
    TooLong(usize),
    /// A number that cannot stand in its place.
    #[error("{0} out of range")]
    Range(&'static str),
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    Text,
    /// A path that is none, or that has a shorter form.
    #[error("invalid path {0}")]
    Path(String),
}

impl From<PathError> for RecordError {
    fn from(error: PathError) -> Self {
        Self::Path(error.to_string())
    }
}

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const HARDLINK: u8 = 3;
const CHAR_DEVICE: u8 = 4;
const BLOCK_DEVICE: u8 = 5;
const FIFO: u8 = 6;
const SOCKET: u8 = 7;

/// The actions of notes; the number of each is its place.
const ACTIONS: [Action; 6] = [
    Action::Added,
    Action::Changed,
    Action::Moved,
    Action::Dropped,
    Action::Warning,
    Action::Fatal,
];

/// Who makes the notes of a layer.
const STAGE: &str = "layer";

impl LayerRecord {
    /// Writes the record; `None` if it is larger than [`LARGEST`], so that no commit can hold it.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut compressed = vec![VERSION];
        zstd::stream::copy_encode(&*self.serialise(), &mut compressed, 0)
            .expect("memory can be written");
        (compressed.len() <= LARGEST).then_some(compressed)
    }

    fn serialise(&self) -> Vec<u8> {
        let mut out = self.diff_id.as_bytes().to_vec();
        number(&mut out, self.uncompressed_size);
        number(&mut out, self.checked_policy.iter().len() as u64);
        out.extend(self.checked_policy.iter().flat_map(Digest::as_bytes));

        let mut labels: Vec<&str> = Vec::new();
        let mut numbers = HashMap::new();
        let of_files = self.files.iter().map(|file| &file.label);
        for label in of_files.chain(&self.labels).flatten().map(|label| &**label) {
            numbers.entry(label).or_insert_with(|| {
                labels.push(label);
                labels.len() as u64
            });
        }
        number(&mut out, labels.len() as u64);
        for label in labels {
            bytes(&mut out, label.as_bytes());
        }

        number(&mut out, self.report.notes().len() as u64);
        for note in self.report.notes() {
            let action = ACTIONS.iter().position(|&action| action == note.action);
            out.push(action.expect("all are listed") as u8);
            bytes(&mut out, note.path.as_bytes());
            bytes(&mut out, note.detail.as_bytes());
        }

        number(&mut out, self.entries.len() as u64);
        let mut files = self.files.iter();
        for entry in &self.entries {
            let label = match entry.kind {
                EntryKind::File { .. } => files.next().and_then(|file| file.label.as_deref()),
                _ => None,
            };
            write_entry(&mut out, entry, label.map_or(0, |label| numbers[label]));
        }
        for file in &self.files {
            out.extend_from_slice(file.object.as_bytes());
        }
        for label in &self.labels {
            number(&mut out, label.as_deref().map_or(0, |label| numbers[label]));
        }
        number(&mut out, self.starts.len() as u64);
        for start in &self.starts {
            number(&mut out, start.file.into());
            bytes(&mut out, &start.bytes);
        }
        out
    }

    /// Reads a record. The files get bodies in the store `store`, numbered in their order.
    ///
    /// # Errors
    /// Those of [`RecordError`]; nothing is taken that [`LayerRecord::encode`] does not write.
    pub fn decode(record: &[u8], store: u32) -> Result<Self, RecordError> {
        let (&version, frame) = record.split_first().ok_or(RecordError::Truncated)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let damaged = |error: std::io::Error| RecordError::Compression(error.to_string());
        let mut plain = Vec::new();
        zstd::Decoder::new(frame)
            .map_err(damaged)?
            .take(LARGEST_DECOMPRESSED + 1)
            .read_to_end(&mut plain)
            .map_err(damaged)?;
        if plain.len() as u64 > LARGEST_DECOMPRESSED {
            return Err(RecordError::Compression("larger than any layer".to_owned()));
        }
        Self::deserialise(Reader::new(&plain), store)
    }

    fn deserialise(mut reader: Reader<'_>, store: u32) -> Result<Self, RecordError> {
        let diff_id = reader.digest()?;
        let uncompressed_size = reader.number()?;
        let checked_policy = match reader.byte()? {
            0 => None,
            1 => Some(reader.digest()?),
            _ => return Err(RecordError::Range("number of policies")),
        };
        let labels = reader.list(|reader| reader.text().map(Arc::<str>::from))?;
        let mut report = Report::default();
        reader.list(|reader| {
            let action = ACTIONS.get(usize::from(reader.byte()?));
            let action = *action.ok_or(RecordError::Range("action"))?;
            let path = reader.path()?;
            report.note(STAGE, action, &path, reader.text()?);
            Ok(())
        })?;
        let mut label_of_file = Vec::new();
        let entries =
            reader.list(|reader| read_entry(reader, store, &labels, &mut label_of_file))?;
        let files = label_of_file
            .into_iter()
            .map(|label| {
                let object = reader.digest()?;
                Ok(StoredFile { object, label })
            })
            .collect::<Result<_, RecordError>>()?;
        let of_entries = entries.iter().map(|_| read_label(&mut reader, &labels));
        let of_entries = of_entries.collect::<Result<_, _>>()?;
        let starts = reader.list(|reader| {
            let file = reader.small("number of a file")?;
            let bytes = reader.bytes()?.into();
            Ok(FileStart { file, bytes })
        })?;
        reader.end()?;
        Ok(Self {
            diff_id,
            uncompressed_size,
            checked_policy,
            report,
            entries,
            files,
            labels: of_entries,
            starts,
        })
    }
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry, label: u64) {
    let Entry {
        path,
        kind,
        metadata,
    } = entry;
    out.push(match kind {
        EntryKind::Directory => DIRECTORY,
        EntryKind::File { .. } => FILE,
        EntryKind::Symlink(_) => SYMLINK,
        EntryKind::Hardlink(_) => HARDLINK,
        EntryKind::Special(Special::CharDevice { .. }) => CHAR_DEVICE,
        EntryKind::Special(Special::BlockDevice { .. }) => BLOCK_DEVICE,
        EntryKind::Special(Special::Fifo) => FIFO,
        EntryKind::Special(Special::Socket) => SOCKET,
    });
    bytes(out, path.as_bytes());
    number(out, metadata.mode.into());
    number(out, metadata.uid.into());
    number(out, metadata.gid.into());
    number(out, zigzag(metadata.mtime));
    number(out, metadata.xattrs.len() as u64);
    for (name, value) in &metadata.xattrs {
        bytes(out, name);
        bytes(out, value);
    }
    match kind {
        EntryKind::File { size, .. } => {
            number(out, *size);
            number(out, label);
        }
        EntryKind::Symlink(target) => bytes(out, target),
        EntryKind::Hardlink(target) => bytes(out, target.as_bytes()),
        EntryKind::Special(
            Special::CharDevice { major, minor } | Special::BlockDevice { major, minor },
        ) => {
            number(out, (*major).into());
            number(out, (*minor).into());
        }
        EntryKind::Directory | EntryKind::Special(_) => {}
    }
}

fn read_entry(
    reader: &mut Reader<'_>,
    store: u32,
    labels: &[Arc<str>],
    label_of_file: &mut Vec<Option<Arc<str>>>,
) -> Result<Entry, RecordError> {
    let kind = reader.byte()?;
    let path = reader.path()?;
    let metadata = read_metadata(reader)?;
    let kind = match kind {
        DIRECTORY => EntryKind::Directory,
        FILE => {
            let size = reader.number()?;
            label_of_file.push(read_label(reader, labels)?);
            let index = u32::try_from(label_of_file.len() - 1);
            EntryKind::File {
                body: BodyId {
                    store,
                    index: index.map_err(|_| RecordError::Range("number of files"))?,
                },
                size,
            }
        }
        SYMLINK => EntryKind::Symlink(read_target(reader)?),
        HARDLINK => EntryKind::Hardlink(reader.path()?),
        CHAR_DEVICE | BLOCK_DEVICE => {
            let (major, minor) = (reader.small("major")?, reader.small("minor")?);
            EntryKind::Special(match kind {
                CHAR_DEVICE => Special::CharDevice { major, minor },
                _ => Special::BlockDevice { major, minor },
            })
        }
        FIFO => EntryKind::Special(Special::Fifo),
        SOCKET => EntryKind::Special(Special::Socket),
        _ => return Err(RecordError::Range("kind")),
    };
    Ok(Entry {
        path,
        kind,
        metadata,
    })
}

fn read_label(
    reader: &mut Reader<'_>,
    labels: &[Arc<str>],
) -> Result<Option<Arc<str>>, RecordError> {
    let Some(number) = reader.number()?.checked_sub(1) else {
        return Ok(None);
    };
    let label = usize::try_from(number).ok().and_then(|n| labels.get(n));
    Ok(Some(label.ok_or(RecordError::Range("label"))?.clone()))
}

fn read_metadata(reader: &mut Reader<'_>) -> Result<Metadata, RecordError> {
    let mode = reader.small("mode")?;
    if mode > 0o7777 {
        return Err(RecordError::Range("mode"));
    }
    let (uid, gid) = (reader.small("uid")?, reader.small("gid")?);
    let mtime = unzigzag(reader.number()?);
    let mut xattrs = Xattrs::new();
    reader.list(|reader| {
        let (name, value) = (reader.bytes()?, reader.bytes()?);
        if xattrs
            .last_key_value()
            .is_some_and(|(last, _)| **last >= *name)
        {
            return Err(RecordError::Range("order of xattrs"));
        }
        xattrs.insert(name.into(), value.into());
        Ok(())
    })?;
    Ok(Metadata {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

fn read_target(reader: &mut Reader<'_>) -> Result<Box<[u8]>, RecordError> {
    let target = reader.bytes()?;
    match target.is_empty() || target.contains(&0) {
        true => Err(RecordError::Range("link target")),
        false => Ok(target.into()),
    }
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small numbers for numbers near zero.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl Reader<'_> {
    /// A path in its only form.
    fn path(&mut self) -> Result<ImagePath, RecordError> {
        let raw = self.bytes()?;
        let path = ImagePath::parse(raw)?;
        match path.as_bytes() == raw {
            true => Ok(path),
            false => Err(RecordError::Path(path.to_string())),
        }
    }
}
