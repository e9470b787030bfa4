//! How the layers of an image came to be.

use oci_spec::image::{Descriptor, History, ImageConfiguration};

/// A layer and what the configuration says of its origin.
#[derive(Debug)]
pub struct LayerHistory<'a> {
    /// The layer.
    pub layer: &'a Descriptor,
    /// Where it is from, as far as the configuration tells.
    pub origin: Option<&'a History>,
}

/// The layers from the lowest up. Entries of the history that made no layer are none of theirs.
pub fn history<'a>(
    layers: &'a [Descriptor],
    config: &'a ImageConfiguration,
) -> Vec<LayerHistory<'a>> {
    let history = config.history().iter().flatten();
    let mut origins = history.filter(|entry| entry.empty_layer() != Some(true));
    layers
        .iter()
        .map(|layer| LayerHistory {
            layer,
            origin: origins.next(),
        })
        .collect()
}
