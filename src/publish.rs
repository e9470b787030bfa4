//! Which refs an import moves, and whether they say that there is nothing to import.

use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use oci_spec::image::ImageManifest;

use crate::contract::{
    ImageReference, OstreeImageReference, RefName, ReferenceError, SignatureSource, metadata,
};
use crate::digest::Digest;
use crate::image_commit::ImageCommit;
use crate::repo::{CommitMetadata, Repo, Transaction};
use crate::source::{ResolvedImage, SourceReference};

/// What a user can choose about refs.
#[derive(Debug, Clone, Default)]
pub struct RefOptions {
    /// A branch for the commit, besides the refs that say which image it is.
    pub write_ref: Option<String>,
    /// The reference under which others shall find the image, in place of that of the source.
    pub target: Option<Target>,
    /// Shall nobody else take the commit for an image?
    pub no_image: bool,
}

/// What an image shall be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its reference.
    pub image: ImageReference,
    /// Who vouches for it, if that was said. It matters to a deployment alone.
    pub trust: Option<SignatureSource>,
}

impl FromStr for Target {
    type Err = ReferenceError;

    /// Reads an image, or what an origin file says of one.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (image, trust) = match text.parse::<OstreeImageReference>() {
            Ok(reference) => (reference.imgref, Some(reference.sigverify)),
            Err(_) => (text.parse()?, None),
        };
        let image = image.canonicalize()?;
        Ok(Self { image, trust })
    }
}

/// What the origin of a deployment says of an image that is imported from `source`: whence its
/// updates come.
///
/// # Errors
/// It is an unpacked root and gets no name.
pub fn origin(source: &SourceReference, options: &RefOptions) -> Result<OstreeImageReference> {
    let target = options.target.as_ref();
    let imgref = match target {
        Some(target) => Some(target.image.clone()),
        None => own_reference(&source.image())?,
    };
    Ok(OstreeImageReference {
        sigverify: target
            .and_then(|target| target.trust.clone())
            .unwrap_or_else(|| source.trust()),
        imgref: imgref.with_context(|| {
            format!(
                "{source} is no image, and the origin of a deployment names one: \
                 --target-imgref says where its updates will come from"
            )
        })?,
    })
}

/// The refs of one import, layers excepted.
#[derive(Debug)]
pub struct Destination {
    /// The image that the commit is to others.
    pub image: Option<ImageReference>,
    /// Ref names in the order in which they move. The last one says that all is there: where the
    /// commit is an image to others, that of the image.
    names: Vec<String>,
    /// The one for users of plain ostree, who verify the signature of what it points to.
    branch: Option<String>,
    /// The ref of the signed base, if there is one: it moves before `names`.
    signed_base: String,
}

impl Destination {
    /// The refs in `repo` for what `source` names:
    /// - `ostree/container/baseimage/import-oci/…`, which keeps an image that is not deployed from
    ///   the garbage collection of others,
    /// - `ostree/container/baseimage/import-oci/signed/…`, which does the same for the signed base,
    /// - the branch that was asked for, which points to the signed base if there is one,
    /// - `ostree/container/image/…`, unless the user wants none. An unpacked root has no name that
    ///   others can read, and one such ref would make them stumble over all images of the repo, so
    ///   it gets one only under a target.
    ///
    /// # Errors
    /// One cannot be a ref there.
    pub fn new(repo: &Repo, source: &SourceReference, options: &RefOptions) -> Result<Self> {
        let source = source.image();
        let image = match (&options.target, options.no_image) {
            (_, true) => None,
            (Some(target), false) => Some(target.image.clone()),
            (None, false) => own_reference(&source)?,
        };
        let named = || {
            let name = options.target.as_ref();
            let name = name.map_or(source, |target| target.image.to_string());
            let base = RefName::our_base_image(&name)?.to_ref()?;
            let signed = RefName::our_signed_base(&name)?.to_ref()?;
            let image = image.clone().map(|image| RefName::Image(image).to_ref());
            anyhow::Ok((base, signed, image.transpose()?))
        };
        let (base, signed_base, image_ref) = named().context(
            "naming refs after the image; --target-imgref gives it another name in the repo",
        )?;
        let names = [Some(base), options.write_ref.clone(), image_ref];
        let names: Vec<_> = names.into_iter().flatten().collect();
        if let Some(branch) = &options.write_ref {
            // One of a set that has rules of its own: alone it makes other tools stumble over the
            // repo.
            ensure!(
                !branch.starts_with(CONTAINER_REFS),
                "{branch:?} cannot be a branch: refs below {CONTAINER_REFS} say what images a \
                 repo has"
            );
        }
        let all = names.iter().chain([&signed_base]);
        repo.check_new_refs(&all.map(String::as_str).collect::<Vec<_>>())?;
        Ok(Self {
            image,
            names,
            branch: options.write_ref.clone(),
            signed_base,
        })
    }

    /// The commit of this very image in `repo`, made in today's format with the same `options`, if
    /// all its layers are there.
    ///
    /// # Errors
    /// The repo cannot be read.
    pub fn find(
        &self,
        repo: &Repo,
        image: &ResolvedImage,
        options: Option<&str>,
    ) -> Result<Option<(Digest, CommitMetadata)>> {
        for name in self.names.iter().rev() {
            let Some(commit) = repo.resolve(name)? else {
                continue;
            };
            let Some(found) = repo.commit_metadata(commit)? else {
                continue;
            };
            if is_of(&found, image, options) && has_layers(repo, &found)? {
                return Ok(Some((commit, found)));
            }
        }
        Ok(None)
    }

    /// Do all refs point to what they should?
    ///
    /// # Errors
    /// The repo cannot be read.
    pub fn points_to(&self, repo: &Repo, commit: &ImageCommit) -> Result<bool> {
        for name in &self.names {
            if repo.resolve(name)? != Some(self.commit_for(name, commit)) {
                return Ok(false);
            }
        }
        Ok(repo.resolve(&self.signed_base)? == commit.base)
    }

    fn commit_for(&self, name: &str, commit: &ImageCommit) -> Digest {
        match commit.base {
            Some(base) if self.branch.as_deref() == Some(name) => base,
            _ => commit.commit,
        }
    }

    /// Lets the refs of layers, then the others, point to their commits when the transaction ends.
    /// Returns their names in the order in which they move.
    ///
    /// # Errors
    /// A name is none of a ref.
    pub fn publish(
        self,
        transaction: &Transaction<'_>,
        layers: &[(Digest, Digest)],
        commit: &ImageCommit,
    ) -> Result<Vec<String>> {
        let mut moved = Vec::new();
        let itself = commit.only_layer.map(|layer| (layer, commit.commit));
        for (layer, commit) in layers.iter().copied().chain(itself) {
            let name = RefName::Blob(layer).to_ref()?;
            transaction.set_ref(&name, commit)?;
            moved.push(name);
        }
        match commit.base {
            Some(base) => {
                transaction.set_ref(&self.signed_base, base)?;
                moved.push(self.signed_base.clone());
            }
            // It would keep the tree of an image that was signed once.
            None => transaction.remove_ref(&self.signed_base)?,
        }
        for name in &self.names {
            transaction.set_ref(name, self.commit_for(name, commit))?;
            moved.push(name.clone());
        }
        Ok(moved)
    }
}

/// Where ostree-ext, bootc and rpm-ostree keep refs of images.
const CONTAINER_REFS: &str = "ostree/container/";

/// The reference of an image as ostree-ext prints it; `None` for what is none to it.
fn own_reference(source: &str) -> Result<Option<ImageReference>> {
    let image = match source.parse::<ImageReference>() {
        Err(ReferenceError::UnknownTransport(_)) => return Ok(None),
        image => image?,
    };
    ensure!(
        !source.contains(char::REPLACEMENT_CHARACTER),
        "{source} is no UTF-8, as references of images must be; --target-imgref names another"
    );
    Ok(Some(image.canonicalize()?))
}

/// Is a commit what we would make of `image`?
fn is_of(commit: &CommitMetadata, image: &ResolvedImage, options: Option<&str>) -> bool {
    let text = |key| commit.text(key);
    text(metadata::MANIFEST_DIGEST) == Some(image.manifest_digest.to_string())
        && commit.is_of_today()
        && text(metadata::OPTIONS).as_deref() == options
}

/// Are the commits of all layers there that the manifest in a commit speaks of?
fn has_layers(repo: &Repo, commit: &CommitMetadata) -> Result<bool> {
    let manifest = commit.text(metadata::MANIFEST).unwrap_or_default();
    let manifest: ImageManifest = serde_json::from_str(&manifest).context("the stored manifest")?;
    for layer in manifest.layers() {
        let name = RefName::Blob(layer.digest().to_string().parse()?).to_ref()?;
        if repo.resolve(&name)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
