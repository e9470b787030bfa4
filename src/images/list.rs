//! Which images there are.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use super::state::{ImageState, of_commit};
use crate::contract::{ImageReference, RefName, ref_escape};
use crate::digest::Digest;
use crate::repo::Repo;

/// The images of a repo, each by the name of its ref in byte order.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that everyone can read, and their commits.
    pub images: Vec<(ImageReference, Digest)>,
    /// What we imported and keep without an image ref: the reference, unless it is none, the name
    /// of the ref, and its commit.
    pub kept: Vec<(String, Digest)>,
    /// Refs that should be images and are none, and why. They make ostree-ext fail for all images
    /// of the repo.
    pub unreadable: Vec<(String, String)>,
}

/// Lists the images of `repo`.
///
/// # Errors
/// The refs of the repo cannot be listed.
pub fn list(repo: &Repo) -> Result<Listing> {
    let mut listing = Listing::default();
    for (name, commit) in repo.refs_below(RefName::IMAGE_PREFIX)? {
        match read(repo, &name, commit) {
            Ok(image) => listing.images.push((image, commit)),
            Err(error) => listing.unreadable.push((name, format!("{error:#}"))),
        }
    }
    let commits: BTreeSet<_> = listing.images.iter().map(|(_, commit)| *commit).collect();
    let ours = format!("{}/{}", RefName::BASE_IMAGE_PREFIX, RefName::PROJECT);
    for (name, commit) in repo.refs_below(&ours)? {
        if !commits.contains(&commit) {
            let reference = ref_escape::unescape_with_prefix(&ours, &name).unwrap_or(name);
            listing.kept.push((reference, commit));
        }
    }
    Ok(listing)
}

/// The image of a ref, if all that others ask of it is there.
fn read(repo: &Repo, name: &str, commit: Digest) -> Result<ImageReference> {
    let Some(RefName::Image(image)) = RefName::parse(name)? else {
        anyhow::bail!("it names no image");
    };
    let state = of_commit(repo, commit)?;
    ensure_base(repo, &state)?;
    Ok(image)
}

/// ostree-ext reads no image whose lowest layer has no ref.
fn ensure_base(repo: &Repo, state: &ImageState) -> Result<()> {
    let base = state.layer_refs()?.swap_remove(0);
    repo.resolve(&base)?
        .with_context(|| format!("the ref {base} of its lowest layer is missing"))?;
    Ok(())
}
