//! Content and metadata objects into a transaction, from several threads.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::worker::Worker;
use super::{Mode, Transaction, presence};
use crate::bodies::Bodies;
use crate::digest::Digest;
use crate::object::{FileObject, MetadataObject};
use crate::parallel;
use crate::path::ImagePath;

impl Transaction<'_> {
    /// Writes the objects that the repo lacks and returns the checksums of all, by index.
    ///
    /// `known` holds the checksums of objects that the repo must have, by the same index; they are
    /// neither read nor written. Other bodies are read in the order in which they lie in their stores. `path` names an object in
    /// errors; `done` is called from any thread after each object.
    ///
    /// # Errors
    /// The first that occurs, with the path of its object;
    /// [`RepoError::NoSpace`](super::RepoError::NoSpace) for a full disk.
    pub fn write_files(
        &self,
        objects: &[FileObject],
        known: &[Option<Digest>],
        bodies: &Arc<Bodies>,
        path: &(dyn Fn(usize) -> ImagePath + Sync),
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Digest>> {
        let sizes = objects
            .iter()
            .zip(known)
            .map(|(object, known)| match (object.body, known) {
                (Some(body), None) => bodies.size(body),
                _ => 0,
            });
        // A sparse file may claim any size: hashing it could take hours before the disk is full.
        // Compressed it may fit all the same.
        if let Some((index, largest)) = sizes.enumerate().max_by_key(|&(_, size)| size)
            && self.repo().mode() != Mode::Archive
        {
            self.repo()
                .ensure_free_space(largest)
                .with_context(|| format!("writing {} to the repo", path(index)))?;
        }
        let seen = &self.content;
        let listed = presence::list(self.repo(), known.iter().copied().flatten())?;
        let is_listed = |known: &Digest| listed.content.contains(known);
        let mut checksums: Vec<_> = known.iter().map(|known| known.filter(is_listed)).collect();
        self.listed.replace(listed.directories);
        let mut order = Vec::new();
        for (index, listed) in checksums.iter().enumerate() {
            match *listed {
                Some(checksum) => {
                    seen.insert(checksum);
                    done();
                }
                None => order.push(index),
            }
        }
        order.sort_unstable_by_key(|&index| objects[index].body);
        self.unpublished.set(true);
        let written = parallel::map(self.workers(), &order, |worker, index, cancellable| {
            let object = &objects[index];
            let checksum = match (known[index], object.body) {
                (Some(checksum), _) => worker.count_present(checksum, seen, cancellable),
                (None, Some(body)) => {
                    worker.write_regular(&object.header, bodies, body, seen, cancellable)
                }
                (None, None) => {
                    worker.write_whole(object.header.bytes().to_vec(), seen, cancellable)
                }
            }
            .with_context(|| format!("writing {} to the repo", path(index)))?;
            done();
            Ok(checksum)
        })?;
        order.sort_unstable();
        for (index, checksum) in order.into_iter().zip(written) {
            checksums[index] = Some(checksum);
        }
        let checksums: Option<_> = checksums.into_iter().collect();
        checksums.context("every object is listed or written")
    }

    /// Writes the dirmetas and dirtrees that the repo lacks. An object may be given many times.
    ///
    /// # Errors
    /// As [`Transaction::write_files`].
    pub fn write_metadata(&self, objects: &[MetadataObject]) -> Result<()> {
        self.unpublished.set(true);
        let listed = self.listed.borrow();
        let order: Vec<_> = (0..objects.len())
            .filter(|&index| {
                let checksum = objects[index].checksum;
                self.metadata.insert(checksum) && !listed.contains(&checksum)
            })
            .collect();
        drop(listed);
        parallel::map(self.workers(), &order, |worker, index, cancellable| {
            worker.write_metadata(&objects[index], cancellable)
        })?;
        Ok(())
    }

    fn workers(&self) -> Vec<Worker> {
        std::iter::repeat_with(|| Worker::new(self.repo()))
            .take(self.threads.get())
            .collect()
    }
}
