//! `import-oci rebase IMAGE`: a running system boots it next, and whoever keeps the system knows.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::OutputArgs;
use super::deploy::{NO_SYSTEM, deploy};
use super::import::{CommitArgs, import_and_tell};
use crate::contract::OstreeImageReference;
use crate::deploy::DeployOptions;
use crate::publish::{self, Target};
use crate::rebase::{self, Facts, is_program, owner, owner_command, quoted};
use crate::repo::{Repo, Sysroot};
use crate::source::Source;

/// Arguments of `rebase`.
#[derive(Debug, Args)]
pub struct RebaseArgs {
    #[command(flatten)]
    commit: CommitArgs,

    /// The physical root of the system.
    #[arg(long, value_name = "PATH", default_value = "/")]
    sysroot: PathBuf,

    /// Print the commands that do it, and do nothing.
    #[arg(long)]
    print: bool,
}

pub fn run(args: &RebaseArgs, output: OutputArgs) -> Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    ensure!(
        is_root || args.print,
        "changing what boots needs root; --print does not"
    );
    // Before there are threads: they see the mounts of the moment they start.
    let open = match args.print {
        true => Sysroot::open,
        false => Sysroot::open_to_change,
    };
    let sysroot = open(&args.sysroot).context(NO_SYSTEM)?;
    let (typed, source) = args.commit.open()?;
    let reference = rebase::absolute(typed.clone())?;
    let refs = args.commit.refs();
    let image = publish::origin(&reference, &refs)?;

    // The mounts become writable, and what is deployed is read.
    let lock = (!args.print).then(|| sysroot.lock()).transpose()?;
    let origin = sysroot.current_origin().with_context(|| {
        let system = sysroot.path().display();
        format!("nothing is deployed in {system}: `import-oci deploy` begins")
    })?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let owner = owner(&Facts {
        origin: &origin,
        bootc: is_program("bootc", &path),
        rpm_ostree: is_program("rpm-ostree", &path),
    })?;
    let command = owner_command(owner, &image)?;
    let is_booted = sysroot.booted_stateroot().is_some();
    // Whoever keeps the system locks it, too.
    drop(lock);

    if let Some(words) = &command {
        let program = &words[0];
        ensure!(
            !refs.no_image,
            "--no-imgref: {program} would not find the image in the repo"
        );
        ensure_same(&args.commit, &source, &image, program)?;
    }
    if args.print {
        let renamed = refs.target.is_none() && publish::origin(&typed, &refs)? != image;
        let target = renamed.then_some(&image);
        return print(&sysroot, command.as_deref(), target, is_booted);
    }
    let Some(words) = command else {
        let options = DeployOptions {
            stage: is_booted,
            ..DeployOptions::default()
        };
        let deployed = deploy(
            &sysroot,
            &args.commit,
            (&reference, source),
            &options,
            output,
        )?;
        return Ok(writeln!(io::stdout(), "{}", deployed.deployment)?);
    };
    let repo = Repo::open(&sysroot.repo_path())?;
    let mut options = args.commit.options(&repo, &source)?;
    options.refs.target = Some(Target {
        image: image.imgref.clone(),
        trust: None,
    });
    import_and_tell(&repo, &reference, source, &options, output)?;
    let status = Command::new(&words[0]).args(&words[1..]).status();
    let line = quoted(&words);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("the import is done; {line}: {status}"),
        Err(error) => Err(error).with_context(|| format!("the import is done; running {line}")),
    }
}

/// Is what is imported the very image that `program` will look at? It would import another anew.
fn ensure_same(
    commit: &CommitArgs,
    source: &Source,
    image: &OstreeImageReference,
    program: &str,
) -> Result<()> {
    let Source::Image(source) = source else {
        bail!("{program} has no name for an unpacked root; `import-oci deploy` deploys one");
    };
    let Some((target, Source::Image(there))) = commit.open_target()? else {
        return Ok(());
    };
    let platform = commit.platform();
    let ours = source.resolve(&platform)?.manifest_digest;
    let theirs = there
        .resolve(&platform)
        .with_context(|| format!("{program} will look at {target}"))?
        .manifest_digest;
    ensure!(
        ours == theirs,
        "{program} will look at {}, where the image is {theirs} and not {ours}: push it there first",
        image.imgref
    );
    Ok(())
}

/// Prints the commands; `target` is a name that the import would not give by itself.
fn print(
    sysroot: &Sysroot,
    command: Option<&[String]>,
    target: Option<&OstreeImageReference>,
    is_booted: bool,
) -> Result<()> {
    let text = |path: &Path| path.display().to_string();
    let typed: Vec<_> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .skip_while(|word| word != "rebase")
        .skip(1)
        .collect();
    let mut import = vec!["import-oci".to_owned()];
    match command {
        Some(_) => import.extend(["--repo".to_owned(), text(&sysroot.repo_path())]),
        None => {
            import.extend(["deploy", "--sysroot"].map(str::to_owned));
            import.push(text(sysroot.path()));
            import.extend(is_booted.then(|| "--stage".to_owned()));
        }
    }
    if let Some(target) = target {
        import.extend(["--target-imgref".to_owned(), target.imgref.to_string()]);
    }
    import.extend(rebase::import_words(&typed));
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", quoted(&import))?;
    if let Some(command) = command {
        writeln!(stdout, "{}", quoted(command))?;
    }
    Ok(stdout.flush()?)
}
