//! The commit of an image in the repo and, where it is signed, the commit that carries the
//! signatures.
//!
//! Signatures lie beside a commit, in its detached metadata. Who looks for an update of an image
//! with `bootc upgrade --check` writes that of the image's commit anew, and they would be gone.
//! Therefore a commit of the same tree that says nothing of the image is signed, the base, and the
//! image's commit is its child. The base says what users of plain ostree want, and they can verify
//! it; the child names the checksum of the base, which no signature changes, and so is the same
//! whoever signs.

use anyhow::{Context as _, Result};

use crate::commit::CommitText;
use crate::digest::Digest;
use crate::repo::{CommitMetadata, CommitSpec, Signers, Transaction, TreeRoot};

/// What was written for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCommit {
    /// The commit that is the image.
    pub commit: Digest,
    /// The signed commit, its parent; `None` where none was asked for.
    pub base: Option<Digest>,
    /// The layer that it is itself, see [`CommitText::only_layer`].
    pub only_layer: Option<Digest>,
    /// Was the base signed now, and not before?
    pub signed: bool,
}

impl ImageCommit {
    /// A commit that is there and that nothing was signed for.
    pub fn unsigned(commit: Digest) -> Self {
        Self {
            commit,
            base: None,
            only_layer: None,
            signed: false,
        }
    }
}

/// Writes the commit of an image whose tree was written, signed by all of `signers`.
///
/// # Errors
/// As [`Transaction::write_commit`] and [`Transaction::sign`].
pub fn write(
    transaction: &Transaction<'_>,
    root: TreeRoot,
    text: &CommitText,
    signers: &Signers,
) -> Result<ImageCommit> {
    let write = |parent, metadata: &[_]| {
        transaction.write_commit(&CommitSpec {
            root,
            parent,
            metadata,
            timestamp: text.timestamp,
        })
    };
    let (mut base, mut signed) = (None, false);
    if !signers.is_empty() {
        let commit = write(None, &text.metadata.clone().into_base_entries())?;
        signed = transaction.sign(commit, signers)?;
        base = Some(commit);
    }
    Ok(ImageCommit {
        commit: write(base, &text.metadata.clone().into_entries())?,
        base,
        only_layer: text.only_layer,
        signed,
    })
}

/// The commit that [`write()`] would give for an image that is here as `commit`, which says `found`:
/// that very commit, unless the one is signed and the other is not. Nothing of the image is read.
///
/// # Errors
/// As [`write()`].
pub fn present(
    transaction: &Transaction<'_>,
    commit: Digest,
    found: &CommitMetadata,
    signers: &Signers,
) -> Result<ImageCommit> {
    if signers.is_empty() && found.parent.is_none() {
        return Ok(ImageCommit::unsigned(commit));
    }
    let text = CommitText::of_commit(found)
        .with_context(|| format!("the commit {} is none of an image", commit.hex()))?;
    write(transaction, found.root, &text, signers)
}
