//! What a commit says of the image it was made from: the keys of its metadata dictionary.
//!
//! Text is `s` and a flag `b` in GVariant. The order of a dictionary is part of a commit's checksum,
//! so everything here comes sorted by key.

use oci_spec::image::{ANNOTATION_VERSION, ImageConfiguration};

use crate::digest::Digest;

/// Digest of the manifest, `sha256:…` (text). ostree-ext takes a commit without it for no image;
/// an equal digest means that the image is there already. `bootc status` and `rpm-ostree status`
/// print it.
pub const MANIFEST_DIGEST: &str = "ostree.manifest-digest";
/// The manifest, JSON (text). Read for the list of layers in garbage collection, for the
/// difference an upgrade would make, and for the digest of the configuration, which is the id of
/// the image.
pub const MANIFEST: &str = "ostree.manifest";
/// The configuration, JSON (text). Read for version, labels, creation date, history and diff_ids.
pub const IMAGE_CONFIG: &str = "ostree.container.image-config";
/// Which program made the commit (text), see [`importer_version`]. Nobody decides anything by it
/// but us.
pub const IMPORTER_VERSION: &str = "ostree.importer.version";
/// The commit holds a kernel (flag). Written by `ostree commit --bootable`, read where images are
/// built from commits.
pub const BOOTABLE: &str = "ostree.bootable";
/// The version of that kernel (text), the name of its directory below `usr/lib/modules`.
pub const LINUX: &str = "ostree.linux";
/// The version of the system (text). `ostree admin status` and the boot menu show it.
pub const VERSION: &str = "version";
/// What the initramfs was made of, if the import made it (text, 64 hexadecimal digits of SHA-256
/// over the files that went into it). Read by later imports, which take it over where nothing of
/// that changed.
pub const INITRAMFS_INPUTS: &str = "import-oci.initramfs-inputs";

/// In the commit of an image: the options of the import that make another tree of it than the
/// defaults do (text), as one would type them. Absent where there are none. The same image with
/// other options is not here already.
pub const OPTIONS: &str = "import-oci.options";
/// In the commit of an image: which of its files fixups changed, and the objects that hold them
/// (bytes), so that an update need not read them; the module `record` reads and writes it.
pub const CHANGED_FILES: &str = "import-oci.changed-files";
/// In the commit of a layer: the layer as OCI sees it, which a commit alone forgets (bytes); the
/// module `record` reads and writes it.
pub const LAYER: &str = "import-oci.layer";
/// In the commit of a layer: the digest of its decompressed tar stream, `sha256:…` (text).
pub const DIFF_ID: &str = "import-oci.diff-id";

/// The base that bootc built this commit on (text, a commit). Not ours to write.
pub const BOOTC_DERIVED: &str = "bootc.derived";
/// The commit carries packages that rpm-ostree layered on its parent (flag). Not ours to write: it
/// makes rpm-ostree look for that parent.
pub const RPMOSTREE_CLIENT_LAYER: &str = "rpmostree.clientlayer";

/// Detached metadata: digest of the manifest of an update that was seen but not fetched (text).
/// `bootc status` and `rpm-ostree status` show the update. Whoever writes it writes
/// [`CACHED_MANIFEST`] and [`CACHED_CONFIG`] too, and with ostree-ext loses all other detached
/// metadata of the commit, signatures with it.
pub const CACHED_MANIFEST_DIGEST: &str = "ostree-ext.cached.manifest-digest";
/// Detached metadata: the manifest of that update, JSON (text).
pub const CACHED_MANIFEST: &str = "ostree-ext.cached.manifest";
/// Detached metadata: the configuration of that update, JSON (text).
pub const CACHED_CONFIG: &str = "ostree-ext.cached.config";

/// The number of the tree that we make of an image. It changes when, and only when, the same image
/// gives another tree or other metadata than before: whoever holds a commit with another number
/// must import anew, whoever has this one need not.
pub const FORMAT: u32 = 5;

/// The value of [`IMPORTER_VERSION`] in our commits: `import-oci` and a format number, [`FORMAT`]
/// for those made today. It is no release number, so that a release that changes nothing about the
/// tree gives the same commits.
pub fn importer_version(format: u32) -> String {
    format!("{IMPORTER} {format}")
}

/// The format number in an [`IMPORTER_VERSION`]; `None` if another program wrote it.
pub fn format_of(importer_version: &str) -> Option<u32> {
    let number = importer_version.strip_prefix(IMPORTER)?.strip_prefix(' ')?;
    number.parse().ok()
}

const IMPORTER: &str = "import-oci";

/// The version that an image gives itself: its label `org.opencontainers.image.version`, else
/// `version`. A text that no line of a menu can show, empty or with control characters, is none.
pub fn version(config: &ImageConfiguration) -> Option<&str> {
    let labels = config.config().as_ref()?.labels().as_ref()?;
    [ANNOTATION_VERSION, LABEL_VERSION]
        .into_iter()
        .filter_map(|key| labels.get(key))
        .map(String::as_str)
        .find(|version| !version.is_empty() && !version.contains(char::is_control))
}

/// The label for versions from before OCI had one.
pub const LABEL_VERSION: &str = "version";

/// The label of an image that ostree-ext made of a commit: the diff_id of the last layer it made.
pub const LABEL_FINAL_DIFF_ID: &str = "ostree.final-diffid";

/// What we write in the commit of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMetadata {
    /// Digest of the image's manifest.
    pub manifest_digest: Digest,
    /// That manifest byte for byte; for a commit that is one layer, one that says so.
    pub manifest: String,
    /// The configuration, which goes with it.
    pub config: String,
    /// See [`version`].
    pub version: Option<String>,
    /// The version of the kernel, if the tree has exactly one.
    pub bootable: Option<String>,
    /// See [`INITRAMFS_INPUTS`].
    pub initramfs_inputs: Option<Digest>,
    /// See [`importer_version`].
    pub format: u32,
    /// See [`OPTIONS`].
    pub options: Option<String>,
    /// See [`CHANGED_FILES`].
    pub changed_files: Option<Vec<u8>>,
}

/// What we write in the commit of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerMetadata {
    /// Digest of the layer's decompressed tar stream.
    pub diff_id: Digest,
    /// See [`LAYER`]; `None` for a layer whose commit cannot stand for it.
    pub record: Option<Vec<u8>>,
    /// See [`importer_version`].
    pub format: u32,
}

/// The value of a metadata key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataValue {
    /// GVariant `s`.
    Text(String),
    /// GVariant `b`.
    Flag(bool),
    /// GVariant `ay`.
    Bytes(Vec<u8>),
}

impl LayerMetadata {
    /// The keys and values, sorted by key.
    pub fn into_entries(self) -> Vec<(&'static str, MetadataValue)> {
        let record = self
            .record
            .map(|record| (LAYER, MetadataValue::Bytes(record)));
        let texts = [
            (DIFF_ID, self.diff_id.to_string()),
            (IMPORTER_VERSION, importer_version(self.format)),
        ];
        let texts = texts.map(|(key, text)| (key, MetadataValue::Text(text)));
        let mut entries: Vec<_> = texts.into_iter().chain(record).collect();
        entries.sort_unstable_by_key(|&(key, _)| key);
        entries
    }
}

impl ImageMetadata {
    /// The keys and values, sorted by key.
    pub fn into_entries(self) -> Vec<(&'static str, MetadataValue)> {
        use MetadataValue::{Bytes, Flag, Text};
        let mut entries = vec![
            (MANIFEST_DIGEST, Text(self.manifest_digest.to_string())),
            (MANIFEST, Text(self.manifest)),
            (IMAGE_CONFIG, Text(self.config)),
            (IMPORTER_VERSION, Text(importer_version(self.format))),
        ];
        if let Some(kernel) = self.bootable {
            entries.extend([(BOOTABLE, Flag(true)), (LINUX, Text(kernel))]);
        }
        let inputs = self.initramfs_inputs;
        entries.extend(inputs.map(|digest| (INITRAMFS_INPUTS, Text(digest.hex()))));
        entries.extend(self.version.map(|version| (VERSION, Text(version))));
        entries.extend(self.options.map(|options| (OPTIONS, Text(options))));
        entries.extend(
            self.changed_files
                .map(|record| (CHANGED_FILES, Bytes(record))),
        );
        entries.sort_unstable_by_key(|&(key, _)| key);
        entries
    }

    /// Those that say nothing of the image, only of the system in it: a commit with these alone is
    /// one of plain ostree.
    pub fn into_base_entries(self) -> Vec<(&'static str, MetadataValue)> {
        const KEYS: [&str; 4] = [BOOTABLE, IMPORTER_VERSION, LINUX, VERSION];
        let mut entries = self.into_entries();
        entries.retain(|(key, _)| KEYS.contains(key));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> ImageMetadata {
        ImageMetadata {
            manifest_digest: Digest::of(b"{ }"),
            manifest: "{ }".to_owned(),
            config: "{}\n".to_owned(),
            version: None,
            bootable: None,
            initramfs_inputs: None,
            format: 7,
            options: None,
            changed_files: None,
        }
    }

    #[test]
    fn entries_are_sorted_and_verbatim() {
        let text = |text: &str| MetadataValue::Text(text.to_owned());
        let digest = Digest::of(b"{ }").to_string();
        let always = [
            ("ostree.container.image-config", text("{}\n")),
            ("ostree.importer.version", text("import-oci 7")),
            ("ostree.manifest", text("{ }")),
            ("ostree.manifest-digest", text(&digest)),
        ];
        assert_eq!(metadata().into_entries(), always);

        let full = ImageMetadata {
            version: Some("12".to_owned()),
            bootable: Some("6.1.0-1-amd64".to_owned()),
            initramfs_inputs: Some(Digest::of(b"")),
            options: Some("--squash".to_owned()),
            ..metadata()
        };
        let [config, importer, manifest, manifest_digest] = always;
        let expected = [
            ("import-oci.initramfs-inputs", text(&Digest::of(b"").hex())),
            ("import-oci.options", text("--squash")),
            ("ostree.bootable", MetadataValue::Flag(true)),
            config,
            importer,
            ("ostree.linux", text("6.1.0-1-amd64")),
            manifest,
            manifest_digest,
            ("version", text("12")),
        ];
        assert_eq!(full.clone().into_entries(), expected);
        let base = [2, 4, 5, 8].map(|index| expected[index].clone());
        assert_eq!(full.into_base_entries(), base);
    }

    #[test]
    fn entries_of_a_layer() {
        let diff_id = Digest::of(b"layer");
        let text = |text: &str| MetadataValue::Text(text.to_owned());
        for record in [None, Some(vec![1, 2])] {
            let metadata = LayerMetadata {
                diff_id,
                record: record.clone(),
                format: 7,
            };
            let mut expected = vec![
                ("import-oci.diff-id", text(&diff_id.to_string())),
                ("ostree.importer.version", text("import-oci 7")),
            ];
            if let Some(record) = record {
                expected.insert(1, ("import-oci.layer", MetadataValue::Bytes(record)));
            }
            assert_eq!(metadata.into_entries(), expected);
        }
    }

    #[test]
    fn formats_come_back() {
        for (text, format) in [
            (importer_version(7).as_str(), Some(7)),
            ("import-oci", None),
            ("import-oci-fork 7", None),
            ("0.15.3", None),
            ("", None),
        ] {
            assert_eq!(format_of(text), format, "{text}");
        }
    }

    #[test]
    fn version_is_a_label() {
        for (labels, expected) in [
            ("null", None),
            ("{}", None),
            (r#"{"Version": "1"}"#, None),
            (r#"{"version": "1"}"#, Some("1")),
            (r#"{"org.opencontainers.image.version": "2"}"#, Some("2")),
            (
                r#"{"version": "1", "org.opencontainers.image.version": "2"}"#,
                Some("2"),
            ),
            (
                r#"{"version": "1", "org.opencontainers.image.version": ""}"#,
                Some("1"),
            ),
            (r#"{"version": "1\u00002"}"#, None),
        ] {
            let config = format!(
                r#"{{"architecture": "amd64", "os": "linux", "config": {{"Labels": {labels}}},
                     "rootfs": {{"type": "layers", "diff_ids": []}}}}"#
            );
            let config: ImageConfiguration = serde_json::from_str(&config).unwrap();
            assert_eq!(version(&config), expected, "{labels}");
        }
        assert_eq!(version(&ImageConfiguration::default()), None);
    }
}
