//! What an initramfs is made of, as one digest.
//!
//! It covers the modules of the kernel, dracut, its configuration and that of ostree, every file
//! that the initramfs took in, the programs that dracut's scripts name, and the names that lie
//! beside what was taken: a file that is new may be one that dracut looks for. It is a pure function
//! of the tree and of the paths in the initramfs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context as _, Result};

use super::digest_of;
use super::sandbox;
use crate::bodies::{Bodies, BodyId};
use crate::digest::{Digest, Hasher};
use crate::fixup::initramfs_path;
use crate::host::Host;
use crate::initramfs::CONFIGURATIONS;
use crate::metadata::LABEL_XATTR;
use crate::path::ImagePath;
use crate::tree::{Content, Inode, InodeId, Tree};

/// Where dracut lies.
pub const DRACUT: &str = "usr/bin/dracut";

/// What dracut is and reads, with what lies below.
const CONFIGURATION: [&str; 4] = [
    DRACUT,
    "usr/lib/dracut",
    "etc/dracut.conf",
    "etc/dracut.conf.d",
];
/// Where its scripts find programs.
const PROGRAMS: [&str; 2] = ["usr/bin", "usr/sbin"];
/// Where modules find what they load: looked for by name, at any depth.
const FIRMWARE: &str = "usr/lib/firmware";
/// No script is larger.
const LARGEST_SCRIPT: u64 = 4 << 20;

/// What an initramfs of a tree can be made of.
#[derive(Debug)]
pub struct Inputs<'t> {
    tree: &'t Tree,
    bodies: &'t Bodies,
    /// What counts whatever the initramfs took in.
    always: BTreeMap<ImagePath, InodeId>,
    digests: HashMap<BodyId, Digest>,
}

impl<'t> Inputs<'t> {
    /// Those for the kernel `version`.
    pub fn new(tree: &'t Tree, bodies: &'t Bodies, version: &str) -> Result<Self> {
        let initramfs = initramfs_path(version);
        let modules = initramfs.parent().expect("it is a file below");
        let mut always: BTreeMap<_, _> = tree.walk_from(&modules).collect();
        always.remove(&initramfs);
        // While dracut runs, the tree stands as on a host.
        let host = Host::of(tree);
        for path in CONFIGURATION.iter().chain(&CONFIGURATIONS) {
            let path = host.in_tree(&parse(path));
            always.extend(tree.walk_from(&path));
            // A link stands for what it leads to.
            if let Ok(Some((path, _))) = tree.resolve(&path) {
                always.extend(tree.walk_from(&path));
            }
        }
        let words = words_of_scripts(tree, bodies, &always)?;
        for directory in PROGRAMS.map(parse) {
            let programs = tree.lookup(&directory).and_then(|id| tree.children(id));
            for (name, &id) in programs.into_iter().flatten() {
                if words.contains(&**name) {
                    always.insert(directory.join(name), id);
                }
            }
        }
        Ok(Self {
            tree,
            bodies,
            always,
            digests: HashMap::new(),
        })
    }

    /// Digests them for an initramfs that holds `taken`.
    pub fn digest(&mut self, taken: &BTreeSet<ImagePath>) -> Result<Digest> {
        let mut files = self.always.clone();
        let mut names: BTreeSet<ImagePath> = self
            .tree
            .walk_from(&parse(FIRMWARE))
            .map(|(path, _)| path)
            .collect();
        let host = Host::of(self.tree);
        for path in taken {
            let path = host.in_tree(path);
            let Some(id) = self.tree.lookup(&path) else {
                continue;
            };
            match self.tree.children(id) {
                Some(children) => names.extend(children.keys().map(|name| path.join(name))),
                None => drop(files.insert(path, id)),
            }
        }
        let mut hasher = Hasher::default();
        feed(&mut hasher, b"import-oci initramfs 1");
        for argument in sandbox::arguments("") {
            feed(&mut hasher, argument.as_bytes());
        }
        for (path, id) in files {
            let digest = |body| match self.digests.get(&body) {
                Some(&digest) => Ok(digest),
                None => {
                    let digest = digest_of(self.bodies, body);
                    let digest = digest.with_context(|| format!("reading {path}"))?;
                    self.digests.insert(body, digest);
                    anyhow::Ok(digest)
                }
            };
            feed_inode(&mut hasher, &path, self.tree.inode(id), digest)?;
        }
        feed(&mut hasher, b"names");
        for name in names {
            feed(&mut hasher, name.as_bytes());
        }
        Ok(hasher.finish())
    }
}

fn feed_inode(
    hasher: &mut Hasher,
    path: &ImagePath,
    inode: &Inode,
    digest: impl FnOnce(BodyId) -> Result<Digest>,
) -> Result<()> {
    feed(hasher, path.as_bytes());
    let metadata = &inode.metadata;
    for number in [metadata.mode, metadata.uid, metadata.gid] {
        hasher.update(&number.to_le_bytes());
    }
    // Labels of the image are not those of the commit.
    let xattrs = metadata
        .xattrs
        .iter()
        .filter(|(name, _)| ***name != *LABEL_XATTR);
    for (name, value) in xattrs {
        feed(hasher, name);
        feed(hasher, value);
    }
    match &inode.content {
        Content::Directory(_) => feed(hasher, b"directory"),
        Content::File { body, .. } => {
            feed(hasher, b"file");
            feed(hasher, digest(*body)?.as_bytes());
        }
        Content::Symlink(target) => {
            feed(hasher, b"link");
            feed(hasher, target);
        }
        Content::Special(special) => feed(hasher, special.to_string().as_bytes()),
    }
    Ok(())
}

/// Feeds bytes so that no others give the same digest.
fn feed(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Everything in dracut's scripts that may be the name of a program.
fn words_of_scripts(
    tree: &Tree,
    bodies: &Bodies,
    always: &BTreeMap<ImagePath, InodeId>,
) -> Result<HashSet<Vec<u8>>> {
    let dracut = always.iter().filter(|(path, _)| {
        let scripts = [DRACUT, "usr/lib/dracut"].map(parse);
        scripts.iter().any(|script| path.starts_with(script))
    });
    let mut words = HashSet::new();
    for (path, &id) in dracut {
        let Content::File { body, size } = tree.inode(id).content else {
            continue;
        };
        if size > LARGEST_SCRIPT {
            continue;
        }
        let text = bodies
            .read(body, LARGEST_SCRIPT)
            .with_context(|| path.to_string())?;
        let is_part = |&byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        words.extend(text.split(|byte| !is_part(byte)).map(<[u8]>::to_vec));
    }
    Ok(words)
}

fn parse(path: &str) -> ImagePath {
    ImagePath::parse(path.as_bytes()).expect("a path of ours")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layers, image_path};

    const VERSION: &str = "6.1";
    /// What the initramfs of [`image`] holds.
    const TAKEN: [&str; 4] = ["etc/taken", "usr/lib", "usr/bin/taken", "made/by/dracut"];

    fn image() -> Layers {
        Layers::new()
            .file("usr/bin/dracut", "exec compressor -9")
            .file("usr/bin/compressor", "1")
            .file("usr/bin/other", "1")
            .file("usr/bin/taken", "1")
            .file("usr/etc/dracut.conf", "1")
            .file("usr/etc/dracut.conf.d/x.conf", "1")
            .file("usr/etc/other", "1")
            .file("usr/etc/taken", "1")
            .file("usr/lib/dracut/modules.d/10x/setup.sh", "1")
            .file("usr/lib/firmware/a/b", "1")
            .file("usr/lib/modules/6.1/initramfs.img", "1")
            .file("usr/lib/modules/6.1/kernel/x.ko", "1")
            .file("usr/lib/modules/6.1/vmlinuz", "1")
            .file("usr/share/x/y", "1")
    }

    fn digest(layers: Layers) -> Digest {
        let (tree, bodies) = layers.merge();
        let taken = TAKEN.map(image_path).into();
        let mut inputs = Inputs::new(&tree, &bodies, VERSION).unwrap();
        inputs.digest(&taken).unwrap()
    }

    #[test]
    fn what_went_in_counts_and_nothing_else() {
        let before = digest(image());
        for (path, counts) in [
            ("usr/bin/compressor", true),
            ("usr/bin/dracut", true),
            ("usr/bin/new", false),
            ("usr/bin/other", false),
            ("usr/bin/taken", true),
            ("usr/etc/dracut.conf", true),
            ("usr/etc/dracut.conf.d/new.conf", true),
            ("usr/etc/dracut.conf.d/x.conf", true),
            ("usr/etc/ostree/prepare-root.conf", true),
            ("usr/etc/other", false),
            ("usr/etc/taken", true),
            ("usr/lib/dracut/modules.d/10x/setup.sh", true),
            ("usr/lib/firmware/a/b", false),
            ("usr/lib/firmware/a/new", true),
            ("usr/lib/modules/6.1/initramfs.img", false),
            ("usr/lib/modules/6.1/kernel/x.ko", true),
            ("usr/lib/modules/6.1/vmlinuz", true),
            ("usr/lib/modules/6.2/vmlinuz", false),
            ("usr/lib/new", true),
            ("usr/lib/ostree/prepare-root.conf", true),
            ("usr/share/new", false),
            ("usr/share/x/y", false),
        ] {
            let after = digest(image().layer().file(path, "2"));
            assert_eq!(after != before, counts, "{path}");
        }
    }

    #[test]
    fn metadata_counts_but_for_labels() {
        let file = |mark: &dyn Fn(Layers) -> Layers| {
            digest(mark(image().layer().file("usr/bin/taken", "1")))
        };
        let before = digest(image());
        assert_eq!(file(&|l| l), before);
        assert_eq!(file(&|l| l.xattr("security.selinux", b"x")), before);
        assert_ne!(file(&|l| l.xattr("user.x", b"x")), before);
        assert_ne!(file(&|l| l.owner(1, 0)), before);
        assert_ne!(
            digest(image().layer().symlink("usr/bin/taken", "1")),
            before
        );
    }
}
