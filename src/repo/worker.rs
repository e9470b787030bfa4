//! What one thread does to write one object.

use std::io::{self, Read};
use std::mem;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use ostree::gio;
use ostree::gio::prelude::*;
use ostree::glib::{Bytes, Variant};
use rustix::fs::AtFlags;

use super::transaction::Seen;
use super::{Mode, Repo};
use crate::bodies::{Bodies, BodyId};
use crate::digest::{Digest, Hasher};
use crate::object::{FileHeader, MetadataKind, MetadataObject};

/// Bodies up to this size are read once, into memory.
pub(super) const IN_MEMORY: u64 = 4 * 1024 * 1024;
/// Larger ones are read twice, in pieces of this size.
const PIECE: u64 = 256 * 1024;

/// One thread's handle of the repo.
#[derive(Debug)]
pub(super) struct Worker(Repo);

impl Worker {
    pub(super) fn new(repo: &Repo) -> Self {
        Self(repo.clone())
    }

    /// Writes a regular file unless its checksum was `seen`.
    pub(super) fn write_regular(
        &self,
        header: &FileHeader,
        bodies: &Arc<Bodies>,
        body: BodyId,
        seen: &Seen,
        cancellable: &gio::Cancellable,
    ) -> Result<Digest> {
        let size = bodies.size(body);
        if size > IN_MEMORY {
            return self.write_streamed(header, bodies, body, seen, cancellable);
        }
        let mut object = Vec::with_capacity(header.bytes().len() + size as usize);
        object.extend_from_slice(header.bytes());
        object.resize(object.capacity(), 0);
        read_exact_at(bodies, body, 0, &mut object[header.bytes().len()..])?;
        self.write_whole(object, seen, cancellable)
    }

    /// Makes sure that the repo has a content object.
    pub(super) fn count_present(
        &self,
        checksum: Digest,
        seen: &Seen,
        cancellable: &gio::Cancellable,
    ) -> Result<Digest> {
        if seen.insert(checksum) {
            let hex = checksum.hex();
            let kind = ostree::ObjectType::File;
            let has = || self.0.inner.has_object(kind, &hex, Some(cancellable));
            ensure!(
                self.is_here(&hex, self.0.mode.content_suffix()) || has()?,
                "the repo lost the object {hex}; `ostree fsck --delete`, and an import anew, \
                 repair it"
            );
        }
        Ok(checksum)
    }

    /// Is an object where it nearly always is? libostree looks at several places, one of them the
    /// repo's parent, and takes as many times longer.
    fn is_here(&self, hex: &str, suffix: &str) -> bool {
        let path = format!("objects/{}/{}.{suffix}", &hex[..2], &hex[2..]);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(self.0.inner.dfd_borrow(), path, flags).is_ok()
    }

    /// Writes a content object that is in memory.
    pub(super) fn write_whole(
        &self,
        object: Vec<u8>,
        seen: &Seen,
        cancellable: &gio::Cancellable,
    ) -> Result<Digest> {
        let checksum = Digest::of(&object);
        if seen.insert(checksum) {
            let length = object.len() as u64;
            let stream = gio::MemoryInputStream::from_bytes(&Bytes::from_owned(object));
            self.write_content(checksum, &stream, length, cancellable)?;
        }
        Ok(checksum)
    }

    fn write_streamed(
        &self,
        header: &FileHeader,
        bodies: &Arc<Bodies>,
        body: BodyId,
        seen: &Seen,
        cancellable: &gio::Cancellable,
    ) -> Result<Digest> {
        let size = bodies.size(body);
        let mut hasher = header.hasher();
        let mut piece = vec![0; PIECE as usize];
        let mut offset = 0;
        while offset < size {
            ensure!(!cancellable.is_cancelled(), "cancelled");
            let piece = &mut piece[..PIECE.min(size - offset) as usize];
            read_exact_at(bodies, body, offset, piece)?;
            hasher.update(piece);
            offset += piece.len() as u64;
        }
        let checksum = hasher.finish();
        if seen.insert(checksum) {
            let reader = SecondRead {
                bodies: bodies.clone(),
                body,
                size,
                offset: 0,
                check: bodies.may_change(body).then(|| (header.hasher(), checksum)),
                piece: header.bytes().to_vec(),
                consumed: 0,
            };
            let stream = gio::ReadInputStream::new(reader);
            let length = header.bytes().len() as u64 + size;
            self.write_content(checksum, &stream, length, cancellable)?;
        }
        Ok(checksum)
    }

    /// Hands a content object to libostree, which reads `stream` only if the repo lacks it.
    fn write_content(
        &self,
        checksum: Digest,
        stream: &impl IsA<gio::InputStream>,
        length: u64,
        cancellable: &gio::Cancellable,
    ) -> Result<()> {
        let (repo, checksum) = (&self.0.inner, checksum.hex());
        if self.is_here(&checksum, self.0.mode.content_suffix()) {
            return Ok(());
        }
        let kind = ostree::ObjectType::File;
        let unchecked =
            self.0.mode == Mode::Archive && !repo.has_object(kind, &checksum, Some(cancellable))?;
        // libostree's own hash is several times slower than ours: it checks us in debug builds.
        let written = if cfg!(debug_assertions) {
            repo.write_content(Some(&checksum), stream, length, Some(cancellable))
                .map(drop)
        } else {
            repo.write_content_trusted(&checksum, stream, length, Some(cancellable))
        };
        written.map_err(|error| self.0.explain(error))?;
        if unchecked {
            self.read_back(&checksum, cancellable)
                .context("reading it back: it was not written whole; is the disk full?")?;
        }
        Ok(())
    }

    /// Decompresses a file to its end. libostree writes the end of a compressed one when nobody
    /// looks at errors any more, so a full disk may cut it short unnoticed.
    fn read_back(&self, checksum: &str, cancellable: &gio::Cancellable) -> Result<()> {
        let (stream, ..) = self.0.inner.load_file(checksum, Some(cancellable))?;
        if let Some(stream) = stream {
            while !stream
                .read_bytes(PIECE as usize, Some(cancellable))?
                .is_empty()
            {}
        }
        Ok(())
    }

    /// Writes a metadata object unless the repo has it.
    pub(super) fn write_metadata(
        &self,
        object: &MetadataObject,
        cancellable: &gio::Cancellable,
    ) -> Result<()> {
        let (kind, suffix) = match object.kind {
            MetadataKind::DirMeta => (ostree::ObjectType::DirMeta, "dirmeta"),
            MetadataKind::DirTree => (ostree::ObjectType::DirTree, "dirtree"),
            MetadataKind::Commit => (ostree::ObjectType::Commit, "commit"),
        };
        let checksum = object.checksum.hex();
        if self.is_here(&checksum, suffix) {
            return Ok(());
        }
        let variant = Variant::from_data_with_type(
            object.bytes.clone(),
            &ostree::metadata_variant_type(kind),
        );
        self.0
            .inner
            .write_metadata_trusted(kind, &checksum, &variant, Some(cancellable))
            .map_err(|error| self.0.explain(error))
    }
}

/// A content object too large for memory, read again after its checksum was computed.
///
/// What it was computed from may be a file that somebody changes at this very moment. Then the last
/// piece is only handed out if everything that was is what the checksum says: libostree never has
/// a whole object under a wrong name.
struct SecondRead {
    bodies: Arc<Bodies>,
    body: BodyId,
    size: u64,
    /// How much of the body was read.
    offset: u64,
    /// For a body that may change: what took in everything before `offset`, and what must come out.
    check: Option<(Hasher, Digest)>,
    /// What was read last; the header at first.
    piece: Vec<u8>,
    /// How much of `piece` was handed out.
    consumed: usize,
}

impl SecondRead {
    fn next_piece(&mut self) -> io::Result<()> {
        self.piece
            .resize(PIECE.min(self.size - self.offset) as usize, 0);
        self.consumed = 0;
        read_exact_at(&self.bodies, self.body, self.offset, &mut self.piece)?;
        self.offset += self.piece.len() as u64;
        let Some((hasher, checksum)) = &mut self.check else {
            return Ok(());
        };
        hasher.update(&self.piece);
        if self.offset == self.size && mem::take(hasher).finish() != *checksum {
            return Err(io::Error::other("the content changed while it was read"));
        }
        Ok(())
    }
}

impl Read for SecondRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.consumed == self.piece.len() && self.offset < self.size {
            self.next_piece()?;
        }
        let rest = &self.piece[self.consumed..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.consumed += n;
        Ok(n)
    }
}

/// Fills `buffer` from `offset` on.
fn read_exact_at(bodies: &Bodies, body: BodyId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match bodies.read_at(body, offset + filled as u64, &mut buffer[filled..]) {
            Ok(0) => {
                return Err(io::Error::other(
                    "the content became shorter while it was read",
                ));
            }
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
