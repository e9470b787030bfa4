//! What the databases of an image's package managers say of its files.
//!
//! Knowledge for fixups, read once from the merged tree before the first of them changes it.

mod accounts;
pub mod fragments;
pub mod sysusers;

use std::path::Path;

use anyhow::Result;

use crate::bodies::Bodies;
use crate::tree::Tree;

pub use accounts::{AccountDatabase, Group, User};

/// What the packages of an image declare.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Users and groups.
    pub accounts: AccountDatabase,
}

impl Packages {
    /// Reads every database that lies in `tree`. What can only be read from a file is copied to an
    /// unnamed or private file in the directory `scratch`.
    pub fn read(tree: &Tree, bodies: &Bodies, _scratch: &Path) -> Result<Self> {
        Ok(Self {
            accounts: AccountDatabase::read(tree, bodies)?,
        })
    }
}
