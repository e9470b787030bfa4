//! The command line: one file a verb. Nothing else prints.

mod check;
mod copy;
mod deploy;
mod history;
mod import;
mod inspect;
mod labels;
mod list;
pub mod logging;
mod progress;
mod progress_lines;
mod prune;
mod rebase;
mod remove;
mod repo;
mod signing;
mod summary;
mod table;

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{ArgAction, Args, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::time::uptime;

use crate::fixup::{self, FixupOptions};
use crate::import::ImportOptions;
use crate::publish::RefOptions;
use crate::repo::SigningKeys;
use crate::source::{self, FetchOptions, Platform, Source, SourceReference};
use crate::tree::merge::{DirectoryMetadata, MergeOptions, SymlinkParent};

/// Turn an ordinary OCI image into an OSTree commit that boots.
///
/// Reads an image, changes what an OSTree system keeps elsewhere or cannot hold, labels every file
/// with the image's own SELinux policy, and writes one commit. The commit's checksum is the last line of the output.
#[derive(Debug, Parser)]
#[command(
    name = "import-oci",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    import: import::ImportArgs,

    #[command(flatten)]
    output: OutputArgs,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, or checked and would not boot, 2 wrong usage, 77 unchanged \
    (with --unchanged-exit-77); 130 interrupted and 143 terminated, as shells tell it. After anything but 0 the repo's refs are as before, unless \
    the error says that the import is done.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell whether an image would boot, and what an import would change; write nothing.
    Check(check::CheckArgs),
    /// Show which SELinux context paths of an image get, and which line of its policy says so.
    Labels(labels::LabelsArgs),
    /// Import an image into the repo of a system, and let it be what boots next.
    Deploy(deploy::DeployArgs),
    /// Let a running system boot an image by way of bootc, rpm-ostree or ostree, whichever keeps it.
    Rebase(rebase::RebaseArgs),
    /// List the images of a repo, whoever brought them there, and what is deployed.
    List(list::ListArgs),
    /// Show what is known of an image of a repo.
    Inspect(inspect::InspectArgs),
    /// Show how the layers of an image of a repo were made.
    History(history::HistoryArgs),
    /// Remove images from a repo, with the layers that nothing needs any more.
    Remove(remove::RemoveArgs),
    /// Remove from a repo what no deployment needs: images, layers, objects.
    Prune(prune::PruneArgs),
    /// Copy an image with its layers from one repo to another.
    Copy(copy::CopyArgs),
}

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, Args)]
struct OutputArgs {
    /// Say more on standard error: -v every change, -vv every step (RUST_LOG chooses steps).
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Say nothing on standard error but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

impl OutputArgs {
    fn level(self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        }
    }
}

/// Where an image is read from, and which one of an index.
#[derive(Debug, Args)]
struct SourceArgs {
    /// The image: docker://NAME, containers-storage:NAME, dir:DIR, oci:DIR[:TAG],
    /// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG], rootfs:DIR, or a path at which one
    /// of the last four is recognised.
    // Optional only in the type: a verb may stand in its place.
    #[arg(required = true)]
    source: Option<String>,

    /// Architecture of the image, in Go's words (amd64, arm64) [default: this machine's].
    #[arg(long)]
    arch: Option<String>,

    /// Operating system of the image [default: linux].
    #[arg(long)]
    os: Option<String>,

    /// Variant of the architecture (v7, v8).
    #[arg(long)]
    variant: Option<String>,

    #[command(flatten)]
    fetch: FetchArgs,
}

/// How skopeo reaches an image for us.
#[derive(Debug, Args)]
struct FetchArgs {
    /// File with the credentials for registries [default: REGISTRY_AUTH_FILE, else ostree/auth.json
    /// in /run, /etc or /usr/lib, else where podman login puts them].
    #[arg(long, value_name = "FILE", conflicts_with = "auth_anonymous")]
    authfile: Option<PathBuf>,

    /// Use no credentials, whatever files there are.
    #[arg(long)]
    auth_anonymous: bool,

    /// Directory with certificates for registries (*.crt, *.cert, *.key).
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,

    /// Accept registries without TLS or with any certificate.
    #[arg(long)]
    insecure_skip_tls_verification: bool,

    /// The policy.json that says which signatures images need [default: CONTAINERS_POLICY_JSON,
    /// else containers/policy.json in ~/.config, /etc or /usr/share].
    #[arg(long, value_name = "FILE")]
    signature_policy: Option<PathBuf>,
}

impl SourceArgs {
    fn open(&self) -> Result<(SourceReference, Source)> {
        let source = self.source.as_deref().expect("clap requires it");
        source::open(source, &self.fetch.options())
    }

    fn platform(&self) -> Platform {
        let host = Platform::host();
        Platform {
            os: self.os.clone().unwrap_or(host.os),
            architecture: self.arch.clone().unwrap_or(host.architecture),
            variant: self.variant.clone(),
        }
    }
}

impl FetchArgs {
    fn options(&self) -> FetchOptions {
        FetchOptions {
            authfile: self.authfile.clone(),
            anonymous: self.auth_anonymous,
            certificates: self.cert_dir.clone(),
            skip_tls_verification: self.insecure_skip_tls_verification,
            signature_policy: self.signature_policy.clone(),
        }
    }
}

/// How layers are merged and the tree is repaired.
#[derive(Debug, Args)]
struct TreeArgs {
    /// How far the declarations of packages are believed over what the image holds.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    repair: fixup::Repair,

    /// How system users and groups reach hosts, whose /etc/passwd is their own.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    users: fixup::Users,

    /// The version of the kernel to keep where the image has several.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,

    /// Import an image without a kernel; it will not boot.
    #[arg(long, conflicts_with = "kernel")]
    no_kernel: bool,

    /// Import an image whose kernel has no initramfs.
    #[arg(long)]
    allow_no_initramfs: bool,

    /// What is asked of the initramfs.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    initramfs: fixup::Initramfs,

    /// What becomes of the content of /var.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    var: fixup::Var,

    /// Put the databases of packages where rpm-ostree looks for them.
    #[arg(long)]
    rpm_ostree_compat: bool,

    /// What becomes of the top-level directories that hold a host's own data.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    layout: fixup::Layout,

    /// Which file wins where /etc and /usr/etc of the image differ.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    etc_conflict: fixup::EtcConflict,

    /// Whose mode, owner and xattrs a directory gets that several layers describe.
    #[arg(long, value_name = "LAYER", value_enum, default_value_t)]
    dir_metadata: DirectoryMetadata,

    /// What becomes of a symbolic link when a higher layer has files below it.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    symlink_parent: SymlinkParent,

    /// Leave out a fixup; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = fixup_names())]
    skip_fixup: Vec<String>,

    /// How many threads work at once [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Everything that decides on the tree that an image becomes.
fn import_options(source: &SourceArgs, tree: &TreeArgs) -> Result<ImportOptions> {
    Ok(ImportOptions {
        platform: source.platform(),
        merge: MergeOptions {
            symlink_parent: tree.symlink_parent,
            directory_metadata: tree.dir_metadata,
            ..MergeOptions::default()
        },
        fixups: FixupOptions {
            repair: tree.repair,
            users: tree.users,
            earlier_accounts: None,
            kernel: tree.kernel.clone(),
            no_kernel: tree.no_kernel,
            allow_no_initramfs: tree.allow_no_initramfs,
            initramfs: tree.initramfs,
            var: tree.var,
            rpm_ostree_compat: tree.rpm_ostree_compat,
            layout: tree.layout,
            etc_conflict: tree.etc_conflict,
            skip: tree.skip_fixup.clone(),
        },
        squash: false,
        refs: RefOptions::default(),
        signing: SigningKeys::default(),
        timestamp: None,
        threads: match tree.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().context("counting cores")?,
        },
    })
}

fn fixup_names() -> clap::builder::PossibleValuesParser {
    fixup::FIXUPS
        .iter()
        .map(|f| clap::builder::PossibleValue::new(f.name()).help(f.summary()))
        .collect::<Vec<_>>()
        .into()
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = |()| ExitCode::SUCCESS;
    let result = logging::start(cli.output.level(), uptime()).and_then(|()| match cli.verb {
        Some(Verb::Check(args)) => check::run(&args, cli.output),
        Some(Verb::Labels(args)) => labels::run(&args, cli.output).map(done),
        Some(Verb::Deploy(args)) => deploy::run(&args, cli.output),
        Some(Verb::Rebase(args)) => rebase::run(&args, cli.output).map(done),
        Some(Verb::List(args)) => list::run(&args).map(done),
        Some(Verb::Inspect(args)) => inspect::run(&args).map(done),
        Some(Verb::History(args)) => history::run(&args).map(done),
        Some(Verb::Remove(args)) => remove::run(&args).map(done),
        Some(Verb::Prune(args)) => prune::run(&args).map(done),
        Some(Verb::Copy(args)) => copy::run(&args).map(done),
        None => import::run(&cli.import, cli.output),
    });
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let line = one_line(&format!("{error:#}"));
            // Where even this cannot be said the exit code has to do.
            writeln!(io::stderr(), "error: {line}").ok();
            ExitCode::FAILURE
        }
    }
}

/// `text` with control characters escaped: names in an image and what libraries say must neither
/// break the line nor reach a terminal as its commands.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Whoever read our output has seen enough: `import-oci … | head` is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
