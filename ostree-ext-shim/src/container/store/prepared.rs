//! An image that was looked at, and what the repo has of it.

use anyhow::{Context as _, Result};
use import_oci::contract::RefName;
use import_oci::images::history;
use ostree::glib;

use super::LayeredImageState;
use crate::container::version_for_config;
use crate::oci_spec::image::{Descriptor, Digest, History, ImageConfiguration, ImageManifest};
use crate::refescape::prefix_escape_for_ref;

/// The label by which an encapsulated commit says where its layers end.
const FINAL_DIFF_ID: &str = "ostree.final-diffid";

/// A layer, and whether the repo has it.
#[derive(Debug)]
pub struct ManifestLayerState {
    layer: Descriptor,
    /// The name of its ref.
    pub ostree_ref: String,
    /// The commit that stands for it; `None` if it must be read.
    pub commit: Option<String>,
}

impl ManifestLayerState {
    /// What the manifest says of it.
    pub fn layer(&self) -> &Descriptor {
        &self.layer
    }
}

/// What an import would do.
#[derive(Debug)]
pub struct PreparedImport {
    /// The digest of the manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The image that the repo has under the same reference.
    pub previous_state: Option<Box<LayeredImageState>>,
    /// The digest of its manifest.
    pub previous_manifest_digest: Option<Digest>,
    /// The digest of its configuration.
    pub previous_imageid: Option<String>,
    /// The layers of an encapsulated commit but for the lowest.
    pub ostree_layers: Vec<ManifestLayerState>,
    /// The lowest layer, whether or not it is one of an encapsulated commit.
    pub ostree_commit_layer: ManifestLayerState,
    /// All other layers.
    pub layers: Vec<ManifestLayerState>,
}

impl PreparedImport {
    /// The image, and for each of its layers the commit that stands for it.
    pub(super) fn new(
        manifest_digest: Digest,
        manifest: ImageManifest,
        config: ImageConfiguration,
        commits: Vec<Option<String>>,
        previous_state: Option<Box<LayeredImageState>>,
    ) -> Result<Self> {
        let layer = |(layer, commit): (&Descriptor, _)| {
            let digest = layer.digest().as_ref();
            anyhow::Ok(ManifestLayerState {
                ostree_ref: prefix_escape_for_ref(RefName::BLOB_PREFIX, digest)?,
                layer: layer.clone(),
                commit,
            })
        };
        let mut layers = manifest.layers().iter().zip(commits).map(layer);
        let ostree_commit_layer = layers.next().context("the image has no layers")??;
        let mut ostree_layers = layers.collect::<Result<Vec<_>>>()?;
        let further = encapsulated_layers(&config).saturating_sub(1);
        let layers = ostree_layers.split_off(further.min(ostree_layers.len()));
        let previous = previous_state.as_ref();
        Ok(Self {
            previous_manifest_digest: previous.map(|state| state.manifest_digest.clone()),
            previous_imageid: previous.map(|state| state.manifest.config().digest().to_string()),
            manifest_digest,
            manifest,
            config,
            previous_state,
            ostree_layers,
            ostree_commit_layer,
            layers,
        })
    }

    /// All layers from the lowest up.
    pub fn all_layers(&self) -> impl Iterator<Item = &ManifestLayerState> {
        std::iter::once(&self.ostree_commit_layer)
            .chain(&self.ostree_layers)
            .chain(&self.layers)
    }

    /// The version that the image gives itself.
    pub fn version(&self) -> Option<&str> {
        version_for_config(&self.config)
    }

    /// What is deprecated about the image: nothing is.
    pub fn deprecated_warning(&self) -> Option<&'static str> {
        None
    }

    /// All layers, each with how it was made; an error for those of which the image does not tell.
    pub fn layers_with_history(
        &self,
    ) -> impl Iterator<Item = Result<(&ManifestLayerState, &History)>> {
        self.with_origins().map(|(layer, origin)| {
            let digest = layer.layer.digest();
            let origin = origin.with_context(|| format!("no history of the layer {digest}"))?;
            Ok((layer, origin))
        })
    }

    /// The layers to be read, each with the command that made it, as far as the image tells.
    pub fn layers_to_fetch(&self) -> impl Iterator<Item = Result<(&ManifestLayerState, &str)>> {
        let layers = self.with_origins();
        let missing = layers.filter(|(layer, _)| layer.commit.is_none());
        missing.map(|(layer, origin)| {
            let command = origin.and_then(|origin| origin.created_by().as_deref());
            Ok((layer, command.unwrap_or_default()))
        })
    }

    fn with_origins(&self) -> impl Iterator<Item = (&ManifestLayerState, Option<&History>)> {
        let origins = history(self.manifest.layers(), &self.config).into_iter();
        self.all_layers().zip(origins.map(|layer| layer.origin))
    }

    /// One line about what must be read; `None`: nothing.
    pub(crate) fn status(&self) -> Option<String> {
        let (there, missing): (Vec<_>, Vec<_>) =
            self.all_layers().partition(|layer| layer.commit.is_some());
        let sizes = missing.iter().map(|layer| layer.layer.size());
        let size = glib::format_size(sizes.fold(0, u64::saturating_add));
        let (there, needed) = (there.len(), missing.len());
        (needed > 0)
            .then(|| format!("layers already present: {there}; layers needed: {needed} ({size})"))
    }
}

/// How many of the lowest layers are those of an encapsulated commit.
pub(super) fn encapsulated_layers(config: &ImageConfiguration) -> usize {
    let config_of = config.config().as_ref();
    let labels = config_of.and_then(|config| config.labels().as_ref());
    let last = labels.and_then(|labels| labels.get(FINAL_DIFF_ID));
    let mut diff_ids = config.rootfs().diff_ids().iter();
    let position = last.and_then(|last| diff_ids.position(|diff_id| diff_id == last));
    position.map_or(0, |position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str, name: char) -> String {
        let digest = name.to_string().repeat(64);
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":7}}"#)
    }

    /// An image of four layers, of which this one is the last of an encapsulated commit; the second
    /// is there.
    fn prepared(last: &str, history: &str) -> PreparedImport {
        let layer = |name| descriptor("application/vnd.oci.image.layer.v1.tar", name);
        let layers: Vec<_> = "abcd".chars().map(layer).collect();
        let layers = layers.join(",");
        let config = descriptor("application/vnd.oci.image.config.v1+json", 'e');
        let manifest: ImageManifest = serde_json::from_str(&format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#
        ))
        .unwrap();
        let config = serde_json::from_str(&format!(
            r#"{{"architecture":"amd64","os":"linux","history":[{history}],
                "config":{{"Labels":{{"ostree.final-diffid":"{last}"}}}},
                "rootfs":{{"type":"layers","diff_ids":["1","2","3","4"]}}}}"#
        ))
        .unwrap();
        let digest = manifest.config().digest().clone();
        let commits = vec![None, Some("commit".to_owned()), None, None];
        PreparedImport::new(digest, manifest, config, commits, None).unwrap()
    }

    #[test]
    fn layers_of_an_encapsulated_commit_stand_apart() {
        for (last, encapsulated, others) in [
            ("", 0, 3),
            ("1", 0, 3),
            ("2", 1, 2),
            ("4", 3, 0),
            ("no", 0, 3),
        ] {
            let prepared = prepared(last, "");
            assert_eq!(prepared.ostree_layers.len(), encapsulated, "{last}");
            assert_eq!(prepared.layers.len(), others, "{last}");
            let order: Vec<_> = prepared
                .all_layers()
                .map(ManifestLayerState::layer)
                .collect();
            let manifest: Vec<_> = prepared.manifest.layers().iter().collect();
            assert_eq!(order, manifest);
        }
    }

    #[test]
    fn what_must_be_read() {
        let history = r#"{"created_by":"one"},{"created_by":"none","empty_layer":true},
                         {"created_by":"two"},{"created_by":"three"}"#;
        let prepared = prepared("", history);
        let commands: Vec<_> = prepared.layers_to_fetch().map(|l| l.unwrap().1).collect();
        assert_eq!(commands, ["one", "three", ""]);
        let told = prepared.layers_with_history().map(|told| told.is_ok());
        assert_eq!(told.collect::<Vec<_>>(), [true, true, true, false]);
        let status = prepared.status().unwrap();
        assert!(status.starts_with("layers already present: 1; layers needed: 3 (21"));
    }
}
