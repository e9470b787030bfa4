//! Work that blocks, for those who must not.

use anyhow::{Context as _, Result};

/// Does `work` on a thread of tokio's that may block.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("the work was given up")?
}
