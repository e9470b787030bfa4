//! The origin file of a deployment: where it came from, and so where its updates come from.

use ostree::glib::{KeyFile, KeyFileError, KeyFileFlags};

use super::image_reference::{OstreeImageReference, ReferenceError};

/// The group of every origin.
const GROUP: &str = "origin";
/// The key in it that names an image, with the trust in it.
const IMAGE: &str = "container-image-reference";
/// Groups by which rpm-ostree says that a deployment is more than its image.
const RPM_OSTREE_GROUPS: [&str; 4] = ["rpmostree", "packages", "overrides", "modules"];

/// What an origin file says.
///
/// ```
/// use import_oci::contract::Origin;
///
/// let image = "ostree-unverified-registry:quay.io/os/image:tag".parse().unwrap();
/// let origin = Origin::of_image(&image);
/// assert_eq!(
///     origin.text(),
///     "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os/image:tag\n"
/// );
/// assert_eq!(Origin::parse(&origin.text()).unwrap().image(), Ok(Some(image)));
/// ```
#[derive(Debug)]
pub struct Origin(KeyFile);

/// Why an origin names no image that can be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It is no key file, or the key has no text.
    #[error("an origin that cannot be read: {0}")]
    KeyFile(String),
    /// What it names is no image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

impl Origin {
    /// The origin that ostree-ext writes for a deployment of `image`: this key and no other.
    pub fn of_image(image: &OstreeImageReference) -> Self {
        let file = KeyFile::new();
        file.set_string(GROUP, IMAGE, &image.to_string());
        Self(file)
    }

    /// Reads an origin file.
    ///
    /// # Errors
    /// It is no key file.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let file = KeyFile::new();
        match file.load_from_data(text, KeyFileFlags::NONE) {
            Ok(()) => Ok(Self(file)),
            Err(error) => Err(OriginError::KeyFile(error.to_string())),
        }
    }

    /// The file.
    pub fn text(&self) -> String {
        self.0.to_data().to_string()
    }

    /// What it names as its image, as it stands there; `None` where it is no image's.
    ///
    /// # Errors
    /// It is no text.
    pub fn image_text(&self) -> Result<Option<String>, OriginError> {
        match self.0.string(GROUP, IMAGE) {
            Ok(text) => Ok(Some(text.into())),
            Err(error)
                if error.matches(KeyFileError::KeyNotFound)
                    || error.matches(KeyFileError::GroupNotFound) =>
            {
                Ok(None)
            }
            Err(error) => Err(OriginError::KeyFile(error.to_string())),
        }
    }

    /// The image it names and the trust in it; `None` where it is no image's.
    ///
    /// # Errors
    /// It is no image.
    pub fn image(&self) -> Result<Option<OstreeImageReference>, OriginError> {
        let text = self.image_text()?;
        Ok(text.map(|text| text.parse()).transpose()?)
    }

    /// Does rpm-ostree say in it that the deployment is more than its image? bootc leaves such a one
    /// alone.
    pub fn is_changed_by_rpm_ostree(&self) -> bool {
        RPM_OSTREE_GROUPS
            .iter()
            .any(|group| self.0.has_group(group))
    }
}

impl From<KeyFile> for Origin {
    fn from(file: KeyFile) -> Self {
        Self(file)
    }
}

impl From<Origin> for KeyFile {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ostree-ext prints for each reference is pinned elsewhere (`tests/contract.rs`).
    #[test]
    fn origins_of_images() {
        for (image, written) in [
            (
                "ostree-unverified-image:docker://quay.io/x/y:tag",
                "ostree-unverified-registry:quay.io/x/y:tag",
            ),
            (
                "ostree-image-signed:docker://quay.io/x/y",
                "ostree-image-signed:docker://quay.io/x/y",
            ),
            (
                "ostree-unverified-image:oci:/a b\\c:v1",
                "ostree-unverified-image:oci:/a b\\\\c:v1",
            ),
        ] {
            let image: OstreeImageReference = image.parse().unwrap();
            let text = Origin::of_image(&image).text();
            assert_eq!(
                text,
                format!("[origin]\ncontainer-image-reference={written}\n")
            );
            let read = Origin::parse(&text).unwrap();
            assert_eq!(read.image(), Ok(Some(image)));
            assert!(!read.is_changed_by_rpm_ostree());
        }
    }

    #[test]
    fn origins_of_others() {
        for (text, named, changed) in [
            ("", None, false),
            ("[origin]\nrefspec=fedora:fedora/stable\n", None, false),
            (
                "[origin]\nrefspec=x\n[packages]\nrequested=vim;\n",
                None,
                true,
            ),
            (
                "[origin]\ncontainer-image-reference=ostree-image-signed:docker://x/y\n\
                 [rpmostree]\nregenerate-initramfs=true\n",
                Some("ostree-image-signed:docker://x/y"),
                true,
            ),
        ] {
            let origin = Origin::parse(text).unwrap();
            let image = origin.image().unwrap().map(|image| image.to_string());
            assert_eq!(image.as_deref(), named, "{text}");
            assert_eq!(origin.is_changed_by_rpm_ostree(), changed, "{text}");
        }
        let nonsense = Origin::parse("[origin]\ncontainer-image-reference=x\n").unwrap();
        assert_eq!(nonsense.image_text(), Ok(Some("x".to_owned())));
        assert!(matches!(nonsense.image(), Err(OriginError::Reference(_))));
        assert!(Origin::parse("no key file").is_err());
    }
}
