//! Images become what a system boots.

use anyhow::{Context as _, Result};
use import_oci::contract::{RefName, ref_escape};
use import_oci::deploy::{DeployOptions, Place};
use import_oci::images::{self, Extent, Leaving, PruneOptions};
use import_oci::import::import;
use import_oci::progress::Silent;
use import_oci::publish::{RefOptions, Target};
use import_oci::repo::{PrunedObjects, Repo, Sysroot};
use import_oci::source::Source;

use super::store::{self, ImageProxyConfig, LayeredImageState, query_image_commit};
use super::{ImageReference, OstreeImageReference, fetch_options, open};
use crate::blocking;
use crate::sysroot::SysrootLock;

/// The key of an origin that names an image.
pub const ORIGIN_CONTAINER: &str = "container-image-reference";

/// The name of a stateroot where nothing suggests another.
pub const STATEROOT_DEFAULT: &str = "default";

/// How an image is deployed.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DeployOpts<'a> {
    /// All kernel arguments; `None`: those of the deployment before.
    pub kargs: Option<&'a [&'a str]>,
    /// What the origin shall name, where updates come from elsewhere than the image.
    pub target_imgref: Option<&'a OstreeImageReference>,
    /// How the image is reached.
    pub proxy_cfg: Option<ImageProxyConfig>,
    /// Shall no ref take the commit for an image? Those of its layers are written.
    pub no_imgref: bool,
    /// Shall all earlier deployments of the stateroot stay?
    pub no_clean: bool,
}

/// Imports an image and deploys it, staged where the system runs. Whoever calls it sees to the lock of the
/// system, which was loaded.
///
/// # Errors
/// Those of an import, or the system cannot be changed. What boots is as it was.
pub async fn deploy(
    sysroot: &ostree::Sysroot,
    stateroot: &str,
    image: &OstreeImageReference,
    options: Option<DeployOpts<'_>>,
) -> Result<Box<LayeredImageState>> {
    let options = options.unwrap_or_default();
    let fetch = fetch_options(options.proxy_cfg.unwrap_or_default())?;
    let origin = options.target_imgref.unwrap_or(image).clone();
    let refs = RefOptions {
        write_ref: None,
        target: options.target_imgref.map(|target| Target {
            image: target.imgref.clone(),
            trust: Some(target.sigverify.clone()),
        }),
        no_image: options.no_imgref,
    };
    let arguments = options.kargs.map(|arguments| {
        let arguments = arguments.iter().copied();
        arguments.map(str::to_owned).collect()
    });
    let staged = sysroot.booted_deployment().is_some();
    let options = DeployOptions {
        stateroot: Some(stateroot.to_owned()),
        arguments,
        retain: options.no_clean && !staged,
        stage: staged,
        ..DeployOptions::default()
    };
    let (sysroot, image) = (sysroot.clone(), image.clone());
    blocking::run(move || {
        let handle = sysroot.repo();
        let repo = Repo::of_handle(handle.clone())?;
        let sysroot = Sysroot::of_locked(sysroot);
        let place = Place::find(&sysroot, &options)?;
        let (reference, source) = open(&image, &fetch)?;
        let source = Source::Image(Box::new(source));
        let imported = import(
            &repo,
            &reference,
            source,
            &store::import_options(refs)?,
            &Silent,
        )
        .with_context(|| format!("importing {reference}"))?;
        store::log(&imported);
        place
            .deploy(&repo, &imported, &origin, &options)
            .with_context(|| format!("the import is done; deploying {reference}"))?;
        query_image_commit(&handle, &imported.commit)
    })
    .await
}

/// Removes the images that no deployment has, also those that were imported and never deployed; their
/// references.
///
/// # Errors
/// The system or its repo cannot be read or written.
pub fn remove_undeployed_images(sysroot: &SysrootLock) -> Result<Vec<ImageReference>> {
    let (leaving, _) = clean_up(sysroot, Extent::Images)?;
    let unescape = |name: &str| ref_escape::unescape_with_prefix(RefName::IMAGE_PREFIX, name);
    let images = leaving.images.iter();
    images
        .map(|(name, _)| Ok(unescape(name)?.parse()?))
        .collect()
}

/// What left a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// How many images.
    pub n_images: u32,
    /// How many layers.
    pub n_layers: u32,
    /// How many objects.
    pub n_objects_pruned: u32,
    /// Their size in bytes.
    pub objsize: u64,
}

impl Pruned {
    /// Did nothing leave?
    pub fn is_empty(&self) -> bool {
        self.n_images == 0 && self.n_layers == 0 && self.n_objects_pruned == 0
    }
}

/// [`remove_undeployed_images`], and what nothing needs then: layers and objects.
///
/// # Errors
/// The system or its repo cannot be read or written.
pub fn prune(sysroot: &SysrootLock) -> Result<Pruned> {
    let (leaving, objects) = clean_up(sysroot, Extent::Objects)?;
    Ok(Pruned {
        n_images: leaving.images.len().try_into()?,
        n_layers: leaving.layers.len().try_into()?,
        n_objects_pruned: objects.removed.try_into()?,
        objsize: objects.bytes,
    })
}

fn clean_up(sysroot: &SysrootLock, extent: Extent) -> Result<(Leaving, PrunedObjects)> {
    let repo = Repo::of_handle(sysroot.repo())?;
    let sysroot = Sysroot::of_locked(sysroot.sysroot.clone());
    let options = PruneOptions {
        extent,
        undeployed: true,
        dry_run: false,
    };
    images::prune(&repo, Some(&sysroot), options)
}
