//! `import-oci --repo REPO SOURCE`: the main job.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::progress::Bar;
use super::{OutputArgs, SourceArgs, TreeArgs, import_options, summary};
use crate::import::{ImportOptions, import};
use crate::outcome::Imported;
use crate::packages::AccountDatabase;
use crate::publish::{RefOptions, Target};
use crate::repo::{Mode, Repo};
use crate::source::{self, Platform, Source, SourceReference};

/// Which commit an image becomes, and what it is called.
#[derive(Debug, Args)]
pub struct CommitArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Let this branch point to the commit, besides the refs that say which image it is.
    #[arg(long, value_name = "BRANCH")]
    write_ref: Option<String>,

    /// The image by which ostree, bootc and rpm-ostree find the commit, where it is not the source:
    /// docker://quay.io/os/image:tag, or with ostree-unverified-image: and the like before it.
    #[arg(long, value_name = "IMAGE")]
    target_imgref: Option<Target>,

    /// Write no ref by which ostree, bootc and rpm-ostree take the commit for an image.
    #[arg(long, conflicts_with = "target_imgref")]
    no_imgref: bool,

    /// Write one commit, and none for the layers of the image. It takes less space; an update has
    /// all to read again.
    #[arg(long)]
    squash: bool,

    /// Date of the commit of an unpacked root, in seconds since the epoch [default:
    /// SOURCE_DATE_EPOCH, else its newest modification time]. Images have a date of their own.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=LATEST))]
    timestamp: Option<u64>,

    /// Keep the numbers that users and groups had in this commit: a branch or checksum of the repo.
    #[arg(long, value_name = "REF")]
    ids_from: Option<String>,

    #[command(flatten)]
    tree: TreeArgs,
}

impl CommitArgs {
    /// Opens the image.
    pub fn open(&self) -> Result<(SourceReference, Source)> {
        self.source.open()
    }

    /// Which image of an index is meant.
    pub fn platform(&self) -> Platform {
        self.source.platform()
    }

    /// Which refs move.
    pub fn refs(&self) -> RefOptions {
        RefOptions {
            write_ref: self.write_ref.clone(),
            target: self.target_imgref.clone(),
            no_image: self.no_imgref,
        }
    }

    /// Opens the image by another name, where it is said to have one.
    pub fn open_target(&self) -> Result<Option<(SourceReference, Source)>> {
        let target = self.target_imgref.as_ref();
        let open =
            |target: &Target| source::open(&target.image.to_string(), &self.source.fetch.options());
        target.map(open).transpose()
    }

    /// How `source` is imported into `repo`.
    pub fn options(&self, repo: &Repo, source: &Source) -> Result<ImportOptions> {
        let mut options = ImportOptions {
            squash: self.squash,
            refs: self.refs(),
            timestamp: timestamp(self.timestamp, source)?,
            ..import_options(&self.source, &self.tree)?
        };
        if let Some(earlier) = &self.ids_from {
            options.fixups.earlier_accounts = Some(accounts_of(repo, earlier)?);
        }
        Ok(options)
    }
}

/// Arguments of an import.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    commit: CommitArgs,

    /// The repo to write to.
    #[arg(long, env = "OSTREE_REPO", default_value = "/sysroot/ostree/repo")]
    repo: PathBuf,

    /// Make the repo if there is none: bare (the default, needs root), bare-user or archive.
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "bare")]
    init: Option<Mode>,

    /// Exit with 77 if the repo holds the very commit under all its refs already.
    #[arg(long)]
    unchanged_exit_77: bool,

    /// Print one JSON object with everything that was done, instead of the commit.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ImportArgs, output: OutputArgs) -> Result<ExitCode> {
    let (reference, source) = args.commit.open()?;
    let repo = match args.init {
        Some(mode) => Repo::init(&args.repo, mode)?,
        None => Repo::open(&args.repo)?,
    };
    let options = args.commit.options(&repo, &source)?;
    let imported = import_and_tell(&repo, &reference, source, &options, output)?;
    let answer = match args.json {
        true => serde_json::to_string(&imported)?,
        false => imported.commit.clone(),
    };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{answer}")
        .and_then(|()| stdout.flush())
        .with_context(|| {
            let commit = &imported.commit;
            let name = imported.refs.last().map_or("the commit", String::as_str);
            format!("the import is done and {name} is {commit}, which cannot be printed")
        })?;
    Ok(match args.unchanged_exit_77 && imported.unchanged {
        true => ExitCode::from(77),
        false => ExitCode::SUCCESS,
    })
}

/// Imports, and tells what was done on standard error.
pub fn import_and_tell(
    repo: &Repo,
    reference: &SourceReference,
    source: Source,
    options: &ImportOptions,
    output: OutputArgs,
) -> Result<Imported> {
    let bar = Bar::new(output.quiet);
    let imported = import(repo, reference, source, options, &bar)
        .with_context(|| format!("importing {reference}"))?;
    if !output.quiet {
        // The refs have moved: a report that nobody can read does not undo it.
        summary::print(&imported, output.verbose > 0, &mut io::stderr().lock()).ok();
    }
    Ok(imported)
}

/// The users and groups of a commit.
fn accounts_of(repo: &Repo, commit: &str) -> Result<AccountDatabase> {
    let mut accounts = AccountDatabase::default();
    for directory in ["usr/etc", "usr/lib"] {
        let file = |name| repo.read_file(commit, &format!("{directory}/{name}"));
        accounts.add_passwd(&file("passwd")?.unwrap_or_default());
        accounts.add_group(&file("group")?.unwrap_or_default());
    }
    ensure!(
        !accounts.users().is_empty(),
        "--ids-from: {commit} has no users"
    );
    Ok(accounts)
}

/// The latest date in all time zones that RFC 3339 can write: 9999-12-30T22:00:00Z.
const LATEST: u64 = 253_402_207_200;

/// The date that the user wants for an unpacked root. An image has its own, which a variable that
/// is set for other programs does not change, and which an option must not.
fn timestamp(asked_for: Option<u64>, source: &Source) -> Result<Option<u64>> {
    if matches!(source, Source::Image(_)) {
        ensure!(
            asked_for.is_none(),
            "--timestamp is for unpacked roots; an image has a date of its own"
        );
        return Ok(None);
    }
    match std::env::var("SOURCE_DATE_EPOCH") {
        _ if asked_for.is_some() => Ok(asked_for),
        Ok(text) if !text.is_empty() => {
            let seconds = text.parse().ok().filter(|&seconds| seconds <= LATEST);
            let invalid = || format!("SOURCE_DATE_EPOCH is {text:?}, not seconds since the epoch");
            seconds.with_context(invalid).map(Some)
        }
        _ => Ok(None),
    }
}
