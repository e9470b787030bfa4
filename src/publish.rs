//! Which refs an import moves.

use anyhow::{Context as _, Result, ensure};

use crate::contract::RefName;
use crate::digest::Digest;
use crate::repo::{Repo, Transaction};
use crate::source::SourceReference;

/// The branch in `repo` for the commit of `source`: the one asked for, else `import-oci/` and the
/// escaped name of the source, whoever vouches for it.
///
/// # Errors
/// It cannot be a ref there.
pub fn branch(repo: &Repo, asked_for: Option<&str>, source: &SourceReference) -> Result<String> {
    let Some(name) = asked_for else {
        let own = || {
            let branch = RefName::Import(source.image()).to_ref()?;
            repo.check_new_ref(&branch)?;
            anyhow::Ok(branch)
        };
        return own().context("naming a branch after the source; --write-ref names another");
    };
    // One of a set that has rules of its own: alone it makes other tools stumble over the repo.
    ensure!(
        !name.starts_with(CONTAINER_REFS),
        "{name:?} cannot be a branch: refs below {CONTAINER_REFS} say what images a repo has"
    );
    repo.check_new_ref(name)?;
    Ok(name.to_owned())
}

/// Where ostree-ext, bootc and rpm-ostree keep refs of images.
const CONTAINER_REFS: &str = "ostree/container/";

/// Lets `branch` point to `commit` when the transaction ends.
pub fn publish(transaction: &Transaction<'_>, branch: &str, commit: Digest) -> Result<()> {
    transaction.set_ref(branch, commit)
}
