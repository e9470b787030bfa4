//! The files of an unpacked root as bodies, read where they lie.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use rustix::fs::{AtFlags, Statx, StatxFlags, statx};

use super::beneath::Directory;
use crate::bodies::{BodyId, BodyStore};
use crate::path::ImagePath;

/// A [`BodyStore`] over a directory. A file that changed since the directory was walked is an
/// error: its size and metadata are used already.
#[derive(Debug)]
pub struct RootfsBodies {
    store: u32,
    root: Directory,
    files: Vec<(ImagePath, Stamp)>,
    /// The files opened last, the latest first, so that streaming does not reopen them.
    open: Mutex<VecDeque<(u32, Arc<File>)>>,
}

/// How many files stay open; more than threads that read.
const OPEN_FILES: usize = 64;

/// What tells whether a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    inode: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    pub(super) fn of(stat: &Statx) -> Self {
        Self {
            size: stat.stx_size,
            inode: stat.stx_ino,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }
}

impl RootfsBodies {
    pub(super) fn new(store: u32, root: Directory) -> Self {
        Self {
            store,
            root,
            files: Vec::new(),
            open: Mutex::default(),
        }
    }

    /// Adds the regular file at `path`.
    pub(super) fn add(&mut self, path: ImagePath, stamp: Stamp) -> Result<BodyId> {
        let index = u32::try_from(self.files.len())?;
        self.files.push((path, stamp));
        Ok(BodyId {
            store: self.store,
            index,
        })
    }

    fn try_read_at(&self, index: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, stamp) = &self.files[index as usize];
        let left = stamp.size.saturating_sub(offset);
        let length = left.min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let file = self.file(index)?;
        let n = file.read_at(&mut buffer[..length], offset)?;
        if n == 0 {
            return Err(changed());
        }
        if n as u64 == left {
            // The last read: was it the same file all the time?
            self.check(index, &file)?;
        }
        Ok(n)
    }

    fn file(&self, index: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().expect("no holder panics");
        if let Some(position) = open.iter().position(|(open, _)| *open == index) {
            return Ok(Arc::clone(&open[position].1));
        }
        drop(open);
        let file = Arc::new(self.root.open_file(&self.files[index as usize].0)?);
        self.check(index, &file)?;
        open = self.open.lock().expect("no holder panics");
        open.push_front((index, Arc::clone(&file)));
        open.truncate(OPEN_FILES);
        Ok(file)
    }

    fn check(&self, index: u32, file: &File) -> io::Result<()> {
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        match Stamp::of(&stat) == self.files[index as usize].1 {
            true => Ok(()),
            false => Err(changed()),
        }
    }
}

impl BodyStore for RootfsBodies {
    fn may_change(&self) -> bool {
        true
    }

    fn size(&self, index: u32) -> u64 {
        self.files[index as usize].1.size
    }

    fn read_at(&self, index: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read_at(index, offset, buffer).map_err(|error| {
            let path = &self.files[index as usize].0;
            io::Error::new(error.kind(), format!("{path}: {error}"))
        })
    }
}

fn changed() -> io::Error {
    io::Error::other("changed while it was imported; import a tree that nobody writes to")
}
