//! The pipeline, on one page.
//!
//! ```text
//! source ──► layer ──► tree ──► fixup ──► label ──► object ──► repo ──► commit ──► publish
//! open the   verify,   merge    repair    final     header +   write    metadata   refs, in one
//! image      inflate,  layers   quirks    image's   checksum   once                transaction
//!            parse                        policy
//! ```
//!
//! Two phases, because an object's checksum covers the label of its file, and the policy that
//! gives the label is itself a file of the final image. First every layer is read once, verified
//! and merged while bodies wait in spools; then what survived is labelled, hashed and written once.
//! In between, an initramfs is made where that is asked for.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::bodies::{Bodies, BodyStore};
use crate::commit::{self, CommitText};
use crate::digest::Digest;
use crate::fixup::{self, FixupOptions, Image};
use crate::label;
use crate::layer;
use crate::object::Plan;
use crate::outcome::{Imported, JSON_VERSION, LayerSummary, SelinuxSummary, TreeSummary};
use crate::packages::Packages;
use crate::path::ImagePath;
use crate::progress::{Progress, Stage};
use crate::publish;
use crate::regenerate::regenerate;
use crate::repo::{CommitSpec, Repo};
use crate::report::Report;
use crate::source::{ImageSource, Platform, ResolvedImage, RootfsSource, Source, SourceReference};
use crate::tree::Tree;
use crate::tree::merge::{self, MergeOptions};

/// What a user can choose about an import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Which image of an index.
    pub platform: Platform,
    /// How layers are merged.
    pub merge: MergeOptions,
    /// How the tree is repaired.
    pub fixups: FixupOptions,
    /// The branch for the commit; by default one made of the source's name.
    pub write_ref: Option<String>,
    /// Date of the commit of an unpacked root, in seconds since the epoch; by default its newest
    /// modification time. Images have a date of their own.
    pub timestamp: Option<u64>,
    /// How many threads work at once.
    pub threads: NonZeroUsize,
}

/// Imports an image or an unpacked root into `repo`.
///
/// # Errors
/// Whatever is wrong with the image, the repo or the disk, naming layer and path. No ref has
/// moved then.
pub fn import(
    repo: &Repo,
    reference: &SourceReference,
    source: Source,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Imported> {
    let branch = publish::branch(repo, options.write_ref.as_deref(), reference)?;
    let mut report = Report::default();

    // source → layer → tree → fixup
    let spools = repo.spool_directory();
    let prepared = prepare(source, &spools, options, progress, &mut report)?;
    report.refuse_fatal()?;
    let Prepared {
        mut tree,
        mut bodies,
        ..
    } = prepared;
    let kernel = fixup::find_kernel(&tree)?;
    let initramfs_inputs = match &kernel {
        Some(version) if options.fixups.makes_initramfs() => {
            progress.begin(Stage::Initramfs, 1);
            let made = repo.initramfs_made(version)?;
            let inputs = regenerate(&mut tree, &mut bodies, version, &made, &spools, &mut report)?;
            progress.end();
            Some(inputs)
        }
        _ => None,
    };

    // fixup → label
    let labels = label::label_tree(&tree, &bodies, &mut report)?;
    tracing::debug!("labelled");

    // label → object
    let plan = Plan::new(&tree, &labels.of_paths())?;

    // object → repo
    let bodies = Arc::new(bodies);
    let transaction = repo.transaction(options.threads)?;
    progress.begin(Stage::Objects, plan.files().len() as u64);
    let path = |index| plan.path(index);
    let checksums =
        transaction.write_files(plan.files(), &bodies, &path, &|| progress.advance(1))?;
    progress.end();
    tracing::debug!("content objects written");
    let directories = plan.directories(&checksums)?;
    transaction.write_metadata(&directories.objects)?;
    tracing::debug!("metadata objects written");

    // repo → commit
    let mut text = match &prepared.image {
        Some(image) => CommitText::of_image(image, kernel.clone())?,
        None => {
            let architecture = commit::find_architecture(&tree, &bodies);
            let timestamp = options.timestamp.unwrap_or(prepared.newest);
            CommitText::of_root(&directories, architecture, timestamp, kernel.clone())?
        }
    };
    text.metadata.initramfs_inputs = initramfs_inputs;
    // Spools go before the repo is synced: they need not reach the disk.
    drop(bodies);
    let commit = transaction.write_commit(&CommitSpec {
        dirtree: directories.root_dirtree,
        dirmeta: directories.root_dirmeta,
        metadata: &text.metadata.clone().into_entries(),
        timestamp: text.timestamp,
    })?;

    // commit → publish
    publish::publish(&transaction, &branch, commit)?;
    let objects = transaction.commit()?;
    tracing::debug!("transaction committed");

    Ok(Imported {
        version: JSON_VERSION,
        commit: commit.hex(),
        branch,
        source: reference.to_string(),
        timestamp: text.timestamp,
        manifest_digest: text.metadata.manifest_digest,
        config_digest: Digest::of(text.metadata.config.as_bytes()),
        layers: prepared.summaries,
        tree: TreeSummary::of(&tree, &directories),
        objects,
        selinux: SelinuxSummary::of(&labels),
        selinux_reason: labels.policy.err().map(|reason| reason.to_string()),
        kernel,
        notes: report,
    })
}

/// Goes as far as an import does before it writes: what it would change, what the image's author
/// should know, and what keeps the image from becoming a commit that boots. File bodies wait in
/// unlinked files in the directory `spools`.
///
/// # Errors
/// The image cannot be read, or is not what its digests say.
pub fn check(
    source: Source,
    spools: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Report> {
    let mut report = Report::default();
    let Prepared { tree, bodies, .. } = prepare(source, spools, options, progress, &mut report)?;
    let planned = label::label_tree(&tree, &bodies, &mut report)
        .and_then(|labels| Plan::new(&tree, &labels.of_paths()));
    if let Err(error) = planned {
        let fix = "change it in the image";
        report.fatal("commit", &ImagePath::root(), format!("{error:#}"), fix);
    }
    Ok(report)
}

/// An image or an unpacked root, merged and repaired.
#[derive(Debug)]
pub struct Prepared {
    /// The image; `None` for an unpacked root.
    pub image: Option<ResolvedImage>,
    /// The final tree.
    pub tree: Tree,
    /// The content of its files.
    pub bodies: Bodies,
    /// The layers of the image.
    pub summaries: Vec<LayerSummary>,
    /// The newest modification time of an unpacked root, in seconds since the epoch.
    pub newest: u64,
}

/// The first half of the pipeline: reads and verifies all of `source` once, merges its layers and
/// applies the fixups; what keeps the image from booting is a fatal line of `report`. File bodies wait in unlinked files in the directory `spools`.
///
/// # Errors
/// As [`import`].
pub fn prepare(
    source: Source,
    spools: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<Prepared> {
    // source → layer → tree
    let mut prepared = match source {
        Source::Image(source) => merge_image(&*source, spools, options, progress, report)?,
        Source::Root(root) => merge_root(root, options, report)?,
    };
    tracing::debug!("layers merged");

    // tree → fixup
    let mut image = Image {
        packages: Packages::read(&prepared.tree, &prepared.bodies, spools)?,
        tree: prepared.tree,
        bodies: prepared.bodies,
        options: options.fixups.clone(),
    };
    fixup::apply_all(&mut image, report)?;
    Image {
        tree: prepared.tree,
        bodies: prepared.bodies,
        ..
    } = image;
    tracing::debug!("repaired");
    Ok(prepared)
}

/// Reads all layers at once and merges them from the lowest up.
fn merge_image(
    source: &dyn ImageSource,
    spools: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<Prepared> {
    let image = source.resolve(&options.platform)?;
    let layers = layer::read_all(source, &image.layers, spools, options.threads, progress)?;
    tracing::debug!("layers read and verified");
    let mut tree = Tree::new();
    let mut stores: Vec<Box<dyn BodyStore>> = Vec::new();
    let mut summaries = Vec::new();
    for (descriptor, (layer, spool)) in image.layers.iter().zip(layers) {
        summaries.push(LayerSummary::of(descriptor, &layer));
        report.append(layer.report);
        merge::apply(&mut tree, &layer.entries, &options.merge, report)
            .with_context(|| descriptor.to_string())?;
        stores.push(Box::new(spool));
    }
    Ok(Prepared {
        image: Some(image),
        tree,
        bodies: Bodies::new(stores),
        summaries,
        newest: 0,
    })
}

/// Takes an unpacked root as one layer in which `.wh.` names are plain names.
fn merge_root(
    root: RootfsSource,
    options: &ImportOptions,
    report: &mut Report,
) -> Result<Prepared> {
    let root = root.walk(0)?;
    report.append(root.report);
    let literal = MergeOptions {
        whiteouts: false,
        ..options.merge
    };
    let mut tree = Tree::new();
    merge::apply(&mut tree, &root.entries, &literal, report)?;
    let newest = root.entries.iter().map(|entry| entry.metadata.mtime).max();
    Ok(Prepared {
        image: None,
        tree,
        bodies: Bodies::new(vec![Box::new(root.bodies)]),
        summaries: Vec::new(),
        newest: newest.map_or(0, |seconds| seconds.max(0).unsigned_abs()),
    })
}
