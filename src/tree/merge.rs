//! Layers onto a tree.
