//! The cpio format of Linux: `newc`, and `crc`, which is the same with checksums.
//!
//! Padding counts from the start of the archive. The checksums are not looked at: nobody makes
//! them, and Linux does no more than complain.

use std::io::Read;

use super::input::Input;
use super::{Entry, InitramfsError, Visit};
use crate::path::ImagePath;

/// A magic and thirteen numbers of eight hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;
/// `PATH_MAX` of Linux, which takes no longer name.
const LONGEST_NAME: u32 = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Reads the archive that begins here, to its end. One that just stops is whole to Linux, and so it
/// is here.
pub(super) fn read<R: Read>(
    input: &mut Input<R>,
    visit: &mut Visit<'_>,
) -> Result<(), InitramfsError> {
    let start = input.offset();
    while !input.peek(1)?.is_empty() {
        let at = input.offset();
        let mut header = [0; HEADER];
        input.read_exact(&mut header)?;
        let invalid = || InitramfsError::Header(at);
        if !matches!(&header[..6], b"070701" | b"070702") {
            return Err(invalid());
        }
        let number = |index: usize| {
            let digits = &header[6 + index * 8..][..8];
            parse_hex(digits).ok_or_else(invalid)
        };
        let (mode, size, name_size) = (number(1)?, number(6)?, number(11)?);
        if name_size == 0 || name_size > LONGEST_NAME {
            return Err(invalid());
        }
        let mut name = vec![0; name_size as usize];
        input.read_exact(&mut name)?;
        // The size counts a NUL at the end.
        name.truncate(name.iter().position(|&b| b == 0).ok_or_else(invalid)?);
        align(input, start)?;
        if name == TRAILER {
            input.skip(u64::from(size))?;
            return Ok(());
        }
        let entry = Entry {
            path: ImagePath::parse(&name)?,
            mode,
            size,
        };
        let end = input.offset() + u64::from(size);
        visit(&entry, &mut input.take(u64::from(size)))?;
        input.skip(end - input.offset())?;
        if input.offset() < end {
            return Err(InitramfsError::Truncated);
        }
        align(input, start)?;
    }
    Ok(())
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, &digit| {
        Some(number << 4 | char::from(digit).to_digit(16)?)
    })
}

fn align<R: Read>(input: &mut Input<R>, start: u64) -> Result<(), InitramfsError> {
    let odd = (input.offset() - start) % 4;
    input.skip((4 - odd) % 4)?;
    Ok(())
}
