//! What must change in a merged tree so that it boots: one quirk, one file, in this order.
//!
//! A fixup is a pure function on an [`Image`]: no disk, no process. It is idempotent, and
//! whatever it does is a line of the report.

mod accounts;
mod container_leftovers;
mod etc;
mod factory;
mod initramfs;
mod kernel;
mod ostree_base;
mod pattern;
mod permissions;
mod pyc;
mod selinux_subs;
mod special_files;
mod tmpfiles;
mod toplevel;
mod var;
mod xattrs;

use anyhow::{Context as _, Result};

use crate::bodies::Bodies;
use crate::packages::{AccountDatabase, Packages};
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::Tree;

pub use accounts::Users;
pub use etc::EtcConflict;
pub use initramfs::{Initramfs, initramfs_path, lacks};
pub use kernel::find_kernel;
pub use ostree_base::{BASE_REPO, Objects};
pub use permissions::Repair;
pub use pyc::reads_start_of;
pub use toplevel::Layout;
pub use var::Var;
pub use xattrs::clean_xattrs;

/// An image on its way to a commit.
#[derive(Debug)]
pub struct Image {
    /// The merged tree.
    pub tree: Tree,
    /// The content of its files.
    pub bodies: Bodies,
    /// What the packages of the merged tree declare.
    pub packages: Packages,
    /// What the user chose.
    pub options: FixupOptions,
}

/// What a user can choose about fixups.
#[derive(Debug, Clone, Default)]
pub struct FixupOptions {
    /// How far packages are believed over the image.
    pub repair: Repair,
    /// How system accounts reach hosts.
    pub users: Users,
    /// The accounts of an earlier commit, whose ids are kept.
    pub earlier_accounts: Option<AccountDatabase>,
    /// The version of the kernel to keep where there are several.
    pub kernel: Option<String>,
    /// Is an image without a kernel all right?
    pub no_kernel: bool,
    /// Is a kernel without an initramfs all right?
    pub allow_no_initramfs: bool,
    /// What is asked of the initramfs.
    pub initramfs: Initramfs,
    /// What becomes of `/var`.
    pub var: Var,
    /// Do the databases of packages lie where rpm-ostree looks for them?
    pub rpm_ostree_compat: bool,
    /// What becomes of top-level directories.
    pub layout: Layout,
    /// Which of `/etc` and `/usr/etc` wins where both hold a path.
    pub etc_conflict: EtcConflict,
    /// Names of fixups that are left out.
    pub skip: Vec<String>,
}

impl FixupOptions {
    /// Is an initramfs to be made, if there is a kernel?
    pub fn makes_initramfs(&self) -> bool {
        self.initramfs == Initramfs::Regenerate && !self.no_kernel
    }
}

/// One repair.
pub trait Fixup: Sync {
    /// Its name in reports and for `--skip-fixup`.
    fn name(&self) -> &'static str;

    /// One line for the help.
    fn summary(&self) -> &'static str;

    /// Why a system does not boot, or not well, without it: one sentence for the documentation.
    fn reason(&self) -> &'static str;

    /// The options of the command that shape it, with their defaults.
    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    /// Which fixups must come before it. The order of all others does not matter.
    fn after(&self) -> &'static [&'static str] {
        &[]
    }

    /// Repairs `image`; each change is a note of `report`. What keeps the
    /// image from booting is a fatal note with the way out, after which the fixup goes on or leaves
    /// the tree as it is; an error is for what cannot be read.
    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()>;
}

/// Every fixup, in the order in which they are applied.
pub const FIXUPS: &[&dyn Fixup] = &[
    &special_files::SpecialFiles,
    // Before the xattrs that it finds are cleaned.
    &ostree_base::OstreeBase,
    &xattrs::CleanXattrs,
    &container_leftovers::ContainerLeftovers,
    &permissions::Permissions,
    &accounts::Accounts,
    &kernel::Kernel,
    &initramfs::CheckInitramfs,
    &var::MoveVar,
    &toplevel::Toplevel,
    &etc::MoveEtc,
    &selinux_subs::SelinuxSubs,
    &pyc::Pyc,
];

/// Applies all of [`FIXUPS`] that [`FixupOptions::skip`] does not name.
pub fn apply_all(image: &mut Image, report: &mut Report) -> Result<()> {
    for fixup in FIXUPS {
        let name = fixup.name();
        if image.options.skip.iter().any(|skip| skip == name) {
            tracing::info!("fixup {name} is skipped");
            continue;
        }
        fixup
            .apply(image, report)
            .with_context(|| format!("fixup {name}"))?;
    }
    Ok(())
}

/// Removes `path` and what lies below it, and notes each path as dropped.
fn drop_subtree(
    tree: &mut Tree,
    path: &ImagePath,
    by: &'static str,
    why: &str,
    report: &mut Report,
) {
    for (below, _) in tree.walk_from(path) {
        report.note(by, Action::Dropped, &below, why);
    }
    tree.remove(path);
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod testing {
    use super::*;
    use crate::testing::{Layers, list};

    /// What a fixup makes of an image: the listing, and the notes as `action path`.
    pub fn run(
        fixup: &dyn Fixup,
        layers: Layers,
        options: FixupOptions,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let (tree, bodies) = layers.merge();
        let scratch = tempfile::tempdir()?;
        let mut image = Image {
            packages: Packages::read(&tree, &bodies, scratch.path())?,
            tree,
            bodies,
            options,
        };
        let mut report = Report::default();
        fixup.apply(&mut image, &mut report)?;
        let once = list(&image.tree, &image.bodies);
        let notes = report
            .notes()
            .iter()
            .map(|n| format!("{} {}", n.action, n.path))
            .collect();
        let mut again = Report::default();
        fixup.apply(&mut image, &mut again)?;
        assert_eq!(list(&image.tree, &image.bodies), once, "not idempotent");
        Ok((once, notes))
    }

    #[track_caller]
    pub fn check(fixup: &dyn Fixup, layers: Layers, tree: &[&str], notes: &[&str]) {
        let (found_tree, found_notes) = run(fixup, layers, FixupOptions::default()).unwrap();
        assert_eq!(found_tree, tree);
        assert_eq!(found_notes, notes);
    }
}
