//! As much of the [GVariant serialisation](https://docs.gtk.org/glib/gvariant-specification-1.0.html)
//! as ostree objects need.
//!
//! A container is its members, one after the other, and then the *offsets* at which members of
//! variable size end: of every element of an array in order, of every member of a tuple but the
//! last in reverse order. Offsets are little-endian and as narrow as the container's size allows.
//! No member here needs padding: each integer of a tuple stands before all strings.

use super::ObjectError;
use crate::metadata::{LABEL_XATTR, Xattrs};
use crate::path::escape;

/// Appends the offsets of a container that begins at `start`; `ends` are positions in `out`.
pub(super) fn end_container(
    out: &mut Vec<u8>,
    start: usize,
    ends: impl ExactSizeIterator<Item = usize>,
) {
    let width = offset_width(out.len() - start, ends.len());
    for end in ends {
        let offset = (end - start) as u64;
        out.extend_from_slice(&offset.to_le_bytes()[..width]);
    }
}

/// How many bytes each of `count` offsets takes in a container whose members take `size` bytes.
fn offset_width(size: usize, count: usize) -> usize {
    [1, 2, 4]
        .into_iter()
        .find(|&width| (size + count * width) as u64 >> (8 * width) == 0)
        .unwrap_or(8)
}

/// Appends an array whose elements have variable size.
pub(super) fn array<T>(
    out: &mut Vec<u8>,
    elements: impl IntoIterator<Item = T>,
    mut append: impl FnMut(&mut Vec<u8>, T),
) {
    let start = out.len();
    let mut ends = Vec::new();
    for element in elements {
        append(out, element);
        ends.push(out.len());
    }
    end_container(out, start, ends.into_iter());
}

/// Appends a string or a bytestring: both end in NUL.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// Appends extended attributes as `a(ayay)`: names are bytestrings, values are as they are. An
/// SELinux context `label` takes the place of any that is among them.
pub(super) fn xattrs(
    out: &mut Vec<u8>,
    xattrs: &Xattrs,
    label: Option<&str>,
) -> Result<(), ObjectError> {
    for (name, value) in xattrs {
        if name.is_empty() || name.contains(&0) {
            return Err(ObjectError::InvalidXattrName(escape(name)));
        }
        if value.is_empty() {
            return Err(ObjectError::EmptyXattr(escape(name)));
        }
    }
    let label = label.map(|label| [label.as_bytes(), b"\0"].concat());
    let mut all: Vec<(&[u8], &[u8])> = Vec::with_capacity(xattrs.len() + 1);
    all.extend(xattrs.iter().map(|(name, value)| (&**name, &**value)));
    if let Some(label) = &label {
        all.retain(|(name, _)| *name != LABEL_XATTR);
        let place = all.partition_point(|(name, _)| *name < LABEL_XATTR);
        all.insert(place, (LABEL_XATTR, label));
    }
    array(out, all, |out, (name, value)| {
        let start = out.len();
        string(out, name);
        let name_end = out.len();
        out.extend_from_slice(value);
        end_container(out, start, [name_end].into_iter());
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_as_narrow_as_the_whole_allows() {
        for (size, count, width) in [
            (0, 0, 1),
            (254, 1, 1),
            (255, 1, 2),
            (0xfffd, 1, 2),
            (0xfffe, 1, 4),
            (0xffff_fffb, 1, 4),
            (0xffff_fffc, 1, 8),
        ] {
            assert_eq!(
                offset_width(size, count),
                width,
                "{count} offsets after {size} bytes"
            );
        }
    }
}
