//! What lies beside a commit: signatures, and what programs remember of it.

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::glib::VariantDict;

use super::Repo;
use crate::digest::Digest;

impl Repo {
    /// Puts texts beside a commit; what else lies there stays.
    ///
    /// # Errors
    /// The repo cannot be read or written to.
    pub fn add_detached_texts(&self, commit: Digest, texts: &[(&str, &str)]) -> Result<()> {
        let commit = commit.hex();
        let add = || {
            let found = self
                .inner
                .read_commit_detached_metadata(&commit, gio::Cancellable::NONE)?;
            let dictionary = VariantDict::new(found.as_ref());
            for (key, text) in texts {
                dictionary.insert(key, text);
            }
            self.inner.write_commit_detached_metadata(
                &commit,
                Some(&dictionary.end()),
                gio::Cancellable::NONE,
            )
        };
        add()
            .map_err(|error| self.explain(error))
            .with_context(|| format!("writing what lies beside the commit {commit}"))
    }
}
