//! The files of accounts, and those that the fixup writes.

use anyhow::{Context as _, Result};

use super::BY;
use crate::fixup::Image;
use crate::host::etc;
use crate::metadata::Metadata;
use crate::packages::fragments;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, InodeId};

/// More is no file of accounts.
const LIMIT: u64 = 16 << 20;

/// A text file of the image.
#[derive(Debug)]
pub struct TextFile {
    /// Its path in the image, where it may be a link.
    pub path: ImagePath,
    /// The file that is there in the end.
    pub id: InodeId,
    /// Its content.
    pub text: Vec<u8>,
}

impl TextFile {
    /// The file `path`. `None`: there is none.
    pub fn at(image: &Image, path: ImagePath) -> Result<Option<Self>> {
        let Some(id) = fragments::resolve(&image.tree, &path) else {
            return Ok(None);
        };
        let Content::File { body, .. } = image.tree.inode(id).content else {
            return Ok(None);
        };
        let text = image.bodies.read(body, LIMIT);
        let text = text.with_context(|| path.to_string())?;
        Ok(Some(Self { path, id, text }))
    }

    /// The file `name` of `/etc`, else of `/usr/etc`.
    pub fn of_etc(image: &Image, name: &str) -> Result<Option<Self>> {
        match Self::at(image, path("etc").join(name.as_bytes()))? {
            Some(mut file) => {
                file.path = etc(&image.tree).join(name.as_bytes());
                Ok(Some(file))
            }
            None => Self::at(image, path("usr/etc").join(name.as_bytes())),
        }
    }

    /// Gives it another content, under all its names.
    pub fn write(&self, image: &mut Image, text: &[u8]) {
        image.tree.inode_mut(self.id).content = content(image, text);
    }
}

/// Makes `text` the content of the file `path`, which is ours; without text it goes.
pub fn write_own(
    image: &mut Image,
    path: &ImagePath,
    text: Option<&[u8]>,
    what: &str,
    report: &mut Report,
) -> Result<()> {
    let before = TextFile::at(image, path.clone())?;
    match (before, text) {
        (None, None) => {}
        (Some(_), None) => {
            image.tree.remove(path);
            report.note(
                BY,
                Action::Dropped,
                path,
                "nothing is left to be said in it",
            );
        }
        (Some(before), Some(text)) if before.text == text => {}
        (Some(before), Some(text)) => {
            before.write(image, text);
            report.note(BY, Action::Changed, path, what);
        }
        (None, Some(text)) => {
            let inode = Inode {
                metadata: Metadata {
                    mode: 0o644,
                    ..Metadata::default()
                },
                content: content(image, text),
            };
            image.tree.insert(path, inode)?;
            report.note(BY, Action::Added, path, what);
        }
    }
    Ok(())
}

fn content(image: &mut Image, text: &[u8]) -> Content {
    Content::File {
        body: image.bodies.add(text),
        size: text.len() as u64,
    }
}

/// The path that a constant spells.
pub fn path(text: &str) -> ImagePath {
    ImagePath::parse(text.as_bytes()).expect("a constant without `..`")
}

/// Which numbers are those of system accounts: not of root, not of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    uid_max: u32,
    gid_max: u32,
}

impl System {
    /// As `/etc/login.defs` says, see `login.defs(5)`.
    pub fn of(image: &Image) -> Result<Self> {
        let file = TextFile::of_etc(image, "login.defs")?;
        Ok(Self::parse(file.map(|file| file.text).as_deref()))
    }

    fn parse(login_defs: Option<&[u8]>) -> Self {
        let text = String::from_utf8_lossy(login_defs.unwrap_or_default());
        let value = |key: &str| {
            text.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some(key)).then(|| words.next()?.parse().ok())?
            })
        };
        Self {
            uid_max: value("SYS_UID_MAX").unwrap_or(999),
            gid_max: value("SYS_GID_MAX").unwrap_or(999),
        }
    }

    /// Up to these numbers.
    #[cfg(test)]
    pub fn of_maxima(uid_max: u32, gid_max: u32) -> Self {
        Self { uid_max, gid_max }
    }

    /// Is it the number of a system user?
    pub fn has_user(self, uid: u32) -> bool {
        uid != 0 && uid <= self.uid_max
    }

    /// Is it the number of a system group?
    pub fn has_group(self, gid: u32) -> bool {
        gid != 0 && gid <= self.gid_max
    }

    /// The highest number of a system user.
    pub fn uid_max(self) -> u32 {
        self.uid_max
    }

    /// The highest number of a system group.
    pub fn gid_max(self) -> u32 {
        self.gid_max
    }
}

/// Would systemd take it for the name of an account? It is stricter than the C library.
pub fn is_strict_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.len() <= 31
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_accounts_are_those_of_login_defs() {
        for (text, uid_max, gid_max) in [
            (None, 999, 999),
            (Some("#SYS_UID_MAX 5\nSYS_GID_MAX"), 999, 999),
            (
                Some("UID_MIN 500\nSYS_UID_MAX\t\t499\nSYS_GID_MAX 0498"),
                499,
                498,
            ),
        ] {
            let system = System::parse(text.map(str::as_bytes));
            assert_eq!(system, System { uid_max, gid_max }, "{text:?}");
        }
        let system = System::parse(None);
        assert!(system.has_user(1) && system.has_user(999) && system.has_group(999));
        assert!(!system.has_user(0) && !system.has_user(1000) && !system.has_group(65534));
    }

    #[test]
    fn names() {
        for (name, strict) in [
            ("polkitd", true),
            ("_apt", true),
            ("systemd-network", true),
            ("Debian-exim", true),
            ("dotted.name", false),
            ("1st", false),
            ("machine$", false),
            ("", false),
        ] {
            assert_eq!(is_strict_name(name), strict, "{name}");
        }
    }
}
