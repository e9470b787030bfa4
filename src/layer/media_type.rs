//! Media types of layers: OCI image-spec `layer.md`, Docker image manifest v2 schema 2.

use super::error::LayerError;
use crate::compression::Compression;

/// What may stand before the compression in the media type of a layer.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    OCI_FOREIGN,
    "application/vnd.docker.image.rootfs.diff.tar",
    DOCKER_FOREIGN,
];
const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// The compression that a media type promises. Docker's suffixes start with a dot, OCI's with a
/// plus; writers mix them.
pub fn compression(media_type: &str) -> Result<Compression, LayerError> {
    if media_type.ends_with("+encrypted") {
        return Err(LayerError::Encrypted(media_type.to_owned()));
    }
    LAYERS
        .iter()
        .filter_map(|layer| media_type.strip_prefix(layer))
        .find_map(|suffix| match suffix {
            "" => Some(Compression::None),
            "+gzip" | ".gzip" => Some(Compression::Gzip),
            "+zstd" | ".zstd" => Some(Compression::Zstd),
            _ => None,
        })
        .ok_or_else(|| LayerError::UnsupportedMediaType(media_type.to_owned()))
}

/// Is this a layer that registries need not hold (`nondistributable`, `foreign`)? If its blob is
/// there, it reads as any other; if not, only the URLs of its descriptor have it.
pub fn is_foreign(media_type: &str) -> bool {
    media_type.starts_with(OCI_FOREIGN) || media_type.starts_with(DOCKER_FOREIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types() {
        use Compression::*;
        for (media_type, want, foreign) in [
            ("application/vnd.oci.image.layer.v1.tar", None, false),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Gzip, false),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Zstd, false),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                None,
                true,
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                Zstd,
                true,
            ),
            ("application/vnd.docker.image.rootfs.diff.tar", None, false),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Gzip,
                false,
            ),
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                Gzip,
                true,
            ),
        ] {
            assert_eq!(compression(media_type).unwrap(), want, "{media_type}");
            assert_eq!(is_foreign(media_type), foreign, "{media_type}");
        }
    }

    #[test]
    fn refused_types() {
        for media_type in [
            "",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar+lz4",
            "application/vnd.oci.image.layer.v1.tarball",
            "application/vnd.oci.image.layer.v1.squashfs",
        ] {
            let error = compression(media_type).unwrap_err();
            assert!(
                matches!(&error, LayerError::UnsupportedMediaType(named) if named == media_type),
                "{error}"
            );
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        assert!(matches!(
            compression(encrypted),
            Err(LayerError::Encrypted(named)) if named == encrypted
        ));
    }
}
