//! Imports and clean-ups keep out of each other's way.
//!
//! libostree's own lock is held by each transaction alone: between those of one import, and before
//! the first, another process may prune what the import counts on. And it knows nothing of refs: a
//! layer's may be there before the one of the image that needs it. So who imports shares a lock
//! until all refs have moved, and who cleans up has it alone. It is on the directory of the repo,
//! where it meets nobody else's and leaves nothing behind.

use std::fs::{File, TryLockError};
use std::io;

use anyhow::{Context as _, Result};

use super::Repo;

/// A lock on a repo, until it is dropped.
#[derive(Debug)]
pub struct RepoLock {
    _directory: File,
}

impl Repo {
    /// Waits until nobody cleans up, and keeps it so.
    ///
    /// # Errors
    /// The file system knows no locks.
    pub fn share(&self) -> Result<RepoLock> {
        self.lock(File::try_lock_shared, File::lock_shared)
    }

    /// Waits until nobody imports or cleans up, and keeps it so.
    ///
    /// # Errors
    /// The file system knows no locks.
    pub fn exclude_others(&self) -> Result<RepoLock> {
        self.lock(File::try_lock, File::lock)
    }

    fn lock(
        &self,
        at_once: fn(&File) -> Result<(), TryLockError>,
        in_time: fn(&File) -> io::Result<()>,
    ) -> Result<RepoLock> {
        let locked = || {
            let directory = File::open(&self.path)?;
            match at_once(&directory) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let repo = self.path.display();
                    tracing::warn!("another import-oci is at work in {repo}: waiting for it");
                    in_time(&directory)?;
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            Ok(RepoLock {
                _directory: directory,
            })
        };
        locked().with_context(|| format!("locking the repo {}", self.path.display()))
    }
}
