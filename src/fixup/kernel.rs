//! The kernel and its initramfs, where ostree looks for them.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// The kernel and its initramfs, where ostree looks for them.
#[derive(Debug)]
pub struct Kernel;

impl Fixup for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn summary(&self) -> &'static str {
        "move the kernel and its initramfs to /usr/lib/modules/VERSION, and empty /boot"
    }

    fn reason(&self) -> &'static str {
        "ostree boots what lies in /usr/lib/modules; what an image has in /boot is never seen."
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "--kernel=VERSION chooses one of several",
            "--no-kernel",
            "--allow-no-initramfs",
        ]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
