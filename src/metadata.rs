//! What a file carries besides its content: mode, owner, extended attributes, time.

use std::collections::BTreeMap;

/// Mode, owner and extended attributes of a file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky (`0o7777`); never the file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since the epoch. An ostree commit does not hold it; it dates
    /// a root that has no image configuration.
    pub mtime: i64,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Metadata {
    /// Metadata of a directory nobody described: `0755`, owned by root.
    pub fn implicit_directory() -> Self {
        Self {
            mode: 0o755,
            ..Self::default()
        }
    }
}

/// Extended attributes: one value a name, in byte order of the names, as ostree wants them.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The extended attribute that holds an SELinux label, whose value ends in NUL.
pub const LABEL_XATTR: &[u8] = b"security.selinux";

/// The extended attribute that holds file capabilities, see capabilities(7).
pub const CAPABILITY_XATTR: &[u8] = b"security.capability";

/// What ostree cannot hold: a device, a FIFO or a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// A character device and its numbers.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device and its numbers.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl std::fmt::Display for Special {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CharDevice { major, minor } => write!(f, "character device {major}:{minor}"),
            Self::BlockDevice { major, minor } => write!(f, "block device {major}:{minor}"),
            Self::Fifo => f.write_str("FIFO"),
            Self::Socket => f.write_str("socket"),
        }
    }
}
