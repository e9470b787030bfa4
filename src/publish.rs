//! Which refs an import moves.

use anyhow::{Context as _, Result};

use crate::contract::RefName;
use crate::digest::Digest;
use crate::repo::{Repo, Transaction};
use crate::source::SourceReference;

/// The branch in `repo` for the commit of `source`: the one asked for, else `import-oci/` and the
/// escaped name of the source.
///
/// # Errors
/// It cannot be a ref there.
pub fn branch(repo: &Repo, asked_for: Option<&str>, source: &SourceReference) -> Result<String> {
    let branch = match asked_for {
        Some(name) => name.to_owned(),
        None => RefName::Import(source.to_string())
            .to_ref()
            .context("naming a branch after the source; --write-ref names another")?,
    };
    repo.check_new_ref(&branch)?;
    Ok(branch)
}

/// Lets `branch` point to `commit` when the transaction ends.
pub fn publish(transaction: &Transaction<'_>, branch: &str, commit: Digest) -> Result<()> {
    transaction.set_ref(branch, commit)
}
