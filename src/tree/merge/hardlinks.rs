//! Hardlinks: what they mean, and those whose target comes later in the layer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Merge, MergeError};
use crate::entry::{Entry, EntryKind};
use crate::path::ImagePath;
use crate::tree::{Content, Cursor, InodeId};

impl Merge<'_> {
    /// What the hardlinks among `entries` name in the tree as it is, by their indices.
    pub(super) fn lower_hardlink_targets(&self, entries: &[Entry]) -> HashMap<usize, InodeId> {
        entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| match &entry.kind {
                EntryKind::Hardlink(target) => Some((index, self.find(target)?)),
                _ => None,
            })
            .collect()
    }

    /// What a hardlink to `path` means: links are followed, the last one excepted.
    pub(super) fn find(&self, path: &ImagePath) -> Option<InodeId> {
        let known = self.tree.lookup(path);
        if let Some(id) = known.or_else(|| self.aufs_links.get(path).copied()) {
            return Some(id);
        }
        let (_, parent) = self.tree.resolve(&path.parent()?).ok()??;
        self.tree.children(parent)?.get(path.file_name()?).copied()
    }

    /// Places the hardlinks whose target came later in the layer, or lay below it before it was
    /// hidden.
    ///
    /// The result is that of going through them again and again, in their order, while one finds
    /// its target, then once more with the targets of the lower layers. But a link is tried again
    /// only when a name on the way to its target was taken, so that a chain of links, in whatever
    /// order, takes two tries for each.
    pub(super) fn place_deferred(
        &mut self,
        entries: &[Entry],
        lower_targets: &HashMap<usize, InodeId>,
    ) -> Result<(), MergeError> {
        let mut unplaced = std::mem::take(&mut self.deferred);
        let mut awaited = self.names_to_come(entries, &unplaced);
        let mut due: BTreeSet<_> = unplaced.keys().map(|&index| (0, index)).collect();
        let mut from_lower = false;
        let mut round = 0;
        loop {
            while let Some((this_round, index)) = due.pop_first() {
                round = this_round;
                let Some(&parent) = unplaced.get(&index) else {
                    continue;
                };
                let entry = &entries[index];
                let target = target(entry);
                let lower = from_lower.then(|| lower_targets.get(&index).copied());
                let Some(id) = self.find(target).or(lower.flatten()) else {
                    self.wait_for(index, target, &mut awaited);
                    continue;
                };
                unplaced.remove(&index);
                let name = entry.path.file_name().expect("a link has a name");
                // Whoever was last to take the name keeps it.
                if self.placed.get(&(parent, name.into())) != Some(&index) {
                    continue;
                }
                self.place_link(index, parent, name, entry, target, id)?;
                let waiting = awaited
                    .get_mut(&parent)
                    .and_then(|names| names.remove(name));
                due.extend(waiting.into_iter().flatten().map(|waiting| {
                    let next = round + usize::from(waiting < index);
                    (next, waiting)
                }));
            }
            let Some((&first, _)) = unplaced.first_key_value() else {
                return Ok(());
            };
            if from_lower {
                return Err(MergeError::HardlinkTargetMissing {
                    path: entries[first].path.clone(),
                    target: target(&entries[first]).clone(),
                });
            }
            from_lower = true;
            due.extend(unplaced.keys().map(|&index| (round + 1, index)));
        }
    }

    /// The names that deferred links will take. Nothing else of the tree changes until all are
    /// placed.
    fn names_to_come(&self, entries: &[Entry], deferred: &BTreeMap<usize, InodeId>) -> Awaited {
        let mut awaited = Awaited::new();
        for (&index, &parent) in deferred {
            let name = entries[index].path.file_name().expect("a link has a name");
            let names = awaited.entry(parent).or_default();
            names.insert(name.into(), Vec::new());
        }
        awaited
    }

    /// Makes the link at `index` wait for each name to come that [`Merge::find`] met, or missed, on
    /// its way to `target`.
    fn wait_for(&self, index: usize, target: &ImagePath, awaited: &mut Awaited) {
        let mut wait = |directory, name: &[u8]| {
            let names = awaited.get_mut(&directory);
            if let Some(waiting) = names.and_then(|names| names.get_mut(name)) {
                waiting.push(index);
            }
        };
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return;
        };
        let mut cursor = Cursor::new(&parent);
        while let Some(name) = cursor.next_name() {
            let directory = cursor.directory(self.tree);
            wait(directory, &name);
            let children = self.tree.children(directory);
            let Some(&child) = children.and_then(|children| children.get(&name)) else {
                return;
            };
            match &self.tree.inode(child).content {
                Content::Symlink(target) => {
                    if cursor.follow(target).is_err() {
                        return;
                    }
                }
                _ => cursor.enter(&name, child),
            }
        }
        wait(cursor.directory(self.tree), name);
    }
}

/// Names that deferred links will take, by their directory, and who waits for each.
type Awaited = HashMap<InodeId, HashMap<Box<[u8]>, Vec<usize>>>;

/// What a deferred entry links to.
fn target(entry: &Entry) -> &ImagePath {
    match &entry.kind {
        EntryKind::Hardlink(target) => target,
        _ => unreachable!("only hardlinks are deferred"),
    }
}
