//! `docker://NAME`, `containers-storage:NAME`, `dir:DIR`: what skopeo reads for us.
//!
//! Registries, credentials, mirrors and signatures are its subject, and hosts are set up for it;
//! what it hands out is verified here as everything else is. Each layer is fetched only when it is
//! asked for.

mod options;
mod policy;
mod session;
mod skopeo;

use std::fmt;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;

pub use self::options::FetchOptions;
use self::policy::Policy;
use self::session::{CHUNKS, Piece, Session};
use self::skopeo::Skopeo;
use super::manifest::{self, Document};
use super::{ImageSource, LayerDescriptor, Platform, ResolvedImage, SourceReference};
use crate::contract::{OstreeImageReference, Transport};

/// An image that skopeo reads.
#[derive(Debug)]
pub(super) struct ProxySource {
    reference: OstreeImageReference,
    skopeo: Skopeo,
    /// What the image was resolved for.
    platform: Mutex<Option<Platform>>,
    idle: Arc<Idle>,
    runtime: Background,
}

/// Sessions that wait for work.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<Session>>);

impl Idle {
    fn put(&self, session: Session) {
        self.0
            .lock()
            .expect("no panic under the lock")
            .push(session);
    }

    fn take(&self) -> Option<Session> {
        self.0.lock().expect("no panic under the lock").pop()
    }
}

/// A runtime whose threads are not waited for: one of them may wait for a skopeo that waits for a
/// registry.
#[derive(Debug)]
struct Background(Option<Runtime>);

impl Background {
    fn new() -> io::Result<Self> {
        Ok(Self(Some(runtime::Builder::new_current_thread().build()?)))
    }

    /// Runs `work`, and what was spawned meanwhile, until `work` is done.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime().block_on(work)
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken by drop alone")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl ProxySource {
    /// An image by its name. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// The policy cannot be read, or is none that `reference` can be trusted with.
    pub(super) fn new(reference: OstreeImageReference, options: &FetchOptions) -> Result<Self> {
        let policy = Policy::read(&reference, options)?;
        Ok(Self {
            reference,
            skopeo: Skopeo::new(options.clone(), policy),
            platform: Mutex::default(),
            idle: Arc::default(),
            runtime: Background::new().context("starting the runtime for skopeo")?,
        })
    }

    fn open_session(&self, platform: &Platform) -> Result<Session> {
        let image = &self.reference.imgref;
        let config = self.skopeo.proxy(platform);
        let opened = self.runtime.run(Session::open(config, image));
        // Its proxy does not enter the namespace by itself, as its other commands do.
        match image.transport == Transport::ContainerStorage && !geteuid().is_root() {
            true => opened.context(
                "a user's images are read in the user's namespace: \
                 podman unshare (or buildah unshare) import-oci …",
            ),
            false => opened,
        }
    }

    /// Lets the policy judge what a skopeo that does not look at it has read.
    fn judge(&self, platform: &Platform, image: &ResolvedImage) -> Result<()> {
        let transport = self.reference.imgref.transport;
        if !self.skopeo.policy.asks_of(transport) {
            return Ok(());
        }
        ensure!(
            transport != Transport::ContainerStorage,
            "{} asks something of images in containers-storage, and that it was heeded can be \
             told of skopeo 1.19 and later only",
            self.skopeo.policy.file.display()
        );
        self.skopeo.judge(&self.reference.imgref, platform, image)
    }
}

impl ImageSource for ProxySource {
    fn resolve(&self, platform: &Platform) -> Result<ResolvedImage> {
        let session = self.open_session(platform)?;
        let transport = self.reference.imgref.transport;
        let image = self.runtime.run(session.resolve(transport))?;
        if !session.looks_at_the_policy() {
            self.judge(platform, &image)?;
        }
        platform.check(&image.config)?;
        *self.platform.lock().expect("no panic under the lock") = Some(platform.clone());
        self.idle.put(session);
        Ok(image)
    }

    fn open_layer(&self, layer: &LayerDescriptor) -> Result<Box<dyn Read + Send + '_>> {
        let session = match self.idle.take() {
            Some(session) => session,
            None => {
                let platform = self
                    .platform
                    .lock()
                    .expect("no panic under the lock")
                    .clone();
                self.open_session(&platform.context("the image is not resolved")?)?
            }
        };
        let (sender, pieces) = mpsc::channel(CHUNKS);
        let sending = session.send_layer(layer.clone(), sender, self.idle.clone());
        self.runtime.runtime().spawn(sending);
        let mut blob = Blob {
            pieces,
            piece: Cursor::default(),
            runtime: &self.runtime,
        };
        // Whether there is such a blob is known with its first bytes.
        blob.next_piece()?;
        Ok(Box::new(blob))
    }
}

impl fmt::Display for ProxySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SourceReference::Fetched(self.reference.clone()).fmt(f)
    }
}

/// A blob on its way.
struct Blob<'a> {
    pieces: mpsc::Receiver<Piece>,
    piece: Cursor<Vec<u8>>,
    runtime: &'a Background,
}

impl Blob<'_> {
    /// Waits for the next piece; an empty one is the end.
    fn next_piece(&mut self) -> io::Result<()> {
        let piece = self.runtime.run(self.pieces.recv()).transpose()?;
        self.piece = Cursor::new(piece.unwrap_or_default());
        Ok(())
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.position() == self.piece.get_ref().len() as u64 {
            self.next_piece()?;
        }
        self.piece.read(buffer)
    }
}
