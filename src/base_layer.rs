//! The layers that ostree-ext made of a commit, committed as ostree-ext commits them.
//!
//! The lowest one brings the commit with all its directories, those above are sets of objects. Whoever
//! pulls the next version with ostree-ext fetches none of which there is a ref, and takes what the
//! ref of the lowest one points to for the whole base. So no commit of what such a layer shows to
//! containers may be there: the next version would lack the files of all other layers.

#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use crate::bodies::Bodies;
use crate::contract::{LayerMetadata, metadata};
use crate::digest::Digest;
use crate::entry::Entry;
use crate::fixup::Objects;
use crate::layer_commit;
use crate::object::{Directories, MetadataKind, MetadataObject, Plan};
use crate::path::ImagePath;
use crate::repo::{CommitObject, CommitSpec, Transaction, TreeRoot};
use crate::report::Report;
use crate::source::LayerDescriptor;
use crate::tree::{InodeId, Tree, merge};

/// What such a layer brings to a repo.
#[derive(Debug)]
pub struct BaseLayer {
    /// Which layer.
    pub descriptor: LayerDescriptor,
    /// Its content objects: a directory of files whose names are their checksums.
    pub objects: Tree,
    /// The commit, if it is the lowest.
    base: Option<Base>,
}

/// A commit without its files.
#[derive(Debug)]
struct Base {
    commit: CommitObject,
    /// Its dirtrees and dirmetas.
    directories: Vec<MetadataObject>,
    /// The checksums of its files.
    files: BTreeSet<String>,
}

/// Reads the lowest layers of an image, as [`base_layers`](crate::source::base_layers) counts them.
///
/// # Errors
/// They are not what ostree-ext makes of a commit, or not all of it.
pub fn read(layers: Vec<(LayerDescriptor, Vec<Entry>)>, bodies: &Bodies) -> Result<Vec<BaseLayer>> {
    let layers = layers
        .into_iter()
        .map(|(descriptor, entries)| {
            let context = descriptor.to_string();
            read_layer(descriptor, &entries, bodies).context(context)
        })
        .collect::<Result<Vec<_>>>()?;
    let wanted = layers
        .first()
        .and_then(|layer| Some(&layer.base.as_ref()?.files));
    for checksum in wanted.into_iter().flatten() {
        let there = |layer: &BaseLayer| {
            let name = ImagePath::root().join(checksum.as_bytes());
            layer.objects.lookup(&name).is_some()
        };
        ensure!(
            layers.iter().any(there),
            "the object {checksum}.file of the base is in none of its layers"
        );
    }
    Ok(layers)
}

fn read_layer(
    descriptor: LayerDescriptor,
    entries: &[Entry],
    bodies: &Bodies,
) -> Result<BaseLayer> {
    let mut layer = Tree::new();
    merge::apply(
        &mut layer,
        entries,
        &Default::default(),
        &mut Report::default(),
    )?;
    let found = Objects::of(&layer, bodies, true);
    let lowest = descriptor.index == 0;
    ensure!(found.is_some() || !lowest, "there is no ostree repo in it");
    let mut base = None;
    let mut tree = Tree::new();
    if let Some(mut objects) = found {
        let files: Vec<_> = objects.all("file").collect();
        for (checksum, id) in files {
            require(&objects, &checksum, "file-xattrs-link")?;
            let mut inode = layer.inode(id).clone();
            inode.metadata.xattrs = (*objects.xattrs_of_file(&checksum)?).clone();
            tree.insert(&ImagePath::root().join(checksum.as_bytes()), inode)?;
        }
        base = lowest.then(|| read_base(&objects)).transpose()?;
    }
    Ok(BaseLayer {
        descriptor,
        objects: tree,
        base,
    })
}

/// The only commit of a repo.
fn read_base(objects: &Objects<'_>) -> Result<Base> {
    let mut commits = objects.all("commit");
    let (Some((checksum, id)), None) = (commits.next(), commits.next()) else {
        bail!("there is not one commit in it");
    };
    let object = |kind, checksum: &str, name| {
        let id = require(objects, checksum, name)?;
        let object = MetadataObject::new(kind, objects.bytes(id, checksum, name)?);
        check(checksum, name, object.checksum)?;
        anyhow::Ok(object)
    };
    let (dirtree, dirmeta) = objects.root_of_commit(&checksum, id)?;
    let detached = objects.find(&checksum, "commitmeta");
    let commit = CommitObject {
        object: object(MetadataKind::Commit, &checksum, "commit")?,
        root: TreeRoot {
            dirtree: Digest::from_hex(&dirtree)?,
            dirmeta: Digest::from_hex(&dirmeta)?,
        },
        detached: detached
            .map(|id| objects.bytes(id, &checksum, "commitmeta"))
            .transpose()?,
    };
    let mut directories = BTreeMap::new();
    let mut files = BTreeSet::new();
    let mut pending = vec![(dirtree, dirmeta)];
    while let Some((tree, meta)) = pending.pop() {
        if let Vacant(entry) = directories.entry(meta) {
            let dirmeta = object(MetadataKind::DirMeta, entry.key(), "dirmeta")?;
            entry.insert(dirmeta);
        }
        let Vacant(entry) = directories.entry(tree) else {
            continue;
        };
        let dirtree = object(MetadataKind::DirTree, entry.key(), "dirtree")?;
        let held = objects.directory(entry.key())?;
        entry.insert(dirtree);
        files.extend(held.files.into_iter().map(|(_, checksum)| checksum));
        let below = held.directories.into_iter();
        pending.extend(below.map(|(_, tree, meta)| (tree, meta)));
    }
    Ok(Base {
        commit,
        directories: directories.into_values().collect(),
        files,
    })
}

fn require(objects: &Objects<'_>, checksum: &str, kind: &str) -> Result<InodeId> {
    objects
        .find(checksum, kind)
        .with_context(|| format!("the object {checksum}.{kind} of the base is missing"))
}

/// Is an object what its name says?
fn check(name: &str, kind: &str, checksum: Digest) -> Result<()> {
    ensure!(
        name == checksum.hex(),
        "the object {name}.{kind} of the base has another checksum, {checksum}"
    );
    Ok(())
}

impl BaseLayer {
    /// Makes sure that its content objects are what their names say: they are the files of tree number
    /// `tree` of `plan`, whose files have these `checksums`.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self, plan: &Plan<'_>, tree: usize, checksums: &[Digest]) -> Result<()> {
        let names = self.objects.walk().filter_map(|(path, _)| {
            let name = path.file_name()?;
            Some(String::from_utf8_lossy(name).into_owned())
        });
        for (name, file) in names.zip(plan.files_of(tree)) {
            check(&name, "file", checksums[file]).with_context(|| self.descriptor.to_string())?;
        }
        Ok(())
    }

    /// Writes the directories that its commit needs; `objects` are those of [`BaseLayer::objects`].
    ///
    /// # Errors
    /// As [`Transaction::write_metadata`].
    pub fn write_metadata(
        &self,
        transaction: &Transaction<'_>,
        objects: &Directories,
    ) -> Result<()> {
        transaction.write_metadata(match &self.base {
            Some(base) => &base.directories,
            None => &objects.objects,
        })
    }

    /// Writes its commit; `objects` is the root of [`BaseLayer::objects`].
    ///
    /// # Errors
    /// As [`Transaction::write_commit`].
    pub fn write_commit(
        &self,
        transaction: &Transaction<'_>,
        objects: &Directories,
    ) -> Result<Digest> {
        if let Some(base) = &self.base {
            transaction.write_commit_object(&base.commit)?;
            return Ok(base.commit.object.checksum);
        }
        let said = LayerMetadata {
            diff_id: self.descriptor.diff_id,
            record: None,
            format: metadata::FORMAT,
        };
        transaction.write_commit(&CommitSpec {
            root: objects.into(),
            parent: None,
            metadata: &said.into_entries(),
            timestamp: layer_commit::TIMESTAMP,
        })
    }
}
