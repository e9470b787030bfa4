//! Images derived from one that ostree-ext encapsulated carry the ostree repo of their base.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// Images derived from one that ostree-ext encapsulated carry the ostree repo of their base.
#[derive(Debug)]
pub struct OstreeBase;

impl Fixup for OstreeBase {
    fn name(&self) -> &'static str {
        "ostree-base"
    }

    fn summary(&self) -> &'static str {
        "resolve hard links into the ostree repo of an encapsulated base, and drop that repo"
    }

    fn reason(&self) -> &'static str {
        "The base is in the image twice, and its xattrs only beside the objects of its repo."
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
