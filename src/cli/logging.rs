//! Messages of the library on standard error, for every command that is made of it.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::time::FormatTime;

/// Lets messages of `level` and above appear, or what `RUST_LOG` chooses, with the time that `timer`
/// tells. To be called once.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start(level: LevelFilter, timer: impl FormatTime + Send + Sync + 'static) -> Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env()
        .context("reading RUST_LOG")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_timer(timer)
        .with_target(false)
        .init();
    Ok(())
}
