//! What a commit holds.

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::gio::prelude::*;

use super::Repo;

impl Repo {
    /// The content of the file `path` of a commit, which is a ref or a checksum. No link is followed.
    /// `None`: no regular file is there.
    ///
    /// # Errors
    /// There is no such commit, or it cannot be read.
    pub fn read_file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let place = || format!("the commit {commit} of the repo {}", self.path.display());
        let (root, _) = self
            .inner
            .read_commit(commit, gio::Cancellable::NONE)
            .with_context(place)?;
        let file = root.resolve_relative_path(path);
        let no_links = gio::FileQueryInfoFlags::NOFOLLOW_SYMLINKS;
        if file.query_file_type(no_links, gio::Cancellable::NONE) != gio::FileType::Regular {
            return Ok(None);
        }
        let (content, _) = file
            .load_contents(gio::Cancellable::NONE)
            .with_context(|| format!("reading /{path} of {}", place()))?;
        Ok(Some(content.to_vec()))
    }
}
