//! What ostree-ext does, a command each.

mod encapsulate;
mod images;
mod present;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str =
    "usage: ostree-ext-peer encapsulate REPO REF LAYOUT | images REPO | present REPO IMAGE";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ostree-ext-peer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match arguments[..] {
        ["encapsulate", repo, reference, layout] => {
            runtime.block_on(encapsulate::run(repo, reference, layout))
        }
        ["images", repo] => images::run(repo),
        ["present", repo, image] => runtime.block_on(present::run(repo, image)),
        _ => bail!(USAGE),
    }
}
