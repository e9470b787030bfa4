//! Bytes from the thread that decompresses to the thread that parses: a few fixed buffers going
//! round, so that memory stays flat and neither thread waits for the other's every read.

use std::io::{self, BufRead, Read};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::digest::{Digest, Hasher};

/// Size of a buffer in bytes: a multiple of tar's block, so that no block lies in two buffers.
const BUFFER: usize = 256 * 1024;
/// How many buffers go round.
const BUFFERS: usize = 4;

/// A buffer and how many of its bytes count.
struct Chunk {
    bytes: Box<[u8]>,
    length: usize,
}

/// A pipe. The reading end digests what it receives if `digest` says so.
pub fn pipe(digest: bool) -> (Writer, Reader) {
    let (full_sender, full) = bounded(BUFFERS);
    let (empty, empty_receiver) = bounded(BUFFERS);
    for _ in 0..BUFFERS {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        empty.send(buffer).expect("there is room for every buffer");
    }
    let writer = Writer {
        full: full_sender,
        empty: empty_receiver,
        current: None,
        closed: false,
    };
    let reader = Reader {
        full,
        empty,
        current: None,
        position: 0,
        hasher: digest.then(Hasher::default),
        count: 0,
    };
    (writer, reader)
}

/// The writing end.
pub struct Writer {
    full: Sender<Chunk>,
    empty: Receiver<Box<[u8]>>,
    current: Option<Chunk>,
    closed: bool,
}

impl Writer {
    /// Sends all of `source`. Fails with [`io::ErrorKind::BrokenPipe`] once the reading end is
    /// gone.
    pub fn send_all(&mut self, source: &mut dyn Read) -> io::Result<()> {
        loop {
            let chunk = match &mut self.current {
                Some(chunk) => chunk,
                None => {
                    let bytes = self.empty.recv().map_err(|_| self.close())?;
                    self.current.insert(Chunk { bytes, length: 0 })
                }
            };
            match source.read(&mut chunk.bytes[chunk.length..]) {
                Ok(0) => return Ok(()),
                Ok(n) => chunk.length += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if chunk.length == chunk.bytes.len() {
                self.flush()?;
            }
        }
    }

    /// Sends what is not sent yet. Only the last buffer of a stream may be sent half full.
    pub fn flush(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(chunk) => self.full.send(chunk).map_err(|_| self.close()),
            None => Ok(()),
        }
    }

    /// Is the reading end gone?
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn close(&mut self) -> io::Error {
        self.closed = true;
        io::ErrorKind::BrokenPipe.into()
    }
}

/// The reading end.
///
/// [`BufRead::fill_buf`] returns whole tar blocks as long as whole blocks are consumed; only the
/// end of the stream may be shorter.
pub struct Reader {
    full: Receiver<Chunk>,
    empty: Sender<Box<[u8]>>,
    current: Option<Chunk>,
    position: usize,
    hasher: Option<Hasher>,
    count: u64,
}

impl Reader {
    /// Digest (if one was asked for) and number of all bytes received.
    pub fn finish(self) -> (Option<Digest>, u64) {
        (self.hasher.map(Hasher::finish), self.count)
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let exhausted = |chunk: &mut Chunk| self.position == chunk.length;
        if let Some(chunk) = self.current.take_if(exhausted) {
            // The writing end may be gone already and need no more buffers.
            let _ = self.empty.send(chunk.bytes);
        }
        if self.current.is_none()
            && let Ok(chunk) = self.full.recv()
        {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&chunk.bytes[..chunk.length]);
            }
            self.count += chunk.length as u64;
            self.position = 0;
            self.current = Some(chunk);
        }
        Ok(match &self.current {
            Some(chunk) => &chunk.bytes[self.position..chunk.length],
            None => &[],
        })
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn carries_and_digests() {
        for length in [0, 1, BUFFER - 1, BUFFER, BUFFER * BUFFERS * 2 + 3] {
            let sent = bytes(length);
            let (mut writer, mut reader) = pipe(true);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (first, second) = sent.split_at(length / 3);
                    writer.send_all(&mut &first[..]).unwrap();
                    writer.send_all(&mut &second[..]).unwrap();
                    writer.flush().unwrap();
                    drop(writer);
                });
                let mut received = Vec::new();
                reader.read_to_end(&mut received).unwrap();
                assert!(received == sent, "{length} bytes");
                let digest = Some(Digest::of(&sent));
                assert_eq!(reader.finish(), (digest, length as u64));
            });
        }
    }

    #[test]
    fn buffers_hold_whole_blocks() {
        let sent = bytes(BUFFER * 3);
        let (mut writer, mut reader) = pipe(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for piece in sent.chunks(1000) {
                    writer.send_all(&mut &piece[..]).unwrap();
                }
                writer.flush().unwrap();
                drop(writer);
            });
            while let block = reader.fill_buf().unwrap()
                && !block.is_empty()
            {
                assert!(block.len() >= 512);
                reader.consume(512);
            }
        });
    }

    #[test]
    fn writer_notices_that_the_reader_is_gone() {
        let (mut writer, mut reader) = pipe(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                let error = writer.send_all(&mut io::repeat(0)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                assert!(writer.is_closed());
            });
            reader.read_exact(&mut [0; 10]).unwrap();
            drop(reader);
            writing.join().unwrap();
        });
    }
}
