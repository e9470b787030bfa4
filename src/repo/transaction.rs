//! All or nothing: objects become part of the repo, then refs move.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, Result};
use ostree::gio;

use super::Repo;
use crate::digest::Digest;

/// A running transaction of a [`Repo`]. Dropped, it leaves the repo's refs and objects as they
/// were; finished objects may stay in the repo's `tmp` for the next transaction to find.
#[derive(Debug)]
pub struct Transaction<'a> {
    repo: &'a Repo,
    pub(super) threads: NonZeroUsize,
    /// The distinct content objects that were handed to libostree.
    pub(super) content: Seen,
    /// The distinct metadata objects that were.
    pub(super) metadata: Seen,
}

/// What a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Statistics {
    /// Content objects (files and links) that are new in the repo.
    pub content_written: usize,
    /// Content objects that it had.
    pub content_present: usize,
    /// Metadata objects (dirtree, dirmeta, commit) that are new in the repo.
    pub metadata_written: usize,
    /// Metadata objects that it had.
    pub metadata_present: usize,
    /// Size in bytes of the new content objects, uncompressed and without headers.
    pub content_bytes_written: u64,
}

/// Can `name` be a ref?
///
/// # Errors
/// It cannot.
pub fn check_ref(name: &str) -> Result<()> {
    ostree::validate_rev(name).with_context(|| format!("{name:?} cannot be a ref"))
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(repo: &'a Repo, threads: NonZeroUsize) -> Result<Self> {
        repo.inner
            .prepare_transaction(gio::Cancellable::NONE)
            .map_err(|error| repo.explain(error))
            .with_context(|| format!("beginning a transaction in {}", repo.path.display()))?;
        Ok(Self {
            repo,
            threads,
            content: Seen::default(),
            metadata: Seen::default(),
        })
    }

    /// Lets `name` point to `commit` once the transaction is committed.
    ///
    /// # Errors
    /// `name` is no name of a ref.
    pub fn set_ref(&self, name: &str, commit: Digest) -> Result<()> {
        check_ref(name)?;
        self.ostree()
            .transaction_set_ref(None, name, Some(&commit.hex()));
        Ok(())
    }

    /// Makes the objects part of the repo, durably, and then moves the refs.
    ///
    /// # Errors
    /// What libostree says, with [`RepoError::NoSpace`](super::RepoError::NoSpace) for a full
    /// disk. The transaction is aborted then.
    pub fn commit(self) -> Result<Statistics> {
        let totals = self
            .ostree()
            .commit_transaction(gio::Cancellable::NONE)
            .map_err(|error| self.repo.explain(error))
            .with_context(|| format!("committing to the repo {}", self.repo.path.display()))?;
        let content_written = totals.get_content_objects_written();
        let metadata_written = totals.get_metadata_objects_written();
        Ok(Statistics {
            content_written,
            content_present: self.content.len() - content_written,
            metadata_written,
            metadata_present: self.metadata.len() - metadata_written,
            content_bytes_written: totals.get_content_bytes_written(),
        })
    }

    pub(super) fn repo(&self) -> &Repo {
        self.repo
    }

    pub(super) fn ostree(&self) -> &ostree::Repo {
        &self.repo.inner
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Does nothing after a commit.
        if let Err(error) = self.ostree().abort_transaction(gio::Cancellable::NONE) {
            tracing::warn!(
                "aborting a transaction in {}: {error}",
                self.repo.path.display()
            );
        }
    }
}

/// Checksums of objects, shared between threads.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashSet<Digest>>);

impl Seen {
    /// Adds `checksum`; false if it was there.
    pub(super) fn insert(&self, checksum: Digest) -> bool {
        self.lock().insert(checksum)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.0.lock().expect("no panic under the lock")
    }
}
