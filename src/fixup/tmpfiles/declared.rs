//! What the image's own `tmpfiles.d` declares.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Line;
use crate::bodies::Bodies;
use crate::packages::fragments;
use crate::path::ImagePath;
use crate::tree::Tree;

/// The lines that say what lies where, by path: systemd-tmpfiles takes the first for each path, in the
/// order of the names of their files.
#[derive(Debug, Default)]
pub struct Declared {
    lines: BTreeMap<ImagePath, (Line, ImagePath)>,
}

impl Declared {
    /// Reads all files of `tree` but the one named `except`.
    pub fn read(tree: &Tree, bodies: &Bodies, except: Option<&str>) -> Result<Self> {
        let mut declared = Self::default();
        for (path, text) in fragments::read(tree, bodies, "tmpfiles.d")? {
            if path.file_name() != except.map(str::as_bytes) {
                declared.add(&path, &text);
            }
        }
        Ok(declared)
    }

    fn add(&mut self, file: &ImagePath, text: &[u8]) {
        for line in fragments::lines(text).filter_map(Line::parse) {
            // A credential is the host's to give.
            if line.makes() && !line.modifiers.contains('^') {
                let path = line.path.clone();
                self.lines.entry(path).or_insert((line, file.clone()));
            }
        }
    }

    /// The line that says what lies at `path`, and its file.
    pub fn at(&self, path: &ImagePath) -> Option<(&Line, &ImagePath)> {
        self.lines.get(path).map(|(line, file)| (line, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layers, image_path};

    #[test]
    fn the_first_of_a_name_and_the_first_of_a_path() {
        let layers = Layers::new()
            .file(
                "usr/lib/tmpfiles.d/b.conf",
                "d /var/masked\nd /var/b 0700\nz /var/z\nf^ /var/credential - - - - x\n",
            )
            .file("etc/tmpfiles.d/b.conf", "d /var/b 0711\nd /var/two 0711\n")
            .file("usr/lib/tmpfiles.d/c.conf", "d /var/two 0722\nd /var/c\n")
            .file("usr/lib/tmpfiles.d/ours.conf", "d /var/ours\n")
            .file("usr/lib/tmpfiles.d/README", "d /var/readme\n")
            .file("usr/lib/tmpfiles.d/d.conf", "d /var/d\n")
            .symlink("etc/tmpfiles.d/d.conf", "/dev/null");
        let (tree, bodies) = layers.merge();
        let declared = Declared::read(&tree, &bodies, Some("ours.conf")).unwrap();
        let found: Vec<_> = declared
            .lines
            .values()
            .map(|(line, file)| format!("{line} {file}"))
            .collect();
        assert_eq!(
            found,
            [
                "d /var/b 0711 - - - /etc/tmpfiles.d/b.conf",
                "d /var/c - - - - /usr/lib/tmpfiles.d/c.conf",
                "d /var/two 0711 - - - /etc/tmpfiles.d/b.conf",
            ]
        );
        assert!(declared.at(&image_path("var/b")).is_some());
        assert!(declared.at(&image_path("var/ours")).is_none());
    }
}
