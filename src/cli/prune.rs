//! `import-oci prune`: what no deployment needs leaves a repo.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use super::remove;
use super::repo::{SystemArgs, open_to_change};
use super::table::answer;
use crate::images::answer::{Pruned, Removed};
use crate::images::{self, PruneOptions};
use crate::repo::Repo;

/// Arguments of `prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    system: SystemArgs,

    /// Remove what was imported and never deployed, too; without a system, every image that no
    /// ref of a deployment points to.
    #[arg(long)]
    undeployed: bool,

    /// Change nothing; tell what would leave.
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PruneArgs) -> Result<()> {
    let open = match args.dry_run {
        true => Repo::open_for_reading,
        false => open_to_change,
    };
    let (repo, sysroot) = args.system.open(open)?;
    let options = PruneOptions {
        undeployed: args.undeployed,
        dry_run: args.dry_run,
        ..PruneOptions::default()
    };
    let (leaving, objects) = images::prune(&repo, sysroot.as_ref(), options)?;
    let pruned = Pruned {
        removed: Removed::of(leaving),
        objects,
        dry_run: args.dry_run,
    };
    answer(&pruned, args.json, print)
}

fn print(pruned: &Pruned, out: &mut impl Write) -> io::Result<()> {
    let verb = if pruned.dry_run {
        "would remove"
    } else {
        "removed"
    };
    remove::print(&pruned.removed, verb, out)?;
    let objects = &pruned.objects;
    writeln!(
        out,
        "{verb} {} of {} objects, {}",
        HumanCount(objects.removed),
        HumanCount(objects.total),
        HumanBytes(objects.bytes)
    )
}
