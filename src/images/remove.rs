//! Images leave a repo, and with them what nothing else needs.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use super::inventory::{Deployed, Inventory, deployments};
use super::leaving::{self, Leaving};
use crate::repo::{Deployment, PrunedObjects, Repo, Sysroot};

/// Removes images, each by the reference under which others know it or under which it was imported,
/// and unless `keep_layers` the refs of layers that nothing needs any more. Objects stay until
/// [`prune`]. What is deployed stays so.
///
/// # Errors
/// The repo lacks one of the images; then all stay. Or it cannot be read or written.
pub fn remove(repo: &Repo, references: &[String], keep_layers: bool) -> Result<Leaving> {
    let _lock = repo.exclude_others()?;
    let inventory = Inventory::read(repo, &[])?;
    let mut leaving = leaving::of_references(&inventory, references)?;
    if !keep_layers {
        leaving::add_layers(&mut leaving, &inventory);
    }
    take_away(repo, &leaving)?;
    Ok(leaving)
}

/// How far [`prune`] goes. Each does what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Extent {
    /// Images leave.
    Images,
    /// So do the refs of layers that nothing needs.
    Layers,
    /// So do the objects of both.
    #[default]
    Objects,
}

/// How [`prune`] goes about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneOptions {
    /// How far does it go?
    pub extent: Extent,
    /// Shall what was imported and never deployed leave, too?
    pub undeployed: bool,
    /// Shall nothing change?
    pub dry_run: bool,
}

/// Removes what no deployment needs: images, if `sysroot` tells what is deployed, then the refs of
/// layers that nothing needs, then objects.
///
/// # Errors
/// The repo or the system cannot be read or written.
pub fn prune(
    repo: &Repo,
    sysroot: Option<&Sysroot>,
    options: PruneOptions,
) -> Result<(Leaving, PrunedObjects)> {
    // A deployment that is being made has its image before it has a ref.
    let system = sysroot.filter(|_| !options.dry_run);
    let _system = system.map(Sysroot::lock).transpose()?;
    let _lock = match options.dry_run {
        true => repo.share()?,
        false => repo.exclude_others()?,
    };
    let deployments = deployments(sysroot)?;
    let inventory = Inventory::read(repo, &deployments)?;
    let deployed = Deployed::read(repo, &deployments)?;
    let judge_images = sysroot.is_some();
    let mut leaving = leaving::of_clean_up(&inventory, &deployed, judge_images, options.undeployed);
    if options.extent >= Extent::Layers {
        leaving::add_layers(&mut leaving, &inventory);
    }
    check_refs(repo, &leaving, &deployments)?;
    if !options.dry_run {
        take_away(repo, &leaving)?;
    }
    let objects = match options.dry_run {
        _ if options.extent < Extent::Objects => PrunedObjects::default(),
        true => {
            let gone: HashSet<_> = leaving.refs().map(|(name, _)| &**name).collect();
            repo.count_prunable(&gone)?
        }
        false => repo.prune_objects()?,
    };
    Ok((leaving, objects))
}

/// Objects leave that no ref needs. libostree has one for each deployment, which may be missing.
fn check_refs(repo: &Repo, leaving: &Leaving, deployments: &[Deployment]) -> Result<()> {
    let gone: HashSet<_> = leaving.refs().map(|(name, _)| name).collect();
    let refs = repo.refs_below("")?.into_iter();
    let stay = refs.filter(|(name, _)| !gone.contains(name));
    let kept: HashSet<_> = stay.map(|(_, commit)| commit).collect();
    for Deployment { commit, .. } in deployments {
        ensure!(
            kept.contains(commit),
            "no ref keeps the commit {} of a deployment; `ostree admin cleanup` writes those of all",
            commit.hex()
        );
    }
    Ok(())
}

fn take_away(repo: &Repo, leaving: &Leaving) -> Result<()> {
    let refs: Vec<_> = leaving.refs().cloned().collect();
    repo.remove_refs(&refs)
}
