//! System users and groups that survive the merge of `/etc` on a host.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

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

/// System users and groups that survive the merge of `/etc` on a host.
#[derive(Debug)]
pub struct Accounts;

impl Fixup for Accounts {
    fn name(&self) -> &'static str {
        "accounts"
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

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
