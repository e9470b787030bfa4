//! Bytes of a record, one thing after the other. It never reads beyond the end, nor makes room for
//! more than there is.

use super::RecordError;
use crate::digest::Digest;

/// What is left of a record.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let (&byte, rest) = self.0.split_first().ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    /// A number in its shortest form.
    pub(super) fn number(&mut self) -> Result<u64, RecordError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let overflows = bits << shift >> shift != bits;
            let overlong = byte == 0 && shift > 0;
            if overflows || overlong {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(RecordError::Range("number"))
    }

    /// A number of 32 bits, called `what` in the error.
    pub(super) fn small(&mut self, what: &'static str) -> Result<u32, RecordError> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| RecordError::Range(what))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.number()?;
        let length = usize::try_from(length).map_err(|_| RecordError::Truncated)?;
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Text)
    }

    pub(super) fn digest(&mut self) -> Result<Digest, RecordError> {
        let (&digest, rest) = self.0.split_first_chunk().ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(Digest::from_bytes(digest))
    }

    /// A list of what `item` reads, which is at least a byte each.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = self.number()?;
        if count > self.0.len() as u64 {
            return Err(RecordError::Truncated);
        }
        (0..count).map(|_| item(self)).collect()
    }

    pub(super) fn end(&self) -> Result<(), RecordError> {
        match self.0.len() {
            0 => Ok(()),
            rest => Err(RecordError::TooLong(rest)),
        }
    }
}
