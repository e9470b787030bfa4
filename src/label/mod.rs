//! Path → SELinux context, from the text policy files of the image itself.
//!
//! [`Policy`] compiles every line of `file_contexts` and its companions into one lazy DFA; a
//! [`Labeler`] walks a path through it once and has all lines that match, the deciding one first.
//! The host's policy, its kernel and its libselinux have no say, so the same image gets the same
//! labels everywhere. What keeps it honest is libselinux on a private copy of the same text files
//! ([`Oracle`]): [`label_all`] asks it about a sample of every run, and lets it take over the run
//! when it answers differently or when the policy uses a regular expression that only PCRE has.
//!
//! The contract is selabel_file(5) and libselinux's `label_file.c`:
//! - a path is looked up without repeated or trailing slashes, with at most one alias of
//!   `file_contexts.subs` and then at most one of `file_contexts.subs_dist` applied; of several
//!   aliases that fit, the last line wins;
//! - lines without a metacharacter beat those with one; within each group the last line wins,
//!   `file_contexts`, `.homedirs` and `.local` being read in this order;
//! - `<<none>>` decides like any other line, and leaves the path without a label.
//!
//! Where releases of libselinux differ (a handful of paths that no package ships, such as names
//! ending in a newline), this follows the order up to 3.7, "the last matching line wins".

mod check;
mod config;
mod context;
mod find;
mod host;
mod libselinux;
mod parse;
mod pattern;
mod policy;
mod tree;

pub use check::{Disagreement, Labels, Node, Reference, TakeOver, label_all, sample};
pub use config::locate;
pub use context::{ContextId, Contexts};
pub use find::{NoPolicy, find_policy};
pub use host::Host;
pub use libselinux::Oracle;
pub use policy::{Explanation, Labeler, Match, Policy, SpecId};
pub use tree::{TreeLabels, kind, label_tree, label_trees};

use std::fmt;

use crate::digest::{Digest, Hasher};
use crate::path::ImagePath;

/// The extended attribute that holds a label. Its value is [`Contexts::xattr_value`].
pub const XATTR: &[u8] = b"security.selinux";

/// The text files of a policy, as they lie in `etc/selinux/TYPE/contexts/files` of the image.
/// The compiled `.bin` files beside them are never read.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles {
    /// `file_contexts`.
    pub file_contexts: Vec<u8>,
    /// `file_contexts.homedirs`, generated for the users of the image.
    pub homedirs: Option<Vec<u8>>,
    /// `file_contexts.local`, what `semanage fcontext` added.
    pub local: Option<Vec<u8>>,
    /// `file_contexts.subs`, the administrator's aliases.
    pub subs: Option<Vec<u8>>,
    /// `file_contexts.subs_dist`, the distribution's aliases.
    pub subs_dist: Option<Vec<u8>>,
}

impl PolicyFiles {
    /// A digest of all of them.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for (file, content) in self.present() {
            hasher.update(format!("{file} {}\n", content.len()).as_bytes());
            hasher.update(content);
        }
        hasher.finish()
    }

    /// The files that are there, with their contents, in the order libselinux reads them.
    pub fn present(&self) -> impl Iterator<Item = (PolicyFile, &[u8])> {
        [
            (PolicyFile::SubsDist, self.subs_dist.as_deref()),
            (PolicyFile::Subs, self.subs.as_deref()),
            (PolicyFile::FileContexts, Some(&*self.file_contexts)),
            (PolicyFile::Homedirs, self.homedirs.as_deref()),
            (PolicyFile::Local, self.local.as_deref()),
        ]
        .into_iter()
        .filter_map(|(file, content)| Some((file, content?)))
    }
}

/// One of the [`PolicyFiles`]; prints as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyFile {
    /// `file_contexts`
    FileContexts,
    /// `file_contexts.homedirs`
    Homedirs,
    /// `file_contexts.local`
    Local,
    /// `file_contexts.subs`
    Subs,
    /// `file_contexts.subs_dist`
    SubsDist,
}

impl PolicyFile {
    /// Its name in `contexts/files`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FileContexts => "file_contexts",
            Self::Homedirs => "file_contexts.homedirs",
            Self::Local => "file_contexts.local",
            Self::Subs => "file_contexts.subs",
            Self::SubsDist => "file_contexts.subs_dist",
        }
    }
}

impl fmt::Display for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A line of a policy file; prints as `file_contexts:12: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLine {
    /// Where it stands.
    pub file: PolicyFile,
    /// Its number, counted from 1.
    pub number: usize,
    /// What it says, without the space around it.
    pub text: Box<str>,
}

impl fmt::Display for PolicyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.number, self.text)
    }
}

/// Why a policy cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// libselinux would refuse the policy because of this line, too, or would read it in pieces
    /// (an alias of more than 1022 bytes, a NUL).
    #[error("the policy is malformed at {line}: {reason}")]
    Malformed {
        /// The line.
        line: PolicyLine,
        /// What is wrong with it.
        reason: String,
    },
    /// A regular expression that the DFA cannot hold, or that may mean another thing to PCRE.
    #[error("the policy needs PCRE at {line}: {reason}")]
    Unsupported {
        /// The line.
        line: PolicyLine,
        /// What about its regular expression.
        reason: String,
    },
    /// The automaton of all lines together is too large.
    #[error("the policy is too large for one automaton: {0}")]
    TooLarge(String),
}

/// The type of a file, as the second field of a policy line tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `--`
    Regular,
    /// `-d`
    Directory,
    /// `-l`
    Symlink,
    /// `-c`
    CharDevice,
    /// `-b`
    BlockDevice,
    /// `-p`
    Fifo,
    /// `-s`
    Socket,
}

/// The absolute path under which the policy knows a node of the committed tree.
///
/// `/usr/etc/X` is the `/etc/X` of the booted host, and `/proc`, which policies leave without a
/// label because the kernel labels it, is a mount point like `/mnt` (libostree looks both up the
/// same way). Every other path stands for itself.
pub fn lookup_path(path: &ImagePath) -> Vec<u8> {
    match path.as_bytes() {
        b"proc" => b"/mnt".to_vec(),
        bytes if bytes == b"usr/etc" || bytes.starts_with(b"usr/etc/") => {
            bytes[b"usr".len()..].to_vec()
        }
        _ => path.to_absolute(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_policies_apart() {
        let files = |file_contexts: &str, local: Option<&str>, subs: Option<&str>| PolicyFiles {
            file_contexts: file_contexts.into(),
            local: local.map(Into::into),
            subs: subs.map(Into::into),
            ..PolicyFiles::default()
        };
        let digests = [
            files("a", None, None),
            files("ab", None, None),
            files("a", Some("b"), None),
            files("a", None, Some("b")),
            files("a", Some(""), None),
        ]
        .map(|files| files.digest());
        let distinct: std::collections::HashSet<_> = digests.into_iter().collect();
        assert_eq!(distinct.len(), digests.len());
        assert_eq!(files("a", None, None).digest(), digests[0]);
    }

    #[test]
    fn lookup_paths() {
        for (path, want) in [
            ("", "/"),
            ("usr/etc", "/etc"),
            ("usr/etc/shadow", "/etc/shadow"),
            ("usr/etcetera", "/usr/etcetera"),
            ("etc/shadow", "/etc/shadow"),
            ("proc", "/mnt"),
            ("proc/self", "/proc/self"),
            ("usr/proc", "/usr/proc"),
        ] {
            let path = ImagePath::parse(path.as_bytes()).unwrap();
            assert_eq!(lookup_path(&path), want.as_bytes(), "{path}");
        }
    }
}
