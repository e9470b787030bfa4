//! `/var` belongs to the host; a commit can only say how to make it.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// What becomes of the content of `/var`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Var {
    /// Lines of tmpfiles.d make it anew on every host.
    #[default]
    Tmpfiles,
    /// It stays in the commit; libostree 2024.3 and newer copy it on the first deployment.
    Keep,
    /// It is dropped, but for the databases of packages and the store of the SELinux policy.
    Drop,
}

/// `/var` belongs to the host; a commit can only say how to make it.
#[derive(Debug)]
pub struct MoveVar;

impl Fixup for MoveVar {
    fn name(&self) -> &'static str {
        "var"
    }

    fn summary(&self) -> &'static str {
        "turn the content of /var into tmpfiles.d lines and /usr/share/factory/var"
    }

    fn reason(&self) -> &'static str {
        "Deployments never update /var, so what an image has there is missing or stale on a host."
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "--var=tmpfiles (default), keep or drop",
            "--rpm-ostree-compat",
        ]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
