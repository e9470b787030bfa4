//! Where the bytes of an image lie: one file a transport behind [`ImageSource`].
//!
//! A source hands out raw manifest and configuration bytes, each checked against its digest, and
//! the bytes of layer blobs, which whoever reads them checks ([`crate::layer`]). Digests decide
//! paths; no link is followed out of the image.

use std::fmt;
use std::io::Read;

use anyhow::Result;
use oci_spec::image::{ImageConfiguration, ImageManifest};

use crate::digest::Digest;

/// An image somewhere. `Display` prints the reference that a user would give for it.
pub trait ImageSource: fmt::Display + Send + Sync {
    /// Picks the image for `platform`, reads its manifest and configuration and verifies both.
    fn resolve(&self, platform: &Platform) -> Result<ResolvedImage>;

    /// The bytes of a layer blob as they are stored, unverified.
    fn open_layer(&self, layer: &LayerDescriptor) -> Result<Box<dyn Read + Send + '_>>;
}

/// Which image of an index is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system in Go's words (`linux`).
    pub os: String,
    /// Architecture in Go's words (`amd64`, `arm64`).
    pub architecture: String,
    /// Variant (`v8`), where it matters.
    pub variant: Option<String>,
}

/// An image whose manifest and configuration were read and verified.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The manifest, byte for byte (for a docker-archive the one skopeo would make).
    pub manifest_bytes: Vec<u8>,
    /// Digest of `manifest_bytes`.
    pub manifest_digest: Digest,
    /// The manifest, parsed.
    pub manifest: ImageManifest,
    /// The configuration, byte for byte.
    pub config_bytes: Vec<u8>,
    /// Digest of `config_bytes`.
    pub config_digest: Digest,
    /// The configuration, parsed.
    pub config: ImageConfiguration,
    /// The layers from the lowest up.
    pub layers: Vec<LayerDescriptor>,
}

/// What manifest and configuration say of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Position in the manifest, from 0 for the lowest.
    pub index: usize,
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// Size of the blob as stored, in bytes.
    pub size: u64,
    /// Media type as the manifest gives it.
    pub media_type: String,
    /// Digest of the decompressed tar stream.
    pub diff_id: Digest,
}

impl fmt::Display for LayerDescriptor {
    /// `layer 3 (sha256:…)`, counted from 1 as people do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {} ({})", self.index + 1, self.digest)
    }
}
