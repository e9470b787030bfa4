//! The shape of ostree-ext's API on top of `import-oci`.
