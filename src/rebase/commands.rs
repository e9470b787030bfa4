//! The commands by which an image becomes what a system boots next.

use super::Owner;
use crate::contract::{ImageReference, OstreeImageReference, SignatureSource, Transport};

/// Why an owner cannot be told of an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// Another digest than ours.
    #[error(
        "{0}: bootc and rpm-ostree see another manifest than the archive holds, and would import \
         the image anew; copy it first: skopeo copy {0} oci:DIR:TAG"
    )]
    DockerArchive(ImageReference),
    /// bootc has no word for it.
    #[error("bootc knows no signatures of an ostree remote: {0}")]
    OstreeRemote(OstreeImageReference),
}

/// The command of `owner` that lets the system boot `image`, which its repo has already; `None`:
/// nobody is to be told.
///
/// # Errors
/// The owner would not find the image in the repo.
pub fn owner_command(
    owner: Owner,
    image: &OstreeImageReference,
) -> Result<Option<Vec<String>>, HandOverError> {
    if owner == Owner::Ostree {
        return Ok(None);
    }
    let ImageReference { transport, name } = &image.imgref;
    if *transport == Transport::DockerArchive {
        return Err(HandOverError::DockerArchive(image.imgref.clone()));
    }
    let mut words: Vec<String> = Vec::new();
    if owner == Owner::RpmOstree {
        words.extend([
            "rpm-ostree".to_owned(),
            "rebase".to_owned(),
            image.to_string(),
        ]);
        return Ok(Some(words));
    }
    words.extend(["bootc", "switch"].map(str::to_owned));
    match &image.sigverify {
        SignatureSource::ContainerPolicyAllowInsecure => {}
        SignatureSource::ContainerPolicy => words.push("--enforce-container-sigpolicy".to_owned()),
        SignatureSource::OstreeRemote(_) => {
            return Err(HandOverError::OstreeRemote(image.clone()));
        }
    }
    if *transport != Transport::Registry {
        let transport = transport.serializable_name().to_owned();
        words.extend(["--transport".to_owned(), transport]);
    }
    words.push(name.clone());
    Ok(Some(words))
}

/// Options of `rebase` that an import does not have, and whether a value follows.
const OWN_OPTIONS: [(&str, bool); 2] = [("--print", false), ("--sysroot", true)];

/// What was `typed` after `rebase`, without what the other commands do not know.
pub fn import_words(typed: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    let mut typed = typed.iter();
    while let Some(word) = typed.next() {
        let own = OWN_OPTIONS.iter().find(|(option, _)| {
            let value = word.strip_prefix(option);
            value.is_some_and(|value| value.is_empty() || value.starts_with('='))
        });
        match own {
            Some((option, true)) if word == option => {
                typed.next();
            }
            Some(_) => {}
            None => words.push(word.clone()),
        }
    }
    words
}

/// A command as a shell reads it.
pub fn quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(owner: Owner, image: &str) -> Result<Option<String>, HandOverError> {
        let image = image.parse().unwrap();
        Ok(owner_command(owner, &image)?.map(|words| quoted(&words)))
    }

    #[test]
    fn commands_of_owners() {
        use Owner::{Bootc, Ostree, RpmOstree};
        for (owner, image, expected) in [
            (
                Bootc,
                "ostree-unverified-registry:quay.io/x/y:z",
                Some("bootc switch quay.io/x/y:z"),
            ),
            (
                Bootc,
                "ostree-image-signed:docker://quay.io/x/y:z",
                Some("bootc switch --enforce-container-sigpolicy quay.io/x/y:z"),
            ),
            (
                Bootc,
                "ostree-unverified-image:oci:/a b:v1",
                Some("bootc switch --transport oci '/a b:v1'"),
            ),
            (
                Bootc,
                "ostree-unverified-image:containers-storage:localhost/x",
                Some("bootc switch --transport containers-storage localhost/x"),
            ),
            (
                RpmOstree,
                "ostree-unverified-image:docker://quay.io/x/y:z",
                Some("rpm-ostree rebase ostree-unverified-registry:quay.io/x/y:z"),
            ),
            (
                RpmOstree,
                "ostree-image-signed:docker://quay.io/x/y:z",
                Some("rpm-ostree rebase ostree-image-signed:docker://quay.io/x/y:z"),
            ),
            (
                RpmOstree,
                "ostree-unverified-image:oci-archive:/a",
                Some("rpm-ostree rebase ostree-unverified-image:oci-archive:/a"),
            ),
            (Ostree, "ostree-unverified-image:docker-archive:/a", None),
        ] {
            let found = command(owner, image).unwrap();
            assert_eq!(found.as_deref(), expected, "{owner:?} {image}");
        }
        for (owner, image, says) in [
            (
                Bootc,
                "ostree-unverified-image:docker-archive:/a",
                "skopeo copy docker-archive:/a",
            ),
            (
                RpmOstree,
                "ostree-unverified-image:docker-archive:/a",
                "see another manifest",
            ),
            (
                Bootc,
                "ostree-remote-image:fedora:docker://x/y",
                "ostree-remote-image:fedora:",
            ),
        ] {
            let error = command(owner, image).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_an_import_knows() {
        for (typed, left) in [
            ("oci:x", "oci:x"),
            ("--print --squash oci:x", "--squash oci:x"),
            ("--sysroot / --print oci:x", "oci:x"),
            ("--sysroot=/ oci:x -v", "oci:x -v"),
            ("--printer oci:x", "--printer oci:x"),
        ] {
            let typed: Vec<_> = typed.split(' ').map(str::to_owned).collect();
            assert_eq!(import_words(&typed).join(" "), left);
        }
    }

    #[test]
    fn quotes() {
        for (word, quoted) in [
            ("a/b:c@d=e", "a/b:c@d=e"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}
