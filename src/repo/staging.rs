//! What a transaction that failed leaves in the repo's `tmp`.
//!
//! libostree stages objects in directories `staging-BOOT-RANDOM`, each in use while a lock on the
//! file `…-lock` beside it is held, and keeps that of a failed transaction for the next one. An
//! import that starts again writes again at no great cost; but what stays keeps a full disk full,
//! and an object that a full disk cut short would be taken for a whole one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};

/// The staging directories in `tmp` that are in use.
pub(super) fn in_use(tmp: &Path) -> io::Result<Vec<PathBuf>> {
    let mut used = Vec::new();
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        let is_staging = entry.file_name().to_string_lossy().starts_with("staging-");
        let directory = entry.path();
        // Who uses it makes the lock file, and removes it in the end.
        if is_staging && lock_file(&directory).exists() && lock(&directory)?.is_none() {
            used.push(directory);
        }
    }
    Ok(used)
}

/// Removes those of `directories` that are in use no more.
pub(super) fn remove_unused(directories: &[PathBuf]) -> io::Result<()> {
    for directory in directories {
        // Held until the directory is gone, so that no transaction begins in it.
        let Some(_lock) = lock(directory)? else {
            continue;
        };
        for gone in [
            fs::remove_dir_all(directory),
            fs::remove_file(lock_file(directory)),
        ] {
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Locks a staging directory; `None` if it is in use. libostree has another kind of lock on the
/// file, but the two respect each other.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(lock_file(directory))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn lock_file(directory: &Path) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}
