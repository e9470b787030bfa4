//! `import-oci list`: which images does a repo hold?

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use indicatif::HumanBytes;

use super::repo::SystemArgs;
use super::table::{answer, date, print_table, print_unreadable, short, table};
use crate::images::answer::Listed;
use crate::repo::Repo;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    system: SystemArgs,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ListArgs) -> Result<()> {
    let (repo, sysroot) = args.system.open(Repo::open_for_reading)?;
    let listed = Listed::of(&repo, sysroot.as_ref())?;
    answer(&listed, args.json, print)
}

fn print(listed: &Listed, out: &mut impl Write) -> io::Result<()> {
    if !listed.images.is_empty() {
        let mut table = table([
            "image", "commit", "version", "created", "layers", "size", "deployed",
        ]);
        for image in &listed.images {
            table.add_row([
                &*image.image,
                short(&image.commit),
                image.image_version.as_deref().unwrap_or_default(),
                &date(image.timestamp),
                &image.layers.to_string(),
                &HumanBytes(image.size).to_string(),
                if image.deployed { "yes" } else { "" },
            ]);
        }
        print_table(&table, out)?;
    }
    for kept in &listed.kept {
        writeln!(
            out,
            "kept        {}  {}",
            kept.reference,
            short(&kept.commit)
        )?;
    }
    print_unreadable(&listed.unreadable, out)
}
