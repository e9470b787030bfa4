//! Which repo the verbs on images work on, and the system that it is of.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rustix::fs::StatVfsMountFlags;

use crate::repo::{Repo, SYSROOT_REPO, Sysroot};

/// A repo alone.
#[derive(Debug, Args)]
pub struct RepoArgs {
    /// The repo.
    #[arg(long, env = "OSTREE_REPO", default_value = SYSTEM_REPO)]
    pub repo: PathBuf,
}

/// A repo and perhaps its system.
#[derive(Debug, Args)]
pub struct SystemArgs {
    /// The repo [default: that of the system]. Alone, its refs say what is deployed.
    #[arg(long, env = "OSTREE_REPO")]
    repo: Option<PathBuf>,

    /// The physical root of the system whose deployments count [default: / where no repo is named].
    #[arg(long, value_name = "PATH")]
    sysroot: Option<PathBuf>,
}

impl SystemArgs {
    /// Opens the repo by `open`, and the system if there is one.
    pub fn open(&self, open: fn(&Path) -> Result<Repo>) -> Result<(Repo, Option<Sysroot>)> {
        let sysroot = match (&self.sysroot, &self.repo) {
            (Some(sysroot), _) => sysroot,
            (None, None) => Path::new("/"),
            (None, Some(repo)) => return Ok((open(repo)?, None)),
        };
        let path = sysroot.join(SYSROOT_REPO);
        if let Some(repo) = &self.repo {
            ensure!(
                is_same(repo, &path),
                "{} is not the repo of the system, which is {}; name one of them",
                repo.display(),
                path.display()
            );
        }
        let what = "--repo names a repo without a system, --sysroot another system";
        // What opens the repo may give this process mounts of its own, which the system is then to
        // be seen through.
        let repo = open(&path).context(what)?;
        let sysroot = Sysroot::open(sysroot).context(what)?;
        Ok((repo, Some(sysroot)))
    }
}

/// Where the repo of the running system lies.
pub const SYSTEM_REPO: &str = "/sysroot/ostree/repo";

/// Opens a repo to change it.
///
/// That of the running system may lie where nothing can be written: this process alone gets mounts
/// where it can be. Threads that run already do not see them.
///
/// # Errors
/// Those of [`Repo::open`], or the system cannot be changed.
pub fn open_to_change(path: &Path) -> Result<Repo> {
    if is_read_only(path) && is_same(path, Path::new(SYSTEM_REPO)) {
        // Locked once, it can be written to as long as this process lives.
        drop(Sysroot::open_to_change(Path::new("/"))?.lock()?);
    }
    Repo::open(path)
}

fn is_read_only(path: &Path) -> bool {
    let mount = rustix::fs::statvfs(path);
    mount.is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_same(a: &Path, b: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(a).is_some() && canonical(a) == canonical(b)
}
