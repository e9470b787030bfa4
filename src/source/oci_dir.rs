//! `oci:DIR[:TAG]`: an OCI image layout as a directory.

use anyhow::{Context as _, Result};

use super::beneath::Directory;
use super::layout::{Layout, LayoutFiles, Member};
use super::reference::LocalReference;
use crate::path::ImagePath;

/// Opens the layout at the path of `reference`. Nothing in it is followed as a link: neither
/// `blobs` nor a blob.
pub(super) fn open(reference: &LocalReference) -> Result<Layout<Directory>> {
    let directory = Directory::open(&reference.path).with_context(|| reference.to_string())?;
    Ok(Layout::new(reference.clone(), directory))
}

impl LayoutFiles for Directory {
    fn open(&self, path: &str) -> Result<Member<'_>> {
        let file = ImagePath::parse(path.as_bytes())
            .map_err(anyhow::Error::from)
            .and_then(|path| Ok(self.open_file(&path)?))
            .with_context(|| path.to_owned())?;
        Ok(Member {
            size: file.metadata()?.len(),
            reader: Box::new(file),
        })
    }
}
