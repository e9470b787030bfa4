//! The commit object.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::glib::Variant;
use ostree::glib::prelude::*;

use super::Transaction;
use crate::contract::MetadataValue;
use crate::digest::Digest;

/// What a commit says besides its empty subject and body. It has no parent.
#[derive(Debug, Clone, Copy)]
pub struct CommitSpec<'a> {
    /// The dirtree of the root, written before.
    pub dirtree: Digest,
    /// The dirmeta of the root, written before.
    pub dirmeta: Digest,
    /// Metadata. The order of the keys is part of the checksum, and always the same.
    pub metadata: &'a [(&'static str, MetadataValue)],
    /// Seconds since the epoch.
    pub timestamp: u64,
}

impl Transaction<'_> {
    /// Writes a commit object and returns its checksum. No ref points to it yet.
    pub fn write_commit(&self, commit: &CommitSpec<'_>) -> Result<Digest> {
        let repo = self.ostree();
        let metadata: BTreeMap<&str, Variant> = commit
            .metadata
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    MetadataValue::Text(text) => text.to_variant(),
                    MetadataValue::Flag(flag) => flag.to_variant(),
                };
                (*key, value)
            })
            .collect();
        let write = || {
            let (dirtree, dirmeta) = (commit.dirtree.hex(), commit.dirmeta.hex());
            let tree = ostree::MutableTree::from_checksum(repo, &dirtree, &dirmeta);
            let root = repo.write_mtree(&tree, gio::Cancellable::NONE)?;
            repo.write_commit_with_time(
                None,
                None,
                None,
                Some(&metadata.to_variant()),
                root.downcast_ref()
                    .expect("libostree gives a root of a repo"),
                commit.timestamp,
                gio::Cancellable::NONE,
            )
        };
        let checksum = write()
            .map_err(|error| self.repo().explain(error))
            .context("writing the commit object")?;
        let checksum = Digest::from_hex(&checksum)?;
        self.metadata.insert(checksum);
        Ok(checksum)
    }
}
