//! All layers of an image at once.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context as _, Result};
use ostree::gio;
use ostree::gio::prelude::*;

use super::{Layer, Limits, is_foreign, read};
use crate::bodies::Spool;
use crate::parallel;
use crate::progress::{LayerStep, Progress, Stage};
use crate::source::{ImageSource, LayerDescriptor};

/// Reads and verifies `layers`, some at a time, the largest first. The bodies of each lie in a spool
/// in `directory` whose store number is the position of the layer in its manifest.
///
/// # Errors
/// Those of [`read`], of the first layer that fails; the others are given up then.
pub fn read_all(
    source: &dyn ImageSource,
    layers: &[LayerDescriptor],
    directory: &Path,
    threads: NonZeroUsize,
    progress: &dyn Progress,
) -> Result<Vec<(Layer, Spool)>> {
    let mut order: Vec<_> = (0..layers.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(layers[index].size));
    progress.begin(Stage::Layers, total_size(layers));
    let workers = vec![(); threads.get().min(layers.len())];
    let read = parallel::map(workers, &order, |(), index, cancellable| {
        let layer = &layers[index];
        progress.layer(layer.index, LayerStep::Begun);
        let blob = Watched {
            blob: source.open_layer(layer).with_context(|| {
                match is_foreign(&layer.media_type) {
                    true => format!("{layer}, a foreign layer, which copies of images may lack"),
                    false => layer.to_string(),
                }
            })?,
            cancellable,
            progress,
            index: layer.index,
            announced: layer.size,
        };
        let store = u32::try_from(layer.index).context("too many layers")?;
        let mut spool = Spool::new(store, directory)?;
        let read = read(layer, blob, &mut spool, &Limits::default())?;
        let spool = spool.seal().with_context(|| layer.to_string())?;
        progress.layer(layer.index, LayerStep::Done);
        Ok((read, spool))
    });
    progress.end();
    read
}

/// The size of all blobs in bytes. A manifest may claim any.
fn total_size(layers: &[LayerDescriptor]) -> u64 {
    let sizes = layers.iter().map(|layer| layer.size);
    sizes.fold(0, u64::saturating_add)
}

/// A blob that tells how far it was read, and ends when the import does.
struct Watched<'a, R> {
    blob: R,
    cancellable: &'a gio::Cancellable,
    progress: &'a dyn Progress,
    /// The position of its layer.
    index: usize,
    /// How many bytes of it are still counted on: an unpacked layer has more than its blob.
    announced: u64,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancellable.is_cancelled() {
            return Err(io::Error::other("given up because another layer failed"));
        }
        let n = self.blob.read(buffer)?;
        let counted = self.announced.min(n as u64);
        self.announced -= counted;
        self.progress.advance(counted);
        self.progress.layer(self.index, LayerStep::Read(counted));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn sizes_that_no_disk_holds() {
        let digest = Digest::of(b"");
        let layer = |index, size| LayerDescriptor {
            index,
            digest,
            size,
            media_type: String::new(),
            diff_id: digest,
            unpacked: false,
        };
        assert_eq!(total_size(&[layer(0, 2), layer(1, 3)]), 5);
        assert_eq!(total_size(&[layer(0, 2), layer(1, u64::MAX)]), u64::MAX);
    }
}
