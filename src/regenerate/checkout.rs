//! The merged tree as files that dracut can read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::bodies::Bodies;
use crate::path::ImagePath;
use crate::tree::{Content, InodeId, Tree};

/// The directories over which the sandbox mounts something.
pub(super) const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "tmp", "var/tmp"];

/// Writes `tree` to the directory `root`, which it makes, without the file `except`.
///
/// `/usr/etc` becomes `/etc`, as on a host. Every file is dated 1970 and keeps its mode, which goes into an
/// initramfs; owners and xattrs do not, and so all belongs to whoever runs this. Directories are open to the owner,
/// that it can be removed again.
pub(super) fn write(tree: &Tree, bodies: &Bodies, except: &ImagePath, root: &Path) -> Result<()> {
    let mut written: HashMap<InodeId, PathBuf> = HashMap::new();
    let no_etc = tree.child(tree.root(), b"etc").is_none();
    let usr_etc = ImagePath::root().join(b"usr").join(b"etc");
    for (path, id) in tree.walk() {
        if path == *except {
            continue;
        }
        let below = path.as_bytes();
        let at = match path.starts_with(&usr_etc) && no_etc {
            true => root.join(OsStr::from_bytes(&below["usr/".len()..])),
            false => root.join(OsStr::from_bytes(below)),
        };
        let inode = tree.inode(id);
        let mode = inode.metadata.mode;
        let write = || match &inode.content {
            Content::Directory(_) => DirBuilder::new()
                .mode(0o700)
                .create(&at)
                .and_then(|()| fs::set_permissions(&at, Permissions::from_mode(mode | 0o700))),
            _ if is_mount_point(&path) => DirBuilder::new().mode(0o755).create(&at),
            Content::Symlink(target) => symlink(OsStr::from_bytes(target), &at),
            Content::Special(_) => Ok(()),
            Content::File { body, .. } => match written.get(&id) {
                Some(other) => fs::hard_link(other, &at),
                None => write_file(&at, mode, &mut bodies.reader(*body)),
            },
        };
        write().with_context(|| format!("writing {path}"))?;
        if matches!(inode.content, Content::File { .. }) {
            written.entry(id).or_insert(at);
        }
    }
    for path in MOUNT_POINTS.map(|path| root.join(path)) {
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// A link there would lead elsewhere.
fn is_mount_point(path: &ImagePath) -> bool {
    MOUNT_POINTS
        .iter()
        .any(|point| point.as_bytes() == path.as_bytes())
}

fn write_file(path: &Path, mode: u32, content: &mut dyn io::Read) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::copy(content, &mut file)?;
    let epoch = SystemTime::UNIX_EPOCH;
    file.set_times(FileTimes::new().set_accessed(epoch).set_modified(epoch))?;
    file.set_permissions(Permissions::from_mode(mode))
}
