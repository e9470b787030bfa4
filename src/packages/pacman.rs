//! What pacman's database says of files: `local/PACKAGE/mtree`, in the form of mtree(5), compressed with
//! gzip.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use flate2::read::MultiGzDecoder;

use super::declared::{Account, ContentDigest, DeclaredFile, DeclaredKind, DigestAlgorithm};
use super::fragments;
use crate::bodies::Bodies;
use crate::path::{ImagePath, escape};
use crate::tree::{Content, Tree};

/// Where the packages lie: as pacman has them, and where the `var` fixup puts them.
const DIRECTORIES: [&str; 2] = ["var/lib/pacman/local", "usr/lib/sysimage/pacman/local"];

/// More than a package with a million files has.
const LARGEST: u64 = 256 << 20;

/// Reads what the database of `tree` declares. A file of it that cannot be read is added to `odd`, in words.
pub(super) fn read(
    tree: &Tree,
    bodies: &Bodies,
    odd: &mut Vec<(ImagePath, String)>,
) -> Vec<DeclaredFile> {
    let mut declared = Vec::new();
    let directories = DIRECTORIES.map(fragments::path).into_iter();
    let mut present = directories.filter_map(|path| {
        let id = fragments::resolve(tree, &path)?;
        Some((tree.children(id)?, path))
    });
    let Some((packages, directory)) = present.next() else {
        return declared;
    };
    for name in packages.keys() {
        let path = directory.join(name).join(b"mtree");
        let Some(id) = fragments::resolve(tree, &path) else {
            continue;
        };
        if let Content::File { body, .. } = tree.inode(id).content {
            let mut text = Vec::new();
            let mut reader = MultiGzDecoder::new(bodies.reader(body)).take(LARGEST + 1);
            let unpacked = reader.read_to_end(&mut text).context("unpacking it");
            let whole = unpacked.and_then(|length| {
                ensure!(length as u64 <= LARGEST, "it is larger than any such file");
                Ok(())
            });
            match whole {
                Ok(()) => declared.extend(parse(&text, &escape(name).into())),
                Err(error) => odd.push((path, format!("{error:#}"))),
            }
        }
    }
    declared
}

/// The paths of an mtree file. Lines of pacman's own files (`.PKGINFO`) are none of the image.
fn parse(text: &[u8], package: &Arc<str>) -> Vec<DeclaredFile> {
    let mut defaults = Keywords::default();
    let mut files = Vec::new();
    for line in fragments::lines(text) {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_whitespace();
        match words.next() {
            Some("/set") => defaults.read(words),
            Some("/unset") => words.for_each(|word| defaults.unset(word)),
            Some(name) if name.starts_with("./") && !name.starts_with("./.") => {
                let mut keywords = defaults.clone();
                keywords.read(words);
                if let Ok(path) = ImagePath::parse(&unescape(name)) {
                    files.push(keywords.declare(path, package));
                }
            }
            _ => {}
        }
    }
    files
}

/// What is said of a path; what is not is as `/set` said last.
#[derive(Debug, Clone, Default)]
struct Keywords {
    kind: Option<String>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    sha256: Option<String>,
}

impl Keywords {
    fn read<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "type" => self.kind = Some(value.to_owned()),
                "mode" => self.mode = u32::from_str_radix(value, 8).ok(),
                "uid" => self.uid = value.parse().ok(),
                "gid" => self.gid = value.parse().ok(),
                "sha256digest" | "sha256" => self.sha256 = Some(value.to_ascii_lowercase()),
                _ => {}
            }
        }
    }

    fn unset(&mut self, key: &str) {
        match key {
            "type" => self.kind = None,
            "mode" => self.mode = None,
            "uid" => self.uid = None,
            "gid" => self.gid = None,
            "all" => *self = Self::default(),
            _ => {}
        }
    }

    fn declare(self, path: ImagePath, package: &Arc<str>) -> DeclaredFile {
        let mut file = DeclaredFile::new(path, package.clone());
        file.kind = match self.kind.as_deref() {
            Some("dir") => Some(DeclaredKind::Directory),
            Some("file") => Some(DeclaredKind::File),
            Some("link") => Some(DeclaredKind::Symlink),
            _ => None,
        };
        file.owner = self.uid.map(Account::Number);
        file.group = self.gid.map(Account::Number);
        if file.kind != Some(DeclaredKind::Symlink) {
            file.mode = self.mode.map(|mode| mode & 0o7777);
        }
        file.digest = self.sha256.map(|hex| ContentDigest {
            algorithm: DigestAlgorithm::Sha256,
            hex: hex.into(),
        });
        file
    }
}

/// A name with its `\NNN` (octal) turned into bytes, as vis(3) writes them.
fn unescape(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::Layers;

    const MTREE: &str = "#mtree
/set type=file uid=0 gid=0 mode=644
./.PKGINFO time=1.0 size=3 sha256digest=ab
./etc time=1.0 mode=755 type=dir
./etc/a\\040b time=1.0 size=1 sha256digest=CD
./usr/bin/su time=1.0 mode=4755 gid=7 size=1
./usr/lib64 time=1.0 mode=777 type=link link=lib
/unset uid
./x mode=600
";

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn paths_of_packages() {
        for place in DIRECTORIES {
            let layers = Layers::new()
                .bytes(&format!("{place}/p-1-1/mtree"), &gzip(MTREE))
                .file(&format!("{place}/q-1-1/mtree"), "no gzip")
                .file(&format!("{place}/ALPM_DB_VERSION"), "9");
            let (tree, bodies) = layers.merge();
            let mut odd = Vec::new();
            let files = read(&tree, &bodies, &mut odd);
            let told: Vec<_> = files
                .iter()
                .map(|f| {
                    format!(
                        "{} {:o} {:?} {:?}",
                        f.path,
                        f.mode.unwrap_or(0),
                        f.owner,
                        f.group
                    )
                })
                .collect();
            assert_eq!(
                told,
                [
                    "/etc 755 Some(Number(0)) Some(Number(0))",
                    "/etc/a b 644 Some(Number(0)) Some(Number(0))",
                    "/usr/bin/su 4755 Some(Number(0)) Some(Number(7))",
                    "/usr/lib64 0 Some(Number(0)) Some(Number(0))",
                    "/x 600 None Some(Number(0))",
                ]
            );
            assert_eq!(files[0].kind, Some(DeclaredKind::Directory));
            assert_eq!(&*files[1].digest.as_ref().unwrap().hex, "cd");
            assert_eq!(odd.len(), 1);
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>, text in "(?s)[./a-z\\\\0-9=\n ]{0,60}") {
            parse(&bytes, &"p".into());
            parse(text.as_bytes(), &"p".into());
        }
    }
}
