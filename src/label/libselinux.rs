//! libselinux's own answers, for the same text files.

use std::ffi::{CString, c_int, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context as _, Result};
use rustix::fs::FileType;
use selinux::errors::Error;
use selinux::label::{Labeler, back_end};
use tempfile::TempDir;

use super::{FileKind, PolicyFile, PolicyFiles, Reference};

/// `SELABEL_OPT_PATH` of selinux/label.h: the specification file to open instead of the host's.
const SELABEL_OPT_PATH: c_int = 3;

/// libselinux with a policy of its own: it sees a private copy of the text files, and neither the
/// compiled files beside them (it would trust whichever has the newer mtime) nor the host's
/// policy; nothing of the process changes. It belongs to one thread.
#[derive(Debug)]
pub struct Oracle {
    // Before the directory, so that it is closed before its files are removed.
    labeler: Labeler<back_end::File>,
    _directory: TempDir,
}

impl Oracle {
    /// Opens `files` with libselinux, by way of a temporary directory. Fails if libselinux refuses
    /// them; it then has written why to stderr.
    pub fn new(files: &PolicyFiles) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("import-oci-policy-")
            .tempdir()
            .context("no temporary directory for the policy")?;
        for (file, content) in files.present() {
            let path = directory.path().join(file.name());
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
        let path = directory.path().join(PolicyFile::FileContexts.name());
        let path = CString::new(path.as_os_str().as_bytes())?;
        let options = [(SELABEL_OPT_PATH, path.as_ptr().cast::<c_void>())];
        let labeler = Labeler::new(&options, true).context("libselinux refuses the policy")?;
        Ok(Self {
            labeler,
            _directory: directory,
        })
    }
}

impl Reference for Oracle {
    fn lookup(&mut self, path: &[u8], kind: FileKind) -> Result<Option<String>> {
        let path = CString::new(path)?;
        match self.labeler.look_up(&path, mode(kind)) {
            Ok(context) => {
                let context = context.to_c_string()?;
                Ok(context.map(|context| context.to_string_lossy().into_owned()))
            }
            Err(Error::IO { source, .. }) if is_not_found(&source) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("libselinux on {}", path.to_string_lossy()))
            }
        }
    }
}

fn is_not_found(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

/// The `S_IFMT` part of `st_mode`.
fn mode(kind: FileKind) -> c_int {
    let file_type = match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharacterDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
    };
    c_int::try_from(file_type.as_raw_mode()).expect("S_IFMT fits an int")
}
