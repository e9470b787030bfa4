//! What leaves a repo: refs, and the objects that none needs.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use ostree::{ObjectName, gio};
use serde::Serialize;

use super::Repo;
use crate::digest::Digest;

/// The objects of a repo, and those of them that no ref needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PrunedObjects {
    /// How many there were.
    pub total: u64,
    /// How many of them went.
    pub removed: u64,
    /// The size in bytes of those.
    pub bytes: u64,
}

impl Repo {
    /// Removes refs in this order, each where it still points to the commit. Objects stay.
    ///
    /// # Errors
    /// The repo cannot be written to; refs to the left are gone then.
    pub fn remove_refs(&self, refs: &[(String, Digest)]) -> Result<()> {
        for (name, commit) in refs {
            if self.resolve(name)? != Some(*commit) {
                continue;
            }
            self.inner
                .set_ref_immediate(None, name, None, gio::Cancellable::NONE)
                .with_context(|| format!("removing the ref {name:?}"))?;
        }
        Ok(())
    }

    /// Removes the objects that neither a ref needs nor a commit that came before one of a ref.
    ///
    /// # Errors
    /// What libostree says. It waits for the transactions of others, but not for ever.
    pub fn prune_objects(&self) -> Result<PrunedObjects> {
        let (total, removed, bytes) = self
            .inner
            .prune(
                ostree::RepoPruneFlags::REFS_ONLY,
                ALL_PARENTS,
                gio::Cancellable::NONE,
            )
            .with_context(|| format!("pruning the repo {}", self.path.display()))?;
        Ok(PrunedObjects {
            total: total.try_into()?,
            removed: removed.try_into()?,
            bytes,
        })
    }

    /// What [`Repo::prune_objects`] would remove if these refs were gone.
    ///
    /// # Errors
    /// What libostree says.
    pub fn count_prunable(&self, gone: &HashSet<&str>) -> Result<PrunedObjects> {
        let context = || format!("counting the objects of {}", self.path.display());
        let all = self
            .inner
            .list_objects(OWN_OBJECTS, gio::Cancellable::NONE)
            .with_context(context)?;
        let refs = self
            .inner
            .list_refs(None, gio::Cancellable::NONE)
            .with_context(context)?;
        let kept: HashSet<_> = refs
            .iter()
            .filter(|(name, _)| !gone.contains(&***name))
            .map(|(_, commit)| commit)
            .collect();
        let mut needed: HashSet<ObjectName> = HashSet::new();
        for commit in kept {
            let objects = self
                .inner
                .traverse_commit(commit, ALL_PARENTS, gio::Cancellable::NONE);
            needed.extend(objects.with_context(context)?);
        }
        let mut pruned = PrunedObjects {
            total: all.len().try_into()?,
            ..PrunedObjects::default()
        };
        for object in all.keys().filter(|object| !needed.contains(object)) {
            pruned.removed += 1;
            pruned.bytes += self
                .inner
                .query_object_storage_size(
                    object.object_type(),
                    object.checksum(),
                    gio::Cancellable::NONE,
                )
                .with_context(context)?;
        }
        Ok(pruned)
    }
}

const OWN_OBJECTS: u32 = ostree::RepoListObjectsFlags::LOOSE
    .union(ostree::RepoListObjectsFlags::NO_PARENTS)
    .bits();

/// How far back: branches that others write have a history.
const ALL_PARENTS: i32 = -1;
