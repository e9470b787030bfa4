//! Devices, FIFOs and sockets cannot live in ostree: a booted system makes them in `/dev`, `/run`
//! and by tmpfiles.

use anyhow::Result;

use super::{Fixup, Image};
use crate::metadata::Special;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode};

/// Drops special files. An overlayfs whiteout (a 0:0 device, in container storage that the image
/// ships) becomes the regular file `.ostree-wh.NAME`, which libostree turns back into a whiteout
/// when it deploys (ostree ≥ 2022.5, `ostree-repo-checkout.c`).
#[derive(Debug)]
pub struct SpecialFiles;

const QUOTED_WHITEOUT: &[u8] = b".ostree-wh.";

impl Fixup for SpecialFiles {
    fn name(&self) -> &'static str {
        "special-files"
    }

    fn summary(&self) -> &'static str {
        "drop devices, FIFOs and sockets; quote overlayfs whiteouts"
    }

    fn reason(&self) -> &'static str {
        "OSTree holds regular files, directories and symbolic links, and nothing else."
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let mut found = Vec::new();
        for (path, id) in image.tree.walk() {
            let inode = image.tree.inode(id);
            if let Content::Special(special) = inode.content {
                found.push((path, special, inode.metadata.clone()));
            } else if is_foreign_quote(&path, inode) {
                let reason =
                    "ostree would turn this file into an overlayfs whiteout when it deploys";
                report.fatal(self.name(), &path, reason, "rename it");
            }
        }
        for (path, special, metadata) in found {
            let parent = path.parent().expect("the root is a directory");
            let name = path.file_name().expect("the root is a directory");
            image.tree.remove(&path);
            if special == (Special::CharDevice { major: 0, minor: 0 }) {
                let quoted = parent.join(&[QUOTED_WHITEOUT, name].concat());
                let content = Content::File {
                    body: image.bodies.add(b""),
                    size: 0,
                };
                image.tree.insert(&quoted, Inode { metadata, content })?;
                let detail = format!("overlayfs whiteout, kept as {quoted}");
                report.note(self.name(), Action::Moved, &path, detail);
            } else {
                let detail = format!("{special}: ostree cannot hold it");
                report.note(self.name(), Action::Dropped, &path, detail);
            }
        }
        Ok(())
    }
}

/// A quoted whiteout of ours is an empty regular file; anything else of that name is not.
fn is_foreign_quote(path: &ImagePath, inode: &Inode) -> bool {
    path.file_name()
        .is_some_and(|name| name.starts_with(QUOTED_WHITEOUT))
        && !matches!(inode.content, Content::File { size: 0, .. })
}

#[cfg(test)]
mod tests {
    use super::super::FixupOptions;
    use super::super::testing::{check, run};
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn drops_and_quotes() {
        check(
            &SpecialFiles,
            Layers::new()
                .special("dev/null", Special::CharDevice { major: 1, minor: 3 })
                .special("run/fifo", Special::Fifo)
                .special("s/w", Special::CharDevice { major: 0, minor: 0 })
                .special("x", Special::Socket),
            &[
                "/dev/ 755",
                "/run/ 755",
                "/s/ 755",
                "/s/.ostree-wh.w 600 \"\"",
            ],
            &[
                "dropped /dev/null",
                "dropped /run/fifo",
                "moved /s/w",
                "dropped /x",
            ],
        );
    }

    #[test]
    fn refuses_a_name_that_means_something_else() {
        let layers = Layers::new().file("a/.ostree-wh.b", "content");
        let (_, notes) = run(&SpecialFiles, layers, FixupOptions::default()).unwrap();
        assert_eq!(notes, ["fatal /a/.ostree-wh.b"]);
    }
}
