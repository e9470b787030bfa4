//! Where the bytes of an image lie: one file a transport behind [`ImageSource`].
//!
//! A source hands out raw manifest and configuration bytes, each checked against its digest, and
//! the bytes of layer blobs, which whoever reads them checks ([`crate::layer`]). Digests decide
//! paths; no link is followed out of the image.

mod archive;
mod beneath;
mod decompress;
mod docker_archive;
mod inode;
mod layout;
mod manifest;
mod members;
mod oci_archive;
mod oci_dir;
mod platform;
mod proxy;
mod recognise;
mod reference;
mod resolved;
mod rootfs;
mod rootfs_bodies;

use std::fmt;
use std::io::Read;

use anyhow::{Context as _, Result};
use oci_spec::image::{ImageConfiguration, ImageManifest};

use self::archive::Archive;
pub use self::manifest::base_layers;
pub use self::proxy::FetchOptions;
use self::proxy::ProxySource;
use self::recognise::recognise;
use self::reference::Named;
pub use self::reference::{ImageSelector, LocalReference, SourceReference, Transport};
pub use self::resolved::ResolvedSource;
pub use self::rootfs::{RootfsSource, UnpackedRoot};
pub use self::rootfs_bodies::RootfsBodies;
use crate::digest::Digest;

/// What a reference led to.
#[derive(Debug)]
pub enum Source {
    /// An image: manifest, configuration and layers.
    Image(Box<dyn ImageSource>),
    /// An unpacked root.
    Root(RootfsSource),
}

/// Opens what `text` names: `TRANSPORT:PATH[:IMAGE]` or `docker://NAME` after
/// containers-transports(5), or a path at which an image or an unpacked root is recognised. Returns
/// also what it was taken for.
///
/// # Errors
///
/// A transport that is not read here, nothing there, not what the transport says, or a policy that
/// cannot give the signature asked for. What is inside an image is looked at, and a registry asked
/// for it, by [`ImageSource::resolve`] only.
pub fn open(text: &str, options: &FetchOptions) -> Result<(SourceReference, Source)> {
    let (reference, archive) = match Named::parse(text)? {
        Named::Fetched(reference) => {
            let source = ProxySource::new(reference.clone(), options)?;
            let source = Source::Image(Box::new(source));
            return Ok((SourceReference::Fetched(reference), source));
        }
        Named::Local(reference) => (reference, None),
        Named::Path(path) => recognise(path)?,
    };
    let source = open_as(&reference, archive)?;
    Ok((SourceReference::Local(reference), source))
}

/// Opens what `reference` names. `archive` is what lies at its path if that is open already: a
/// compressed archive is decompressed to look at it, which is not done twice.
fn open_as(reference: &LocalReference, archive: Option<Archive>) -> Result<Source> {
    let archive = || {
        archive
            .map_or_else(|| Archive::open(&reference.path), Ok)
            .with_context(|| reference.to_string())
    };
    Ok(match reference.transport {
        Transport::Oci => Source::Image(Box::new(oci_dir::open(reference)?)),
        Transport::OciArchive => Source::Image(Box::new(oci_archive::open(reference, archive()?)?)),
        Transport::DockerArchive => {
            Source::Image(Box::new(docker_archive::open(reference, archive()?)?))
        }
        Transport::Rootfs => Source::Root(RootfsSource::open(reference)?),
    })
}

/// An image somewhere. `Display` prints the reference that a user would give for it; errors say
/// where inside it something is wrong and leave naming the image to the caller.
pub trait ImageSource: fmt::Display + fmt::Debug + Send + Sync {
    /// Picks the image for `platform`, reads its manifest and configuration and verifies both.
    fn resolve(&self, platform: &Platform) -> Result<ResolvedImage>;

    /// The bytes of a layer, unverified: those that size and digest of its descriptor speak of, or
    /// its tar where that is [unpacked](LayerDescriptor::unpacked).
    /// `layer` comes from [`ImageSource::resolve`] of the same source.
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
    /// The manifest, byte for byte (for a docker-archive the one skopeo would make; Docker's
    /// manifests that skopeo fetches come converted to OCI).
    pub manifest_bytes: Vec<u8>,
    /// Digest of the manifest by which its source knows it: that of `manifest_bytes`, unless those
    /// are converted.
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
    /// Digest of the blob as stored (for a docker-archive of the decompressed tar).
    pub digest: Digest,
    /// Size of the bytes that `digest` is of.
    pub size: u64,
    /// Media type as the manifest gives it (for a docker-archive that of a plain tar).
    pub media_type: String,
    /// Digest of the decompressed tar stream.
    pub diff_id: Digest,
    /// Does the source hand out the decompressed tar instead of the blob? So do stores that keep
    /// layers unpacked (containers-storage): nobody can check `digest` and `size` there, and what
    /// vouches for the content is `diff_id` alone.
    pub unpacked: bool,
}

impl fmt::Display for LayerDescriptor {
    /// `layer 3 (sha256:…)`, counted from 1 as people do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {} ({})", self.index + 1, self.digest)
    }
}
