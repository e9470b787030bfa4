//! A blob's decompression as one stream.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use crate::compression::{Compression, GZIP};

/// A buffered reader that can look ahead.
pub struct PeekReader<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    failed: bool,
}

impl<R: Read> PeekReader<R> {
    /// Wraps `inner`; `capacity` in bytes must cover every [`PeekReader::peek`].
    pub fn new(inner: R, capacity: usize) -> Self {
        Self {
            inner,
            buffer: vec![0; capacity].into(),
            start: 0,
            end: 0,
            failed: false,
        }
    }

    /// The next `count` bytes without taking them; fewer only at the end of the stream.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < count && self.read_more()? > 0 {}
        }
        let end = self.end.min(self.start + count);
        Ok(&self.buffer[self.start..end])
    }

    /// Did `inner` itself fail, so that an error of a decompressor on top of it is not the
    /// blob's fault?
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The wrapped reader.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn read_more(&mut self) -> io::Result<usize> {
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }
}

impl<R: Read> Read for PeekReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for PeekReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

/// Decompresses `input` into `sink`, which reads each reader that it is given to the end. Stops
/// after the last zstd frame or gzip member: what follows the latter (padding, garbage) is ignored
/// as gzip(1) does, and left in `input`.
pub fn unpack<R: Read>(
    compression: Compression,
    input: &mut PeekReader<R>,
    mut sink: impl FnMut(&mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    match compression {
        Compression::None => sink(input),
        Compression::Zstd => sink(&mut zstd::stream::read::Decoder::with_buffer(input)?),
        Compression::Gzip => loop {
            sink(&mut GzDecoder::new(&mut *input))?;
            if input.peek(GZIP.len())? != GZIP {
                return Ok(());
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;

    use super::*;
    use crate::compression::MAGIC;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn skippable(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x50 | number, 0x2a, 0x4d, 0x18];
        frame.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        frame.extend_from_slice(bytes);
        frame
    }

    /// Sniffs and unpacks `blob`, which arrives in pieces of `step` bytes. Returns what was left.
    fn unpacked(blob: &[u8], step: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        struct Steps<'a>(&'a [u8], usize);
        impl Read for Steps<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = buffer.len().min(self.1);
                self.0.read(&mut buffer[..n])
            }
        }
        let mut input = PeekReader::new(Steps(blob, step), 64);
        let compression = Compression::sniff(input.peek(MAGIC)?).map_err(io::Error::other)?;
        let mut content = Vec::new();
        unpack(compression, &mut input, |reader| {
            reader.read_to_end(&mut content).map(drop)
        })?;
        let mut rest = Vec::new();
        input.read_to_end(&mut rest)?;
        Ok((content, rest))
    }

    #[test]
    fn whole_streams() {
        let (one, two) = (&[b'1'; 1000][..], &[b'2'; 3][..]);
        let both = [one, two].concat();
        for (name, blob, want, rest) in [
            ("plain", one.to_vec(), one, 0),
            ("empty", Vec::new(), &[][..], 0),
            ("gzip", gzip(one), one, 0),
            ("gzip members", [gzip(one), gzip(two)].concat(), &both, 0),
            ("padded gzip", [gzip(one), vec![0; 99]].concat(), one, 99),
            (
                "gzip and garbage",
                [gzip(one), b"\x1fgarbage".to_vec()].concat(),
                one,
                8,
            ),
            (
                "gzip and half a magic",
                [gzip(one), b"\x1f".to_vec()].concat(),
                one,
                1,
            ),
            ("zstd", zstd(one), one, 0),
            ("zstd frames", [zstd(one), zstd(two)].concat(), &both, 0),
            (
                "zstd:chunked",
                [
                    zstd(one),
                    zstd(two),
                    skippable(0, b"toc"),
                    skippable(15, &[0; 64]),
                ]
                .concat(),
                &both,
                0,
            ),
            (
                "zstd after a skippable frame",
                [skippable(4, b""), skippable(4, b"hi"), zstd(one)].concat(),
                one,
                0,
            ),
            ("no zstd frame", skippable(0, b"toc"), &[][..], 0),
        ] {
            for step in [1, 7, 1 << 20] {
                let (content, left) = unpacked(&blob, step).unwrap();
                assert_eq!(content, want, "{name} by {step}");
                assert_eq!(left.len(), rest, "{name} by {step}");
            }
        }
    }

    #[test]
    fn truncated_streams() {
        let text: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
        for (name, blob) in [
            ("gzip", gzip(&text)),
            ("gzip members", [gzip(b""), gzip(&text)].concat()),
            ("zstd", zstd(&text)),
            ("zstd frames", [zstd(b"1"), zstd(&text)].concat()),
        ] {
            for cut in [1, 4, 9, blob.len() / 2] {
                let error = unpacked(&blob[..blob.len() - cut], 1 << 20).unwrap_err();
                assert_eq!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof,
                    "{name} without its last {cut} bytes: {error}"
                );
            }
        }
    }

    #[test]
    fn damaged_streams() {
        // A bit of gzip's CRC, and a reserved one of zstd's frame header.
        let (mut crc, mut reserved) = (gzip(b"abc"), zstd(b"abc"));
        let last = crc.len() - 1;
        crc[last - 4] ^= 1;
        reserved[4] |= 0x08;
        for blob in [crc, reserved] {
            let kind = unpacked(&blob, 1 << 20).err().map(|error| error.kind());
            assert!(kind.is_some_and(|kind| kind != io::ErrorKind::UnexpectedEof));
        }
        let garbage = [zstd(b"abc"), b"garbage".to_vec()].concat();
        assert!(unpacked(&garbage, 1 << 20).is_err(), "as zstd(1) does");
    }

    #[test]
    fn knows_whose_fault_it_is() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("cable pulled"))
            }
        }
        let blob = gzip(b"abc");
        let mut input = PeekReader::new((&blob[..10]).chain(Broken), 64);
        let error = unpack(Compression::Gzip, &mut input, |reader| {
            io::copy(reader, &mut io::sink()).map(drop)
        });
        assert!(error.is_err() && input.failed());
    }
}
