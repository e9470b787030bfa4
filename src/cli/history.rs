//! `import-oci history IMAGE`: how did the layers of an image come to be?

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use indicatif::HumanBytes;

use super::repo::RepoArgs;
use super::table::{answer, print_table, short, table};
use crate::images::answer::Historied;
use crate::images::find;
use crate::repo::Repo;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The image, as `import-oci list` names it.
    image: String,

    #[command(flatten)]
    repo: RepoArgs,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &HistoryArgs) -> Result<()> {
    let repo = Repo::open_for_reading(&args.repo.repo)?;
    let (image, state) = find(&repo, &args.image)?;
    let historied = Historied::of(&repo, &image, &state)?;
    answer(&historied, args.json, print)
}

fn print(historied: &Historied, out: &mut impl Write) -> io::Result<()> {
    let mut table = table(["id", "size", "created", "created by"]);
    for layer in &historied.layers {
        let created_by = layer.created_by.as_deref().unwrap_or_default();
        table.add_row([
            short(&layer.digest),
            &HumanBytes(layer.size).to_string(),
            layer.created.as_deref().unwrap_or_default(),
            &super::one_line(created_by),
        ]);
    }
    print_table(&table, out)
}
