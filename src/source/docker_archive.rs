//! `docker-archive:FILE[:REFERENCE]`: what `docker save`, `podman save` and builders write.
//!
//! Such an archive has no manifest. The one handed out is what skopeo makes of it: Docker's
//! schema 2, where the digest and size of a layer are those of the decompressed tar. So the
//! bytes of a layer are handed out decompressed.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Cursor, Read};

use anyhow::{Context as _, Result, ensure};
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::decompress::decompress;
use super::layout::Member;
use super::manifest::{self, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST};
use super::reference::{ImageSelector, LocalReference, normalise_docker_name};
use super::{ImageSource, LayerDescriptor, Platform, ResolvedImage};
use crate::compression::{Compression, MAGIC};
use crate::digest::Digest;

/// What the layers are when they are handed out. skopeo's manifest calls them gzip.
const PLAIN_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// An archive as `docker save` writes it.
#[derive(Debug)]
pub(super) struct DockerArchive {
    reference: LocalReference,
    archive: Archive,
    image: SavedImage,
}

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// The manifest that skopeo makes; the order of its fields decides on its digest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Schema2 {
    schema_version: u32,
    media_type: &'static str,
    config: Schema2Descriptor,
    layers: Vec<Schema2Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Schema2Descriptor {
    media_type: &'static str,
    size: u64,
    digest: Digest,
}

/// Picks the image of `archive`, which lies at the path of `reference`.
pub(super) fn open(reference: &LocalReference, archive: Archive) -> Result<DockerArchive> {
    ensure!(
        archive.contains("manifest.json") || !archive.contains("oci-layout"),
        "{reference}: it has an oci-layout, but no manifest.json: name it oci-archive:{}",
        reference.path.display()
    );
    let image = select(&archive, reference)
        .context("manifest.json")
        .with_context(|| reference.to_string())?;
    Ok(DockerArchive {
        reference: reference.clone(),
        archive,
        image,
    })
}

fn select(archive: &Archive, reference: &LocalReference) -> Result<SavedImage> {
    let bytes = archive.open_file("manifest.json")?.read_document()?;
    let mut images: Vec<SavedImage> = manifest::parse_json(&bytes)?;
    let position = match &reference.image {
        Some(ImageSelector::Position(position)) => {
            ensure!(
                *position < images.len(),
                "there is no @{position}: it has {} images",
                images.len()
            );
            *position
        }
        Some(ImageSelector::Name(name)) => images
            .iter()
            .position(|image| image.full_names().any(|full| full == *name))
            .with_context(|| format!("no image is named {name}; {}", list(&images)))?,
        None => {
            ensure!(!images.is_empty(), "it has no image");
            ensure!(
                images.len() == 1,
                "it has several images: name one as {reference}:NAME:TAG; {}",
                list(&images)
            );
            0
        }
    };
    Ok(images.swap_remove(position))
}

impl DockerArchive {
    /// Reads a configuration and checks it against the digest that its name is.
    fn read_config(&self, name: &str) -> Result<Vec<u8>> {
        let context = || format!("configuration {name}");
        let member = self.archive.open_linked_file(name).with_context(context)?;
        let bytes = member.read_document().with_context(context)?;
        let stem = name.rsplit('/').next().unwrap_or(name);
        let stem = stem.strip_suffix(".json").unwrap_or(stem);
        let stem = stem.strip_prefix("sha256:").unwrap_or(stem);
        if let Ok(named) = Digest::from_hex(stem) {
            let found = Digest::of(&bytes);
            ensure!(
                found == named,
                "configuration {name}: its content has the digest {found}, its name says {named}"
            );
        }
        Ok(bytes)
    }

    /// Describes each layer as skopeo does.
    fn describe_layers(&self, config: &ImageConfiguration) -> Result<Vec<Schema2Descriptor>> {
        let (members, diff_ids) = (&self.image.layers, config.rootfs().diff_ids());
        ensure!(!members.is_empty(), "the image is empty: it has no layers");
        ensure!(
            members.len() == diff_ids.len(),
            "manifest.json has {} layers, the configuration {} diff_ids",
            members.len(),
            diff_ids.len()
        );
        // Layers that an image has twice are one member, read once.
        let mut sizes = HashMap::new();
        let mut descriptors = Vec::with_capacity(diff_ids.len());
        for (index, (member, diff_id)) in members.iter().zip(diff_ids).enumerate() {
            let context = || format!("layer {} ({member})", index + 1);
            let digest: Digest = diff_id.parse().with_context(context)?;
            let size = match sizes.get(&digest) {
                Some(&size) => size,
                None => self.decompressed_size(member).with_context(context)?,
            };
            sizes.insert(digest, size);
            descriptors.push(Schema2Descriptor {
                media_type: DOCKER_LAYER,
                size,
                digest,
            });
        }
        Ok(descriptors)
    }

    /// The size of a layer's tar; a compressed one has to be read for that.
    fn decompressed_size(&self, member: &str) -> Result<u64> {
        let layer = Layer::open(self.archive.open_linked_file(member)?)?;
        match layer.compressed {
            false => Ok(layer.stored_size),
            true => Ok(io::copy(&mut { layer.reader }, &mut io::sink())?),
        }
    }
}

impl ImageSource for DockerArchive {
    fn resolve(&self, platform: &Platform) -> Result<ResolvedImage> {
        let config_bytes = self.read_config(&self.image.config)?;
        let config: ImageConfiguration = manifest::parse_json(&config_bytes)
            .with_context(|| format!("configuration {}", self.image.config))?;
        platform.check(&config)?;
        let manifest_bytes = serde_json::to_vec(&Schema2 {
            schema_version: 2,
            media_type: DOCKER_MANIFEST,
            config: Schema2Descriptor {
                media_type: DOCKER_CONFIG,
                size: config_bytes.len() as u64,
                digest: Digest::of(&config_bytes),
            },
            layers: self.describe_layers(&config)?,
        })?;
        let manifest = manifest::parse_json(&manifest_bytes)?;
        let mut image = ResolvedImage::new(manifest_bytes, manifest, config_bytes)?;
        for layer in &mut image.layers {
            layer.media_type = PLAIN_LAYER.to_owned();
        }
        Ok(image)
    }

    fn open_layer(&self, layer: &LayerDescriptor) -> Result<Box<dyn Read + Send + '_>> {
        let name = &self.image.layers[layer.index];
        let layer = Layer::open(self.archive.open_linked_file(name)?)?;
        Ok(layer.reader)
    }
}

impl fmt::Display for DockerArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

impl SavedImage {
    fn full_names(&self) -> impl Iterator<Item = String> {
        let names = self.repo_tags.iter().flatten();
        names.filter_map(|name| normalise_docker_name(name).ok())
    }
}

/// A layer's member, decompressed.
struct Layer<'a> {
    compressed: bool,
    stored_size: u64,
    reader: Box<dyn Read + Send + 'a>,
}

impl<'a> Layer<'a> {
    fn open(mut member: Member<'a>) -> Result<Self> {
        let mut head = Vec::with_capacity(MAGIC);
        member
            .reader
            .by_ref()
            .take(MAGIC as u64)
            .read_to_end(&mut head)?;
        let compression = Compression::sniff(&head)?;
        let stream = Cursor::new(head).chain(member.reader);
        Ok(Self {
            compressed: compression != Compression::None,
            stored_size: member.size,
            reader: decompress(stream, compression)?,
        })
    }
}

fn list(images: &[SavedImage]) -> String {
    let names: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(position, image)| match image.repo_tags.as_deref() {
            None | Some([]) => format!("@{position}"),
            Some(tags) => tags.join(", "),
        })
        .collect();
    format!("the images are {}", names.join(", "))
}
