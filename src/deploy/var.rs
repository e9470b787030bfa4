//! What a commit has in `/var` and the host does not.
//!
//! libostree copies it into an empty `/var`, on the first deployment only and from 2024.3 on; before, it
//! stays where no running system sees it. Lines of `tmpfiles.d` know no such limits.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::path::ImagePath;

/// The paths on the host of what `ours`, the `/var` of a deployment, has and `theirs`, that of its stateroot,
/// has not, in byte order; of a directory that is missing as a whole only itself.
///
/// # Errors
/// One of them cannot be read.
pub fn missing(ours: &Path, theirs: &Path) -> Result<Vec<ImagePath>> {
    let mut missing = Vec::new();
    compare(ours, theirs, &ImagePath::parse(b"var")?, &mut missing)?;
    missing.sort_unstable();
    Ok(missing)
}

fn compare(
    ours: &Path,
    theirs: &Path,
    path: &ImagePath,
    missing: &mut Vec<ImagePath>,
) -> Result<()> {
    let context = || format!("reading {}", ours.display());
    for entry in fs::read_dir(ours).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let theirs = theirs.join(&name);
        match fs::symlink_metadata(&theirs) {
            Ok(metadata) => {
                if metadata.is_dir() && entry.file_type().with_context(context)?.is_dir() {
                    compare(&entry.path(), &theirs, &path.join(name.as_bytes()), missing)?;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                missing.push(path.join(name.as_bytes()))
            }
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", theirs.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_missing_the_top_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let [ours, theirs] = ["ours", "theirs"].map(|name| directory.path().join(name));
        for below in ["lib/both", "lib/gone/deep", "z"] {
            fs::create_dir_all(ours.join(below)).unwrap();
        }
        fs::write(ours.join("lib/both/file"), "").unwrap();
        fs::write(ours.join("z/below a link"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", ours.join("dangling")).unwrap();
        fs::create_dir_all(theirs.join("lib/both")).unwrap();
        fs::create_dir_all(theirs.join("other")).unwrap();
        std::os::unix::fs::symlink("other", theirs.join("z")).unwrap();
        let expected = ["/var/dangling", "/var/lib/both/file", "/var/lib/gone"];
        let found = missing(&ours, &theirs).unwrap();
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn a_deployment_without_var_lacks_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ours = directory.path().join("var");
        fs::create_dir(&ours).unwrap();
        assert_eq!(
            missing(&ours, &directory.path().join("none")).unwrap(),
            [] as [ImagePath; 0]
        );
    }
}
