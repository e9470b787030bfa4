//! A reader that looks ahead and knows where it is.

use std::io::{self, BufRead, Read};

/// A buffered reader.
#[derive(Debug)]
pub(super) struct Input<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// How many bytes were taken out.
    offset: u64,
    /// Did `inner` say so? Some decoders go on to what follows when they are asked again.
    ended: bool,
}

const BUFFER: usize = 64 * 1024;

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
        }
    }

    /// How many bytes lie before the next one.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes, at most [`BUFFER`], without taking them; fewer at the end.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < count && self.fill()? > 0 {}
        Ok(&self.buffer[..self.end.min(count)])
    }

    /// Goes on to the next byte that is not zero; false if there is none.
    pub(super) fn skip_zeros(&mut self) -> io::Result<bool> {
        loop {
            let buffered = self.fill_buf()?;
            if buffered.is_empty() {
                return Ok(false);
            }
            let zeros = buffered.iter().take_while(|&&byte| byte == 0).count();
            let found = zeros < buffered.len();
            self.consume(zeros);
            if found {
                return Ok(true);
            }
        }
    }

    /// Passes over `count` bytes, or those that are left.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut self.take(count), &mut io::sink()).map(drop)
    }

    /// Reads more behind what is buffered; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let count = self.inner.read(&mut self.buffer[self.end..])?;
        self.ended = count == 0;
        self.end += count;
        Ok(count)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// A reader that fails where there is more than may be.
#[derive(Debug)]
pub(super) struct Limited<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<'a, R: Read> Limited<'a, R> {
    /// `left` is how many bytes may come; what comes is taken off it.
    pub(super) fn new(inner: R, left: &'a mut u64) -> Self {
        Self { inner, left }
    }
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let too_much = || io::Error::other("it is larger than the memory of any machine it boots");
        *self.left = self.left.checked_sub(count as u64).ok_or_else(too_much)?;
        Ok(count)
    }
}
