//! Paths as a host sees them that has booted the commit: its `/etc` comes from `/usr/etc`.

use crate::path::ImagePath;
use crate::tree::{InodeId, Tree, TreeError};

/// A tree with the names of the host: `/etc` is its `/usr/etc`, unless the tree has an `/etc`.
///
/// Links were made for these names. An absolute one into `/etc`, or one out of it by `..`, leads
/// elsewhere, or nowhere, when it is followed from `/usr/etc`.
#[derive(Debug, Clone, Copy)]
pub struct Host<'t> {
    tree: &'t Tree,
    /// What stands in for the missing `/etc`.
    etc: Option<InodeId>,
}

impl<'t> Host<'t> {
    /// The host of `tree`.
    pub fn of(tree: &'t Tree) -> Self {
        let etc = match tree.child(tree.root(), b"etc") {
            Some(_) => None,
            None => directory(tree, &usr_etc()),
        };
        Self { tree, etc }
    }

    /// The tree.
    pub fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// Where `path` leads when all links are followed, and what lies there; `None`: nothing.
    pub fn resolve(&self, path: &ImagePath) -> Result<Option<(ImagePath, InodeId)>, TreeError> {
        self.tree
            .resolve_by(path, |directory, name| self.child(directory, name))
    }

    /// The path of a name, with the links of its parents followed but not itself, and what lies
    /// there. Parents that are missing stay as they are.
    pub fn locate(&self, path: &ImagePath) -> Result<(ImagePath, Option<InodeId>), TreeError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok((path.clone(), Some(self.tree.root())));
        };
        Ok(match self.resolve(&parent)? {
            Some((parent, id)) => (parent.join(name), self.child(id, name)),
            None => (self.locate(&parent)?.0.join(name), None),
        })
    }

    /// The first link on the way along `path` that leads nowhere.
    pub fn dangling(&self, path: &ImagePath) -> Result<Option<ImagePath>, TreeError> {
        let mut so_far = ImagePath::root();
        for name in path.components() {
            so_far = so_far.join(name);
            if self.resolve(&so_far)?.is_none() {
                let exists = self.locate(&so_far)?.1.is_some();
                return Ok(exists.then_some(so_far));
            }
        }
        Ok(None)
    }

    /// The path in the tree of what the host has at `path`.
    pub fn in_tree(&self, path: &ImagePath) -> ImagePath {
        let mut components = path.components();
        if self.etc.is_none() || components.next() != Some(b"etc") {
            return path.clone();
        }
        components.fold(usr_etc(), |path, name| path.join(name))
    }

    /// What `name` leads to in a directory.
    pub fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        match self.etc {
            Some(etc) if directory == self.tree.root() && name == b"etc" => Some(etc),
            _ => self.tree.child(directory, name),
        }
    }
}

/// Where an image or a commit has the `/etc` of the host. Some images have a link to `/usr/etc` there.
pub fn etc(tree: &Tree) -> ImagePath {
    let etc = ImagePath::root().join(b"etc");
    let usr_etc = usr_etc();
    match directory(tree, &etc).is_none() && directory(tree, &usr_etc).is_some() {
        true => usr_etc,
        false => etc,
    }
}

/// Where a commit has its `/etc`.
pub fn usr_etc() -> ImagePath {
    ImagePath::root().join(b"usr").join(b"etc")
}

fn directory(tree: &Tree, path: &ImagePath) -> Option<InodeId> {
    let found = tree.lookup(path);
    found.filter(|&id| tree.children(id).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layers, image_path};

    fn tree() -> Tree {
        let layers = Layers::new()
            .file("usr/etc/default/x", "")
            .file("usr/lib/x", "")
            .symlink("lib", "usr/lib")
            .symlink("usr/etc/absolute", "/etc/default/x")
            .symlink("usr/etc/relative", "default/x")
            .symlink("usr/etc/d/up", "../default/x")
            .symlink("usr/etc/d/out", "../../usr/lib/x")
            .symlink("usr/lib/back", "../../etc/default")
            .symlink("usr/etc/chain", "/usr/lib/back/x")
            .symlink("usr/etc/nowhere", "/etc/absent")
            .symlink("usr/etc/loop", "loop");
        layers.merge().0
    }

    #[test]
    fn links_lead_where_they_lead_on_the_host() {
        let tree = tree();
        let host = Host::of(&tree);
        for (path, leads_to) in [
            ("etc", Some("/etc")),
            ("etc/absolute", Some("/etc/default/x")),
            ("etc/relative", Some("/etc/default/x")),
            ("etc/d/up", Some("/etc/default/x")),
            ("etc/d/out", Some("/usr/lib/x")),
            ("etc/chain", Some("/etc/default/x")),
            ("lib/back/x", Some("/etc/default/x")),
            ("usr/etc/absolute", Some("/etc/default/x")),
            ("usr/etc/default/x", Some("/usr/etc/default/x")),
            ("etc/nowhere", None),
            ("etc/absent", None),
        ] {
            let found = host.resolve(&image_path(path)).unwrap();
            let found = found.map(|(path, _)| path.to_string());
            assert_eq!(found.as_deref(), leads_to, "{path}");
        }
        let error = host.resolve(&image_path("etc/loop")).unwrap_err();
        assert_eq!(error, TreeError::Loop(image_path("etc/loop")));
    }

    #[test]
    fn names_are_not_followed_but_their_parents_are() {
        let tree = tree();
        let host = Host::of(&tree);
        for (path, place, exists) in [
            ("", "/", true),
            ("lib", "/lib", true),
            ("lib/x", "/usr/lib/x", true),
            ("lib/back/x", "/etc/default/x", true),
            ("lib/absent/x", "/usr/lib/absent/x", false),
            ("etc/absolute", "/etc/absolute", true),
            ("etc/nowhere/x", "/etc/nowhere/x", false),
            ("lib/x/y", "/usr/lib/x/y", false),
        ] {
            let (found, id) = host.locate(&image_path(path)).unwrap();
            let found = (found.to_string(), id.is_some());
            assert_eq!(found, (place.to_owned(), exists), "{path}");
        }
    }

    #[test]
    fn dangling_links_are_named() {
        let tree = tree();
        let host = Host::of(&tree);
        for (path, link) in [
            ("etc/nowhere", Some("/etc/nowhere")),
            ("etc/nowhere/x/y", Some("/etc/nowhere")),
            ("etc/absent/x", None),
            ("etc/absolute", None),
            ("etc/absolute/x", None),
        ] {
            let found = host.dangling(&image_path(path)).unwrap();
            let found = found.map(|path| path.to_string());
            assert_eq!(found.as_deref(), link, "{path}");
        }
    }

    #[test]
    fn etc_of_the_tree_comes_first() {
        let tree = tree();
        let (both, _) = Layers::new()
            .file("etc/x", "")
            .dir("usr/etc", 0o755)
            .merge();
        for (tree, path, in_tree) in [
            (&tree, "etc", "/usr/etc"),
            (&tree, "etc/shadow", "/usr/etc/shadow"),
            (&tree, "usr/etc/shadow", "/usr/etc/shadow"),
            (&tree, "etcetera", "/etcetera"),
            (&tree, "", "/"),
            (&both, "etc/x", "/etc/x"),
        ] {
            let host = Host::of(tree);
            assert_eq!(host.in_tree(&image_path(path)).to_string(), in_tree);
        }
        assert!(
            Host::of(&both)
                .resolve(&image_path("etc/x"))
                .unwrap()
                .is_some()
        );
    }
}
