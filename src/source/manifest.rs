//! Manifests, indexes and configurations: verified and parsed from their raw bytes.

use anyhow::{Context as _, Result, bail, ensure};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{LayerDescriptor, ResolvedImage};
use crate::contract::metadata;
use crate::digest::Digest;

/// No manifest, index or configuration may be longer, in bytes; it is what registries allow.
pub(super) const DOCUMENT_LIMIT: u64 = 4 << 20;

pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// What an entry of an index leads to.
#[derive(Debug)]
pub(super) enum Document {
    /// One image.
    Manifest(Box<ImageManifest>),
    /// Several to choose from.
    Index(Box<ImageIndex>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Manifest,
    Index,
}

/// What tells manifests and indexes apart, without trusting either.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<u32>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// Parses JSON; an error says where it went wrong.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).context("malformed JSON")
}

/// Parses a manifest or index. `media_type` is what its descriptor calls it; the content must not
/// contradict, or else two readers could see two images under one digest.
///
/// # Errors
///
/// Malformed JSON, a contradiction, Docker's schema 1, artifacts that are not images.
pub(super) fn parse_document(bytes: &[u8], media_type: &MediaType) -> Result<Document> {
    let probe: Probe = parse_json(bytes)?;
    let schema1 = |name: &str| DOCKER_SCHEMA1.contains(&name);
    if probe.schema_version == Some(1)
        || schema1(media_type.as_ref())
        || probe.media_type.as_deref().is_some_and(schema1)
    {
        bail!(
            "a Docker schema 1 manifest, which has no diff_ids; convert it first: \
             skopeo copy --format oci"
        );
    }
    ensure!(
        probe.schema_version == Some(2),
        "schemaVersion is not 2: not a manifest or index"
    );
    let kind = kind_of(media_type.as_ref())?;
    if let Some(own) = &probe.media_type {
        ensure!(
            kind_of(own)? == kind,
            "its descriptor calls it {media_type}, itself {own}"
        );
    }
    ensure!(
        probe.manifests.is_none() || probe.layers.is_none(),
        "it has both layers and manifests: manifest or index cannot be told"
    );
    if let Some(artifact) = &probe.artifact_type {
        bail!("an artifact of type {artifact}, not an image");
    }
    Ok(match kind {
        Kind::Manifest => Document::Manifest(Box::new(parse_json(bytes)?)),
        Kind::Index => Document::Index(Box::new(parse_json(bytes)?)),
    })
}

fn kind_of(media_type: &str) -> Result<Kind> {
    match (MediaType::from(media_type), media_type) {
        (MediaType::ImageManifest, _) | (_, DOCKER_MANIFEST) => Ok(Kind::Manifest),
        (MediaType::ImageIndex, _) | (_, DOCKER_INDEX) => Ok(Kind::Index),
        _ => bail!("media type {media_type} is neither an image manifest nor an index"),
    }
}

/// The digest of a descriptor.
pub(super) fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    let text = descriptor.digest().to_string();
    text.parse()
        .with_context(|| format!("digest {text} cannot be used: only sha256 is supported"))
}

/// Checks bytes against the descriptor that led to them.
pub(super) fn verify(bytes: &[u8], descriptor: &Descriptor) -> Result<Digest> {
    ensure!(
        bytes.len() as u64 == descriptor.size(),
        "has {} bytes, expected {}",
        bytes.len(),
        descriptor.size()
    );
    let (expected, found) = (digest_of(descriptor)?, Digest::of(bytes));
    ensure!(
        found == expected,
        "its content has the digest {found}, expected {expected}"
    );
    Ok(found)
}

/// The descriptor of the configuration, if the manifest is an image's.
pub(super) fn config_descriptor(manifest: &ImageManifest) -> Result<&Descriptor> {
    let config = manifest.config();
    let media_type = config.media_type();
    ensure!(
        *media_type == MediaType::ImageConfig || media_type.as_ref() == DOCKER_CONFIG,
        "its configuration is a {media_type}: an artifact, not an image"
    );
    ensure!(
        !manifest.layers().is_empty(),
        "the image is empty: it has no layers"
    );
    Ok(config)
}

impl ResolvedImage {
    /// Puts a manifest and its configuration together; `config_bytes` are verified here.
    ///
    /// # Errors
    ///
    /// Wrong size or digest, malformed JSON, another number of diff_ids than of layers.
    pub(super) fn new(
        manifest_bytes: Vec<u8>,
        manifest: ImageManifest,
        config_bytes: Vec<u8>,
    ) -> Result<Self> {
        let context = || format!("configuration {}", manifest.config().digest());
        let config_digest = verify(&config_bytes, manifest.config()).with_context(context)?;
        let config: ImageConfiguration = parse_json(&config_bytes).with_context(context)?;
        let layers = layer_descriptors(&manifest, &config)?;
        Ok(Self {
            manifest_digest: Digest::of(&manifest_bytes),
            manifest_bytes,
            manifest,
            config_bytes,
            config_digest,
            config,
            layers,
        })
    }
}

fn layer_descriptors(
    manifest: &ImageManifest,
    config: &ImageConfiguration,
) -> Result<Vec<LayerDescriptor>> {
    let (layers, diff_ids) = (manifest.layers(), config.rootfs().diff_ids());
    ensure!(
        layers.len() == diff_ids.len(),
        "the manifest has {} layers, the configuration {} diff_ids",
        layers.len(),
        diff_ids.len()
    );
    layers
        .iter()
        .zip(diff_ids)
        .enumerate()
        .map(|(index, (layer, diff_id))| {
            let number = index + 1;
            Ok(LayerDescriptor {
                index,
                digest: digest_of(layer).with_context(|| format!("layer {number}"))?,
                size: layer.size(),
                media_type: layer.media_type().to_string(),
                diff_id: diff_id
                    .parse()
                    .with_context(|| format!("diff_id of layer {number}"))?,
                unpacked: false,
            })
        })
        .collect()
}

/// How many of the lowest layers of the image with this configuration ostree-ext made of a commit.
pub fn base_layers(config: &ImageConfiguration) -> usize {
    let labels = config.config().as_ref().and_then(|c| c.labels().as_ref());
    let last = labels.and_then(|labels| labels.get(metadata::LABEL_FINAL_DIFF_ID));
    let mut diff_ids = config.rootfs().diff_ids().iter();
    last.and_then(|last| diff_ids.position(|diff_id| diff_id == last))
        .map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

    fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "config": descriptor(CONFIG, b"{}"),
            "layers": [descriptor(LAYER, b"layer")],
        })
    }

    fn with(mut document: Value, key: &str, value: Value) -> Value {
        document[key] = value;
        document
    }

    #[test]
    fn documents() {
        let index = json!({"schemaVersion": 2, "manifests": []});
        for (document, media_type, want) in [
            (manifest(), MANIFEST, "manifest"),
            (manifest(), DOCKER_MANIFEST, "manifest"),
            (
                with(manifest(), "mediaType", json!(MANIFEST)),
                MANIFEST,
                "manifest",
            ),
            (index.clone(), INDEX, "index"),
            (index.clone(), DOCKER_INDEX, "index"),
            // Bad ones.
            (
                with(manifest(), "mediaType", json!(INDEX)),
                MANIFEST,
                "itself application/vnd.oci.image.index",
            ),
            (
                with(manifest(), "manifests", json!([])),
                MANIFEST,
                "both layers and manifests",
            ),
            (
                with(manifest(), "schemaVersion", json!(1)),
                MANIFEST,
                "schema 1",
            ),
            (manifest(), DOCKER_SCHEMA1[1], "schema 1"),
            (json!({}), MANIFEST, "schemaVersion is not 2"),
            (json!([]), MANIFEST, "malformed JSON"),
            (index, "text/plain", "media type text/plain is neither"),
            (
                with(manifest(), "artifactType", json!("a/b")),
                MANIFEST,
                "an artifact of type a/b",
            ),
            (
                with(manifest(), "config", json!({})),
                MANIFEST,
                "missing field `mediaType`",
            ),
            (
                with(
                    manifest(),
                    "config",
                    json!({"mediaType": CONFIG, "size": 1, "digest": "sha256:../../x"}),
                ),
                MANIFEST,
                "malformed JSON",
            ),
        ] {
            let bytes = document.to_string().into_bytes();
            let got = match parse_document(&bytes, &MediaType::from(media_type)) {
                Ok(Document::Manifest(_)) => "manifest".to_owned(),
                Ok(Document::Index(_)) => "index".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            assert!(got.contains(want), "wanted {want}, got {got}: {document}");
        }
    }

    #[test]
    fn configurations() {
        let manifest_of = |value: Value| serde_json::from_value::<ImageManifest>(value).unwrap();
        for (value, reason) in [
            (
                with(
                    manifest(),
                    "config",
                    descriptor("application/vnd.oci.empty.v1+json", b"{}"),
                ),
                "an artifact, not an image",
            ),
            (with(manifest(), "layers", json!([])), "it has no layers"),
        ] {
            let error = config_descriptor(&manifest_of(value)).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let docker = with(manifest(), "config", descriptor(DOCKER_CONFIG, b"{}"));
        assert!(config_descriptor(&manifest_of(docker)).is_ok());
    }

    #[test]
    fn images() {
        let config = |diff_ids: Value| {
            json!({
                "os": "linux", "architecture": "amd64",
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                // More history than layers says nothing about the layers.
                "history": [{"created_by": "a"}, {"created_by": "b"}],
            })
            .to_string()
            .into_bytes()
        };
        let resolve = |descriptor_bytes: &[u8], config: Vec<u8>, layer: Value| {
            let manifest = json!({
                "schemaVersion": 2,
                "config": descriptor(CONFIG, descriptor_bytes),
                "layers": [layer],
            });
            let bytes = manifest.to_string().into_bytes();
            let manifest = serde_json::from_value(manifest).unwrap();
            ResolvedImage::new(bytes, manifest, config)
        };
        let diff_id = Digest::of(b"tar");
        let good = config(json!([diff_id]));
        let layer = descriptor(LAYER, b"layer");

        let image = resolve(&good, good.clone(), layer.clone()).unwrap();
        assert_eq!(
            image.layers,
            [LayerDescriptor {
                index: 0,
                digest: Digest::of(b"layer"),
                size: 5,
                media_type: LAYER.to_owned(),
                diff_id,
                unpacked: false,
            }]
        );
        assert_eq!(image.config_digest, Digest::of(&good));
        assert_eq!(image.manifest_digest, Digest::of(&image.manifest_bytes));

        let mut altered = good.clone();
        altered[0] = b' ';
        let sha512 = json!({"mediaType": LAYER, "size": 1, "digest": format!("sha512:{:0128}", 0)});
        for (descriptor_bytes, config, layer, reason) in [
            (&good, altered, &layer, "expected sha256:"),
            (&good, good[1..].to_vec(), &layer, "bytes, expected"),
            (&b"{]".to_vec(), b"{]".to_vec(), &layer, "line 1 column 2"),
            (
                &config(json!([])),
                config(json!([])),
                &layer,
                "1 layers, the configuration 0 diff_ids",
            ),
            (
                &config(json!(["x"])),
                config(json!(["x"])),
                &layer,
                "diff_id of layer 1",
            ),
            (&good, good.clone(), &sha512, "layer 1: digest sha512:000"),
        ] {
            let error = resolve(descriptor_bytes, config, layer.clone()).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(reason), "wanted {reason}: {error}");
        }
    }
}
