//! What can be wrong with a repo, for those who decide on the kind.

use std::path::PathBuf;

use ostree::{gio, glib};

use super::{Mode, Repo};

/// What is wrong with a repo.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// There is none.
    #[error("{} is not an ostree repo; --init makes one", .0.display())]
    NotARepo(PathBuf),
    /// It cannot hold owners and labels, or we do not know it.
    #[error(
        "repos of mode {0} are not supported, only bare, bare-user and archive: \
         bare-user-only cannot hold owners and labels"
    )]
    UnsupportedMode(String),
    /// One was asked for where one of another mode lies.
    #[error("{} is already a repo of mode {found}, not {expected}", path.display())]
    OtherMode {
        /// The repo.
        path: PathBuf,
        /// Its mode.
        found: Mode,
        /// The mode asked for.
        expected: Mode,
    },
    /// We may not write to it.
    #[error("cannot write to the repo {}", .0.display())]
    NotWritable(PathBuf, #[source] glib::Error),
    /// Its filesystem is full, or what is free is reserved.
    #[error("no space left in the repo {}: {detail}", path.display())]
    NoSpace {
        /// The repo.
        path: PathBuf,
        /// How much is missing, as far as is known.
        detail: String,
    },
    /// Only root can give files an owner.
    #[error(
        "writing to the bare repo {} needs root, because its files carry their own owner and \
         label; a bare-user repo does not", .0.display()
    )]
    BareNeedsRoot(PathBuf, #[source] glib::Error),
    /// Its filesystem has no place for a kind or an amount of extended attributes.
    #[error(
        "the file system of the repo {} cannot hold an extended attribute of this file",
        .0.display()
    )]
    Xattr(PathBuf, #[source] glib::Error),
}

impl Repo {
    /// What an error of libostree while writing says to the user.
    pub(super) fn explain(&self, error: glib::Error) -> anyhow::Error {
        let denied = error.matches(gio::IOErrorEnum::PermissionDenied);
        if denied && self.mode == Mode::Bare && !rustix::process::geteuid().is_root() {
            return RepoError::BareNeedsRoot(self.path.clone(), error).into();
        }
        // ext4 says that a disk is full where only the place beside an inode is.
        if error.message().contains("setxattr") {
            return RepoError::Xattr(self.path.clone(), error).into();
        }
        // Exceeding `min-free-space-*` has no error code of its own.
        if error.matches(gio::IOErrorEnum::NoSpace) || error.message().contains("min-free-space") {
            return anyhow::Error::new(RepoError::NoSpace {
                path: self.path.clone(),
                detail: error.message().to_owned(),
            });
        }
        anyhow::Error::new(error)
    }
}
