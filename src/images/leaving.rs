//! Which refs leave a repo: what decides, and nothing that acts.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use super::find::candidates;
use super::inventory::{Deployed, Holder, Inventory};
use crate::contract::{ImageReference, RefName, ref_escape};
use crate::digest::Digest;

/// The refs that leave, in the order in which they must: a layer that leaves before its image
/// would make others stumble over the repo.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leaving {
    /// Those of images.
    pub images: Vec<(String, Digest)>,
    /// Those by which we kept images from the clean-up of others.
    pub base_images: Vec<(String, Digest)>,
    /// Those of layers that nothing needs.
    pub layers: Vec<(String, Digest)>,
    /// What cannot be read, and why. What it may need stays.
    pub unreadable: Vec<(String, String)>,
}

impl Leaving {
    /// All of them in their order.
    pub fn refs(&self) -> impl Iterator<Item = &(String, Digest)> {
        let Self {
            images,
            base_images,
            layers,
            ..
        } = self;
        images.iter().chain(base_images).chain(layers)
    }
}

/// What leaves when these images are removed, whatever is known of them; without their layers.
///
/// # Errors
/// The repo holds one of them neither as an image nor as something imported.
pub(super) fn of_references(inventory: &Inventory, references: &[String]) -> Result<Leaving> {
    let mut leaving = Leaving::default();
    let mut missing = Vec::new();
    for reference in references {
        let meant = candidates(reference).unwrap_or_default();
        let named = |held: &&Holder| meant.iter().any(|image| is_ref_of(&held.name, image));
        let imported = |held: &&Holder| is_import_of(&held.name, reference, &meant);
        let images: Vec<_> = inventory.images.iter().filter(named).collect();
        let bases: Vec<_> = inventory.ours.iter().filter(imported).collect();
        if images.is_empty() && bases.is_empty() {
            missing.push(&**reference);
        }
        leaving
            .images
            .extend(images.into_iter().map(Holder::to_ref));
        leaving
            .base_images
            .extend(bases.into_iter().map(Holder::to_ref));
    }
    ensure!(
        missing.is_empty(),
        "the repo has no image {}; `import-oci list` shows those it has",
        missing.join(", ")
    );
    for refs in [&mut leaving.images, &mut leaving.base_images] {
        refs.sort_unstable();
        refs.dedup();
    }
    Ok(leaving)
}

fn is_ref_of(name: &str, image: &ImageReference) -> bool {
    RefName::parse(name) == Ok(Some(RefName::Image(image.clone())))
}

/// Was the ref `name` of ours written when `reference` was imported, which may stand for any of
/// `images`? The source of an image may have been written otherwise than others name it.
fn is_import_of(name: &str, reference: &str, images: &[ImageReference]) -> bool {
    let Ok(imported) = ref_escape::unescape_with_prefix(&RefName::our_base_images(), name) else {
        return false;
    };
    let same = |image: &ImageReference| candidates(&imported).is_ok_and(|of| of.contains(image));
    imported == reference || images.iter().any(same)
}

/// What leaves in a clean-up, without its layers.
///
/// Images leave that nothing deployed names and that are no commit of a deployment. Those that we
/// imported and that were never deployed stay, unless `undeployed`: they wait for it. Once an image
/// is deployed its deployment keeps it, and our own ref leaves.
///
/// Where the deployments are not known, `judge_images` must be false: then images stay.
pub(super) fn of_clean_up(
    inventory: &Inventory,
    deployed: &Deployed,
    judge_images: bool,
    undeployed: bool,
) -> Leaving {
    let mut leaving = Leaving {
        unreadable: deployed.unreadable.clone(),
        ..Leaving::default()
    };
    let is_deployed = |commit| deployed.commits.contains(commit);
    let waits = |name: &str, commit: Digest| {
        inventory.ours.iter().any(|ours| {
            let imported = || is_named(name, &ours.name);
            !is_deployed(&ours.commit) && (ours.commit == commit || imported())
        })
    };
    // Whoever wrote an origin that we do not understand may mean any image.
    let judge_images = (judge_images || undeployed) && deployed.unreadable.is_empty();
    for held in &inventory.images {
        // What does not parse is told with its layers.
        let Ok(Some(RefName::Image(image))) = RefName::parse(&held.name) else {
            continue;
        };
        let stays = held.layers.is_err()
            || is_deployed(&held.commit)
            || deployed.images.contains(&image)
            || (!undeployed && waits(&held.name, held.commit));
        if judge_images && !stays {
            leaving.images.push(held.to_ref());
        }
    }
    for held in &inventory.ours {
        if is_deployed(&held.commit) || (undeployed && judge_images && held.layers.is_ok()) {
            leaving.base_images.push(held.to_ref());
        }
    }
    leaving
}

/// Is the image ref `image` of what our ref `ours` was written for?
fn is_named(image: &str, ours: &str) -> bool {
    let Ok(Some(RefName::Image(image))) = RefName::parse(image) else {
        return false;
    };
    is_import_of(ours, &image.to_string(), &[image])
}

/// Adds the layers that nothing needs any more once the others have left. Where something cannot be
/// read, all stay: it may need any.
pub(super) fn add_layers(leaving: &mut Leaving, inventory: &Inventory) {
    let gone: HashSet<_> = leaving.refs().map(|(name, _)| name.clone()).collect();
    let Inventory {
        images,
        ours,
        others,
        layers,
    } = inventory;
    let mut needed = HashSet::new();
    let mut all = false;
    let holders = images.iter().chain(ours).chain(others);
    for held in holders.filter(|held| !gone.contains(&held.name)) {
        match &held.layers {
            Ok(layers) => needed.extend(layers),
            Err(why) => {
                all = true;
                leaving.unreadable.push((held.name.clone(), why.clone()));
            }
        }
    }
    for held in images {
        if let (Err(error), true) = (RefName::parse(&held.name), held.layers.is_ok()) {
            leaving
                .unreadable
                .push((held.name.clone(), error.to_string()));
        }
    }
    for (name, commit, digest) in layers {
        match digest {
            Ok(digest) if all || needed.contains(digest) => {}
            Ok(_) => leaving.layers.push((name.clone(), *commit)),
            Err(why) => leaving.unreadable.push((name.clone(), why.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
