//! Layers that the repo has already: those we committed, which carry their record.
//!
//! What a commit says of itself proves nothing: an image with an encapsulated base brings that commit
//! byte by byte, and any importer writes it as it is. So a layer is one of an image that we imported,
//! for then we have seen its digest and its diff_id, and is found by both. One without compression
//! has one digest for both, and nobody checks that of what comes unpacked: there the diff_id will do.
//!
//! Its record must be of today's format and of the very layer that the image speaks of. Which labels its
//! files were written with does not matter: who uses them compares.

use std::sync::Arc;

use anyhow::Result;
use foldhash::HashMap;

use crate::bodies::BodyId;
use crate::contract::{RefName, metadata};
use crate::digest::Digest;
use crate::entry::EntryKind;
use crate::fixup::clean_xattrs;
use crate::images::{self, ImageState};
use crate::layer::Layer;
use crate::object::{FileHeader, FileObject};
use crate::record::{ChangedFiles, LayerRecord, StoredFile};
use crate::repo::{CommitMetadata, Repo, RepoBodies, StoredObject};
use crate::source::{LayerDescriptor, base_layers};
use crate::tree::{Content, Inode};

/// The layers of a repo.
#[derive(Debug)]
pub struct Cache<'r> {
    repo: &'r Repo,
    /// The commits of images that we wrote, and what they say.
    images: Vec<(Digest, CommitMetadata)>,
    /// The commits of their layers, by digest and diff_id.
    blobs: HashMap<(Digest, Digest), Digest>,
    /// The same by diff_id.
    contents: HashMap<Digest, Digest>,
}

/// A layer that need not be read.
#[derive(Debug)]
pub struct CachedLayer {
    /// Its commit.
    pub commit: Digest,
    /// What reading it would give.
    pub layer: Layer,
    /// The content of its files.
    pub bodies: RepoBodies,
    /// See [`LayerRecord::checked_policy`].
    pub checked_policy: Option<Digest>,
    /// See [`LayerRecord::labels`].
    pub labels: Vec<Option<Arc<str>>>,
    /// The checksums of its files as they lie in the repo.
    pub known: Vec<(FileObject, Digest)>,
}

impl<'r> Cache<'r> {
    /// The layers of `repo`.
    ///
    /// # Errors
    /// The repo cannot be read.
    pub fn new(repo: &'r Repo) -> Result<Self> {
        let mut cache = Self {
            repo,
            images: Vec::new(),
            blobs: HashMap::default(),
            contents: HashMap::default(),
        };
        for commit in repo.image_commits()? {
            let Some(image) = repo
                .commit_metadata(commit)?
                .filter(CommitMetadata::is_of_today)
            else {
                continue;
            };
            for (digest, diff_id) in layers_of(commit, &image)? {
                cache.add(digest, diff_id)?;
            }
            cache.images.push((commit, image));
        }
        Ok(cache)
    }

    /// Adds a layer of an image of ours, which may be one of many.
    fn add(&mut self, digest: Digest, diff_id: Digest) -> Result<()> {
        if self.blobs.contains_key(&(digest, diff_id)) {
            return Ok(());
        }
        let Some(commit) = self.repo.resolve(&RefName::Blob(digest).to_ref()?)? else {
            return Ok(());
        };
        // Somebody may have let the ref point to another commit.
        if self.diff_id(commit)? == Some(diff_id) {
            self.blobs.insert((digest, diff_id), commit);
            self.contents.insert(diff_id, commit);
        }
        Ok(())
    }

    /// The layer, its bodies being of the store `store`; `None` if it must be read.
    ///
    /// # Errors
    /// The repo cannot be read. A record that cannot is none.
    pub fn find(&self, layer: &LayerDescriptor, store: u32) -> Result<Option<CachedLayer>> {
        match self.commit(layer) {
            Some(commit) => self.load(commit, layer, store),
            None => Ok(None),
        }
    }

    /// The commit that stands for the layer, whose record was not looked at.
    pub fn commit(&self, layer: &LayerDescriptor) -> Option<Digest> {
        let by_both = self.blobs.get(&(layer.digest, layer.diff_id));
        let content_tells = layer.unpacked || layer.digest == layer.diff_id;
        let by_content = || self.contents.get(&layer.diff_id).filter(|_| content_tells);
        by_both.or_else(by_content).copied()
    }

    /// What is known of the files of these layers, given by diff_id, that fixups changed when an image
    /// of the repo was imported. The number of each layer is that of the store of its bodies.
    /// A record that cannot be read is none.
    pub fn changed_files(&self, layers: &[Digest]) -> HashMap<(BodyId, Digest), Digest> {
        let mut found = HashMap::default();
        for (commit, image) in &self.images {
            let Some(record) = image.bytes(metadata::CHANGED_FILES) else {
                continue;
            };
            match ChangedFiles::decode(&record) {
                Ok(record) => found.extend(bodies_of(record, layers)),
                Err(error) => {
                    let commit = commit.hex();
                    tracing::warn!("what fixups changed is read again: in {commit}, {error}");
                }
            }
        }
        found
    }

    /// For which layer a commit of ours stands.
    fn diff_id(&self, commit: Digest) -> Result<Option<Digest>> {
        let metadata = self.repo.commit_metadata(commit)?;
        let layer = metadata.filter(|found| found.is_of_today() && found.has(metadata::LAYER));
        Ok(layer.and_then(|layer| layer.text(metadata::DIFF_ID)?.parse().ok()))
    }

    fn load(
        &self,
        commit: Digest,
        layer: &LayerDescriptor,
        store: u32,
    ) -> Result<Option<CachedLayer>> {
        let metadata = self.repo.commit_metadata(commit)?;
        let Some(record) = metadata.and_then(|metadata| metadata.bytes(metadata::LAYER)) else {
            return Ok(None);
        };
        match LayerRecord::decode(&record, store) {
            Ok(record) if record.diff_id == layer.diff_id => Ok(cached(self.repo, commit, record)),
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::warn!("{layer} is read again: the record of its commit is {error}");
                Ok(None)
            }
        }
    }
}

/// The digest and the diff_id of each layer of an image but those that were made of a commit.
fn layers_of(commit: Digest, image: &CommitMetadata) -> Result<Vec<(Digest, Digest)>> {
    let ImageState {
        manifest, config, ..
    } = images::of_metadata(commit, image)?;
    let layers = manifest.layers().iter().zip(config.rootfs().diff_ids());
    let parsed = layers
        .skip(base_layers(&config))
        .map(|(layer, diff_id)| Ok((layer.digest().to_string().parse()?, diff_id.parse()?)));
    parsed.collect()
}

/// The changed files as bodies of the stores of `layers`.
fn bodies_of(
    record: ChangedFiles,
    layers: &[Digest],
) -> impl Iterator<Item = ((BodyId, Digest), Digest)> {
    let store = |diff_id| layers.iter().position(|layer| layer == diff_id);
    let stores: Vec<_> = record.layers.iter().map(store).collect();
    record.files.into_iter().filter_map(move |changed| {
        let body = BodyId {
            store: stores[changed.layer as usize]?.try_into().ok()?,
            index: changed.file,
        };
        Some(((body, changed.change), changed.object))
    })
}

/// `None`: the record speaks of objects that cannot be.
fn cached(repo: &Repo, commit: Digest, record: LayerRecord) -> Option<CachedLayer> {
    let files = record.entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { body, size } => Some((&entry.metadata, body, size)),
        _ => None,
    });
    let mut known = Vec::with_capacity(record.files.len());
    let mut objects = Vec::with_capacity(record.files.len());
    for ((metadata, body, size), StoredFile { object, label }) in files.zip(&record.files) {
        let mut inode = Inode {
            metadata: metadata.clone(),
            content: Content::File { body, size },
        };
        clean_xattrs(&mut inode);
        let header = FileHeader::regular(&inode.metadata, label.as_deref()).ok()?;
        objects.push(StoredObject {
            checksum: *object,
            header: header.clone(),
            size,
        });
        let body = Some(body);
        known.push((FileObject { header, body }, *object));
    }
    Some(CachedLayer {
        commit,
        layer: Layer {
            entries: record.entries,
            report: record.report,
            uncompressed_size: record.uncompressed_size,
        },
        checked_policy: record.checked_policy,
        labels: record.labels,
        bodies: RepoBodies::new(repo, objects, record.starts),
        known,
    })
}
