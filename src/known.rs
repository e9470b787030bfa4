//! Objects that a repo has already, so that nothing of them is read, and what the commit of an image
//! says of them for the next import.

use std::collections::BTreeSet;

use foldhash::HashMap;

use crate::bodies::{Bodies, BodyId};
use crate::digest::{Digest, Hasher};
use crate::entry::{Entry, EntryKind};
use crate::object::{FileObject, Plan};
use crate::record::{ChangedFile, ChangedFiles};

/// The checksums of objects that a repo has.
#[derive(Debug, Default)]
pub struct KnownObjects {
    /// Files as their layers hold them.
    pub stored: HashMap<FileObject, Digest>,
    /// Files that fixups changed: the body of a layer and a [`change`] of it.
    pub changed: HashMap<(BodyId, Digest), Digest>,
}

impl KnownObjects {
    /// The checksum of `file`; `None`: only reading it can tell.
    pub fn find(&self, file: &FileObject, bodies: &Bodies) -> Option<Digest> {
        let stored = self.stored.get(file).copied();
        // An import from nothing need not hash what was done to each file to know that it is new.
        if stored.is_some() || self.changed.is_empty() {
            return stored;
        }
        self.changed.get(&change(file, bodies)?).copied()
    }
}

/// The body that a file was made of, and a digest of what was done to it: its header and the bytes
/// that are others. `None` for a link.
pub fn change(file: &FileObject, bodies: &Bodies) -> Option<(BodyId, Digest)> {
    let (original, patches) = bodies.original(file.body?);
    let mut hasher: Hasher = file.header.hasher();
    for (offset, bytes) in patches {
        hasher.update(&offset.to_be_bytes());
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    Some((original, hasher.finish()))
}

/// A layer of an image whose commit is in the repo, or will be.
#[derive(Debug)]
pub struct CommittedLayer {
    /// The store of its bodies: its number in the image.
    pub store: usize,
    /// Digest of its tar stream.
    pub diff_id: Digest,
    /// Is its commit there, with objects of [`KnownObjects::stored`]? Else the plan has its tree.
    pub stored: bool,
    /// The numbers of its regular files in the order of the stream.
    numbers: HashMap<BodyId, u32>,
}

impl CommittedLayer {
    /// The layer that has these entries.
    pub fn new(store: usize, diff_id: Digest, entries: &[Entry], stored: bool) -> Self {
        let bodies = entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { body, .. } => Some(body),
            _ => None,
        });
        Self {
            store,
            diff_id,
            stored,
            numbers: bodies.zip(0..).collect(),
        }
    }
}

impl KnownObjects {
    /// What the next import is to know of the files of the first tree of `plan`: those that are
    /// other objects than in the records of `layers`, from the lowest up: of those that are not
    /// stored the plan has the trees, from number 1 on. `checksums` are those of the plan's files.
    pub fn record(
        &self,
        plan: &Plan<'_>,
        checksums: &[Digest],
        bodies: &Bodies,
        layers: &[CommittedLayer],
    ) -> ChangedFiles {
        let mut trees = 1..;
        let in_records: Vec<_> = layers
            .iter()
            .map(|layer| match layer.stored {
                true => None,
                false => Some(plan.file_of_bodies(trees.next()?)),
            })
            .collect();
        let of_image: BTreeSet<_> = plan.files_of(0).collect();
        let files = of_image.into_iter().filter_map(|index| {
            let file = &plan.files()[index];
            let (body, _) = bodies.original(file.body?);
            let position = layers
                .iter()
                .position(|layer| layer.store == body.store as usize)?;
            let layer = &layers[position];
            // Of the names of one file the record of its layer knows one, be it there or yet to be written.
            let as_in_layer = match &in_records[position] {
                None => self.stored.contains_key(file),
                Some(in_record) => in_record.get(&body) == Some(&index),
            };
            let number = layer.numbers.get(&body).filter(|_| !as_in_layer)?;
            Some(ChangedFile {
                layer: position.try_into().ok()?,
                file: *number,
                change: change(file, bodies)?.1,
                object: checksums[index],
            })
        });
        ChangedFiles {
            files: files.collect(),
            layers: layers.iter().map(|layer| layer.diff_id).collect(),
        }
    }
}
