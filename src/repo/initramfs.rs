//! Initramfs images that imports made for commits of a repo.

use std::collections::HashSet;
use std::io::Read;

use anyhow::{Context as _, Result};
use ostree::gio::Cancellable;
use ostree::glib::{self, VariantDict, VariantTy};
use ostree::prelude::*;

use super::Repo;
use crate::contract::metadata;
use crate::digest::Digest;
use crate::fixup::initramfs_path;
use crate::path::ImagePath;
use crate::regenerate::Made;

/// An initramfs in a repo.
#[derive(Debug)]
pub struct StoredInitramfs {
    repo: Repo,
    inputs: Digest,
    /// The content object.
    checksum: String,
}

impl Made for StoredInitramfs {
    fn inputs(&self) -> Digest {
        self.inputs
    }

    fn open(&self) -> Result<Box<dyn Read + '_>> {
        let context = || format!("reading the object {}", self.checksum);
        let file = self.repo.inner.load_file(&self.checksum, Cancellable::NONE);
        let (content, ..) = file.with_context(context)?;
        let content = content.with_context(context)?;
        Ok(Box::new(content.into_read()))
    }
}

impl Repo {
    /// What imports made for the kernel `version`, the newest commit first. Only commits of images
    /// count: what any other says of itself is not what we found.
    ///
    /// # Errors
    /// The refs cannot be read. A commit that is not whole is passed over.
    pub fn initramfs_made(&self, version: &str) -> Result<Vec<StoredInitramfs>> {
        let mut dated: Vec<_> = self
            .image_commits()?
            .into_iter()
            .filter_map(|commit| {
                let commit = commit.hex();
                let (date, inputs) = self.inputs_of(&commit)?;
                Some((date, commit, inputs))
            })
            .collect();
        dated.sort_unstable_by(|a, b| b.cmp(a));
        let path = initramfs_path(version);
        let mut seen = HashSet::new();
        Ok(dated
            .into_iter()
            .filter_map(|(_, commit, inputs)| {
                let checksum = match self.file_of(&commit, &path) {
                    Ok(checksum) => checksum,
                    Err(error) => {
                        tracing::debug!("{commit} has no {path}: {error}");
                        return None;
                    }
                };
                seen.insert((checksum.clone(), inputs))
                    .then(|| StoredInitramfs {
                        repo: self.clone(),
                        inputs,
                        checksum,
                    })
            })
            .collect())
    }

    /// The date of a commit, and what the initramfs in it was made of, if an import made it.
    fn inputs_of(&self, commit: &str) -> Option<(u64, Digest)> {
        let (commit, _) = self.inner.load_commit(commit).ok()?;
        let metadata = VariantDict::new(Some(&commit.child_value(0)));
        let inputs = metadata.lookup_value(metadata::INITRAMFS_INPUTS, Some(VariantTy::STRING))?;
        let date = u64::from_be(commit.child_value(5).get()?);
        Some((date, Digest::from_hex(inputs.str()?).ok()?))
    }

    /// The content object at `path` of a commit.
    fn file_of(&self, commit: &str, path: &ImagePath) -> Result<String, glib::Error> {
        let (root, _) = self.inner.read_commit(commit, Cancellable::NONE)?;
        let path = String::from_utf8_lossy(path.as_bytes());
        let file = root.resolve_relative_path(&*path);
        let file: &ostree::RepoFile = file.downcast_ref().expect("libostree's own files");
        file.ensure_resolved()?;
        Ok(file.checksum().into())
    }
}
