//! `import-oci deploy IMAGE`: what the system boots next.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use indicatif::HumanCount;

use super::import::{self, CommitArgs};
use super::progress::Bar;
use super::{OutputArgs, table};
use crate::deploy::{self, DeployOptions, Deployed, Place};
use crate::publish;
use crate::repo::{Repo, Sysroot};
use crate::source::{Source, SourceReference};

/// Arguments of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    #[command(flatten)]
    commit: CommitArgs,

    /// The physical root of the system, which has ostree/repo and boot.
    #[arg(long, value_name = "PATH", default_value = "/")]
    sysroot: PathBuf,

    /// The stateroot (ostree calls it an OS) [default: that of what runs, else the only one, else
    /// `default`].
    #[arg(long, value_name = "NAME")]
    stateroot: Option<String>,

    /// Make the stateroot if there is none, as `ostree admin os-init` does.
    #[arg(long)]
    init: bool,

    /// Append a kernel argument to those of the deployment before; may be given several times.
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = deploy::parse_argument)]
    karg: Vec<String>,

    /// Leave out one of those; may be given several times.
    #[arg(long, value_name = "KEY[=VALUE]")]
    karg_delete: Vec<String>,

    /// Keep all earlier deployments of the stateroot, and not only what runs and what was next.
    #[arg(long, conflicts_with = "stage")]
    retain: bool,

    /// Let the running system finish the deployment when it shuts down, with what /etc is then.
    #[arg(long)]
    stage: bool,

    /// Print one JSON object, instead of the name of the deployment.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DeployArgs, output: OutputArgs) -> Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "deploying needs root; an import alone into a repo of mode bare-user or archive does not"
    );
    let options = DeployOptions {
        stateroot: args.stateroot.clone(),
        init: args.init,
        append: args.karg.clone(),
        delete: args.karg_delete.clone(),
        arguments: None,
        retain: args.retain,
        stage: args.stage,
    };
    // Before there are threads: they see the mounts of the moment they start.
    let sysroot = Sysroot::open_to_change(&args.sysroot).context(NO_SYSTEM)?;
    let (reference, source) = args.commit.open()?;
    let deployed = deploy(
        &sysroot,
        &args.commit,
        (&reference, source),
        &options,
        output,
    )?;
    table::answer(&deployed, args.json, |deployed, out| {
        writeln!(out, "{}", deployed.deployment)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong where a system cannot be opened.
pub const NO_SYSTEM: &str = "--sysroot names a system as `ostree admin init-fs` makes it";

/// Imports and deploys, and says so.
pub fn deploy(
    sysroot: &Sysroot,
    commit: &CommitArgs,
    (reference, source): (&SourceReference, Source),
    options: &DeployOptions,
    output: OutputArgs,
) -> Result<Deployed> {
    let place = Place::find(sysroot, options)?;
    let repo = Repo::open(&sysroot.repo_path())?;
    let import_options = commit.options(&repo, &source)?;
    let origin = publish::origin(reference, &import_options.refs)?;
    let imported = import::import_and_tell(
        &repo,
        reference,
        source,
        &import_options,
        output,
        &Bar::new(output.quiet),
    )?;
    let deployed = place
        .deploy(&repo, &imported, &origin, options)
        .with_context(|| format!("the import is done; deploying {reference}"))?;
    if !output.quiet {
        // What boots has changed: a report that nobody can read does not undo it.
        print(&deployed, &mut io::stderr().lock()).ok();
    }
    Ok(deployed)
}

/// Prints what was deployed.
fn print(deployed: &Deployed, out: &mut impl Write) -> io::Result<()> {
    let when = match deployed.staged {
        true => "staged: it boots once this system has shut down",
        false => "boots next",
    };
    let Deployed {
        stateroot, path, ..
    } = deployed;
    writeln!(out, "deployed  {path} of {stateroot}, {when}")?;
    writeln!(out, "origin    {}", deployed.origin)?;
    writeln!(out, "arguments {}", deployed.arguments)?;
    let count = |n: usize| HumanCount(n as u64);
    if let Some(labelled) = &deployed.labelled {
        writeln!(
            out,
            "labels    policy {}: {} of /etc and {} of /var had none from libostree",
            labelled.policy,
            count(labelled.etc),
            count(labelled.var),
        )?;
    }
    if let [first, ..] = &*deployed.var_missing {
        writeln!(
            out,
            "warning   the host's /var will lack {first}{} of the commit: libostree 2024.3 and newer copy it, on \
             the first deployment only; --var=tmpfiles, the default, brings all of it",
            match deployed.var_missing.len() - 1 {
                0 => String::new(),
                others => format!(" and {} more", count(others)),
            }
        )?;
    }
    Ok(())
}
