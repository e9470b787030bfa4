//! The SELinux policy of an image as its text files say it: which one it selects, where they lie,
//! what their lines are.
//!
//! [`label`](crate::label) makes labels of them; a fixup may add lines before.

mod config;
mod find;
mod parse;

pub use crate::host::Host;
pub use config::locate;
pub use find::{NoPolicy, files_of, find_policy, policies, select_policy, selinux_directory};
pub use parse::{Alias, Aliases, Specification};

use parse::specifications;

use std::fmt;

use crate::digest::{Digest, Hasher};

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

    /// The lines of all files but those of aliases, in the order libselinux reads them.
    ///
    /// # Errors
    /// A line that libselinux refuses.
    pub fn specifications(&self) -> Result<Vec<Specification<'_>>, MalformedLine> {
        let mut all = Vec::new();
        for (file, content) in self.present() {
            match file {
                PolicyFile::Subs | PolicyFile::SubsDist => {}
                PolicyFile::FileContexts | PolicyFile::Homedirs | PolicyFile::Local => {
                    all.extend(specifications(file, content)?);
                }
            }
        }
        Ok(all)
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

/// A line that libselinux refuses, or reads in pieces (an alias of more than 1022 bytes, a NUL).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy is malformed at {line}: {reason}")]
pub struct MalformedLine {
    /// The line.
    pub line: PolicyLine,
    /// What is wrong with it.
    pub reason: String,
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
