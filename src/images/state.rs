//! One image that a repo holds: what its commit says.

use anyhow::{Context as _, Result, ensure};
use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde::de::DeserializeOwned;

use crate::contract::{ImageReference, RefName, metadata, ref_escape};
use crate::digest::Digest;
use crate::repo::{CommitMetadata, Repo};

/// An image that a repo holds, whoever brought it there.
#[derive(Debug, Clone)]
pub struct ImageState {
    /// Its commit.
    pub commit: Digest,
    /// The commit it was made from, if it says one.
    pub base_commit: Option<Digest>,
    /// Digest of its manifest: that of the image, also where the manifest in the commit is another.
    pub manifest_digest: oci_spec::image::Digest,
    /// The manifest in the commit. It has at least one layer.
    pub manifest: ImageManifest,
    /// The configuration in the commit; an empty one if it has none.
    pub config: ImageConfiguration,
    /// The manifest as it is written there.
    pub manifest_json: String,
    /// The configuration as it is written there.
    pub config_json: String,
    /// Date of the commit in seconds since the epoch.
    pub timestamp: u64,
    /// Version of the kernel that the commit says to hold.
    pub kernel: Option<String>,
    /// Which program made the commit.
    pub importer: Option<String>,
    /// The options that shaped it, if we made it.
    pub options: Option<String>,
    /// An update that was seen and not fetched.
    pub cached_update: Option<CachedUpdate>,
}

/// What ostree-ext remembers of an update that it saw and did not fetch.
#[derive(Debug, Clone)]
pub struct CachedUpdate {
    /// Digest of its manifest.
    pub manifest_digest: String,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration.
    pub config: ImageConfiguration,
}

impl ImageState {
    /// Did we make the commit, in whatever format?
    pub fn ours(&self) -> bool {
        self.format().is_some()
    }

    /// The number of the format in which we made the commit, see [`metadata::FORMAT`].
    pub fn format(&self) -> Option<u32> {
        metadata::format_of(self.importer.as_deref()?)
    }

    /// The version that the image gives itself.
    pub fn version(&self) -> Option<&str> {
        metadata::version(&self.config)
    }

    /// The names of the refs of its layers, from the lowest up.
    ///
    /// # Errors
    /// A layer has a digest that no ref can hold.
    pub fn layer_refs(&self) -> Result<Vec<String>> {
        let digests = self.manifest.layers().iter().map(|layer| layer.digest());
        digests.map(|digest| blob_ref(digest.as_ref())).collect()
    }
}

/// The name of the ref of a blob, whose digest need not be one that [`RefName::Blob`] can hold.
pub(super) fn blob_ref(digest: &str) -> Result<String> {
    ref_escape::escape_with_prefix(RefName::BLOB_PREFIX, digest)
        .with_context(|| format!("the digest {digest:?} of a layer"))
}

/// Reads the image that a commit is.
///
/// # Errors
/// The repo lacks the commit or a part of it, or it is no image.
pub fn of_commit(repo: &Repo, commit: Digest) -> Result<ImageState> {
    let found = repo.commit_metadata(commit)?.with_context(|| {
        let commit = commit.hex();
        format!("the repo lacks the commit {commit} or a part of it")
    })?;
    let read = || {
        anyhow::Ok(ImageState {
            cached_update: cached_update(repo, commit)?,
            ..of_metadata(commit, &found)?
        })
    };
    read().with_context(|| format!("the commit {}", commit.hex()))
}

/// The image that the repo holds under this reference; `None` if there is none.
///
/// # Errors
/// It cannot be read.
pub fn query(repo: &Repo, image: &ImageReference) -> Result<Option<ImageState>> {
    let name = RefName::Image(image.clone()).to_ref()?;
    let Some(commit) = repo.resolve(&name)? else {
        return Ok(None);
    };
    let state = of_commit(repo, commit).with_context(|| format!("reading the image {image}"))?;
    Ok(Some(state))
}

/// What the metadata of a commit alone say.
///
/// # Errors
/// It is no image.
pub fn of_metadata(commit: Digest, found: &CommitMetadata) -> Result<ImageState> {
    let required = |key| found.text(key).with_context(|| format!("{key} is missing"));
    let manifest_digest = required(metadata::MANIFEST_DIGEST)?;
    let manifest_json = required(metadata::MANIFEST)?;
    let manifest: ImageManifest = parse(metadata::MANIFEST, &manifest_json)?;
    ensure!(!manifest.layers().is_empty(), "it has no layers");
    // Old versions of ostree-ext wrote "null" where there was none.
    let config_json = found.text(metadata::IMAGE_CONFIG);
    let config_json = match config_json.filter(|text| text != "null") {
        Some(text) => text,
        None => serde_json::to_string(&ImageConfiguration::default())?,
    };
    let config = parse(metadata::IMAGE_CONFIG, &config_json)?;
    Ok(ImageState {
        commit,
        base_commit: found.parent,
        manifest_digest: manifest_digest.parse().context(metadata::MANIFEST_DIGEST)?,
        manifest,
        config,
        manifest_json,
        config_json,
        timestamp: found.timestamp,
        kernel: found.text(metadata::LINUX),
        importer: found.text(metadata::IMPORTER_VERSION),
        options: found.text(metadata::OPTIONS),
        cached_update: None,
    })
}

/// An update that cannot be read is none to us: it is a hint, and the image itself is whole.
fn cached_update(repo: &Repo, commit: Digest) -> Result<Option<CachedUpdate>> {
    let text = |key| repo.detached_text(commit, key);
    let Some(manifest_digest) = text(metadata::CACHED_MANIFEST_DIGEST)? else {
        return Ok(None);
    };
    let manifest = text(metadata::CACHED_MANIFEST)?.unwrap_or_default();
    let config = text(metadata::CACHED_CONFIG)?.unwrap_or_default();
    let parsed = || {
        anyhow::Ok(CachedUpdate {
            manifest_digest,
            manifest: parse(metadata::CACHED_MANIFEST, &manifest)?,
            config: parse(metadata::CACHED_CONFIG, &config)?,
        })
    };
    Ok(parsed()
        .inspect_err(|error| {
            tracing::warn!("the update beside the commit {}: {error:#}", commit.hex());
        })
        .ok())
}

fn parse<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("{key} is not what it should be"))
}
