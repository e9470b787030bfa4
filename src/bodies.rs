//! File bodies between the moment a layer is read and the moment their label is known.
//!
//! An ostree object's checksum covers the label, and the label comes from a policy that lies in
//! the final image: bodies must wait. They wait in *stores*: spooled to an unlinked file
//! ([`Spool`]), in memory ([`MemoryStore`]), or where they already lie (an unpacked root, a repo's
//! objects). [`Bodies`] finds each by its [`BodyId`]; memory stays bounded whatever the image size.

mod spool;

use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::path::Path;

use anyhow::{Context as _, Result};

pub use self::spool::{Spool, temporary_directory};

/// Names one body of a [`Bodies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId {
    /// Which store holds it.
    pub store: u32,
    /// Which body of that store.
    pub index: u32,
}

/// A place where bodies lie, readable from many threads.
pub trait BodyStore: Send + Sync + fmt::Debug {
    /// Size in bytes of body `index`.
    fn size(&self, index: u32) -> u64;

    /// Reads body `index` from `offset` on into `buffer`; 0 at its end. It may read less than asked.
    fn read_at(&self, index: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Can somebody else change a body while it is read? Whoever reads one twice must then check
    /// that it read the same.
    fn may_change(&self) -> bool {
        false
    }
}

/// Where the reader of a layer puts the bodies it meets, one after the other.
pub trait BodySink {
    /// Takes in the next bytes of the body under way.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes in `length` zero bytes (a hole of a sparse file).
    fn write_zeros(&mut self, length: u64) -> io::Result<()>;

    /// Ends the body under way and names it. The next byte starts another.
    fn finish(&mut self) -> io::Result<BodyId>;
}

/// Every body of an image.
#[derive(Debug)]
pub struct Bodies {
    stores: Vec<Box<dyn BodyStore>>,
    added: MemoryStore,
    patched: Vec<Patch>,
}

/// A body some bytes of which are others.
#[derive(Debug)]
struct Patch {
    original: BodyId,
    offset: u64,
    bytes: Box<[u8]>,
}

/// How much of a body is read at once.
const PIECE: usize = 64 * 1024;
/// The store number of bodies that were added by [`Bodies::add`].
const ADDED: u32 = u32::MAX;
/// The store number of those of [`Bodies::patch`].
const PATCHED: u32 = u32::MAX - 1;

impl Default for Bodies {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Bodies {
    /// Bodies in these stores; [`BodyId::store`] is an index into them.
    pub fn new(stores: Vec<Box<dyn BodyStore>>) -> Self {
        Self {
            stores,
            added: MemoryStore::new(ADDED),
            patched: Vec::new(),
        }
    }

    /// Adds a body that the image did not hold.
    pub fn add(&mut self, bytes: &[u8]) -> BodyId {
        self.added.push(bytes.into())
    }

    /// Adds a body that the image did not hold and that may be large: it waits in a spool of its own
    /// in the directory `spools`.
    pub fn spool(&mut self, spools: &Path, content: &mut dyn Read) -> Result<BodyId> {
        let store = u32::try_from(self.stores.len()).context("too many stores of bodies")?;
        let mut spool = Spool::new(store, spools)?;
        let mut buffer = vec![0; PIECE];
        loop {
            let count = content.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            spool.write(&buffer[..count])?;
        }
        let id = spool.finish()?;
        self.stores.push(Box::new(spool.seal()?));
        Ok(id)
    }

    /// Adds the body `original` with `bytes` in place of those at `offset`; what would lie behind
    /// its end is nothing. Only `bytes` take memory.
    pub fn patch(&mut self, original: BodyId, offset: u64, bytes: &[u8]) -> BodyId {
        let index = u32::try_from(self.patched.len()).expect("fewer than 2^32 bodies");
        self.patched.push(Patch {
            original,
            offset,
            bytes: bytes.into(),
        });
        BodyId {
            store: PATCHED,
            index,
        }
    }

    /// Size in bytes.
    pub fn size(&self, id: BodyId) -> u64 {
        let (id, _) = self.unpatched(id);
        self.store(id).size(id.index)
    }

    /// The whole body. For bodies that a fixup or a policy reader looks into, not for streaming:
    /// more than `limit` bytes are an error.
    pub fn read(&self, id: BodyId, limit: u64) -> io::Result<Vec<u8>> {
        let size = self.size(id);
        if size > limit {
            return Err(io::Error::other(format!(
                "{size} bytes, more than the {limit} that are looked into"
            )));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        self.reader(id).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Streams a body.
    pub fn reader(&self, id: BodyId) -> BodyReader<'_> {
        BodyReader {
            bodies: self,
            id,
            offset: 0,
        }
    }

    /// Reads a body from `offset` on; see [`BodyStore::read_at`].
    pub fn read_at(&self, id: BodyId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (id, patches) = self.unpatched(id);
        let n = self.store(id).read_at(id.index, offset, buffer)?;
        for patch in patches.iter().rev() {
            patch.apply(offset, &mut buffer[..n]);
        }
        Ok(n)
    }

    /// Do two bodies hold the same?
    pub fn same(&self, a: BodyId, b: BodyId) -> io::Result<bool> {
        if a == b {
            return Ok(true);
        }
        if self.size(a) != self.size(b) {
            return Ok(false);
        }
        let (mut a, mut b) = (self.reader(a), self.reader(b));
        let (mut x, mut y) = (vec![0; PIECE], vec![0; PIECE]);
        loop {
            let n = a.read(&mut x)?;
            if n == 0 {
                return Ok(true);
            }
            b.read_exact(&mut y[..n])?;
            if x[..n] != y[..n] {
                return Ok(false);
            }
        }
    }

    /// Can somebody else change a body while it is read?
    pub fn may_change(&self, id: BodyId) -> bool {
        self.store(self.unpatched(id).0).may_change()
    }

    /// The body that a store holds, and the bytes that are others in this one: where they stand,
    /// and what they are, the last patch first.
    pub fn original(&self, id: BodyId) -> (BodyId, impl Iterator<Item = (u64, &[u8])>) {
        let (id, patches) = self.unpatched(id);
        let patches = patches.into_iter();
        (id, patches.map(|patch| (patch.offset, &*patch.bytes)))
    }

    /// The same with the patches themselves.
    fn unpatched(&self, mut id: BodyId) -> (BodyId, Vec<&Patch>) {
        let mut patches = Vec::new();
        while id.store == PATCHED {
            let patch = &self.patched[id.index as usize];
            patches.push(patch);
            id = patch.original;
        }
        (id, patches)
    }

    fn store(&self, id: BodyId) -> &dyn BodyStore {
        match id.store {
            ADDED => &self.added,
            store => &*self.stores[store as usize],
        }
    }
}

impl Patch {
    /// Changes what was read from `start` on.
    fn apply(&self, start: u64, read: &mut [u8]) {
        let end = start + read.len() as u64;
        let from = self.offset.clamp(start, end);
        let to = (self.offset + self.bytes.len() as u64).clamp(from, end);
        if from < to {
            let patch = &self.bytes[(from - self.offset) as usize..(to - self.offset) as usize];
            read[(from - start) as usize..(to - start) as usize].copy_from_slice(patch);
        }
    }
}

/// Streams one body from its start.
#[derive(Debug)]
pub struct BodyReader<'a> {
    bodies: &'a Bodies,
    id: BodyId,
    offset: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bodies.read_at(self.id, self.offset, buffer)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Bodies in memory: small ones that fixups add, and those of tests.
#[derive(Debug)]
pub struct MemoryStore {
    store: u32,
    bodies: Vec<Box<[u8]>>,
    current: Vec<u8>,
}

impl MemoryStore {
    /// An empty store whose bodies carry `store` in their [`BodyId`].
    pub fn new(store: u32) -> Self {
        Self {
            store,
            bodies: Vec::new(),
            current: Vec::new(),
        }
    }

    /// Adds a body.
    pub fn push(&mut self, bytes: Box<[u8]>) -> BodyId {
        let index = u32::try_from(self.bodies.len()).expect("fewer than 2^32 bodies");
        self.bodies.push(bytes);
        BodyId {
            store: self.store,
            index,
        }
    }
}

impl BodyStore for MemoryStore {
    fn size(&self, index: u32) -> u64 {
        self.bodies[index as usize].len() as u64
    }

    fn read_at(&self, index: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let body = &self.bodies[index as usize];
        let rest = &body[(offset as usize).min(body.len())..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

impl BodySink for MemoryStore {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current.extend_from_slice(bytes);
        Ok(())
    }

    fn write_zeros(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.current.resize(self.current.len() + length, 0);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<BodyId> {
        let body = mem::take(&mut self.current).into_boxed_slice();
        Ok(self.push(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn fill(sink: &mut dyn BodySink) -> [BodyId; 4] {
        sink.write(b"first").unwrap();
        let first = sink.finish().unwrap();
        let empty = sink.finish().unwrap();
        sink.write(b"a").unwrap();
        sink.write_zeros(3).unwrap();
        sink.write(b"b").unwrap();
        sink.write_zeros(2).unwrap();
        let sparse = sink.finish().unwrap();
        let big = vec![7; spool::BUFFER + 1];
        sink.write(b"x").unwrap();
        sink.write(&big).unwrap();
        [first, empty, sparse, sink.finish().unwrap()]
    }

    pub(super) fn check(store: Box<dyn BodyStore>, ids: [BodyId; 4]) {
        let bodies = Bodies::new(vec![store]);
        assert_eq!(bodies.read(ids[0], 5).unwrap(), b"first");
        assert_eq!(bodies.read(ids[1], 0).unwrap(), b"");
        assert_eq!(bodies.read(ids[2], 100).unwrap(), b"a\0\0\0b\0\0");
        assert_eq!(bodies.size(ids[3]), spool::BUFFER as u64 + 2);
        let big = bodies.read(ids[3], u64::MAX).unwrap();
        assert!(big[0] == b'x' && big[1..].iter().all(|&b| b == 7));
        assert!(bodies.read(ids[0], 4).is_err(), "over the limit");
    }

    #[test]
    fn memory() {
        let mut store = MemoryStore::new(0);
        let ids = fill(&mut store);
        check(Box::new(store), ids);
    }

    #[test]
    fn patches_change_what_is_read() {
        let mut bodies = Bodies::default();
        let original = bodies.add(b"0123456789");
        let patched = bodies.patch(original, 3, b"abc");
        let twice = bodies.patch(patched, 5, b"XY");
        let beyond = bodies.patch(original, 9, b"end");
        for (id, want) in [
            (original, "0123456789"),
            (patched, "012abc6789"),
            (twice, "012abXY789"),
            (beyond, "012345678e"),
        ] {
            assert_eq!(bodies.size(id), 10);
            assert_eq!(bodies.read(id, 10).unwrap(), want.as_bytes());
            for start in 0..=10 {
                for length in 0..=10 - start {
                    let mut buffer = vec![0; length];
                    let n = bodies.read_at(id, start as u64, &mut buffer).unwrap();
                    assert_eq!(buffer[..n], want.as_bytes()[start..start + length]);
                }
            }
        }
    }

    #[test]
    fn bodies_are_compared() {
        let mut bodies = Bodies::default();
        let [long, other] = [1, 2].map(|last| {
            let mut bytes = vec![0; 200_000];
            bytes[199_999] = last;
            bytes
        });
        let ids = [&b"a"[..], b"a", b"b", b"", &long, &long, &other].map(|bytes| bodies.add(bytes));
        for (a, b, want) in [
            (0, 0, true),
            (0, 1, true),
            (0, 2, false),
            (0, 3, false),
            (4, 5, true),
            (4, 6, false),
        ] {
            assert_eq!(bodies.same(ids[a], ids[b]).unwrap(), want, "{a} {b}");
        }
    }

    #[test]
    fn added_bodies_stand_beside_stores() {
        let mut bodies = Bodies::default();
        let id = bodies.add(b"new");
        assert_eq!(bodies.read(id, 3).unwrap(), b"new");
        let directory = tempfile::tempdir().unwrap();
        for content in [&b"first"[..], b"second"] {
            let id = bodies.spool(directory.path(), &mut &content[..]).unwrap();
            assert_eq!(bodies.read(id, 100).unwrap(), content);
        }
    }
}
