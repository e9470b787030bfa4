//! From the header of an installed package to what it declares of each path.

use std::sync::Arc;

use super::header::{Header, HeaderError, Tag};
use crate::packages::capabilities;
use crate::packages::declared::{
    Account, ContentDigest, DeclaredFile, DeclaredKind, DigestAlgorithm,
};
use crate::path::{ImagePath, escape};

/// `rpmfileAttrs` of `rpmfiles.h`.
const FLAG_CONFIG: u32 = 1;
const FLAG_GHOST: u32 = 1 << 6;
/// `rpmVerifyAttrs` of `rpmvf.h`: what the packager wants to be compared.
const VERIFY_DIGEST: u32 = 1;
const VERIFY_USER: u32 = 1 << 3;
const VERIFY_GROUP: u32 = 1 << 4;
const VERIFY_MODE: u32 = 1 << 6;
const VERIFY_CAPS: u32 = 1 << 8;
/// `RPMFILE_STATE_NORMAL`: others were replaced or never installed.
const STATE_NORMAL: u32 = 0;
/// `stat(2)`
const S_IFMT: u32 = 0o170_000;

/// What the package of `header` declares. What cannot be understood of a path is added to `odd`, in words.
///
/// # Errors
/// The header is damaged, or its arrays do not fit each other.
pub(super) fn declared(
    header: &Header<'_>,
    odd: &mut Vec<String>,
) -> Result<Vec<DeclaredFile>, FilesError> {
    let name = header.texts(Tag::Name)?;
    let package: Arc<str> = escape(name.first().copied().unwrap_or_default()).into();
    let files = Files::of(header)?;
    let mut declared = Vec::with_capacity(files.base_names.len());
    for index in 0..files.base_names.len() {
        if files.is_ghost(index) || !files.is_installed(index) {
            continue;
        }
        match files.path(index)? {
            Ok(path) => declared.push(files.declare(index, path, &package, odd)),
            Err(error) => odd.push(format!("package {package}: {error}")),
        }
    }
    Ok(declared)
}

/// Why the files of a package cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FilesError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("it has {found} values of tag {tag} for {files} files")]
    Count {
        tag: u32,
        found: usize,
        files: usize,
    },
    #[error("a file lies in directory {0}, which it does not list")]
    Directory(u32),
}

/// The arrays of a header, one value a file; empty where the header has none of a kind.
struct Files<'a> {
    base_names: Vec<&'a [u8]>,
    dir_names: Vec<&'a [u8]>,
    dir_indexes: Vec<u32>,
    modes: Vec<u32>,
    flags: Vec<u32>,
    states: Vec<u32>,
    verify: Vec<u32>,
    users: Vec<&'a [u8]>,
    groups: Vec<&'a [u8]>,
    capabilities: Vec<&'a [u8]>,
    digests: Vec<&'a [u8]>,
    algorithm: Option<DigestAlgorithm>,
}

impl<'a> Files<'a> {
    fn of(header: &Header<'a>) -> Result<Self, FilesError> {
        let base_names = header.texts(Tag::BaseNames)?;
        let files = base_names.len();
        let fits = |tag: Tag, found: usize| match found {
            0 => Ok(()),
            found if found == files => Ok(()),
            found => Err(FilesError::Count {
                tag: tag as u32,
                found,
                files,
            }),
        };
        let numbers = |tag| {
            let numbers = header.numbers(tag)?;
            fits(tag, numbers.len()).map(|()| numbers)
        };
        let texts = |tag| {
            let texts = header.texts(tag)?;
            fits(tag, texts.len()).map(|()| texts)
        };
        // Some builders write one number a file where rpm writes one for all.
        let algorithm = header.numbers(Tag::FileDigestAlgo)?.first().copied();
        Ok(Self {
            dir_names: header.texts(Tag::DirNames)?,
            dir_indexes: numbers(Tag::DirIndexes)?,
            modes: numbers(Tag::FileModes)?,
            flags: numbers(Tag::FileFlags)?,
            states: numbers(Tag::FileStates)?,
            verify: numbers(Tag::FileVerifyFlags)?,
            users: texts(Tag::FileUserName)?,
            groups: texts(Tag::FileGroupName)?,
            capabilities: texts(Tag::FileCaps)?,
            digests: texts(Tag::FileDigests)?,
            base_names,
            algorithm: digest_algorithm(algorithm),
        })
    }

    fn is_ghost(&self, index: usize) -> bool {
        self.flags.get(index).is_some_and(|f| f & FLAG_GHOST != 0)
    }

    fn is_installed(&self, index: usize) -> bool {
        let state = self.states.get(index);
        state.is_none_or(|&state| state == STATE_NORMAL)
    }

    /// The path of a file; the inner error is for one that no image can have.
    fn path(&self, index: usize) -> Result<Result<ImagePath, String>, FilesError> {
        let directory = self.dir_indexes.get(index).copied().unwrap_or(0);
        let directory = self
            .dir_names
            .get(directory as usize)
            .ok_or(FilesError::Directory(directory))?;
        let path = [directory, self.base_names[index]].concat();
        Ok(ImagePath::parse(&path).map_err(|error| error.to_string()))
    }

    fn declare(
        &self,
        index: usize,
        path: ImagePath,
        package: &Arc<str>,
        odd: &mut Vec<String>,
    ) -> DeclaredFile {
        let mode = self.modes.get(index).copied();
        let kind = mode.map(|mode| mode & S_IFMT);
        let verified = |bit| self.verify.get(index).is_none_or(|bits| bits & bit != 0);
        let account = |names: &[&[u8]], bit| {
            let name = names.get(index).filter(|name| !name.is_empty())?;
            let name = String::from_utf8_lossy(name);
            verified(bit).then(|| Account::Name((*name).into()))
        };
        let mut file = DeclaredFile::new(path, package.clone());
        file.kind = kind.and_then(|kind| match kind {
            0o040_000 => Some(DeclaredKind::Directory),
            0o100_000 => Some(DeclaredKind::File),
            0o120_000 => Some(DeclaredKind::Symlink),
            _ => None,
        });
        file.owner = account(&self.users, VERIFY_USER);
        file.group = account(&self.groups, VERIFY_GROUP);
        file.config = self.flags.get(index).is_some_and(|f| f & FLAG_CONFIG != 0);
        if verified(VERIFY_MODE) && file.kind != Some(DeclaredKind::Symlink) {
            file.mode = mode.map(|mode| mode & 0o7777);
        }
        if verified(VERIFY_DIGEST) {
            file.digest = self.digest(index);
        }
        if verified(VERIFY_CAPS)
            && let Some(text) = self.capabilities.get(index)
        {
            match capabilities::parse(&String::from_utf8_lossy(text)) {
                Ok(value) => file.capabilities = value,
                Err(error) => odd.push(format!("package {package}: {}: {error}", file.path)),
            }
        }
        file
    }

    fn digest(&self, index: usize) -> Option<ContentDigest> {
        let hex = self.digests.get(index).filter(|hex| !hex.is_empty())?;
        Some(ContentDigest {
            algorithm: self.algorithm?,
            hex: String::from_utf8_lossy(hex).to_ascii_lowercase().into(),
        })
    }
}

/// `PGPHASHALGO_*` of `rpmpgp.h`; packages that name none use MD5.
fn digest_algorithm(number: Option<u32>) -> Option<DigestAlgorithm> {
    match number {
        None | Some(1) => Some(DigestAlgorithm::Md5),
        Some(2) => Some(DigestAlgorithm::Sha1),
        Some(8) => Some(DigestAlgorithm::Sha256),
        Some(9) => Some(DigestAlgorithm::Sha384),
        Some(10) => Some(DigestAlgorithm::Sha512),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::Builder;
    use super::*;

    fn package() -> Builder {
        Builder::default()
            .texts(Tag::Name, &["p"])
            .texts(Tag::DirNames, &["/", "/usr/bin/"])
            .texts(Tag::BaseNames, &["etc", "tool", "ghost", "link", "gone"])
            .words(Tag::DirIndexes, &[0, 1, 1, 1, 1])
            .modes(&[0o040750, 0o104755, 0o100000, 0o120777, 0o100644])
            .words(Tag::FileFlags, &[FLAG_CONFIG, 0, FLAG_GHOST, 0, 0])
            .states(&[0, 0, 0, 0, 2])
            .texts(
                Tag::FileUserName,
                &["root", "games", "root", "root", "root"],
            )
            .texts(Tag::FileGroupName, &["polkitd", "", "root", "root", "root"])
            .texts(Tag::FileCaps, &["", "cap_net_raw=ep", "", "", ""])
            .texts(Tag::FileDigests, &["", "AB", "", "", ""])
    }

    fn read(builder: Builder) -> Result<(Vec<DeclaredFile>, Vec<String>), FilesError> {
        let bytes = builder.build();
        let mut odd = Vec::new();
        let files = declared(&Header::parse(&bytes).unwrap(), &mut odd)?;
        Ok((files, odd))
    }

    #[test]
    fn what_is_installed_is_declared() {
        let (files, odd) = read(package().words(Tag::FileDigestAlgo, &[8, 8])).unwrap();
        assert_eq!(odd, [""; 0]);
        let [etc, tool, link] = &files[..] else {
            panic!("{files:?}");
        };
        assert_eq!(etc.path.to_string(), "/etc");
        assert_eq!(etc.kind, Some(DeclaredKind::Directory));
        assert_eq!((etc.mode, etc.config), (Some(0o750), true));
        assert_eq!(etc.group, Some(Account::Name("polkitd".into())));
        assert_eq!(tool.path.to_string(), "/usr/bin/tool");
        assert_eq!((tool.mode, tool.group.as_ref()), (Some(0o4755), None));
        assert_eq!(tool.capabilities.as_ref().unwrap().len(), 20);
        let digest = tool.digest.as_ref().unwrap();
        assert_eq!(
            (digest.algorithm, &*digest.hex),
            (DigestAlgorithm::Sha256, "ab")
        );
        assert_eq!((link.kind, link.mode), (Some(DeclaredKind::Symlink), None));
    }

    #[test]
    fn what_is_not_to_be_verified_is_not_declared() {
        let mode_alone = VERIFY_MODE;
        let (files, _) = read(package().words(Tag::FileVerifyFlags, &[mode_alone; 5])).unwrap();
        assert_eq!(files[1].mode, Some(0o4755));
        assert_eq!((&files[1].owner, &files[1].digest), (&None, &None));
        assert_eq!(files[1].capabilities, None);
    }

    #[test]
    fn what_does_not_fit_is_refused_or_told() {
        let base = || Builder::default().texts(Tag::BaseNames, &["a", "b"]);
        let dirs = || base().texts(Tag::DirNames, &["/"]);
        let directory = dirs().words(Tag::DirIndexes, &[0, 1]);
        assert_eq!(read(directory).unwrap_err(), FilesError::Directory(1));
        let count = dirs().words(Tag::FileFlags, &[0]);
        assert!(matches!(read(count), Err(FilesError::Count { .. })));
        let caps = dirs().texts(Tag::FileCaps, &["cap_no=ep", ""]);
        let (files, odd) = read(caps).unwrap();
        assert_eq!((files.len(), odd.len()), (2, 1));
        let outside = base().texts(Tag::DirNames, &["/../"]);
        let (files, odd) = read(outside).unwrap();
        assert_eq!((files.len(), odd.len()), (0, 2));
        assert_eq!(read(Builder::default()).unwrap().0, []);
    }
}
