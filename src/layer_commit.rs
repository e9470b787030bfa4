//! The commits of an image's layers, and what each says.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use foldhash::{HashMap, HashSet};

use crate::bodies::Bodies;
use crate::contract::{LayerMetadata, metadata};
use crate::digest::Digest;
use crate::entry::{Entry, EntryKind};
use crate::fixup::reads_start_of;
use crate::known::CommittedLayer;
use crate::label::{FileKind, KnownLabels, TreeLabels, kind, kind_of};
use crate::layer::Layer;
use crate::layer_tree::{in_usr_etc, layer_tree};
use crate::object::{Directories, Plan};
use crate::path::ImagePath;
use crate::record::{FileStart, LayerRecord, StoredFile};
use crate::repo::{CommitSpec, Transaction, TreeRoot};
use crate::source::LayerDescriptor;
use crate::tree::Tree;
use crate::tree::merge::MAX_IMPLICIT_DIRECTORIES;

/// The date of a layer commit, in seconds since the epoch: a layer has none, and the same layer
/// must be the same commit in every image.
pub const TIMESTAMP: u64 = 0;

/// A layer that was merged, to be committed beside the image.
#[derive(Debug)]
pub struct MergedLayer {
    /// Which of the image.
    pub descriptor: LayerDescriptor,
    /// Its entries.
    pub layer: Layer,
    /// Its tree, where that depends on the layers below it.
    pub tree: Option<Tree>,
    /// Its commit, if there is one.
    pub stored: Option<StoredLayer>,
}

/// The commit of a layer that an earlier import wrote, and what its record says of labels.
#[derive(Debug)]
pub struct StoredLayer {
    /// The commit.
    pub commit: Digest,
    /// See [`LayerRecord::checked_policy`].
    pub checked_policy: Option<Digest>,
    /// See [`LayerRecord::labels`].
    pub labels: Vec<Option<Arc<str>>>,
}

impl MergedLayer {
    /// The commit of a layer that means the same in every image, if this policy labelled it.
    fn unchanged(&self, policy: Option<Digest>) -> Option<Digest> {
        let stored = self.stored.as_ref()?;
        let same = policy.is_some() && stored.checked_policy == policy && self.tree.is_none();
        same.then_some(stored.commit)
    }

    fn tree(&self) -> Tree {
        let alone = || layer_tree(&self.layer.entries, None);
        self.tree.clone().unwrap_or_else(alone)
    }
}

/// Directories that trees of layers have without an entry of their own: the merge counts them once for
/// an image, but each layer begins anew.
#[derive(Debug, Default)]
pub struct ImpliedDirectories(usize);

impl ImpliedDirectories {
    /// Counts those of one layer more.
    ///
    /// # Errors
    /// There are more than [`MAX_IMPLICIT_DIRECTORIES`].
    pub fn add(&mut self, tree: &Tree, layer: &LayerDescriptor, entries: &[Entry]) -> Result<()> {
        self.0 += tree.ids().count().saturating_sub(entries.len());
        ensure!(
            self.0 <= MAX_IMPLICIT_DIRECTORIES as usize,
            "{layer}: the layers up to it have more than {MAX_IMPLICIT_DIRECTORIES} directories without \
             entries of their own"
        );
        Ok(())
    }
}

/// What becomes the commit of a layer.
#[derive(Debug)]
struct NewLayer {
    tree: Tree,
    /// See [`LayerRecord::starts`].
    starts: Vec<FileStart>,
}

/// The layers of an image on the way to their commits.
#[derive(Debug)]
pub struct LayerCommits {
    layers: Vec<MergedLayer>,
    /// Of each of them the commit that stays, or what becomes one.
    states: Vec<Result<Digest, NewLayer>>,
    policy: Option<Digest>,
}

impl LayerCommits {
    /// Finds out which of `layers` need no new commit where the image has this policy.
    ///
    /// # Errors
    /// A body cannot be read, or the trees have too many directories.
    pub fn new(layers: Vec<MergedLayer>, policy: Option<Digest>, bodies: &Bodies) -> Result<Self> {
        let mut implied = ImpliedDirectories::default();
        let states = layers.iter().map(|layer| {
            if let Some(commit) = layer.unchanged(policy) {
                return Ok(Ok(commit));
            }
            let (tree, entries) = (layer.tree(), &layer.layer.entries);
            implied.add(&tree, &layer.descriptor, entries)?;
            let starts =
                read_starts(entries, bodies).with_context(|| layer.descriptor.to_string())?;
            Ok(Err(NewLayer { tree, starts }))
        });
        Ok(Self {
            states: states.collect::<Result<_>>()?,
            layers,
            policy,
        })
    }

    /// The trees that become commits, and which layer each is.
    pub fn trees(&self) -> impl Iterator<Item = (&LayerDescriptor, &Tree)> {
        let all = self.layers.iter().zip(&self.states);
        all.filter_map(|(layer, state)| Some((&layer.descriptor, &state.as_ref().err()?.tree)))
    }

    /// What is known of the labels of their paths; `None` if the policy is new.
    pub fn known_labels(&self) -> Option<KnownLabels<'_>> {
        let mut known = KnownLabels::new(self.policy?);
        let mut found = false;
        for layer in &self.layers {
            if let Some(stored) = &layer.stored
                && stored.checked_policy == self.policy
            {
                known.add(&layer.layer.entries, &stored.labels);
                found = true;
            }
        }
        found.then_some(known)
    }

    /// The same layers as [`KnownObjects::record`](crate::known::KnownObjects::record) wants them.
    pub fn committed(&self) -> Vec<CommittedLayer> {
        let all = self.layers.iter().zip(&self.states);
        let committed = all.map(|(layer, state)| {
            let LayerDescriptor { index, diff_id, .. } = layer.descriptor;
            CommittedLayer::new(index, diff_id, &layer.layer.entries, state.is_ok())
        });
        committed.collect()
    }

    /// Writes the commits that are missing, `roots` being those of [`LayerCommits::trees`], which are
    /// the trees from number 1 on of `plan` and `labels`; `checksums` are those of the plan's files.
    /// Returns the commit of every layer.
    ///
    /// # Errors
    /// The repo cannot be written.
    pub fn write(
        self,
        transaction: &Transaction<'_>,
        roots: &[Directories],
        labels: &TreeLabels,
        plan: &Plan<'_>,
        checksums: &[Digest],
    ) -> Result<Vec<(LayerDescriptor, Digest)>> {
        let mut roots = (1..).zip(roots);
        let mut commits = Vec::with_capacity(self.layers.len());
        for (
            MergedLayer {
                descriptor, layer, ..
            },
            state,
        ) in self.layers.into_iter().zip(self.states)
        {
            let commit = match state {
                Ok(commit) => commit,
                Err(NewLayer { tree, starts }) => {
                    let (number, root) = roots.next().context("every tree has a root")?;
                    let labels = LayerLabels {
                        checked_policy: labels.checked_policy,
                        tree: &tree,
                        of_paths: &labels.of_tree(number),
                    };
                    let diff_id = descriptor.diff_id;
                    let said = metadata(layer, starts, diff_id, labels, plan, number, checksums);
                    transaction.write_commit(&CommitSpec {
                        root: TreeRoot::from(root),
                        parent: None,
                        metadata: &said.into_entries(),
                        timestamp: TIMESTAMP,
                    })?
                }
            };
            commits.push((descriptor, commit));
        }
        Ok(commits)
    }
}

/// How those of the files begin of which fixups read no more.
fn read_starts(entries: &[Entry], bodies: &Bodies) -> Result<Vec<FileStart>> {
    let mut starts = Vec::new();
    let files = entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { body, .. } => Some((&entry.path, body)),
        _ => None,
    });
    for (file, (path, body)) in (0..).zip(files) {
        let Some(length) = reads_start_of(path) else {
            continue;
        };
        let mut bytes = Vec::with_capacity(length);
        bodies
            .reader(body)
            .take(length as u64)
            .read_to_end(&mut bytes)
            .with_context(|| format!("reading {path}"))?;
        let bytes = bytes.into();
        starts.push(FileStart { file, bytes });
    }
    Ok(starts)
}

/// The labels of a layer's tree.
#[derive(Debug, Clone, Copy)]
pub struct LayerLabels<'a> {
    /// What [`LayerRecord::checked_policy`] says.
    pub checked_policy: Option<Digest>,
    /// The tree.
    pub tree: &'a Tree,
    /// That of each path, in the order of [`Tree::walk`].
    pub of_paths: &'a [Option<&'a str>],
}

impl<'a> LayerLabels<'a> {
    /// That of each entry, see [`LayerRecord::labels`].
    fn of_entries(&self, entries: &[Entry]) -> Vec<Option<Arc<str>>> {
        // The paths of a deep tree can be far larger than the layer: only those of entries are kept.
        let of_entries: HashSet<_> = entries
            .iter()
            .filter_map(|entry| in_usr_etc(&entry.path))
            .collect();
        let of_paths: HashMap<ImagePath, (FileKind, &str)> = self
            .tree
            .walk()
            .zip(self.of_paths)
            .filter(|((path, _), _)| of_entries.contains(path))
            .filter_map(|((path, id), label)| {
                Some((path, (kind(&self.tree.inode(id).content), (*label)?)))
            })
            .collect();
        let mut shared: HashMap<&str, Arc<str>> = HashMap::default();
        let labels = entries.iter().map(|entry| {
            let path = in_usr_etc(&entry.path)?;
            let &(found, label) = of_paths.get(&*path)?;
            let shared = shared.entry(label).or_insert_with(|| label.into());
            (found == kind_of(&entry.kind)).then(|| shared.clone())
        });
        labels.collect()
    }
}

/// The metadata of the commit of `layer`, whose tree is number `tree` of `plan`; `checksums` are
/// those of the plan's files.
///
/// The record is left out where a file of the layer is not in the commit (a path that the layer has
/// twice, a name that is not UTF-8), so that nobody takes the commit for the whole layer.
pub fn metadata(
    layer: Layer,
    starts: Vec<FileStart>,
    diff_id: Digest,
    labels: LayerLabels<'_>,
    plan: &Plan<'_>,
    tree: usize,
    checksums: &[Digest],
) -> LayerMetadata {
    let in_commit = plan.file_of_bodies(tree);
    let stored = layer.entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { body, .. } => Some(in_commit.get(&body).map(|&file| StoredFile {
            object: checksums[file],
            label: plan.label(file).map(Into::into),
        })),
        _ => None,
    });
    let files: Option<Vec<_>> = stored.collect();
    let record = files.and_then(|files| {
        let record = LayerRecord {
            diff_id,
            uncompressed_size: layer.uncompressed_size,
            checked_policy: labels.checked_policy,
            labels: labels.of_entries(&layer.entries),
            starts,
            report: layer.report,
            entries: layer.entries,
            files,
        };
        record.encode()
    });
    LayerMetadata {
        diff_id,
        record,
        format: metadata::FORMAT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bodies::BodyId;
    use crate::report::Report;
    use crate::testing::Layers;
    use crate::tree::merge;

    /// The record of the only layer, all of whose paths have the label `l`.
    fn record(layers: Layers) -> Option<LayerRecord> {
        let (mut layers, _) = layers.build();
        let entries = layers.remove(0);
        let (mut merged, mut report) = (Tree::new(), Report::default());
        merge::apply(&mut merged, &entries, &Default::default(), &mut report).unwrap();
        let tree = layer_tree(&entries, Some(&merged));
        let labels = LayerLabels {
            checked_policy: None,
            tree: &tree,
            of_paths: &vec![Some("l"); tree.ids().count()],
        };
        let plan = Plan::new(&tree, labels.of_paths).unwrap();
        let checksums: Vec<_> = (0..plan.files().len())
            .map(|file| Digest::of(&[file as u8]))
            .collect();
        let layer = Layer {
            entries,
            report,
            uncompressed_size: 7,
        };
        let diff_id = Digest::of(b"layer");
        let said = metadata(layer, Vec::new(), diff_id, labels, &plan, 0, &checksums);
        assert_eq!((said.diff_id, said.format), (diff_id, metadata::FORMAT));
        said.record
            .map(|record| LayerRecord::decode(&record, 3).unwrap())
    }

    #[test]
    fn every_file_has_its_object() {
        assert!(record(Layers::new().file("b", "").file("b", "")).is_none());
        assert!(record(Layers::new().file("etc/x", "").file("usr/etc/x", "")).is_none());
        let record = record(
            Layers::new()
                .file("b", "")
                .symlink("a", "b")
                .hardlink("c", "b")
                .file("etc/.wh.x", ""),
        )
        .unwrap();
        let stored = |file: u8| StoredFile {
            object: Digest::of(&[file]),
            label: Some("l".into()),
        };
        // In the order of the walk: a, b, usr/etc/.wh.x.
        assert_eq!(record.files, [stored(1), stored(2)]);
        assert_eq!(record.labels, vec![Some("l".into()); 4]);
        let bodies = record.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { body, .. } => Some(body),
            _ => None,
        });
        let numbered = [0, 1].map(|index| BodyId { store: 3, index });
        assert_eq!(bodies.collect::<Vec<_>>(), numbered);
    }

    #[test]
    fn directories_of_all_layers_are_counted() {
        let (layers, _) = Layers::new().dir("a", 0o755).file("a/b/c/file", "").build();
        let tree = layer_tree(&layers[0], None);
        let digest = Digest::of(b"layer");
        let descriptor = LayerDescriptor {
            index: 0,
            digest,
            size: 0,
            media_type: String::new(),
            diff_id: digest,
            unpacked: false,
        };
        let most = MAX_IMPLICIT_DIRECTORIES as usize;
        // The root, b and c.
        let mut implied = ImpliedDirectories(most - 3);
        implied.add(&tree, &descriptor, &layers[0]).unwrap();
        let error = implied.add(&tree, &descriptor, &layers[0]).unwrap_err();
        assert!(
            error.to_string().contains("more than 1000000 directories"),
            "{error}"
        );
    }
}
