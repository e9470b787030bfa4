//! New deployments. libostree makes them; what `ostree admin deploy` asks of it is asked of it here.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ostree::glib::KeyFile;
use ostree::{SysrootDeployTreeOpts, SysrootSimpleWriteDeploymentFlags, gio};

use super::SysrootLock;
use crate::contract::Origin;
use crate::digest::Digest;

/// A deployment to be made.
#[derive(Debug)]
pub struct DeploySpec<'a> {
    /// The stateroot it is of, which exists.
    pub stateroot: &'a str,
    /// Its commit, in the repo of the system.
    pub commit: Digest,
    /// Where it came from.
    pub origin: Origin,
    /// All kernel arguments; `None`: those of the deployment it comes after.
    pub arguments: Option<&'a [String]>,
    /// Shall the running system finish it when it shuts down?
    pub staged: bool,
    /// Shall all earlier deployments of the stateroot stay?
    pub retain: bool,
}

/// A deployment that was made.
#[derive(Debug)]
pub struct NewDeployment {
    commit: Digest,
    serial: i32,
    /// Its root.
    pub path: PathBuf,
    /// Its kernel arguments.
    pub arguments: String,
}

impl fmt::Display for NewDeployment {
    /// Its name: the commit and which deployment of that it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.commit.hex(), self.serial)
    }
}

impl SysrootLock<'_> {
    /// The kernel arguments of the deployment that a new one of `stateroot` comes after; `None`: it
    /// is the first.
    pub fn arguments_before(&self, stateroot: &str) -> Option<String> {
        let before = self.0.inner().merge_deployment(Some(stateroot))?;
        let options = before.bootconfig()?.get("options")?;
        Some(options.into())
    }

    /// Makes a stateroot.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub fn init_stateroot(&self, name: &str) -> Result<()> {
        self.0
            .inner()
            .init_osname(name, gio::Cancellable::NONE)
            .with_context(|| format!("making the stateroot {name}"))
    }

    /// Makes a deployment and lets it be what boots next. `complete` gets its root before: if it
    /// fails, nothing is deployed. A staged one, of which libostree has written by then that it boots, is
    /// taken back.
    ///
    /// # Errors
    /// What libostree says: the commit has no kernel, the disk is full. What boots is as it was.
    pub fn deploy(
        &self,
        spec: DeploySpec<'_>,
        complete: &mut dyn FnMut(&Path) -> Result<()>,
    ) -> Result<NewDeployment> {
        let sysroot = self.0.inner();
        // What earlier ones left half made would be in the way.
        sysroot
            .prepare_cleanup(gio::Cancellable::NONE)
            .context("removing what earlier deployments left")?;
        let made = self.make(spec, complete);
        if made.is_err()
            && let Err(error) = sysroot.prepare_cleanup(gio::Cancellable::NONE)
        {
            // The error that led here says more, and the next deployment tries again.
            tracing::info!("removing a deployment that was half made: {error}");
        }
        made
    }

    fn make(
        &self,
        spec: DeploySpec<'_>,
        complete: &mut dyn FnMut(&Path) -> Result<()>,
    ) -> Result<NewDeployment> {
        let sysroot = self.0.inner();
        let (stateroot, commit) = (Some(spec.stateroot), spec.commit.hex());
        let before = sysroot.merge_deployment(stateroot);
        let arguments: Option<Vec<_>> = spec
            .arguments
            .map(|arguments| arguments.iter().map(String::as_str).collect());
        let options = SysrootDeployTreeOpts {
            override_kernel_argv: arguments.as_deref(),
            ..SysrootDeployTreeOpts::default()
        };
        let origin = KeyFile::from(spec.origin);
        let deployment = match spec.staged {
            true => sysroot.stage_tree_with_options(
                stateroot,
                &commit,
                Some(&origin),
                before.as_ref(),
                &options,
                gio::Cancellable::NONE,
            ),
            false => sysroot.deploy_tree_with_options(
                stateroot,
                &commit,
                Some(&origin),
                before.as_ref(),
                Some(&options),
                gio::Cancellable::NONE,
            ),
        };
        let deployment = deployment.with_context(|| format!("deploying the commit {commit}"))?;
        let root = sysroot.deployment_dirpath(&deployment);
        let path = self.0.path().join(&*root);
        if let Err(error) = complete(&path) {
            if spec.staged {
                self.unstage(&deployment).with_context(|| {
                    format!("{error:#}; the deployment is staged nevertheless and boots next")
                })?;
            }
            return Err(error);
        }
        if !spec.staged {
            let mut flags = SysrootSimpleWriteDeploymentFlags::NO_CLEAN;
            flags.set(SysrootSimpleWriteDeploymentFlags::RETAIN, spec.retain);
            sysroot
                .simple_write_deployment(
                    stateroot,
                    &deployment,
                    before.as_ref(),
                    flags,
                    gio::Cancellable::NONE,
                )
                .context("writing the boot loader's configuration")?;
        }
        let options = deployment
            .bootconfig()
            .and_then(|config| config.get("options"));
        Ok(NewDeployment {
            commit: spec.commit,
            serial: deployment.deployserial(),
            path,
            arguments: options.unwrap_or_default().into(),
        })
    }

    /// Lets a deployment that was staged not be finished.
    fn unstage(&self, deployment: &ostree::Deployment) -> Result<()> {
        let sysroot = self.0.inner();
        let mut others = sysroot.deployments();
        others.retain(|other| !other.equal(deployment));
        sysroot
            .write_deployments(&others, gio::Cancellable::NONE)
            .context("taking back the staged deployment")
    }

    /// Removes deployments that are none any more, and what nothing needs of the repo and of
    /// `/boot`; refs say what is deployed from then on.
    ///
    /// # Errors
    /// What libostree says. What was deployed is so.
    pub fn clean_up(&self) -> Result<()> {
        self.0
            .inner()
            .cleanup(gio::Cancellable::NONE)
            .context("removing what no deployment needs any more")
    }
}
