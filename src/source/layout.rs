//! OCI image layouts, wherever their files lie (image-spec, `image-layout.md`).

use std::fmt;
use std::io::Read;

use anyhow::{Context as _, Result, bail, ensure};
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, OciLayout};
use serde::de::DeserializeOwned;

use super::manifest::{self, DOCUMENT_LIMIT, Document};
use super::platform::is_image;
use super::reference::{ImageSelector, LocalReference};
use super::{ImageSource, LayerDescriptor, Platform, ResolvedImage};
use crate::digest::Digest;

/// How deep indexes may lie in each other, below `index.json`.
const INDEX_DEPTH: usize = 3;

/// A file of a layout or archive, opened.
pub(super) struct Member<'a> {
    /// In bytes.
    pub(super) size: u64,
    /// Its content.
    pub(super) reader: Box<dyn Read + Send + 'a>,
}

impl Member<'_> {
    /// Reads it whole; more than [`DOCUMENT_LIMIT`] is an error.
    pub(super) fn read_document(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader
            .take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)?;
        ensure!(
            bytes.len() as u64 <= DOCUMENT_LIMIT,
            "longer than {DOCUMENT_LIMIT} bytes"
        );
        Ok(bytes)
    }
}

/// The files of a layout.
pub(super) trait LayoutFiles: fmt::Debug + Send + Sync {
    /// Opens the regular file at `path` below the layout's root, following no link. Errors name
    /// `path`.
    fn open(&self, path: &str) -> Result<Member<'_>>;
}

/// An OCI image layout.
#[derive(Debug)]
pub(super) struct Layout<F> {
    reference: LocalReference,
    files: F,
}

impl<F: LayoutFiles> Layout<F> {
    pub(super) fn new(reference: LocalReference, files: F) -> Self {
        Self { reference, files }
    }

    fn read_json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T> {
        let bytes = self.files.open(name)?.read_document();
        bytes
            .and_then(|bytes| manifest::parse_json(&bytes))
            .context(name)
    }

    /// Picks the entry of `index.json` that the reference means. Entries of one name, or of none,
    /// are the same image for several platforms.
    fn select<'a>(&self, index: &'a ImageIndex, platform: &Platform) -> Result<&'a Descriptor> {
        let entries = index.manifests();
        if let Some(ImageSelector::Position(position)) = self.reference.image {
            return entries.get(position).with_context(|| {
                format!("there is no @{position}: it has {} entries", entries.len())
            });
        }
        let images = entries.iter().filter(|entry| is_image(entry));
        let candidates: Vec<_> = match &self.reference.image {
            Some(ImageSelector::Name(name)) => {
                images.filter(|entry| tag(entry) == Some(name)).collect()
            }
            _ => images.collect(),
        };
        let mut tags: Vec<_> = entries.iter().filter_map(tag).collect();
        tags.sort_unstable();
        tags.dedup();
        match (&candidates[..], &self.reference.image) {
            ([only], _) => Ok(only),
            ([], Some(name)) => bail!("no image is tagged {name}; {}", list(&tags)),
            ([], None) => bail!("it has no image"),
            ([first, rest @ ..], _) if rest.iter().all(|entry| tag(entry) == tag(first)) => {
                platform.choose(&candidates)
            }
            _ => bail!(
                "it has several images: name one as {}:TAG; {}",
                self.reference,
                list(&tags)
            ),
        }
    }

    fn read_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let member = self.open_blob(manifest::digest_of(descriptor)?)?;
        let bytes = member.read_document()?;
        manifest::verify(&bytes, descriptor)?;
        Ok(bytes)
    }

    fn open_blob(&self, digest: Digest) -> Result<Member<'_>> {
        self.files.open(&format!("blobs/sha256/{}", digest.hex()))
    }
}

impl<F: LayoutFiles> ImageSource for Layout<F> {
    fn resolve(&self, platform: &Platform) -> Result<ResolvedImage> {
        let layout: OciLayout = self.read_json("oci-layout")?;
        let version = layout.image_layout_version();
        ensure!(
            version.starts_with("1."),
            "oci-layout: imageLayoutVersion {version} is not supported, expected 1.0.0"
        );
        let index: ImageIndex = self.read_json("index.json")?;
        let mut entry = self.select(&index, platform).context("index.json")?.clone();
        for _ in 0..=INDEX_DEPTH {
            let context = || format!("manifest {}", entry.digest());
            let bytes = self.read_blob(&entry).with_context(context)?;
            match manifest::parse_document(&bytes, entry.media_type()).with_context(context)? {
                Document::Manifest(manifest) => {
                    let config = manifest::config_descriptor(&manifest).with_context(context)?;
                    let config_bytes = self
                        .read_blob(config)
                        .with_context(|| format!("configuration {}", config.digest()))?;
                    let image = ResolvedImage::new(bytes, *manifest, config_bytes)?;
                    platform.check(&image.config)?;
                    return Ok(image);
                }
                Document::Index(index) => {
                    let entries: Vec<_> = index.manifests().iter().collect();
                    entry = platform
                        .choose(&entries)
                        .with_context(|| format!("index {}", entry.digest()))?
                        .clone();
                }
            }
        }
        bail!("more than {INDEX_DEPTH} indexes lie in each other");
    }

    fn open_layer(&self, layer: &LayerDescriptor) -> Result<Box<dyn Read + Send + '_>> {
        let member = self.open_blob(layer.digest)?;
        ensure!(
            member.size == layer.size,
            "the blob has {} bytes, the manifest says {}",
            member.size,
            layer.size
        );
        Ok(member.reader)
    }
}

impl<F> fmt::Display for Layout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

fn tag(entry: &Descriptor) -> Option<&String> {
    entry.annotations().as_ref()?.get(ANNOTATION_REF_NAME)
}

fn list(tags: &[&String]) -> String {
    match tags {
        [] => "none has a tag; name one by its position: @0, @1, …".to_owned(),
        tags => {
            let tags: Vec<_> = tags.iter().map(|tag| tag.as_str()).collect();
            format!("the tags are {}", tags.join(", "))
        }
    }
}
