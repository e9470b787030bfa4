//! The objects of a commit with one file, whole and not.

use ostree::glib::prelude::*;
use ostree::glib::{Variant, VariantDict};

use oci_spec::image::ImageConfiguration;

use super::*;
use crate::metadata::Metadata;
use crate::object::{FileHeader, FileObject};
use crate::source::base_layers;
use crate::testing::Layers;

fn path(checksum: &str, kind: &str) -> String {
    let (first, rest) = checksum.split_at(2);
    format!("sysroot/ostree/repo/objects/{first}/{rest}.{kind}")
}

/// The objects of a commit with one file, `f`, in its root.
struct Commit {
    /// Names and bytes.
    metadata: Vec<(String, Vec<u8>)>,
    file: String,
    checksum: String,
}

fn commit() -> Commit {
    let id = |text: &str| hex::decode(text).unwrap();
    let mut metadata = Vec::new();
    let mut add = |kind, variant: Variant| {
        let checksum = Digest::of(variant.data()).hex();
        metadata.push((path(&checksum, kind), variant.data().to_vec()));
        checksum
    };
    let label = (b"security.selinux\0".to_vec(), b"a:b:c\0".to_vec());
    let named = (label.0[..label.0.len() - 1].into(), label.1.clone().into());
    let described = Metadata {
        mode: 0o755,
        xattrs: [named].into(),
        ..Metadata::default()
    };
    let mut hasher = FileHeader::regular(&described, None).unwrap().hasher();
    hasher.update(b"content");
    let file = hasher.finish().hex();
    add("file-xattrs", vec![label].to_variant());
    let meta = (
        0_u32,
        0_u32,
        0o40755_u32.to_be(),
        Vec::<(Vec<u8>, Vec<u8>)>::new(),
    );
    let meta = add("dirmeta", meta.to_variant());
    let directories = Vec::<(String, Vec<u8>, Vec<u8>)>::new();
    let tree = (vec![("f".to_owned(), id(&file))], directories);
    let tree = add("dirtree", tree.to_variant());
    let commit = Variant::tuple_from_iter([
        VariantDict::new(None).end(),
        Vec::<u8>::new().to_variant(),
        Vec::<(String, Vec<u8>)>::new().to_variant(),
        "".to_variant(),
        "".to_variant(),
        0_u64.to_variant(),
        id(&tree).to_variant(),
        id(&meta).to_variant(),
    ]);
    let checksum = add("commit", commit);
    Commit {
        metadata,
        file,
        checksum,
    }
}

impl Commit {
    /// The lowest layer with its file, `content`.
    fn with_file(self, content: &str) -> Layers {
        let file = path(&self.file, "file");
        let link = path(&self.file, "file-xattrs-link");
        let (xattrs, _) = self.metadata[0].clone();
        let layer = self.without_file();
        layer
            .hardlink(&link, &xattrs)
            .file(&file, content)
            .mode(0o755)
            .hardlink("f", &file)
    }

    fn without_file(self) -> Layers {
        let objects = self.metadata.into_iter();
        objects.fold(Layers::new(), |layer, (name, bytes)| {
            layer.bytes(&name, &bytes)
        })
    }
}

fn read_all(layers: Layers) -> Result<Vec<BaseLayer>> {
    let (layers, bodies) = layers.build();
    let digest = Digest::of(b"layer");
    let layers = layers.into_iter().enumerate().map(|(index, entries)| {
        let descriptor = LayerDescriptor {
            index,
            digest,
            size: 0,
            media_type: String::new(),
            diff_id: digest,
            unpacked: false,
        };
        (descriptor, entries)
    });
    read(layers.collect(), &bodies)
}

/// Are content objects what their names say?
fn checked(layer: &BaseLayer) -> Result<()> {
    let plan = Plan::new(&layer.objects, &vec![None; layer.objects.walk().count()])?;
    let checksum = |file: &FileObject| {
        let mut hasher = file.header.hasher();
        hasher.update(b"content");
        hasher.finish()
    };
    let checksums: Vec<_> = plan.files().iter().map(checksum).collect();
    layer.check(&plan, 0, &checksums)
}

#[test]
fn a_commit_and_its_file() {
    let of = commit();
    let (file, checksum) = (of.file.clone(), of.checksum.clone());
    let layers = read_all(of.with_file("content")).unwrap();
    let layer = &layers[0];
    let names: Vec<_> = layer
        .objects
        .walk()
        .map(|(path, _)| path.to_string())
        .collect();
    assert_eq!(names, ["/".to_owned(), format!("/{file}")]);
    checked(layer).unwrap();
    let base = layer.base.as_ref().unwrap();
    assert_eq!(base.commit.object.checksum.hex(), checksum);
    assert_eq!(base.directories.len(), 2);
    assert!(base.commit.detached.is_none());
}

#[test]
fn the_file_of_a_commit_may_lie_in_another_layer() {
    let of = commit();
    let (file, link) = (path(&of.file, "file"), path(&of.file, "file-xattrs-link"));
    let xattrs = of.metadata[0].clone();
    let layers = of
        .without_file()
        .layer()
        .bytes(&xattrs.0, &xattrs.1)
        .hardlink(&link, &xattrs.0)
        .file(&file, "content")
        .mode(0o755);
    let layers = read_all(layers).unwrap();
    assert_eq!(layers[0].objects.walk().count(), 1);
    checked(&layers[1]).unwrap();
    assert!(layers[1].base.is_none());
}

#[test]
fn detached_metadata_comes_along() {
    let of = commit();
    let name = path(&of.checksum, "commitmeta");
    let layers = read_all(of.with_file("content").bytes(&name, b"signed")).unwrap();
    let base = layers[0].base.as_ref().unwrap();
    assert_eq!(base.commit.detached.as_deref(), Some(&b"signed"[..]));
}

#[test]
fn what_is_no_commit_or_not_all_of_one() {
    let of = commit();
    let without = |kind: &str| {
        let mut of = commit();
        of.metadata.retain(|(name, _)| !name.ends_with(kind));
        of.without_file()
    };
    let no_xattrs = commit()
        .without_file()
        .file(&path(&of.file, "file"), "content");
    let mut changed = commit();
    // The date in the commit: nothing else notices.
    let (_, bytes) = changed.metadata.last_mut().unwrap();
    bytes[8] ^= 1;
    let empty = || Layers::new().file("usr/a", "");
    for (layers, said) in [
        (empty(), "there is no ostree repo in it"),
        (without(".commit"), "there is not one commit in it"),
        (without(".dirtree"), ".dirtree of the base is missing"),
        (without(".dirmeta"), ".dirmeta of the base is missing"),
        (commit().without_file(), "is in none of its layers"),
        (no_xattrs, ".file-xattrs-link of the base is missing"),
        (
            changed.with_file("content"),
            ".commit of the base has another checksum",
        ),
    ] {
        let error = format!("{:#}", read_all(layers).unwrap_err());
        assert!(error.contains(said), "{said:?} is not in: {error}");
    }
    let mode = commit().with_file("content").mode(0o700);
    let layers = read_all(mode.file(&path(&of.file, "file"), "content")).unwrap();
    let error = format!("{:#}", checked(&layers[0]).unwrap_err());
    assert!(
        error.contains(".file of the base has another checksum"),
        "{error}"
    );
}

#[test]
fn how_many_layers_are_of_a_base() {
    for (labels, expected) in [
        ("null", 0),
        (r#"{"ostree.final-diffid": "sha256:a"}"#, 1),
        (r#"{"ostree.final-diffid": "sha256:b"}"#, 2),
        // A builder made other layers of it.
        (r#"{"ostree.final-diffid": "sha256:d"}"#, 0),
    ] {
        let config = format!(
            r#"{{"architecture": "amd64", "os": "linux", "config": {{"Labels": {labels}}},
                 "rootfs": {{"type": "layers", "diff_ids": ["sha256:a", "sha256:b", "sha256:c"]}}}}"#
        );
        let config: ImageConfiguration = serde_json::from_str(&config).unwrap();
        assert_eq!(base_layers(&config), expected, "{labels}");
    }
}
