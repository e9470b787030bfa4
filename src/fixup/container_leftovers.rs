//! What containers, builders and package managers leave in an image and no system should boot with.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// What containers, builders and package managers leave in an image and no system should boot with.
#[derive(Debug)]
pub struct ContainerLeftovers;

impl Fixup for ContainerLeftovers {
    fn name(&self) -> &'static str {
        "container-leftovers"
    }

    fn summary(&self) -> &'static str {
        "drop what containers, builders and package managers leave behind"
    }

    fn reason(&self) -> &'static str {
        "A lock, a machine-id or a resolv.conf of the build is shared by every host that boots the image."
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
