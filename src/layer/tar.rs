//! The entries of a tar stream, whatever dialect wrote them: V7, ustar, PAX, old and new GNU.
//!
//! Where dialects speak twice, PAX wins over GNU's long names and these over the header. Global
//! PAX headers are ignored, as other readers of layers do. The stream ends at the first block of
//! zeros.

use std::io::BufRead;

use super::LayerError;
use crate::bodies::BodySink;
use crate::entry::{Entry, EntryKind};
use crate::metadata::{Metadata, Special};
use crate::path::{ImagePath, escape};
use crate::report::{Action, Report};
use crate::tar_format::extended::Extended;
use crate::tar_format::header::{BLOCK, Dialect, Header};
use crate::tar_format::pax::Overrides;
use crate::tar_format::sparse::SparseMap;
use crate::tar_format::{Limits, TarError};

/// Longest target of a symbolic link on Linux.
const SYMLINK_MAX: usize = 4095;

/// Reads `stream` up to the end of the archive; contents go to `sink`, oddities to `report`.
///
/// `stream` must hand out whole blocks ([`BufRead::fill_buf`]) as long as whole blocks are taken.
pub fn read_entries(
    stream: impl BufRead,
    sink: &mut dyn BodySink,
    limits: &Limits,
    report: &mut Report,
) -> Result<Vec<Entry>, LayerError> {
    let mut reader = TarReader {
        blocks: Blocks { stream, offset: 0 },
        sink,
        limits,
        report,
        extended: Extended::default(),
        name: Vec::new(),
        count: 0,
        xattr_bytes: 0,
        entries: Vec::new(),
    };
    loop {
        let offset = reader.blocks.offset;
        match reader.next_header() {
            Ok(true) => {}
            Ok(false) => return Ok(reader.entries),
            Err(source) => {
                return Err(LayerError::Tar {
                    entry: match &*reader.name {
                        b"" => "(unnamed)".to_owned(),
                        name => escape(name),
                    },
                    offset,
                    source,
                });
            }
        }
    }
}

struct TarReader<'a, R> {
    blocks: Blocks<R>,
    sink: &'a mut dyn BodySink,
    limits: &'a Limits,
    report: &'a mut Report,
    extended: Extended,
    /// Name of the entry under way, as the archive has it.
    name: Vec<u8>,
    count: u64,
    xattr_bytes: usize,
    entries: Vec<Entry>,
}

impl<R: BufRead> TarReader<'_, R> {
    /// Reads a header and what belongs to it. False at the end of the archive.
    fn next_header(&mut self) -> Result<bool, TarError> {
        self.name.clear();
        let Some(block) = self.blocks.next_or_end()? else {
            return match self.extended.is_empty() {
                true => Ok(false),
                false => Err(TarError::Truncated),
            };
        };
        self.count += 1;
        if self.count > self.limits.entries {
            return Err(TarError::Limit {
                what: "entries",
                limit: self.limits.entries,
            });
        }
        let header = Header::parse(block)?;
        let (limit, what) = match header.type_flag() {
            b'x' | b'X' | b'g' => (self.limits.pax, "bytes of PAX records"),
            b'L' | b'K' => (self.limits.long_name, "bytes of a GNU long name"),
            _ => {
                let mut extended = std::mem::take(&mut self.extended);
                self.entry(&header, &extended)?;
                extended.clear();
                self.extended = extended;
                return Ok(true);
            }
        };
        let size = header.size()?;
        if size > limit {
            return Err(TarError::Limit { what, limit });
        }
        let buffer = match header.type_flag() {
            b'g' => {
                self.blocks.skip_data(size)?;
                return Ok(true);
            }
            b'L' => &mut self.extended.name,
            b'K' => &mut self.extended.link,
            _ => &mut self.extended.pax,
        };
        self.blocks.data(size, buffer)?;
        if matches!(header.type_flag(), b'L' | b'K')
            && let Some(end) = buffer.iter().position(|&b| b == 0)
        {
            buffer.truncate(end);
        }
        Ok(true)
    }

    /// Reads an entry: its header is at hand, its data follow.
    fn entry(&mut self, header: &Header, extended: &Extended) -> Result<(), TarError> {
        header.name(&mut self.name);
        let overrides = Overrides::parse(&extended.pax, self.limits)?;
        self.xattr_bytes += overrides.xattr_bytes;
        if self.xattr_bytes > self.limits.layer_xattrs {
            return Err(TarError::Limit {
                what: "bytes of extended attributes in the layer",
                limit: self.limits.layer_xattrs as u64,
            });
        }
        let long_name = || Some(&*extended.name).filter(|name| !name.is_empty());
        if let Some(name) = overrides.sparse.name.or(overrides.path).or_else(long_name) {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        let link = match overrides.link_path {
            Some(link) => link,
            None if !extended.link.is_empty() => &extended.link,
            None => header.link_name(),
        };
        let size = overrides.size.map_or_else(|| header.size(), Ok)?;

        if self.name.is_empty() {
            return Err(TarError::Empty("name"));
        }
        let path = ImagePath::parse(&self.name)?;
        let kind = match header.type_flag() {
            b'0' | 0 | b'7' if self.name.ends_with(b"/") => {
                self.blocks.skip_data(size)?;
                EntryKind::Directory
            }
            b'0' | 0 | b'7' => {
                let map = overrides
                    .sparse
                    .map(size, self.limits, || self.blocks.next())?;
                match map {
                    Some(map) => self.sparse_file(&map)?,
                    None => self.file(size)?,
                }
            }
            // A directory of an incremental dump; its data are the names in it.
            b'D' if header.dialect() == Dialect::Gnu => {
                self.blocks.skip_data(size)?;
                EntryKind::Directory
            }
            b'S' if header.dialect() == Dialect::Gnu => {
                let map = SparseMap::old_gnu(header, size, self.limits, || self.blocks.next())?;
                self.sparse_file(&map)?
            }
            flag @ b'1'..=b'6' => {
                self.skip_stray_data(header, size)?;
                match flag {
                    b'1' if link.is_empty() => return Err(TarError::Empty("hardlink target")),
                    b'1' => EntryKind::Hardlink(
                        ImagePath::parse(link).map_err(TarError::HardlinkTarget)?,
                    ),
                    b'2' => EntryKind::Symlink(symlink_target(link)?),
                    b'5' => EntryKind::Directory,
                    b'6' => EntryKind::Special(Special::Fifo),
                    _ => EntryKind::Special(device(header)?),
                }
            }
            flag => {
                let detail = format!(
                    "skipped: entry of the unknown type {:?} ({size} bytes)",
                    escape(&[flag])
                );
                self.warn(&path, detail);
                return self.blocks.skip_data(size);
            }
        };
        if path.is_root() && kind != EntryKind::Directory {
            return Err(TarError::Root);
        }
        for (key, why) in &overrides.lost {
            let detail = format!("PAX record {}: {why}", escape(key));
            self.report.note("layer", Action::Dropped, &path, detail);
        }
        self.entries.push(Entry {
            path,
            kind,
            metadata: Metadata {
                mode: header.mode()?,
                uid: owner("uid", overrides.uid.map_or_else(|| header.uid(), Ok)?)?,
                gid: owner("gid", overrides.gid.map_or_else(|| header.gid(), Ok)?)?,
                mtime: overrides.mtime.map_or_else(|| header.mtime(), Ok)?,
                xattrs: overrides.xattrs,
            },
        });
        Ok(())
    }

    fn file(&mut self, size: u64) -> Result<EntryKind, TarError> {
        self.blocks.copy(size, self.sink)?;
        self.blocks.skip_padding()?;
        let body = self.sink.finish().map_err(TarError::Store)?;
        Ok(EntryKind::File { body, size })
    }

    fn sparse_file(&mut self, map: &SparseMap) -> Result<EntryKind, TarError> {
        let mut position = 0;
        for segment in &map.segments {
            self.hole(segment.offset - position)?;
            self.blocks.copy(segment.length, self.sink)?;
            position = segment.offset + segment.length;
        }
        self.hole(map.size - position)?;
        self.blocks.skip_padding()?;
        let body = self.sink.finish().map_err(TarError::Store)?;
        Ok(EntryKind::File {
            body,
            size: map.size,
        })
    }

    fn hole(&mut self, length: u64) -> Result<(), TarError> {
        match length {
            0 => Ok(()),
            _ => self.sink.write_zeros(length).map_err(TarError::Store),
        }
    }

    /// Skips the data of an entry whose type has none although its header gives a size. Most
    /// writers mean the size of the file linked to or of the directory, and no data follow; `pax
    /// -o linkdata` and star do write the data of a hardlink. GNU and V7 never do; else what
    /// follows decides: a header or the end of the archive, or not.
    fn skip_stray_data(&mut self, header: &Header, size: u64) -> Result<(), TarError> {
        if size == 0 || header.dialect() != Dialect::Ustar || self.blocks.at_header_or_end()? {
            return Ok(());
        }
        self.blocks.skip_data(size)
    }

    fn warn(&mut self, path: &ImagePath, detail: String) {
        self.report.note("layer", Action::Warning, path, detail);
    }
}

/// Nobody can own a file as the last number: to `chown` it means to leave the owner as it is.
fn owner(field: &'static str, id: u32) -> Result<u32, TarError> {
    match id {
        u32::MAX => Err(TarError::Number {
            field,
            value: id.to_string(),
        }),
        id => Ok(id),
    }
}

fn symlink_target(target: &[u8]) -> Result<Box<[u8]>, TarError> {
    match target.len() {
        0 => Err(TarError::Empty("target of the symbolic link")),
        _ if target.contains(&0) => Err(TarError::SymlinkTarget("has a NUL byte")),
        1..=SYMLINK_MAX => Ok(target.into()),
        _ => Err(TarError::SymlinkTarget("is too long")),
    }
}

fn device(header: &Header) -> Result<Special, TarError> {
    let (major, minor) = header.device()?;
    Ok(match header.type_flag() {
        b'3' => Special::CharDevice { major, minor },
        _ => Special::BlockDevice { major, minor },
    })
}

/// The stream as blocks, and where it stands.
struct Blocks<R> {
    stream: R,
    offset: u64,
}

impl<R: BufRead> Blocks<R> {
    /// The next block; `None` where the stream ends, or with it the archive (a block of zeros).
    fn next_or_end(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let bytes = self.stream.fill_buf().map_err(TarError::Read)?;
        match bytes.first_chunk() {
            Some(block) if is_zero(block) => Ok(None),
            Some(&block) => {
                self.take(BLOCK);
                Ok(Some(block))
            }
            None if is_zero(bytes) => Ok(None),
            None => Err(TarError::Truncated),
        }
    }

    /// The next block, which must be there and may be anything.
    fn next(&mut self) -> Result<[u8; BLOCK], TarError> {
        let block = *self.fill()?.first_chunk().ok_or(TarError::Truncated)?;
        self.take(BLOCK);
        Ok(block)
    }

    /// Does a header come next, or nothing?
    fn at_header_or_end(&mut self) -> Result<bool, TarError> {
        let bytes = self.stream.fill_buf().map_err(TarError::Read)?;
        Ok(match bytes.first_chunk() {
            Some(block) => is_zero(block) || Header::parse(*block).is_ok(),
            None => true,
        })
    }

    /// Reads `size` bytes of an entry's data into `buffer`.
    fn data(&mut self, size: u64, buffer: &mut Vec<u8>) -> Result<(), TarError> {
        buffer.clear();
        self.each(size, |bytes| {
            buffer.extend_from_slice(bytes);
            Ok(())
        })?;
        self.skip_padding()
    }

    /// Skips `size` bytes of an entry's data.
    fn skip_data(&mut self, size: u64) -> Result<(), TarError> {
        self.each(size, |_| Ok(()))?;
        self.skip_padding()
    }

    /// Copies `size` bytes to `sink`.
    fn copy(&mut self, size: u64, sink: &mut dyn BodySink) -> Result<(), TarError> {
        self.each(size, |bytes| sink.write(bytes).map_err(TarError::Store))
    }

    fn each(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), TarError>,
    ) -> Result<(), TarError> {
        let mut left = size;
        while left > 0 {
            let bytes = self.fill()?;
            let n = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&bytes[..n])?;
            self.take(n);
            left -= n as u64;
        }
        Ok(())
    }

    /// Skips what fills up the last block. Some writers leave it out at the end of the archive.
    fn skip_padding(&mut self) -> Result<(), TarError> {
        let mut left = self.offset.next_multiple_of(BLOCK as u64) - self.offset;
        while left > 0 {
            let available = self.stream.fill_buf().map_err(TarError::Read)?.len();
            if available == 0 {
                return Ok(());
            }
            let n = available.min(left as usize);
            self.take(n);
            left -= n as u64;
        }
        Ok(())
    }

    /// What can be had without copying, at least a byte.
    fn fill(&mut self) -> Result<&[u8], TarError> {
        match self.stream.fill_buf() {
            Ok([]) => Err(TarError::Truncated),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(TarError::Read(error)),
        }
    }

    fn take(&mut self, count: usize) {
        self.stream.consume(count);
        self.offset += count as u64;
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}
