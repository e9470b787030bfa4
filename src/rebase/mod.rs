//! An image is handed over to the program that decides what a running system boots.
//!
//! bootc and rpm-ostree import what their repo does not have. It has an image where the ref of the
//! reference they are told points to a commit of the very manifest: then they deploy that commit as
//! it is.

mod commands;
mod owner;

pub use commands::{HandOverError, import_words, owner_command, quoted};
pub use owner::{Facts, Owner, OwnerError, owner};

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::Access;

use crate::contract::Transport;
use crate::source::SourceReference;

/// The same source by a path that means the same to a process that runs elsewhere.
///
/// # Errors
/// There is no working directory.
pub fn absolute(reference: SourceReference) -> Result<SourceReference> {
    let path = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
    };
    Ok(match reference {
        SourceReference::Local(mut local) => {
            local.path = path(&local.path)?;
            SourceReference::Local(local)
        }
        SourceReference::Fetched(mut image) => {
            if image.imgref.transport == Transport::Dir {
                let absolute = path(Path::new(&image.imgref.name))?;
                let text = absolute.into_os_string().into_string();
                image.imgref.name = text.ok().context("the working directory is no UTF-8")?;
            }
            SourceReference::Fetched(image)
        }
    })
}

/// Is there a program `name` in one of the directories of `PATH`?
pub fn is_program(name: &str, path: &OsStr) -> bool {
    std::env::split_paths(path).any(|directory| {
        let file = directory.join(name);
        file.is_file() && rustix::fs::access(&file, Access::EXEC_OK).is_ok()
    })
}
