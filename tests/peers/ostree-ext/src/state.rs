//! `query REPO IMAGE`: what is known of an image of the repo. `prepare REPO OSTREE-IMAGE`: what a pull
//! would do. Both print one JSON object.

use anyhow::{Context as _, Result};
use ostree_ext::cli::{parse_base_imgref, parse_imgref, parse_repo};
use ostree_ext::container::store::{
    ImageImporter, LayeredImageState, ManifestLayerState, PrepareResult, query_image,
};
use serde_json::{Value, json};

pub fn query(repo: &str, image: &str) -> Result<()> {
    let image = parse_base_imgref(image)?;
    let state = query_image(&parse_repo(repo.into())?, &image)?.context("no such image")?;
    println!("{}", described(&state));
    Ok(())
}

pub async fn prepare(repo: &str, image: &str) -> Result<()> {
    let repo = parse_repo(repo.into())?;
    let mut importer = ImageImporter::new(&repo, &parse_imgref(image)?, Default::default()).await?;
    let answer = match importer.prepare().await? {
        PrepareResult::AlreadyPresent(state) => json!({"present": described(&state)}),
        PrepareResult::Ready(import) => json!({
            "base": layer(&import.ostree_commit_layer),
            "chunks": import.ostree_layers.iter().map(layer).collect::<Value>(),
            "derived": import.layers.iter().map(layer).collect::<Value>(),
        }),
    };
    println!("{answer}");
    Ok(())
}

fn described(state: &LayeredImageState) -> Value {
    json!({
        "base_commit": state.base_commit,
        "merge_commit": state.merge_commit,
        "manifest_digest": state.manifest_digest.to_string(),
        "manifest": state.manifest,
        "config": state.configuration,
        "version": state.version(),
        "update": state.cached_update.as_ref().map(|update| update.manifest_digest.to_string()),
    })
}

/// Its digest, and the commit that stands for it if it need not be fetched.
fn layer(state: &ManifestLayerState) -> Value {
    json!({"digest": state.layer().digest().to_string(), "commit": state.commit})
}
