//! The files of a repo as bodies, read where they lie.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use ostree::gio;
use ostree::gio::prelude::*;
use rustix::fs::{Mode as Permissions, OFlags};

use super::{Mode, Repo};
use crate::bodies::BodyStore;
use crate::digest::{Digest, Hasher};
use crate::object::FileHeader;
use crate::record::FileStart;

/// How many files stay open; more than threads that read.
const OPEN_FILES: usize = 64;
/// How much is read at once.
const PIECE: usize = 256 * 1024;

/// A content object that a repo should hold.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// Its checksum.
    pub checksum: Digest,
    /// Its header.
    pub header: FileHeader,
    /// Size of the content in bytes.
    pub size: u64,
}

/// A [`BodyStore`] over content objects of a repo. An object is hashed when it is opened, so that
/// what is read is what its checksum says, or an error.
#[derive(Debug)]
pub struct RepoBodies {
    /// How some of the objects begin, by number.
    starts: HashMap<u32, Box<[u8]>>,
    /// Threads may not share a handle, so each takes one of its own.
    repo: Mutex<Repo>,
    objects: Vec<StoredObject>,
    /// The files opened last, the latest first.
    open: Mutex<VecDeque<(u32, Arc<File>)>>,
}

impl RepoBodies {
    /// The bodies of `objects`, numbered in their order. Those whose `starts` are known are not opened
    /// to read no more.
    pub fn new(repo: &Repo, objects: Vec<StoredObject>, starts: Vec<FileStart>) -> Self {
        let starts = starts.into_iter().map(|start| (start.file, start.bytes));
        Self {
            starts: starts.collect(),
            repo: Mutex::new(repo.clone()),
            objects,
            open: Mutex::default(),
        }
    }

    fn file(&self, index: u32) -> Result<Arc<File>> {
        let mut open = self.open.lock().expect("no holder panics");
        if let Some(position) = open.iter().position(|(open, _)| *open == index) {
            return Ok(Arc::clone(&open[position].1));
        }
        drop(open);
        let object = &self.objects[index as usize];
        let repo = self.repo.lock().expect("no holder panics").clone();
        let file = open_verified(&repo, object).with_context(|| {
            let (checksum, repo) = (object.checksum.hex(), repo.path.display());
            format!(
                "the object {checksum} of the repo {repo}, which `ostree fsck --delete` removes"
            )
        })?;
        let file = Arc::new(file);
        open = self.open.lock().expect("no holder panics");
        open.push_front((index, Arc::clone(&file)));
        open.truncate(OPEN_FILES);
        Ok(file)
    }
}

fn open_verified(repo: &Repo, object: &StoredObject) -> Result<File> {
    let loose = match repo.mode {
        Mode::Bare | Mode::BareUser => open_loose(repo, object.checksum)?,
        Mode::Archive => None,
    };
    let file = match loose {
        Some(file) => file,
        None => copy_out(repo, object.checksum)?,
    };
    let (checksum, size) = digest(&file, object.header.hasher())?;
    ensure!(
        checksum == object.checksum && size == object.size,
        "it is not what its checksum says"
    );
    Ok(file)
}

/// A file whose content lies in the repo as it is; `None`: not in this one, maybe in its parent.
fn open_loose(repo: &Repo, checksum: Digest) -> Result<Option<File>> {
    let hex = checksum.hex();
    let path = format!("objects/{}/{}.file", &hex[..2], &hex[2..]);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = repo.inner.dfd_borrow();
    match rustix::fs::openat(directory, path, flags, Permissions::empty()) {
        Ok(file) => Ok(Some(file.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The content in an unlinked file beside the repo.
fn copy_out(repo: &Repo, checksum: Digest) -> Result<File> {
    let (stream, ..) = repo
        .inner
        .load_file(&checksum.hex(), gio::Cancellable::NONE)?;
    let stream = stream.context("it is no regular file")?;
    let mut file = tempfile::tempfile_in(repo.spool_directory())?;
    loop {
        let piece = stream.read_bytes(PIECE, gio::Cancellable::NONE)?;
        if piece.is_empty() {
            return Ok(file);
        }
        file.write_all(&piece)?;
    }
}

/// Takes in all of `file`: the digest and the number of bytes.
fn digest(file: &File, mut hasher: Hasher) -> io::Result<(Digest, u64)> {
    let mut piece = vec![0; PIECE.min(file.metadata()?.len() as usize + 1)];
    let mut size = 0;
    loop {
        match file.read_at(&mut piece, size)? {
            0 => return Ok((hasher.finish(), size)),
            n => {
                hasher.update(&piece[..n]);
                size += n as u64;
            }
        }
    }
}

impl BodyStore for RepoBodies {
    fn size(&self, index: u32) -> u64 {
        self.objects[index as usize].size
    }

    fn read_at(&self, index: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(start) = self.starts.get(&index)
            && let Some(end) = usize::try_from(offset)
                .ok()
                .and_then(|offset| offset.checked_add(buffer.len()))
            && let Some(known) = start.get(end - buffer.len()..end)
        {
            buffer.copy_from_slice(known);
            return Ok(buffer.len());
        }
        let file = self
            .file(index)
            .map_err(|error| io::Error::other(format!("{error:#}")))?;
        file.read_at(buffer, offset)
    }
}
