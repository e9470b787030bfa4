//! The images that a repo holds: ours, and those that ostree-ext, bootc and rpm-ostree pulled.
//!
//! To them one ref that cannot be read spoils all images of a repo. Here it is listed with what is
//! wrong with it, and everything that it may need is kept.

mod list;
mod state;

pub use list::{Listing, list};
pub use state::{CachedUpdate, ImageState, of_commit, query};
