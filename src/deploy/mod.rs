//! An image becomes what a system boots next: it is imported into the system's own repo, and
//! libostree makes a deployment of it, as `ostree admin deploy` does of any commit.

mod arguments;
mod labels;
mod stateroot;
mod var;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

pub use arguments::{kernel_arguments, parse as parse_argument};
pub use labels::Labelled;
pub use stateroot::{Stateroot, StaterootError, choose};

use crate::contract::{Origin, OstreeImageReference, RefName};
use crate::digest::Digest;
use crate::outcome::Imported;
use crate::path::ImagePath;
use crate::repo::{DeploySpec, Repo, Sysroot, SysrootLock};

/// The version of the JSON form of [`Deployed`]. It grows when a field goes or changes its meaning,
/// not when one is added.
pub const JSON_VERSION: u32 = 1;

/// How an image is deployed.
#[derive(Debug, Clone, Default)]
pub struct DeployOptions {
    /// The stateroot, where it is not the one that suggests itself; see [`choose`].
    pub stateroot: Option<String>,
    /// Shall the stateroot be made if there is none?
    pub init: bool,
    /// Kernel arguments to append.
    pub append: Vec<String>,
    /// Kernel arguments to delete before: `KEY` or `KEY=VALUE`.
    pub delete: Vec<String>,
    /// All kernel arguments, where those of the deployment before do not count.
    pub arguments: Option<Vec<String>>,
    /// Shall all earlier deployments of the stateroot stay?
    pub retain: bool,
    /// Shall the running system finish the deployment when it shuts down?
    pub stage: bool,
}

/// A place for a deployment in a system, which nobody else changes meanwhile.
#[derive(Debug)]
pub struct Place<'a> {
    sysroot: &'a Sysroot,
    lock: SysrootLock<'a>,
    stateroot: Stateroot,
    arguments: Option<Vec<String>>,
}

/// The result of a deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Deployed {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// Its name: the checksum of the commit, `.`, and which deployment of that it is, from 0.
    pub deployment: String,
    /// Checksum of the commit: 64 hexadecimal digits.
    pub commit: String,
    /// The stateroot it is of.
    pub stateroot: String,
    /// Where its root lies.
    pub path: String,
    /// Does the running system finish it when it shuts down?
    pub staged: bool,
    /// What its origin names: where updates come from, and who vouches for them.
    pub origin: String,
    /// Its kernel arguments.
    pub arguments: String,
    /// What got a label that libostree left without; `None` where the image has no policy.
    pub labelled: Option<Labelled>,
    /// What the commit has in `/var` and the host does not get, as paths of the host; of a directory that
    /// is missing as a whole only itself. See `--var=keep`.
    pub var_missing: Vec<ImagePath>,
}

impl<'a> Place<'a> {
    /// Finds the place. All that can be wrong with it is told before anything is imported; nothing is
    /// changed yet.
    ///
    /// # Errors
    /// There is no such stateroot, no such argument to delete, or nobody who would finish a staged
    /// deployment; or the system cannot be changed.
    pub fn find(sysroot: &'a Sysroot, options: &DeployOptions) -> Result<Self> {
        let lock = sysroot.lock()?;
        let booted = sysroot.booted_stateroot();
        ensure!(
            booted.is_some() || !options.stage,
            "--stage: nothing of the system {} runs, so nobody would finish the deployment; \
             without --stage it is finished at once",
            sysroot.path().display()
        );
        let stateroot = choose(
            options.stateroot.as_deref(),
            booted.as_deref(),
            &sysroot.stateroots()?,
            options.init,
        )?;
        let before = lock.arguments_before(&stateroot.name);
        let arguments = match &options.arguments {
            Some(all) => Some(all.clone()),
            None => kernel_arguments(before.as_deref(), &options.delete, &options.append)?,
        };
        Ok(Self {
            sysroot,
            lock,
            stateroot,
            arguments,
        })
    }

    /// Deploys what was imported into `repo`, that of the system. Its image is kept by its deployment
    /// from now on, and our own ref leaves.
    ///
    /// # Errors
    /// It would not boot, or what libostree says. What boots is as it was, unless the error says
    /// that the deployment is done.
    pub fn deploy(
        self,
        repo: &Repo,
        imported: &Imported,
        origin: &OstreeImageReference,
        options: &DeployOptions,
    ) -> Result<Deployed> {
        ensure!(
            imported.kernel.is_some(),
            "the commit {} would not boot: it has not exactly one kernel in usr/lib/modules",
            imported.commit
        );
        let commit = Digest::from_hex(&imported.commit)?;
        let stateroot = &*self.stateroot.name;
        if self.stateroot.is_new {
            self.lock.init_stateroot(stateroot)?;
        }
        let var = self.sysroot.var_path(stateroot);
        let mut labelled = None;
        let spec = DeploySpec {
            stateroot,
            commit,
            origin: Origin::of_image(origin),
            arguments: self.arguments.as_deref(),
            staged: options.stage,
            retain: options.retain,
        };
        let new = self.lock.deploy(spec, &mut |root| {
            labelled = labels::label(root, &var)?;
            Ok(())
        })?;

        let done = || format!("the deployment {new} is done and boots next, but");
        self.leave_to_the_deployment(repo, imported, commit)
            .with_context(done)?;
        // A new /var is filled only at shutdown where the deployment is staged.
        let var_missing = match options.stage && self.stateroot.is_new {
            true => Vec::new(),
            false => var::missing(&new.path.join("var"), &var).with_context(done)?,
        };
        Ok(Deployed {
            version: JSON_VERSION,
            deployment: new.to_string(),
            commit: imported.commit.clone(),
            stateroot: stateroot.to_owned(),
            path: new.path.display().to_string(),
            staged: options.stage,
            origin: origin.to_string(),
            arguments: new.arguments,
            labelled,
            var_missing,
        })
    }

    /// What nothing needs any more goes; the deployment has a ref of libostree's then, so ours may go.
    fn leave_to_the_deployment(
        &self,
        repo: &Repo,
        imported: &Imported,
        commit: Digest,
    ) -> Result<()> {
        let _lock = repo.exclude_others()?;
        self.lock.clean_up()?;
        let ours = imported.refs.iter().filter(|name| is_ours(name));
        let ours: Vec<_> = ours.map(|name| (name.clone(), commit)).collect();
        repo.remove_refs(&ours)
    }
}

/// Is it a ref by which we keep an image that is not deployed?
fn is_ours(name: &str) -> bool {
    matches!(
        RefName::parse(name),
        Ok(Some(RefName::BaseImage { project, .. })) if project == RefName::PROJECT
    )
}
