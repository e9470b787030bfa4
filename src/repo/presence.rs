//! Which objects a repo has, of many at once.

use std::mem::MaybeUninit;

use anyhow::{Context as _, Result};
use foldhash::HashSet;
use rustix::fs::{Mode as Permissions, OFlags, RawDir};
use rustix::io::Errno;

use super::Repo;
use crate::digest::Digest;

/// From so many objects on that begin with the same byte, their directory is listed, which takes as
/// long as looking some ten of them up.
const LIST_FROM: usize = 16;

/// Objects that a repo has. What is not among them may be there all the same.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Files and links.
    pub content: HashSet<Digest>,
    /// Dirtrees and dirmetas.
    pub directories: HashSet<Digest>,
}

/// What lies in the directories of `repo` where so many of the content objects `wanted` would lie that
/// a listing is worth it.
///
/// # Errors
/// A directory cannot be read.
pub(super) fn list(repo: &Repo, wanted: impl Iterator<Item = Digest>) -> Result<Listed> {
    let mut by_directory = vec![0_usize; 256];
    for digest in wanted {
        by_directory[usize::from(digest.as_bytes()[0])] += 1;
    }
    let mut listed = Listed::default();
    for (first, _) in (0..=u8::MAX)
        .zip(by_directory)
        .filter(|&(_, wanted)| wanted >= LIST_FROM)
    {
        let directory = format!("objects/{first:02x}");
        list_directory(repo, &directory, first, &mut listed)
            .with_context(|| format!("reading {directory} of {}", repo.path.display()))?;
    }
    Ok(listed)
}

fn list_directory(
    repo: &Repo,
    directory: &str,
    first: u8,
    listed: &mut Listed,
) -> Result<(), Errno> {
    let suffix = repo.mode.content_suffix();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(
        repo.inner.dfd_borrow(),
        directory,
        flags,
        Permissions::empty(),
    );
    let directory = match directory {
        Err(Errno::NOENT) => return Ok(()),
        directory => directory?,
    };
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let mut names = RawDir::new(directory, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry?;
        let of = |suffix| checksum(first, entry.file_name().to_bytes(), suffix);
        listed.content.extend(of(suffix));
        listed
            .directories
            .extend(of("dirtree").or_else(|| of("dirmeta")));
    }
    Ok(())
}

/// The object whose file has this name, if it has the suffix.
fn checksum(first: u8, name: &[u8], suffix: &str) -> Option<Digest> {
    let digits = name.strip_suffix(suffix.as_bytes())?.strip_suffix(b".")?;
    let mut bytes = [first; 32];
    hex::decode_to_slice(digits, &mut bytes[1..]).ok()?;
    Some(Digest::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        let digest = Digest::of(b"");
        let (first, rest) = (digest.as_bytes()[0], &digest.hex()[2..]);
        let of = |name: String| checksum(first, name.as_bytes(), "file");
        assert_eq!(of(format!("{rest}.file")), Some(digest));
        assert_eq!(of(format!("{rest}.filez")), None);
        assert_eq!(of(format!("{rest}.dirtree")), None);
        assert_eq!(of(format!("{rest}file")), None);
        assert_eq!(of(format!("{}.file", &rest[2..])), None);
        assert_eq!(of("..".to_owned()), None);
    }
}
