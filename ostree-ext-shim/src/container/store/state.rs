//! What a repo says of an image.

use anyhow::{Context as _, Result};
use import_oci::images::{CachedUpdate, ImageState};
use import_oci::repo::Repo;

use crate::container::version_for_config;
use crate::oci_spec::image::{Digest, ImageConfiguration, ImageManifest};

/// An image that a repo has.
#[derive(Debug, PartialEq, Eq)]
pub struct LayeredImageState {
    /// The commit of its lowest layer.
    pub base_commit: String,
    /// Its own commit.
    pub merge_commit: String,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration.
    pub configuration: ImageConfiguration,
    /// An update that was seen and not fetched.
    pub cached_update: Option<CachedImageUpdate>,
}

impl LayeredImageState {
    /// Its own commit.
    pub fn get_commit(&self) -> &str {
        &self.merge_commit
    }

    /// The version that it gives itself.
    pub fn version(&self) -> Option<&str> {
        version_for_config(&self.configuration)
    }

    /// What `repo` says of an image.
    pub(super) fn of(repo: &Repo, state: ImageState) -> Result<Box<Self>> {
        let lowest = state.layer_refs()?.swap_remove(0);
        let base = repo.resolve(&lowest)?.with_context(|| {
            let commit = state.commit.hex();
            format!("the commit {commit}: the ref {lowest} of its lowest layer is missing")
        })?;
        Ok(Box::new(Self {
            base_commit: base.hex(),
            merge_commit: state.commit.hex(),
            manifest_digest: state.manifest_digest,
            manifest: state.manifest,
            configuration: state.config,
            cached_update: state.cached_update.map(TryInto::try_into).transpose()?,
        }))
    }
}

/// An update of an image.
#[derive(Debug, PartialEq, Eq)]
pub struct CachedImageUpdate {
    /// Its manifest.
    pub manifest: ImageManifest,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
}

impl CachedImageUpdate {
    /// The version that it gives itself.
    pub fn version(&self) -> Option<&str> {
        version_for_config(&self.config)
    }
}

impl TryFrom<CachedUpdate> for CachedImageUpdate {
    type Error = anyhow::Error;

    fn try_from(update: CachedUpdate) -> Result<Self> {
        Ok(Self {
            manifest_digest: update.manifest_digest.parse().context("a cached update")?,
            manifest: update.manifest,
            config: update.config,
        })
    }
}
