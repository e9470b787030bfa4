//! Labels that an earlier import found.

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::HashMap;

use super::FileKind;
use crate::digest::Digest;
use crate::entry::{Entry, EntryKind};
use crate::layer_tree::in_usr_etc;
use crate::metadata::Special;
use crate::path::ImagePath;

/// What a policy says of the paths of layers, as their records tell. A label follows from policy,
/// path and kind alone, so it is the same in any image.
#[derive(Debug)]
pub struct KnownLabels<'a> {
    /// The digest of the policy, the [`TreeLabels::checked_policy`](super::TreeLabels) of an earlier
    /// import.
    pub policy: Digest,
    of_paths: HashMap<Cow<'a, ImagePath>, (FileKind, &'a str)>,
}

impl<'a> KnownLabels<'a> {
    /// Knows nothing yet of what this policy says.
    pub fn new(policy: Digest) -> Self {
        Self {
            policy,
            of_paths: HashMap::default(),
        }
    }

    /// Adds what the record of a layer says of its `entries`.
    pub fn add(&mut self, entries: &'a [Entry], labels: &'a [Option<Arc<str>>]) {
        let labelled = entries.iter().zip(labels).filter_map(|(entry, label)| {
            let kind = kind_of(&entry.kind);
            Some((in_usr_etc(&entry.path)?, (kind, label.as_deref()?)))
        });
        self.of_paths.extend(labelled);
    }

    /// The label of what lies at `path`; `None` if it is not known.
    pub fn find(&self, path: &ImagePath, kind: FileKind) -> Option<&'a str> {
        let &(known, label) = self.of_paths.get(path)?;
        (known == kind).then_some(label)
    }
}

/// The kind of what an entry makes; of a hardlink, that of nearly all.
pub fn kind_of(entry: &EntryKind) -> FileKind {
    match entry {
        EntryKind::Directory => FileKind::Directory,
        EntryKind::File { .. } | EntryKind::Hardlink(_) => FileKind::Regular,
        EntryKind::Symlink(_) => FileKind::Symlink,
        EntryKind::Special(special) => kind_of_special(special),
    }
}

pub(super) fn kind_of_special(special: &Special) -> FileKind {
    match special {
        Special::CharDevice { .. } => FileKind::CharDevice,
        Special::BlockDevice { .. } => FileKind::BlockDevice,
        Special::Fifo => FileKind::Fifo,
        Special::Socket => FileKind::Socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn a_label_belongs_to_a_path_and_a_kind() {
        let (layers, _) = Layers::new()
            .dir("etc", 0o755)
            .file("etc/shadow", "")
            .symlink("etc/link", "shadow")
            .hardlink("etc/hard", "etc/shadow")
            .file("unknown", "")
            .build();
        let [entries] = &layers[..] else {
            panic!("{layers:?}");
        };
        let labels = ["etc_t", "shadow_t", "link_t", "hard_t"].map(|label| Some(label.into()));
        let labels = [&labels[..], &[None]].concat();
        let mut known = KnownLabels::new(Digest::of(b"policy"));
        known.add(entries, &labels);
        for (path, kind, label) in [
            ("usr/etc", FileKind::Directory, Some("etc_t")),
            ("usr/etc/shadow", FileKind::Regular, Some("shadow_t")),
            ("usr/etc/shadow", FileKind::Directory, None),
            ("etc/shadow", FileKind::Regular, None),
            ("usr/etc/link", FileKind::Symlink, Some("link_t")),
            ("usr/etc/hard", FileKind::Regular, Some("hard_t")),
            ("unknown", FileKind::Regular, None),
            ("other", FileKind::Regular, None),
        ] {
            let path = ImagePath::parse(path.as_bytes()).unwrap();
            assert_eq!(known.find(&path, kind), label, "{path} {kind:?}");
        }
    }
}
