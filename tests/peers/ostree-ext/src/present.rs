//! Is an image in a repo, as those ask who deploy it?

use anyhow::{Result, bail};
use ostree_ext::cli::parse_repo;
use ostree_ext::container::OstreeImageReference;
use ostree_ext::container::store::{ImageImporter, PrepareResult};

/// Prints the commit of `image` in `repo`, which ostree-ext takes instead of importing the image; fails
/// if it would import it.
pub async fn run(repo: &str, image: &str) -> Result<()> {
    let repo = parse_repo(repo.into())?;
    let image = OstreeImageReference::try_from(image)?;
    let mut importer = ImageImporter::new(&repo, &image, Default::default()).await?;
    match importer.prepare().await? {
        PrepareResult::AlreadyPresent(state) => println!("{}", state.merge_commit),
        PrepareResult::Ready(_) => bail!("{image} would be imported"),
    }
    Ok(())
}
