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

/// Those of `wanted` that lie in the directories of `repo` which are worth a listing, as content
/// objects with the suffix `suffix`. What is not among them may be there all the same.
///
/// # Errors
/// A directory cannot be read.
pub(super) fn listed(
    repo: &Repo,
    wanted: impl Iterator<Item = Digest>,
    suffix: &str,
) -> Result<HashSet<Digest>> {
    let mut by_directory = vec![0_usize; 256];
    for digest in wanted {
        by_directory[usize::from(digest.as_bytes()[0])] += 1;
    }
    let mut found = HashSet::default();
    for (first, _) in (0..=u8::MAX)
        .zip(by_directory)
        .filter(|&(_, wanted)| wanted >= LIST_FROM)
    {
        let directory = format!("objects/{first:02x}");
        list(repo, &directory, first, suffix, &mut found)
            .with_context(|| format!("reading {directory} of {}", repo.path.display()))?;
    }
    Ok(found)
}

fn list(
    repo: &Repo,
    directory: &str,
    first: u8,
    suffix: &str,
    found: &mut HashSet<Digest>,
) -> Result<(), Errno> {
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
        found.extend(checksum(first, entry?.file_name().to_bytes(), suffix));
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
