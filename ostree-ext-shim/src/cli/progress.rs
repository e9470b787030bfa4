//! What is shown of an import under way.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ostree::glib;
use tokio::sync::{mpsc, watch};

use crate::container::store::{ImportProgress, LayerProgress, PreparedImport};

/// What happens to a layer, in a few words.
pub fn layer_progress_format(progress: &ImportProgress) -> String {
    let (what, layer) = match progress {
        ImportProgress::OstreeChunkStarted(layer) | ImportProgress::OstreeChunkCompleted(layer) => {
            ("ostree chunk", layer)
        }
        ImportProgress::DerivedLayerStarted(layer)
        | ImportProgress::DerivedLayerCompleted(layer) => ("layer", layer),
    };
    let digest: String = layer.digest().digest().chars().take(SHOWN).collect();
    match progress.is_starting() {
        true => format!(
            "Fetching {what} {digest} ({})",
            glib::format_size(layer.size())
        ),
        false => format!("Fetched {what} {digest}"),
    }
}

/// How much of a digest ostree-ext shows.
const SHOWN: usize = 19;

/// Shows progress until the import ends: a bar on a terminal, a line a layer elsewhere, on standard output.
pub async fn handle_layer_progress_print(
    mut layers: mpsc::Receiver<ImportProgress>,
    mut bytes: watch::Receiver<Option<LayerProgress>>,
) {
    if !io::stdout().is_terminal() {
        while let Some(layer) = layers.recv().await {
            println!("{}", layer_progress_format(&layer));
        }
        return;
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bytes} [{bar:20}] ({eta}) {msg}");
    bar.set_style(style.expect("a valid template"));
    loop {
        tokio::select! {
            // A layer begins before its bytes come.
            biased;
            layer = layers.recv() => match layer {
                Some(layer) => bar.set_message(layer_progress_format(&layer)),
                None => break,
            },
            Ok(()) = bytes.changed() => {
                if let Some(bytes) = &*bytes.borrow() {
                    bar.set_length(bytes.total);
                    bar.set_position(bytes.fetched);
                }
            }
        }
    }
    bar.finish();
}

/// Says how much is to be read, if anything is.
pub fn print_layer_status(prepared: &PreparedImport) {
    if let Some(status) = prepared.status() {
        println!("{status}");
    }
}

/// Warns, and leaves time to read it.
pub async fn print_deprecated_warning(message: &str) {
    eprintln!("warning: {message}");
    tokio::time::sleep(Duration::from_secs(3)).await;
}
