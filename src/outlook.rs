//! What an import finds in its repo before it reads a layer.

use anyhow::Result;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::image_commit::ImageCommit;
use crate::publish::Destination;
use crate::repo::Repo;
use crate::source::ResolvedImage;

/// What a repo has of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The commit of this very image, if all refs point to it and nothing is to be done.
    pub unchanged: Option<Digest>,
    /// The commits of its layers from the lowest up; `None` for those to be read.
    pub layers: Vec<Option<Digest>>,
}

impl Outlook {
    /// What `repo` has of `image`, which is to be imported with these `shaping` options, unsigned, under
    /// the refs of `destination`.
    ///
    /// # Errors
    /// The repo cannot be read.
    pub fn of(
        repo: &Repo,
        image: &ResolvedImage,
        shaping: Option<&str>,
        destination: &Destination,
    ) -> Result<Self> {
        let mut unchanged = None;
        if let Some((commit, found)) = destination.find(repo, image, shaping)?
            && found.parent.is_none()
            && destination.points_to(repo, &ImageCommit::unsigned(commit))?
        {
            unchanged = Some(commit);
        }
        let cache = Cache::new(repo)?;
        let layers = image.layers.iter().map(|layer| cache.commit(layer));
        Ok(Self {
            unchanged,
            layers: layers.collect(),
        })
    }
}
