//! `import-oci --repo REPO SOURCE`: the main job.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::progress::Bar;
use super::{OutputArgs, SourceArgs, TreeArgs, import_options, summary};
use crate::import::{ImportOptions, import};
use crate::repo::{Mode, Repo};

/// Arguments of an import.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The repo to write to.
    #[arg(long, env = "OSTREE_REPO", default_value = "/sysroot/ostree/repo")]
    repo: PathBuf,

    /// Make the repo if there is none: bare (the default, needs root), bare-user or archive.
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "bare")]
    init: Option<Mode>,

    /// Let this branch point to the commit, instead of import-oci/ and the name of the source.
    #[arg(long, value_name = "BRANCH")]
    write_ref: Option<String>,

    /// Print one JSON object with everything that was done, instead of the commit.
    #[arg(long)]
    json: bool,

    /// Date of the commit of an unpacked root, in seconds since the epoch [default: its newest
    /// modification time]. Images have a date of their own.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    timestamp: Option<u64>,

    #[command(flatten)]
    tree: TreeArgs,
}

pub fn run(args: &ImportArgs, output: OutputArgs) -> Result<()> {
    let (reference, source) = args.source.open()?;
    let repo = match args.init {
        Some(mode) => Repo::init(&args.repo, mode)?,
        None => Repo::open(&args.repo)?,
    };
    let options = ImportOptions {
        write_ref: args.write_ref.clone(),
        timestamp: args.timestamp,
        ..import_options(&args.source, &args.tree)?
    };
    let bar = Bar::new(output.quiet);
    let imported = import(&repo, &reference, source, &options, &bar)
        .with_context(|| format!("importing {reference}"))?;

    if !output.quiet {
        // The refs have moved: a report that nobody can read does not undo it.
        summary::print(&imported, output.verbose > 0, &mut io::stderr().lock()).ok();
    }
    let answer = match args.json {
        true => serde_json::to_string(&imported)?,
        false => imported.commit.clone(),
    };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{answer}")
        .and_then(|()| stdout.flush())
        .with_context(|| {
            let (branch, commit) = (&imported.branch, &imported.commit);
            format!("the import is done and {branch} is {commit}, which cannot be printed")
        })
}
