//! Commits from another repo on this machine.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::glib::VariantDict;

use super::Repo;
use crate::digest::Digest;

impl Repo {
    /// Brings commits and all that they need from `source` into this repo. No ref moves.
    ///
    /// # Errors
    /// `source` lacks a part of them, or this repo cannot take it.
    pub fn pull(&self, source: &Self, commits: &[Digest]) -> Result<()> {
        let commits: Vec<_> = commits.iter().map(Digest::hex).collect();
        let commits: Vec<&str> = commits.iter().map(String::as_str).collect();
        let options = VariantDict::new(None);
        options.insert("refs", &commits[..]);
        // A commit may say under which refs it is published; it gets others here.
        options.insert("disable-verify-bindings", true);
        // As libostree knows it: a path would have to be escaped, and may be relative.
        let address = format!(
            "file:///proc/self/fd/{}",
            source.inner.dfd_borrow().as_raw_fd()
        );
        self.inner
            .pull_with_options(&address, &options.end(), None, gio::Cancellable::NONE)
            .map_err(|error| self.explain(error))
            .with_context(|| {
                let (from, to) = (source.path.display(), self.path.display());
                format!("copying from the repo {from} to {to}")
            })
    }
}
