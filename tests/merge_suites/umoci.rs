//! `umoci raw unpack` as an oracle: it lays layers onto each other on a real file system.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use import_oci::digest::Digest;
use import_oci::metadata::{Metadata, Special};
use import_oci::path::ImagePath;
use serde_json::{Value, json};

use crate::format::{Node, NodeKind};
use crate::listing::{Listing, describe, list};

/// Why umoci cannot be asked here.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can unpack with owners");
    }
    let version = Command::new("umoci").arg("--version").output();
    match version {
        Ok(output) if output.status.success() => None,
        _ => Some("umoci is not installed"),
    }
}

/// Can umoci and the file system it unpacks to hold this?
pub fn can_hold(layers: &[Vec<Node>]) -> bool {
    layers.iter().flatten().all(|node| {
        let special = match node.kind {
            NodeKind::Special(special) => special == Special::Fifo,
            _ => true,
        };
        special && node.metadata.xattrs.is_empty()
    })
}

/// What umoci makes of an image with these layers.
pub fn unpack(layers: &[Vec<Node>]) -> Result<Listing> {
    let directory = tempfile::tempdir()?;
    let layout = directory.path().join("image");
    write_layout(&layout, layers)?;
    let root = directory.path().join("root");
    let output = Command::new("umoci")
        .args(["raw", "unpack", "--image"])
        .arg(format!("{}:latest", layout.display()))
        .arg(&root)
        .output()?;
    ensure!(
        output.status.success(),
        "umoci: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let mut names = Vec::new();
    walk(&root, &ImagePath::root(), &mut names)?;
    Ok(list(names))
}

fn walk(at: &Path, path: &ImagePath, names: &mut Vec<(ImagePath, u64, String)>) -> Result<()> {
    let status = at.symlink_metadata()?;
    let file_type = status.file_type();
    let kind = if file_type.is_dir() {
        NodeKind::Directory
    } else if file_type.is_symlink() {
        NodeKind::Symlink(at.read_link()?.as_os_str().as_bytes().to_vec())
    } else if file_type.is_fifo() {
        NodeKind::Special(Special::Fifo)
    } else {
        NodeKind::File(std::fs::read(at)?)
    };
    let metadata = Metadata {
        mode: status.mode() & 0o7777,
        uid: status.uid(),
        gid: status.gid(),
        ..Metadata::default()
    };
    names.push((path.clone(), status.ino(), describe(&kind, &metadata)));
    if kind == NodeKind::Directory {
        for child in at.read_dir()? {
            let child = child?;
            let path = path.join(child.file_name().as_bytes());
            walk(&child.path(), &path, names)?;
        }
    }
    Ok(())
}

fn write_layout(layout: &Path, layers: &[Vec<Node>]) -> Result<()> {
    std::fs::create_dir_all(layout.join("blobs/sha256"))?;
    let mut descriptors = Vec::new();
    for layer in layers {
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        descriptors.push(write_blob(layout, media_type, &write_tar(layer)?)?);
    }
    let diff_ids: Vec<_> = descriptors.iter().map(|d| &d["digest"]).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "config": write_blob(layout, config_type, config.to_string().as_bytes())?,
        "layers": descriptors,
    });
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = write_blob(layout, manifest_type, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(layout.join("index.json"), index.to_string())?;
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    std::fs::write(layout.join("oci-layout"), version.to_string())?;
    Ok(())
}

/// Writes a blob and returns its descriptor.
fn write_blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = Digest::of(bytes);
    std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes)?;
    Ok(json!({
        "mediaType": media_type,
        "digest": digest.to_string(),
        "size": bytes.len(),
    }))
}

fn write_tar(layer: &[Node]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in layer {
        let (kind, link, content): (_, &[u8], &[u8]) = match &node.kind {
            NodeKind::Directory => (tar::EntryType::Directory, b"", b""),
            NodeKind::File(content) => (tar::EntryType::Regular, b"", content),
            NodeKind::Symlink(target) => (tar::EntryType::Symlink, target, b""),
            NodeKind::Hardlink(target) => (tar::EntryType::Link, target, b""),
            NodeKind::Special(_) => (tar::EntryType::Fifo, b"", b""),
        };
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(node.metadata.mode);
        header.set_uid(node.metadata.uid.into());
        header.set_gid(node.metadata.gid.into());
        header.set_size(content.len() as u64);
        // Straight into the fields: the crate refuses names that layers do have.
        let fields = header.as_old_mut();
        for (mut field, bytes) in [
            (&mut fields.name[..], &node.path[..]),
            (&mut fields.linkname[..], link),
        ] {
            field.write_all(bytes).context("name longer than a field")?;
        }
        header.set_cksum();
        builder.append(&header, content)?;
    }
    Ok(builder.into_inner()?)
}
