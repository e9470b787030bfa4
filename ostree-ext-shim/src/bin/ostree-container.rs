//! `ostree container …`: stock ostree calls this for it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use import_oci::cli::logging;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::time::SystemTime;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this cannot be said the exit code has to do.
            writeln!(io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    logging::start(LevelFilter::WARN, SystemTime)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("starting the runtime")?
        .block_on(ostree_ext::cli::run_from_iter(std::env::args_os()))
}
