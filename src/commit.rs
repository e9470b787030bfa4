//! What the commit of an image says: its metadata and its date. The same image says the same on
//! every host.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde_json::{Value, json};

use crate::bodies::Bodies;
use crate::contract::{self, ImageMetadata, metadata};
use crate::digest::Digest;
use crate::path::ImagePath;
use crate::repo::{CommitMetadata, TreeRoot};
use crate::source::ResolvedImage;
use crate::tree::{Content, Tree};

/// Metadata and date of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitText {
    /// Metadata.
    pub metadata: ImageMetadata,
    /// Seconds since the epoch.
    pub timestamp: u64,
    /// The digest of the only layer, which nobody else has: its blob is the commit itself. `None`
    /// for an image with layers of its own.
    pub only_layer: Option<Digest>,
}

impl CommitText {
    /// The commit of an image with a manifest and a configuration: both verbatim, but for an empty
    /// history where there is none, and the date the image gives itself, 1970 if it gives none.
    pub fn of_image(
        image: &ResolvedImage,
        kernel: Option<String>,
        options: Option<String>,
    ) -> Result<Self> {
        let text = |bytes: &[u8], what: &str| {
            String::from_utf8(bytes.to_vec()).with_context(|| format!("the {what} is not UTF-8"))
        };
        Ok(Self {
            metadata: ImageMetadata {
                manifest_digest: image.manifest_digest,
                manifest: text(&image.manifest_bytes, "manifest")?,
                config: with_history(text(&image.config_bytes, "configuration")?)?,
                version: metadata::version(&image.config).map(str::to_owned),
                bootable: kernel,
                initramfs_inputs: None,
                format: metadata::FORMAT,
                options,
                changed_files: None,
            },
            timestamp: contract::created(&image.manifest, &image.config).unwrap_or(0),
            only_layer: None,
        })
    }

    /// What a commit of ours, made in today's format, says; `None`: it is none of an image.
    pub fn of_commit(commit: &CommitMetadata) -> Option<Self> {
        let text = |key| commit.text(key);
        let manifest = text(metadata::MANIFEST)?;
        let only_layer = only_layer(commit.root);
        let stored: Value = serde_json::from_str(&manifest).ok()?;
        Some(Self {
            only_layer: (stored["layers"] == layers(only_layer)).then_some(only_layer),
            metadata: ImageMetadata {
                manifest_digest: text(metadata::MANIFEST_DIGEST)?.parse().ok()?,
                manifest,
                config: text(metadata::IMAGE_CONFIG)?,
                version: text(metadata::VERSION),
                bootable: text(metadata::LINUX),
                initramfs_inputs: text(metadata::INITRAMFS_INPUTS)
                    .and_then(|hex| Digest::from_hex(&hex).ok()),
                format: metadata::FORMAT,
                options: text(metadata::OPTIONS),
                changed_files: commit.bytes(metadata::CHANGED_FILES),
            },
            timestamp: commit.timestamp,
        })
    }

    /// The same commit with all layers as one, as [`CommitText::of_root`] makes it of a root.
    ///
    /// The digests of the image's own layers must not lead to a tree that is not theirs. Those of
    /// its manifest and configuration stay, so that who pulls the image finds it there.
    pub fn squashed(self, root: TreeRoot) -> Result<Self> {
        let layer = only_layer(root);
        let ImageMetadata {
            manifest, config, ..
        } = &self.metadata;
        let mut manifest: Value = serde_json::from_str(manifest).context("the manifest")?;
        manifest["layers"] = layers(layer);
        let mut config: Value = serde_json::from_str(config).context("the configuration")?;
        config["rootfs"] = rootfs(layer);
        let mut history = json!({ "created_by": IMPORTER });
        if let Some(created) = config.get("created") {
            history["created"] = created.clone();
        }
        config["history"] = json!([history]);
        // It would make ostree-ext look for a layer with this diff_id.
        if let Some(labels) = config
            .pointer_mut("/config/Labels")
            .and_then(Value::as_object_mut)
        {
            labels.remove(metadata::LABEL_FINAL_DIFF_ID);
        }
        let (manifest, config) = (manifest.to_string(), config.to_string());
        check_readable(&manifest, &config)?;
        Ok(Self {
            metadata: ImageMetadata {
                manifest,
                config,
                ..self.metadata
            },
            only_layer: Some(layer),
            ..self
        })
    }

    /// The commit of an unpacked root: a manifest and a configuration of one layer that nobody
    /// can have. Its digest is made of the tree, so that no pull takes another layer for it, nor
    /// it for another.
    pub fn of_root(
        root: TreeRoot,
        architecture: &str,
        timestamp: u64,
        kernel: Option<String>,
        options: Option<String>,
    ) -> Result<Self> {
        let layer = only_layer(root);
        let created = jiff::Timestamp::from_second(timestamp.try_into()?)
            .context("the timestamp is out of range")?
            .to_string();
        let config = json!({
            "architecture": architecture,
            "created": created,
            "os": "linux",
            "config": {},
            "rootfs": rootfs(layer),
            "history": [{ "created": created, "created_by": IMPORTER }],
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(config.as_bytes()),
                "size": config.len(),
            },
            "layers": layers(layer),
        })
        .to_string();
        check_readable(&manifest, &config)?;
        Ok(Self {
            metadata: ImageMetadata {
                manifest_digest: Digest::of(manifest.as_bytes()),
                manifest,
                config,
                version: None,
                bootable: kernel,
                initramfs_inputs: None,
                format: metadata::FORMAT,
                options,
                changed_files: None,
            },
            timestamp,
            only_layer: Some(layer),
        })
    }
}

/// Who a made-up layer is from.
const IMPORTER: &str = "import-oci";

/// Digest and diff_id of a layer that is a whole tree. It is made of the tree and of no blob.
fn only_layer(root: TreeRoot) -> Digest {
    let (dirtree, dirmeta) = (root.dirtree.hex(), root.dirmeta.hex());
    Digest::of(format!("import-oci root {dirtree} {dirmeta}").as_bytes())
}

/// The layers of a manifest with this one alone.
fn layers(only: Digest) -> Value {
    json!([{
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": only,
        "size": 0,
    }])
}

/// The root of a configuration with this layer alone.
fn rootfs(only: Digest) -> Value {
    json!({ "type": "layers", "diff_ids": [only] })
}

/// A configuration with an empty history if it has none. To OCI that is all the same, but there are
/// releases of ostree-ext and bootc that cannot read it without, and one such image in a repo keeps
/// them from pulling any other.
fn with_history(config: String) -> Result<String> {
    let mut parsed: Value = serde_json::from_str(&config).context("the configuration")?;
    if !parsed["history"].is_null() {
        return Ok(config);
    }
    parsed["history"] = json!([]);
    Ok(parsed.to_string())
}

/// What we store must be readable by those who read it with the same types.
fn check_readable(manifest: &str, config: &str) -> Result<()> {
    serde_json::from_str::<ImageManifest>(manifest).context("made an invalid manifest")?;
    serde_json::from_str::<ImageConfiguration>(config).context("made an invalid configuration")?;
    Ok(())
}

/// The architecture of an unpacked root in Go's words, read off the ELF header of its shell or its
/// init; `unknown` where neither tells.
pub fn find_architecture(tree: &Tree, bodies: &Bodies) -> &'static str {
    const PROGRAMS: [&str; 4] = [
        "usr/bin/sh",
        "bin/sh",
        "usr/lib/systemd/systemd",
        "sbin/init",
    ];
    PROGRAMS
        .iter()
        .filter_map(|path| {
            let path = ImagePath::parse(path.as_bytes()).ok()?;
            let (_, id) = tree.resolve(&path).ok()??;
            match tree.inode(id).content {
                Content::File { body, .. } => {
                    let mut header = [0; 20];
                    bodies.reader(body).read_exact(&mut header).ok()?;
                    architecture_of_elf(&header)
                }
                _ => None,
            }
        })
        .next()
        .unwrap_or("unknown")
}

/// Reads `e_machine` (elf.h) of an ELF header.
fn architecture_of_elf(header: &[u8; 20]) -> Option<&'static str> {
    let [0x7f, b'E', b'L', b'F', _, endianness, ..] = *header else {
        return None;
    };
    let machine = [header[18], header[19]];
    let machine = match endianness {
        1 => u16::from_le_bytes(machine),
        _ => u16::from_be_bytes(machine),
    };
    Some(match (machine, endianness) {
        (3, _) => "386",
        (21, 1) => "ppc64le",
        (22, _) => "s390x",
        (40, _) => "arm",
        (62, _) => "amd64",
        (183, _) => "arm64",
        (243, _) => "riscv64",
        (258, _) => "loong64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    fn root(dirtree: &[u8]) -> TreeRoot {
        TreeRoot {
            dirtree: Digest::of(dirtree),
            dirmeta: Digest::of(b"meta"),
        }
    }

    #[test]
    fn squashing_changes_the_layers_alone() {
        let manifest_digest = Digest::of(b"the real one");
        let digest = |what: &str| Digest::of(what.as_bytes()).to_string();
        let layer = json!({ "mediaType": "a/b", "digest": digest("layer"), "size": 7 });
        let config = json!({ "mediaType": "a/b", "digest": digest("config"), "size": 9 });
        let manifest = json!({
            "schemaVersion": 2,
            "config": config,
            "layers": [layer, layer],
            "annotations": { "a": "b" },
        });
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": { "Labels": { "ostree.final-diffid": "sha256:1", "version": "3" } },
            "rootfs": { "type": "layers", "diff_ids": [digest("a"), digest("b")] },
            "history": [{}, {}, {}],
        });
        let text = CommitText {
            metadata: ImageMetadata {
                manifest_digest,
                manifest: manifest.to_string(),
                config: config.to_string(),
                version: Some("3".to_owned()),
                bootable: None,
                initramfs_inputs: None,
                format: 1,
                options: None,
                changed_files: None,
            },
            timestamp: 5,
            only_layer: None,
        };
        let squashed = text.clone().squashed(root(b"tree")).unwrap();
        let layer = squashed.only_layer.unwrap();
        let other = text.squashed(root(b"other")).unwrap();
        assert_ne!(other.only_layer, Some(layer));
        assert_eq!(squashed.metadata.manifest_digest, manifest_digest);

        let stored: Value = serde_json::from_str(&squashed.metadata.manifest).unwrap();
        let mut expected = manifest;
        expected["layers"] = json!([{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer,
            "size": 0,
        }]);
        assert_eq!(stored, expected);
        let stored: Value = serde_json::from_str(&squashed.metadata.config).unwrap();
        let mut expected = config;
        expected["config"]["Labels"] = json!({ "version": "3" });
        expected["rootfs"]["diff_ids"] = json!([layer]);
        let created = "2024-01-02T03:04:05Z";
        expected["history"] = json!([{ "created": created, "created_by": "import-oci" }]);
        assert_eq!(stored, expected);
    }

    #[test]
    fn a_configuration_has_a_history() {
        for (config, expected) in [
            (
                r#"{ "history": [{}] , "a": 1}"#,
                r#"{ "history": [{}] , "a": 1}"#,
            ),
            (r#"{ "history": [] }"#, r#"{ "history": [] }"#),
            (r#"{ "os": "linux" }"#, r#"{"history":[],"os":"linux"}"#),
            (
                r#"{ "os": "linux", "history": null }"#,
                r#"{"history":[],"os":"linux"}"#,
            ),
        ] {
            assert_eq!(with_history(config.to_owned()).unwrap(), expected);
        }
    }

    #[test]
    fn a_root_has_a_manifest_of_its_own() {
        let of = |tree: &[u8]| CommitText::of_root(root(tree), "amd64", 86400, None, None).unwrap();
        let text = of(b"tree");
        assert_eq!(text, of(b"tree"));
        assert_ne!(
            text.metadata.manifest_digest,
            of(b"other").metadata.manifest_digest
        );
        assert_eq!(
            text.metadata.manifest_digest,
            Digest::of(text.metadata.manifest.as_bytes())
        );
        assert!(text.metadata.config.contains("1970-01-02T00:00:00Z"));
    }

    #[test]
    fn architecture_is_read_off_programs() {
        let elf = "\x7fELF\x02\x01............\x3e\x00";
        for (content, expected) in [(elf, "amd64"), (&elf[..19], "unknown"), ("", "unknown")] {
            let shell = Layers::new()
                .symlink("bin", "usr/bin")
                .file("usr/bin/sh", content);
            let (tree, bodies) = shell.merge();
            assert_eq!(find_architecture(&tree, &bodies), expected);
        }
        assert_eq!(
            find_architecture(&Tree::new(), &Bodies::default()),
            "unknown"
        );
    }
}
