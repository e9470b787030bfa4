//! `rootfs:DIR`: an unpacked root, such as `podman mount` or `mmdebstrap` leave behind.
//!
//! The walk follows no link and crosses no mount. Every entry is looked at through one descriptor,
//! so that what is said of it is said of one inode even while the tree changes.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::beneath::Directory;
use super::reference::SourceReference;
use super::rootfs_bodies::{RootfsBodies, Stamp};
use crate::entry::{Entry, EntryKind};
use crate::metadata::{Metadata, Special, Xattrs};
use crate::path::ImagePath;
use crate::report::{Action, Report};

/// An unpacked root, not walked yet.
#[derive(Debug)]
pub struct RootfsSource {
    reference: SourceReference,
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

impl RootfsSource {
    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// It is missing, not a directory, empty, or has no directory `usr`.
    pub(super) fn open(reference: &SourceReference) -> Result<Self> {
        let context = || reference.to_string();
        let root = Directory::open(&reference.path).with_context(context)?;
        let names = read_names(&root, &ImagePath::root()).with_context(context)?;
        ensure!(!names.is_empty(), "{reference}: the directory is empty");
        let usr = root.open_directory(&ImagePath::root().join(b"usr"));
        usr.with_context(|| format!("{reference}: not an unpacked root: usr"))?;
        Ok(Self {
            reference: reference.clone(),
            root,
        })
    }

    /// Walks the tree. `store` goes into the [`BodyId`] of every file.
    ///
    /// # Errors
    ///
    /// What cannot be read, and what only the upper directory of an overlay has: it lacks the
    /// files of the layers below, so the mounted overlay has to be named instead.
    pub fn walk(self, store: u32) -> Result<UnpackedRoot> {
        let reference = self.reference.to_string();
        self.try_walk(store).context(reference)
    }

    fn try_walk(self, store: u32) -> Result<UnpackedRoot> {
        let mut report = Report::default();
        let mut found = walk_inodes(&self.root, &mut report)?;
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        refuse_overlay_upper(&found)?;

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

/// Device and inode number.
type InodeKey = (u32, u32, u64);

/// What one descriptor told.
#[derive(Debug)]
struct Inode {
    path: ImagePath,
    kind: InodeKind,
    metadata: Metadata,
    /// Set if it is no directory and has several names.
    shared: Option<InodeKey>,
}

#[derive(Debug)]
enum InodeKind {
    Directory,
    File(Stamp),
    Symlink(Box<[u8]>),
    Special(Special),
}

/// Which mount an entry lies on: by the mount's own number where the kernel tells it (Linux 5.8),
/// so that a btrfs subvolume is no mount but a bind mount is; by device else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MountKey {
    Mount(u64),
    Device(u32, u32),
}

/// Looks at every inode below `root`, in no particular order. No descriptor is held across
/// directories, however deep they lie.
fn walk_inodes(root: &Directory, report: &mut Report) -> Result<Vec<Inode>> {
    let root_stat = stat(root)?;
    let mount = mount_of(&root_stat);
    let mut found = vec![inode(
        ImagePath::root(),
        root.open_directory(&ImagePath::root())?,
        &root_stat,
    )?];
    let mut pending = vec![ImagePath::root()];
    while let Some(parent) = pending.pop() {
        let context = || format!("reading the directory {parent}");
        let directory = root.open_directory(&parent).with_context(context)?;
        for name in read_names(&directory, &parent)? {
            let path = parent.join(&name);
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(&directory, &*name, flags, Mode::empty())
                .with_context(|| path.to_string())?;
            let stat = stat(&fd).with_context(|| path.to_string())?;
            let is_directory = file_type(&stat) == FileType::Directory;
            match (mount_of(&stat) == mount, is_directory) {
                (true, true) => pending.push(path.clone()),
                (true, false) => {}
                (false, true) => report.note(
                    STAGE,
                    Action::Warning,
                    &path,
                    "a mount point: kept as an empty directory, what is mounted there is left out",
                ),
                (false, false) => {
                    let detail = "another file is mounted over it: left out";
                    report.note(STAGE, Action::Dropped, &path, detail);
                    continue;
                }
            }
            let inode = inode(path.clone(), fd, &stat).with_context(|| path.to_string())?;
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

fn stat(fd: impl AsFd) -> io::Result<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    Ok(statx(fd, c"", flags, wanted)?)
}

fn mount_of(stat: &Statx) -> MountKey {
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) {
        MountKey::Mount(stat.stx_mnt_id)
    } else {
        MountKey::Device(stat.stx_dev_major, stat.stx_dev_minor)
    }
}

fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

fn inode(path: ImagePath, fd: impl AsFd, stat: &Statx) -> Result<Inode> {
    let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
    let kind = match file_type(stat) {
        FileType::Directory => InodeKind::Directory,
        FileType::RegularFile => InodeKind::File(Stamp::of(stat)),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&fd, c"", Vec::new())?;
            InodeKind::Symlink(target.into_bytes().into())
        }
        FileType::CharacterDevice => InodeKind::Special(Special::CharDevice { major, minor }),
        FileType::BlockDevice => InodeKind::Special(Special::BlockDevice { major, minor }),
        FileType::Fifo => InodeKind::Special(Special::Fifo),
        FileType::Socket => InodeKind::Special(Special::Socket),
        FileType::Unknown => bail!("unknown file type {:o}", stat.stx_mode),
    };
    let shared = !matches!(kind, InodeKind::Directory) && stat.stx_nlink > 1;
    Ok(Inode {
        path,
        kind,
        metadata: Metadata {
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: stat.stx_mtime.tv_sec,
            xattrs: xattrs(fd).context("reading extended attributes")?,
        },
        shared: shared.then_some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)),
    })
}

/// Every xattr. A descriptor opened with `O_PATH` has no calls for them, so it is named through
/// `/proc`, which leads to this very inode, be it a symbolic link or a device.
fn xattrs(fd: impl AsFd) -> Result<Xattrs> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let names = match read_growing(|buffer| rustix::fs::listxattr(&*path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        Err(Errno::NOENT) => return Err(anyhow!("/proc is not mounted")),
        names => names?,
    };
    let mut xattrs = Xattrs::new();
    for name in names.split_inclusive(|&b| b == 0) {
        let name = CStr::from_bytes_with_nul(name)?;
        match read_growing(|buffer| rustix::fs::getxattr(&*path, name, buffer)) {
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            value => {
                let value = value.with_context(|| name.to_string_lossy().into_owned())?;
                xattrs.insert(name.to_bytes().into(), value.into());
            }
        }
    }
    Ok(xattrs)
}

/// Neither a list of xattrs nor a value is longer on Linux.
const XATTR_LIMIT: usize = 64 * 1024;

/// Calls `read` with larger and larger buffers until what it reads fits.
fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < XATTR_LIMIT => buffer.resize(buffer.len() * 4, 0),
            length => {
                buffer.truncate(length?);
                return Ok(buffer);
            }
        }
    }
}

/// Refuses an overlay's upper (or any single layer's) directory, told by the first trace of it.
/// Storage of containers inside the root may hold such traces rightly.
fn refuse_overlay_upper(inodes: &[Inode]) -> Result<()> {
    for inode in inodes {
        if let Some(trace) = overlay_trace(inode)
            && !lies_in_container_storage(&inode.path)
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

/// Does it lie in a layer that podman or docker keep below this root: `overlay/ID/diff/…`?
fn lies_in_container_storage(path: &ImagePath) -> bool {
    let components: Vec<_> = path.components().collect();
    components
        .windows(3)
        .any(|window| matches!(window[0], b"overlay" | b"overlay2") && window[2] == b"diff")
}
