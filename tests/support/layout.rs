//! OCI layouts written byte for byte: the same calls give the same image on every machine.
#![allow(dead_code, reason = "no test target uses all of it")]

use std::fs;
use std::path::Path;

use import_oci::digest::Digest;
use tar::{Builder, EntryType, Header};

/// The date of everything in an image, and of the image where it has one.
pub const EPOCH: u64 = 1_700_000_000;
/// [`EPOCH`] as images write it.
pub const CREATED: &str = "2023-11-14T22:13:20Z";

const MEDIA_TYPE: &str = "application/vnd.oci.image";

/// An image of uncompressed layers for amd64.
#[derive(Debug, Default)]
pub struct Image {
    layers: Vec<Vec<u8>>,
    created: Option<String>,
    annotation: Option<String>,
    version: Option<String>,
    history: bool,
}

impl Image {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer on top.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers
            .push(layer.0.into_inner().expect("memory can be written"));
        self
    }

    /// The configuration's `created`.
    pub fn created(mut self, date: &str) -> Self {
        self.created = Some(date.to_owned());
        self
    }

    /// The manifest's annotation `org.opencontainers.image.created`.
    pub fn created_annotation(mut self, date: &str) -> Self {
        self.annotation = Some(date.to_owned());
        self
    }

    /// The label `org.opencontainers.image.version`.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// An empty `history`, without which ostree-ext 0.15 reads no image.
    pub fn history(mut self) -> Self {
        self.history = true;
        self
    }

    /// Writes the layout to `directory`, which is made; the image as a source.
    pub fn write(&self, directory: &Path) -> String {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |content: &[u8]| {
            let digest = Digest::of(content);
            fs::write(blobs.join(digest.hex()), content).unwrap();
            format!(r#""digest":"{digest}","size":{}"#, content.len())
        };
        let join = |parts: Vec<String>| parts.join(",");

        let diff_ids = self
            .layers
            .iter()
            .map(|l| format!(r#""{}""#, Digest::of(l)));
        let created = self
            .created
            .as_ref()
            .map_or_else(String::new, |date| format!(r#""created":"{date}","#));
        let labels = self.version.as_ref().map_or_else(String::new, |version| {
            format!(r#""Labels":{{"org.opencontainers.image.version":"{version}"}}"#)
        });
        let history = if self.history { r#""history":[],"# } else { "" };
        let config = format!(
            r#"{{{created}{history}"architecture":"amd64","os":"linux","config":{{{labels}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            join(diff_ids.collect())
        );

        let layers = self.layers.iter().map(|layer| {
            format!(
                r#"{{"mediaType":"{MEDIA_TYPE}.layer.v1.tar",{}}}"#,
                blob(layer)
            )
        });
        let annotations = self.annotation.as_ref().map_or_else(String::new, |date| {
            format!(r#","annotations":{{"org.opencontainers.image.created":"{date}"}}"#)
        });
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MEDIA_TYPE}.manifest.v1+json","config":{{"mediaType":"{MEDIA_TYPE}.config.v1+json",{}}},"layers":[{}]{annotations}}}"#,
            blob(config.as_bytes()),
            join(layers.collect())
        );
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MEDIA_TYPE}.manifest.v1+json",{},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#,
            blob(manifest.as_bytes())
        );
        fs::write(directory.join("index.json"), index).unwrap();
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        fs::write(directory.join("oci-layout"), version).unwrap();
        format!("oci:{}:v1", directory.display())
    }
}

/// A tar archive, an entry a call. Modes are written in full, owners are root unless said.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.owned_directory(path, mode, (0, 0))
    }

    pub fn owned_directory(mut self, path: &str, mode: u32, owner: (u64, u64)) -> Self {
        let mut header = header(EntryType::Directory, mode, owner);
        self.0.append_data(&mut header, path, &[][..]).unwrap();
        self
    }

    pub fn file(self, path: &str, mode: u32, content: &str) -> Self {
        self.owned_file(path, mode, (0, 0), content)
    }

    pub fn owned_file(self, path: &str, mode: u32, owner: (u64, u64), content: &str) -> Self {
        self.bytes(path, mode, owner, content.as_bytes())
    }

    pub fn bytes(mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) -> Self {
        let mut header = header(EntryType::Regular, mode, owner);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, path, target)
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Link, path, target)
    }

    pub fn fifo(mut self, path: &str) -> Self {
        let mut header = header(EntryType::Fifo, 0o600, (0, 0));
        self.0.append_data(&mut header, path, &[][..]).unwrap();
        self
    }

    pub fn character_device(mut self, path: &str, major: u32, minor: u32) -> Self {
        let mut header = header(EntryType::Char, 0o666, (0, 0));
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.0.append_data(&mut header, path, &[][..]).unwrap();
        self
    }

    /// An entry of a type that nobody knows.
    pub fn unknown(mut self, path: &str, flag: u8) -> Self {
        let mut header = header(EntryType::new(flag), 0o644, (0, 0));
        self.0.append_data(&mut header, path, &[][..]).unwrap();
        self
    }

    /// Extended attributes of the entry that follows.
    pub fn xattrs(mut self, xattrs: &[(&str, &[u8])]) -> Self {
        let records: Vec<_> = xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), *value))
            .collect();
        let records = records.iter().map(|(key, value)| (&**key, *value));
        self.0.append_pax_extensions(records).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = header(kind, 0o777, (0, 0));
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }
}

fn header(kind: EntryType, mode: u32, owner: (u64, u64)) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(EPOCH);
    header.set_size(0);
    header
}

/// A capability as the kernel keeps it: `cap_dac_override,cap_fowner+ep`, the newline byte in it
/// being what a careless reader of PAX records stumbles over.
pub const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A policy with lines of every kind.
pub const FILE_CONTEXTS: &str = "\
/.*\tsystem_u:object_r:default_t:s0
/\t-d\tsystem_u:object_r:root_t:s0
/etc(/.*)?\tsystem_u:object_r:etc_t:s0
/etc/shadow\t--\tsystem_u:object_r:shadow_t:s0
/etc/cache\t--\t<<none>>
/usr/bin/.*\t--\tsystem_u:object_r:bin_t:s0
/usr/lib/.*\t--\tsystem_u:object_r:lib_t:s0
/mnt\t-d\tsystem_u:object_r:mnt_t:s0
/proc\t-d\t<<none>>
";

/// One of nearly everything that can lie in an image, small. It has a policy, a kernel, a version
/// and a date.
pub fn specimen() -> Image {
    let lower = Layer::new()
        .directory("./", 0o755)
        .directory("dev", 0o755)
        .character_device("dev/null", 1, 3)
        .directory("dev/shm", 0o1777)
        .directory("etc", 0o755)
        .owned_file("etc/shadow", 0o640, (0, 42), "root:*:19000:0:99999:7:::\n")
        .file("etc/cache", 0o644, "made at boot")
        .directory("etc/private", 0o700)
        .file(
            "etc/selinux/config",
            0o644,
            "SELINUX=enforcing\nSELINUXTYPE=tiny\n",
        )
        .file(
            "etc/selinux/tiny/contexts/files/file_contexts",
            0o644,
            FILE_CONTEXTS,
        )
        .file(
            "etc/selinux/tiny/contexts/files/file_contexts.subs_dist",
            0o644,
            "/lib /usr/lib\n",
        )
        .directory("proc", 0o555)
        .directory("tmp", 0o1777)
        .file("tmp/left", 0o600, "by a build")
        .directory("usr/bin", 0o755)
        .file("usr/bin/sh", 0o755, "#!")
        .owned_file("usr/bin/setuid", 0o6755, (5, 60), "s")
        .xattrs(&[("security.capability", &CAPABILITY[..])])
        .file("usr/bin/ping", 0o755, "p")
        .hardlink("usr/bin/ping4", "usr/bin/ping")
        .symlink("bin", "usr/bin")
        .file("usr/lib/modules/6.1.0/vmlinuz", 0o600, "kernel")
        .directory("usr/lib/old", 0o755)
        .file("usr/lib/old/gone", 0o644, "")
        .file("usr/lib/kept", 0o644, "kept")
        .symlink("usr/lib/alias", "kept")
        .owned_directory("var/games", 0o2775, (0, 60))
        .fifo("var/games/queue");
    let upper = Layer::new()
        .directory("etc/private", 0o750)
        .file("usr/lib/old/.wh..wh..opq", 0o644, "")
        .file("usr/lib/old/new", 0o644, "new")
        .file(".wh.bin", 0o644, "")
        .hardlink("usr/lib/linked", "usr/lib/kept")
        .xattrs(&[("user.binary", b"\n=\0\n"), ("user.overlay.origin", b"x")])
        .file("usr/lib/annotated", 0o644, "")
        .file(&format!("usr/lib/{}file", "long/".repeat(60)), 0o644, "")
        .file("usr/lib/日本語", 0o0, "unreadable");
    Image::new()
        .created(CREATED)
        .version("1.2")
        .layer(lower)
        .layer(upper)
}
