//! `ostree container …`, with ostree-ext's words, options and output.

mod arguments;
mod image;
mod progress;

use std::ffi::OsString;

use anyhow::{Result, bail};
use clap::Parser as _;

use self::arguments::{Container, Program, elsewhere};
pub use self::progress::{
    handle_layer_progress_print, layer_progress_format, print_deprecated_warning,
    print_layer_status,
};
use crate::container::{ImageReference, ManifestDiff, OstreeImageReference, fetch_manifest};

/// Reads a reference with the trust put in it.
///
/// # Errors
/// It is none.
pub fn parse_imgref(text: &str) -> Result<OstreeImageReference> {
    Ok(text.parse()?)
}

/// Reads a reference.
///
/// # Errors
/// It is none.
pub fn parse_base_imgref(text: &str) -> Result<ImageReference> {
    Ok(text.parse()?)
}

/// Does what a command line says, whose first word is the name of the program. One that cannot be
/// understood ends the process.
///
/// # Errors
/// It cannot be done.
pub async fn run_from_iter<I>(arguments: I) -> Result<()>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let Program::Container(command) = Program::parse_from(arguments);
    match command {
        Container::Image(command) => image::run(command).await,
        Container::Info { imgref } => {
            let (_, digest) = fetch_manifest(&imgref).await?;
            println!("{imgref} digest: {digest}");
            Ok(())
        }
        Container::Compare {
            imgref_old,
            imgref_new,
        } => {
            let (old, _) = fetch_manifest(&imgref_old).await?;
            let (new, _) = fetch_manifest(&imgref_new).await?;
            ManifestDiff::new(&old, &new).print();
            Ok(())
        }
        Container::Elsewhere(words) => bail!(elsewhere(&words)),
    }
}
