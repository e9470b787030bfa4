//! What three of the fixups change in a tree, done once more to a listing. The others have tests of
//! their own, and [`crate::repaired`] sees to it that none of them changes anything in silence.

use std::collections::BTreeSet;

use import_oci::path::escape;

use crate::support::listing::{Kind, Listing, Node, is_below};

/// What was done: by whom, what, where.
pub type Note = (&'static str, &'static str, String);

/// The fixups that [`change`] knows.
pub const KNOWN: [&str; 3] = ["special-files", "xattrs", "etc"];

/// A tree and how it came to be.
#[derive(Debug)]
pub struct Changed {
    pub tree: Listing,
    pub notes: BTreeSet<Note>,
}

/// The tree of the commit of an image that unpacks to `tree`, without labels.
pub fn change(tree: Listing) -> Changed {
    let mut changed = Changed {
        tree,
        notes: BTreeSet::new(),
    };
    changed.special_files();
    changed.xattrs();
    changed.etc();
    changed
}

impl Changed {
    fn note(&mut self, by: &'static str, action: &'static str, path: &[u8]) {
        let path = format!("/{}", escape(path));
        self.notes.insert((by, action, path));
    }

    fn special_files(&mut self) {
        let special = |node: &Node| matches!(node.kind, Kind::Special(_));
        for path in self.paths(|_, node| special(node)) {
            self.tree.remove(&path);
            self.note("special-files", "dropped", &path);
        }
    }

    fn xattrs(&mut self) {
        for path in self.paths(|_, node| !node.xattrs.is_empty()) {
            let xattrs = &mut self.tree.get_mut(&path).expect("a path of the tree").xattrs;
            let before = xattrs.len();
            xattrs.retain(|name, value| !is_foreign(name) && !value.is_empty());
            if xattrs.len() < before {
                self.note("xattrs", "dropped", &path);
            }
        }
    }

    fn etc(&mut self) {
        assert!(
            !self.tree.contains_key(&b"usr/etc"[..]),
            "an image with both /etc and /usr/etc is more than this knows"
        );
        for path in self.paths(|path, _| path == b"etc" || is_below(path, b"etc")) {
            let node = self.tree.remove(&path).expect("a path of the tree");
            self.tree.insert([b"usr/", &*path].concat(), node);
        }
        self.note("etc", "moved", b"etc");
    }

    fn paths(&self, wanted: impl Fn(&[u8], &Node) -> bool) -> Vec<Vec<u8>> {
        let nodes = self.tree.iter();
        nodes
            .filter(|(path, node)| wanted(path, node))
            .map(|(path, _)| path.clone())
            .collect()
    }
}

/// Xattrs of overlayfs, of builders and of the build host's own policy.
fn is_foreign(name: &[u8]) -> bool {
    let starts = |prefix: &[u8]| name.starts_with(prefix);
    starts(b"trusted.")
        || starts(b"user.overlay.")
        || starts(b"user.chunkah.")
        || [
            &b"security.selinux"[..],
            b"security.evm",
            b"user.component",
            b"user.ostreemeta",
            b"user.rootlesscontainers",
            b"user.containers.override_stat",
        ]
        .contains(&name)
}
