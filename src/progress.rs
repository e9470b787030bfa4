//! How far a long work is: told by the stages, shown by whoever calls.

/// The parts of an import that take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Layers are fetched, verified and unpacked; counted in bytes of their blobs.
    Layers,
    /// The image's dracut makes an initramfs; there is nothing to count.
    Initramfs,
    /// Content objects are hashed and written; counted in files and links.
    Objects,
}

/// How far one layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStep {
    /// It is about to be read.
    Begun,
    /// So many bytes more of its blob are read.
    Read(u64),
    /// It is read, and is what its image says.
    Done,
}

/// Who wants to know. Called from many threads.
pub trait Progress: Sync {
    /// `stage` begins; it will be done after `total` units.
    fn begin(&self, stage: Stage, total: u64);

    /// `units` more of the stage under way are done.
    fn advance(&self, units: u64);

    /// The stage under way is done.
    fn end(&self);

    /// A layer is so far: the one at this position of the manifest, of those that are read at once.
    /// Few want to know.
    fn layer(&self, _index: usize, _step: LayerStep) {}
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: Stage, _total: u64) {}
    fn advance(&self, _units: u64) {}
    fn end(&self) {}
}
