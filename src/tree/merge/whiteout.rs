//! What a layer says by names: whiteouts, opaque markers, and the bookkeeping of AUFS.

use super::MergeError;
use crate::path::ImagePath;

/// What an entry means by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing but itself.
    Plain,
    /// Hides this path of the lower layers.
    Whiteout(ImagePath),
    /// Hides what the lower layers have in this directory.
    Opaque(ImagePath),
    /// Bookkeeping of AUFS, which some images still carry.
    Aufs,
}

const WHITEOUT: &[u8] = b".wh.";
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the entry at `path` means by its name; where names mean nothing, every entry is plain.
///
/// # Errors
/// [`MergeError::InvalidWhiteout`]
pub(super) fn classify(path: &ImagePath, whiteouts: bool) -> Result<Class, MergeError> {
    let (Some(name), true) = (path.file_name(), whiteouts) else {
        return Ok(Class::Plain);
    };
    let parent = path.parent().expect("a path with a name has a parent");
    if parent.components().any(|c| c.starts_with(AUFS)) {
        return Ok(Class::Aufs);
    }
    if parent.components().any(|c| c.starts_with(WHITEOUT)) {
        return Err(MergeError::InvalidWhiteout(path.clone()));
    }
    if name == OPAQUE {
        return Ok(Class::Opaque(parent));
    }
    if name.starts_with(AUFS) {
        return Ok(Class::Aufs);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Class::Plain),
        Some(b"" | b"." | b"..") => Err(MergeError::InvalidWhiteout(path.clone())),
        Some(hidden) => Ok(Class::Whiteout(parent.join(hidden))),
    }
}
