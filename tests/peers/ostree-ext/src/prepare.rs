//! `prepare`: what would a pull do?

use std::path::Path;

use anyhow::Result;
use ostree_ext::container::OstreeImageReference;
use ostree_ext::container::store::{ImageImporter, PrepareResult};
use ostree_ext::{gio, ostree};

/// Prepares a pull of `image` into `repo`. Prints the commit if the image is there already, else
/// `missing`.
pub async fn run(repo: &str, image: &str) -> Result<()> {
    let repo = ostree::Repo::new_for_path(Path::new(repo));
    repo.open(gio::Cancellable::NONE)?;
    let image: OstreeImageReference = image.parse()?;
    let mut importer = ImageImporter::new(&repo, &image, Default::default()).await?;
    match importer.prepare().await? {
        PrepareResult::AlreadyPresent(state) => println!("{}", state.merge_commit),
        PrepareResult::Ready(_) => println!("missing"),
    }
    Ok(())
}
