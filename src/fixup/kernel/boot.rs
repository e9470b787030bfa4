//! `/boot` is a file system of the host: what else an image has there.

use anyhow::Result;

use super::find::{self, MICROCODE, Survey};
use super::{Fixup as _, Kernel};
use crate::fixup::{Image, drop_subtree};
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::Content;

/// Where rpm-ostree moves `/boot` to, and bootupd looks for what belongs on an EFI system partition.
fn ostree_boot() -> ImagePath {
    ImagePath::root()
        .join(b"usr")
        .join(b"lib")
        .join(b"ostree-boot")
}

impl Kernel {
    /// Drops what belongs to kernels and was not taken, and moves everything else, with its modes,
    /// to `/usr/lib/ostree-boot`.
    pub(super) fn empty_boot(
        &self,
        image: &mut Image,
        survey: &Survey,
        chosen: Option<&str>,
        report: &mut Report,
    ) -> Result<()> {
        for file in survey
            .files
            .iter()
            .filter(|f| Some(f.version.as_str()) != chosen)
        {
            let detail = match chosen {
                Some(chosen) => format!("the kernel is {chosen}"),
                None => "no kernel is asked for".to_owned(),
            };
            self.drop(image, &file.path, &detail, report);
        }
        for (path, why) in &survey.spare {
            if *why == MICROCODE && chosen.is_some() {
                let fix = "let the initramfs hold it: mkinitcpio does by its hook microcode, dracut by early_microcode=yes";
                report.advise(self.name(), path, *why, fix);
            }
            self.drop(image, path, why, report);
        }
        let (root, to) = (ImagePath::root(), ostree_boot());
        let (boot, efi) = (root.join(b"boot"), root.join(b"efi"));
        // The EFI system partition may be mounted at /boot/efi, /efi or /boot itself.
        let payload = boot.join(b"EFI");
        self.move_to(image, &payload, &to.join(b"efi").join(b"EFI"), report)?;
        self.move_below(image, &boot, &to, report)?;
        self.move_below(image, &efi, &to.join(b"efi"), report)?;
        self.drop_links(image, report);
        Ok(())
    }

    fn drop(&self, image: &mut Image, path: &ImagePath, why: &str, report: &mut Report) {
        drop_subtree(&mut image.tree, path, self.name(), why, report);
        self.remove(image, path, report);
    }

    /// Moves what lies in `from` into `to`.
    fn move_below(
        &self,
        image: &mut Image,
        from: &ImagePath,
        to: &ImagePath,
        report: &mut Report,
    ) -> Result<()> {
        let names: Vec<Box<[u8]>> = find::children(&image.tree, from)
            .map(|(name, _)| name.into())
            .collect();
        for name in names {
            self.move_to(image, &from.join(&name), &to.join(&name), report)?;
        }
        Ok(())
    }

    /// Moves `from`, if it is there, to `to`. Where both are, `to` stays as it is; directories are
    /// merged.
    fn move_to(
        &self,
        image: &mut Image,
        from: &ImagePath,
        to: &ImagePath,
        report: &mut Report,
    ) -> Result<()> {
        let Some(id) = image.tree.lookup(from) else {
            return Ok(());
        };
        let is_directory = |id| image.tree.children(id).is_some();
        match image.tree.lookup(to) {
            None => {
                image.tree.remove(from);
                image.tree.link(to, id)?;
                report.note(self.name(), Action::Moved, from, format!("to {to}"));
            }
            Some(there) if is_directory(there) && is_directory(id) => {
                self.move_below(image, from, to, report)?;
                image.tree.remove(from);
                report.note(
                    self.name(),
                    Action::Moved,
                    from,
                    format!("merged into {to}"),
                );
            }
            Some(there) => {
                let detail = match super::same_content(image, id, there)? {
                    true => format!("{to} is the same"),
                    false => format!("{to} is there already, and another"),
                };
                drop_subtree(&mut image.tree, from, self.name(), &detail, report);
            }
        }
        Ok(())
    }

    /// Drops the links at the top that lead into `/boot`.
    fn drop_links(&self, image: &mut Image, report: &mut Report) {
        let top = image.tree.children(image.tree.root());
        let links: Vec<_> = top
            .into_iter()
            .flatten()
            .filter(|&(_, &id)| {
                let target = match &image.tree.inode(id).content {
                    Content::Symlink(target) => ImagePath::parse(target).ok(),
                    _ => None,
                };
                // A link to /boot itself is somebody's choice.
                target.is_some_and(|target| {
                    target.components().next() == Some(b"boot") && target.components().count() > 1
                })
            })
            .map(|(name, _)| ImagePath::root().join(name))
            .collect();
        for link in links {
            image.tree.remove(&link);
            report.note(self.name(), Action::Dropped, &link, "a link into /boot");
        }
    }
}
