//! Which refs say something of images.

use super::image_reference::{ImageReference, ReferenceError};
use super::ref_escape::{self, EscapeError, UnescapeError};
use crate::digest::{Digest, DigestError};

/// A ref that says something of an image.
///
/// [`RefName::to_ref`] gives its name, [`RefName::parse`] reads one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RefName {
    /// `ostree/container/image/<escaped reference>`: the commit of an imported image. Never to be
    /// written alone: where the [`Blob`](Self::Blob) ref of the image's lowest layer is missing,
    /// ostree-ext fails every later pull into the repository.
    Image(ImageReference),
    /// `ostree/container/blob/<escaped digest>`: the commit of one layer, named by the digest of
    /// its blob.
    Blob(Digest),
    /// `ostree/container/baseimage/<project>/<name>`: keeps a commit, and the layers of the
    /// manifest it holds, from the garbage collection of ostree-ext. Both parts stand as they are,
    /// unescaped; bootc uses numbers as names.
    BaseImage {
        /// Which program owns the ref: [`RefName::PROJECT`] for us, `bootc` for bootc.
        project: String,
        /// The rest, of as many components as the project likes.
        name: String,
    },
}

/// Why a ref cannot be made, or says nothing that can be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// It cannot be escaped.
    #[error(transparent)]
    Escape(#[from] EscapeError),
    /// A component that libostree does not take, or that is longer than a file name can be.
    #[error(
        "{name:?} cannot be a ref because of its component {component:?}: one is 1 to 255 ASCII \
         letters, digits, `_`, `-` and `.`, and starts with none of the last two; name the image \
         otherwise"
    )]
    Component {
        /// The ref.
        name: String,
        /// The component.
        component: String,
    },
    /// It cannot be unescaped.
    #[error("ref {name:?}: {source}")]
    Unescape {
        /// The ref.
        name: String,
        /// What is wrong with it.
        source: UnescapeError,
    },
    /// An image ref that names no image.
    #[error("ref {name:?}: {source}")]
    Reference {
        /// The ref.
        name: String,
        /// What is wrong with the reference in it.
        source: ReferenceError,
    },
    /// A blob ref that names no blob.
    #[error("ref {name:?}: {source}")]
    Digest {
        /// The ref.
        name: String,
        /// What is wrong with the digest in it.
        source: DigestError,
    },
    /// A base image ref without a name after the project.
    #[error("ref {0:?} names a project and no base image")]
    BaseImage(String),
}

impl RefName {
    /// What every [`RefName::Image`] starts with, before a `/`.
    pub const IMAGE_PREFIX: &str = "ostree/container/image";
    /// What every [`RefName::Blob`] starts with, before a `/`.
    pub const BLOB_PREFIX: &str = "ostree/container/blob";
    /// What every [`RefName::BaseImage`] starts with, before a `/`.
    pub const BASE_IMAGE_PREFIX: &str = "ostree/container/baseimage";
    /// The project of our own [`RefName::BaseImage`] refs.
    pub const PROJECT: &str = "import-oci";

    /// What every [`RefName::BaseImage`] of ours starts with, before a `/`.
    pub fn our_base_images() -> String {
        format!("{}/{}", Self::BASE_IMAGE_PREFIX, Self::PROJECT)
    }

    /// Our own [`RefName::BaseImage`] for what was imported under this reference. It may be of a
    /// kind that [`ImageReference`] does not know (`rootfs:/mnt/tree`).
    pub fn our_base_image(reference: &str) -> Result<Self, RefError> {
        Ok(Self::BaseImage {
            project: Self::PROJECT.to_owned(),
            name: ref_escape::escape(reference)?,
        })
    }

    /// The [`RefName::BaseImage`] that keeps the signed commit of the same from the clean-up of
    /// others, which keep no parents. No reference starts with `signed/`.
    pub fn our_signed_base(reference: &str) -> Result<Self, RefError> {
        Ok(Self::BaseImage {
            project: Self::PROJECT.to_owned(),
            name: format!("signed/{}", ref_escape::escape(reference)?),
        })
    }

    /// The name of the ref.
    pub fn to_ref(&self) -> Result<String, RefError> {
        let name = match self {
            Self::Image(image) => {
                ref_escape::escape_with_prefix(Self::IMAGE_PREFIX, &image.to_string())?
            }
            Self::Blob(digest) => {
                ref_escape::escape_with_prefix(Self::BLOB_PREFIX, &digest.to_string())?
            }
            Self::BaseImage { project, name } => {
                format!("{}/{project}/{name}", Self::BASE_IMAGE_PREFIX)
            }
        };
        match name.split('/').find(|component| !is_component(component)) {
            None => Ok(name),
            Some(component) => Err(RefError::Component {
                component: component.to_owned(),
                name,
            }),
        }
    }

    /// Reads the name of a ref; `None` if it says nothing of images.
    pub fn parse(name: &str) -> Result<Option<Self>, RefError> {
        let below = |prefix| name.strip_prefix(prefix)?.strip_prefix('/');
        let unescape = |escaped| {
            ref_escape::unescape(escaped).map_err(|source| RefError::Unescape {
                name: name.to_owned(),
                source,
            })
        };
        let parsed = if let Some(escaped) = below(Self::IMAGE_PREFIX) {
            let image = unescape(escaped)?.parse();
            Self::Image(image.map_err(|source| RefError::Reference {
                name: name.to_owned(),
                source,
            })?)
        } else if let Some(escaped) = below(Self::BLOB_PREFIX) {
            let digest = unescape(escaped)?.parse();
            Self::Blob(digest.map_err(|source| RefError::Digest {
                name: name.to_owned(),
                source,
            })?)
        } else if let Some(rest) = below(Self::BASE_IMAGE_PREFIX) {
            let (project, rest) = rest
                .split_once('/')
                .ok_or_else(|| RefError::BaseImage(name.to_owned()))?;
            Self::BaseImage {
                project: project.to_owned(),
                name: rest.to_owned(),
            }
        } else {
            return Ok(None);
        };
        Ok(Some(parsed))
    }
}

/// Whether libostree takes it as a part of a ref, and a file can be named so.
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 255
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'-' || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "5db6d8b5f34d3cbdaa1e82ed0152a5ac980076d19317d4269db149cbde057bb2";

    fn image(text: &str) -> RefName {
        RefName::Image(text.parse().unwrap())
    }

    fn ours(reference: &str) -> RefName {
        RefName::our_base_image(reference).unwrap()
    }

    #[test]
    fn names_come_back() {
        let base_image = |project: &str, name: &str| RefName::BaseImage {
            project: project.to_owned(),
            name: name.to_owned(),
        };
        for (parsed, name) in [
            (
                image("docker://quay.io/fedora/fedora-bootc:latest"),
                "ostree/container/image/docker_3A__2F__2F_quay_2E_io/fedora/fedora-bootc_3A_latest",
            ),
            (
                image("registry:localhost:5000/x_y"),
                "ostree/container/image/docker_3A__2F__2F_localhost_3A_5000/x__y",
            ),
            (
                image("oci-archive:/mnt/a.ociarchive"),
                "ostree/container/image/oci-archive_3A__2F_mnt/a_2E_ociarchive",
            ),
            (
                RefName::Blob(Digest::from_hex(HEX).unwrap()),
                &format!("ostree/container/blob/sha256_3A_{HEX}"),
            ),
            (
                base_image("bootc", "0"),
                "ostree/container/baseimage/bootc/0",
            ),
            (
                base_image(RefName::PROJECT, "a/b"),
                "ostree/container/baseimage/import-oci/a/b",
            ),
            (
                ours("oci:./image:1.0"),
                "ostree/container/baseimage/import-oci/oci_3A__2E__2F_image_3A_1_2E_0",
            ),
            (
                ours("rootfs:/mnt/tree/"),
                "ostree/container/baseimage/import-oci/rootfs_3A__2F_mnt/tree_2F_",
            ),
        ] {
            assert_eq!(parsed.to_ref().as_deref(), Ok(name));
            assert_eq!(RefName::parse(name), Ok(Some(parsed)), "{name}");
        }
    }

    #[test]
    fn other_refs_are_left_alone() {
        for name in [
            "",
            "import-oci",
            "import-oci/x",
            "fedora/x86_64/coreos/stable",
            "ostree/container/image",
            "ostree/container/images/x",
            "ostree/0/1/0",
            "rpmostree/base/0",
        ] {
            assert_eq!(RefName::parse(name), Ok(None), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for (name, cause) in [
            ("ostree/container/image/foo", "missing `:` in \"foo\""),
            ("ostree/container/image/", "missing `:`"),
            (
                "ostree/container/image/sif_3A_x",
                "unknown transport \"sif\"",
            ),
            ("ostree/container/image/a.b", "unescaped character '.'"),
            ("ostree/container/image/_110000_", "U+110000"),
            ("ostree/container/blob/sha512_3A_00", "invalid digest"),
            ("ostree/container/blob/_zz_", "hexadecimal"),
            ("ostree/container/baseimage/bootc", "no base image"),
        ] {
            let error = RefName::parse(name).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(cause),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn what_libostree_refuses_is_refused() {
        let long = "x".repeat(256);
        let base_image = |name: &str| RefName::BaseImage {
            project: RefName::PROJECT.to_owned(),
            name: name.to_owned(),
        };
        for (name, component) in [
            (image("oci:dir/-dash"), "-dash"),
            (ours("-x"), "-x"),
            (ours(&format!("dir/{long}/b")), &long),
            (base_image(""), ""),
            (base_image("a//b"), ""),
            (base_image("a b"), "a b"),
            (base_image("../../x"), ".."),
        ] {
            match name.to_ref() {
                Err(RefError::Component {
                    component: found, ..
                }) => assert_eq!(found, component),
                other => panic!("{name:?}: {other:?}"),
            }
        }
        let empty = RefName::our_base_image("");
        assert_eq!(empty, Err(RefError::Escape(EscapeError::Empty)));
    }

    #[test]
    fn signed_bases_stand_beside_images() {
        let reference = "rootfs:/mnt/tree";
        let [image, base] = [
            RefName::our_base_image(reference),
            RefName::our_signed_base(reference),
        ]
        .map(|name| name.unwrap().to_ref().unwrap());
        assert_eq!(image.replace("import-oci/", "import-oci/signed/"), base);
        assert_eq!(
            base,
            "ostree/container/baseimage/import-oci/signed/rootfs_3A__2F_mnt/tree"
        );
    }
}
