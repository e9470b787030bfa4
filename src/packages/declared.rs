//! What a package says of one path that it owns.

use std::io::{self, Read};
use std::sync::Arc;

use ostree::glib::{Checksum, ChecksumType};

use super::Capabilities;
use crate::path::ImagePath;

/// A path of a package and what the package wants it to be. What is `None` is not declared, or not
/// to be verified by the packager's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredFile {
    /// Name of the package.
    pub package: Arc<str>,
    /// The path in the package's own words: the image may reach it through links.
    pub path: ImagePath,
    /// What lies there.
    pub kind: Option<FileKind>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: Option<u32>,
    /// Owner.
    pub user: Option<Owner>,
    /// Group.
    pub group: Option<Owner>,
    /// File capabilities; an empty set says that there are none.
    pub capabilities: Option<Capabilities>,
    /// For which content the declaration holds.
    pub content: DeclaredContent,
    /// Does the package only own the path, which something else makes (`%ghost`)?
    pub ghost: bool,
}

impl DeclaredFile {
    /// A declaration that says nothing yet, and that of any content.
    pub(super) fn new(package: Arc<str>, path: ImagePath) -> Self {
        Self {
            package,
            path,
            kind: None,
            mode: None,
            user: None,
            group: None,
            capabilities: None,
            content: DeclaredContent::Any,
            ghost: false,
        }
    }
}

/// The kinds of files that packages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A device, FIFO or socket.
    Special,
}

/// Whom a package wants a file to belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An account of the image.
    Name(Arc<str>),
    /// A number.
    Number(u32),
}

/// For which content of a path a declaration holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredContent {
    /// For any: configuration, which is there to be edited, or what has no content.
    Any,
    /// For this.
    Checksum(DeclaredChecksum),
    /// For one that is not known.
    Unknown,
}

/// The checksum of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredChecksum {
    algorithm: ChecksumType,
    digest: Box<[u8]>,
}

impl DeclaredChecksum {
    /// Reads hexadecimal digits. `None`: they are none, or not as many as the algorithm gives.
    pub fn parse(algorithm: ChecksumType, hex: &[u8]) -> Option<Self> {
        let digest = hex::decode(hex).ok()?;
        let length = Checksum::type_get_length(algorithm);
        let right = usize::try_from(length) == Ok(digest.len());
        right.then(|| Self {
            algorithm,
            digest: digest.into(),
        })
    }

    /// Is it that of `content`?
    ///
    /// # Errors
    /// `content` cannot be read.
    pub fn matches(&self, mut content: impl Read) -> io::Result<bool> {
        let mut checksum = Checksum::new(self.algorithm)
            .ok_or_else(|| io::Error::other("a checksum that GLib does not know"))?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                n => checksum.update(&buffer[..n]),
            }
        }
        Ok(checksum.digest() == *self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_compared() {
        for (algorithm, hex) in [
            (ChecksumType::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (
                ChecksumType::Sha1,
                "A9993E364706816ABA3E25717850C26C9CD0D89D",
            ),
            (
                ChecksumType::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ] {
            let checksum = DeclaredChecksum::parse(algorithm, hex.as_bytes()).unwrap();
            assert!(checksum.matches(&b"abc"[..]).unwrap(), "{algorithm:?}");
            assert!(!checksum.matches(&b"abd"[..]).unwrap(), "{algorithm:?}");
        }
        for wrong in ["", "00", "xx"] {
            assert!(DeclaredChecksum::parse(ChecksumType::Md5, wrong.as_bytes()).is_none());
        }
    }
}
