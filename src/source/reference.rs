//! What a user types for a source, after containers-transports(5).

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::contract::{ImageReference, OstreeImageReference, SignatureSource};

/// A source as the user named it.
///
/// [`Display`](fmt::Display) prints the canonical form, with its transport. That a signature is
/// asked for stands before it, as ostree-ext prints it (`ostree-image-signed:docker://…`); that
/// none is, is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceReference {
    /// Files that are read here.
    Local(LocalReference),
    /// An image that skopeo reads for us: in a registry, in containers-storage or in a directory
    /// as `skopeo copy` writes them.
    Fetched(OstreeImageReference),
}

impl SourceReference {
    /// Which image it is, whoever vouches for it: `docker://quay.io/x/y:tag`, `oci:DIR:TAG`.
    pub fn image(&self) -> String {
        match self {
            Self::Local(reference) => reference.to_string(),
            Self::Fetched(reference) => reference.imgref.to_string(),
        }
    }

    /// Who vouches for it. Nobody signs what is read here.
    pub fn trust(&self) -> SignatureSource {
        match self {
            Self::Local(_) => SignatureSource::ContainerPolicyAllowInsecure,
            Self::Fetched(reference) => reference.sigverify.clone(),
        }
    }
}

impl fmt::Display for SourceReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetched(reference)
                if reference.sigverify != SignatureSource::ContainerPolicyAllowInsecure =>
            {
                reference.fmt(f)
            }
            _ => f.write_str(&self.image()),
        }
    }
}

/// A source that is read here: where it lies, how it is packed, and which image of it is meant.
///
/// [`Display`](fmt::Display) prints the canonical form, with its transport; paths stay as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReference {
    /// How the source is packed.
    pub transport: Transport,
    /// The file or directory, absolute or relative to the working directory. It has no colon,
    /// except for [`Transport::Rootfs`].
    pub path: PathBuf,
    /// Which image, where there are several. Never set for [`Transport::Rootfs`].
    pub image: Option<ImageSelector>,
}

/// How a source is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `oci:DIR[:TAG]`: an OCI image layout.
    Oci,
    /// `oci-archive:FILE[:TAG]`: a tar file of an OCI image layout.
    OciArchive,
    /// `docker-archive:FILE[:REFERENCE]`: what `docker save` writes.
    DockerArchive,
    /// `rootfs:DIR`: an unpacked root, not an image.
    Rootfs,
}

/// Picks one image of a layout or archive that holds several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSelector {
    /// The annotation `org.opencontainers.image.ref.name` (OCI), or a repository and tag in full
    /// (`docker.io/library/debian:latest`; Docker).
    Name(String),
    /// `@N`: the N-th entry of `index.json` or `manifest.json`, from 0.
    Position(usize),
}

impl Transport {
    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::Rootfs => "rootfs",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            Self::Oci,
            Self::OciArchive,
            Self::DockerArchive,
            Self::Rootfs,
        ]
        .into_iter()
        .find(|transport| transport.name() == name)
    }
}

/// Transports that skopeo reads for us.
const FETCHED_TRANSPORTS: [&str; 4] = ["docker", "registry", "containers-storage", "dir"];

/// Transports that other tools read, and we do not.
const FOREIGN_TRANSPORTS: [&str; 4] = ["docker-daemon", "ostree", "sif", "tarball"];

/// Prefixes of ostree's image references that ask for a signature of the commit in the image.
const REMOTE_PREFIXES: [&str; 2] = ["ostree-remote-image:", "ostree-remote-registry:"];

/// What a user typed, as far as the text alone tells.
#[derive(Debug)]
pub(super) enum Named<'a> {
    /// `TRANSPORT:PATH[:IMAGE]`.
    Local(LocalReference),
    /// `docker://NAME` and the like.
    Fetched(OstreeImageReference),
    /// `PATH` or `PATH:IMAGE`: what lies there decides on the transport.
    Path(&'a str),
}

impl<'a> Named<'a> {
    /// Parses `TRANSPORT:PATH[:IMAGE]`, where the path ends at the first colon and any further
    /// colon belongs to the image, or `docker://NAME` and the like, whose name is skopeo's to
    /// understand. What ostree's image references say of trust may stand in front. A text without
    /// a transport is a path.
    ///
    /// # Errors
    ///
    /// A transport that is not read here, a signature that cannot be asked for, no path or name.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        if let Some(prefix) = REMOTE_PREFIXES.iter().find(|p| text.starts_with(**p)) {
            let reference = OstreeImageReference::try_from(text)?;
            bail!(
                "{reference}: {prefix} asks that a key of an ostree remote signed the commit \
                 inside the image; the commit made here is another one, which that signature does \
                 not cover. A signature of the image is asked for by ostree-image-signed:{}",
                reference.imgref
            );
        }
        if text.starts_with("ostree-unverified-registry:") {
            return Ok(Self::Fetched(text.parse()?));
        }
        let (sigverify, image) = match text.split_once(':') {
            Some((scheme, image)) => match scheme.parse() {
                Ok(sigverify) => (sigverify, image),
                Err(_) => (SignatureSource::ContainerPolicyAllowInsecure, text),
            },
            None => (SignatureSource::ContainerPolicyAllowInsecure, text),
        };
        let transport = image.split_once(':').map(|(name, _)| name);
        if transport.is_some_and(|name| FETCHED_TRANSPORTS.contains(&name)) {
            let imgref = ImageReference::try_from(image)?;
            return Ok(Self::Fetched(OstreeImageReference { sigverify, imgref }));
        }
        ensure!(
            sigverify == SignatureSource::ContainerPolicyAllowInsecure,
            "{text}: a signature is looked for where an image is fetched from, and files that are \
             read here carry none; let skopeo ask for it and name what it copied: \
             skopeo copy docker://NAME oci:DIR:TAG"
        );
        let Some((name, rest)) = image.split_once(':') else {
            return Ok(Self::Path(image));
        };
        match Transport::from_name(name) {
            Some(transport) => LocalReference::within(transport, rest)
                .map(Self::Local)
                .with_context(|| image.to_owned()),
            None if FOREIGN_TRANSPORTS.contains(&name) => bail!(
                "{image}: this transport is not read here; copy the image first: \
                 skopeo copy {image} oci:DIR:TAG"
            ),
            None => Ok(Self::Path(image)),
        }
    }
}

impl LocalReference {
    /// Parses what stands after the transport's colon.
    pub(super) fn within(transport: Transport, rest: &str) -> Result<Self> {
        let (path, image) = match transport {
            Transport::Rootfs => (rest, None),
            _ => match rest.split_once(':') {
                // skopeo prints an empty image for "the only one".
                Some((path, "")) => (path, None),
                Some((path, image)) => (path, Some(ImageSelector::parse(transport, image)?)),
                None => (rest, None),
            },
        };
        ensure!(!path.is_empty(), "the path is missing");
        Ok(Self {
            transport,
            path: path.into(),
            image,
        })
    }
}

impl fmt::Display for LocalReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.path.display())?;
        match &self.image {
            Some(image) => write!(f, ":{image}"),
            None => Ok(()),
        }
    }
}

impl ImageSelector {
    fn parse(transport: Transport, text: &str) -> Result<Self> {
        if let Some(position) = text.strip_prefix('@') {
            let position = position.parse().with_context(|| {
                format!("invalid position {text}: expected @ and a number from 0")
            })?;
            return Ok(Self::Position(position));
        }
        Ok(Self::Name(match transport {
            Transport::DockerArchive => normalise_docker_name(text)?,
            _ => text.to_owned(),
        }))
    }
}

impl fmt::Display for ImageSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Position(position) => write!(f, "@{position}"),
        }
    }
}

/// A Docker reference in full: with registry, repository and tag, as Docker fills them in.
///
/// # Errors
///
/// A reference by digest: an archive's images have tags only.
pub(super) fn normalise_docker_name(name: &str) -> Result<String> {
    ensure!(
        !name.contains('@'),
        "reference {name} has a digest, but the images of a docker-archive are named by tag"
    );
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => ("docker.io", name),
    };
    let domain = match domain {
        "index.docker.io" => "docker.io",
        other => other,
    };
    let library = match path.contains('/') || domain != "docker.io" {
        true => "",
        false => "library/",
    };
    let (repository, tag) = path.split_once(':').unwrap_or((path, "latest"));
    ensure!(
        !repository.is_empty() && !tag.is_empty(),
        "invalid image name {name:?}: expected NAME or NAME:TAG"
    );
    Ok(format!("{domain}/{library}{repository}:{tag}"))
}

/// Is the first component of a Docker reference a registry?
fn is_domain(component: &str) -> bool {
    component == "localhost"
        || component.contains(['.', ':'])
        || component.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> LocalReference {
        match Named::parse(text).unwrap() {
            Named::Local(reference) => reference,
            other => panic!("{text} is taken for {other:?}"),
        }
    }

    /// What is typed for an image that skopeo reads | how it is printed.
    const FETCHED: &str = "
        docker://quay.io/x/y:1 | docker://quay.io/x/y:1
        registry:quay.io/x/y | docker://quay.io/x/y
        ostree-unverified-registry:quay.io/x | docker://quay.io/x
        ostree-unverified-image:docker://x@sha256:0 | docker://x@sha256:0
        ostree-unverified-image:registry:x | docker://x
        ostree-image-signed:registry:x | ostree-image-signed:docker://x
        ostree-image-signed:docker://x:1 | ostree-image-signed:docker://x:1
        containers-storage:localhost/x:1 | containers-storage:localhost/x:1
        ostree-unverified-image:containers-storage:[vfs@/a+/b]x | containers-storage:[vfs@/a+/b]x
        ostree-image-signed:containers-storage:x | ostree-image-signed:containers-storage:x
        dir:/x:y | dir:/x:y
    ";

    #[test]
    fn what_skopeo_reads() {
        for line in FETCHED.lines().filter(|line| !line.trim().is_empty()) {
            let (text, printed) = line.split_once(" | ").unwrap();
            let parse = |text| match Named::parse(text).unwrap() {
                Named::Fetched(reference) => SourceReference::Fetched(reference),
                other => panic!("{text} is taken for {other:?}"),
            };
            let reference = parse(text.trim());
            assert_eq!(reference.to_string(), printed);
            assert_eq!(parse(printed), reference);
            // Who vouches for it does not make it another image.
            let image = printed.strip_prefix("ostree-image-signed:");
            assert_eq!(reference.image(), image.unwrap_or(printed));
        }
    }

    #[test]
    fn parses_and_prints() {
        let name = |name: &str| Some(ImageSelector::Name(name.to_owned()));
        for (text, transport, path, image, printed) in [
            ("oci:dir", Transport::Oci, "dir", None, "oci:dir"),
            ("oci:dir:", Transport::Oci, "dir", None, "oci:dir"),
            (
                "oci:/a/b:tag",
                Transport::Oci,
                "/a/b",
                name("tag"),
                "oci:/a/b:tag",
            ),
            (
                "oci:./d:host:5000/x:1",
                Transport::Oci,
                "./d",
                name("host:5000/x:1"),
                "oci:./d:host:5000/x:1",
            ),
            (
                "oci:d:@1",
                Transport::Oci,
                "d",
                Some(ImageSelector::Position(1)),
                "oci:d:@1",
            ),
            (
                "oci-archive:f.tar:v1",
                Transport::OciArchive,
                "f.tar",
                name("v1"),
                "oci-archive:f.tar:v1",
            ),
            (
                "docker-archive:f.tar:debian",
                Transport::DockerArchive,
                "f.tar",
                name("docker.io/library/debian:latest"),
                "docker-archive:f.tar:docker.io/library/debian:latest",
            ),
            (
                "docker-archive:f.tar:@0",
                Transport::DockerArchive,
                "f.tar",
                Some(ImageSelector::Position(0)),
                "docker-archive:f.tar:@0",
            ),
            (
                "rootfs:/mnt/a:b",
                Transport::Rootfs,
                "/mnt/a:b",
                None,
                "rootfs:/mnt/a:b",
            ),
        ] {
            for prefix in ["", "ostree-unverified-image:"] {
                let text = format!("{prefix}{text}");
                let reference = parse(&text);
                assert_eq!(reference.transport, transport, "{text}");
                assert_eq!(reference.path, PathBuf::from(path), "{text}");
                assert_eq!(reference.image, image, "{text}");
                assert_eq!(reference.to_string(), printed);
                assert_eq!(parse(printed), reference);
            }
        }
    }

    #[test]
    fn without_a_transport_it_is_a_path() {
        for (text, path) in [
            ("image", "image"),
            ("./image:v1", "./image:v1"),
            ("OCI:image", "OCI:image"),
            ("ostree-unverified-image:image:v1", "image:v1"),
            ("", ""),
        ] {
            match Named::parse(text).unwrap() {
                Named::Path(found) => assert_eq!(found, path),
                other => panic!("{text} is taken for {other:?}"),
            }
        }
    }

    #[test]
    fn refuses() {
        for (text, reason) in [
            ("oci:", "the path is missing"),
            ("oci::tag", "the path is missing"),
            ("rootfs:", "the path is missing"),
            ("oci:d:@-1", "invalid position @-1"),
            ("docker-archive:f:@x", "invalid position @x"),
            ("docker-archive:f:a@sha256:00", "has a digest"),
            ("docker-archive:f:a:", "expected NAME or NAME:TAG"),
            ("docker-daemon:x:1", "skopeo copy docker-daemon:x:1"),
            ("docker:x", "missing `//`"),
            ("docker://", "empty image name"),
            ("containers-storage:", "empty image name"),
            ("ostree-image-signed:oci:d", "carry none"),
            ("ostree-image-signed:oci-archive:f", "carry none"),
            ("ostree-image-signed:docker-archive:f", "carry none"),
            ("ostree-image-signed:rootfs:/", "carry none"),
            ("ostree-image-signed:image", "carry none"),
            (
                "ostree-remote-image:r:docker://x",
                "by ostree-image-signed:docker://x",
            ),
            (
                "ostree-remote-registry:r:x",
                "ostree-remote-image:r:docker://x: ostree-remote-registry: asks",
            ),
            ("ostree-remote-image:r", "missing second"),
        ] {
            let error = format!("{:#}", Named::parse(text).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn docker_names_in_full() {
        for (name, full) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("user/app", "docker.io/user/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("quay.io/a/b:1", "quay.io/a/b:1"),
            ("localhost/a", "localhost/a:latest"),
            ("host:5000/a:1", "host:5000/a:1"),
            ("Registry/a", "Registry/a:latest"),
        ] {
            assert_eq!(normalise_docker_name(name).unwrap(), full);
        }
    }
}
