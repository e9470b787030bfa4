//! Layers that the repo has already: those we committed, which carry their record.
//!
//! A layer is found by the digest of its blob, or, where it was compressed anew, by that of its tar
//! stream. Its record must be of today's format and of the very layer that the image speaks of;
//! layer commits of others say too little. Which labels its files were written with does not
//! matter: who uses them compares.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use foldhash::HashMap;

use crate::bodies::BodyId;
use crate::contract::{RefName, metadata};
use crate::digest::Digest;
use crate::entry::EntryKind;
use crate::fixup::clean_xattrs;
use crate::layer::Layer;
use crate::object::{FileHeader, FileObject};
use crate::record::{ChangedFiles, LayerRecord, StoredFile};
use crate::repo::{Repo, RepoBodies, StoredObject};
use crate::source::LayerDescriptor;
use crate::tree::{Content, Inode};

/// The layers of a repo.
#[derive(Debug)]
pub struct Cache<'r> {
    repo: &'r Repo,
    /// The commits of layers by diff_id, once they are asked for.
    by_diff_id: OnceCell<HashMap<String, Digest>>,
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
    pub fn new(repo: &'r Repo) -> Self {
        Self {
            repo,
            by_diff_id: OnceCell::new(),
        }
    }

    /// The layer, its bodies being of the store `store`; `None` if it must be read.
    ///
    /// # Errors
    /// The repo cannot be read. A record that cannot is none.
    pub fn find(&self, layer: &LayerDescriptor, store: u32) -> Result<Option<CachedLayer>> {
        match self.commit(layer)? {
            Some(commit) => self.load(commit, layer, store),
            None => Ok(None),
        }
    }

    /// The commit that stands for the layer, whose record was not looked at.
    ///
    /// # Errors
    /// The repo cannot be read.
    pub fn commit(&self, layer: &LayerDescriptor) -> Result<Option<Digest>> {
        let name = RefName::Blob(layer.digest).to_ref()?;
        if let Some(commit) = self.repo.resolve(&name)? {
            // Where somebody says that the blob is another layer, the blob itself must tell.
            let same = self.diff_id(commit)? == Some(layer.diff_id.to_string());
            return Ok(same.then_some(commit));
        }
        Ok(self.by_diff_id()?.get(&layer.diff_id.to_string()).copied())
    }

    /// The commits of our layers.
    fn by_diff_id(&self) -> Result<&HashMap<String, Digest>> {
        if let Some(known) = self.by_diff_id.get() {
            return Ok(known);
        }
        let mut found = HashMap::default();
        for (_, commit) in self.repo.refs_below(RefName::BLOB_PREFIX)? {
            found.extend(self.diff_id(commit)?.map(|diff_id| (diff_id, commit)));
        }
        Ok(self.by_diff_id.get_or_init(|| found))
    }

    /// What is known of the files of these layers, given by diff_id, that fixups changed when an image
    /// of the repo was imported. The number of each layer is that of the store of its bodies.
    ///
    /// # Errors
    /// The repo cannot be read. A record that cannot is none.
    pub fn changed_files(&self, layers: &[Digest]) -> Result<HashMap<(BodyId, Digest), Digest>> {
        let mut images = self.repo.refs_below(RefName::IMAGE_PREFIX)?;
        images.extend(self.repo.refs_below(&RefName::our_base_images())?);
        let commits: BTreeSet<_> = images.into_iter().map(|(_, commit)| commit).collect();
        let mut found = HashMap::default();
        for commit in commits {
            let metadata = self.repo.commit_metadata(commit)?;
            let record = metadata.and_then(|metadata| metadata.bytes(metadata::CHANGED_FILES));
            let Some(record) = record else {
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
        Ok(found)
    }

    /// For which layer a commit of ours stands.
    fn diff_id(&self, commit: Digest) -> Result<Option<String>> {
        let metadata = self.repo.commit_metadata(commit)?;
        Ok(metadata.and_then(|metadata| {
            let importer = metadata.text(metadata::IMPORTER_VERSION)?;
            let ours = importer == metadata::importer_version(metadata::FORMAT);
            let stands = ours && metadata.has(metadata::LAYER);
            metadata.text(metadata::DIFF_ID).filter(|_| stands)
        }))
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
