//! What one descriptor tells of a file: kind, metadata, xattrs, and which mount it lies on.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};
use rustix::io::Errno;

use super::rootfs_bodies::Stamp;
use crate::metadata::{LABEL_XATTR, Metadata, Special, Xattrs};
use crate::path::ImagePath;

/// A file, directory, link or special file of an unpacked root.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) path: ImagePath,
    pub(super) kind: InodeKind,
    pub(super) metadata: Metadata,
    pub(super) mount: MountKey,
    /// Set if it is no directory and has several names.
    pub(super) shared: Option<InodeKey>,
}

#[derive(Debug)]
pub(super) enum InodeKind {
    Directory,
    File(Stamp),
    Symlink(Box<[u8]>),
    Special(Special),
}

/// Device and inode number.
pub(super) type InodeKey = (u32, u32, u64);

/// Which mount a file lies on: by the mount's own number where the kernel tells it (Linux 5.8),
/// so that a btrfs subvolume is no mount but a bind mount is; by device else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MountKey {
    Mount(u64),
    Device(u32, u32),
}

impl Inode {
    /// Looks at the inode behind `fd`, which `O_PATH` may have opened.
    pub(super) fn of(path: ImagePath, fd: &impl AsFd) -> Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = statx(fd, c"", flags, wanted)?;
        let kind = kind_of(fd, &stat)?;
        let shared = !matches!(kind, InodeKind::Directory) && stat.stx_nlink > 1;
        Ok(Self {
            path,
            kind,
            metadata: Metadata {
                mode: u32::from(stat.stx_mode) & 0o7777,
                uid: stat.stx_uid,
                gid: stat.stx_gid,
                mtime: stat.stx_mtime.tv_sec,
                xattrs: xattrs(fd).context("reading extended attributes")?,
            },
            mount: mount_of(&stat),
            shared: shared.then_some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)),
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, InodeKind::Directory)
    }
}

fn kind_of(fd: &impl AsFd, stat: &Statx) -> Result<InodeKind> {
    let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
    Ok(match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::Directory => InodeKind::Directory,
        FileType::RegularFile => InodeKind::File(Stamp::of(stat)),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(fd, c"", Vec::new())?;
            InodeKind::Symlink(target.into_bytes().into())
        }
        FileType::CharacterDevice => InodeKind::Special(Special::CharDevice { major, minor }),
        FileType::BlockDevice => InodeKind::Special(Special::BlockDevice { major, minor }),
        FileType::Fifo => InodeKind::Special(Special::Fifo),
        FileType::Socket => InodeKind::Special(Special::Socket),
        FileType::Unknown => bail!("unknown file type, mode {:o}", stat.stx_mode),
    })
}

fn mount_of(stat: &Statx) -> MountKey {
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) {
        MountKey::Mount(stat.stx_mnt_id)
    } else {
        MountKey::Device(stat.stx_dev_major, stat.stx_dev_minor)
    }
}

/// Every xattr but the label: it says how this host is labelled and nothing of the tree, which gets its
/// labels from its own policy. A descriptor opened with `O_PATH` has no calls for them, so it is named through
/// `/proc`, which leads to this very inode, be it a symbolic link or a device.
fn xattrs(fd: &impl AsFd) -> Result<Xattrs> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let names = match read_growing(|buffer| rustix::fs::listxattr(&*path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        Err(Errno::NOENT) => return Err(anyhow!("/proc is not mounted")),
        names => names?,
    };
    let mut xattrs = Xattrs::new();
    for name in names.split_inclusive(|&b| b == 0) {
        let name = CStr::from_bytes_with_nul(name)?;
        if name.to_bytes() == LABEL_XATTR {
            continue;
        }
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
