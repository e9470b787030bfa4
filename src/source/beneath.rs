//! Opening files below a directory without following any link on the way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use crate::path::ImagePath;

/// A directory, opened; what lies below is found by its components, one by one.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// Opens a directory; links on the way to it are followed, for the user named them.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens the directory at `path`.
    pub(super) fn open_directory(&self, path: &ImagePath) -> io::Result<Self> {
        let mut directory = self.step(b".")?;
        for name in path.components() {
            directory = directory.step(name)?;
        }
        Ok(directory)
    }

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    ///
    /// The file or a directory on the way is missing or a symbolic link, or the file is not
    /// regular.
    pub(super) fn open_file(&self, path: &ImagePath) -> io::Result<File> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        };
        let parent = self.open_directory(&parent)?;
        // Without NONBLOCK a FIFO would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&parent.0, name, flags, Mode::empty()).map_err(explain)?;
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(file)
    }

    /// Opens the entry `name`, whatever it is, to look at it only (`O_PATH`).
    pub(super) fn open_path(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::empty())?)
    }

    fn step(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.0, name, flags, Mode::empty())
            .map(Self)
            .map_err(explain)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `ELOOP` would read "too many levels of symbolic links", but a single one is refused here.
fn explain(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::LOOP => io::Error::other("a symbolic link, which is not followed"),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn follows_no_link() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        fs::create_dir_all(at("root/dir")).unwrap();
        fs::write(at("root/dir/file"), "x").unwrap();
        fs::write(at("outside"), "secret").unwrap();
        symlink("../outside", at("root/link")).unwrap();
        symlink("dir", at("root/dirlink")).unwrap();
        symlink("root", at("rootlink")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("root/fifo"), Mode::RUSR).unwrap();

        let root = Directory::open(&at("rootlink")).unwrap();
        for (path, want) in [
            ("dir/file", "ok"),
            ("link", "a symbolic link"),
            ("dirlink/file", "Not a directory"),
            ("dir", "not a regular file"),
            ("fifo", "not a regular file"),
            ("", "is a directory"),
            ("missing", "No such file"),
        ] {
            let got = match root.open_file(&ImagePath::parse(path.as_bytes()).unwrap()) {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(got.contains(want), "{path}: {got}");
        }
    }
}
