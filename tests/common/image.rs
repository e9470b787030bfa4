//! OCI layouts written like a Containerfile.
//!
//! ```ignore
//! let layout = Image::new()
//!     .file("etc/hostname", "demo")
//!     .layer()
//!     .zstd()
//!     .whiteout("etc/hostname")
//!     .write(&directory);
//! ```

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image to be. What is called after [`Image::layer`] is about that layer.
pub struct Image {
    layers: Vec<Layer>,
    config: Edit,
    manifest: Edit,
    index: Edit,
}

type Edit = Option<fn(&mut Value)>;

struct Layer {
    tar: tar::Builder<Vec<u8>>,
    compress: fn(&[u8]) -> Vec<u8>,
    media_type: &'static str,
    blob: Option<fn(&mut Vec<u8>)>,
}

impl Layer {
    fn new() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            compress: gzip,
            media_type: "+gzip",
            blob: None,
        }
    }
}

impl Image {
    /// An image with one layer, compressed with gzip and empty.
    pub fn new() -> Self {
        Self {
            layers: vec![Layer::new()],
            config: None,
            manifest: None,
            index: None,
        }
    }

    /// An image without a layer.
    pub fn without_layers() -> Self {
        Self {
            layers: Vec::new(),
            ..Self::new()
        }
    }

    /// Begins the next layer.
    pub fn layer(mut self) -> Self {
        self.layers.push(Layer::new());
        self
    }

    /// Compresses the layer with zstd.
    pub fn zstd(mut self) -> Self {
        let layer = self.last();
        layer.compress = |tar| zstd::encode_all(tar, 1).expect("in memory");
        layer.media_type = "+zstd";
        self
    }

    /// Leaves the layer uncompressed.
    pub fn plain(mut self) -> Self {
        let layer = self.last();
        layer.compress = |tar| tar.to_vec();
        layer.media_type = "";
        self
    }

    /// Gives the layer a media type: a suffix of that of an uncompressed one, or a whole other.
    pub fn media_type(mut self, media_type: &'static str) -> Self {
        self.last().media_type = media_type;
        self
    }

    /// Changes the compressed blob of the layer before its digest is taken.
    pub fn blob(mut self, change: fn(&mut Vec<u8>)) -> Self {
        self.last().blob = Some(change);
        self
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, mode, "", b"")
    }

    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, EntryType::Regular, 0o644, "", content.as_ref())
    }

    pub fn symlink(self, path: &str, target: impl AsRef<[u8]>) -> Self {
        self.entry(path, EntryType::Symlink, 0o777, target, b"")
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, 0o644, target, b"")
    }

    /// Removes `path` of the layers below.
    pub fn whiteout(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.file(&format!("{parent}/.wh.{name}"), "")
    }

    /// Any entry: name and target are written as they are, up to 100 bytes each.
    pub fn entry(
        mut self,
        path: impl AsRef<[u8]>,
        kind: EntryType,
        mode: u32,
        target: impl AsRef<[u8]>,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        let (path, target) = (path.as_ref(), target.as_ref());
        old.name[..path.len()].copy_from_slice(path);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let tar = &mut self.last().tar;
        tar.append(&header, content).expect("in memory");
        self
    }

    /// A PAX record for the next entry.
    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        let tar = &mut self.last().tar;
        tar.append_pax_extensions([(key, value)])
            .expect("in memory");
        self
    }

    /// Changes the configuration before its digest is taken.
    pub fn config(mut self, edit: fn(&mut Value)) -> Self {
        self.config = Some(edit);
        self
    }

    /// Changes the manifest before its digest is taken.
    pub fn manifest(mut self, edit: fn(&mut Value)) -> Self {
        self.manifest = Some(edit);
        self
    }

    /// Changes `index.json`.
    pub fn index(mut self, edit: fn(&mut Value)) -> Self {
        self.index = Some(edit);
        self
    }

    /// Writes an OCI layout, for the machine's own platform and with the tag `v1`, to `directory`.
    pub fn write(self, directory: &Path) -> Layout {
        fs::create_dir_all(directory.join("blobs/sha256")).expect("a fresh directory");
        let mut layout = Layout {
            directory: directory.to_owned(),
            manifest: String::new(),
            config: String::new(),
            layers: Vec::new(),
        };
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for layer in self.layers {
            let tar = layer.tar.into_inner().expect("in memory");
            let mut blob = (layer.compress)(&tar);
            if let Some(change) = layer.blob {
                change(&mut blob);
            }
            let media_type = match layer.media_type {
                whole if whole.contains('/') => whole.to_owned(),
                suffix => format!("{TAR}{suffix}"),
            };
            let descriptor = layout.add(&media_type, &blob);
            layout.layers.push(digest_of(&descriptor));
            layers.push(descriptor);
            diff_ids.push(sha256(&tar));
        }
        let platform = import_oci::source::Platform::host();
        let mut config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "created": "2024-01-02T03:04:05Z",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        self.config.inspect(|edit| edit(&mut config));
        let config = layout.add(CONFIG, config.to_string().as_bytes());
        layout.config = digest_of(&config);

        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers,
        });
        self.manifest.inspect(|edit| edit(&mut manifest));
        let mut manifest = layout.add(MANIFEST, manifest.to_string().as_bytes());
        layout.manifest = digest_of(&manifest);

        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
        let mut index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
        self.index.inspect(|edit| edit(&mut index));
        layout.write("index.json", index.to_string().as_bytes());
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        layout
    }

    fn last(&mut self) -> &mut Layer {
        self.layers.last_mut().expect("a layer")
    }
}

/// A layout on disk: where it lies, and the digests (`sha256:…`) of what it holds.
#[derive(Clone)]
pub struct Layout {
    pub directory: PathBuf,
    pub manifest: String,
    pub config: String,
    pub layers: Vec<String>,
}

impl Layout {
    /// `oci:DIR`
    pub fn reference(&self) -> String {
        format!("oci:{}", self.directory.display())
    }

    /// The file of the blob with this digest.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a sha256");
        self.directory.join("blobs/sha256").join(hex)
    }

    /// Changes the bytes of a blob on disk.
    pub fn change(&self, digest: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.blob(digest);
        let mut bytes = fs::read(&path).expect("it is there");
        change(&mut bytes);
        fs::write(&path, bytes).expect("it can be written");
    }

    /// Writes a file of the layout.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.join(name), bytes).expect("it can be written");
    }

    /// Packs the layout into a tar archive at `path` and returns `oci-archive:FILE`.
    pub fn archive(&self, path: &Path) -> String {
        let file = fs::File::create(path).expect("it can be written");
        let mut tar = tar::Builder::new(file);
        tar.append_dir_all("", &self.directory)
            .and_then(|()| tar.finish())
            .expect("it can be written");
        format!("oci-archive:{}", path.display())
    }

    /// Adds a blob and describes it.
    fn add(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        fs::write(self.blob(&digest), bytes).expect("it can be written");
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }
}

fn digest_of(descriptor: &Value) -> String {
    descriptor["digest"].as_str().expect("a digest").to_owned()
}

/// `sha256:…` of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn gzip(tar: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(tar)
        .and_then(|()| encoder.finish())
        .expect("in memory")
}
