//! Where in a tree the paths of packages lie: packages know neither merged `/usr` nor `/usr/etc`.

use std::collections::HashMap;

use crate::host::{Host, usr_etc};
use crate::path::ImagePath;
use crate::tree::{InodeId, Tree};

/// A path as a host would know it, and what lies there.
pub type Place = (ImagePath, InodeId);

/// Finds paths, and remembers where their directories are.
#[derive(Debug)]
pub struct Places<'t> {
    tree: &'t Tree,
    host: Host<'t>,
    directories: HashMap<ImagePath, Option<Place>>,
}

impl<'t> Places<'t> {
    /// The places of `tree`.
    pub fn of(tree: &'t Tree) -> Self {
        Self {
            tree,
            host: Host::of(tree),
            directories: HashMap::new(),
        }
    }

    /// What a package means by `path`: the links of its parents are followed, not itself. Two places
    /// when a path in `/etc` lies in `/usr/etc`, too.
    pub fn find(&mut self, path: &ImagePath) -> [Option<Place>; 2] {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return [Some((path.clone(), self.tree.root())), None];
        };
        let Some((directory, id)) = self.directory(parent) else {
            return [None, self.in_usr_etc(path)];
        };
        let path = directory.join(name);
        let found = self.host.child(id, name);
        let second = self.in_usr_etc(&path);
        [found.map(|id| (path, id)), second]
    }

    fn directory(&mut self, path: ImagePath) -> Option<Place> {
        if let Some(known) = self.directories.get(&path) {
            return known.clone();
        }
        let found = self.host.resolve(&path).ok().flatten();
        self.directories.insert(path, found.clone());
        found
    }

    /// The second place of a path in `/etc`, in a tree that has both.
    fn in_usr_etc(&self, path: &ImagePath) -> Option<Place> {
        let mut components = path.components();
        let in_etc = components.next() == Some(b"etc");
        self.tree
            .child(self.tree.root(), b"etc")
            .filter(|_| in_etc)?;
        let path = components.fold(usr_etc(), |path, name| path.join(name));
        let id = self.tree.lookup(&path)?;
        Some((path, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layers, image_path};

    #[test]
    fn paths_lead_where_a_host_would_follow_them() {
        let commit = Layers::new()
            .file("usr/etc/ssh/x", "")
            .symlink("lib", "usr/lib")
            .symlink("usr/lib/conf", "../../etc/ssh")
            .symlink("usr/lib/name", "nowhere")
            .symlink("usr/lib/loop", "loop");
        let both = Layers::new()
            .file("etc/a", "")
            .file("usr/etc/a", "")
            .file("usr/etc/b/c", "");
        let (commit, both) = (commit.merge().0, both.merge().0);
        for (tree, path, want) in [
            (&commit, "", &["/"][..]),
            (&commit, "etc", &["/etc"]),
            (&commit, "etc/ssh/x", &["/etc/ssh/x"]),
            (&commit, "lib", &["/lib"]),
            (&commit, "lib/name", &["/usr/lib/name"]),
            (&commit, "lib/conf/x", &["/etc/ssh/x"]),
            (&commit, "lib/name/x", &[]),
            (&commit, "lib/loop/x", &[]),
            (&commit, "absent", &[]),
            (&both, "etc", &["/etc", "/usr/etc"]),
            (&both, "etc/a", &["/etc/a", "/usr/etc/a"]),
            (&both, "etc/b/c", &["/usr/etc/b/c"]),
            (&both, "usr/etc/a", &["/usr/etc/a"]),
        ] {
            let mut places = Places::of(tree);
            for _ in 0..2 {
                let found = places.find(&image_path(path));
                let found: Vec<_> = found.iter().flatten().map(|(p, _)| p.to_string()).collect();
                assert_eq!(found, want, "{path}");
            }
        }
    }
}
