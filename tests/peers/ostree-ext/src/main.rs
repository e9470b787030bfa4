//! What ostree-ext does, a command each. `container …` is the crate's own command line, which is
//! `ostree container` on hosts that have it.

mod encapsulate;
mod images;
mod layer;
mod state;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: ostree-ext-peer container …
       ostree-ext-peer encapsulate REPO REF LAYOUT
       ostree-ext-peer images REPO
       ostree-ext-peer layer REPO REF TAR
       ostree-ext-peer query REPO IMAGE
       ostree-ext-peer prepare REPO OSTREE-IMAGE";

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
    let arguments: Vec<_> = std::env::args().collect();
    let words: Vec<_> = arguments.iter().skip(1).map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match words[..] {
        ["container", ..] => runtime.block_on(ostree_ext::cli::run_from_iter(&arguments)),
        ["encapsulate", repo, reference, layout] => {
            runtime.block_on(encapsulate::run(repo, reference, layout))
        }
        ["images", repo] => images::run(repo),
        ["layer", repo, reference, tar] => runtime.block_on(layer::run(repo, reference, tar)),
        ["query", repo, image] => state::query(repo, image),
        ["prepare", repo, image] => runtime.block_on(state::prepare(repo, image)),
        _ => bail!(USAGE),
    }
}
