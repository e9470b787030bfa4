//! The initramfs must find the deployment: it holds `ostree-prepare-root` and its unit.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// What is asked of the initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Initramfs {
    /// It must be able to boot a deployment.
    #[default]
    Check,
    /// It is taken as it is.
    Keep,
    /// The image's own dracut makes it anew.
    Regenerate,
}

/// The initramfs must find the deployment: it holds `ostree-prepare-root` and its unit.
#[derive(Debug)]
pub struct CheckInitramfs;

impl Fixup for CheckInitramfs {
    fn name(&self) -> &'static str {
        "initramfs"
    }

    fn summary(&self) -> &'static str {
        "check that the initramfs can boot a deployment"
    }

    fn reason(&self) -> &'static str {
        "Without ostree-prepare-root in it the system stops before it has found its root."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--initramfs=check (default), keep or regenerate"]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
