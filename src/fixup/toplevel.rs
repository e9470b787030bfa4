//! The directories at the top that a booted ostree system mounts over or looks into.

mod layout;

use anyhow::Result;

use super::{Fixup, Image, drop_subtree};
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode};

/// What becomes of the top-level directories that hold a host's own data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Layout {
    /// `/home`, `/root`, `/srv` and `/mnt` become links into `/var`, and `/media` one into `/run`; `/opt` and
    /// `/usr/local` stay.
    #[default]
    Auto,
    /// As `auto`, and `/opt` and `/usr/local` become links where no file lies in them.
    Strict,
    /// All stay as they are, and so does a root whose `/bin` is not `/usr/bin`.
    Keep,
}

/// Empties and makes the API directories, makes `/sysroot`, links `/ostree` into it, and leads what
/// belongs to the host into `/var`.
#[derive(Debug)]
pub struct Toplevel;

const BY: &str = "toplevel";

/// Directories that systemd mounts a file system over, with the mode they are made with:
/// whatever an image has in them is never seen.
const MOUNTED_OVER: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("proc", 0o755),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
];

impl Fixup for Toplevel {
    fn name(&self) -> &'static str {
        BY
    }

    fn summary(&self) -> &'static str {
        "empty /dev, /proc, /run, /sys and /tmp; make /sysroot and the /ostree link; lead /home, /root, /srv and /mnt into /var"
    }

    fn reason(&self) -> &'static str {
        "A deployment is mounted read-only, and what must be writable or is a mount point has its place elsewhere."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--layout=auto (default), strict or keep"]
    }

    fn after(&self) -> &'static [&'static str] {
        &[
            "special-files",
            "ostree-base",
            "xattrs",
            "container-leftovers",
            "permissions",
            "accounts",
            "kernel",
            "var",
        ]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for &(name, mode) in MOUNTED_OVER {
            let path = top(name);
            if self.ensure_directory(image, &path, mode, report)? {
                self.empty(image, &path, "a file system is mounted over it", report);
            }
        }
        self.ensure_directory(image, &top("boot"), 0o755, report)?;
        self.ensure_directory(image, &top("var"), 0o755, report)?;
        let sysroot = top("sysroot");
        if !self.ensure_directory(image, &sysroot, 0o755, report)? {
            let reason = "a symbolic link: the physical root is mounted there at boot";
            report.fatal(BY, &sysroot, reason, "remove it from the image");
            return Ok(());
        }
        self.empty(
            image,
            &sysroot,
            "the physical root is mounted over it",
            report,
        );
        self.link_ostree(image, report)?;
        layout::lay_out(image, report)
    }
}

impl Toplevel {
    /// Makes `path` a directory where it is not. `false`: it is a link, which is left alone.
    fn ensure_directory(
        &self,
        image: &mut Image,
        path: &ImagePath,
        mode: u32,
        report: &mut Report,
    ) -> Result<bool> {
        match image
            .tree
            .lookup(path)
            .map(|id| &image.tree.inode(id).content)
        {
            Some(Content::Directory(_)) => return Ok(true),
            Some(Content::Symlink(_)) => return Ok(false),
            Some(_) => report.note(self.name(), Action::Dropped, path, "not a directory"),
            None => {}
        }
        let directory = Inode {
            metadata: Metadata {
                mode,
                ..Metadata::default()
            },
            content: Content::empty_directory(),
        };
        image.tree.insert(path, directory)?;
        let detail = format!("directory, mode {mode:04o}");
        report.note(self.name(), Action::Added, path, detail);
        Ok(true)
    }

    fn empty(&self, image: &mut Image, path: &ImagePath, why: &str, report: &mut Report) {
        let children = image
            .tree
            .lookup(path)
            .and_then(|id| image.tree.children(id));
        let names: Vec<_> = children
            .into_iter()
            .flat_map(|c| c.keys().cloned())
            .collect();
        for name in names {
            drop_subtree(&mut image.tree, &path.join(&name), self.name(), why, report);
        }
    }

    fn link_ostree(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let path = top("ostree");
        let existing = image.tree.lookup(&path);
        match existing.map(|id| &image.tree.inode(id).content) {
            None => {}
            Some(Content::Symlink(target)) if leads_to_sysroot(target) => return Ok(()),
            Some(Content::Directory(children)) if !children.is_empty() => {
                let reason =
                    "a directory with content: on an ostree system it is a link to sysroot/ostree";
                report.fatal(BY, &path, reason, "remove it from the image");
                return Ok(());
            }
            Some(_) => {
                let detail = "not a link to sysroot/ostree";
                report.note(self.name(), Action::Dropped, &path, detail);
            }
        }
        let link = Inode {
            metadata: Metadata {
                mode: 0o777,
                ..Metadata::default()
            },
            content: Content::Symlink((*b"sysroot/ostree").into()),
        };
        image.tree.insert(&path, link)?;
        report.note(self.name(), Action::Added, &path, "link to sysroot/ostree");
        Ok(())
    }
}

fn leads_to_sysroot(target: &[u8]) -> bool {
    let target = ImagePath::parse(target);
    target.is_ok_and(|path| path.as_bytes() == b"sysroot/ostree")
}

fn top(name: &str) -> ImagePath {
    ImagePath::root().join(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::FixupOptions;
    use super::super::testing::run;
    use super::*;
    use crate::testing::Layers;

    /// What becomes of the directories that every layout has.
    #[track_caller]
    fn check(layers: Layers, tree: &[&str], notes: &[&str]) {
        let options = FixupOptions {
            layout: Layout::Keep,
            ..FixupOptions::default()
        };
        let found = run(&Toplevel, layers, options).unwrap();
        assert_eq!(found.0, tree);
        assert_eq!(found.1, notes);
    }

    #[test]
    fn makes_what_is_missing() {
        check(
            Layers::new(),
            &[
                "/boot/ 755",
                "/dev/ 755",
                "/ostree -> sysroot/ostree",
                "/proc/ 755",
                "/run/ 755",
                "/sys/ 755",
                "/sysroot/ 755",
                "/tmp/ 1777",
                "/var/ 755",
            ],
            &[
                "added /dev",
                "added /proc",
                "added /run",
                "added /sys",
                "added /tmp",
                "added /boot",
                "added /var",
                "added /sysroot",
                "added /ostree",
            ],
        );
    }

    #[test]
    fn empties_but_keeps_modes_and_links() {
        check(
            Layers::new()
                .dir("boot", 0o700)
                .file("boot/vmlinuz", "kept")
                .dir("dev", 0o711)
                .dir("dev/pts", 0o755)
                .file("dev/pts/0", "")
                .file("proc", "odd")
                .dir("run", 0o755)
                .dir("sys", 0o555)
                .file("sysroot/x", "")
                .symlink("tmp", "var/tmp")
                .dir("var/tmp", 0o1777)
                .symlink("ostree", "sysroot/ostree"),
            &[
                "/boot/ 700",
                "/boot/vmlinuz 644 \"kept\"",
                "/dev/ 711",
                "/ostree -> sysroot/ostree",
                "/proc/ 755",
                "/run/ 755",
                "/sys/ 555",
                "/sysroot/ 755",
                "/tmp -> var/tmp",
                "/var/ 755",
                "/var/tmp/ 1777",
            ],
            &[
                "dropped /dev/pts",
                "dropped /dev/pts/0",
                "dropped /proc",
                "added /proc",
                "dropped /sysroot/x",
            ],
        );
    }

    #[test]
    fn ostree_is_a_link_into_sysroot() {
        for (layers, dropped) in [
            (Layers::new().symlink("ostree", "/sysroot/ostree"), false),
            (Layers::new().symlink("ostree", "/nowhere"), true),
            (Layers::new().file("ostree", ""), true),
            (Layers::new().dir("ostree", 0o755), true),
        ] {
            let (tree, notes) = run(&Toplevel, layers, FixupOptions::default()).unwrap();
            let link = tree
                .iter()
                .find(|line| line.starts_with("/ostree"))
                .unwrap();
            assert!(link.ends_with("sysroot/ostree"), "{link}");
            assert_eq!(notes.contains(&"dropped /ostree".to_owned()), dropped);
        }
    }

    #[test]
    fn refuses_what_it_cannot_decide() {
        for (layers, path) in [
            (Layers::new().file("ostree/repo/config", ""), "/ostree"),
            (Layers::new().symlink("sysroot", "mnt"), "/sysroot"),
        ] {
            let (tree, notes) = run(&Toplevel, layers, FixupOptions::default()).unwrap();
            assert!(notes.contains(&format!("fatal {path}")), "{notes:?}");
            assert!(tree.iter().any(|line| line.starts_with(path)), "{tree:?}");
        }
    }
}
