//! What the databases of an image's package managers say of its files.
//!
//! Knowledge for fixups, read once from the merged tree before the first of them changes it.

mod accounts;
pub mod capabilities;
mod declared;
mod dpkg;
pub mod fragments;
mod pacman;
mod rpm;
pub mod sysusers;

use std::path::Path;

use anyhow::Result;

use crate::bodies::Bodies;
use crate::path::ImagePath;
use crate::tree::Tree;

pub use accounts::{AccountDatabase, Group, User};
pub use declared::{Account, ContentDigest, DeclaredFile, DeclaredKind, DigestAlgorithm};

/// What the packages of an image declare.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Users and groups.
    pub accounts: AccountDatabase,
    /// Paths of RPM, dpkg and pacman packages.
    pub files: Vec<DeclaredFile>,
    /// A database of RPM packages of a form that is not read: where it lies and the name of the form.
    pub unread: Option<(ImagePath, &'static str)>,
    /// What could not be understood: of which database, and in words.
    pub odd: Vec<(ImagePath, String)>,
}

impl Packages {
    /// Reads every database that lies in `tree`. What can only be read from a file is copied to an
    /// unnamed or private file in the directory `scratch`.
    pub fn read(tree: &Tree, bodies: &Bodies, scratch: &Path) -> Result<Self> {
        let rpm::Rpm {
            mut files,
            unread,
            mut odd,
        } = rpm::read(tree, bodies, scratch)?;
        files.append(&mut dpkg::read(tree, bodies)?);
        files.append(&mut pacman::read(tree, bodies, &mut odd));
        Ok(Self {
            accounts: AccountDatabase::read(tree, bodies)?,
            files,
            unread,
            odd,
        })
    }
}
