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

use crate::base_layer::{self, BaseLayer};
use crate::bodies::{Bodies, BodyStore};
use crate::cache::Cache;
use crate::commit::{self, CommitText};
use crate::digest::Digest;
use crate::entry::Entry;
use crate::fixup::{self, FixupOptions, Image};
use crate::image_commit;
use crate::known::KnownObjects;
use crate::label;
use crate::layer;
use crate::layer_commit::{ImpliedDirectories, LayerCommits, MergedLayer, StoredLayer};
use crate::layer_tree::{layer_tree, stands_alone};
use crate::object::{FileObject, Plan};
use crate::options;
use crate::outcome::{Imported, LayerSummary, SelinuxSummary, TreeSummary};
use crate::packages::Packages;
use crate::path::ImagePath;
use crate::progress::{Progress, Stage};
use crate::publish::{Destination, RefOptions};
use crate::regenerate::regenerate;
use crate::repo::{Repo, SigningKeys, TreeRoot};
use crate::report::Report;
use crate::source::{
    ImageSource, LayerDescriptor, Platform, ResolvedImage, RootfsSource, Source, SourceReference,
    base_layers,
};
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
    /// Does the commit of an image stand alone, without those of its layers? That of an unpacked
    /// root always does.
    pub squash: bool,
    /// Which refs say what was imported.
    pub refs: RefOptions,
    /// Who signs the commit.
    pub signing: SigningKeys,
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
    let _lock = repo.share()?;
    let destination = Destination::new(repo, reference, &options.refs)?;
    let signers = repo.signers(&options.signing)?;
    let shaping = options::shaping(&options.merge, &options.fixups, options.squash);
    let mut report = Report::default();

    // source → layer → tree → fixup
    let spools = repo.spool_directory();
    let merged = match source {
        Source::Root(root) => merge_root(root, options, &mut report)?,
        Source::Image(source) => {
            let image = source.resolve(&options.platform)?;
            if let Some((commit, found)) = destination.find(repo, &image, shaping.as_deref())? {
                let transaction = repo.transaction(options.threads)?;
                let commit = image_commit::present(&transaction, commit, &found, &signers)?;
                let unchanged = !commit.signed && destination.points_to(repo, &commit)?;
                let image_reference = destination.image.clone();
                let refs = destination.publish(&transaction, &[], &commit)?;
                if !unchanged {
                    transaction.commit()?;
                }
                let imported = Imported::present(reference, &image, &commit, &found);
                return Ok(imported.under(image_reference, refs, unchanged));
            }
            let layers = LayersOf {
                cache: Some(Cache::new(repo)?),
                committed: !options.squash,
            };
            merge_image(
                &*source,
                image,
                &layers,
                &spools,
                options,
                progress,
                &mut report,
            )?
        }
    };
    let prepared = repair(merged, &spools, options, &mut report)?;
    report.refuse_fatal()?;
    let Prepared {
        mut tree,
        mut bodies,
        layers,
        base,
        known,
        ..
    } = prepared;
    let base = base_layer::read(base, &bodies)
        .context("reading the layers of an encapsulated commit; --squash imports them as one")?;
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
    let policy = match label::find_policy(&tree, &bodies)? {
        Ok((_, files)) => Some(files.digest()),
        Err(_) => None,
    };
    let layers = LayerCommits::new(layers, policy, &bodies)?;
    let known_labels = layers.known_labels();
    let layer_trees: Vec<_> = layers.trees().map(|(_, tree)| tree).collect();
    let known_labels = known_labels.as_ref();
    let labels = label::label_trees(&tree, &layer_trees, known_labels, &bodies, &mut report)?;
    tracing::debug!("labelled");

    // label → object
    let mut plan = Plan::new(&tree, &labels.of_paths())?;
    for (number, (descriptor, tree)) in (1..).zip(layers.trees()) {
        plan.add(tree, &labels.of_tree(number))
            .with_context(|| descriptor.to_string())?;
    }
    let base_trees = plan.trees();
    for BaseLayer { objects, .. } in &base {
        // Their labels are among their xattrs.
        plan.add(objects, &vec![None; objects.ids().count()])?;
    }

    // object → repo
    let bodies = Arc::new(bodies);
    let transaction = repo.transaction(options.threads)?;
    progress.begin(Stage::Objects, plan.files().len() as u64);
    let path = |index| plan.path(index);
    let find = |file: &FileObject| known.find(file, &bodies);
    let found: Vec<_> = plan.files().iter().map(find).collect();
    let checksums = transaction.write_files(plan.files(), &found, &bodies, &path, &|| {
        progress.advance(1)
    })?;
    progress.end();
    tracing::debug!("content objects written");
    for (tree, layer) in (base_trees..).zip(&base) {
        layer.check(&plan, tree, &checksums)?;
    }
    let mut directories = plan.directories(&checksums)?;
    let base_roots = directories.split_off(base_trees);
    for directories in &directories {
        transaction.write_metadata(&directories.objects)?;
    }
    for (layer, objects) in base.iter().zip(&base_roots) {
        layer.write_metadata(&transaction, objects)?;
    }
    tracing::debug!("metadata objects written");
    let (root, layer_roots) = directories.split_first().context("a plan has a tree")?;
    let tree_root = TreeRoot::from(root);

    // repo → commit
    let mut text = match &prepared.image {
        Some(image) => CommitText::of_image(image, kernel.clone(), shaping)?,
        None => {
            let architecture = commit::find_architecture(&tree, &bodies);
            let timestamp = options.timestamp.unwrap_or(prepared.newest);
            CommitText::of_root(tree_root, architecture, timestamp, kernel.clone(), shaping)?
        }
    };
    text.metadata.initramfs_inputs = initramfs_inputs;
    let changed_files = known.record(&plan, &checksums, &bodies, &layers.committed());
    text.metadata.changed_files = changed_files.encode();
    let text = match options.squash && text.only_layer.is_none() {
        true => text.squashed(tree_root)?,
        false => text,
    };
    // Spools go before the repo is synced: they need not reach the disk.
    drop(bodies);
    let mut blobs = layers.write(&transaction, layer_roots, &labels, &plan, &checksums)?;
    for (layer, objects) in base.iter().zip(&base_roots) {
        let commit = layer.write_commit(&transaction, objects)?;
        blobs.push((layer.descriptor.clone(), commit));
    }
    blobs.sort_unstable_by_key(|(layer, _)| layer.index);
    let blobs: Vec<_> = blobs
        .into_iter()
        .map(|(layer, commit)| (layer.digest, commit))
        .collect();
    let commit = image_commit::write(&transaction, tree_root, &text, &signers)?;

    // commit → publish
    let unchanged = !commit.signed && destination.points_to(repo, &commit)?;
    let image_reference = destination.image.clone();
    let refs = destination.publish(&transaction, &blobs, &commit)?;
    let objects = transaction.commit()?;
    tracing::debug!("transaction committed");

    let imported = Imported {
        config_digest: match &prepared.image {
            Some(image) => image.config_digest,
            None => Digest::of(text.metadata.config.as_bytes()),
        },
        layers: prepared.summaries,
        tree: Some(TreeSummary::of(&tree, root)),
        objects,
        selinux: SelinuxSummary::of(&labels),
        selinux_reason: labels.policy.err().map(|reason| reason.to_string()),
        kernel,
        notes: report,
        ..Imported::new(
            reference,
            &commit,
            text.timestamp,
            text.metadata.manifest_digest,
        )
    };
    Ok(imported.under(image_reference, refs, unchanged))
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
        .and_then(|labels| Plan::new(&tree, &labels.of_paths()).map(drop));
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
    /// Its layers, if they are to be committed too.
    layers: Vec<MergedLayer>,
    /// Objects that lie in the repo.
    known: KnownObjects,
    /// Those below them that are made of a commit.
    base: Vec<(LayerDescriptor, Vec<Entry>)>,
}

/// What is done about the layers of an image, besides merging them.
#[derive(Debug, Default)]
struct LayersOf<'r> {
    /// Where some may be that need not be read.
    cache: Option<Cache<'r>>,
    /// Are they to be committed?
    committed: bool,
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
    let merged = match source {
        Source::Image(source) => {
            let image = source.resolve(&options.platform)?;
            let layers = LayersOf::default();
            merge_image(&*source, image, &layers, spools, options, progress, report)?
        }
        Source::Root(root) => merge_root(root, options, report)?,
    };
    repair(merged, spools, options, report)
}

/// tree → fixup
fn repair(
    mut prepared: Prepared,
    spools: &Path,
    options: &ImportOptions,
    report: &mut Report,
) -> Result<Prepared> {
    tracing::debug!("layers merged");
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

/// Reads all layers at once, those that no cache has, and merges all from the lowest up.
fn merge_image(
    source: &dyn ImageSource,
    image: ResolvedImage,
    layers: &LayersOf<'_>,
    spools: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
    report: &mut Report,
) -> Result<Prepared> {
    let mut known = KnownObjects::default();
    let mut cached = Vec::new();
    for (store, descriptor) in (0..).zip(&image.layers) {
        let mut found = match &layers.cache {
            Some(cache) => cache.find(descriptor, store)?,
            None => None,
        };
        if let Some(found) = &mut found {
            known.stored.extend(found.known.drain(..));
        }
        cached.push(found);
    }
    if let Some(cache) = &layers.cache {
        let diff_ids: Vec<_> = image.layers.iter().map(|layer| layer.diff_id).collect();
        known.changed = cache.changed_files(&diff_ids);
        // A layer that is read counts its files otherwise.
        known
            .changed
            .retain(|(body, _), _| cached[body.store as usize].is_some());
    }
    let missing: Vec<_> = image
        .layers
        .iter()
        .zip(&cached)
        .filter(|(_, cached)| cached.is_none())
        .map(|(descriptor, _)| descriptor.clone())
        .collect();
    let read = layer::read_all(source, &missing, spools, options.threads, progress)?;
    tracing::debug!("layers read and verified");

    let mut read = read.into_iter();
    let mut tree = Tree::new();
    let mut stores = Vec::new();
    let mut summaries = Vec::new();
    let mut merged = Vec::new();
    let mut implied = ImpliedDirectories::default();
    let mut base = Vec::new();
    let base_layers = base_layers(&image.config);
    for (descriptor, cached) in image.layers.iter().zip(cached) {
        let is_cached = cached.is_some();
        let (layer, stored, store): (_, _, Box<dyn BodyStore>) = match cached {
            Some(cached) => {
                let stored = StoredLayer {
                    commit: cached.commit,
                    checked_policy: cached.checked_policy,
                    labels: cached.labels,
                };
                (cached.layer, Some(stored), Box::new(cached.bodies))
            }
            None => {
                let (layer, spool) = read.next().context("every layer was read")?;
                (layer, None, Box::new(spool))
            }
        };
        summaries.push(LayerSummary::of(descriptor, &layer, is_cached));
        report.append(layer.report.clone());
        merge::apply(&mut tree, &layer.entries, &options.merge, report)
            .with_context(|| descriptor.to_string())?;
        stores.push(store);
        if !layers.committed {
            continue;
        }
        if descriptor.index < base_layers {
            base.push((descriptor.clone(), layer.entries));
        } else {
            let depends = !stands_alone(&layer.entries);
            let layer_tree = depends.then(|| layer_tree(&layer.entries, Some(&tree)));
            if let Some(layer_tree) = &layer_tree {
                implied.add(layer_tree, descriptor, &layer.entries)?;
            }
            merged.push(MergedLayer {
                descriptor: descriptor.clone(),
                tree: layer_tree,
                layer,
                stored,
            });
        }
    }
    Ok(Prepared {
        image: Some(image),
        tree,
        bodies: Bodies::new(stores),
        summaries,
        newest: 0,
        layers: merged,
        base,
        known,
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
        layers: Vec::new(),
        known: KnownObjects::default(),
        base: Vec::new(),
    })
}
