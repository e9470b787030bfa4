//! Labels for what libostree makes in a deployment.
//!
//! Where the kernel has SELinux, libostree labels all of it. Elsewhere it labels `/var`, but not the
//! mark that it did, and the files of `/etc`, but neither its directories nor its links (libostree
//! 2022.7): a system that enforces its policy fails to start most of what reads them.
//!
//! What has a label keeps it. `/boot` and all that is a name of an object of the repo is never
//! touched: there a label is part of the checksum.

use std::collections::VecDeque;
use std::fs::{self, FileType, Metadata};
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;
use serde::Serialize;

use crate::label::{self, FileKind, Oracle, Policy};
use crate::metadata::LABEL_XATTR;
use crate::path::ImagePath;
use crate::policy::{PolicyFiles, select_policy};

/// What got a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Labelled {
    /// The name of the policy.
    pub policy: String,
    /// How many directories, links and files of `/etc`.
    pub etc: usize,
    /// How much of `/var`.
    pub var: usize,
}

/// Something without a label.
#[derive(Debug)]
struct Unlabelled {
    /// Where it lies.
    place: PathBuf,
    /// Its path on the host.
    path: ImagePath,
    kind: FileKind,
}

/// Labels by the policy of the deployment in the directory `root` what has no label of its `/etc`,
/// and of what lies directly in `var`, the `/var` of its stateroot; all deeper in there is what
/// systems wrote. `None`: it has no policy.
///
/// # Errors
/// The policy cannot be used, or something cannot be labelled.
pub fn label(root: &Path, var: &Path) -> Result<Option<Labelled>> {
    let directory = fs::File::open(root).with_context(|| root.display().to_string())?;
    let read = |path: &ImagePath| read_in_root(&directory, path);
    let selinux = ImagePath::parse(b"etc/selinux")?;
    let Ok((policy, files)) = select_policy(&selinux, read)? else {
        return Ok(None);
    };
    let etc = unlabelled(&root.join("etc"), b"etc", usize::MAX)?;
    let var = unlabelled(var, b"var", 1)?;
    let give = |found| {
        give_labels(found, &files)
            .with_context(|| format!("labelling with the policy {policy} of the deployment"))
    };
    Ok(Some(Labelled {
        etc: give(etc)?,
        var: give(var)?,
        policy,
    }))
}

/// The content of a file where links lead as they do on the host whose root is the directory `root`;
/// `None`: there is none.
fn read_in_root(root: impl AsFd, path: &ImagePath) -> Result<Option<Vec<u8>>> {
    let opened = rustix::fs::openat2(
        root,
        std::ffi::OsStr::from_bytes(path.as_bytes()),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    );
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.to_string()),
    };
    let mut content = Vec::new();
    fs::File::from(file)
        .read_to_end(&mut content)
        .with_context(|| format!("reading {path}"))?;
    Ok(Some(content))
}

/// What has no label of the directory `top`, itself included, which is `name` on the host, down to
/// this depth.
fn unlabelled(top: &Path, name: &[u8], depth: usize) -> Result<Vec<Unlabelled>> {
    let mut found = Vec::new();
    let mut pending = VecDeque::from([(top.to_owned(), ImagePath::parse(name)?, 0)]);
    while let Some((place, path, level)) = pending.pop_front() {
        let context = || format!("looking for labels of {}", place.display());
        let metadata = fs::symlink_metadata(&place).with_context(context)?;
        if metadata.is_dir() && level < depth {
            for entry in fs::read_dir(&place).with_context(context)? {
                let name = entry.with_context(context)?.file_name();
                pending.push_back((place.join(&name), path.join(name.as_bytes()), level + 1));
            }
        }
        if is_of_the_repo(&metadata) || has_label(&place).with_context(context)? {
            continue;
        }
        let kind = kind(metadata.file_type());
        found.push(Unlabelled { place, path, kind });
    }
    Ok(found)
}

/// May it be another name of an object? What libostree copies has one name.
fn is_of_the_repo(metadata: &Metadata) -> bool {
    !metadata.is_dir() && metadata.nlink() > 1
}

fn has_label(place: &Path) -> Result<bool> {
    match rustix::fs::lgetxattr(place, LABEL_XATTR, &mut [0_u8; 0][..]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn kind(of: FileType) -> FileKind {
    match of {
        _ if of.is_dir() => FileKind::Directory,
        _ if of.is_symlink() => FileKind::Symlink,
        _ if of.is_char_device() => FileKind::CharDevice,
        _ if of.is_block_device() => FileKind::BlockDevice,
        _ if of.is_fifo() => FileKind::Fifo,
        _ if of.is_socket() => FileKind::Socket,
        _ => FileKind::Regular,
    }
}

/// Gives what was found the labels of the policy; how many got one.
fn give_labels(found: Vec<Unlabelled>, policy: &PolicyFiles) -> Result<usize> {
    if found.is_empty() {
        return Ok(0);
    }
    let nodes = || found.iter().map(|one| (one.path.clone(), one.kind));
    let labels = label::label_all(Policy::parse(policy), || Oracle::new(policy), nodes)?;
    ensure!(labels.labels.len() == found.len(), "each gets an answer");
    let mut given = 0;
    for (one, label) in found.iter().zip(&labels.labels) {
        // `<<none>>` is an answer, too.
        let Some(label) = *label else { continue };
        let value = labels.contexts.xattr_value(label);
        rustix::fs::lsetxattr(&one.place, LABEL_XATTR, &value, XattrFlags::CREATE)
            .with_context(|| format!("labelling {}", one.place.display()))?;
        given += 1;
    }
    Ok(given)
}
