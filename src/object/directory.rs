//! The two metadata objects of a directory.

use super::{MetadataKind, MetadataObject, ObjectError, variant};
use crate::digest::Digest;
use crate::metadata::Metadata;
use crate::path::{ImagePath, escape};

const S_IFDIR: u32 = 0o040_000;

/// Owner, mode and xattrs of a directory.
///
/// # Errors
/// [`ObjectError::InvalidXattrName`], [`ObjectError::EmptyXattr`]
pub fn dirmeta(metadata: &Metadata, label: Option<&str>) -> Result<MetadataObject, ObjectError> {
    let mut out = Vec::new();
    for number in [metadata.uid, metadata.gid, S_IFDIR | metadata.mode] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    variant::xattrs(&mut out, &metadata.xattrs, label)?;
    Ok(MetadataObject::new(MetadataKind::DirMeta, out))
}

/// What a directory holds: `files` (links too) with the checksum of their content object,
/// `directories` with those of their dirtree and dirmeta. In any order; no name twice. `path` makes
/// the path of the directory for an error.
///
/// # Errors
/// [`ObjectError::NameNotUtf8`], [`ObjectError::InvalidName`]
pub fn dirtree<'a>(
    path: impl Fn() -> ImagePath,
    files: impl IntoIterator<Item = (&'a [u8], Digest)>,
    directories: impl IntoIterator<Item = (&'a [u8], Digest, Digest)>,
) -> Result<MetadataObject, ObjectError> {
    let mut files = files
        .into_iter()
        .map(|(name, content)| Ok((file_name(&path, name)?, content)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut directories = directories
        .into_iter()
        .map(|(name, dirtree, dirmeta)| Ok((file_name(&path, name)?, dirtree, dirmeta)))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort_unstable_by_key(|&(name, ..)| name);
    directories.sort_unstable_by_key(|&(name, ..)| name);

    let mut out = Vec::new();
    variant::array(&mut out, files, |out, (name, content)| {
        let start = out.len();
        variant::string(out, name.as_bytes());
        let name_end = out.len();
        out.extend_from_slice(content.as_bytes());
        variant::end_container(out, start, [name_end].into_iter());
    });
    let files_end = out.len();
    variant::array(&mut out, directories, |out, (name, dirtree, dirmeta)| {
        let start = out.len();
        variant::string(out, name.as_bytes());
        let name_end = out.len();
        out.extend_from_slice(dirtree.as_bytes());
        let dirtree_end = out.len();
        out.extend_from_slice(dirmeta.as_bytes());
        variant::end_container(out, start, [dirtree_end, name_end].into_iter());
    });
    variant::end_container(&mut out, 0, [files_end].into_iter());
    Ok(MetadataObject::new(MetadataKind::DirTree, out))
}

/// `name` as a dirtree of the directory whose path `directory` makes may hold it.
///
/// # Errors
/// As [`dirtree`].
pub(super) fn file_name(
    directory: impl Fn() -> ImagePath,
    name: &[u8],
) -> Result<&str, ObjectError> {
    let path = || match directory() {
        root if root.is_root() => format!("/{}", escape(name)),
        directory => format!("{directory}/{}", escape(name)),
    };
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
        return Err(ObjectError::InvalidName(path()));
    }
    std::str::from_utf8(name).map_err(|_| ObjectError::NameNotUtf8(path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_ostree_cannot_hold() {
        let digest = Digest::of(b"");
        let root = ImagePath::root();
        let usr = ImagePath::parse(b"usr").unwrap();
        for (directory, name, error) in [
            (&root, &b""[..], ObjectError::InvalidName("/".into())),
            (&usr, b".", ObjectError::InvalidName("/usr/.".into())),
            (&usr, b"..", ObjectError::InvalidName("/usr/..".into())),
            (&usr, b"a/b", ObjectError::InvalidName("/usr/a/b".into())),
            (
                &usr,
                b"a\0",
                ObjectError::InvalidName("/usr/a\\u{0}".into()),
            ),
            (&root, b"\xffn", ObjectError::NameNotUtf8("/\\xffn".into())),
            (
                &usr,
                b"\xffn",
                ObjectError::NameNotUtf8("/usr/\\xffn".into()),
            ),
        ] {
            let as_file = dirtree(|| directory.clone(), [(name, digest)], []);
            assert_eq!(as_file, Err(error.clone()));
            let as_directory = dirtree(|| directory.clone(), [], [(name, digest, digest)]);
            assert_eq!(as_directory, Err(error));
        }
    }

    #[test]
    fn order_of_the_input_does_not_matter() {
        let digest = Digest::of(b"");
        let names = [&b"b"[..], b"a", b"\xc3\xa9", b"a-"];
        let tree = |names: &mut dyn Iterator<Item = &'static [u8]>| {
            let names: Vec<_> = names.collect();
            let files = names.iter().map(|&name| (name, digest));
            let directories = names.iter().map(|&name| (name, digest, digest));
            dirtree(ImagePath::root, files, directories).unwrap()
        };
        assert_eq!(
            tree(&mut names.into_iter()),
            tree(&mut names.into_iter().rev())
        );
    }
}
