//! `images REPO`: reads every image of a repo, then drops the layers that none needs.

use anyhow::{Context as _, Result};
use ostree_ext::container::ImageReference;
use ostree_ext::container::store::{gc_image_layers, list_images, query_image};
use ostree_ext::ostree::{AT_FDCWD, Repo, gio};

/// Prints a line for each image, its reference and its commit, and how many layers went.
pub fn run(repo: &str) -> Result<()> {
    let repo = Repo::open_at(AT_FDCWD, repo, gio::Cancellable::NONE)?;
    let mut names = list_images(&repo)?;
    names.sort();
    for name in names {
        let image = ImageReference::try_from(&*name)?;
        let state = query_image(&repo, &image)?.context(name.clone())?;
        println!("{name} {}", state.merge_commit);
    }
    println!("{}", gc_image_layers(&repo)?);
    Ok(())
}
