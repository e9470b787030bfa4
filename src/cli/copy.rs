//! `import-oci copy IMAGE --dest-repo REPO`: an image goes to another repo.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::repo::RepoArgs;
use super::table::answer;
use crate::images::answer::Sent;
use crate::images::{copy, find};
use crate::publish::Target;
use crate::repo::Repo;

/// Arguments of `copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The image, as `import-oci list` names it.
    image: String,

    #[command(flatten)]
    repo: RepoArgs,

    /// The repo to write to, which must be there.
    #[arg(long, value_name = "REPO")]
    dest_repo: PathBuf,

    /// The name of the image there, where it is another.
    #[arg(long, value_name = "IMAGE")]
    target_imgref: Option<Target>,

    /// Print one JSON object, instead of the commit.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CopyArgs) -> Result<()> {
    let source = Repo::open_for_reading(&args.repo.repo)?;
    let destination = Repo::open(&args.dest_repo)?;
    let (image, _) = find(&source, &args.image)?;
    let target = args.target_imgref.as_ref();
    let target = target.map_or(&image, |target| &target.image);
    let copied =
        copy(&source, &image, &destination, target).with_context(|| format!("copying {image}"))?;
    let sent = Sent::of(target, copied);
    answer(&sent, args.json, |sent, out| {
        writeln!(out, "{}", sent.commit)
    })
}
