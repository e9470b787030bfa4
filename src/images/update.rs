//! An update of an image that was seen and not fetched.

use std::str;

use anyhow::{Context as _, Result};

use crate::contract::metadata;
use crate::digest::Digest;
use crate::repo::Repo;
use crate::source::ResolvedImage;

/// Remembers beside the commit of an image what would replace it, as ostree-ext does: `bootc status` and
/// `rpm-ostree status` show it. Signatures that lie there stay.
///
/// # Errors
/// The repo cannot be written to.
pub fn remember_update(repo: &Repo, commit: Digest, update: &ResolvedImage) -> Result<()> {
    let digest = update.manifest_digest.to_string();
    let manifest = str::from_utf8(&update.manifest_bytes).context("the manifest is no UTF-8")?;
    let config = str::from_utf8(&update.config_bytes).context("the configuration is no UTF-8")?;
    repo.add_detached_texts(
        commit,
        &[
            (metadata::CACHED_MANIFEST_DIGEST, &digest),
            (metadata::CACHED_MANIFEST, manifest),
            (metadata::CACHED_CONFIG, config),
        ],
    )
}
