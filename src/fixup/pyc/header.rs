//! The header of a compiled Python file ([PEP 552](https://peps.python.org/pep-0552/)): a magic
//! number, flags, and, if no flag is set, time and size of the source as 32-bit little-endian
//! numbers. Up to Python 3.6 there are no flags.

use std::io;
use std::ops::RangeInclusive;

use crate::bodies::{Bodies, BodyId};

/// The modification time of every file of a deployment that is not empty. Empty ones are no hard
/// links into the repo, and have the time of the deployment ([ostree#2809]): to be valid for them, a
/// compiled file must not name a time.
///
/// [ostree#2809]: https://github.com/ostreedev/ostree/issues/2809
pub const DEPLOYED: u32 = 0;

/// The length of a header in bytes.
pub const LENGTH: usize = 16;

/// Where the time stands behind flags, in bytes from the start.
const WITH_FLAGS: u64 = 8;
/// Where it stands up to Python 3.6.
const WITHOUT_FLAGS: u64 = 4;

/// The magic numbers of Python 3.3 to 3.6 (its `importlib/_bootstrap_external.py` lists them).
const BEFORE_FLAGS: RangeInclusive<u16> = 3210..=3389;

/// From good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It is valid for a deployed source.
    Done,
    /// It is valid in the image; its time stands at this offset.
    Valid(u64),
    /// It is valid in the image, for an empty source.
    ValidForEmpty,
    /// Its source is another.
    Stale,
}

/// Flags and hash of a compiled file that is valid whatever its source.
pub const UNCHECKED: [u8; 12] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl State {
    /// The bytes that make it [`State::Done`], and where.
    pub fn patch(self) -> Option<(u64, &'static [u8])> {
        const TIME: [u8; 4] = DEPLOYED.to_le_bytes();
        match self {
            Self::Done | Self::Stale => None,
            Self::Valid(offset) => Some((offset, &TIME)),
            Self::ValidForEmpty => Some((4, &UNCHECKED)),
        }
    }
}

/// What a compiled file says of its source.
#[derive(Debug)]
pub struct Header {
    /// Where the time stands.
    offset: u64,
    time: u32,
    size: u32,
}

impl Header {
    /// `None`: it is not a compiled file, or one that names a hash.
    pub fn read(bodies: &Bodies, body: BodyId) -> io::Result<Option<Self>> {
        let mut bytes = [0; LENGTH];
        let mut length = 0;
        while length < bytes.len() {
            match bodies.read_at(body, length as u64, &mut bytes[length..])? {
                0 => return Ok(None),
                n => length += n,
            }
        }
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let [[low, high, b'\r', b'\n'], second, third, fourth] = *words else {
            return None;
        };
        match u16::from_le_bytes([low, high]) {
            magic if BEFORE_FLAGS.contains(&magic) => Some(Self::new(WITHOUT_FLAGS, second, third)),
            _ if second == [0; 4] => Some(Self::new(WITH_FLAGS, third, fourth)),
            _ => None,
        }
    }

    fn new(offset: u64, time: [u8; 4], size: [u8; 4]) -> Self {
        Self {
            offset,
            time: u32::from_le_bytes(time),
            size: u32::from_le_bytes(size),
        }
    }

    /// What it is for a source of this time and size, of which Python compares the lower 32 bits.
    pub fn state(&self, mtime: i64, size: u64) -> State {
        let of_source = self.size == size as u32;
        match self.time {
            time if !of_source || ![mtime as u32, DEPLOYED].contains(&time) => State::Stale,
            _ if size == 0 && self.offset == WITH_FLAGS => State::ValidForEmpty,
            DEPLOYED => State::Done,
            _ => State::Valid(self.offset),
        }
    }
}
