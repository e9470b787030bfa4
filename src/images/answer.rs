//! What the verbs on images answer, as data: the command prints it as text or as JSON.

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use super::copy::Copied;
use super::history::history;
use super::inventory::{Deployed, deployments};
use super::leaving::Leaving;
use super::list::list;
use super::state::{ImageState, of_commit};
use crate::contract::{ImageReference, RefName, metadata, ref_escape};
use crate::policy;
use crate::repo::{PrunedObjects, Repo, Sysroot};

/// The version of the JSON form of all answers. It grows when a field goes or changes its meaning,
/// not when one is added.
pub const JSON_VERSION: u32 = 1;

/// The images of a repo.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// Those that everyone can read, by the name of their refs.
    pub images: Vec<ListedImage>,
    /// What was imported and is no image to others.
    pub kept: Vec<Kept>,
    /// Refs that should be images and are none.
    pub unreadable: Vec<Unreadable>,
}

/// An image among others.
#[derive(Debug, Serialize)]
pub struct ListedImage {
    /// Its reference.
    pub image: String,
    /// Checksum of its commit: 64 hexadecimal digits.
    pub commit: String,
    /// Digest of its manifest.
    pub manifest_digest: String,
    /// The version that it gives itself.
    pub image_version: Option<String>,
    /// Date of the commit in seconds since the epoch.
    pub timestamp: u64,
    /// Number of its layers.
    pub layers: usize,
    /// Size of their blobs in bytes.
    pub size: u64,
    /// Has a deployment its commit, or is one made from it?
    pub deployed: bool,
    /// The number of our format, if we made it.
    pub format: Option<u32>,
}

/// Something imported under no name for others.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// The source it was imported from.
    pub reference: String,
    /// Checksum of its commit.
    pub commit: String,
}

/// What should say something of an image and cannot be understood.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The name of a ref, or what else it is.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Listed {
    /// Lists the images of `repo`; `sysroot` is the system that it is of, where that is known.
    ///
    /// # Errors
    /// The repo or the system cannot be read.
    pub fn of(repo: &Repo, sysroot: Option<&Sysroot>) -> Result<Self> {
        let deployed = Deployed::read(repo, &deployments(sysroot)?)?;
        let listing = list(repo)?;
        let listed = |(image, commit): &(ImageReference, _)| {
            let state = of_commit(repo, *commit)?;
            anyhow::Ok(ListedImage {
                image: image.to_string(),
                commit: commit.hex(),
                manifest_digest: state.manifest_digest.to_string(),
                image_version: state.version().map(str::to_owned),
                timestamp: state.timestamp,
                layers: state.manifest.layers().len(),
                size: state
                    .manifest
                    .layers()
                    .iter()
                    .map(|layer| layer.size())
                    .sum(),
                deployed: deployed.commits.contains(commit),
                format: state.format(),
            })
        };
        let kept = |(reference, commit): (String, crate::digest::Digest)| Kept {
            reference,
            commit: commit.hex(),
        };
        Ok(Self {
            version: JSON_VERSION,
            images: listing.images.iter().map(listed).collect::<Result<_>>()?,
            kept: listing.kept.into_iter().map(kept).collect(),
            unreadable: unreadable(listing.unreadable),
        })
    }
}

/// Everything that is known of one image.
#[derive(Debug, Serialize)]
pub struct Inspected {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// Its reference.
    pub image: String,
    /// Checksum of its commit: 64 hexadecimal digits.
    pub commit: String,
    /// Checksum of the commit it was made from.
    pub base_commit: Option<String>,
    /// The refs that point to the commit.
    pub refs: Vec<String>,
    /// Has a deployment its commit, or is one made from it?
    pub deployed: bool,
    /// Digest of its manifest.
    pub manifest_digest: String,
    /// Digest of its configuration, which is the id of the image.
    pub config_digest: String,
    /// The version that it gives itself.
    pub image_version: Option<String>,
    /// Date of the commit in seconds since the epoch.
    pub timestamp: u64,
    /// Version of the kernel, if the commit says one.
    pub kernel: Option<String>,
    /// The SELinux policy that the commit selects.
    pub policy: Option<String>,
    /// Which program made the commit.
    pub importer: Option<String>,
    /// The number of our format, if we made it.
    pub format: Option<u32>,
    /// The options that shaped it, if we made it.
    pub options: Option<String>,
    /// The layers from the lowest up.
    pub layers: Vec<Layer>,
    /// An update that was seen and not fetched.
    pub cached_update: Option<Update>,
    /// The manifest in the commit.
    pub manifest: Value,
    /// The configuration in the commit.
    pub config: Value,
}

/// A layer of an image.
#[derive(Debug, Serialize)]
pub struct Layer {
    /// Digest of its blob.
    pub digest: String,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Checksum of its commit, if it has one.
    pub commit: Option<String>,
    /// When it was made, as the configuration writes it.
    pub created: Option<String>,
    /// How it was made.
    pub created_by: Option<String>,
}

/// An update of an image.
#[derive(Debug, Serialize)]
pub struct Update {
    /// Digest of its manifest.
    pub manifest_digest: String,
    /// The version that it gives itself.
    pub image_version: Option<String>,
}

impl Inspected {
    /// Tells what is known of an image of `repo`; `sysroot` is the system that it is of, where that
    /// is known.
    ///
    /// # Errors
    /// The repo or the system cannot be read.
    pub fn of(
        repo: &Repo,
        sysroot: Option<&Sysroot>,
        image: &ImageReference,
        state: &ImageState,
    ) -> Result<Self> {
        let deployed = Deployed::read(repo, &deployments(sysroot)?)?;
        let commit = state.commit.hex();
        let selinux = repo.read_file(&commit, "usr/etc/selinux/config")?;
        // One that names no directory is none.
        let policy = selinux.and_then(|config| policy::locate(&config).ok()?);
        let refs = repo.refs_below("")?.into_iter();
        let refs = refs.filter(|(_, commit)| *commit == state.commit);
        Ok(Self {
            version: JSON_VERSION,
            image: image.to_string(),
            base_commit: state.base_commit.map(|commit| commit.hex()),
            refs: refs.map(|(name, _)| name).collect(),
            deployed: deployed.commits.contains(&state.commit),
            manifest_digest: state.manifest_digest.to_string(),
            config_digest: state.manifest.config().digest().to_string(),
            image_version: state.version().map(str::to_owned),
            timestamp: state.timestamp,
            kernel: state.kernel.clone(),
            policy,
            importer: state.importer.clone(),
            format: state.format(),
            options: state.options.clone(),
            layers: layers(repo, state)?,
            cached_update: state.cached_update.as_ref().map(|update| Update {
                manifest_digest: update.manifest_digest.clone(),
                image_version: metadata::version(&update.config).map(str::to_owned),
            }),
            manifest: serde_json::from_str(&state.manifest_json).context("the manifest")?,
            config: serde_json::from_str(&state.config_json).context("the configuration")?,
            commit,
        })
    }
}

/// How the layers of an image came to be.
#[derive(Debug, Serialize)]
pub struct Historied {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// Its reference.
    pub image: String,
    /// The layers from the lowest up.
    pub layers: Vec<Layer>,
}

impl Historied {
    /// Tells the history of an image of `repo`.
    ///
    /// # Errors
    /// The repo cannot be read.
    pub fn of(repo: &Repo, image: &ImageReference, state: &ImageState) -> Result<Self> {
        Ok(Self {
            version: JSON_VERSION,
            image: image.to_string(),
            layers: layers(repo, state)?,
        })
    }
}

fn layers(repo: &Repo, state: &ImageState) -> Result<Vec<Layer>> {
    let history = history(state.manifest.layers(), &state.config);
    let refs = state.layer_refs()?;
    let layer = |(of, name): (_, &String)| {
        let super::LayerHistory { layer, origin } = of;
        let commit = repo.resolve(name)?;
        anyhow::Ok(Layer {
            digest: layer.digest().to_string(),
            size: layer.size(),
            commit: commit.map(|commit| commit.hex()),
            created: origin.and_then(|origin| origin.created().clone()),
            created_by: origin.and_then(|origin| origin.created_by().clone()),
        })
    };
    history.into_iter().zip(&refs).map(layer).collect()
}

/// What left a repo.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// The references of images.
    pub images: Vec<String>,
    /// The sources whose refs of ours kept something.
    pub kept: Vec<String>,
    /// The digests of layers.
    pub layers: Vec<String>,
    /// What cannot be read. All layers stay then, for it may need any.
    pub unreadable: Vec<Unreadable>,
}

impl Removed {
    /// Tells what leaves.
    pub fn of(leaving: Leaving) -> Self {
        let names = |refs: Vec<(String, _)>, prefix: &str| {
            let name = |(name, _): (String, _)| {
                ref_escape::unescape_with_prefix(prefix, &name).unwrap_or(name)
            };
            refs.into_iter().map(name).collect()
        };
        Self {
            version: JSON_VERSION,
            images: names(leaving.images, RefName::IMAGE_PREFIX),
            kept: names(leaving.base_images, &RefName::our_base_images()),
            layers: names(leaving.layers, RefName::BLOB_PREFIX),
            unreadable: unreadable(leaving.unreadable),
        }
    }
}

/// What left a repo with all its objects.
#[derive(Debug, Serialize)]
pub struct Pruned {
    /// Refs.
    #[serde(flatten)]
    pub removed: Removed,
    /// Objects.
    pub objects: PrunedObjects,
    /// Is that only what would leave?
    pub dry_run: bool,
}

/// An image that went to another repo.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// Its reference there.
    pub image: String,
    /// Checksum of its commit: 64 hexadecimal digits.
    pub commit: String,
    /// The refs that point to it and to its layers there, in the order in which they moved.
    pub refs: Vec<String>,
}

impl Sent {
    /// Tells what was copied.
    pub fn of(target: &ImageReference, copied: Copied) -> Self {
        Self {
            version: JSON_VERSION,
            image: target.to_string(),
            commit: copied.commit.hex(),
            refs: copied.refs,
        }
    }
}

fn unreadable(pairs: Vec<(String, String)>) -> Vec<Unreadable> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, reason)| Unreadable { name, reason })
        .collect()
}
