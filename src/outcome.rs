//! What an import did, as data: the command prints it as text or as JSON.

use std::collections::HashSet;

use serde::Serialize;

use crate::contract::{ImageReference, metadata};
use crate::digest::Digest;
use crate::image_commit::ImageCommit;
use crate::label::TreeLabels;
use crate::layer::Layer;
use crate::object::Directories;
use crate::repo::{CommitMetadata, Statistics};
use crate::report::Report;
use crate::source::{LayerDescriptor, ResolvedImage, SourceReference};
use crate::tree::{Content, Tree};

/// The version of the JSON form of [`Imported`]. It grows when a field goes or changes its
/// meaning, not when one is added.
pub const JSON_VERSION: u32 = 1;

/// The result of an import.
#[derive(Debug, Clone, Serialize)]
pub struct Imported {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// Checksum of the commit: 64 hexadecimal digits.
    pub commit: String,
    /// Checksum of the signed commit of the same tree, which is the parent of `commit`; `None`
    /// where no signature was asked for.
    pub base: Option<String>,
    /// Did the repo hold it under all its refs before? Then nothing was done, and where the image
    /// says so by itself it was not even read: the fields about its layers, its tree, labels and
    /// notes are empty.
    pub unchanged: bool,
    /// The reference under which others find the image in the repo; `None` if they do not.
    pub image: Option<String>,
    /// The refs that point to it and to the commits of its layers, in the order in which they
    /// moved.
    pub refs: Vec<String>,
    /// The source, with its transport.
    pub source: String,
    /// Date of the commit in seconds since the epoch.
    pub timestamp: u64,
    /// Digest of the image's manifest; for an unpacked root, of the one that the commit holds.
    pub manifest_digest: Digest,
    /// Digest of the image's configuration, or of the one that the commit holds.
    pub config_digest: Digest,
    /// The layers of the image from the lowest up; none for an unpacked root.
    pub layers: Vec<LayerSummary>,
    /// The tree of the commit; `None` where nothing was read.
    pub tree: Option<TreeSummary>,
    /// What was written to the repo.
    pub objects: Statistics,
    /// Labels; `None` where nothing is labelled.
    pub selinux: Option<SelinuxSummary>,
    /// Why nothing is labelled, in words; `None` where something is.
    pub selinux_reason: Option<String>,
    /// Version of the kernel, if there is exactly one.
    pub kernel: Option<String>,
    /// Everything that was changed, dropped or noticed.
    pub notes: Report,
}

impl Imported {
    /// A commit of which nothing more is known yet.
    pub fn new(
        source: &SourceReference,
        commit: &ImageCommit,
        timestamp: u64,
        manifest_digest: Digest,
    ) -> Self {
        Self {
            version: JSON_VERSION,
            commit: commit.commit.hex(),
            base: commit.base.map(|base| base.hex()),
            unchanged: false,
            image: None,
            refs: Vec::new(),
            source: source.to_string(),
            timestamp,
            manifest_digest,
            config_digest: manifest_digest,
            layers: Vec::new(),
            tree: None,
            objects: Statistics::default(),
            selinux: None,
            selinux_reason: None,
            kernel: None,
            notes: Report::default(),
        }
    }

    /// The commit of an image that the repo had.
    pub fn present(
        source: &SourceReference,
        image: &ResolvedImage,
        commit: &ImageCommit,
        found: &CommitMetadata,
    ) -> Self {
        Self {
            config_digest: image.config_digest,
            kernel: found.text(metadata::LINUX),
            ..Self::new(source, commit, found.timestamp, image.manifest_digest)
        }
    }

    /// The same, in a repo where these refs point to it; `unchanged` if they did before.
    pub fn under(self, image: Option<ImageReference>, refs: Vec<String>, unchanged: bool) -> Self {
        Self {
            unchanged,
            image: image.map(|image| image.to_string()),
            refs,
            ..self
        }
    }
}

/// A layer that was read and verified, now or at an earlier import.
#[derive(Debug, Clone, Serialize)]
pub struct LayerSummary {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the decompressed tar stream.
    pub diff_id: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Size of the decompressed tar stream in bytes.
    pub uncompressed_size: u64,
    /// Number of its entries.
    pub entries: usize,
    /// Did the repo have it, so that it was not read?
    pub cached: bool,
}

/// The tree of a commit.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TreeSummary {
    /// Checksum of the root's dirtree: 64 hexadecimal digits.
    pub dirtree: String,
    /// Checksum of the root's dirmeta: 64 hexadecimal digits.
    pub dirmeta: String,
    /// Names of regular files.
    pub files: usize,
    /// Directories.
    pub directories: usize,
    /// Names of symbolic links.
    pub symlinks: usize,
    /// Content of the regular files in bytes, hardlinks counted once.
    pub bytes: u64,
}

/// Labels of a tree.
#[derive(Debug, Clone, Serialize)]
pub struct SelinuxSummary {
    /// Name of the policy (`targeted`, `default`).
    pub policy: String,
    /// Paths with a label.
    pub labelled: usize,
    /// Paths without, because the policy says so or does not know them.
    pub unlabelled: usize,
    /// Paths for which libselinux was asked too.
    pub checked: usize,
    /// Did libselinux disagree, so that all labels are its own?
    pub taken_over: bool,
}

impl LayerSummary {
    /// Sums up a layer.
    pub fn of(descriptor: &LayerDescriptor, layer: &Layer, cached: bool) -> Self {
        Self {
            digest: descriptor.digest,
            diff_id: descriptor.diff_id,
            size: descriptor.size,
            uncompressed_size: layer.uncompressed_size,
            entries: layer.entries.len(),
            cached,
        }
    }
}

impl TreeSummary {
    /// Sums up a tree that has become `directories`.
    pub fn of(tree: &Tree, directories: &Directories) -> Self {
        let mut summary = Self {
            dirtree: directories.root_dirtree.hex(),
            dirmeta: directories.root_dirmeta.hex(),
            ..Self::default()
        };
        let mut counted = HashSet::new();
        for id in tree.ids() {
            match tree.inode(id).content {
                Content::Directory(_) => summary.directories += 1,
                Content::Symlink(_) => summary.symlinks += 1,
                Content::File { size, .. } => {
                    summary.files += 1;
                    summary.bytes += if counted.insert(id) { size } else { 0 };
                }
                Content::Special(_) => {}
            }
        }
        summary
    }
}

impl SelinuxSummary {
    /// Sums up labels; `None` where there is no policy.
    pub fn of(tree: &TreeLabels) -> Option<Self> {
        let (policy, labels) = tree.policy.as_ref().ok()?;
        let of_paths = tree.of_paths();
        let labelled = of_paths.iter().flatten().count();
        Some(Self {
            policy: policy.clone(),
            labelled,
            unlabelled: of_paths.len() - labelled,
            checked: labels.checked,
            taken_over: labels.taken_over.is_some(),
        })
    }
}
