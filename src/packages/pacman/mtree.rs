//! The list of files that pacman keeps of each package, in mtree(5).

use std::sync::Arc;

use ostree::glib::ChecksumType;

use crate::packages::{DeclaredChecksum, DeclaredContent, DeclaredFile, FileKind, Owner};
use crate::path::ImagePath;

/// The keywords of an entry that matter here. `/set` gives those that entries leave out.
#[derive(Debug, Clone, Default)]
struct Keywords {
    kind: Option<FileKind>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    checksum: Option<DeclaredChecksum>,
}

impl Keywords {
    /// Takes in one word. What it does not know or cannot read says nothing.
    fn set(&mut self, word: &[u8]) {
        let Some(equals) = word.iter().position(|&b| b == b'=') else {
            return;
        };
        let (name, value) = (&word[..equals], &word[equals + 1..]);
        let number = |radix| {
            let digits = std::str::from_utf8(value).ok()?;
            u32::from_str_radix(digits, radix).ok()
        };
        match name {
            b"type" => {
                self.kind = Some(match value {
                    b"dir" => FileKind::Directory,
                    b"file" => FileKind::Regular,
                    b"link" => FileKind::Symlink,
                    _ => FileKind::Special,
                });
            }
            b"mode" => self.mode = number(8).map(|mode| mode & 0o7777),
            b"uid" => self.uid = number(10),
            b"gid" => self.gid = number(10),
            b"sha256digest" | b"sha256" => {
                self.checksum = DeclaredChecksum::parse(ChecksumType::Sha256, value);
            }
            b"md5digest" | b"md5" if self.checksum.is_none() => {
                self.checksum = DeclaredChecksum::parse(ChecksumType::Md5, value);
            }
            _ => {}
        }
    }

    /// Forgets what `/unset` names.
    fn unset(&mut self, word: &[u8]) {
        match word {
            b"type" => self.kind = None,
            b"mode" => self.mode = None,
            b"uid" => self.uid = None,
            b"gid" => self.gid = None,
            b"all" => *self = Self::default(),
            _ => {}
        }
    }
}

/// Reads a list. Lines that are no entries are passed over, and so are the package's own files at
/// the top (`.PKGINFO`, `.MTREE`), which are not installed.
pub fn parse(package: &Arc<str>, text: &[u8]) -> Vec<DeclaredFile> {
    let mut defaults = Keywords::default();
    let mut files = Vec::new();
    for line in text.split(|&b| b == b'\n') {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        match words.next() {
            None => {}
            Some(b"/set") => words.for_each(|word| defaults.set(word)),
            Some(b"/unset") => words.for_each(|word| defaults.unset(word)),
            Some(name) if name.starts_with(b"./") => {
                let mut keywords = defaults.clone();
                words.for_each(|word| keywords.set(word));
                files.extend(declared(package, name, keywords));
            }
            Some(_) => {}
        }
    }
    files
}

fn declared(package: &Arc<str>, name: &[u8], keywords: Keywords) -> Option<DeclaredFile> {
    let path = ImagePath::parse(&unescape(name)).ok()?;
    let at_top = path.parent().is_some_and(|parent| parent.is_root());
    if path.is_root() || (at_top && path.as_bytes().starts_with(b".")) {
        return None;
    }
    let Keywords { kind, checksum, .. } = keywords;
    let mut file = DeclaredFile::new(package.clone(), path);
    file.kind = kind;
    file.mode = keywords.mode.filter(|_| kind != Some(FileKind::Symlink));
    file.user = keywords.uid.map(Owner::Number);
    file.group = keywords.gid.map(Owner::Number);
    if kind == Some(FileKind::Regular) {
        file.content = checksum.map_or(DeclaredContent::Unknown, DeclaredContent::Checksum);
    }
    Some(file)
}

/// A name with its `\ooo` as the bytes they stand for, as strsvis(3) writes them.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    behind @ ..,
                ],
            ) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => bytes.push(byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_are_read() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = format!(
            "#mtree\n\
             /set type=file uid=0 gid=0 mode=644\n\
             ./.PKGINFO time=1.0 size=1 sha256digest={digest}\n\
             ./etc time=1.0 mode=755 type=dir\n\
             ./usr/bin/su mode=4755 md5digest=00 sha256digest={digest}\n\
             ./usr/bin/sg mode=777 type=link link=newgrp\n\
             ./usr/share/a\\040b\\134 gid=50\n\
             /unset uid mode\n\
             ./usr/share/c nonsense mode=9 =\n\
             ./../etc/shadow mode=777\n\
             /etc/shadow mode=777\n\
             \n..\n"
        );
        let files = parse(&"p".into(), text.as_bytes());
        let files: Vec<_> = files
            .iter()
            .map(|file| {
                let mode = file.mode.map_or("-".into(), |mode| format!("{mode:o}"));
                let checked = matches!(file.content, DeclaredContent::Checksum(_));
                let owner = |owner: &Option<Owner>| match owner {
                    Some(Owner::Number(number)) => number.to_string(),
                    _ => "-".to_owned(),
                };
                let (user, group) = (owner(&file.user), owner(&file.group));
                let kind = file.kind.unwrap();
                format!("{} {kind:?} {mode} {user}:{group} {checked}", file.path)
            })
            .collect();
        assert_eq!(
            files,
            [
                "/etc Directory 755 0:0 false",
                "/usr/bin/su Regular 4755 0:0 true",
                "/usr/bin/sg Symlink - 0:0 false",
                "/usr/share/a b\\\\ Regular 644 0:50 false",
                "/usr/share/c Regular - -:0 false",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(text in prop::collection::vec(any::<u8>(), 0..256)) {
            parse(&"p".into(), &text);
        }

        #[test]
        fn any_words_can_be_read(text in r"((/set|/unset|\./[a-z\\0-9]*| |=|mode|type|dir|777|\n)){0,40}") {
            parse(&"p".into(), text.as_bytes());
        }
    }
}
