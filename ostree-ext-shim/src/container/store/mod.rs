//! Images in a repo.

mod importer;
mod prepared;
mod progress;
mod state;

use anyhow::{Context as _, Result};
use import_oci::contract::{RefName, metadata};
use import_oci::digest::Digest;
use import_oci::images::{self, Extent, PruneOptions};
use import_oci::repo::Repo;
use ostree::glib;

pub use containers_image_proxy::ImageProxyConfig;
pub use importer::{ImageImporter, PrepareResult};
pub(crate) use importer::{import_options, log};
pub use prepared::{ManifestLayerState, PreparedImport};
pub use progress::{ImportProgress, LayerProgress};
pub use state::{CachedImageUpdate, LayeredImageState};

use super::ImageReference;
use crate::{blocking, oci_spec};

/// Below it lie the refs of base images: whoever makes commits from an image keeps it by one, in a
/// directory named after the project.
pub const BASE_IMAGE_PREFIX: &str = RefName::BASE_IMAGE_PREFIX;

/// The references of all images of a repo. What should be an image and is none is logged.
///
/// # Errors
/// The repo cannot be read.
pub fn list_images(repo: &ostree::Repo) -> Result<Vec<String>> {
    let listing = images::list(&Repo::of_handle(repo.clone())?)?;
    for (name, reason) in &listing.unreadable {
        tracing::warn!("the ref {name} is no image: {reason}");
    }
    let names = listing.images.iter().map(|(image, _)| image.to_string());
    Ok(names.collect())
}

/// The image that a repo has under this reference, or under the form of it by which bootc looks
/// images up.
///
/// # Errors
/// It cannot be read.
pub fn query_image(
    repo: &ostree::Repo,
    image: &ImageReference,
) -> Result<Option<Box<LayeredImageState>>> {
    let repo = Repo::of_handle(repo.clone())?;
    let mut found = images::query(&repo, image)?;
    if found.is_none()
        && let Ok(canonical) = image.clone().canonicalize()
    {
        found = images::query(&repo, &canonical)?;
    }
    let state = found.map(|found| LayeredImageState::of(&repo, found));
    state.transpose()
}

/// The image that a commit is.
///
/// # Errors
/// It is none, or cannot be read.
pub fn query_image_commit(repo: &ostree::Repo, commit: &str) -> Result<Box<LayeredImageState>> {
    let repo = Repo::of_handle(repo.clone())?;
    let found = images::of_commit(&repo, Digest::from_hex(commit)?)?;
    LayeredImageState::of(&repo, found)
}

/// The digest of the manifest that a commit names.
///
/// # Errors
/// The commit is no image's.
pub fn manifest_digest_from_commit(commit: &glib::Variant) -> Result<oci_spec::image::Digest> {
    let dictionary = glib::VariantDict::new(Some(&commit.child_value(0)));
    let key = metadata::MANIFEST_DIGEST;
    let digest: Option<String> = dictionary.lookup(key)?;
    let digest = digest.with_context(|| format!("the commit has no {key}"))?;
    digest.parse().context(key)
}

/// Nothing: an import leaves out no content without a word, and what it changes is logged.
///
/// # Errors
/// None. ostree-ext has some.
pub fn image_filtered_content_warning(
    _repo: &ostree::Repo,
    _image: &ImageReference,
) -> Result<Option<String>> {
    Ok(None)
}

/// Removes an image, and keeps its layers. Was there one?
///
/// # Errors
/// The repo cannot be read or written.
pub fn remove_image(repo: &ostree::Repo, image: &ImageReference) -> Result<bool> {
    if query_image(repo, image)?.is_none() {
        return Ok(false);
    }
    remove_images(repo, [image]).map(|()| true)
}

/// Removes images, and keeps their layers. Where one is missing all stay.
///
/// # Errors
/// One is missing, or the repo cannot be read or written.
pub fn remove_images<'a>(
    repo: &ostree::Repo,
    images: impl IntoIterator<Item = &'a ImageReference>,
) -> Result<()> {
    let names: Vec<_> = images.into_iter().map(ToString::to_string).collect();
    images::remove(&Repo::of_handle(repo.clone())?, &names, true).map(drop)
}

/// Removes the refs of layers that nothing needs; how many?
///
/// # Errors
/// The repo cannot be read or written.
pub fn gc_image_layers(repo: &ostree::Repo) -> Result<u32> {
    let options = PruneOptions {
        extent: Extent::Layers,
        ..PruneOptions::default()
    };
    let (leaving, _) = images::prune(&Repo::of_handle(repo.clone())?, None, options)?;
    Ok(leaving.layers.len().try_into()?)
}

/// Copies an image with all its layers to another repo, where it gets the reference `target`.
///
/// # Errors
/// It is missing or not whole, or the other repo cannot take it.
pub async fn copy(
    source: &ostree::Repo,
    image: &ImageReference,
    destination: &ostree::Repo,
    target: &ImageReference,
) -> Result<()> {
    let source = Repo::of_handle(source.clone())?;
    let destination = Repo::of_handle(destination.clone())?;
    let (image, target) = (image.clone(), target.clone());
    blocking::run(move || images::copy(&source, &image, &destination, &target).map(drop)).await
}
