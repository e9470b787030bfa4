//! Bodies in files of their own, for as long as they are needed.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{BodyId, BodySink, BodyStore};

/// Where spools lie that belong to no repo: `$TMPDIR`, or else `/var/tmp`. An image may be larger
/// than memory, which is what `/tmp` often is.
pub fn temporary_directory() -> PathBuf {
    temporary_directory_by(env::var_os("TMPDIR"))
}

fn temporary_directory_by(tmpdir: Option<OsString>) -> PathBuf {
    let chosen = tmpdir.filter(|directory| !directory.is_empty());
    chosen.map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// Bodies one after the other in an unlinked file. Nothing is left behind, however the process
/// ends. Holes stay holes.
#[derive(Debug)]
pub struct Spool {
    store: u32,
    file: File,
    /// Where the file was made: for messages.
    directory: PathBuf,
    /// Bytes not yet in the file; they belong at `written`.
    pending: Vec<u8>,
    written: u64,
    /// Where each body ends; it starts where the one before it ends.
    ends: Vec<u64>,
}

/// How many bytes a [`Spool`] collects before it writes them.
pub(super) const BUFFER: usize = 256 * 1024;
/// From how many bytes on it is cheaper to write them than to collect them.
const DIRECT: usize = 32 * 1024;

impl Spool {
    /// A spool in `directory`, whose bodies carry `store` in their [`BodyId`].
    pub fn new(store: u32, directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory)
            .with_context(|| format!("creating a spool file in {}", directory.display()))?;
        Ok(Self {
            store,
            file,
            directory: directory.to_owned(),
            pending: Vec::with_capacity(BUFFER),
            written: 0,
            ends: Vec::new(),
        })
    }

    fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut pending = mem::take(&mut self.pending);
        self.append(&pending)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file
            .write_all_at(bytes, self.written)
            .map_err(|error| {
                let directory = self.directory.display();
                io::Error::new(error.kind(), format!("spool file in {directory}: {error}"))
            })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Ends the spool: writes what is pending and frees the buffer. To be called once, after the
    /// last body and before the first read.
    pub fn seal(mut self) -> io::Result<Self> {
        self.flush()?;
        self.pending = Vec::new();
        self.file.set_len(self.written)?;
        Ok(self)
    }

    fn extent(&self, index: u32) -> (u64, u64) {
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |i| self.ends[i]);
        (start, self.ends[index])
    }
}

impl BodySink for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.pending.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= DIRECT {
            self.flush()?;
            self.append(bytes)?;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn write_zeros(&mut self, length: u64) -> io::Result<()> {
        self.flush()?;
        self.written = self
            .written
            .checked_add(length)
            .filter(|&end| i64::try_from(end).is_ok())
            .ok_or_else(|| io::Error::other("sparse file larger than a file can be"))?;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<BodyId> {
        let index = u32::try_from(self.ends.len()).map_err(io::Error::other)?;
        self.ends.push(self.position());
        Ok(BodyId {
            store: self.store,
            index,
        })
    }
}

impl BodyStore for Spool {
    fn size(&self, index: u32) -> u64 {
        let (start, end) = self.extent(index);
        end - start
    }

    fn read_at(&self, index: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (start, end) = self.extent(index);
        let left = (end - start).saturating_sub(offset);
        let n = left.min(buffer.len() as u64) as usize;
        if n == 0 {
            return Ok(0);
        }
        self.file.read_at(&mut buffer[..n], start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::Bodies;
    use crate::bodies::tests::{check, fill};

    #[test]
    fn temporary_directories() {
        for (tmpdir, want) in [
            (None, "/var/tmp"),
            (Some(""), "/var/tmp"),
            (Some("/mnt/scratch"), "/mnt/scratch"),
        ] {
            let chosen = temporary_directory_by(tmpdir.map(Into::into));
            assert_eq!(chosen, Path::new(want), "{tmpdir:?}");
        }
    }

    #[test]
    fn spool() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(0, directory.path()).unwrap();
        let ids = fill(&mut spool);
        check(Box::new(spool.seal().unwrap()), ids);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn trailing_hole_is_read_as_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(0, directory.path()).unwrap();
        spool.write_zeros(1 << 30).unwrap();
        let id = spool.finish().unwrap();
        assert!(spool.write_zeros(u64::MAX).is_err());
        let bodies = Bodies::new(vec![Box::new(spool.seal().unwrap())]);
        let mut buffer = [1; 8];
        assert_eq!(bodies.read_at(id, (1 << 30) - 4, &mut buffer).unwrap(), 4);
        assert_eq!(buffer, [0, 0, 0, 0, 1, 1, 1, 1]);
    }
}
