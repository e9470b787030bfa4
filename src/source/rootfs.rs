//! `rootfs:DIR`: an unpacked root, such as `podman mount` or `mmdebstrap` leave behind.
//!
//! The walk follows no link and crosses no mount. Every entry is looked at through one descriptor,
//! so that what is said of it is said of one inode even while the tree changes.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::Dir;

use super::beneath::Directory;
use super::inode::{Inode, InodeKey, InodeKind};
use super::reference::LocalReference;
use super::rootfs_bodies::RootfsBodies;
use crate::entry::{Entry, EntryKind};
use crate::metadata::{Metadata, Special};
use crate::path::ImagePath;
use crate::report::{Action, Report};

/// An unpacked root, not walked yet.
#[derive(Debug)]
pub struct RootfsSource {
    reference: LocalReference,
    root: Directory,
}

/// Everything in an unpacked root.
#[derive(Debug)]
pub struct UnpackedRoot {
    /// The entries in byte order of their paths, from the root itself on; so parents come before
    /// their children and files before their hardlinks.
    pub entries: Vec<Entry>,
    /// The content of the files, read when it is asked for.
    pub bodies: RootfsBodies,
    /// Mount points that were left out.
    pub report: Report,
}

/// Who writes our lines of the report.
const STAGE: &str = "rootfs";

/// Directories for everybody's files (file-hierarchy(7)).
const WORLD_WRITABLE: [&[u8]; 2] = [b"tmp", b"var/tmp"];

impl RootfsSource {
    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// It is missing, not a directory, or empty.
    pub(super) fn open(reference: &LocalReference) -> Result<Self> {
        let context = || reference.to_string();
        let root = Directory::open(&reference.path).with_context(context)?;
        let names = read_names(&root, &ImagePath::root()).with_context(context)?;
        ensure!(!names.is_empty(), "{reference}: the directory is empty");
        Ok(Self {
            reference: reference.clone(),
            root,
        })
    }

    /// Walks the tree. `store` goes into the [`BodyId`](crate::bodies::BodyId) of every file.
    ///
    /// # Errors
    ///
    /// What cannot be read, what has no directory `usr`, and what only the upper directory of an
    /// overlay has: it lacks the files of the layers below, so the mounted overlay has to be named
    /// instead.
    pub fn walk(self, store: u32) -> Result<UnpackedRoot> {
        let mut found = walk_inodes(&self.root)?;
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut report = Report::default();
        leave_out_mounts(&mut found, &mut report);
        refuse_overlay_upper(&found)?;
        let usr = ImagePath::root().join(b"usr");
        ensure!(
            found
                .iter()
                .any(|inode| inode.path == usr && inode.is_directory()),
            "not an unpacked root: it has no directory usr"
        );

        let mut bodies = RootfsBodies::new(store, self.root);
        let mut first_names: HashMap<InodeKey, ImagePath> = HashMap::new();
        let mut entries = Vec::with_capacity(found.len());
        for inode in found {
            let first = inode.shared.and_then(|key| first_names.get(&key));
            let kind = match (first, inode.kind) {
                (Some(first), _) => EntryKind::Hardlink(first.clone()),
                (None, InodeKind::Directory) => EntryKind::Directory,
                (None, InodeKind::File(stamp)) => EntryKind::File {
                    size: stamp.size,
                    body: bodies.add(inode.path.clone(), stamp)?,
                },
                (None, InodeKind::Symlink(target)) => EntryKind::Symlink(target),
                (None, InodeKind::Special(special)) => EntryKind::Special(special),
            };
            if let (None, Some(key)) = (first, inode.shared) {
                first_names.insert(key, inode.path.clone());
            }
            entries.push(Entry {
                path: inode.path,
                kind,
                metadata: inode.metadata,
            });
        }
        Ok(UnpackedRoot {
            entries,
            bodies,
            report,
        })
    }
}

impl fmt::Display for RootfsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

/// Looks at every inode below `root`, in no particular order. No descriptor is held across
/// directories, however deep they lie.
fn walk_inodes(root: &Directory) -> Result<Vec<Inode>> {
    let top = Inode::of(ImagePath::root(), root)?;
    let root_mount = top.mount;
    let mut found = vec![top];
    let mut pending = vec![ImagePath::root()];
    while let Some(parent) = pending.pop() {
        let directory = root
            .open_directory(&parent)
            .with_context(|| format!("reading the directory {parent}"))?;
        for name in read_names(&directory, &parent)? {
            let path = parent.join(&name);
            let inode = directory
                .open_path(&name)
                .map_err(anyhow::Error::from)
                .and_then(|fd| Inode::of(path.clone(), &fd))
                .with_context(|| path.to_string())?;
            if inode.mount == root_mount && inode.is_directory() {
                pending.push(path);
            }
            found.push(inode);
        }
    }
    Ok(found)
}

fn read_names(directory: &Directory, path: &ImagePath) -> Result<Vec<Box<[u8]>>> {
    let context = || format!("reading the directory {path}");
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            ImagePath::parse(path.join(name).as_bytes())?;
            names.push(name.into());
        }
    }
    Ok(names)
}

/// Hides what is mounted below the root, which is the first of `inodes`. Only the directories that
/// others are mounted on stay, as nobody described them: mode, owner, xattrs and time that show
/// are those of the mount, and of the machine.
fn leave_out_mounts(inodes: &mut Vec<Inode>, report: &mut Report) {
    let root_mount = inodes[0].mount;
    inodes.retain_mut(|inode| {
        if inode.mount == root_mount {
            return true;
        }
        let directory = inode.is_directory();
        if directory {
            inode.metadata = hidden_directory(&inode.path);
            let detail = format!(
                "a mount point: kept as an empty directory of root's, mode {:04o}; what is \
                 mounted there is left out",
                inode.metadata.mode
            );
            report.note(STAGE, Action::Warning, &inode.path, detail);
        } else {
            let detail = "another file is mounted over it";
            report.note(STAGE, Action::Dropped, &inode.path, detail);
        }
        directory
    });
}

/// What a directory below a mount is taken for. Its time never is the newest of the root.
fn hidden_directory(path: &ImagePath) -> Metadata {
    let mut metadata = Metadata::implicit_directory();
    if WORLD_WRITABLE.contains(&path.as_bytes()) {
        metadata.mode = 0o1777;
    }
    metadata
}

/// Refuses an overlay's upper (or any single layer's) directory, told by the first trace of it.
/// Some places may hold such traces rightly.
fn refuse_overlay_upper(inodes: &[Inode]) -> Result<()> {
    for inode in inodes {
        if let Some(trace) = overlay_trace(inode)
            && !may_hold_traces(&inode.path)
        {
            bail!(
                "{}: {trace}: this is one layer of an overlay, not the whole tree; name the merged \
                 mount instead, as `podman image mount` and `buildah mount` print it",
                inode.path
            );
        }
    }
    Ok(())
}

/// Overlay's xattrs that say that something of the layers below is missing here.
const LAYERED: [&[u8]; 3] = [b"opaque", b"redirect", b"metacopy"];

fn overlay_trace(inode: &Inode) -> Option<String> {
    if let InodeKind::Special(Special::CharDevice { major: 0, minor: 0 }) = inode.kind {
        return Some("a whiteout (character device 0:0)".to_owned());
    }
    let name = inode.path.file_name();
    if name.is_some_and(|name| name.starts_with(b".wh.")) {
        return Some("a whiteout by its name".to_owned());
    }
    let layered = |name: &[u8]| {
        [&b"trusted.overlay."[..], b"user.overlay."]
            .iter()
            .find_map(|prefix| name.strip_prefix(*prefix))
            .is_some_and(|name| LAYERED.contains(&name))
            || name == b"user.fuseoverlayfs.opaque"
    };
    let name = inode.metadata.xattrs.keys().find(|name| layered(name))?;
    Some(format!("has the xattr {}", String::from_utf8_lossy(name)))
}

/// Does it lie in a layer that podman or docker keep below this root (`overlay/ID/diff/…`), or in
/// `/run`, where systemd makes a character device 0:0 to mask others with?
fn may_hold_traces(path: &ImagePath) -> bool {
    let components: Vec<_> = path.components().collect();
    let in_layer = components
        .windows(3)
        .any(|window| matches!(window[0], b"overlay" | b"overlay2") && window[2] == b"diff");
    in_layer || components.first() == Some(&&b"run"[..])
}
