//! The only writer of ostree repos.
//!
//! A [`Repo`] is opened, a [`Transaction`] begun, objects and a commit written, refs set, and all
//! of it committed in this order: refs move last. A transaction that is dropped leaves refs as they
//! were, and objects too unless a commit was written. Durability and reserved space are libostree's business and follow the repo's own
//! configuration.

mod bodies;
mod commit;
mod deploy;
mod detached;
mod error;
mod initramfs;
mod lock;
mod presence;
mod prune;
mod pull;
mod read;
mod sign;
mod staging;
mod sysroot;
mod transaction;
mod worker;
mod write;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use ostree::gio;
use ostree::gio::prelude::*;

pub use bodies::{RepoBodies, StoredObject};
pub use commit::{CommitObject, CommitSpec, TreeRoot};
pub use deploy::{DeploySpec, NewDeployment};
pub use error::RepoError;
pub use initramfs::StoredInitramfs;
pub use lock::RepoLock;
pub use prune::PrunedObjects;
pub use read::CommitMetadata;
pub use sign::{KeyFile, Signers, SigningKeys};
pub use sysroot::{Deployment, SYSROOT_REPO, Sysroot, SysrootLock};
pub use transaction::{Statistics, Transaction};

/// How a repo stores objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As the files they are: a system repo. Needs root.
    Bare,
    /// As files of one user, owner and xattrs in an xattr of theirs.
    BareUser,
    /// Compressed, to be served over HTTP.
    Archive,
}

impl Mode {
    /// The suffix of the files that hold content objects.
    fn content_suffix(self) -> &'static str {
        match self {
            Self::Archive => "filez",
            Self::Bare | Self::BareUser => "file",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::BareUser => "bare-user",
            Self::Archive => "archive",
        })
    }
}

impl FromStr for Mode {
    type Err = RepoError;

    fn from_str(name: &str) -> Result<Self, RepoError> {
        match name {
            "bare" => Ok(Self::Bare),
            "bare-user" => Ok(Self::BareUser),
            "archive" | "archive-z2" => Ok(Self::Archive),
            _ => Err(RepoError::UnsupportedMode(name.to_owned())),
        }
    }
}

/// An open repo that can hold what we write. Clones are handles of the same open repo.
#[derive(Debug, Clone)]
pub struct Repo {
    inner: ostree::Repo,
    path: PathBuf,
    mode: Mode,
}

impl Repo {
    /// Opens the repo at `path` for writing.
    ///
    /// # Errors
    /// [`RepoError::NotARepo`], [`RepoError::UnsupportedMode`], [`RepoError::NotWritable`], or
    /// what else libostree says.
    pub fn open(path: &Path) -> Result<Self> {
        let repo = Self::open_for_reading(path)?;
        repo.inner
            .is_writable()
            .map_err(|error| RepoError::NotWritable(path.to_owned(), error))?;
        Ok(repo)
    }

    /// Opens the repo at `path`, of which nothing will be changed.
    ///
    /// # Errors
    /// Those of [`Repo::open`], without [`RepoError::NotWritable`].
    pub fn open_for_reading(path: &Path) -> Result<Self> {
        let inner = ostree::Repo::new_for_path(path);
        inner.open(gio::Cancellable::NONE).map_err(|error| {
            if error.matches(gio::IOErrorEnum::NotFound) {
                RepoError::NotARepo(path.to_owned()).into()
            } else {
                anyhow::Error::new(error).context(format!("opening the repo {}", path.display()))
            }
        })?;
        Self::of_open(inner, path.to_owned())
    }

    /// The repo that `inner` has open. Whether it can be written to will turn out.
    ///
    /// # Errors
    /// [`RepoError::UnsupportedMode`].
    pub fn of_handle(inner: ostree::Repo) -> Result<Self> {
        // Of one that was opened by a descriptor libostree gives the path of that in /proc.
        let path = inner.path().path().unwrap_or_default();
        Self::of_open(inner, path)
    }

    fn of_open(inner: ostree::Repo, path: PathBuf) -> Result<Self> {
        let mode = configured_mode(&inner).with_context(|| path.display().to_string())?;
        Ok(Self { inner, path, mode })
    }

    /// Makes a repo at `path`, whose parent must exist, and opens it. A repo of the same mode that
    /// is there already is opened as it is.
    ///
    /// # Errors
    /// [`RepoError::OtherMode`], and those of [`Repo::open`].
    pub fn init(path: &Path, mode: Mode) -> Result<Self> {
        let wanted = match mode {
            Mode::Bare => ostree::RepoMode::Bare,
            Mode::BareUser => ostree::RepoMode::BareUser,
            Mode::Archive => ostree::RepoMode::Archive,
        };
        ostree::Repo::new_for_path(path)
            .create(wanted, gio::Cancellable::NONE)
            .with_context(|| format!("making a repo at {}", path.display()))?;
        let repo = Self::open(path)?;
        if repo.mode != mode {
            return Err(RepoError::OtherMode {
                path: path.to_owned(),
                found: repo.mode,
                expected: mode,
            }
            .into());
        }
        Ok(repo)
    }

    /// Where it lies, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it stores objects.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A directory on the repo's filesystem for files that do not outlive the process.
    pub fn spool_directory(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Is there room for `bytes` more, apart from the space that the repo's configuration reserves?
    ///
    /// # Errors
    /// [`RepoError::NoSpace`]
    pub fn ensure_free_space(&self, bytes: u64) -> Result<()> {
        let context = || format!("asking for the free space of {}", self.path.display());
        let filesystem = rustix::fs::fstatvfs(self.inner.dfd_borrow()).with_context(context)?;
        let reserved = self.inner.min_free_space_bytes().with_context(context)?;
        let free = filesystem.f_bavail * filesystem.f_frsize;
        let usable = free.saturating_sub(reserved);
        if bytes > usable {
            return Err(RepoError::NoSpace {
                path: self.path.clone(),
                detail: format!("{bytes} bytes needed, {usable} free"),
            }
            .into());
        }
        Ok(())
    }

    /// Makes the directories of all objects, as libostree does one by one when it moves finished
    /// objects there: without a free inode that would end halfway, with objects that no ref needs.
    fn make_object_directories(&self) -> Result<()> {
        let repo = self.inner.dfd_borrow();
        for prefix in 0..=u8::MAX {
            let path = format!("objects/{prefix:02x}");
            match rustix::fs::mkdirat(repo, &*path, 0o775.into()) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(rustix::io::Errno::NOSPC) => {
                    return Err(RepoError::NoSpace {
                        path: self.path.clone(),
                        detail: format!("making {path}"),
                    }
                    .into());
                }
                Err(error) => {
                    let context = format!("making {path} in {}", self.path.display());
                    return Err(anyhow::Error::new(error).context(context));
                }
            }
        }
        Ok(())
    }

    /// Can all of `names` become refs? Refs are files, so none can lie below another.
    ///
    /// # Errors
    /// One cannot.
    pub fn check_new_refs(&self, names: &[&str]) -> Result<()> {
        let refs = self.inner.list_refs(None, gio::Cancellable::NONE)?;
        let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        for &name in names {
            transaction::check_ref(name)?;
            let mut others = refs
                .keys()
                .map(|other| &**other)
                .chain(names.iter().copied());
            if let Some(other) = others.find(|other| below(name, other) || below(other, name)) {
                bail!("{name:?} cannot be a ref beside the ref {other:?}");
            }
        }
        Ok(())
    }

    /// Begins a transaction that writes objects from `threads` threads. A repo has at most one
    /// transaction at a time.
    pub fn transaction(&self, threads: NonZeroUsize) -> Result<Transaction<'_>> {
        Transaction::begin(self, threads)
    }
}

fn configured_mode(repo: &ostree::Repo) -> Result<Mode, RepoError> {
    match repo.mode() {
        ostree::RepoMode::Bare => Ok(Mode::Bare),
        ostree::RepoMode::BareUser => Ok(Mode::BareUser),
        ostree::RepoMode::Archive => Ok(Mode::Archive),
        ostree::RepoMode::BareUserOnly => {
            Err(RepoError::UnsupportedMode("bare-user-only".to_owned()))
        }
        other => Err(RepoError::UnsupportedMode(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests;
