//! What the databases of an image's package managers say of its files.
//!
//! Knowledge for fixups, read once from the merged tree before the first of them changes it.

mod accounts;
mod capability;
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
pub use capability::{Capabilities, CapabilityError};
pub use declared::{DeclaredChecksum, DeclaredContent, DeclaredFile, FileKind, Owner};

/// What the packages of an image declare.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Users and groups.
    pub accounts: AccountDatabase,
    /// Every path of every package whose manager says what it should be, in the order they were
    /// read.
    pub files: Vec<DeclaredFile>,
    /// What was found and not read.
    pub unread: Vec<Unread>,
}

/// A database, or a part of one, that was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its file.
    pub path: ImagePath,
    /// Why, in words.
    pub reason: String,
    /// What to do about it, in words.
    pub fix: String,
}

impl Packages {
    /// Reads every database that lies in `tree`. What can only be read from a file is copied to an
    /// unnamed or private file in the directory `scratch`.
    ///
    /// # Errors
    /// A body of the image cannot be read, a file is too large to be what it is named for, or
    /// `scratch` cannot be written.
    pub fn read(tree: &Tree, bodies: &Bodies, scratch: &Path) -> Result<Self> {
        let mut unread = Vec::new();
        let mut files = rpm::read(tree, bodies, scratch, &mut unread)?;
        files.extend(dpkg::read(tree, bodies)?);
        files.extend(pacman::read(tree, bodies, &mut unread)?);
        Ok(Self {
            accounts: AccountDatabase::read(tree, bodies)?,
            files,
            unread,
        })
    }
}
