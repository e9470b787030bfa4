//! `import-oci remove IMAGE…`: images leave a repo.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;

use super::repo::RepoArgs;
use super::table::{answer, print_unreadable};
use crate::images::answer::Removed;
use crate::images::remove;
use crate::repo::Repo;

/// Arguments of `remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The images, as `import-oci list` names them. Where the repo lacks one all stay.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    #[command(flatten)]
    repo: RepoArgs,

    /// Keep the layers that nothing needs any more.
    #[arg(long)]
    skip_gc: bool,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &RemoveArgs) -> Result<()> {
    let repo = Repo::open(&args.repo.repo)?;
    let removed = Removed::of(remove(&repo, &args.images, args.skip_gc)?);
    answer(&removed, args.json, |removed, out| {
        print(removed, "removed", out)?;
        writeln!(out, "`import-oci prune` frees the space")
    })
}

/// Prints what leaves, a line for each image and one for the layers.
pub fn print(removed: &Removed, verb: &str, out: &mut impl Write) -> io::Result<()> {
    for image in &removed.images {
        writeln!(out, "{verb} {image}")?;
    }
    let alone = |name: &&String| !removed.images.contains(name);
    for kept in removed.kept.iter().filter(alone) {
        writeln!(out, "{verb} the ref of ours that kept {kept}")?;
    }
    let layers = removed.layers.len();
    match layers {
        0 => {}
        1 => writeln!(out, "{verb} 1 layer")?,
        _ => writeln!(out, "{verb} {layers} layers")?,
    }
    print_unreadable(&removed.unreadable, out)
}
