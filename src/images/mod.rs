//! The images that a repo holds: ours, and those that ostree-ext, bootc and rpm-ostree pulled.
//!
//! To them one ref that cannot be read spoils all images of a repo. Here it is listed with what is
//! wrong with it, and everything that it may need is kept.

pub mod answer;
mod copy;
mod find;
mod history;
mod inventory;
mod leaving;
mod list;
mod remove;
mod state;
mod update;

pub use copy::{Copied, copy};
pub use find::find;
pub use history::{LayerHistory, history};
pub use leaving::Leaving;
pub use list::{Listing, list};
pub use remove::{Extent, PruneOptions, prune, remove};
pub use state::{CachedUpdate, ImageState, of_commit, of_metadata, query};
pub use update::remember_update;
