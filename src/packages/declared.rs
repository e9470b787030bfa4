//! What a package says of one path.

use std::sync::Arc;

use crate::path::ImagePath;

/// A path of a package with what the package declares of it. What it leaves open, or tells nobody to
/// verify, is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredFile {
    /// As the package spells it: its parents may be links in the image.
    pub path: ImagePath,
    /// Name of the package.
    pub package: Arc<str>,
    /// What it is; `None` where any kind is meant.
    pub kind: Option<DeclaredKind>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: Option<u32>,
    /// Owner.
    pub owner: Option<Account>,
    /// Group.
    pub group: Option<Account>,
    /// File capabilities, as the xattr `security.capability` holds them.
    pub capabilities: Option<Box<[u8]>>,
    /// Digest of the content of a regular file.
    pub digest: Option<ContentDigest>,
    /// May its content change on a running system?
    pub config: bool,
    /// Are set-user-ID bits what the package falls back to where it cannot set capabilities?
    pub setuid_instead: bool,
}

impl DeclaredFile {
    /// A path of which nothing is declared yet.
    pub fn new(path: ImagePath, package: Arc<str>) -> Self {
        Self {
            path,
            package,
            kind: None,
            mode: None,
            owner: None,
            group: None,
            capabilities: None,
            digest: None,
            config: false,
            setuid_instead: false,
        }
    }
}

/// What a declared path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// By name: the accounts of the image know its number.
    Name(Arc<str>),
    /// By number.
    Number(u32),
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A digest of a file's content by the algorithm that its package chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentDigest {
    /// Which algorithm.
    pub algorithm: DigestAlgorithm,
    /// Hexadecimal digits, in lower case.
    pub hex: Box<str>,
}

/// An algorithm of a [`ContentDigest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// MD5, of dpkg and of old RPM packages.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256, of today's RPM and pacman packages.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}
