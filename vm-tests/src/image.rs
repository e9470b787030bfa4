//! The images of the cases: recipes on top of a base image, by umoci, kept while nothing they are made
//! of changes.
//!
//! A recipe is a directory of shell scripts. Those named `base-*` make one layer each; every
//! `release-NAME` makes the last layer of an image with the tag NAME. So releases differ in that
//! layer alone, as the builds of an image do whose Containerfile changed at its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::command::{command, run};

/// Changes when an image of the same recipe and base would be another.
const FORMAT: &str = "1";

/// An image in an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The directory of the layout.
    pub layout: PathBuf,
    /// The tag of the image in it.
    pub tag: String,
}

/// The directory of an OCI layout with an image for each release of a recipe, on top of `base`. Builds
/// it if `cache` has none.
///
/// # Errors
/// A script of the recipe fails, or umoci does, or the cache cannot be written.
pub fn build(recipe: &Path, base: &Tagged, cache: &Path) -> Result<PathBuf> {
    let name = recipe.file_name().context("a recipe has a name")?.display();
    let scripts = scripts(recipe)?;
    let layout = cache.join(format!("vm-{name}-{}", key(&scripts, &base.layout)));
    fs::create_dir_all(cache)?;
    let lock = File::create(cache.join(".lock-vm"))?;
    lock.lock()?; // until it is closed
    if layout.exists() {
        return Ok(layout);
    }
    let work = tempfile::Builder::new()
        .prefix(".build-vm-")
        .tempdir_in(cache)?;
    let built = work.path().join("layout");
    run(command(["cp", "--recursive"]).arg(&base.layout).arg(&built))?;
    let names: Vec<_> = scripts.iter().map(|(name, _)| name.as_str()).collect();
    build_layers(&names, recipe, &base.tag, work.path())?;
    fs::rename(&built, &layout)?;
    Ok(layout)
}

/// The names of all releases of a recipe.
///
/// # Errors
/// The recipe cannot be read.
pub fn releases(recipe: &Path) -> Result<Vec<String>> {
    let names = scripts(recipe)?.into_iter().map(|(name, _)| name);
    Ok(names
        .filter_map(|name| name.strip_prefix("release-").map(str::to_owned))
        .collect())
}

/// The scripts and other files of a recipe, in the order in which they run.
fn scripts(recipe: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(recipe).with_context(|| format!("reading {}", recipe.display()))? {
        let entry = entry?;
        scripts.push((
            entry.file_name().to_string_lossy().into_owned(),
            fs::read(entry.path())?,
        ));
    }
    scripts.sort();
    Ok(scripts)
}

fn key(scripts: &[(String, Vec<u8>)], base: &Path) -> String {
    let mut hash = Sha256::new();
    // The name of the base holds the key of its own recipe.
    for part in [FORMAT.as_bytes(), base.as_os_str().as_encoded_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    for (name, content) in scripts {
        hash.update(name);
        hash.update([0]);
        hash.update(Sha256::digest(content));
    }
    hex::encode(&hash.finalize()[..8])
}

fn build_layers(names: &[&str], recipe: &Path, base: &str, work: &Path) -> Result<()> {
    let tag = |tag: &str| format!("{}:{tag}", work.join("layout").display());
    let bundle = work.join("bundle");
    let layer = |from: &str, script: &str, to: &str| -> Result<()> {
        run(command(["umoci", "unpack", "--image", &tag(from)]).arg(&bundle))?;
        run_inside(&bundle.join("rootfs"), recipe, script)?;
        run(command(["umoci", "repack", "--image", &tag(to)]).arg(&bundle))?;
        fs::remove_dir_all(&bundle)?;
        Ok(())
    };
    let mut below = base.to_owned();
    for script in names.iter().filter(|name| name.starts_with("base-")) {
        layer(&below, script, script).with_context(|| format!("running {script}"))?;
        below = (*script).to_owned();
    }
    let releases = names
        .iter()
        .filter_map(|name| Some((name, name.strip_prefix("release-")?)));
    for (script, release) in releases {
        let to = format!("release-{release}");
        layer(&below, script, &to).with_context(|| format!("running {script}"))?;
    }
    Ok(())
}

/// Runs a script of the recipe as a builder of containers does, with the recipe at `/run/recipe`: a copy,
/// because links in it lead out of it.
fn run_inside(root: &Path, recipe: &Path, script: &str) -> Result<()> {
    const SETUP: &str = "cd \"$1\"; for d in proc sys dev; do mount --rbind /$d $d; done; \
        mount -t tmpfs none run; cp -RL \"$2\" run/recipe; \
        exec chroot . sh -eu \"/run/recipe/$3\"";
    let mut inside = command([
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-euc",
        SETUP,
        "sh",
    ]);
    run(inside.arg(root).arg(recipe).arg(script)).map(drop)
}

/// Adds a layer to the image with this tag: `usr` of `tree`, which belongs to root whoever made it.
///
/// # Errors
/// umoci or tar fails.
pub fn add_layer(layout: &Path, tag: &str, tree: &Path) -> Result<()> {
    let layer = tempfile::NamedTempFile::new()?;
    let mut tar = command([
        "tar",
        "--create",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
    ]);
    run(tar
        .args(["--sort=name", "--mode=go-w"])
        .arg("--file")
        .arg(layer.path())
        .arg("--directory")
        .arg(tree)
        .arg("usr"))?;
    let image = format!("{}:{tag}", layout.display());
    run(command(["umoci", "raw", "add-layer", "--image", &image]).arg(layer.path())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_all_it_is_made_of() {
        let script = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
        let recipe = [script("base-1", "true"), script("release-1", "")];
        let one = key(&recipe, Path::new("demo-1"));
        assert_eq!(one, key(&recipe, Path::new("demo-1")));
        assert_ne!(one, key(&recipe, Path::new("demo-2")));
        assert_ne!(
            one,
            key(
                &[script("base-1", "true"), script("release-2", "")],
                Path::new("demo-1")
            )
        );
        assert_ne!(
            one,
            key(
                &[script("base-1", "false"), script("release-1", "")],
                Path::new("demo-1")
            )
        );
    }
}
