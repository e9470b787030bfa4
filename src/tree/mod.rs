//! The merged tree of an image.
pub mod merge;

/// Placeholder.
#[derive(Debug, Default)]
pub struct Tree;
