//! All or nothing: objects become part of the repo, then commits, then refs move.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, Result, ensure};
use foldhash::HashSet;
use ostree::gio;

use super::{Repo, staging};
use crate::digest::Digest;

/// A running transaction of a [`Repo`]. Dropped, it leaves the repo's refs as they were, and its
/// objects too unless a commit was written.
///
/// libostree stages objects and moves them into the repo in no particular order, so an import that
/// is killed while it does may leave a commit without its files, which is corrupt. Therefore it is
/// two transactions to libostree: what a commit names is part of the repo before the commit is.
#[derive(Debug)]
pub struct Transaction<'a> {
    repo: &'a Repo,
    pub(super) threads: NonZeroUsize,
    /// The distinct content objects that were handed to libostree.
    pub(super) content: Seen,
    /// The distinct metadata objects that were.
    pub(super) metadata: Seen,
    /// Dirtrees and dirmetas that the repo had before, as far as that is known.
    pub(super) listed: RefCell<HashSet<Digest>>,
    /// Were objects written that are not part of the repo yet?
    pub(super) unpublished: Cell<bool>,
    /// Is libostree in a transaction?
    running: Cell<bool>,
    /// What has become part of the repo.
    published: Cell<Statistics>,
    /// The refs that move in the end.
    refs: RefCell<Vec<(String, Option<Digest>)>>,
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
pub(super) fn check_ref(name: &str) -> Result<()> {
    ostree::validate_rev(name).with_context(|| format!("{name:?} cannot be a ref"))?;
    // What reads refs would take it for a commit.
    ensure!(
        ostree::validate_checksum_string(name).is_err(),
        "{name:?} cannot be a ref: it looks like a checksum"
    );
    Ok(())
}

impl<'a> Transaction<'a> {
    pub(super) fn begin(repo: &'a Repo, threads: NonZeroUsize) -> Result<Self> {
        let transaction = Self {
            repo,
            threads,
            content: Seen::default(),
            metadata: Seen::default(),
            listed: RefCell::default(),
            unpublished: Cell::default(),
            running: Cell::default(),
            published: Cell::default(),
            refs: RefCell::default(),
        };
        repo.make_object_directories()?;
        transaction.prepare()?;
        Ok(transaction)
    }

    /// Lets `name` point to `commit` once the transaction is committed. The ref that is set last
    /// moves last, as it may say that the others are there, if another one points to the same commit.
    ///
    /// # Errors
    /// `name` is no name of a ref.
    pub fn set_ref(&self, name: &str, commit: Digest) -> Result<()> {
        check_ref(name)?;
        self.refs.borrow_mut().push((name.to_owned(), Some(commit)));
        Ok(())
    }

    /// Removes the ref `name`, if there is one, once the transaction is committed. It is not what
    /// is set last.
    ///
    /// # Errors
    /// `name` is no name of a ref.
    pub fn remove_ref(&self, name: &str) -> Result<()> {
        check_ref(name)?;
        self.refs.borrow_mut().push((name.to_owned(), None));
        Ok(())
    }

    /// Makes everything part of the repo, durably, and then moves the refs.
    ///
    /// # Errors
    /// What libostree says, with [`RepoError::NoSpace`](super::RepoError::NoSpace) for a full
    /// disk. The transaction is aborted then.
    pub fn commit(self) -> Result<Statistics> {
        let mut refs = self.refs.take();
        // Between the two moves others may prune: then a second ref must keep what the last one is for.
        let kept_by_another = match refs.as_slice() {
            [others @ .., (_, last)] => others.iter().any(|(_, commit)| commit == last),
            [] => false,
        };
        let last = refs.pop_if(|_| kept_by_another);
        // Each ref is synced by itself, and those of layers seldom move.
        refs.retain(|(name, commit)| self.repo.resolve(name).ok() != Some(*commit));
        for (name, commit) in refs {
            let commit = commit.map(|commit| commit.hex());
            self.ostree()
                .transaction_set_ref(None, &name, commit.as_deref());
        }
        self.publish()?;
        // libostree moves the refs of a transaction in no particular order.
        if let Some((name, commit)) = last {
            let commit = commit.map(|commit| commit.hex());
            self.ostree()
                .set_ref_immediate(None, &name, commit.as_deref(), gio::Cancellable::NONE)
                .map_err(|error| self.repo.explain(error))
                .with_context(|| format!("moving the ref {name:?}"))?;
        }
        let written = self.published.get();
        Ok(Statistics {
            content_present: self.content.len() - written.content_written,
            metadata_present: self.metadata.len() - written.metadata_written,
            ..written
        })
    }

    /// Makes the objects that were written part of the repo, durably, and goes on.
    pub(super) fn publish_objects(&self) -> Result<()> {
        if self.unpublished.take() {
            self.publish()?;
            self.prepare()?;
        }
        Ok(())
    }

    fn prepare(&self) -> Result<()> {
        self.ostree()
            .prepare_transaction(gio::Cancellable::NONE)
            .map_err(|error| self.repo.explain(error))
            .with_context(|| format!("beginning a transaction in {}", self.repo.path.display()))?;
        self.running.set(true);
        Ok(())
    }

    fn publish(&self) -> Result<()> {
        let totals = self
            .ostree()
            .commit_transaction(gio::Cancellable::NONE)
            .map_err(|error| self.repo.explain(error))
            .with_context(|| format!("committing to the repo {}", self.repo.path.display()))?;
        // ostree 0.20 takes them from Rust's allocator and gives them back to GLib's, which only the
        // same allocator for both forgives. A program that has another loses a few bytes instead.
        let totals = ManuallyDrop::new(totals);
        self.running.set(false);
        let mut published = self.published.get();
        published.content_written += totals.get_content_objects_written();
        published.metadata_written += totals.get_metadata_objects_written();
        published.content_bytes_written += totals.get_content_bytes_written();
        self.published.set(published);
        Ok(())
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
        if !self.running.get() {
            return;
        }
        let abort = || {
            let ours_among_others = staging::in_use(&self.repo.spool_directory());
            self.ostree().abort_transaction(gio::Cancellable::NONE)?;
            staging::remove_unused(&ours_among_others?)?;
            anyhow::Ok(())
        };
        if let Err(error) = abort() {
            // Nobody will notice but by less space: the error that led here says more.
            tracing::info!(
                "aborting a transaction in {}: {error:#}",
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
