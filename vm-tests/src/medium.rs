//! A second disk that carries an image to a guest, as a stick carries it to a machine without a network.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{command, run};
use crate::image::Tagged;

/// Bytes of the disk, which is sparse.
const SIZE: u64 = 2 << 30;

/// The label of its file system, by which a guest mounts it.
pub const LABEL: &str = "medium";

/// Writes a disk with the layout of `known`, but without the layers of that image: a guest that has it and
/// asks for one of those finds nothing.
///
/// # Errors
/// The image is not in the layout, or the disk cannot be written.
pub fn create(file: PathBuf, known: &Tagged) -> Result<PathBuf> {
    let work = tempfile::tempdir()?;
    let layout = work.path().join("layout");
    run(command(["cp", "--recursive", "--reflink=auto"])
        .arg(&known.layout)
        .arg(&layout))?;
    for digest in layers(&layout, &known.tag)? {
        fs::remove_file(blob(&layout, &digest)?)?;
    }
    File::create(&file)?.set_len(SIZE)?;
    run(command(["mkfs.ext4", "-q", "-L", LABEL, "-m", "0", "-d"])
        .arg(&layout)
        .arg(&file))?;
    Ok(file)
}

/// The digests of the layers of an image.
fn layers(layout: &Path, tag: &str) -> Result<BTreeSet<String>> {
    let index = json(&layout.join("index.json"))?;
    let manifests = index["manifests"].as_array().into_iter().flatten();
    let digest = manifests
        .filter(|m| m["annotations"]["org.opencontainers.image.ref.name"] == tag)
        .find_map(|m| m["digest"].as_str())
        .with_context(|| format!("{} has no image {tag}", layout.display()))?;
    let manifest = json(&blob(layout, digest)?)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    Ok(layers
        .filter_map(|layer| layer["digest"].as_str().map(str::to_owned))
        .collect())
}

fn blob(layout: &Path, digest: &str) -> Result<PathBuf> {
    let (algorithm, hash) = digest.split_once(':').context("a digest has two parts")?;
    Ok(layout.join("blobs").join(algorithm).join(hash))
}

fn json(file: &Path) -> Result<Value> {
    let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(serde_json::from_slice(&content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_those_of_the_image_with_the_tag() -> Result<()> {
        let layout = tempfile::tempdir()?;
        let blobs = layout.path().join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let manifest = |tag: &str| {
            serde_json::json!({"digest": format!("sha256:{tag}"),
                "annotations": {"org.opencontainers.image.ref.name": tag}})
        };
        let index = serde_json::json!({"manifests": [manifest("one"), manifest("two")]});
        fs::write(layout.path().join("index.json"), index.to_string())?;
        for tag in ["one", "two"] {
            let layers = serde_json::json!({"layers": [
                {"digest": "sha256:shared"}, {"digest": format!("sha256:of-{tag}")}]});
            fs::write(blobs.join(tag), layers.to_string())?;
        }
        let expected = ["sha256:of-two", "sha256:shared"].map(str::to_owned);
        assert_eq!(layers(layout.path(), "two")?, BTreeSet::from(expected));
        assert!(layers(layout.path(), "three").is_err());
        Ok(())
    }
}
