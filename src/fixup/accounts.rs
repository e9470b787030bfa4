//! System users and groups that survive the merge of `/etc` on a host.

mod altfiles;
mod files;
mod owners;
mod renumber;
mod shadow;
mod sysusers;
mod tmpfiles;

use anyhow::Result;

use super::{Fixup, Image};
use crate::packages::AccountDatabase;
use crate::report::Report;

use files::System;

/// How the system accounts of an image reach hosts whose `/etc/passwd` is their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Users {
    /// By lines in `sysusers.d`, which add what a host lacks.
    #[default]
    Sysusers,
    /// By `/usr/lib/passwd` and `/usr/lib/group`, for images with nss-altfiles.
    Altfiles,
    /// Not at all: the image's author takes care of it.
    Keep,
}

/// Sees to it that system accounts reach every host, that what they own in `/etc` and `/var` is theirs
/// there whatever their numbers, and that nobody reads `shadow`; tells what belongs to nobody, or in
/// `/usr` to a number that may mean another account on a host.
#[derive(Debug)]
pub struct Accounts;

const BY: &str = "accounts";

impl Fixup for Accounts {
    fn name(&self) -> &'static str {
        BY
    }

    fn summary(&self) -> &'static str {
        "declare system users and groups so that they survive the host's own /etc/passwd"
    }

    fn reason(&self) -> &'static str {
        "A host keeps its own /etc/passwd on updates: accounts that an image adds or renumbers would be missing or mean somebody else."
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "--users=sysusers (default), altfiles or keep",
            "--ids-from=REF keeps the ids of an earlier commit",
        ]
    }

    fn after(&self) -> &'static [&'static str] {
        &[
            "special-files",
            "ostree-base",
            "container-leftovers",
            "permissions",
        ]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        // First: everything else goes by the numbers that stay.
        if let Some(earlier) = image.options.earlier_accounts.clone() {
            renumber::keep_earlier(image, &earlier, report)?;
        }
        let system = System::of(image)?;
        shadow::repair(image, report)?;
        match image.options.users {
            Users::Sysusers => sysusers::declare(image, &system, report)?,
            Users::Altfiles => altfiles::relocate(image, &system, report)?,
            Users::Keep => sysusers::tell(image, &system, report)?,
        }
        // What comes after this takes names from there.
        image.packages.accounts = AccountDatabase::read(&image.tree, &image.bodies)?;
        if image.options.users != Users::Keep {
            tmpfiles::name_owners(image, &system, report)?;
        }
        owners::tell(image, &system, report)
    }
}

#[cfg(test)]
mod tests;
