//! When an image was made: the timestamp of its commit.

use jiff::Timestamp;
use oci_spec::image::{ANNOTATION_CREATED, ImageConfiguration, ImageManifest};

/// When the image was made, in seconds since the epoch: the manifest's annotation
/// `org.opencontainers.image.created`, else the configuration's `created`, both RFC 3339 with the
/// fraction of a second dropped.
///
/// That is what ostree-ext stamps commits with, and rpm-ostree refuses an update that is older
/// than what runs. Two differences, both because the same image must give the same commit: where a
/// date cannot be read ostree-ext takes the time of the import, this the next in line; and a date
/// before 1970, such as the `0001-01-01` that Go prints for "not set", counts as none, where
/// ostree-ext's wraps around and makes the commit newer than any other.
pub fn created(manifest: &ImageManifest, config: &ImageConfiguration) -> Option<u64> {
    let annotation = manifest
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(ANNOTATION_CREATED));
    [annotation, config.created().as_ref()]
        .into_iter()
        .flatten()
        .find_map(|text| seconds(text))
}

fn seconds(text: &str) -> Option<u64> {
    let timestamp: Timestamp = text.parse().ok()?;
    // Half a second before the epoch rounds to 0 and is before the epoch all the same.
    let seconds = u64::try_from(timestamp.as_second()).ok()?;
    (timestamp >= Timestamp::UNIX_EPOCH).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created_of(annotation: Option<&str>, config: Option<&str>) -> Option<u64> {
        let mut manifest: ImageManifest = serde_json::from_value(serde_json::json!({
            "schemaVersion": 2,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{}", "0".repeat(64)),
                "size": 2,
            },
            "layers": [],
        }))
        .unwrap();
        manifest.set_annotations(
            annotation.map(|text| [(ANNOTATION_CREATED.to_owned(), text.to_owned())].into()),
        );
        let mut configuration = ImageConfiguration::default();
        configuration.set_created(config.map(str::to_owned));
        created(&manifest, &configuration)
    }

    #[test]
    fn annotation_then_configuration() {
        let (day, next) = ("1970-01-02T00:00:00Z", "1970-01-03T00:00:00Z");
        for (annotation, config, expected) in [
            (None, None, None),
            (None, Some(day), Some(86400)),
            (Some(next), None, Some(172800)),
            (Some(next), Some(day), Some(172800)),
            (Some("yesterday"), Some(day), Some(86400)),
            (Some(""), Some(day), Some(86400)),
            (Some("0001-01-01T00:00:00Z"), Some(day), Some(86400)),
            (Some("1969-12-31T23:59:59.5Z"), None, None),
            (Some("1970-01-01T00:00:00Z"), Some(day), Some(0)),
            (None, Some("yesterday"), None),
        ] {
            assert_eq!(
                created_of(annotation, config),
                expected,
                "{annotation:?} {config:?}"
            );
        }
    }
}
