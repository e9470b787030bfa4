//! A layer as a tree of its own, to be committed as ostree-ext commits layers.
//!
//! Whoever lays such commits over each other gets the image: `/etc` lies in `/usr/etc`, whiteouts
//! are the files `.wh.NAME` and `.wh..wh..opq` that libostree's checkout acts upon. Nothing is
//! repaired, so that a file which no fixup changes is the same object as in the merged tree; only
//! the xattrs are cleaned, because ostree could not hold them, and what it cannot hold at all is
//! left out: special files, names and link targets that are not UTF-8. So is the ostree repo of an
//! encapsulated base: its files are elsewhere in the image too.

use std::borrow::Cow;

use foldhash::HashSet;

use crate::entry::{Entry, EntryKind};
use crate::fixup::{BASE_REPO, clean_xattrs};
use crate::host::usr_etc;
use crate::path::ImagePath;
use crate::tree::{Content, Inode, InodeId, Tree};

/// The tree of a layer with these `entries`. `merged` is the image up to this layer: it knows what
/// a hardlink is a link of, which may lie in a lower layer. A layer that [`stands_alone`] can do
/// without.
pub fn layer_tree(entries: &[Entry], merged: Option<&Tree>) -> Tree {
    let mut tree = Tree::new();
    for entry in entries {
        if let Some((path, inode)) = committed(entry, &tree, merged) {
            place(&mut tree, &path, inode);
        }
    }
    tree
}

/// Is each hardlink of a layer one of a file that came before it, so that the layer means the same
/// in every image? A layer that fills both `/etc` and `/usr/etc` is not asked: in its commit they
/// are one.
pub fn stands_alone(entries: &[Entry]) -> bool {
    let mut before = HashSet::default();
    let below = |etc: &ImagePath| entries.iter().any(|entry| entry.path.starts_with(etc));
    if below(&ImagePath::root().join(b"etc")) && below(&usr_etc()) {
        return false;
    }
    entries.iter().all(|entry| {
        let known = match &entry.kind {
            EntryKind::Hardlink(target) => before.contains(target),
            _ => true,
        };
        if entry.kind != EntryKind::Directory && can_be_committed(&entry.path) {
            before.insert(&entry.path);
        }
        known
    })
}

/// Where an entry goes in the commit, and as what; `None`: it stays out. `tree` is what came
/// before it.
fn committed(entry: &Entry, tree: &Tree, merged: Option<&Tree>) -> Option<(ImagePath, Inode)> {
    if !can_be_committed(&entry.path) {
        return None;
    }
    let mut inode = match &entry.kind {
        EntryKind::Hardlink(target) => match merged {
            // Where a later entry put a directory, that has its own place. Its names are of the other tree.
            Some(merged) => not_directory(merged, find(merged, &entry.path)?)?,
            None => not_directory(tree, find(tree, in_usr_etc(target)?.as_ref())?)?,
        },
        kind => Inode {
            metadata: entry.metadata.clone(),
            content: match kind {
                EntryKind::Directory => Content::empty_directory(),
                EntryKind::File { body, size } => Content::File {
                    body: *body,
                    size: *size,
                },
                EntryKind::Symlink(target) => Content::Symlink(target.clone()),
                EntryKind::Special(_) | EntryKind::Hardlink(_) => return None,
            },
        },
    };
    match &inode.content {
        Content::Special(_) => return None,
        Content::Symlink(target) if std::str::from_utf8(target).is_err() => return None,
        _ => {}
    }
    clean_xattrs(&mut inode);
    Some((in_usr_etc(&entry.path)?.into_owned(), inode))
}

fn not_directory(tree: &Tree, id: InodeId) -> Option<Inode> {
    let inode = tree.inode(id);
    (!inode.content.is_directory()).then(|| inode.clone())
}

fn can_be_committed(path: &ImagePath) -> bool {
    let below_repo = path.as_bytes().strip_prefix(BASE_REPO);
    let in_base_repo = below_repo.is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    !is_aufs(path) && std::str::from_utf8(path.as_bytes()).is_ok() && !in_base_repo
}

/// Bookkeeping of AUFS, which is no whiteout.
fn is_aufs(path: &ImagePath) -> bool {
    let marked = |name: &&[u8]| name.starts_with(b".wh..wh.");
    let opaque = path.file_name() == Some(b".wh..wh..opq");
    path.components().filter(marked).count() > usize::from(opaque)
}

/// What lies at `path`, with the links of its parents followed.
fn find(tree: &Tree, path: &ImagePath) -> Option<InodeId> {
    tree.lookup(path).or_else(|| {
        let (_, parent) = tree.resolve(&path.parent()?).ok()??;
        tree.child(parent, path.file_name()?)
    })
}

/// The path of an entry in the commit of its layer, with `/etc`, and its whiteout, in `/usr`; `None` if
/// that is too long.
pub fn in_usr_etc(path: &ImagePath) -> Option<Cow<'_, ImagePath>> {
    match path.components().next() {
        Some(b"etc" | b".wh.etc") => {
            let moved = ImagePath::parse(&[b"usr/", path.as_bytes()].concat());
            moved.ok().map(Cow::Owned)
        }
        _ => Some(Cow::Borrowed(path)),
    }
}

/// Puts `inode` at `path`; what comes later wins.
fn place(tree: &mut Tree, path: &ImagePath, inode: Inode) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let root = tree.root();
        tree.inode_mut(root).metadata = inode.metadata;
        return;
    };
    let (parent, directory) = match tree.create_directories(&parent) {
        Ok(directory) => (parent, directory),
        Err(_) => make_way(tree, &parent),
    };
    let existing = tree.child(directory, name);
    match existing {
        Some(existing) if inode.content.is_directory() && tree.children(existing).is_some() => {
            tree.inode_mut(existing).metadata = inode.metadata;
        }
        _ => {
            tree.insert(&parent.join(name), inode)
                .expect("the parent is a directory");
        }
    }
}

/// The directory at `path`, where something stands in the way: a link of this layer is followed,
/// all else gives way.
fn make_way(tree: &mut Tree, path: &ImagePath) -> (ImagePath, InodeId) {
    let mut at = ImagePath::root();
    for name in path.components() {
        let next = at.join(name);
        let behind = tree.resolve(&next).ok().flatten();
        at = match behind {
            Some((real, id)) if tree.children(id).is_some() => real,
            _ => {
                tree.remove(&next);
                next
            }
        };
    }
    let directory = tree.create_directories(&at);
    (at, directory.expect("nothing stands in the way any more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Special;
    use crate::report::Report;
    use crate::testing::{Layers, list};
    use crate::tree::merge;

    /// The listing of the highest layer.
    #[track_caller]
    fn check(layers: Layers, expected: &[&str]) {
        let (layers, bodies) = layers.build();
        let mut merged = Tree::new();
        let mut report = Report::default();
        for layer in &layers {
            merge::apply(&mut merged, layer, &Default::default(), &mut report).unwrap();
        }
        let layer = layers.last().unwrap();
        let tree = layer_tree(layer, Some(&merged));
        assert_eq!(list(&tree, &bodies), expected);
        if stands_alone(layer) {
            assert_eq!(list(&layer_tree(layer, None), &bodies), expected);
        }
    }

    #[test]
    fn layers_that_need_no_other() {
        for (layers, alone) in [
            (Layers::new(), true),
            (
                Layers::new()
                    .file("a", "")
                    .hardlink("b", "a")
                    .hardlink("c", "b"),
                true,
            ),
            (
                Layers::new().file("etc/a", "").hardlink("etc/b", "etc/a"),
                true,
            ),
            (Layers::new().hardlink("b", "a").file("a", ""), false),
            (Layers::new().hardlink("b", "low"), false),
            (
                Layers::new()
                    .file(".wh..wh.plnk/1", "")
                    .hardlink("b", ".wh..wh.plnk/1"),
                false,
            ),
            (Layers::new().file("etc/a", "").file("usr/etc/b", ""), false),
        ] {
            let (layers, _) = layers.build();
            assert_eq!(stands_alone(&layers[0]), alone, "{:?}", layers[0]);
        }
    }

    #[test]
    fn etc_and_whiteouts() {
        check(
            Layers::new()
                .file("etc/gone", "")
                .file("usr/gone", "")
                .layer()
                .dir("", 0o700)
                .dir("etc", 0o711)
                .file("etc/new", "new")
                .file("etc/.wh.gone", "")
                .file(".wh.etc", "")
                .file("usr/d/.wh..wh..opq", "")
                .file("usr/.wh.gone", "")
                .dir("etc", 0o755),
            &[
                "/ 700",
                "/usr/ 755",
                "/usr/.wh.etc 644 \"\"",
                "/usr/.wh.gone 644 \"\"",
                "/usr/d/ 755",
                "/usr/d/.wh..wh..opq 644 \"\"",
                "/usr/etc/ 755",
                "/usr/etc/.wh.gone 644 \"\"",
                "/usr/etc/new 644 \"new\"",
            ],
        );
    }

    #[test]
    fn what_no_commit_holds_stays_out() {
        let mut layers = Layers::new()
            .special("dev/null", Special::CharDevice { major: 1, minor: 3 })
            .special("p", Special::Fifo)
            .hardlink("q", "p")
            .file(".wh..wh.plnk/1", "linked")
            .hardlink("a", ".wh..wh.plnk/1")
            .file(".wh..wh.aufs", "")
            .file("x", "")
            .xattr("security.selinux", b"other")
            .xattr("user.kept", b"1")
            .file("y", "");
        check(
            Layers::new()
                .file("sysroot/ostree/repo/objects/aa/bb.file", "of the base")
                .hardlink("usr/linked", "sysroot/ostree/repo/objects/aa/bb.file"),
            &["/usr/ 755", "/usr/linked 644 \"of the base\""],
        );
        check(
            Layers::new().file("l", "").layer().symlink("l", "\u{e9}"),
            &["/l -> \u{e9}"],
        );
        let (mut built, bodies) = std::mem::replace(&mut layers, Layers::new()).build();
        built[0].last_mut().unwrap().path = ImagePath::parse(b"\xff").unwrap();
        let link = Entry {
            path: ImagePath::parse(b"link").unwrap(),
            kind: EntryKind::Symlink((*b"\xff").into()),
            metadata: Default::default(),
        };
        built[0].push(link);
        let mut merged = Tree::new();
        merge::apply(
            &mut merged,
            &built[0],
            &Default::default(),
            &mut Report::default(),
        )
        .unwrap();
        let tree = layer_tree(&built[0], Some(&merged));
        assert_eq!(
            list(&tree, &bodies),
            ["/a 644 \"linked\"", "/x 644 \"\" user.kept"]
        );
    }

    #[test]
    fn hardlinks_to_lower_layers() {
        check(
            Layers::new()
                .file("etc/low", "low")
                .owner(3, 4)
                .layer()
                .hardlink("b", "etc/low")
                .hardlink("forward", "c")
                .file("c", "own")
                .hardlink("etc/d", "c"),
            &[
                "/b 644 \"low\" 3:4",
                "/c 644 \"own\"",
                "/forward 644 \"own\"",
                "/usr/ 755",
                "/usr/etc/ 755",
                "/usr/etc/d 644 \"own\"",
            ],
        );
    }

    #[test]
    fn whatever_stands_in_the_way() {
        check(
            Layers::new()
                .symlink("lib", "usr/lib")
                .dir("usr/lib", 0o711)
                .file("lib/x", "")
                .file("lib/y/z", ""),
            &[
                "/lib -> usr/lib",
                "/usr/ 755",
                "/usr/lib/ 711",
                "/usr/lib/x 644 \"\"",
                "/usr/lib/y/ 755",
                "/usr/lib/y/z 644 \"\"",
            ],
        );
        // A link of a lower layer is not there.
        check(
            Layers::new()
                .symlink("lib", "usr/lib")
                .layer()
                .file("lib/x", ""),
            &["/lib/ 755", "/lib/x 644 \"\""],
        );
        check(
            Layers::new()
                .file("x", "1")
                .hardlink("y", "x")
                .file("x", "2"),
            &["/x 644 \"2\"", "/y 644 \"1\""],
        );
        check(
            Layers::new()
                .file("usr/low", "low")
                .layer()
                .hardlink("x", "usr/low")
                .dir("x", 0o711)
                .dir("x/sub", 0o700),
            &["/x/ 711", "/x/sub/ 700"],
        );
        // Only one of them can be in the commit.
        check(
            Layers::new()
                .file("usr/etc/x", "file")
                .file("etc/x/y", "")
                .file("etc/z/y", "")
                .file("usr/etc/z", "file"),
            &[
                "/usr/ 755",
                "/usr/etc/ 755",
                "/usr/etc/x/ 755",
                "/usr/etc/x/y 644 \"\"",
                "/usr/etc/z 644 \"file\"",
            ],
        );
    }
}
