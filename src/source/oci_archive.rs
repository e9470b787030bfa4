//! `oci-archive:FILE[:TAG]`: an OCI image layout in a tar file.

use anyhow::{Result, ensure};

use super::archive::Archive;
use super::layout::{Layout, LayoutFiles, Member};
use super::reference::LocalReference;

/// Takes `archive`, which lies at the path of `reference`, for a layout.
pub(super) fn open(reference: &LocalReference, archive: Archive) -> Result<Layout<Archive>> {
    ensure!(
        archive.contains("oci-layout") || !archive.contains("manifest.json"),
        "{reference}: it has a manifest.json, but no oci-layout: name it docker-archive:{}",
        reference.path.display()
    );
    Ok(Layout::new(reference.clone(), archive))
}

impl LayoutFiles for Archive {
    fn open(&self, path: &str) -> Result<Member<'_>> {
        self.open_file(path)
    }
}
