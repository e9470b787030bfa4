//! `oci:DIR[:TAG]`: an OCI image layout as a directory.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::beneath::Directory;
use super::layout::{Layout, LayoutFiles, Member};
use super::reference::SourceReference;
use crate::path::ImagePath;

/// A layout directory. Nothing in it is followed as a link: neither `blobs` nor a blob.
#[derive(Debug)]
pub(super) struct LayoutDirectory {
    path: PathBuf,
    root: Directory,
}

/// Opens the layout at the path of `reference`.
pub(super) fn open(reference: &SourceReference) -> Result<Layout<LayoutDirectory>> {
    let root = Directory::open(&reference.path).with_context(|| reference.to_string())?;
    let files = LayoutDirectory {
        path: reference.path.clone(),
        root,
    };
    Ok(Layout::new(reference.clone(), files))
}

impl LayoutFiles for LayoutDirectory {
    fn open(&self, path: &str) -> Result<Member<'_>> {
        let context = || self.path.join(path).display().to_string();
        let file = ImagePath::parse(path.as_bytes())
            .map_err(anyhow::Error::from)
            .and_then(|path| Ok(self.root.open_file(&path)?))
            .with_context(context)?;
        Ok(Member {
            size: file.metadata().with_context(context)?.len(),
            reader: Box::new(file),
        })
    }
}
