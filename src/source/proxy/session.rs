//! One skopeo process with one image open: the only place with asynchronous code.
//!
//! skopeo closes the pipe of a blob only once it is told that the blob was read, and listens to
//! nothing else until the blob was sent. So a session does one thing at a time, and who wants
//! several layers at once takes several sessions.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use containers_image_proxy::{ImageProxy, ImageProxyConfig, OpenedImage};
use oci_spec::image::{Digest as OciDigest, ImageManifest, MediaType};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

use super::skopeo::told;
use super::{Document, Idle, LayerDescriptor, ResolvedImage, manifest};
use crate::contract::{ImageReference, Transport};
use crate::digest::{Digest, Hasher};

/// How many bytes of a blob are handed over at once, and how many such pieces may wait.
const CHUNK: usize = 256 * 1024;
pub(super) const CHUNKS: usize = 4;

/// A piece of a blob, or why there are no more. A blob ends with the last piece.
pub(super) type Piece = io::Result<Vec<u8>>;

#[derive(Debug)]
pub(super) struct Session {
    proxy: ImageProxy,
    image: OpenedImage,
}

impl Session {
    pub(super) async fn open(config: ImageProxyConfig, image: &ImageReference) -> Result<Self> {
        let proxy = ImageProxy::new_with_config(config);
        let proxy = proxy.await.map_err(|error| told(&error))?;
        // The grammar of both crates is the same; printed and parsed again nothing is lost.
        let image = proxy.open_image(&image.to_string()).await;
        let image = image.map_err(|error| told(&error))?;
        Ok(Self { proxy, image })
    }

    /// Does skopeo itself look at the policy? It does since 1.13; all that can be asked of the
    /// proxy is whether it is 1.19.
    pub(super) fn looks_at_the_policy(&self) -> bool {
        self.proxy.supports_get_raw_blob()
    }

    /// Reads and verifies manifest and configuration.
    pub(super) async fn resolve(&self, transport: Transport) -> Result<ResolvedImage> {
        let manifest = self.proxy.fetch_manifest_raw_oci(&self.image).await;
        let (known_as, bytes) = manifest.map_err(|error| told(&error))?;
        let known_as: Digest = known_as.parse()?;
        let context = || format!("manifest {known_as}");
        // skopeo hands out no index, and no other kind of manifest.
        let document = manifest::parse_document(&bytes, &MediaType::ImageManifest);
        let manifest = match document.with_context(context)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => bail!("{} is an index", context()),
        };
        // Otherwise it is one of Docker's, which skopeo has converted.
        let verbatim = Digest::of(&bytes) == known_as;
        let config = self.config(&manifest, verbatim).await;
        let config =
            config.with_context(|| format!("configuration {}", manifest.config().digest()))?;
        let mut image = ResolvedImage::new(bytes, *manifest, config)?;
        image.manifest_digest = known_as;
        for layer in &mut image.layers {
            // The store has unpacked what it pulled, and only knows the digest of what that was.
            layer.unpacked = transport == Transport::ContainerStorage;
        }
        Ok(image)
    }

    async fn config(&self, manifest: &ImageManifest, verbatim: bool) -> Result<Vec<u8>> {
        let descriptor = manifest::config_descriptor(manifest)?;
        if !verbatim {
            // Converted with the manifest, it lies nowhere as a blob.
            let config = self.proxy.fetch_config_raw(&self.image).await;
            return config.map_err(|error| told(&error));
        }
        let limit = manifest::DOCUMENT_LIMIT;
        let size = descriptor.size();
        ensure!(size <= limit, "longer than {limit} bytes");
        let (reader, finished) = self
            .proxy
            .get_blob(&self.image, descriptor.digest(), size)
            .await
            .map_err(|error| told(&error))?;
        let read = async {
            let mut bytes = Vec::new();
            let mut reader = reader.take(size + 1);
            reader.read_to_end(&mut bytes).await?;
            ensure!(bytes.len() as u64 <= size, "longer than {size} bytes");
            Ok(bytes)
        };
        let finished = async { finished.await.map_err(|error| told(&error)) };
        Ok(tokio::try_join!(read, finished)?.0)
    }

    /// Sends the bytes of `layer` to `pieces`. A session that has done so is `idle` again; another,
    /// whose skopeo may still be sending, ends.
    pub(super) async fn send_layer(
        self,
        layer: LayerDescriptor,
        pieces: mpsc::Sender<Piece>,
        idle: Arc<Idle>,
    ) {
        match self.copy_layer(&layer, &pieces).await {
            Ok(()) => idle.put(self),
            Err(error) => {
                // Where nobody waits any more, nobody needs to know.
                let _ = pieces.send(Err(io::Error::other(error))).await;
            }
        }
    }

    async fn copy_layer(
        &self,
        layer: &LayerDescriptor,
        pieces: &mpsc::Sender<Piece>,
    ) -> Result<()> {
        let digest: OciDigest = match layer.unpacked {
            true => layer.diff_id.to_string().parse()?,
            false => layer.digest.to_string().parse()?,
        };
        let blob = self.proxy.get_blob(&self.image, &digest, layer.size).await;
        let (blob, finished) = blob.map_err(|error| told(&error))?;
        let finished = async { finished.await.map_err(|error| told(&error)) };
        if !layer.unpacked {
            return tokio::try_join!(send(blob, pieces, None), finished).map(|_| ());
        }
        // skopeo knows the size of the blob only, and calls that of the tar wrong. So the tar's
        // own digest tells whether it is whole.
        let mut hasher = Hasher::default();
        let sending = async {
            let sent = send(blob, pieces, Some(&mut hasher)).await;
            anyhow::Ok(sent)
        };
        let (sent, finished) = tokio::join!(sending, finished);
        sent??;
        match hasher.finish() == layer.diff_id {
            true => Ok(()),
            false => finished,
        }
    }
}

/// Sends all of `blob` to `pieces`.
async fn send(
    mut blob: impl AsyncRead + Unpin,
    pieces: &mpsc::Sender<Piece>,
    mut hasher: Option<&mut Hasher>,
) -> Result<()> {
    loop {
        let mut piece = Vec::with_capacity(CHUNK);
        while piece.len() < CHUNK && blob.read_buf(&mut piece).await? > 0 {}
        if piece.is_empty() {
            return Ok(());
        }
        if let Some(hasher) = &mut hasher {
            hasher.update(&piece);
        }
        ensure!(pieces.send(Ok(piece)).await.is_ok(), "nobody reads it");
    }
}
