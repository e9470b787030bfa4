//! An image goes from one repo to another.

use std::num::NonZeroUsize;

use anyhow::{Context as _, Result};

use super::find::no_image;
use super::state::query;
use crate::contract::{ImageReference, RefName};
use crate::digest::Digest;
use crate::repo::Repo;

/// An image that was copied.
#[derive(Debug)]
pub struct Copied {
    /// Its commit.
    pub commit: Digest,
    /// The refs that point to it and to its layers in the other repo, in the order in which they
    /// moved.
    pub refs: Vec<String>,
}

/// Copies the image `image` of `source` with all its layers into `destination`, where it is known
/// as `target`. One of ours is kept from the clean-up of others there, as if it had been imported.
///
/// # Errors
/// `source` lacks it or one of its layers, or `destination` cannot take it. No ref has moved then.
pub fn copy(
    source: &Repo,
    image: &ImageReference,
    destination: &Repo,
    target: &ImageReference,
) -> Result<Copied> {
    let _source = source.share()?;
    let _destination = destination.share()?;
    let state = query(source, image)?.with_context(|| no_image(source, image))?;
    let mut refs = Vec::new();
    for name in state.layer_refs()? {
        let layer = source.resolve(&name)?.with_context(|| {
            let repo = source.path().display();
            format!(
                "the layers of {image} are not all in the repo {repo}: the ref {name} is missing"
            )
        })?;
        refs.push((name, layer));
    }
    let own = match state.ours() {
        true => Some(RefName::our_base_image(&target.to_string())?),
        false => None,
    };
    for name in own.into_iter().chain([RefName::Image(target.clone())]) {
        refs.push((name.to_ref()?, state.commit));
    }
    let names: Vec<_> = refs.iter().map(|(name, _)| &**name).collect();
    destination.check_new_refs(&names)?;

    let commits: Vec<_> = refs.iter().map(|(_, commit)| *commit).collect();
    destination.pull(source, &commits)?;
    let transaction = destination.transaction(NonZeroUsize::MIN)?;
    for (name, commit) in &refs {
        transaction.set_ref(name, *commit)?;
    }
    transaction.commit()?;
    Ok(Copied {
        commit: state.commit,
        refs: refs.into_iter().map(|(name, _)| name).collect(),
    })
}
