//! Equivalences of the SELinux policy for where ostree puts directories.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// Equivalences of the SELinux policy for where ostree puts directories.
#[derive(Debug)]
pub struct SelinuxSubs;

impl Fixup for SelinuxSubs {
    fn name(&self) -> &'static str {
        "selinux-subs"
    }

    fn summary(&self) -> &'static str {
        "teach the SELinux policy where ostree keeps /etc, /home, /root and /opt"
    }

    fn reason(&self) -> &'static str {
        "restorecon on the host must agree with the labels of the commit, and /var/home is /home."
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
