//! What a repo says: refs, the metadata of commits, and single files of theirs.

use std::collections::BTreeSet;
use std::io::Read as _;

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::gio::prelude::*;
use ostree::glib::{Variant, VariantDict};

use super::{Repo, TreeRoot};
use crate::contract::{RefName, metadata};
use crate::digest::Digest;

/// What a commit says.
#[derive(Debug)]
pub struct CommitMetadata {
    /// Its metadata, `a{sv}`.
    dictionary: Variant,
    /// The commit before it, if it has one.
    pub parent: Option<Digest>,
    /// Its tree.
    pub root: TreeRoot,
    /// Seconds since the epoch.
    pub timestamp: u64,
}

impl CommitMetadata {
    /// Is there such a key?
    pub fn has(&self, key: &str) -> bool {
        VariantDict::new(Some(&self.dictionary)).contains(key)
    }

    /// A text (`s`); `None` if the key is missing or of another type.
    pub fn text(&self, key: &str) -> Option<String> {
        VariantDict::new(Some(&self.dictionary)).lookup(key).ok()?
    }

    /// Does it say that an import of today's format wrote it?
    pub fn is_of_today(&self) -> bool {
        let today = metadata::importer_version(metadata::FORMAT);
        self.text(metadata::IMPORTER_VERSION) == Some(today)
    }

    /// Bytes (`ay`); `None` if the key is missing or of another type.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let value = VariantDict::new(Some(&self.dictionary)).lookup_value(key, None)?;
        value.fixed_array().ok().map(<[u8]>::to_vec)
    }
}

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
        let read = || {
            // Read as a GFile, one that does not lie in the repo as it is makes GLib complain.
            let file: &ostree::RepoFile = file.downcast_ref().context("it is of no commit")?;
            let (stream, ..) = self
                .inner
                .load_file(&file.checksum(), gio::Cancellable::NONE)?;
            let mut content = Vec::new();
            let stream = stream.context("it has no content")?;
            stream.into_read().read_to_end(&mut content)?;
            anyhow::Ok(content)
        };
        let content = read().with_context(|| format!("reading /{path} of {}", place()))?;
        Ok(Some(content))
    }

    /// The commit that a ref points to; `None`: there is no such ref.
    pub fn resolve(&self, name: &str) -> Result<Option<Digest>> {
        let commit = self
            .inner
            .resolve_rev(name, true)
            .with_context(|| format!("reading the ref {name:?}"))?;
        let commit = commit.map(|hex| Digest::from_hex(&hex));
        Ok(commit.transpose()?)
    }

    /// The names of the refs below `prefix`, of all where that is empty, in byte order, and the commits they point to.
    pub fn refs_below(&self, prefix: &str) -> Result<Vec<(String, Digest)>> {
        let refs = self
            .inner
            .list_refs_ext(
                Some(prefix).filter(|prefix| !prefix.is_empty()),
                ostree::RepoListRefsExtFlags::EXCLUDE_REMOTES,
                gio::Cancellable::NONE,
            )
            .with_context(|| format!("listing the refs of {}", self.path.display()))?;
        let mut refs = refs
            .into_iter()
            .map(|(name, commit)| Ok((name, Digest::from_hex(&commit)?)))
            .collect::<Result<Vec<_>>>()?;
        refs.sort_unstable();
        Ok(refs)
    }

    /// The commits of all images, which importers write: what such a commit says is not what an image says.
    ///
    /// # Errors
    /// The refs cannot be listed.
    pub fn image_commits(&self) -> Result<BTreeSet<Digest>> {
        let mut refs = self.refs_below(RefName::IMAGE_PREFIX)?;
        refs.extend(self.refs_below(&RefName::our_base_images())?);
        Ok(refs.into_iter().map(|(_, commit)| commit).collect())
    }

    /// A text of the metadata that lie beside a commit, not in it; `None` if there is no such text.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn detached_text(&self, commit: Digest, key: &str) -> Result<Option<String>> {
        let detached = self
            .inner
            .read_commit_detached_metadata(&commit.hex(), gio::Cancellable::NONE)
            .with_context(|| format!("reading what lies beside the commit {}", commit.hex()))?;
        let text = |detached| VariantDict::new(Some(&detached)).lookup(key).ok()?;
        Ok(detached.and_then(text))
    }

    /// What a commit says; `None` if the repo lacks it, or, as `ostree fsck` found, a part of it.
    pub fn commit_metadata(&self, commit: Digest) -> Result<Option<CommitMetadata>> {
        let loaded = match self.inner.load_commit(&commit.hex()) {
            Err(error) if error.matches(gio::IOErrorEnum::NotFound) => return Ok(None),
            loaded => loaded.with_context(|| format!("reading the commit {}", commit.hex()))?,
        };
        let (variant, state) = loaded;
        let whole = !state.contains(ostree::RepoCommitState::PARTIAL);
        whole.then(|| of_variant(&variant)).transpose()
    }
}

/// Reads `(a{sv}aya(say)sstayay)`.
fn of_variant(commit: &Variant) -> Result<CommitMetadata> {
    let digest = |index| {
        let bytes = commit.child_value(index);
        let bytes = bytes.fixed_array().ok().and_then(|b| b.try_into().ok());
        anyhow::Ok(Digest::from_bytes(
            bytes.context("a commit names its tree")?,
        ))
    };
    let parent = ostree::commit_get_parent(commit);
    Ok(CommitMetadata {
        dictionary: commit.child_value(0),
        parent: parent.map(|hex| Digest::from_hex(&hex)).transpose()?,
        root: TreeRoot {
            dirtree: digest(6)?,
            dirmeta: digest(7)?,
        },
        timestamp: ostree::commit_get_timestamp(commit),
    })
}
