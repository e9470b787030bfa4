//! What is written in ostree repositories about images, as ostree-ext, bootc and rpm-ostree read
//! it.
//!
//! - [`ImageReference`] and [`OstreeImageReference`]: how an image and the trust in it are named,
//! - [`ref_escape`]: how any text becomes part of a ref name,
//! - [`RefName`]: which refs there are,
//! - [`metadata`]: what a commit says of the image it was made from,
//! - [`created()`]: when that image was made,
//! - [`Origin`]: what a deployment says of it.
//!
//! The module is a leaf: it knows nothing of importing, reads no repository and writes none. It is
//! pinned to the answers of ostree-ext 0.15.3 and of the parser that bootc 1.16 uses
//! (`tests/data/contract`); where the two differ, bootc's is followed and the difference told.

mod created;
mod image_reference;
pub mod metadata;
mod origin;
pub mod ref_escape;
mod refs;

pub use created::created;
pub use image_reference::{
    ImageReference, OstreeImageReference, ReferenceError, SignatureSource, Transport,
};
pub use metadata::{ImageMetadata, LayerMetadata, MetadataValue};
pub use origin::{Origin, OriginError};
pub use refs::{RefError, RefName};
