//! Tar files as a flat store of named members, for both kinds of archive.
//!
//! The headers are scanned once; members are then read in place, in any order and from many
//! threads. Nothing is extracted, so no name can lead anywhere; layers inside are the business of
//! [`crate::layer`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::decompress::decompress;
use super::layout::Member;
use super::members::{Content, Members, parse_name, scan};
use crate::bodies::temporary_directory;
use crate::compression::{Compression, MAGIC};
use crate::path::{ImagePath, escape};

/// A tar file and where its members lie.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    members: Members,
}

impl Archive {
    /// Scans the headers of `path`. A compressed archive, or one that comes through a pipe, is
    /// copied to an unlinked file in the [`temporary_directory`] first.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = seekable(File::open(path)?)?;
        let members = scan(&file)?;
        Ok(Self { file, members })
    }

    /// Is there a member of this name?
    pub(super) fn contains(&self, name: &str) -> bool {
        ImagePath::parse(name.as_bytes()).is_ok_and(|name| self.members.contains_key(&name))
    }

    /// Opens the regular file `name`.
    pub(super) fn open_file(&self, name: &str) -> Result<Member<'_>> {
        self.extent(&parse_name(name.as_bytes())?)
    }

    /// Opens the regular file `name`, or the one that the symbolic link `name` leads to: `docker
    /// save` links layers that images share.
    pub(super) fn open_linked_file(&self, name: &str) -> Result<Member<'_>> {
        let path = parse_name(name.as_bytes())?;
        let Some(Content::Symlink(target)) = self.members.get(&path) else {
            return self.extent(&path);
        };
        let link = || format!("symbolic link {name} -> {}", escape(target));
        let target = resolve_link(&path, target)
            .with_context(|| format!("{} leads out of the archive", link()))?;
        self.extent(&target).with_context(link)
    }

    fn extent(&self, path: &ImagePath) -> Result<Member<'_>> {
        let name = escape(path.as_bytes());
        match self.members.get(path) {
            Some(&Content::File { offset, size }) => Ok(Member {
                size,
                reader: Box::new(Extent {
                    file: &self.file,
                    offset,
                    end: offset + size,
                }),
            }),
            Some(_) => bail!("{name} is not a regular file"),
            None => bail!("{name} is missing"),
        }
    }
}

/// Part of a file, read without moving its position.
#[derive(Debug)]
struct Extent<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Read for Extent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min((self.end - self.offset) as usize);
        let n = self.file.read_at(&mut buffer[..length], self.offset)?;
        if n == 0 && length > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive was truncated while it was read",
            ));
        }
        self.offset += n as u64;
        Ok(n)
    }
}

/// `file` itself if it is a plain archive on disk, or else an unlinked copy that is.
fn seekable(file: File) -> Result<File> {
    ensure!(
        !file.metadata()?.is_dir(),
        "a directory, expected a tar archive"
    );
    let mut head = Vec::with_capacity(MAGIC);
    (&file).take(MAGIC as u64).read_to_end(&mut head)?;
    let compression = Compression::sniff(&head)?;
    if compression == Compression::None && file.metadata()?.is_file() {
        return Ok(file);
    }
    let stream = io::Cursor::new(head).chain(file);
    let mut stream = decompress(stream, compression)?;
    let directory = temporary_directory();
    let mut copy = tempfile::tempfile_in(&directory)
        .with_context(|| format!("creating a temporary file in {}", directory.display()))?;
    io::copy(&mut stream, &mut copy).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            anyhow!("truncated: the archive ends within its {compression} stream")
        }
        _ => anyhow!(error).context(format!("decompressing it into {}", directory.display())),
    })?;
    Ok(copy)
}

/// Where a link at `path` leads, without leaving the archive.
fn resolve_link(path: &ImagePath, target: &[u8]) -> Option<ImagePath> {
    let mut place = match target.first() {
        Some(b'/') => ImagePath::root(),
        _ => path.parent()?,
    };
    for component in target.split(|&b| b == b'/') {
        place = match component {
            b"" | b"." => place,
            b".." => place.parent()?,
            name => place.join(name),
        };
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A tar with one file, a hardlink and a symlink to it, a link that leaves, and a directory.
    fn sample() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut append = |kind, name: &str, target: &str, body: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(body.len() as u64);
            if target.is_empty() {
                tar.append_data(&mut header, name, body).unwrap();
            } else {
                tar.append_link(&mut header, name, target).unwrap();
            }
        };
        append(tar::EntryType::Regular, "a/layer.tar", "", b"old");
        append(tar::EntryType::Regular, "a/layer.tar", "", b"body");
        append(tar::EntryType::Link, "hard", "a/layer.tar", b"");
        append(
            tar::EntryType::Symlink,
            "b/layer.tar",
            "../a/layer.tar",
            b"",
        );
        append(tar::EntryType::Symlink, "c", "../../etc/passwd", b"");
        append(tar::EntryType::Symlink, "twice", "b/layer.tar", b"");
        append(tar::EntryType::Directory, "d/", "", b"");
        tar.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<Archive> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Archive::open(file.path())
    }

    fn text(member: Result<Member<'_>>) -> String {
        match member {
            Ok(mut member) => {
                let mut text = String::new();
                member.reader.read_to_string(&mut text).unwrap();
                assert_eq!(text.len() as u64, member.size);
                text
            }
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn members() {
        let plain = sample();
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for bytes in [plain, gzip, zstd] {
            let archive = open(&bytes).unwrap();
            for (name, direct, linked) in [
                ("a/layer.tar", "body", "body"),
                ("hard", "body", "body"),
                ("b/layer.tar", "not a regular file", "body"),
                ("c", "not a regular file", "leads out of the archive"),
                ("twice", "not a regular file", "not a regular file"),
                ("d", "not a regular file", "not a regular file"),
                ("e", "is missing", "is missing"),
                ("../e", "`..`", "`..`"),
            ] {
                let got = text(archive.open_file(name));
                assert!(got.contains(direct), "{name}: {got}");
                let got = text(archive.open_linked_file(name));
                assert!(got.contains(linked), "{name}: {got}");
            }
        }
    }

    #[test]
    fn refuses_what_is_no_archive() {
        let sample = sample();
        let mut outside = sample.clone();
        // The first name becomes `../ayer.tar`; the checksum is the sum of the header's bytes.
        outside[..3].copy_from_slice(b"../");
        let sum: u32 = outside[..512]
            .iter()
            .enumerate()
            .map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b }))
            .sum();
        outside[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        for (bytes, reason) in [
            (&b""[..], "an empty archive"),
            (&outside, "`..`"),
            (b"BZh91AY&SY", "bzip2"),
            (b"\xfd7zXZ\0\0\x04", "xz"),
            (b"\x1f\x8b\x08\0", "ends within its gzip stream"),
            (b"\x28\xb5\x2f\xfd\0", "ends within its zstd stream"),
            (b"\x1f\x8b\x07\0      ", "decompressing it into"),
        ] {
            let error = format!("{:#}", open(bytes).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
        let error = format!("{:#}", Archive::open(Path::new("/")).unwrap_err());
        assert!(error.contains("a directory"), "{error}");
    }
}
