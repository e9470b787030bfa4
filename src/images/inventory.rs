//! Everything in a repo that says which layers are needed, as plain data.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use oci_spec::image::ImageManifest;

use crate::contract::{ImageReference, OstreeImageReference, RefName, metadata, ref_escape};
use crate::digest::Digest;
use crate::repo::{Deployment, Repo, Sysroot};

/// The refs of a repo that have to do with images, each in byte order of its name.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// `ostree/container/image/…`
    pub images: Vec<Holder>,
    /// `ostree/container/baseimage/import-oci/…`
    pub ours: Vec<Holder>,
    /// What else needs layers: deployments, base images of others.
    pub others: Vec<Holder>,
    /// `ostree/container/blob/…`: the digest, or why the name holds none.
    pub layers: Vec<(String, Digest, Result<String, String>)>,
}

/// What keeps a commit and the layers that its manifest speaks of.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// The name of the ref, or what else it is.
    pub name: String,
    /// The commit.
    pub commit: Digest,
    /// The digests of the layers, or why they are not known.
    pub layers: Result<Vec<String>, String>,
}

impl Holder {
    /// The ref.
    pub fn to_ref(&self) -> (String, Digest) {
        (self.name.clone(), self.commit)
    }
}

/// What is deployed.
#[derive(Debug, Default)]
pub(super) struct Deployed {
    /// The commits, and those that others were made from for it.
    pub commits: HashSet<Digest>,
    /// The images that origins name; an update may wait under that name.
    pub images: HashSet<ImageReference>,
    /// Origins that name an image which cannot be understood, and why.
    pub unreadable: Vec<(String, String)>,
}

/// Where libostree keeps the commits of deployments, and rpm-ostree those that deployments with
/// packages of their own are made from.
const DEPLOYMENT_REFS: [&str; 3] = ["ostree/0", "ostree/1", "rpmostree/base"];

impl Inventory {
    /// Reads the refs of `repo`; `deployments` are those of its system, as far as that is known.
    pub fn read(repo: &Repo, deployments: &[Deployment]) -> Result<Self> {
        let holders = |prefix, layers: fn(&Repo, Digest) -> Result<Vec<String>>| {
            let refs = repo.refs_below(prefix)?.into_iter();
            anyhow::Ok(refs.map(move |(name, commit)| Holder {
                layers: layers(repo, commit).map_err(|error| format!("{error:#}")),
                name,
                commit,
            }))
        };
        let bases = holders(RefName::BASE_IMAGE_PREFIX, layers_if_image)?;
        let ours = RefName::our_base_images();
        let (ours, mut others): (Vec<_>, Vec<_>) = bases.partition(|held| below(&held.name, &ours));
        for prefix in DEPLOYMENT_REFS {
            others.extend(holders(prefix, layers_if_image)?);
        }
        others.extend(deployments.iter().map(|deployment| Holder {
            name: format!("a deployment of {}", deployment.commit.hex()),
            commit: deployment.commit,
            layers: layers_if_image(repo, deployment.commit).map_err(|error| format!("{error:#}")),
        }));
        let unescape = |name: &str| ref_escape::unescape_with_prefix(RefName::BLOB_PREFIX, name);
        Ok(Self {
            images: holders(RefName::IMAGE_PREFIX, layers)?.collect(),
            ours,
            others,
            layers: repo
                .refs_below(RefName::BLOB_PREFIX)?
                .into_iter()
                .map(|(name, commit)| {
                    let digest = unescape(&name).map_err(|error| error.to_string());
                    (name, commit, digest)
                })
                .collect(),
        })
    }
}

impl Deployed {
    /// What is deployed of `repo`: what its refs say, and what its system says where that is known.
    pub fn read(repo: &Repo, deployments: &[Deployment]) -> Result<Self> {
        let mut deployed = Self::default();
        for prefix in DEPLOYMENT_REFS {
            let refs = repo.refs_below(prefix)?;
            deployed
                .commits
                .extend(refs.into_iter().map(|(_, commit)| commit));
        }
        for Deployment { commit, image } in deployments {
            deployed.commits.insert(*commit);
            let Some(image) = image else { continue };
            match image.parse::<OstreeImageReference>() {
                Ok(image) => deployed.add(image.imgref),
                Err(error) => {
                    let name = format!("the origin of a deployment of {}", commit.hex());
                    deployed.unreadable.push((name, error.to_string()));
                }
            }
        }
        Ok(deployed)
    }

    /// Adds an image that an origin names, and the name under which bootc looks it up.
    fn add(&mut self, image: ImageReference) {
        self.images.extend(image.clone().canonicalize());
        self.images.insert(image);
    }
}

/// The deployments of a system, none where it is not known.
pub(super) fn deployments(sysroot: Option<&Sysroot>) -> Result<Vec<Deployment>> {
    sysroot.map_or(Ok(Vec::new()), Sysroot::deployments)
}

/// Is the ref `name` below `prefix`?
fn below(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The digests of the layers of an image.
fn layers(repo: &Repo, commit: Digest) -> Result<Vec<String>> {
    layers_if_any(repo, commit)?.with_context(|| format!("{} is missing", metadata::MANIFEST))
}

/// The digests of the layers of what may be an image: an ordinary commit has none.
fn layers_if_image(repo: &Repo, commit: Digest) -> Result<Vec<String>> {
    Ok(layers_if_any(repo, commit)?.unwrap_or_default())
}

fn layers_if_any(repo: &Repo, commit: Digest) -> Result<Option<Vec<String>>> {
    let found = repo
        .commit_metadata(commit)?
        .context("the repo lacks its commit or a part of it")?;
    let Some(manifest) = found.text(metadata::MANIFEST) else {
        return Ok(None);
    };
    let manifest: ImageManifest = serde_json::from_str(&manifest).context(metadata::MANIFEST)?;
    let digests = manifest
        .layers()
        .iter()
        .map(|layer| layer.digest().to_string());
    Ok(Some(digests.collect()))
}
