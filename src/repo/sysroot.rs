//! The system that a repo is of: what is deployed of it.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::gio::prelude::*;

use crate::digest::Digest;

/// A system with deployments.
pub struct Sysroot {
    inner: ostree::Sysroot,
    path: PathBuf,
    /// Does whoever has the same handle see to the lock?
    locked: bool,
}

/// One root that can be booted, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its commit.
    pub commit: Digest,
    /// What its origin names as its image, with the trust in it; `None` where it is no image's.
    pub image: Option<String>,
}

/// Nobody else changes the deployments of a system until it is dropped.
#[derive(Debug)]
pub struct SysrootLock<'a>(Option<&'a Sysroot>);

impl Sysroot {
    /// Reads the system whose physical root is `path`; `/` is the one that runs.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> Result<Self> {
        let inner = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        let sysroot = Self {
            inner,
            path: path.to_owned(),
            locked: false,
        };
        sysroot.load()?;
        Ok(sysroot)
    }

    /// The system that `inner` has loaded, for somebody who holds its lock.
    pub fn of_locked(inner: ostree::Sysroot) -> Self {
        Self {
            path: inner.path().path().unwrap_or_default(),
            inner,
            locked: true,
        }
    }

    /// Where its repo lies.
    pub fn repo_path(&self) -> PathBuf {
        self.path.join("ostree/repo")
    }

    /// Waits until nobody else changes deployments, keeps it so, and reads them anew.
    ///
    /// # Errors
    /// The system cannot be written to.
    pub fn lock(&self) -> Result<SysrootLock<'_>> {
        if self.locked {
            return Ok(SysrootLock(None));
        }
        self.inner
            .lock()
            .with_context(|| format!("locking the system {}", self.path.display()))?;
        let lock = SysrootLock(Some(self));
        self.load()?;
        Ok(lock)
    }

    /// The deployments, the one that boots first before the others.
    ///
    /// # Errors
    /// An origin cannot be read.
    pub fn deployments(&self) -> Result<Vec<Deployment>> {
        let deployments = self.inner.deployments();
        deployments.iter().map(deployment).collect()
    }

    fn load(&self) -> Result<()> {
        self.inner
            .load(gio::Cancellable::NONE)
            .with_context(|| format!("reading the deployments of {}", self.path.display()))
    }
}

impl fmt::Debug for Sysroot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sysroot").field(&self.path).finish()
    }
}

impl Drop for SysrootLock<'_> {
    fn drop(&mut self) {
        if let Some(sysroot) = self.0 {
            sysroot.inner.unlock();
        }
    }
}

fn deployment(of: &ostree::Deployment) -> Result<Deployment> {
    let image =
        of.origin().map(
            |origin| match origin.string("origin", "container-image-reference") {
                Ok(image) => Ok(Some(image.to_string())),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(error),
            },
        );
    let image = image
        .transpose()
        .with_context(|| format!("the origin of a deployment of {}", of.csum()))?;
    Ok(Deployment {
        commit: Digest::from_hex(&of.csum())?,
        image: image.flatten(),
    })
}

fn is_missing(error: &ostree::glib::Error) -> bool {
    use ostree::glib::KeyFileError::{GroupNotFound, KeyNotFound};
    error.matches(KeyNotFound) || error.matches(GroupNotFound)
}
