//! Turn an ordinary OCI image into an OSTree commit that boots.

pub mod bodies;
pub mod contract;
pub mod digest;
pub mod fixup;
pub mod label;
pub mod layer;
pub mod metadata;
pub mod object;
pub mod path;
pub mod repo;
pub mod report;
pub mod source;
#[cfg(test)]
mod testing;
pub mod tree;
