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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_without_a_layer_are_left_out() {
        let layer = |c: &str| {
            let digest = format!("sha256:{}", c.repeat(64));
            serde_json::from_value(json!({ "mediaType": "a/b", "digest": digest, "size": 1 }))
        };
        let layers: Vec<Descriptor> = ["a", "b"].map(|c| layer(c).unwrap()).into();
        let made = |by: &str| json!({ "created_by": by });
        let empty = |by: &str| json!({ "created_by": by, "empty_layer": true });
        for (entries, expected) in [
            (None, [None, None]),
            (Some(json!([])), [None, None]),
            (Some(json!([made("x")])), [Some("x"), None]),
            (Some(json!([made("x"), made("y")])), [Some("x"), Some("y")]),
            (
                Some(json!([
                    empty("e"),
                    made("x"),
                    empty("f"),
                    made("y"),
                    made("z")
                ])),
                [Some("x"), Some("y")],
            ),
        ] {
            let mut config = json!({
                "architecture": "amd64", "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": [] },
            });
            if let Some(entries) = &entries {
                config["history"] = entries.clone();
            }
            let config = serde_json::from_value(config).unwrap();
            let found = history(&layers, &config);
            let layers_in_order = found
                .iter()
                .zip(&layers)
                .all(|(of, layer)| of.layer == layer);
            assert!(layers_in_order, "{entries:?}");
            let origins = found.iter().map(|of| of.origin?.created_by().as_deref());
            assert_eq!(origins.collect::<Vec<_>>(), expected, "{entries:?}");
        }
    }
}
