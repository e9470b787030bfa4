//! The top-level directories that hold a host's own data: on an ostree system they lie in `/var`.

use anyhow::Result;

use super::{BY, Layout, top};
use crate::fixup::factory::Resettling;
use crate::fixup::tmpfiles::{self, Declared, Line};
use crate::fixup::{Image, drop_subtree};
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, Tree};

/// Our lines, beside those of packages.
const LINES: &str = "import-oci-toplevel.conf";

/// A directory and where a host has it.
#[derive(Debug)]
struct Place {
    /// Where images have it.
    path: &'static str,
    /// The text of the link.
    link: &'static str,
    /// Where the link leads.
    host: &'static str,
    /// Its mode where the image has none.
    mode: u32,
    /// When it becomes a link.
    when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always: what lies in it waits in `/usr/share/factory`.
    Always,
    /// Where nothing lies in it, for its place is in `/run` and made at boot.
    Empty,
    /// Where it holds no file, and only if that is asked for.
    Strict,
}

/// As rpm-ostree lays them out (`compose_init_rootfs_base`).
const PLACES: &[Place] = &[
    Place::new("home", "var/home", "var/home", 0o755, When::Always),
    Place::new("root", "var/roothome", "var/roothome", 0o700, When::Always),
    Place::new("srv", "var/srv", "var/srv", 0o755, When::Always),
    Place::new("mnt", "var/mnt", "var/mnt", 0o755, When::Always),
    Place::new("media", "run/media", "run/media", 0o755, When::Empty),
    Place::new("opt", "var/opt", "var/opt", 0o755, When::Strict),
    Place::new(
        "usr/local",
        "../var/usrlocal",
        "var/usrlocal",
        0o755,
        When::Strict,
    ),
];

/// What the hierarchy of a system has at its top besides [`PLACES`].
const KNOWN: &[&str] = &[
    "boot", "dev", "efi", "etc", "ostree", "proc", "run", "sys", "sysroot", "tmp", "usr", "var",
];

/// Links into `/usr` on every system whose root is one tree.
const MERGED: &[&str] = &["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

impl Place {
    const fn new(
        path: &'static str,
        link: &'static str,
        host: &'static str,
        mode: u32,
        when: When,
    ) -> Self {
        Self {
            path,
            link,
            host,
            mode,
            when,
        }
    }
}

/// Gives every directory its place.
pub fn lay_out(image: &mut Image, report: &mut Report) -> Result<()> {
    if image.options.layout == Layout::Keep {
        return Ok(());
    }
    refuse_split_usr(&image.tree, report);
    let packages = Declared::read(&image.tree, &image.bodies, Some(LINES))?;
    let all = Declared::read(&image.tree, &image.bodies, None)?;
    let mut lines = Vec::new();
    for place in PLACES {
        if place.when == When::Strict && image.options.layout != Layout::Strict {
            continue;
        }
        let path = fixed(place.path);
        let found = image
            .tree
            .lookup(&path)
            .map(|id| image.tree.inode(id).clone());
        let metadata = match found.as_ref().map(|inode| &inode.content) {
            Some(Content::Symlink(_)) => {
                // Somebody's link, perhaps ours. What it leads to may still have to be made.
                if leads_to(&image.tree, &path, place) && all.at(&fixed(place.host)).is_none() {
                    lines.push(place.line(&place.metadata(), image));
                }
                continue;
            }
            Some(Content::Directory(_)) => {
                if !may_move(&image.tree, &path, place.when) {
                    tell_what_stays(place, &path, report);
                    continue;
                }
                lines.extend(empty(image, &path, place, &packages, report)?);
                found.map(|inode| inode.metadata)
            }
            Some(_) => {
                drop_subtree(&mut image.tree, &path, BY, "not a directory", report);
                None
            }
            None => None,
        };
        let action = match metadata {
            Some(_) => Action::Changed,
            None => Action::Added,
        };
        lines.push(place.line(&metadata.unwrap_or_else(|| place.metadata()), image));
        image.tree.insert(&path, place.symlink())?;
        let detail = format!("link to {}, which systemd-tmpfiles makes", place.link);
        report.note(BY, action, &path, detail);
    }
    tell_others(&image.tree, report);
    tmpfiles::add(image, LINES, lines, BY, report)
}

impl Place {
    fn metadata(&self) -> Metadata {
        Metadata {
            mode: self.mode,
            ..Metadata::default()
        }
    }

    fn line(&self, metadata: &Metadata, image: &Image) -> Line {
        let line = Line::new(b'd', fixed(self.host)).mode(metadata);
        line.owner(metadata, &image.packages.accounts)
    }

    fn symlink(&self) -> Inode {
        Inode {
            metadata: Metadata {
                mode: 0o777,
                ..Metadata::default()
            },
            content: Content::Symlink(self.link.as_bytes().into()),
        }
    }
}

/// Moves what lies in `path` to where a host will find it.
fn empty(
    image: &mut Image,
    path: &ImagePath,
    place: &Place,
    declared: &Declared,
    report: &mut Report,
) -> Result<Vec<Line>> {
    let accounts = image.packages.accounts.clone();
    let resettling = Resettling {
        from: path,
        to: &fixed(place.host),
        homes: place.path == "home",
        declared,
        accounts: &accounts,
        by: BY,
    };
    resettling.apply(image, report)
}

fn may_move(tree: &Tree, path: &ImagePath, when: When) -> bool {
    match when {
        When::Always => true,
        When::Empty => tree.walk_from(path).count() == 1,
        When::Strict => !tree
            .walk_from(path)
            .any(|(_, id)| matches!(tree.inode(id).content, Content::File { .. })),
    }
}

fn tell_what_stays(place: &Place, path: &ImagePath, report: &mut Report) {
    if place.when == When::Empty {
        let detail = format!(
            "not empty, so it stays a read-only directory and no link to {}",
            place.link
        );
        report.advise(BY, path, detail, "remove what the image has in it");
    }
}

/// Does the link at `path` lead where the host has the directory?
fn leads_to(tree: &Tree, path: &ImagePath, place: &Place) -> bool {
    let target = tree.lookup(path).map(|id| &tree.inode(id).content);
    let Some(Content::Symlink(target)) = target else {
        return false;
    };
    let absolute = [b"/", place.host.as_bytes()].concat();
    **target == *place.link.as_bytes() || **target == *absolute
}

/// A root where `/bin` is not `/usr/bin`.
fn refuse_split_usr(tree: &Tree, report: &mut Report) {
    for name in MERGED {
        let path = top(name);
        let is_directory = tree
            .lookup(&path)
            .is_some_and(|id| tree.children(id).is_some());
        if is_directory {
            report.fatal(
                BY,
                &path,
                "a directory, not a link into /usr: initramfs tools and SELinux equivalences look for one merged tree",
                "merge it into /usr (Debian: the package usrmerge), or take it as it is with --layout=keep",
            );
        }
    }
}

/// What the image's author put at the top stays, which is not what a container's user expects of it.
fn tell_others(tree: &Tree, report: &mut Report) {
    let Some(children) = tree.children(tree.root()) else {
        return;
    };
    for (name, &id) in children {
        let is = |known: &&str| known.as_bytes() == &**name;
        let is_known = KNOWN.iter().any(is)
            || MERGED.iter().any(is)
            || PLACES.iter().any(|place| is(&place.path));
        if !is_known && tree.children(id).is_some() {
            report.advise(
                BY,
                &ImagePath::root().join(name),
                "a directory of the image: a host cannot write to it, and every update replaces it",
                "where the host is to write, make it a link into /var",
            );
        }
    }
}

fn fixed(path: &str) -> ImagePath {
    ImagePath::parse(path.as_bytes()).expect("a constant without `..`")
}

#[cfg(test)]
mod tests {
    use super::super::Toplevel;
    use super::*;
    use crate::fixup::FixupOptions;
    use crate::fixup::testing::run;
    use crate::testing::Layers;

    /// The directories that the other half of the fixup makes, and the others it looks for.
    fn base() -> Layers {
        ["boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"]
            .iter()
            .fold(Layers::new(), |layers, name| layers.dir(name, 0o755))
            .symlink("ostree", "sysroot/ostree")
    }

    /// What is made of [`base`] and more: the lines of the listing that are new, and the notes.
    fn lay_out(layers: Layers, layout: Layout) -> (Vec<String>, Vec<String>) {
        let options = FixupOptions {
            layout,
            ..FixupOptions::default()
        };
        let keep = FixupOptions {
            layout: Layout::Keep,
            ..FixupOptions::default()
        };
        let (mut tree, notes) = run(&Toplevel, layers, options).unwrap();
        let (before, _) = run(&Toplevel, base(), keep).unwrap();
        tree.retain(|line| !before.contains(line) && !is_parent(line));
        (tree, notes)
    }

    /// Directories that lead to our lines.
    fn is_parent(line: &str) -> bool {
        ["/usr/ 755", "/usr/lib/ 755", "/usr/lib/tmpfiles.d/ 755"].contains(&line)
    }

    /// A file of ours with these lines, as listings print it.
    fn lines(lines: &[&str]) -> String {
        let text = format!(
            "# Made by import-oci, see tmpfiles.d(5).\n{}\n",
            lines.join("\n")
        );
        let text = crate::path::escape(text.as_bytes());
        format!("/usr/lib/tmpfiles.d/{LINES} 644 {text:?}")
    }

    const MEDIA: &str = "d /run/media 0755 root root -";
    const HOME: &str = "d /var/home 0755 root root -";
    const MNT: &str = "d /var/mnt 0755 root root -";
    const ROOT: &str = "d /var/roothome 0700 root root -";
    const SRV: &str = "d /var/srv 0755 root root -";

    #[test]
    fn what_is_empty_or_missing_becomes_a_link() {
        let layers = base()
            .dir("home", 0o711)
            .owner(0, 50)
            .dir("media", 0o700)
            .dir("opt", 0o755)
            .dir("usr/local", 0o755)
            .file("srv", "odd")
            .dir("root", 0o750);
        let (tree, notes) = lay_out(layers, Layout::Auto);
        assert_eq!(
            tree,
            [
                "/home -> var/home",
                "/media -> run/media",
                "/mnt -> var/mnt",
                "/opt/ 755",
                "/root -> var/roothome",
                "/srv -> var/srv",
                &lines(&[
                    "d /run/media 0700 root root -",
                    "d /var/home 0711 root 50 -",
                    MNT,
                    "d /var/roothome 0750 root root -",
                    SRV
                ]),
                "/usr/local/ 755",
            ]
        );
        assert_eq!(
            notes,
            [
                "changed /home",
                "changed /root",
                "dropped /srv",
                "added /srv",
                "added /mnt",
                "changed /media",
                "added /usr/lib/tmpfiles.d/import-oci-toplevel.conf",
            ]
        );
    }

    #[test]
    fn content_waits_in_the_factory() {
        let layers = base()
            .file("home/ann/.config/x", "1")
            .owner(1000, 1000)
            .dir("home/ann", 0o700)
            .owner(1000, 1000)
            .dir("root", 0o700)
            .file("root/.bashrc", "alias")
            .file("root/.ssh/authorized_keys", "key")
            .dir("srv/www/logs", 0o755)
            .file("srv/www/index.html", "<p>")
            .file("media/readme", "")
            .file("opt/tool", "")
            .file("usr/local/bin/tool", "");
        let (tree, notes) = lay_out(layers, Layout::Strict);
        assert_eq!(
            tree,
            [
                "/home -> var/home",
                "/media/ 755",
                "/media/readme 644 \"\"",
                "/mnt -> var/mnt",
                "/opt/ 755",
                "/opt/tool 644 \"\"",
                "/root -> var/roothome",
                "/srv -> var/srv",
                &lines(&[
                    HOME,
                    "C /var/home/ann - - - -",
                    MNT,
                    "d /var/roothome 0700 root root -",
                    "C /var/roothome/.bashrc 0644 root root -",
                    "C /var/roothome/.ssh - - - -",
                    SRV,
                    "C /var/srv/www - - - -",
                    "d /var/srv/www/logs 0755 root root -",
                ]),
                "/usr/local/ 755",
                "/usr/local/bin/ 755",
                "/usr/local/bin/tool 644 \"\"",
                "/usr/share/ 755",
                "/usr/share/factory/ 755",
                "/usr/share/factory/var/ 755",
                "/usr/share/factory/var/home/ 755",
                "/usr/share/factory/var/home/ann/ 700 1000:1000",
                "/usr/share/factory/var/home/ann/.config/ 755",
                "/usr/share/factory/var/home/ann/.config/x 644 \"1\" 1000:1000",
                "/usr/share/factory/var/roothome/ 700",
                "/usr/share/factory/var/roothome/.bashrc 644 \"alias\"",
                "/usr/share/factory/var/roothome/.ssh/ 755",
                "/usr/share/factory/var/roothome/.ssh/authorized_keys 644 \"key\"",
                "/usr/share/factory/var/srv/ 755",
                "/usr/share/factory/var/srv/www/ 755",
                "/usr/share/factory/var/srv/www/index.html 644 \"<p>\"",
                "/usr/share/factory/var/srv/www/logs/ 755",
            ]
        );
        assert_eq!(
            notes,
            [
                "moved /home/ann",
                "changed /home",
                "moved /root/.bashrc",
                "moved /root/.ssh",
                "changed /root",
                "moved /srv/www",
                "changed /srv",
                "added /mnt",
                "warning /media",
                "added /usr/lib/tmpfiles.d/import-oci-toplevel.conf",
            ]
        );
    }

    #[test]
    fn strict_links_what_holds_no_file() {
        let layers = base()
            .dir("opt", 0o755)
            .dir("usr/local/bin", 0o775)
            .owner(0, 50)
            .symlink("usr/local/man", "share/man");
        let (tree, _) = lay_out(layers, Layout::Strict);
        let links = ["/opt -> var/opt", "/usr/local -> ../var/usrlocal"];
        for link in links {
            assert!(tree.iter().any(|line| line == link), "{tree:?}");
        }
        let want = lines(&[
            MEDIA,
            HOME,
            MNT,
            "d /var/opt 0755 root root -",
            ROOT,
            SRV,
            "d /var/usrlocal 0755 root root -",
            "d /var/usrlocal/bin 0775 root 50 -",
            "L /var/usrlocal/man - - - - share/man",
        ]);
        assert!(tree.contains(&want), "{tree:#?}");
    }

    #[test]
    fn links_of_the_image_stay() {
        let layers = || {
            base()
                .symlink("home", "var/home")
                .symlink("root", "/var/roothome")
                .symlink("srv", "data")
                .symlink("mnt", "var/mnt")
                .symlink("media", "run/media")
                .file("usr/lib/tmpfiles.d/x.conf", "d /var/mnt\nd /run/media\n")
        };
        let (tree, notes) = lay_out(layers(), Layout::Auto);
        assert!(tree.contains(&lines(&[HOME, ROOT])), "{tree:#?}");
        assert_eq!(notes, [format!("added /usr/lib/tmpfiles.d/{LINES}")]);
        // Our own lines, with a mode of the image's, are lines like others.
        let again = layers().file(&format!("usr/lib/tmpfiles.d/{LINES}"), "d /var/home 0711\n");
        let (tree, _) = lay_out(again, Layout::Auto);
        let want = lines(&["d /var/home 0711 - - -", ROOT]);
        assert!(tree.contains(&want), "{tree:#?}");
    }

    #[test]
    fn a_split_usr_is_refused() {
        let layers = || {
            base()
                .file("bin/sh", "")
                .dir("lib64", 0o755)
                .symlink("lib", "usr/lib")
                .symlink("sbin", "usr/sbin")
        };
        let (_, notes) = lay_out(layers(), Layout::Auto);
        assert_eq!(notes[..2], ["fatal /bin", "fatal /lib64"]);
        let (tree, notes) = lay_out(layers(), Layout::Keep);
        assert!(notes.is_empty(), "{notes:?}");
        assert!(tree.iter().any(|line| line == "/bin/sh 644 \"\""));
    }

    #[test]
    fn directories_of_the_image_are_told() {
        let layers = base()
            .dir("data", 0o755)
            .dir("efi", 0o755)
            .symlink("work", "var/work");
        let (tree, notes) = lay_out(layers, Layout::Auto);
        assert!(tree.iter().any(|line| line == "/data/ 755"));
        let warnings: Vec<_> = notes.iter().filter(|n| n.starts_with("warning")).collect();
        assert_eq!(warnings, ["warning /data"]);
    }
}
