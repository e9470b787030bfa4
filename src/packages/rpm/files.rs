//! What the header of an installed RPM package says of its files.

use std::collections::HashMap;
use std::sync::Arc;

use ostree::glib::ChecksumType;

use super::header::{Header, HeaderError, tag};
use crate::packages::{
    Capabilities, CapabilityError, DeclaredChecksum, DeclaredContent, DeclaredFile, FileKind, Owner,
};
use crate::path::{ImagePath, PathError};

/// What is wrong with a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Its header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A path of it.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The capabilities of a file of it.
    #[error("{0}: {1}")]
    Capabilities(ImagePath, CapabilityError),
    /// A file of it lies in a directory that the header does not have.
    #[error("a file lies in no directory")]
    NoDirectory,
}

/// `%config` and `%ghost` (rpmfileAttrs in rpmfiles.h).
const CONFIG: u32 = 1;
const GHOST: u32 = 1 << 6;

/// What `rpm -V` compares (rpmVerifyAttrs in rpmvf.h).
mod verify {
    pub const DIGEST: u32 = 1;
    pub const USER: u32 = 1 << 3;
    pub const GROUP: u32 = 1 << 4;
    pub const MODE: u32 = 1 << 6;
    pub const CAPS: u32 = 1 << 8;
}

/// The state of a file that lies on the disk and is this package's (rpmfileState in rpmfiles.h). The
/// others were replaced, left out or belong to another architecture.
const STATE_NORMAL: u32 = 0;

/// `struct stat`'s file types.
const TYPE_MASK: u32 = 0o170_000;

/// Everything that the package of `header` declares.
///
/// Arrays may be missing or too short, as some builders leave them: what they would say is then not
/// declared.
///
/// # Errors
/// The header is malformed, or a path or capability in it.
pub fn declared(header: &Header<'_>) -> Result<Vec<DeclaredFile>, PackageError> {
    let text = |bytes: &[u8]| Arc::<str>::from(String::from_utf8_lossy(bytes));
    let name = header.strings(tag::NAME)?.unwrap_or_default();
    let package = text(name.first().copied().unwrap_or(b"?"));
    let directories = header.strings(tag::DIRNAMES)?.unwrap_or_default();
    let strings = |tag| Ok::<_, HeaderError>(header.strings(tag)?.unwrap_or_default());
    let numbers = |tag| Ok::<_, HeaderError>(header.numbers(tag)?.unwrap_or_default());

    let directory_indexes = numbers(tag::DIRINDEXES)?;
    let modes = numbers(tag::FILEMODES)?;
    let states = numbers(tag::FILESTATES)?;
    let flags = numbers(tag::FILEFLAGS)?;
    let verified = numbers(tag::FILEVERIFYFLAGS)?;
    let users = strings(tag::FILEUSERNAME)?;
    let groups = strings(tag::FILEGROUPNAME)?;
    let capabilities = strings(tag::FILECAPS)?;
    let digests = strings(tag::FILEDIGESTS)?;
    let algorithm = algorithm(numbers(tag::FILEDIGESTALGO)?.first().copied());

    let mut names = HashMap::new();
    let mut owner = |list: &[&[u8]], index: usize| {
        let name = list.get(index).copied().filter(|name| !name.is_empty())?;
        let name = names.entry(name.to_vec()).or_insert_with(|| text(name));
        Some(Owner::Name(name.clone()))
    };
    let mut files = Vec::new();
    for (index, name) in strings(tag::BASENAMES)?.into_iter().enumerate() {
        if states
            .get(index)
            .is_some_and(|&state| state != STATE_NORMAL)
        {
            continue;
        }
        let number = |list: &[u32], default| list.get(index).copied().unwrap_or(default);
        let directory = directory_indexes.get(index);
        let directory = directory.and_then(|&at| directories.get(at as usize));
        let directory = directory.ok_or(PackageError::NoDirectory)?;
        let mut file = DeclaredFile::new(
            package.clone(),
            ImagePath::parse(&[*directory, b"/", name].concat())?,
        );
        let (flags, verified) = (number(&flags, 0), number(&verified, u32::MAX));
        let verifies = |what| verified & what != 0;
        let mode = modes.get(index).copied();
        file.ghost = flags & GHOST != 0;
        file.kind = mode.map(kind_of);
        file.mode = mode
            .map(|mode| mode & 0o7777)
            .filter(|_| verifies(verify::MODE) && file.kind != Some(FileKind::Symlink));
        file.user = owner(&users, index).filter(|_| verifies(verify::USER));
        file.group = owner(&groups, index).filter(|_| verifies(verify::GROUP));
        if file.kind == Some(FileKind::Regular) {
            if verifies(verify::CAPS) {
                let text = capabilities.get(index).copied().unwrap_or_default();
                let read = Capabilities::parse(&String::from_utf8_lossy(text));
                file.capabilities =
                    Some(read.map_err(|e| PackageError::Capabilities(file.path.clone(), e))?);
            }
            if flags & CONFIG == 0 && verifies(verify::DIGEST) {
                let digest = digests.get(index).copied().unwrap_or_default();
                let checksum = algorithm.and_then(|a| DeclaredChecksum::parse(a, digest));
                file.content = checksum.map_or(DeclaredContent::Unknown, DeclaredContent::Checksum);
            }
        }
        files.push(file);
    }
    Ok(files)
}

fn kind_of(mode: u32) -> FileKind {
    match mode & TYPE_MASK {
        0o040_000 => FileKind::Directory,
        0o100_000 => FileKind::Regular,
        0o120_000 => FileKind::Symlink,
        _ => FileKind::Special,
    }
}

/// The algorithm of file digests, by its number in OpenPGP (RFC 4880, 9.4); without one it is MD5.
fn algorithm(number: Option<u32>) -> Option<ChecksumType> {
    match number {
        None | Some(1) => Some(ChecksumType::Md5),
        Some(2) => Some(ChecksumType::Sha1),
        Some(8) => Some(ChecksumType::Sha256),
        Some(9) => Some(ChecksumType::Sha384),
        Some(10) => Some(ChecksumType::Sha512),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::Writer;
    use super::*;
    use proptest::prelude::*;

    fn read(header: Writer) -> Result<Vec<DeclaredFile>, PackageError> {
        declared(&Header::parse(&header.finish())?)
    }

    fn paths(directories: &[&str], indexes: &[u32], names: &[&str]) -> Writer {
        Writer::default()
            .strings(tag::NAME, &["p"])
            .strings(tag::DIRNAMES, directories)
            .words(tag::DIRINDEXES, indexes)
            .strings(tag::BASENAMES, names)
    }

    /// `PATH KIND MODE USER:GROUP CAPABILITIES CONTENT`, `-` for what is not declared.
    fn line(file: &DeclaredFile) -> String {
        let owner = |owner: &Option<Owner>| match owner {
            Some(Owner::Name(name)) => name.to_string(),
            Some(Owner::Number(number)) => number.to_string(),
            None => "-".to_owned(),
        };
        let content = match file.content {
            DeclaredContent::Any => "any",
            DeclaredContent::Checksum(_) => "checksum",
            DeclaredContent::Unknown => "unknown",
        };
        format!(
            "{} {} {} {}:{} {} {content}{}",
            file.path,
            file.kind.map_or("-".into(), |kind| format!("{kind:?}")),
            file.mode.map_or("-".into(), |mode| format!("{mode:o}")),
            owner(&file.user),
            owner(&file.group),
            file.capabilities
                .map_or("-".into(), |caps| format!("{{{caps}}}")),
            if file.ghost { " ghost" } else { "" },
        )
    }

    #[test]
    fn files_are_as_their_package_declares() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let header = paths(
            &["/", "/usr/bin/", "/etc/"],
            &[0, 0, 1, 1, 1, 2, 2, 2],
            &[
                "", "etc", "ping", "alias", "absent", "conf", "made", "loose",
            ],
        )
        .shorts(
            tag::FILEMODES,
            &[
                0o40555, 0o40755, 0o104755, 0o120777, 0o100644, 0o100640, 0o100600, 0o100644,
            ],
        )
        .bytes(tag::FILESTATES, &[0, 0, 0, 0, 2, 0, 0, 0])
        .words(tag::FILEFLAGS, &[0, 0, 0, 0, 0, CONFIG, GHOST, 0])
        .words(
            tag::FILEVERIFYFLAGS,
            &[
                u32::MAX,
                u32::MAX,
                u32::MAX,
                u32::MAX,
                u32::MAX,
                u32::MAX,
                u32::MAX,
                !(verify::MODE | verify::GROUP | verify::CAPS | verify::DIGEST),
            ],
        )
        .strings(tag::FILEUSERNAME, &["root"; 8])
        .strings(
            tag::FILEGROUPNAME,
            &["root", "adm", "root", "root", "x", "", "root", "x"],
        )
        .strings(tag::FILECAPS, &["", "", "cap_net_raw=ep"])
        .strings(
            tag::FILEDIGESTS,
            &["", "", sha256, "", sha256, sha256, "", sha256],
        )
        .words(tag::FILEDIGESTALGO, &[8, 8, 8]);
        let lines: Vec<_> = read(header).unwrap().iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "/ Directory 555 root:root - any",
                "/etc Directory 755 root:adm - any",
                "/usr/bin/ping Regular 4755 root:root {cap_net_raw=ep} checksum",
                "/usr/bin/alias Symlink - root:root - any",
                "/etc/conf Regular 640 root:- {} any",
                "/etc/made Regular 600 root:root {} unknown ghost",
                "/etc/loose Regular 644 root:- - any",
            ]
            .map(|line| line.replace("/etc/loose Regular 644", "/etc/loose Regular -"))
        );
    }

    #[test]
    fn missing_arrays_declare_nothing() {
        let lines: Vec<_> = read(paths(&["/opt/"], &[0], &["x"]))
            .unwrap()
            .iter()
            .map(line)
            .collect();
        assert_eq!(lines, ["/opt/x - - -:- - any"]);
        assert_eq!(read(Writer::default()), Ok(vec![]));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let modes = |writer: Writer| writer.shorts(tag::FILEMODES, &[0o100755]);
        for (header, message) in [
            (paths(&["/"], &[1], &["x"]), "a file lies in no directory"),
            (paths(&["/"], &[], &["x"]), "a file lies in no directory"),
            (
                paths(&["/../"], &[0], &["x"]),
                "path /..//x has a `..` component",
            ),
            (
                modes(paths(&["/"], &[0], &["x"])).strings(tag::FILECAPS, &["cap_x=p"]),
                "/x: \"cap_x=p\" names no file capabilities: an unknown capability",
            ),
        ] {
            assert_eq!(read(header).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_change_of_a_header_can_be_read(
            at in any::<prop::sample::Index>(), byte: u8, end in any::<prop::sample::Index>(),
        ) {
            let mut blob = paths(&["/", "/usr/"], &[0, 1], &["a", "b"])
                .shorts(tag::FILEMODES, &[0o40755, 0o100755])
                .strings(tag::FILECAPS, &["", "cap_net_raw=ep"])
                .words(tag::FILEFLAGS, &[0, CONFIG])
                .finish();
            let at = at.index(blob.len());
            blob[at] = byte;
            blob.truncate(blob.len() - end.index(blob.len() / 4));
            if let Ok(header) = Header::parse(&blob) {
                declared(&header).ok();
            }
        }
    }
}
