//! `/etc` belongs to the host; a commit carries its defaults in `/usr/etc`.

use anyhow::{Context as _, Result};

use super::{Fixup, Image, drop_subtree};
use crate::host::usr_etc;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, InodeId, Tree};

/// Which of `/etc` and `/usr/etc` wins where an image holds a path in both and they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum EtcConflict {
    /// Neither: the image is refused.
    #[default]
    Error,
    /// `/etc`, which containers see.
    Etc,
    /// `/usr/etc`, which deployments see.
    UsrEtc,
}

/// Moves `/etc` to `/usr/etc`, merging where an image has both.
#[derive(Debug)]
pub struct MoveEtc;

impl Fixup for MoveEtc {
    fn name(&self) -> &'static str {
        "etc"
    }

    fn summary(&self) -> &'static str {
        "move /etc to /usr/etc, where ostree keeps defaults"
    }

    fn reason(&self) -> &'static str {
        "A host's /etc is its own: ostree merges the defaults of a commit, in /usr/etc, into it."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--etc-conflict=error (default), etc or usr-etc"]
    }

    fn after(&self) -> &'static [&'static str] {
        &[
            "special-files",
            "ostree-base",
            "xattrs",
            "container-leftovers",
            "permissions",
            "accounts",
            "var",
        ]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let etc = ImagePath::root().join(b"etc");
        let usr_etc = usr_etc();
        let Some(id) = image.tree.lookup(&etc) else {
            return Ok(());
        };
        match &image.tree.inode(id).content {
            Content::Directory(_) => {}
            Content::Symlink(_) if leads_to(&image.tree, &etc, &usr_etc) => {
                image.tree.remove(&etc);
                report.note(self.name(), Action::Dropped, &etc, "link to /usr/etc");
                return Ok(());
            }
            _ => {
                let fix = "make it a directory";
                report.fatal(self.name(), &etc, "not a directory", fix);
                return Ok(());
            }
        }
        self.warn_of_links(image, &etc, report);
        match image
            .tree
            .lookup(&usr_etc)
            .map(|id| image.tree.children(id))
        {
            None => {}
            Some(Some(children)) if children.is_empty() => {
                drop_subtree(&mut image.tree, &usr_etc, self.name(), "empty", report);
            }
            Some(Some(_)) => {
                self.merge(image, &etc, &usr_etc, report)?;
                image.tree.remove(&etc);
                let detail = "merged into /usr/etc, which the image has too";
                report.note(self.name(), Action::Moved, &etc, detail);
                return Ok(());
            }
            Some(None) => {
                let fix = "make it a directory, or remove it";
                report.fatal(self.name(), &usr_etc, "not a directory", fix);
                return Ok(());
            }
        }
        image.tree.remove(&etc);
        image.tree.link(&usr_etc, id).context("moving /etc")?;
        report.note(self.name(), Action::Moved, &etc, "to /usr/etc");
        Ok(())
    }
}

impl MoveEtc {
    /// A deployment has `/etc` again, so links are right as they are, except those that name
    /// `/usr/etc`: they would lead from the host's file to the default.
    fn warn_of_links(&self, image: &Image, etc: &ImagePath, report: &mut Report) {
        for (path, id) in image.tree.walk_from(etc) {
            if let Content::Symlink(target) = &image.tree.inode(id).content
                && names_usr_etc(target)
            {
                let detail = "link into /usr/etc: on the host it leads to the default, not to the host's file";
                report.note(self.name(), Action::Warning, &path, detail);
            }
        }
    }

    /// Moves what lies below `from` to below `to`, directory by directory.
    fn merge(
        &self,
        image: &mut Image,
        from: &ImagePath,
        to: &ImagePath,
        report: &mut Report,
    ) -> Result<()> {
        let mut pending = vec![(from.clone(), to.clone())];
        while let Some((from, to)) = pending.pop() {
            let source = image.tree.lookup(&from).expect("walked from the top");
            let Some(target) = image.tree.lookup(&to) else {
                image.tree.link(&to, source)?;
                continue;
            };
            let both = (image.tree.children(source), image.tree.children(target));
            if let (Some(children), Some(_)) = both {
                pending.extend(children.keys().rev().map(|n| (from.join(n), to.join(n))));
                self.merge_directory(image, &from, source, &to, target, report)?;
            } else if !same(image, source, target)? {
                self.resolve_conflict(image, &from, source, &to, report)?;
            }
        }
        Ok(())
    }

    /// Decides on the metadata of a directory that both have. Its time is none of it.
    fn merge_directory(
        &self,
        image: &mut Image,
        from: &ImagePath,
        source: InodeId,
        to: &ImagePath,
        target: InodeId,
        report: &mut Report,
    ) -> Result<()> {
        let (ours, theirs) = (image.tree.inode(source), image.tree.inode(target));
        if same_metadata(ours, theirs) {
            return Ok(());
        }
        let metadata = ours.metadata.clone();
        // No file is at stake, so this stops no import: /etc is what a container saw.
        let winner = match image.options.etc_conflict {
            EtcConflict::Error | EtcConflict::Etc => {
                image.tree.inode_mut(target).metadata = metadata;
                from
            }
            EtcConflict::UsrEtc => to,
        };
        let detail = format!("mode, owner and xattrs are those of {winner}");
        report.note(self.name(), Action::Changed, from, detail);
        Ok(())
    }

    fn resolve_conflict(
        &self,
        image: &mut Image,
        from: &ImagePath,
        source: InodeId,
        to: &ImagePath,
        report: &mut Report,
    ) -> Result<()> {
        match image.options.etc_conflict {
            EtcConflict::Error => {
                let reason = format!("differs from {to}");
                report.fatal(self.name(), from, reason, CHOOSE);
            }
            EtcConflict::Etc => {
                drop_subtree(&mut image.tree, to, self.name(), "/etc has it too", report);
                image.tree.link(to, source)?;
            }
            EtcConflict::UsrEtc => {
                drop_subtree(
                    &mut image.tree,
                    from,
                    self.name(),
                    "/usr/etc has it too",
                    report,
                );
            }
        }
        Ok(())
    }
}

/// The way out of a conflict.
const CHOOSE: &str = "choose with --etc-conflict=etc or --etc-conflict=usr-etc";

/// Does a link's target have the components `usr` and `etc` in a row?
fn names_usr_etc(target: &[u8]) -> bool {
    let components: Vec<_> = target.split(|&b| b == b'/').collect();
    components
        .windows(2)
        .any(|pair| pair == [&b"usr"[..], b"etc"])
}

fn leads_to(tree: &Tree, link: &ImagePath, target: &ImagePath) -> bool {
    matches!(tree.resolve(link), Ok(Some((path, _))) if path == *target)
}

/// Do two inodes hold the same, times aside?
pub(super) fn same(image: &Image, a: InodeId, b: InodeId) -> Result<bool> {
    let (a, b) = (image.tree.inode(a), image.tree.inode(b));
    if !same_metadata(a, b) {
        return Ok(false);
    }
    match (&a.content, &b.content) {
        (Content::File { body: x, .. }, Content::File { body: y, .. }) => {
            Ok(image.bodies.same(*x, *y)?)
        }
        (Content::Symlink(x), Content::Symlink(y)) => Ok(x == y),
        (Content::Special(x), Content::Special(y)) => Ok(x == y),
        _ => Ok(false),
    }
}

fn same_metadata(a: &Inode, b: &Inode) -> bool {
    let owner = |inode: &Inode| {
        let metadata = &inode.metadata;
        (metadata.mode, metadata.uid, metadata.gid)
    };
    owner(a) == owner(b) && a.metadata.xattrs == b.metadata.xattrs
}

#[cfg(test)]
mod tests {
    use super::super::FixupOptions;
    use super::super::testing::{check, run};
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn moves() {
        check(
            &MoveEtc,
            Layers::new()
                .dir("etc", 0o711)
                .file("etc/x", "1")
                .dir("usr/etc", 0o700),
            &["/usr/ 755", "/usr/etc/ 711", "/usr/etc/x 644 \"1\""],
            &["dropped /usr/etc", "moved /etc"],
        );
        check(
            &MoveEtc,
            Layers::new().file("etc/x", ""),
            &["/usr/ 755", "/usr/etc/ 755", "/usr/etc/x 644 \"\""],
            &["moved /etc"],
        );
        check(&MoveEtc, Layers::new(), &[], &[]);
        check(
            &MoveEtc,
            Layers::new()
                .symlink("etc", "usr/etc")
                .file("usr/etc/x", ""),
            &["/usr/ 755", "/usr/etc/ 755", "/usr/etc/x 644 \"\""],
            &["dropped /etc"],
        );
    }

    fn both() -> Layers {
        Layers::new()
            .dir("etc/d", 0o700)
            .file("etc/d/mine", "1")
            .file("etc/same", "equal")
            .symlink("etc/link", "../usr/etc/same")
            .dir("usr/etc/d", 0o700)
            .file("usr/etc/d/theirs", "2")
            .symlink("etc/other", "../usr/etcetera")
            .file("usr/etc/same", "equal")
    }

    #[test]
    fn merges_what_does_not_conflict() {
        check(
            &MoveEtc,
            both(),
            &[
                "/usr/ 755",
                "/usr/etc/ 755",
                "/usr/etc/d/ 700",
                "/usr/etc/d/mine 644 \"1\"",
                "/usr/etc/d/theirs 644 \"2\"",
                "/usr/etc/link -> ../usr/etc/same",
                "/usr/etc/other -> ../usr/etcetera",
                "/usr/etc/same 644 \"equal\"",
            ],
            &["warning /etc/link", "moved /etc"],
        );
    }

    #[test]
    fn conflicts_are_decided_by_the_user() {
        let conflict = || {
            Layers::new()
                .file("etc/x/a", "etc")
                .file("usr/etc/x", "usr")
        };
        let with = |etc_conflict| {
            let options = FixupOptions {
                etc_conflict,
                ..FixupOptions::default()
            };
            run(&MoveEtc, conflict(), options)
        };
        let (_, notes) = with(EtcConflict::Error).unwrap();
        assert_eq!(notes, ["fatal /etc/x", "moved /etc"]);
        let (tree, notes) = with(EtcConflict::Etc).unwrap();
        assert_eq!(tree[2..], ["/usr/etc/x/ 755", "/usr/etc/x/a 644 \"etc\""]);
        assert_eq!(notes, ["dropped /usr/etc/x", "moved /etc"]);
        let (tree, notes) = with(EtcConflict::UsrEtc).unwrap();
        assert_eq!(tree[2..], ["/usr/etc/x 644 \"usr\""]);
        assert_eq!(notes, ["dropped /etc/x", "dropped /etc/x/a", "moved /etc"]);
    }

    #[test]
    fn metadata_of_directories_is_decided_and_told() {
        let conflict = || {
            Layers::new()
                .dir("etc/ssh", 0o755)
                .dir("usr/etc/ssh", 0o700)
                .owner(7, 7)
                .file("usr/etc/x", "")
        };
        let with = |etc_conflict| {
            let options = FixupOptions {
                etc_conflict,
                ..FixupOptions::default()
            };
            run(&MoveEtc, conflict(), options)
        };
        for (choice, line) in [
            (EtcConflict::Error, "/usr/etc/ssh/ 755"),
            (EtcConflict::Etc, "/usr/etc/ssh/ 755"),
            (EtcConflict::UsrEtc, "/usr/etc/ssh/ 700 7:7"),
        ] {
            let (tree, notes) = with(choice).unwrap();
            assert_eq!(tree[2], line);
            assert_eq!(notes, ["changed /etc/ssh", "moved /etc"]);
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        for (layers, fault) in [
            (Layers::new().file("etc", ""), "fatal /etc"),
            (
                Layers::new().file("etc/x", "").file("usr/etc", ""),
                "fatal /usr/etc",
            ),
        ] {
            let (_, notes) = run(&MoveEtc, layers, FixupOptions::default()).unwrap();
            assert_eq!(notes, [fault]);
        }
    }

    #[test]
    fn same_size_is_not_same_content() {
        let layers = Layers::new().file("etc/x", "abc").file("usr/etc/x", "abd");
        let (_, notes) = run(&MoveEtc, layers, FixupOptions::default()).unwrap();
        assert_eq!(notes, ["fatal /etc/x", "moved /etc"]);
    }
}
