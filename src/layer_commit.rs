//! What the commit of a layer says.

use std::collections::HashMap;

use crate::contract::{LayerMetadata, metadata};
use crate::digest::Digest;
use crate::entry::EntryKind;
use crate::layer::Layer;
use crate::object::Plan;
use crate::record::{LayerRecord, StoredFile};

/// The date of a layer commit, in seconds since the epoch: a layer has none, and the same layer
/// must be the same commit in every image.
pub const TIMESTAMP: u64 = 0;

/// The metadata of the commit of `layer`, whose tree is number `tree` of `plan`; `checksums` are
/// those of the plan's files, and `checked_policy` is what [`LayerRecord::checked_policy`] says.
///
/// The record is left out where a file of the layer is not in the commit (a path that the layer has
/// twice, a name that is not UTF-8), so that nobody takes the commit for the whole layer.
pub fn metadata(
    layer: Layer,
    diff_id: Digest,
    checked_policy: Option<Digest>,
    plan: &Plan<'_>,
    tree: usize,
    checksums: &[Digest],
) -> LayerMetadata {
    let in_commit: HashMap<_, _> = plan
        .files_of(tree)
        .filter_map(|file| Some((plan.files()[file].body?, file)))
        .collect();
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
            checked_policy,
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
    use crate::layer_tree::layer_tree;
    use crate::report::Report;
    use crate::testing::Layers;
    use crate::tree::{Tree, merge};

    /// The record of the only layer, all of whose paths have the label `l`.
    fn record(layers: Layers) -> Option<LayerRecord> {
        let (mut layers, _) = layers.build();
        let entries = layers.remove(0);
        let (mut merged, mut report) = (Tree::new(), Report::default());
        merge::apply(&mut merged, &entries, &Default::default(), &mut report).unwrap();
        let tree = layer_tree(&entries, Some(&merged));
        let plan = Plan::new(&tree, &vec![Some("l"); tree.walk().count()]).unwrap();
        let checksums: Vec<_> = (0..plan.files().len())
            .map(|file| Digest::of(&[file as u8]))
            .collect();
        let layer = Layer {
            entries,
            report,
            uncompressed_size: 7,
        };
        let diff_id = Digest::of(b"layer");
        let said = metadata(layer, diff_id, None, &plan, 0, &checksums);
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
        let bodies = record.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { body, .. } => Some(body),
            _ => None,
        });
        let numbered = [0, 1].map(|index| BodyId { store: 3, index });
        assert_eq!(bodies.collect::<Vec<_>>(), numbered);
    }
}
