//! The commit object.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, ensure};
use ostree::gio;
use ostree::glib::Variant;
use ostree::glib::prelude::*;

use super::Transaction;
use crate::contract::MetadataValue;
use crate::digest::Digest;
use crate::object::{Directories, MetadataObject};

/// The tree of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRoot {
    /// The dirtree of the root.
    pub dirtree: Digest,
    /// The dirmeta of the root.
    pub dirmeta: Digest,
}

impl From<&Directories> for TreeRoot {
    fn from(directories: &Directories) -> Self {
        Self {
            dirtree: directories.root_dirtree,
            dirmeta: directories.root_dirmeta,
        }
    }
}

/// What a commit says besides its empty subject and body.
#[derive(Debug, Clone, Copy)]
pub struct CommitSpec<'a> {
    /// Its tree, written before.
    pub root: TreeRoot,
    /// The commit before it, if it has one.
    pub parent: Option<Digest>,
    /// Metadata. The order of the keys is part of the checksum, and always the same.
    pub metadata: &'a [(&'static str, MetadataValue)],
    /// Seconds since the epoch.
    pub timestamp: u64,
}

/// A commit that somebody else made.
#[derive(Debug)]
pub struct CommitObject {
    /// The commit.
    pub object: MetadataObject,
    /// Its tree, written before.
    pub root: TreeRoot,
    /// What is said of it beside it, signatures for example: `a{sv}`.
    pub detached: Option<Vec<u8>>,
}

impl Transaction<'_> {
    /// Makes what was written so far part of the repo, durably, then writes a commit object and
    /// returns its checksum. No ref points to it yet.
    ///
    /// libostree flushes the whole filesystem for that: drop the bodies before, or a spool that
    /// lies there is written to the disk only to be forgotten.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub fn write_commit(&self, commit: &CommitSpec<'_>) -> Result<Digest> {
        self.publish_root(commit.root)?;
        let repo = self.ostree();
        let metadata: BTreeMap<&str, Variant> = commit
            .metadata
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    MetadataValue::Text(text) => text.to_variant(),
                    MetadataValue::Flag(flag) => flag.to_variant(),
                    MetadataValue::Bytes(bytes) => Variant::array_from_fixed_array(bytes),
                };
                (*key, value)
            })
            .collect();
        let write = || {
            let TreeRoot { dirtree, dirmeta } = commit.root;
            let tree = ostree::MutableTree::from_checksum(repo, &dirtree.hex(), &dirmeta.hex());
            let root = repo.write_mtree(&tree, gio::Cancellable::NONE)?;
            let parent = commit.parent.map(|parent| parent.hex());
            let checksum = repo.write_commit_with_time(
                parent.as_deref(),
                None,
                None,
                Some(&metadata.to_variant()),
                root.downcast_ref()
                    .expect("libostree gives a root of a repo"),
                commit.timestamp,
                gio::Cancellable::NONE,
            )?;
            // Where `ostree fsck` found that a part of it was lost, it has just been written again.
            repo.mark_commit_partial(&checksum, false)?;
            Ok(checksum)
        };
        let checksum = write()
            .map_err(|error| self.repo().explain(error))
            .context("writing the commit object")?;
        let checksum = Digest::from_hex(&checksum)?;
        self.metadata.insert(checksum);
        Ok(checksum)
    }

    /// [`Transaction::write_commit`] for a commit that there is already. What the repo has beside it
    /// stays.
    ///
    /// # Errors
    /// As there.
    pub fn write_commit_object(&self, commit: &CommitObject) -> Result<()> {
        self.publish_root(commit.root)?;
        self.write_metadata(std::slice::from_ref(&commit.object))?;
        let (repo, checksum) = (self.ostree(), commit.object.checksum.hex());
        let write = || {
            let none = gio::Cancellable::NONE;
            if let Some(detached) = &commit.detached
                && repo
                    .read_commit_detached_metadata(&checksum, none)?
                    .is_none()
            {
                let detached = Variant::from_data::<HashMap<String, Variant>, _>(detached.clone());
                let detached = detached.normal_form();
                repo.write_commit_detached_metadata(&checksum, Some(&detached), none)?;
            }
            repo.mark_commit_partial(&checksum, false)
        };
        write()
            .map_err(|error| self.repo().explain(error))
            .with_context(|| format!("writing the commit {checksum}"))
    }

    /// Makes what was written so far part of the repo. A commit of this root can follow.
    fn publish_root(&self, root: TreeRoot) -> Result<()> {
        self.publish_objects()?;
        // Between two transactions a prune may get in. From now on it may not.
        for (kind, checksum) in [
            (ostree::ObjectType::DirTree, root.dirtree),
            (ostree::ObjectType::DirMeta, root.dirmeta),
        ] {
            ensure!(
                self.ostree()
                    .has_object(kind, &checksum.hex(), gio::Cancellable::NONE)?,
                "the repo {} was pruned at this very moment; try again",
                self.repo().path.display()
            );
        }
        Ok(())
    }
}
