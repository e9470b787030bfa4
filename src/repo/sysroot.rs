//! The system that a repo is of: what is deployed of it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::gio::prelude::*;

use crate::contract::Origin;
use crate::digest::Digest;

/// A system with deployments.
pub struct Sysroot {
    inner: ostree::Sysroot,
    path: PathBuf,
    /// Does somebody else hold its lock for us?
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

/// Where the repo of a system lies below its physical root.
pub const SYSROOT_REPO: &str = "ostree/repo";

/// Where stateroots lie.
const STATEROOTS: &str = "ostree/deploy";

/// Nobody else changes the deployments of a system until it is dropped.
#[derive(Debug)]
pub struct SysrootLock<'a>(pub(super) &'a Sysroot);

impl Sysroot {
    /// Reads the system whose physical root is `path`; `/` is the one that runs.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> Result<Self> {
        let sysroot = Self::new(path);
        sysroot.load()?;
        Ok(sysroot)
    }

    /// Opens the system to change what is deployed, which is read by [`Sysroot::lock`]. The running
    /// one keeps its repo and `/boot` from being written to: this process alone gets mounts where
    /// they can be, once the system is locked. Threads that run already do not see them.
    ///
    /// # Errors
    /// There is none.
    pub fn open_to_change(path: &Path) -> Result<Self> {
        let sysroot = Self::new(path);
        sysroot
            .inner
            .initialize_with_mount_namespace(gio::Cancellable::NONE)
            .with_context(|| format!("opening the system {}", path.display()))?;
        Ok(sysroot)
    }

    fn new(path: &Path) -> Self {
        Self {
            inner: ostree::Sysroot::new(Some(&gio::File::for_path(path))),
            path: path.to_owned(),
            locked: false,
        }
    }

    /// The system that `inner` has loaded, for somebody who holds its lock.
    pub fn of_locked(inner: ostree::Sysroot) -> Self {
        Self {
            path: inner.path().path().unwrap_or_default(),
            inner,
            locked: true,
        }
    }

    /// Where it lies, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its repo lies.
    pub fn repo_path(&self) -> PathBuf {
        self.path.join(SYSROOT_REPO)
    }

    /// Waits until nobody else changes deployments, keeps it so, and reads them anew.
    ///
    /// # Errors
    /// The system cannot be written to.
    pub fn lock(&self) -> Result<SysrootLock<'_>> {
        if !self.locked {
            self.inner
                .lock()
                .with_context(|| format!("locking the system {}", self.path.display()))?;
        }
        let lock = SysrootLock(self);
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

    /// The names of its stateroots, in byte order.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn stateroots(&self) -> Result<Vec<String>> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.path.join(STATEROOTS))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
            names.sort_unstable();
            std::io::Result::Ok(names)
        };
        list().with_context(|| format!("listing the stateroots of {}", self.path.display()))
    }

    /// Where the `/var` of a stateroot lies.
    pub fn var_path(&self, stateroot: &str) -> PathBuf {
        self.path.join(STATEROOTS).join(stateroot).join("var")
    }

    /// The stateroot of the deployment that runs; `None` where none of this system does.
    pub fn booted_stateroot(&self) -> Option<String> {
        let booted = self.inner.booted_deployment();
        booted.map(|deployment| deployment.osname().into())
    }

    /// The origin of the deployment that runs, or would run next where none does; `None`: nothing is
    /// deployed.
    pub fn current_origin(&self) -> Option<Origin> {
        let next = || self.inner.deployments().into_iter().next();
        let current = self.inner.booted_deployment().or_else(next)?;
        Some(current.origin().unwrap_or_default().into())
    }

    pub(super) fn inner(&self) -> &ostree::Sysroot {
        &self.inner
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
        if !self.0.locked {
            self.0.inner.unlock();
        }
    }
}

fn deployment(of: &ostree::Deployment) -> Result<Deployment> {
    let image = of.origin().map(|origin| Origin::from(origin).image_text());
    let image = image
        .transpose()
        .with_context(|| format!("the origin of a deployment of {}", of.csum()))?;
    Ok(Deployment {
        commit: Digest::from_hex(&of.csum())?,
        image: image.flatten(),
    })
}
