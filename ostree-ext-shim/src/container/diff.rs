//! What an update of an image brings.

use std::collections::HashSet;

use ostree::glib;

use crate::oci_spec::image::{Descriptor, ImageManifest};

/// The difference between the layers of two images.
#[derive(Debug)]
pub struct ManifestDiff<'a> {
    /// The one image.
    pub from: &'a ImageManifest,
    /// The other.
    pub to: &'a ImageManifest,
    /// Layers of the one that the other lacks, by digest.
    pub removed: Vec<&'a Descriptor>,
    /// Layers of the other that the one lacks, by digest.
    pub added: Vec<&'a Descriptor>,
    /// How many layers the other has.
    pub total: u64,
    /// The size of their blobs.
    pub total_size: u64,
    /// How many are removed.
    pub n_removed: u64,
    /// The size of their blobs.
    pub removed_size: u64,
    /// How many are added.
    pub n_added: u64,
    /// The size of their blobs.
    pub added_size: u64,
}

impl<'a> ManifestDiff<'a> {
    /// Compares two images.
    pub fn new(from: &'a ImageManifest, to: &'a ImageManifest) -> Self {
        let removed = lacking(from, to);
        let added = lacking(to, from);
        let digests: HashSet<_> = to.layers().iter().map(Descriptor::digest).collect();
        Self {
            total: digests.len() as u64,
            total_size: size(to.layers()),
            n_removed: removed.len() as u64,
            removed_size: size(removed.iter().copied()),
            n_added: added.len() as u64,
            added_size: size(added.iter().copied()),
            from,
            to,
            removed,
            added,
        }
    }

    /// Prints it on standard output.
    pub fn print(&self) {
        let line = |name: &str, count: u64, size| {
            println!("{name:<17} {count:<4}  Size: {}", glib::format_size(size));
        };
        line("Total new layers:", self.total, self.total_size);
        line("Removed layers:", self.n_removed, self.removed_size);
        line("Added layers:", self.n_added, self.added_size);
    }
}

/// The layers of `of` that `other` lacks, each once, by digest.
fn lacking<'a>(of: &'a ImageManifest, other: &ImageManifest) -> Vec<&'a Descriptor> {
    let theirs: HashSet<_> = other.layers().iter().map(Descriptor::digest).collect();
    let mut lacking: Vec<_> = of
        .layers()
        .iter()
        .filter(|layer| !theirs.contains(layer.digest()))
        .collect();
    lacking.sort_by(|a, b| a.digest().digest().cmp(b.digest().digest()));
    lacking.dedup_by_key(|layer| layer.digest());
    lacking
}

/// A manifest may claim any size.
fn size<'a>(layers: impl IntoIterator<Item = &'a Descriptor>) -> u64 {
    let sizes = layers.into_iter().map(Descriptor::size);
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest of layers of these names and sizes.
    fn manifest(layers: &[(char, u64)]) -> ImageManifest {
        let descriptor = |media_type: &str, (name, size): (char, u64)| {
            let digest = name.to_string().repeat(64);
            format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{size}}}"#)
        };
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> = layers.iter().map(|&l| descriptor(media_type, l)).collect();
        let config = descriptor("application/vnd.oci.image.config.v1+json", ('0', 1));
        let layers = layers.join(",");
        serde_json::from_str(&format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn layers_that_come_and_go() {
        let from = manifest(&[('a', 1), ('d', 20), ('b', 300)]);
        let to = manifest(&[('a', 1), ('c', 4000), ('c', 4000)]);
        let diff = ManifestDiff::new(&from, &to);
        let names = |layers: &[&Descriptor]| -> Vec<String> {
            let name = |layer: &&Descriptor| layer.digest().digest()[..1].to_owned();
            layers.iter().map(name).collect()
        };
        assert_eq!(names(&diff.removed), ["b", "d"]);
        assert_eq!(names(&diff.added), ["c"]);
        assert_eq!((diff.total, diff.total_size), (2, 8001));
        assert_eq!((diff.n_removed, diff.removed_size), (2, 320));
        assert_eq!((diff.n_added, diff.added_size), (1, 4000));
    }
}
