//! `layer REPO REF TAR`: commits one uncompressed layer that is none of a base, as a pull does.

use anyhow::Result;
use ostree_ext::cli::parse_repo;
use ostree_ext::oci_spec::image::MediaType;
use ostree_ext::tar::{WriteTarOptions, write_tar};

pub async fn run(repo: &str, reference: &str, tar: &str) -> Result<()> {
    let mut options = WriteTarOptions::default();
    options.allow_nonusr = true;
    options.retain_var = true;
    let written = write_tar(
        &parse_repo(repo.into())?,
        tokio::fs::File::open(tar).await?,
        MediaType::ImageLayer,
        reference,
        Some(options),
    )
    .await?;
    println!("{}", written.commit);
    Ok(())
}
