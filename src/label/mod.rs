//! Path → SELinux context, from the text policy files of the image itself.
//!
//! [`Policy`] compiles the lines of `file_contexts` and its companions into one lazy DFA; a
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
mod context;
mod known;
mod libselinux;
mod pattern;
mod policy;
mod prefixes;
mod tree;

pub use check::{Disagreement, Labels, Node, Reference, TakeOver, label_all, sample};
pub use context::{ContextId, Contexts};
pub use known::{KnownLabels, kind_of};
pub use libselinux::Oracle;
pub use policy::{Explanation, Labeler, Match, Policy, SpecId};
pub use tree::{TreeLabels, kind, label_tree, label_trees};

pub use crate::policy::{
    FileKind, MalformedLine, NoPolicy, PolicyFile, PolicyFiles, PolicyLine, find_policy,
};

use crate::path::ImagePath;

/// Why a policy cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// libselinux would refuse it, too.
    #[error(transparent)]
    Malformed(#[from] MalformedLine),
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
