//! The tar format in all its dialects: headers, PAX records, maps of sparse files. Pure: bytes in,
//! values out. Layers and the archives that hold images are both read with it.

mod error;
pub mod extended;
pub mod header;
pub mod pax;
pub mod sparse;

pub use error::TarError;

/// How much a layer may ask for. The defaults are far above what images have; beyond them lies
/// only what would exhaust memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries, extended headers included.
    pub entries: u64,
    /// Bytes of one PAX extended header.
    pub pax: u64,
    /// Bytes of one GNU long name or link target.
    pub long_name: u64,
    /// Bytes of names and values of the extended attributes of one entry.
    pub xattrs: usize,
    /// The same of all entries of a layer together.
    pub layer_xattrs: usize,
    /// Segments of one sparse file.
    pub sparse_segments: usize,
    /// Bytes of one sparse file with its holes, which cost nothing to claim.
    pub sparse_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            pax: 1 << 20,
            // A path may have 4096 bytes; some writers fill up with NULs.
            long_name: 8192,
            xattrs: 64 << 10,
            // A label and a few more for each of some hundred thousand files.
            layer_xattrs: 64 << 20,
            sparse_segments: 1_000_000,
            sparse_size: 2 << 40,
        }
    }
}
