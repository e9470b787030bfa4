//! An image that stays what it was when it was looked at.

use std::fmt;
use std::io::Read;

use anyhow::{Result, ensure};

use super::{ImageSource, LayerDescriptor, Platform, ResolvedImage};

/// An image of which is known what it is: whoever asks again gets the same answer, whatever its tag
/// leads to by then.
#[derive(Debug)]
pub struct ResolvedSource {
    source: Box<dyn ImageSource>,
    platform: Platform,
    image: ResolvedImage,
}

impl ResolvedSource {
    /// Resolves the image of `source` for `platform`.
    ///
    /// # Errors
    /// Those of [`ImageSource::resolve`].
    pub fn new(source: Box<dyn ImageSource>, platform: &Platform) -> Result<Self> {
        Ok(Self {
            image: source.resolve(platform)?,
            platform: platform.clone(),
            source,
        })
    }

    /// What the image is.
    pub fn image(&self) -> &ResolvedImage {
        &self.image
    }
}

impl ImageSource for ResolvedSource {
    fn resolve(&self, platform: &Platform) -> Result<ResolvedImage> {
        ensure!(
            *platform == self.platform,
            "the image was looked at for another platform"
        );
        Ok(self.image.clone())
    }

    fn open_layer(&self, layer: &LayerDescriptor) -> Result<Box<dyn Read + Send + '_>> {
        self.source.open_layer(layer)
    }
}

impl fmt::Display for ResolvedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
