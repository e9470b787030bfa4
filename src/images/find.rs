//! Which image a user means.

use std::fmt;

use anyhow::{Context as _, Result, bail};

use super::state::{ImageState, query};
use crate::contract::{ImageReference, OstreeImageReference, ReferenceError};
use crate::repo::Repo;

/// The references that `text` may stand for, the likeliest first: as it is, and in the form under
/// which bootc looks images up and an import writes them. Trust put before it does not matter.
///
/// # Errors
/// It is none.
pub(super) fn candidates(text: &str) -> Result<Vec<ImageReference>, ReferenceError> {
    let image = match text.parse::<OstreeImageReference>() {
        Ok(reference) => reference.imgref,
        Err(_) => text.parse()?,
    };
    let canonical = image.clone().canonicalize().ok();
    let canonical = canonical.filter(|canonical| *canonical != image);
    Ok([Some(image), canonical].into_iter().flatten().collect())
}

/// The image of `repo` that `text` names.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn find(repo: &Repo, text: &str) -> Result<(ImageReference, ImageState)> {
    let candidates = candidates(text).with_context(|| format!("{text:?} names no image"))?;
    for image in candidates {
        if let Some(state) = query(repo, &image)? {
            return Ok((image, state));
        }
    }
    bail!(no_image(repo, text))
}

/// What is said where `repo` lacks an image.
pub(super) fn no_image(repo: &Repo, image: impl fmt::Display) -> String {
    let repo = repo.path().display();
    format!("the repo {repo} has no image {image}; `import-oci list` shows those it has")
}
