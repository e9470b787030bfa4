//! The LZ4 format of Linux and of `lz4 -l`: a magic, then blocks that unpack to 8 MiB each, but for
//! the last (`lib/decompress_unlz4.c`). Nothing says where it ends: it does where no size of a
//! block follows.

use std::io::{self, BufRead, Read};

use lz4_flex::block::{decompress_into, get_maximum_output_size};

pub(super) const LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
const BLOCK: usize = 8 << 20;

/// Unpacks one archive, or several in a row.
#[derive(Debug)]
pub(super) struct LegacyDecoder<R> {
    inner: R,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// What of `block` is still to be read.
    start: usize,
    end: usize,
}

impl<R: BufRead> LegacyDecoder<R> {
    /// Passes over the magic.
    pub(super) fn new(mut inner: R) -> io::Result<Self> {
        inner.read_exact(&mut [0; LEGACY_MAGIC.len()])?;
        Ok(Self {
            inner,
            packed: Vec::new(),
            block: vec![0; BLOCK],
            start: 0,
            end: 0,
        })
    }

    /// Unpacks the next block; false if there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut size = LEGACY_MAGIC;
        // Another archive may follow right here.
        while size == LEGACY_MAGIC {
            if self.inner.fill_buf()?.is_empty() {
                return Ok(false);
            }
            self.inner.read_exact(&mut size)?;
        }
        let size = u32::from_le_bytes(size) as usize;
        if size > get_maximum_output_size(BLOCK) {
            return Err(io::Error::other("an lz4 block is too large"));
        }
        self.packed.resize(size, 0);
        self.inner.read_exact(&mut self.packed)?;
        if size == 0 {
            // Padding.
            return Ok(false);
        }
        self.end = decompress_into(&self.packed, &mut self.block).map_err(io::Error::other)?;
        self.start = 0;
        Ok(true)
    }
}

impl<R: BufRead> Read for LegacyDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.start == self.end {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = (&self.block[self.start..self.end]).read(buffer)?;
        self.start += count;
        Ok(count)
    }
}
