//! From a reference to an image in a repo, in two steps.

use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result};
use import_oci::fixup::FixupOptions;
use import_oci::images;
use import_oci::import::{ImportOptions, import};
use import_oci::options;
use import_oci::outcome::Imported;
use import_oci::outlook::Outlook;
use import_oci::publish::{Destination, RefOptions, Target};
use import_oci::repo::Repo;
use import_oci::report::Action;
use import_oci::source::{FetchOptions, Platform, ResolvedSource, Source, SourceReference};
use import_oci::tree::merge::MergeOptions;
use tokio::sync::{mpsc, watch};

use super::prepared::encapsulated_layers;
use super::progress::{Channels, Turns};
use super::{
    ImageProxyConfig, ImportProgress, LayerProgress, LayeredImageState, PreparedImport,
    gc_image_layers, query_image_commit,
};
use crate::blocking;
use crate::container::{OstreeImageReference, fetch_options, open};

/// Brings one image into a repo: [`prepare`](Self::prepare) looks at it, [`import`](Self::import)
/// reads it.
#[derive(Debug)]
pub struct ImageImporter {
    repo: ostree::Repo,
    image: OstreeImageReference,
    fetch: FetchOptions,
    refs: RefOptions,
    keep_layers: bool,
    layers: Option<mpsc::Sender<ImportProgress>>,
    bytes: Option<watch::Sender<Option<LayerProgress>>>,
    looked_at: Option<(SourceReference, ResolvedSource)>,
}

/// What [`ImageImporter::prepare`] found.
#[derive(Debug)]
pub enum PrepareResult {
    /// The repo has the image, and nothing is to be done.
    AlreadyPresent(Box<LayeredImageState>),
    /// It is to be imported.
    Ready(Box<PreparedImport>),
}

impl ImageImporter {
    /// Will import `image` into `repo`. Nothing is fetched yet.
    ///
    /// # Errors
    /// The repo cannot hold what an import writes, or `config` asks for what an import cannot do.
    pub async fn new(
        repo: &ostree::Repo,
        image: &OstreeImageReference,
        config: ImageProxyConfig,
    ) -> Result<Self> {
        Repo::of_handle(repo.clone())?;
        Ok(Self {
            repo: repo.clone(),
            image: image.clone(),
            fetch: fetch_options(config)?,
            refs: RefOptions::default(),
            keep_layers: false,
            layers: None,
            bytes: None,
            looked_at: None,
        })
    }

    /// Lets others find the image under another reference than its source.
    pub fn set_target(&mut self, target: &OstreeImageReference) {
        self.refs.target = Some(Target {
            image: target.imgref.clone(),
            trust: Some(target.sigverify.clone()),
        });
    }

    /// Writes no ref by which others take the commit for an image.
    pub fn set_no_imgref(&mut self) {
        self.refs.no_image = true;
    }

    /// Nothing: what would not boot is refused in any case.
    pub fn require_bootable(&mut self) {}

    /// Nothing: the tree does not depend on the version of libostree.
    pub fn set_ostree_version(&mut self, _year: u32, _number: u32) {}

    /// Keeps layers that nothing needs once the image is there.
    pub fn disable_gc(&mut self) {
        self.keep_layers = true;
    }

    /// Asks to be told when layers begin and end. An import waits until its messages are taken, or
    /// nobody can take them any more.
    pub fn request_progress(&mut self) -> mpsc::Receiver<ImportProgress> {
        let (sender, receiver) = mpsc::channel(2);
        self.layers = Some(sender);
        receiver
    }

    /// Asks to be told how far the layer is that began last.
    pub fn request_layer_progress(&mut self) -> watch::Receiver<Option<LayerProgress>> {
        let (sender, receiver) = watch::channel(None);
        self.bytes = Some(sender);
        receiver
    }

    /// Looks at the image, and what the repo has of it. If it would replace another image, that is
    /// remembered beside the other's commit.
    ///
    /// # Errors
    /// The image cannot be fetched or is not what its digests say, or the repo cannot be read.
    pub async fn prepare(&mut self) -> Result<PrepareResult> {
        let (image, fetch, refs) = (self.image.clone(), self.fetch.clone(), self.refs.clone());
        let repo = Repo::of_handle(self.repo.clone())?;
        let (looked_at, result) = blocking::run(move || {
            let looked_at = open(&image, &fetch)?;
            let result = look(&repo, &looked_at, refs).with_context(|| image.to_string())?;
            Ok((looked_at, result))
        })
        .await?;
        self.looked_at = Some(looked_at);
        Ok(result)
    }

    /// Imports the image that was prepared, and unless that is [disabled](Self::disable_gc) removes
    /// the refs of layers that nothing needs any more. What was changed on the way is logged.
    ///
    /// # Errors
    /// Those of [`import_oci::import::import`]. No ref has moved then.
    pub async fn import(self, prepared: Box<PreparedImport>) -> Result<Box<LayeredImageState>> {
        let channels = Channels {
            layers: self.layers,
            bytes: self.bytes,
            encapsulated: encapsulated_layers(&prepared.config),
            descriptors: prepared.manifest.layers().clone(),
            turns: Mutex::new(Turns::default()),
        };
        let (reference, source) = self.looked_at.context("the import was not prepared")?;
        blocking::run(move || {
            let repo = Repo::of_handle(self.repo.clone())?;
            let source = Source::Image(Box::new(source));
            let options = import_options(self.refs)?;
            let imported = import(&repo, &reference, source, &options, &channels)
                .with_context(|| format!("importing {reference}"))?;
            log(&imported);
            if !self.keep_layers {
                gc_image_layers(&self.repo)?;
            }
            query_image_commit(&self.repo, &imported.commit)
        })
        .await
    }
}

/// What the repo has of an image, and what is to be done.
fn look(
    repo: &Repo,
    (reference, source): &(SourceReference, ResolvedSource),
    refs: RefOptions,
) -> Result<PrepareResult> {
    let image = source.image();
    let destination = Destination::new(repo, reference, &refs)?;
    let options = import_options(refs)?;
    let shaping = options::shaping(&options.merge, &options.fixups, options.squash);
    let outlook = Outlook::of(repo, image, shaping.as_deref(), &destination)?;
    if let Some(commit) = outlook.unchanged {
        let state = LayeredImageState::of(repo, images::of_commit(repo, commit)?)?;
        return Ok(PrepareResult::AlreadyPresent(state));
    }
    let previous = match &destination.image {
        Some(image) => images::query(repo, image)?,
        None => None,
    };
    let digest = image.manifest_digest.to_string().parse()?;
    if let Some(previous) = &previous
        && previous.manifest_digest != digest
    {
        images::remember_update(repo, previous.commit, image)?;
    }
    let previous = previous.map(|state| LayeredImageState::of(repo, state));
    let commits = outlook.layers.into_iter();
    let prepared = PreparedImport::new(
        digest,
        image.manifest.clone(),
        image.config.clone(),
        commits.map(|commit| Some(commit?.hex())).collect(),
        previous.transpose()?,
    );
    Ok(PrepareResult::Ready(Box::new(prepared?)))
}

/// The defaults of `import-oci`, so that both make the same commit of an image.
pub(crate) fn import_options(refs: RefOptions) -> Result<ImportOptions> {
    Ok(ImportOptions {
        signing: Default::default(),
        platform: Platform::host(),
        merge: MergeOptions::default(),
        fixups: FixupOptions::default(),
        squash: false,
        refs,
        timestamp: None,
        threads: thread::available_parallelism().context("counting cores")?,
    })
}

/// The programs that call us have no place for a report.
pub(crate) fn log(imported: &Imported) {
    for note in imported.notes.notes() {
        let (by, action, path, detail) = (note.by, note.action, &note.path, &note.detail);
        match action {
            Action::Warning => tracing::warn!("{by}: {path}: {detail}"),
            _ => tracing::info!("{by}: {action} {path}: {detail}"),
        }
    }
}
