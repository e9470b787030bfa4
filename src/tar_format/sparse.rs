//! Maps of sparse files: old GNU (type `S`), and GNU's PAX formats 0.0, 0.1 and 1.0 (GNU tar
//! manual, "Storing Sparse Files").

use super::Limits;
use super::TarError;
use super::header::{BLOCK, Header, SparseMapPart};

/// A piece of a sparse file that has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Where the data of a sparse file lie: segments in order, none over another, none behind the end.
#[derive(Debug, PartialEq, Eq)]
pub struct SparseMap {
    /// The pieces.
    pub segments: Vec<Segment>,
    /// Size of the file with its holes.
    pub size: u64,
}

impl SparseMap {
    /// Checks a map against the size of the file and the `stored` bytes that the archive has.
    fn new(
        segments: Vec<Segment>,
        size: u64,
        stored: u64,
        limits: &Limits,
    ) -> Result<Self, TarError> {
        if size > limits.sparse_size {
            return Err(TarError::Limit {
                what: "bytes of a sparse file",
                limit: limits.sparse_size,
            });
        }
        let mut end = 0;
        let mut data = 0;
        for segment in &segments {
            if segment.offset < end {
                return Err(TarError::Sparse("segments overlap"));
            }
            end = segment
                .offset
                .checked_add(segment.length)
                .filter(|&end| end <= size)
                .ok_or(TarError::Sparse("a segment lies behind the end"))?;
            data += segment.length;
        }
        if data != stored {
            return Err(TarError::Sparse("the segments do not add up to the data"));
        }
        Ok(Self { segments, size })
    }

    /// The map of an old GNU sparse file with `stored` bytes of data: a part in the header, the
    /// rest in extension blocks from `next_block`.
    pub fn old_gnu(
        header: &Header,
        stored: u64,
        limits: &Limits,
        mut next_block: impl FnMut() -> Result<[u8; BLOCK], TarError>,
    ) -> Result<Self, TarError> {
        let mut segments = Segments::new(limits);
        let mut continues = segments.extend(&header.sparse_map())?;
        while continues {
            continues = segments.extend(&SparseMapPart::extension(&next_block()?))?;
        }
        Self::new(segments.list, header.real_size()?, stored, limits)
    }
}

/// Segments being collected, as many as are allowed.
#[derive(Debug)]
struct Segments<'a> {
    list: Vec<Segment>,
    limits: &'a Limits,
}

impl<'a> Segments<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            list: Vec::new(),
            limits,
        }
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), TarError> {
        if self.list.len() == self.limits.sparse_segments {
            return Err(TarError::Limit {
                what: "segments of a sparse file",
                limit: self.limits.sparse_segments as u64,
            });
        }
        self.list.push(Segment { offset, length });
        Ok(())
    }

    fn extend(&mut self, part: &SparseMapPart<'_>) -> Result<bool, TarError> {
        for segment in part.segments() {
            let (offset, length) = segment.ok_or(NOT_A_NUMBER)?;
            self.push(offset, length)?;
        }
        Ok(part.continues)
    }
}

const NOT_A_NUMBER: TarError = TarError::Sparse("its map holds something that is no number");

/// What the `GNU.sparse.*` records of an entry say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PaxSparse<'a> {
    /// `GNU.sparse.name`: the real name; the entry's own is made up.
    pub name: Option<&'a [u8]>,
    major: Option<&'a [u8]>,
    minor: Option<&'a [u8]>,
    size: Option<u64>,
    /// 0.1: `offset,length,offset,length…`.
    map: Option<&'a [u8]>,
    /// 0.0: the same numbers, a record each.
    numbers: Vec<u64>,
}

impl<'a> PaxSparse<'a> {
    /// Takes in the record `GNU.sparse.<key>`.
    pub fn record(&mut self, key: &[u8], value: &'a [u8]) -> Result<(), TarError> {
        match key {
            b"name" => self.name = Some(value),
            b"major" => self.major = Some(value),
            b"minor" => self.minor = Some(value),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"map" => self.map = Some(value),
            b"offset" if self.numbers.len().is_multiple_of(2) => {
                self.numbers.push(decimal(value)?);
            }
            b"numbytes" if !self.numbers.len().is_multiple_of(2) => {
                self.numbers.push(decimal(value)?);
            }
            b"offset" | b"numbytes" => {
                return Err(TarError::Sparse("offsets and lengths do not alternate"));
            }
            // `numblocks` says only how many records follow.
            _ => {}
        }
        Ok(())
    }

    /// The map of a sparse file of which the archive has `stored` bytes; `None` if the records
    /// describe no sparse file. A map of format 1.0 stands in those bytes: its blocks are taken
    /// from `next_block`.
    pub fn map(
        &self,
        stored: u64,
        limits: &Limits,
        next_block: impl FnMut() -> Result<[u8; BLOCK], TarError>,
    ) -> Result<Option<SparseMap>, TarError> {
        let mut segments = Segments::new(limits);
        let mut data = stored;
        match (self.major, self.minor) {
            (None, None) if self.map.is_none() && self.numbers.is_empty() => return Ok(None),
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => self.records(&mut segments)?,
            (Some(b"1"), Some(b"0")) => data = text_map(stored, &mut segments, next_block)?,
            _ => return Err(TarError::Sparse("unknown version of the map")),
        }
        let size = self.size.ok_or(TarError::Sparse("no size"))?;
        SparseMap::new(segments.list, size, data, limits).map(Some)
    }

    /// Formats 0.0 and 0.1.
    fn records(&self, segments: &mut Segments<'_>) -> Result<(), TarError> {
        const ODD: TarError = TarError::Sparse("an offset without a length");
        if let Some(map) = self.map {
            let mut numbers = map.split(|&b| b == b',').filter(|text| !text.is_empty());
            while let Some(offset) = numbers.next() {
                let length = numbers.next().ok_or(ODD)?;
                segments.push(decimal(offset)?, decimal(length)?)?;
            }
            return Ok(());
        }
        let (pairs, odd) = self.numbers.as_chunks();
        if !odd.is_empty() {
            return Err(ODD);
        }
        for &[offset, length] in pairs {
            segments.push(offset, length)?;
        }
        Ok(())
    }
}

/// Format 1.0: decimal numbers, each with a newline, before the data: how many segments, then
/// their offsets and lengths; filled up to a whole block. Returns how many of the `stored` bytes
/// are data.
fn text_map(
    stored: u64,
    segments: &mut Segments<'_>,
    mut next_block: impl FnMut() -> Result<[u8; BLOCK], TarError>,
) -> Result<u64, TarError> {
    let mut left = stored;
    let mut block = [0; BLOCK];
    let mut position = BLOCK;
    let mut next_number = || -> Result<u64, TarError> {
        let mut digits = [0; 20];
        let mut length = 0;
        loop {
            if position == BLOCK {
                left = left
                    .checked_sub(BLOCK as u64)
                    .ok_or(TarError::Sparse("the map is longer than the entry"))?;
                block = next_block()?;
                position = 0;
            }
            let byte = block[position];
            position += 1;
            if byte == b'\n' {
                return decimal(&digits[..length]);
            }
            *digits.get_mut(length).ok_or(NOT_A_NUMBER)? = byte;
            length += 1;
        }
    };
    for _ in 0..next_number()? {
        segments.push(next_number()?, next_number()?)?;
    }
    Ok(left)
}

/// A decimal number without sign.
pub fn decimal(text: &[u8]) -> Result<u64, TarError> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .ok_or(NOT_A_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map_of(
        records: &[(&str, &str)],
        stored: u64,
        text: &[u8],
    ) -> Result<Option<SparseMap>, TarError> {
        let mut sparse = PaxSparse::default();
        for (key, value) in records {
            sparse.record(key.as_bytes(), value.as_bytes())?;
        }
        let mut blocks = text.chunks(BLOCK);
        sparse.map(stored, &Limits::default(), || {
            let mut block = [0; BLOCK];
            let bytes = blocks.next().ok_or(TarError::Truncated)?;
            block[..bytes.len()].copy_from_slice(bytes);
            Ok(block)
        })
    }

    fn want(size: u64, segments: &[(u64, u64)]) -> Option<SparseMap> {
        Some(SparseMap {
            size,
            segments: segments
                .iter()
                .map(|&(offset, length)| Segment { offset, length })
                .collect(),
        })
    }

    #[test]
    fn three_formats() {
        let two = want(5000, &[(1000, 10), (4000, 3)]);
        let zero_zero = [
            ("size", "5000"),
            ("numblocks", "2"),
            ("offset", "1000"),
            ("numbytes", "10"),
            ("offset", "4000"),
            ("numbytes", "3"),
        ];
        assert_eq!(map_of(&zero_zero, 13, b"").unwrap(), two);
        let zero_one = [("size", "5000"), ("map", "1000,10,4000,3")];
        assert_eq!(map_of(&zero_one, 13, b"").unwrap(), two);
        let one_zero = [("major", "1"), ("minor", "0"), ("realsize", "5000")];
        let text = b"2\n1000\n10\n4000\n3\n";
        assert_eq!(map_of(&one_zero, 512 + 13, text).unwrap(), two);
        assert_eq!(map_of(&[("name", "x")], 7, b"").unwrap(), None);
    }

    #[test]
    fn text_map_over_two_blocks() {
        let mut text = String::from("100\n");
        let mut segments = Vec::new();
        for i in 0..100 {
            text.push_str(&format!("{}\n1\n", i * 1000));
            segments.push((i * 1000, 1));
        }
        assert!(text.len() > BLOCK && text.len() < 2 * BLOCK);
        let records = [("major", "1"), ("minor", "0"), ("realsize", "100000")];
        let map = map_of(&records, 2 * BLOCK as u64 + 100, text.as_bytes()).unwrap();
        assert_eq!(map, want(100_000, &segments));
    }

    #[test]
    fn refused_maps() {
        let one_zero = [("major", "1"), ("minor", "0"), ("realsize", "5000")];
        for (records, stored, text) in [
            (&[("size", "9"), ("map", "0,4,2,4")][..], 8, ""),
            (&[("size", "9"), ("map", "8,2")], 2, ""),
            (&[("size", "9"), ("map", "18446744073709551615,2")], 2, ""),
            (&[("size", "9"), ("map", "0,4")], 5, ""),
            (&[("size", "9"), ("map", "0,4,5")], 4, ""),
            (&[("size", "9"), ("map", "0,-4")], 4, ""),
            (&[("size", "9"), ("map", "0,+4")], 4, ""),
            (&[("map", "0,4")], 4, ""),
            (&[("size", "18446744073709551615"), ("map", "0,4")], 4, ""),
            (&[("size", "9"), ("offset", "0")], 4, ""),
            (&[("size", "9"), ("numbytes", "0")], 4, ""),
            (&[("major", "2"), ("minor", "0"), ("size", "9")], 4, ""),
            (&one_zero, 513, "1\n0\n"),
            (&one_zero, 511, "1\n0\n1\n"),
            (&one_zero, 513, "999999999999999999999\n"),
            (&one_zero, 513, "x\n"),
            (&one_zero, 513, "\n"),
        ] {
            let result = map_of(records, stored, text.as_bytes());
            assert!(result.is_err(), "{records:?} {text:?}: {result:?}");
        }
        let endless = format!("{}\n{}", u64::MAX, "0\n0\n".repeat(1 << 20));
        let result = map_of(&one_zero, 1 << 40, endless.as_bytes());
        assert!(matches!(result, Err(TarError::Limit { .. })), "{result:?}");
    }
}
