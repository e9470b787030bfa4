//! How an image is named: `TRANSPORT:NAME` of containers-transports(5), and in an origin file with
//! the trust put in it before that.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::{ParseError, Reference};

/// Where images are fetched from: the part of a reference before its first `:`.
///
/// [`Display`](fmt::Display) prints the prefix of a reference, `oci:` or `docker://`.
/// [`TryFrom<&str>`] takes a bare name (`oci`, `registry`, `docker`) or a whole reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A registry (`docker://` or `registry:`).
    Registry,
    /// A directory in OCI layout (`oci:`).
    OciDir,
    /// A tar archive of an OCI layout (`oci-archive:`).
    OciArchive,
    /// A tar archive as `docker save` makes it (`docker-archive:`).
    DockerArchive,
    /// The storage that podman, buildah and CRI-O share (`containers-storage:`).
    ContainerStorage,
    /// A directory with a manifest and blobs beside each other (`dir:`).
    Dir,
    /// A running Docker daemon (`docker-daemon:`).
    DockerDaemon,
}

impl Transport {
    const ALL: [Self; 7] = [
        Self::Registry,
        Self::OciDir,
        Self::OciArchive,
        Self::DockerArchive,
        Self::ContainerStorage,
        Self::Dir,
        Self::DockerDaemon,
    ];

    /// The name without `:`, `registry` for a registry.
    pub const fn serializable_name(&self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::OciDir => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::ContainerStorage => "containers-storage",
            Self::Dir => "dir",
            Self::DockerDaemon => "docker-daemon",
        }
    }

    fn from_name(name: &str) -> Result<Self, ReferenceError> {
        if name == DOCKER {
            return Ok(Self::Registry);
        }
        Self::ALL
            .into_iter()
            .find(|transport| transport.serializable_name() == name)
            .ok_or_else(|| ReferenceError::UnknownTransport(name.to_owned()))
    }
}

/// The other name of [`Transport::Registry`], after which `//` must follow.
const DOCKER: &str = "docker";

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry => f.write_str("docker://"),
            other => write!(f, "{}:", other.serializable_name()),
        }
    }
}

impl TryFrom<&str> for Transport {
    type Error = ReferenceError;

    fn try_from(text: &str) -> Result<Self, ReferenceError> {
        match text.split_once(':') {
            Some((DOCKER, rest)) if !rest.starts_with("//") => {
                Err(ReferenceError::MissingSlashes(text.to_owned()))
            }
            Some((name, _)) => Self::from_name(name),
            None => Self::from_name(text),
        }
    }
}

impl FromStr for Transport {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::try_from(text)
    }
}

/// An image somewhere, as `skopeo` and `podman` take it.
///
/// Parsed and printed by the grammar of containers-transports(5). `registry:NAME` is read as
/// another form of `docker://NAME`, which is how it is printed. The name itself is not looked into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Where it lies.
    pub transport: Transport,
    /// Its name there: `quay.io/x/y:tag`, `/path/to/layout:tag`.
    pub name: String,
}

impl ImageReference {
    /// The form under which bootc looks an image up: in a registry, `NAME:TAG@DIGEST` becomes
    /// `NAME@DIGEST` (and a name without a domain gets Docker Hub's). All else stays as it is.
    ///
    /// Fails if a registry name is none by the grammar of the distribution specification.
    pub fn canonicalize(self) -> Result<Self, ReferenceError> {
        if self.transport != Transport::Registry {
            return Ok(self);
        }
        let parsed: Reference = match self.name.parse() {
            Ok(parsed) => parsed,
            Err(source) => {
                return Err(ReferenceError::InvalidRegistryName {
                    name: self.name,
                    source,
                });
            }
        };
        let name = match (parsed.tag(), parsed.digest()) {
            (Some(_), Some(digest)) => parsed.clone_with_digest(digest.to_owned()).whole(),
            _ => self.name,
        };
        Ok(Self { name, ..self })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.transport, self.name)
    }
}

impl TryFrom<&str> for ImageReference {
    type Error = ReferenceError;

    fn try_from(text: &str) -> Result<Self, ReferenceError> {
        let (transport, name) = split_colon(text)?;
        let name = if transport == DOCKER {
            name.strip_prefix("//")
                .ok_or_else(|| ReferenceError::MissingSlashes(text.to_owned()))?
        } else {
            name
        };
        let transport = Transport::from_name(transport)?;
        if name.is_empty() {
            return Err(ReferenceError::EmptyName(text.to_owned()));
        }
        Ok(Self {
            transport,
            name: name.to_owned(),
        })
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::try_from(text)
    }
}

/// Who vouches for an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SignatureSource {
    /// The keys of this ostree remote, over the commit (`ostree-remote-image:REMOTE`).
    OstreeRemote(String),
    /// containers-policy.json(5), whose default must not accept anything
    /// (`ostree-image-signed`).
    ContainerPolicy,
    /// containers-policy.json(5), whatever it says (`ostree-unverified-image`).
    ContainerPolicyAllowInsecure,
}

impl fmt::Display for SignatureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OstreeRemote(remote) => write!(f, "{REMOTE_IMAGE}:{remote}"),
            Self::ContainerPolicy => f.write_str(IMAGE_SIGNED),
            Self::ContainerPolicyAllowInsecure => f.write_str(UNVERIFIED_IMAGE),
        }
    }
}

impl TryFrom<&str> for SignatureSource {
    type Error = ReferenceError;

    fn try_from(text: &str) -> Result<Self, ReferenceError> {
        match text.split_once(':') {
            None if text == IMAGE_SIGNED => Ok(Self::ContainerPolicy),
            None if text == UNVERIFIED_IMAGE => Ok(Self::ContainerPolicyAllowInsecure),
            Some((REMOTE_IMAGE, remote)) => Ok(Self::OstreeRemote(remote.to_owned())),
            _ => Err(ReferenceError::UnknownSignatureSource(text.to_owned())),
        }
    }
}

impl FromStr for SignatureSource {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::try_from(text)
    }
}

/// An image and who vouches for it: the `container-image-reference` of an origin file.
///
/// | text | is |
/// |---|---|
/// | `ostree-image-signed:IMAGE` | [`SignatureSource::ContainerPolicy`] |
/// | `ostree-unverified-image:IMAGE` | [`SignatureSource::ContainerPolicyAllowInsecure`] |
/// | `ostree-unverified-registry:NAME` | short for `ostree-unverified-image:registry:NAME` |
/// | `ostree-remote-image:REMOTE:IMAGE` | [`SignatureSource::OstreeRemote`] |
/// | `ostree-remote-registry:REMOTE:NAME` | short for `ostree-remote-image:REMOTE:registry:NAME` |
///
/// [`Display`](fmt::Display) prints the short form of an unverified registry and no other; with
/// `{:#}` that becomes the bare `docker://NAME`, which is for people and cannot be parsed again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OstreeImageReference {
    /// Who vouches for it.
    pub sigverify: SignatureSource,
    /// The image.
    pub imgref: ImageReference,
}

const IMAGE_SIGNED: &str = "ostree-image-signed";
const UNVERIFIED_IMAGE: &str = "ostree-unverified-image";
const UNVERIFIED_REGISTRY: &str = "ostree-unverified-registry";
const REMOTE_IMAGE: &str = "ostree-remote-image";
const REMOTE_REGISTRY: &str = "ostree-remote-registry";

impl fmt::Display for OstreeImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sigverify, imgref } = self;
        let unverified_registry = *sigverify == SignatureSource::ContainerPolicyAllowInsecure
            && imgref.transport == Transport::Registry;
        match (unverified_registry, f.alternate()) {
            (false, _) => write!(f, "{sigverify}:{imgref}"),
            (true, false) => write!(f, "{UNVERIFIED_REGISTRY}:{}", imgref.name),
            (true, true) => write!(f, "{imgref}"),
        }
    }
}

impl TryFrom<&str> for OstreeImageReference {
    type Error = ReferenceError;

    fn try_from(text: &str) -> Result<Self, ReferenceError> {
        let (scheme, rest) = split_colon(text)?;
        let remote = || {
            let (remote, rest) = rest
                .split_once(':')
                .ok_or_else(|| ReferenceError::MissingSecondColon(text.to_owned()))?;
            Ok((SignatureSource::OstreeRemote(remote.to_owned()), rest))
        };
        let registry = |name| ImageReference::try_from(format!("registry:{name}").as_str());
        let (sigverify, imgref) = match scheme {
            IMAGE_SIGNED => (SignatureSource::ContainerPolicy, rest.parse()?),
            UNVERIFIED_IMAGE => (SignatureSource::ContainerPolicyAllowInsecure, rest.parse()?),
            UNVERIFIED_REGISTRY => (
                SignatureSource::ContainerPolicyAllowInsecure,
                registry(rest)?,
            ),
            REMOTE_IMAGE => {
                let (source, rest) = remote()?;
                (source, rest.parse()?)
            }
            REMOTE_REGISTRY => {
                let (source, name) = remote()?;
                (source, registry(name)?)
            }
            _ => return Err(ReferenceError::UnknownScheme(scheme.to_owned())),
        };
        Ok(Self { sigverify, imgref })
    }
}

impl FromStr for OstreeImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::try_from(text)
    }
}

/// Why a text is no reference to an image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No `:` parts transport and name.
    #[error("missing `:` in {0:?}: expected TRANSPORT:NAME, such as oci:/path/to/layout")]
    MissingColon(String),
    /// What stands before the `:` is no transport.
    #[error(
        "unknown transport {0:?}: expected docker://, registry:, oci:, oci-archive:, \
         docker-archive:, containers-storage:, dir: or docker-daemon:"
    )]
    UnknownTransport(String),
    /// `docker:` without `//`.
    #[error("missing `//` after `docker:` in {0:?}")]
    MissingSlashes(String),
    /// Nothing follows the transport.
    #[error("empty image name in {0:?}")]
    EmptyName(String),
    /// A scheme that names an ostree remote lacks the `:` after it.
    #[error("missing second `:` in {0:?}: expected the name of an ostree remote, `:`, the image")]
    MissingSecondColon(String),
    /// What stands before the first `:` says nothing of trust.
    #[error(
        "unknown scheme {0:?}: expected ostree-unverified-registry:, ostree-unverified-image:, \
         ostree-image-signed:, ostree-remote-image: or ostree-remote-registry:"
    )]
    UnknownScheme(String),
    /// No signature source.
    #[error(
        "unknown signature source {0:?}: expected ostree-image-signed, ostree-unverified-image or \
         ostree-remote-image:REMOTE"
    )]
    UnknownSignatureSource(String),
    /// A name that no registry can hold.
    #[error("{name:?} is no name in a registry: {source}")]
    InvalidRegistryName {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: ParseError,
    },
}

fn split_colon(text: &str) -> Result<(&str, &str), ReferenceError> {
    text.split_once(':')
        .ok_or_else(|| ReferenceError::MissingColon(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:5db6d8b5f34d3cbdaa1e82ed0152a5ac980076d19317d4269db149cbde057bb2";

    /// The facts of bootc's own table of `canonicalize` (spec.rs), and Docker Hub's short names.
    #[test]
    fn canonicalizes_as_bootc_does() {
        for (image, canonical) in [
            (
                "docker://quay.io/x/y:tag@DIGEST",
                "docker://quay.io/x/y@DIGEST",
            ),
            ("docker://quay.io/x/y@DIGEST", "docker://quay.io/x/y@DIGEST"),
            ("docker://quay.io/x/y:tag", "docker://quay.io/x/y:tag"),
            ("docker://quay.io/x/y", "docker://quay.io/x/y"),
            (
                "registry:localhost/x:tag@DIGEST",
                "docker://localhost/x@DIGEST",
            ),
            (
                "docker://localhost:5000/x:tag@DIGEST",
                "docker://localhost:5000/x@DIGEST",
            ),
            (
                "docker://busybox:1@DIGEST",
                "docker://docker.io/library/busybox@DIGEST",
            ),
            ("docker://busybox:1", "docker://busybox:1"),
            (
                "containers-storage:quay.io/x/y:tag@DIGEST",
                "containers-storage:quay.io/x/y:tag@DIGEST",
            ),
            ("oci:/path/to/dir:tag", "oci:/path/to/dir:tag"),
            (
                "oci-archive:/tmp/Not A Name!",
                "oci-archive:/tmp/Not A Name!",
            ),
        ] {
            let parsed: ImageReference = image.replace("DIGEST", DIGEST).parse().unwrap();
            let expected = canonical.replace("DIGEST", DIGEST);
            assert_eq!(
                parsed.canonicalize().unwrap().to_string(),
                expected,
                "{image}"
            );
        }
    }

    #[test]
    fn refuses_to_canonicalize_what_no_registry_holds() {
        for image in [
            "docker://quay.io/UPPER",
            "docker://x@sha256:00",
            "registry:a b",
        ] {
            let parsed: ImageReference = image.parse().unwrap();
            let error = parsed.canonicalize().unwrap_err();
            assert!(
                matches!(error, ReferenceError::InvalidRegistryName { .. }),
                "{image}: {error}"
            );
        }
    }

    #[test]
    fn messages_say_the_way_out() {
        let error = ImageReference::try_from("/bare/path")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"/bare/path\"") && error.contains("TRANSPORT:NAME"),
            "{error}"
        );

        let error = ImageReference::try_from("sif:/x").unwrap_err().to_string();
        for transport in Transport::ALL {
            assert!(error.contains(&transport.to_string()), "{error}");
        }
    }
}
