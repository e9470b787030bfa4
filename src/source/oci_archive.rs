//! `oci-archive:FILE[:TAG]`: an OCI image layout in a tar file.

use anyhow::{Context as _, Result, ensure};

use super::archive::Archive;
use super::layout::{Layout, LayoutFiles, Member};
use super::reference::SourceReference;

/// Opens the archive at the path of `reference`.
pub(super) fn open(reference: &SourceReference) -> Result<Layout<Archive>> {
    let archive = Archive::open(&reference.path).with_context(|| reference.to_string())?;
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
