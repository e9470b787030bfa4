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
use crate::host::usr_etc;
use crate::path::ImagePath;
use crate::tree::{Content, InodeId, Tree};

/// The directories over which the sandbox mounts something.
pub(super) const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "tmp", "var/tmp"];

/// Writes `tree` to the directory `root`, which it makes, without the file `except`.
///
/// `/usr/etc` becomes `/etc`, as on a host. Every file is dated 1970 and keeps its mode, which goes
/// into an initramfs; owners and xattrs do not, and so all belongs to whoever runs this. Directories
/// are open to their owner, so that they can be removed again.
pub(super) fn write(tree: &Tree, bodies: &Bodies, except: &ImagePath, root: &Path) -> Result<()> {
    let mut written: HashMap<InodeId, PathBuf> = HashMap::new();
    let no_etc = tree.child(tree.root(), b"etc").is_none();
    let usr_etc = usr_etc();
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

/// Is it a directory over which something is mounted, or one above? A link there would lead out.
fn is_mount_point(path: &ImagePath) -> bool {
    let parse = |point: &str| ImagePath::parse(point.as_bytes()).expect("a path of ours");
    MOUNT_POINTS
        .iter()
        .any(|point| parse(point).starts_with(path))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::testing::{Layers, image_path};

    #[test]
    fn a_host_is_laid_out() {
        let (tree, bodies) = Layers::new()
            .file("usr/bin/x", "program")
            .hardlink("usr/bin/y", "usr/bin/x")
            .file("usr/etc/conf", "configuration")
            .file("usr/lib/except", "")
            .dir("usr/closed", 0o500)
            .file("usr/closed/in", "reachable")
            .symlink("bin", "usr/bin")
            .symlink("tmp", "var/tmp")
            .symlink("var", "/nowhere")
            .merge();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        write(&tree, &bodies, &image_path("usr/lib/except"), &root).unwrap();

        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("bin/y"), "program");
        assert_eq!(read("etc/conf"), "configuration");
        assert_eq!(read("usr/closed/in"), "reachable");
        for path in ["usr/etc", "usr/lib/except"] {
            assert!(!root.join(path).exists(), "{path}");
        }
        for path in MOUNT_POINTS {
            assert!(
                fs::symlink_metadata(root.join(path)).unwrap().is_dir(),
                "{path}"
            );
        }
        let [x, y] = ["x", "y"].map(|name| fs::metadata(root.join("usr/bin").join(name)).unwrap());
        assert_eq!((x.ino(), x.mode(), x.mtime()), (y.ino(), 0o100_644, 0));
        directory.close().unwrap();
    }
}
