//! The members of a tar file and where they lie, found by reading nothing but its headers.
//!
//! Headers are read as those of a layer are ([`crate::tar_format`]). An archive may claim anything:
//! what it says of sizes is held against its own, and what is kept in memory has a limit.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, bail, ensure};

use crate::path::{ImagePath, escape};
use crate::tar_format;
use crate::tar_format::extended::Extended;
use crate::tar_format::header::{BLOCK, Header};
use crate::tar_format::pax::Overrides;

/// The members of an archive. Where a name comes twice the later one counts, as when the archive
/// is extracted.
pub(super) type Members = HashMap<ImagePath, Content>;

/// What is known of a member.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A regular file or a hardlink to one: where its bytes lie in the archive.
    File { offset: u64, size: u64 },
    /// A symbolic link and what it holds.
    Symlink(Box<[u8]>),
    /// A directory, or something that no image has.
    Other,
}

/// How much an archive may ask for: far more than one of an image does.
struct Limits {
    /// Members, extended headers included.
    members: u64,
    /// Bytes of one GNU long name or PAX extended header.
    extended: u64,
    /// Bytes of all names and targets of links.
    names: usize,
}

const LIMITS: Limits = Limits {
    members: 1_000_000,
    extended: 64 << 10,
    names: 64 << 20,
};

/// Finds the members of the tar file `file`.
///
/// # Errors
///
/// Not a tar archive, a damaged, truncated or empty one, one with a sparse member or a name that
/// leads out of it, or one that asks for too much. No error tells what a file holds that is no
/// archive: it may be any file of the machine.
pub(super) fn scan(file: &File) -> Result<Members> {
    scan_within(file, &LIMITS)
}

fn scan_within(file: &File, limits: &Limits) -> Result<Members> {
    let mut blocks = Blocks {
        file,
        length: file.metadata()?.len(),
        position: 0,
        last: None,
    };
    let mut members = Members::new();
    let mut extended = Extended::default();
    let mut names = 0;
    let mut count = 0;
    while let Some(header) = blocks.next_header()? {
        count += 1;
        ensure!(
            count <= limits.members,
            "more than {} members",
            limits.members
        );
        let buffer = match header.type_flag() {
            b'g' => {
                blocks.skip(blocks.size(&header)?, "a global header")?;
                continue;
            }
            b'x' | b'X' => &mut extended.pax,
            b'L' => &mut extended.name,
            b'K' => &mut extended.link,
            _ => {
                let (name, content) = blocks.member(&header, &extended, &members)?;
                names += name.as_bytes().len();
                if let Content::Symlink(target) = &content {
                    names += target.len();
                }
                ensure!(
                    names <= limits.names,
                    "names of more than {} bytes",
                    limits.names
                );
                members.insert(name, content);
                extended.clear();
                continue;
            }
        };
        *buffer = blocks.read(blocks.size(&header)?, limits.extended)?;
    }
    ensure!(extended.is_empty(), blocks.truncated(&blocks.header()));
    ensure!(!members.is_empty(), "an empty archive");
    Ok(members)
}

/// The archive, and where in it the next header stands.
struct Blocks<'a> {
    file: &'a File,
    length: u64,
    position: u64,
    /// Name of the last member, printable.
    last: Option<String>,
}

impl Blocks<'_> {
    /// The next header; `None` where the file ends, or with it the archive (a block of zeros).
    fn next_header(&mut self) -> Result<Option<Header>> {
        let left = self.length.saturating_sub(self.position);
        let mut block = [0; BLOCK];
        let available = &mut block[..left.min(BLOCK as u64) as usize];
        self.file.read_exact_at(available, self.position)?;
        if available.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let Ok(header) = Header::parse(block) else {
            ensure!(
                self.position > 0,
                "not a tar archive, neither plain nor compressed with gzip or zstd"
            );
            ensure!(left >= BLOCK as u64, self.truncated(&self.header()));
            bail!("damaged: {} is none", self.header());
        };
        self.position += BLOCK as u64;
        Ok(Some(header))
    }

    /// What `header` and the `extended` ones before it describe. Skips its data.
    fn member(
        &mut self,
        header: &Header,
        extended: &Extended,
        members: &Members,
    ) -> Result<(ImagePath, Content)> {
        let overrides = Overrides::parse(&extended.pax, &tar_format::Limits::default())
            .with_context(|| self.header())?;
        let mut name = Vec::new();
        header.name(&mut name);
        let name = overrides.path.or(text(&extended.name)).unwrap_or(&name);
        let link = overrides.link_path.or(text(&extended.link));
        let link = link.unwrap_or(header.link_name());
        let size = match overrides.size {
            Some(size) => size,
            None => self.size(header)?,
        };
        let path = parse_name(name)?;
        let name = escape(name);
        ensure!(
            header.type_flag() != b'S' && overrides.sparse == Default::default(),
            "member {name} is stored as a sparse file: pack the archive without --sparse"
        );

        let offset = self.position;
        let content = match header.type_flag() {
            b'0' | 0 | b'7' => Content::File { offset, size },
            b'1' => members
                .get(&parse_name(link)?)
                .cloned()
                .unwrap_or(Content::Other),
            b'2' => Content::Symlink(link.into()),
            _ => Content::Other,
        };
        // A link, directory or device has no data, whatever size some writers give it.
        if !matches!(header.type_flag(), b'1'..=b'6') {
            self.skip(size, &format!("member {name}"))?;
        }
        self.last = Some(name);
        Ok((path, content))
    }

    fn size(&self, header: &Header) -> Result<u64> {
        header.size().with_context(|| self.header())
    }

    /// Reads the data of an extended header.
    fn read(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        ensure!(
            size <= limit,
            "{} is extended by {size} bytes, more than {limit}",
            self.header()
        );
        let start = self.position;
        self.skip(size, &self.header())?;
        let mut data = vec![0; size as usize];
        self.file.read_exact_at(&mut data, start)?;
        Ok(data)
    }

    /// Skips the data of `what`, which have to be there; what fills up their last block need not.
    fn skip(&mut self, size: u64, what: &str) -> Result<()> {
        let end = self.position.checked_add(size);
        let end = end.filter(|&end| end <= self.length);
        let end = end.with_context(|| self.truncated(what))?;
        self.position = end.next_multiple_of(BLOCK as u64);
        Ok(())
    }

    /// The header under way, for a message: its own name may be unknown yet.
    fn header(&self) -> String {
        match &self.last {
            None => "the first header".to_owned(),
            Some(name) => format!("the header behind member {name}"),
        }
    }

    fn truncated(&self, within: &str) -> String {
        format!(
            "truncated: the archive ends within {within}, at byte {}",
            self.length
        )
    }
}

/// A long name or link target, up to its NUL; `None` if it is not there.
fn text(data: &[u8]) -> Option<&[u8]> {
    data.split(|&b| b == 0)
        .next()
        .filter(|text| !text.is_empty())
}

/// Parses the name of a member or the target of a hardlink.
pub(super) fn parse_name(name: &[u8]) -> Result<ImagePath> {
    ImagePath::parse(name).context("name in a tar archive")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tar::{Builder, EntryType};

    use super::*;

    /// Limits that a test can reach.
    const FEW: Limits = Limits {
        members: 8,
        extended: 1024,
        names: 600,
    };

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    /// An archive of `members`: name and content, or the target of a symbolic link.
    fn archive(members: &[(&str, Result<&str, &str>)]) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (name, content) in members {
            match content {
                Ok(body) => {
                    let mut header = header(EntryType::Regular, body.len() as u64);
                    tar.append_data(&mut header, name, body.as_bytes()).unwrap();
                }
                Err(target) => {
                    let mut header = header(EntryType::Symlink, 0);
                    tar.append_link(&mut header, name, target).unwrap();
                }
            }
        }
        tar.into_inner().unwrap()
    }

    /// A header block, data and what fills their last block up.
    fn extended(kind: EntryType, data: &[u8]) -> Vec<u8> {
        let mut bytes = header(kind, data.len() as u64).as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn error_of(members: Result<Members>) -> String {
        format!("{:#}", members.unwrap_err())
    }

    #[test]
    fn long_names_come_from_either_extension() {
        let long = ["n"; 150].join("/");
        let target = ["t"; 150].join("/");
        let gnu = archive(&[(&long, Ok("body")), ("link", Err(&target))]);
        let records = format!("{} path={long}\n14 size=70000\n", 10 + long.len());
        let mut pax = extended(EntryType::XHeader, records.as_bytes());
        pax.extend(extended(EntryType::Regular, b""));
        pax.resize(pax.len() + 70_000, b'x');
        pax.resize(pax.len().next_multiple_of(BLOCK), 0);
        pax.extend(archive(&[("behind", Ok("it"))]));
        for (bytes, size, more) in [(gnu, 4, "link"), (pax, 70_000, "behind")] {
            let members = scan(&file(&bytes)).unwrap();
            let member = |name: &str| &members[&ImagePath::parse(name.as_bytes()).unwrap()];
            match member(&long) {
                Content::File { size: found, .. } => assert_eq!(*found, size),
                other => panic!("{other:?}"),
            }
            match member(more) {
                Content::Symlink(found) => assert_eq!(&**found, target.as_bytes()),
                Content::File { size, .. } => assert_eq!(*size, 2),
                Content::Other => panic!("{more} is neither"),
            }
        }
    }

    #[test]
    fn what_is_no_archive_is_not_told() {
        let secret = b"root:x:0:0:root:/root:/bin/sh\n".repeat(40);
        for bytes in [&secret[..], &secret[..20], &secret[..513]] {
            let error = error_of(scan(&file(bytes)));
            assert!(error.starts_with("not a tar archive"), "{error}");
            assert!(!error.contains("root"), "{error}");
        }
    }

    #[test]
    fn damage_is_placed() {
        let good = archive(&[("one", Ok("body")), (&["n"; 60].join("/"), Ok("body"))]);
        let mut altered = good.clone();
        altered[1024] ^= 1;
        let mut sparse = good.clone();
        sparse[..512].copy_from_slice(header(EntryType::GNUSparse, 4).as_bytes());
        let pax_sparse = [
            extended(EntryType::XHeader, b"22 GNU.sparse.major=1\n"),
            good.clone(),
        ]
        .concat();
        for (bytes, reason) in [
            (
                &good[..514],
                "the archive ends within member one, at byte 514",
            ),
            (
                &good[..1030],
                "within the header behind member one, at byte 1030",
            ),
            (
                &good[..1540],
                "within the header behind member one, at byte 1540",
            ),
            (
                &good[..2048],
                "within the header behind member one, at byte 2048",
            ),
            (&good[..2562], "within member n/n/"),
            (&altered, "damaged: the header behind member one is none"),
            (&sparse, "without --sparse"),
            (&pax_sparse, "without --sparse"),
            (&[0; 1024], "an empty archive"),
        ] {
            let error = error_of(scan(&file(bytes)));
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn claims_are_limited() {
        let long = &*["n"; 300].join("/");
        let empty = ("empty", Ok(""));
        let extension = extended(EntryType::XGlobalHeader, b"");
        for (bytes, reason) in [
            (archive(&[empty; 8]), None),
            (archive(&[empty; 9]), Some("more than 8 members")),
            (extension.repeat(9), Some("more than 8 members")),
            (archive(&[(long, Ok(""))]), None),
            (
                archive(&[(long, Ok("")); 2]),
                Some("names of more than 600"),
            ),
            (
                archive(&[("link", Err(long)); 2]),
                Some("names of more than 600"),
            ),
            (
                extended(EntryType::GNULongName, &[b'n'; 1025]),
                Some("the first header is extended by 1025 bytes, more than 1024"),
            ),
        ] {
            match (scan_within(&file(&bytes), &FEW), reason) {
                (Ok(_), None) => {}
                (members, Some(reason)) => {
                    let error = error_of(members);
                    assert!(error.contains(reason), "{reason}: {error}");
                }
                (Err(error), None) => panic!("{error:#}"),
            }
        }
    }

    #[test]
    fn a_huge_extension_is_not_read() {
        for kind in [
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
        ] {
            let file = file(header(kind, 3 << 30).as_bytes());
            file.set_len(4 << 30).unwrap();
            let error = error_of(scan(&file));
            assert!(
                error.contains("3221225472 bytes, more than 65536"),
                "{error}"
            );
        }
    }
}
