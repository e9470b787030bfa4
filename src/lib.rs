//! Turn an ordinary OCI image into an OSTree commit that boots.
//!
//! [`import::import`] is the pipeline; the modules it calls lie in its order: [`source`],
//! [`layer`], [`tree`], [`fixup`], [`label`], [`object`], [`repo`], [`commit`], [`publish`]. Each
//! uses only what stands before it.

pub mod base_layer;
pub mod bodies;
pub mod cache;
pub mod cli;
pub mod commit;
pub mod compression;
pub mod contract;
pub mod deploy;
pub mod digest;
pub mod entry;
pub mod findings;
pub mod fixup;
pub mod host;
pub mod image_commit;
pub mod images;
pub mod import;
pub mod initramfs;
pub mod known;
pub mod label;
pub mod layer;
pub mod layer_commit;
pub mod layer_tree;
pub mod metadata;
pub mod object;
pub mod options;
pub mod outcome;
pub mod outlook;
pub mod packages;
mod parallel;
pub mod path;
pub mod policy;
pub mod progress;
pub mod publish;
pub mod rebase;
pub mod record;
pub mod regenerate;
pub mod repo;
pub mod report;
pub mod source;
mod tar_format;
#[cfg(test)]
mod testing;
pub mod tree;
