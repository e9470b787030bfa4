//! Images as they should be: what is read is what other tools read.

use std::fs;
use std::path::Path;
use std::process::Command;

use import_oci::digest::{Digest, HashingReader};
use import_oci::source::{self, FetchOptions, Platform, ResolvedImage};
use serde_json::{Value, json};

use crate::{Fixture, assert_contains, error_of, open, resolve, run, shell};

fn skopeo_manifest(reference: &str) -> Vec<u8> {
    run(Command::new("skopeo").args(["inspect", "--raw", reference]))
}

/// Resolves the image and checks that every layer's bytes are what its descriptor says.
fn resolve_and_read(reference: &str) -> ResolvedImage {
    let source = open(reference).unwrap();
    let image = source.resolve(&Platform::host()).unwrap();
    for layer in &image.layers {
        let mut reader = HashingReader::new(source.open_layer(layer).unwrap());
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        let (digest, size) = reader.finish();
        assert_eq!((digest, size), (layer.digest, layer.size), "{source}");
    }
    image
}

#[test]
fn layout() {
    let fixture = Fixture::new();
    let tagged = fixture.reference("oci", "layout:v1");
    let image = resolve_and_read(&tagged);
    assert_eq!(image.manifest_bytes, skopeo_manifest(&tagged));
    assert_eq!(image.manifest_digest, Digest::of(&image.manifest_bytes));
    assert_eq!(image.config_digest, Digest::of(&image.config_bytes));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(open(&tagged).unwrap().to_string(), tagged);
    for reference in [
        fixture.reference("oci", "layout"),
        fixture.reference("oci", "layout:@0"),
        fixture.reference("ostree-unverified-image:oci", "layout:v1"),
        fixture.path().join("layout").display().to_string(),
        fixture.path().join("layout:v1").display().to_string(),
    ] {
        let again = resolve_and_read(&reference);
        assert_eq!(again.manifest_bytes, image.manifest_bytes, "{reference}");
    }
}

#[test]
fn oci_archives() {
    let fixture = Fixture::new();
    let want = resolve(&fixture.reference("oci", "layout:v1")).unwrap();
    fixture.copy_to("oci-archive", "skopeo.tar:v1");
    fixture.shell(
        "tar -cf tar.tar -C layout .
         tar -cf reverse.tar -C layout oci-layout index.json blobs
         tar --format=posix -cf pax.tar -C layout ./blobs ./index.json ./oci-layout
         gzip -k tar.tar
         zstd -q tar.tar",
    );
    for name in [
        "skopeo.tar:v1",
        "skopeo.tar",
        "tar.tar",
        "reverse.tar:v1",
        "pax.tar",
        "tar.tar.gz",
        "tar.tar.zst",
    ] {
        let reference = fixture.reference("oci-archive", name);
        let image = resolve_and_read(&reference);
        assert_eq!(image.manifest_bytes, want.manifest_bytes, "{name}");
        let bare = fixture.path().join(name).display().to_string();
        let (recognised, _) = source::open(&bare, &FetchOptions::default()).unwrap();
        assert_eq!(recognised.to_string(), reference);
    }
}

#[test]
fn archive_through_a_pipe() {
    let fixture = Fixture::new();
    fixture.shell("mkfifo pipe");
    std::thread::scope(|scope| {
        scope.spawn(|| fixture.shell("tar -cf pipe -C layout ."));
        let image = resolve_and_read(&fixture.reference("oci-archive", "pipe"));
        assert_eq!(image.layers.len(), 2);
    });
}

/// Unpacks `plain.tar`, which skopeo wrote, and packs it again in three other ways.
fn repack_docker_archive(directory: &Path, image: &ResolvedImage) {
    shell(
        directory,
        "mkdir plain; tar -xf plain.tar -C plain; chmod -R u+w plain; rm -r plain/*/
         cp -r plain gzip; cd gzip
         for layer in *.tar; do gzip $layer; mv $layer.gz $layer; done
         tar -cf ../gzip.tar *; cd ..",
    );
    let saved: Value =
        serde_json::from_slice(&fs::read(directory.join("plain/manifest.json")).unwrap()).unwrap();

    // Two images, the second with links to the layers of the first.
    let mut first = saved[0].clone();
    first["RepoTags"] = Value::Null;
    let mut second = saved[0].clone();
    second["RepoTags"] = json!(["two", "docker.io/x/two:2"]);
    let links = directory.join("two/links");
    fs::create_dir_all(&links).unwrap();
    for (index, layer) in saved[0]["Layers"].as_array().unwrap().iter().enumerate() {
        let name = format!("{index}.tar");
        let target = format!("../{}", layer.as_str().unwrap());
        std::os::unix::fs::symlink(target, links.join(&name)).unwrap();
        second["Layers"][index] = json!(format!("links/{name}"));
    }
    let manifest = json!([first, second]).to_string();
    fs::write(directory.join("two/manifest.json"), manifest).unwrap();
    shell(
        directory,
        "cp plain/[0-9a-f]* two; cd two; tar -cf ../two.tar *",
    );

    // As Docker 25 and later write it: a layout with a manifest.json.
    let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let layers: Vec<_> = image.layers.iter().map(|l| blob(&l.digest)).collect();
    let config = blob(&image.config_digest);
    let manifest = json!([{"Config": config, "RepoTags": ["a:1"], "Layers": layers}]).to_string();
    fs::write(directory.join("layout/manifest.json"), manifest).unwrap();
    shell(directory, "tar -cf docker25.tar -C layout .");
}

#[test]
fn docker_archives_have_the_manifest_of_skopeo() {
    let fixture = Fixture::new();
    let image = resolve(&fixture.reference("oci", "layout:v1")).unwrap();
    fixture.copy_to("docker-archive", "plain.tar:foo/bar:1");
    repack_docker_archive(fixture.path(), &image);

    let plain = skopeo_manifest(&fixture.reference("docker-archive", "plain.tar"));
    for name in [
        "plain.tar",
        "plain.tar:foo/bar:1",
        "gzip.tar",
        "two.tar:@0",
        "docker25.tar",
    ] {
        let reference = fixture.reference("docker-archive", name);
        let got = resolve_and_read(&reference);
        assert_eq!(got.manifest_bytes, skopeo_manifest(&reference), "{name}");
        assert_eq!(got.manifest_bytes, plain, "{name}");
        assert_eq!(got.config_bytes, image.config_bytes, "{name}");
        for (layer, oci) in got.layers.iter().zip(&image.layers) {
            assert_eq!((layer.digest, layer.diff_id), (oci.diff_id, oci.diff_id));
        }
    }
    // skopeo takes the size of the link, 0, for the layer's; so these are compared with ours.
    for name in ["two.tar:@1", "two.tar:two", "two.tar:x/two:2"] {
        let got = resolve_and_read(&fixture.reference("docker-archive", name));
        assert_eq!(got.manifest_bytes, plain, "{name}");
    }
    // Where both are in one archive, the layout has the real manifest.
    let bare = fixture.path().join("docker25.tar").display().to_string();
    assert_eq!(resolve(&bare).unwrap().manifest_bytes, image.manifest_bytes);

    for (name, parts) in [
        (
            "plain.tar:foo/bar:2",
            ["no image is named docker.io/foo/bar:2", "foo/bar:1"],
        ),
        (
            "plain.tar:@1",
            ["manifest.json: there is no @1", "1 images"],
        ),
        (
            "two.tar",
            ["it has several images", "@0, two, docker.io/x/two:2"],
        ),
    ] {
        let error = error_of(resolve(&fixture.reference("docker-archive", name)));
        assert_contains(&error, &parts);
    }
}

#[test]
fn several_images_in_a_layout() {
    let fixture = Fixture::new();
    fixture.shell(
        "umoci tag --image layout:v1 v2
         umoci config --image layout:v2 --config.user nobody",
    );
    let error = error_of(resolve(&fixture.reference("oci", "layout")));
    assert_contains(
        &error,
        &["several images", "layout:TAG", "the tags are v1, v2"],
    );
    let error = error_of(resolve(&fixture.reference("oci", "layout:@2")));
    assert_contains(&error, &["there is no @2: it has 2 entries"]);
    for tag in ["v1", "v2"] {
        let reference = fixture.reference("oci", &format!("layout:{tag}"));
        let image = resolve(&reference).unwrap();
        assert_eq!(image.manifest_bytes, skopeo_manifest(&reference));
    }
}

/// The entries of a layout by umoci: `v1` for the host and `foreign` for s390x.
struct TwoPlatforms {
    fixture: Fixture,
    host: Value,
    foreign: Value,
}

impl TwoPlatforms {
    fn new() -> Self {
        let fixture = Fixture::new();
        fixture.shell(
            "umoci tag --image layout:v1 foreign
             umoci config --image layout:foreign --architecture s390x",
        );
        let index = fs::read(fixture.path().join("layout/index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        let tagged = |tag: &str| {
            let entries = index["manifests"].as_array().unwrap().iter();
            let mut entries = entries
                .filter(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == tag);
            entries.next().unwrap().clone()
        };
        Self {
            host: tagged("v1"),
            foreign: tagged("foreign"),
            fixture,
        }
    }

    fn set_index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        self.fixture.write("layout/index.json", &index.to_string());
    }

    /// Writes an index of `manifests` as a blob and describes it.
    fn add_index(&self, manifests: &[Value]) -> Value {
        let bytes = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let digest = Digest::of(bytes.as_bytes());
        fs::write(self.fixture.blob(&digest), &bytes).unwrap();
        json!({
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest, "size": bytes.len(),
        })
    }

    fn resolve(&self, platform: &Platform) -> anyhow::Result<ResolvedImage> {
        open(&self.fixture.reference("oci", "layout"))?.resolve(platform)
    }
}

#[test]
fn platforms_of_an_index() {
    let layout = TwoPlatforms::new();
    let host = Platform::host();
    let on = |architecture: &str| Platform {
        architecture: architecture.to_owned(),
        ..host.clone()
    };
    let entry = |entry: &Value, os: &str, architecture: &str| {
        json!({
            "mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
            "platform": {"os": os, "architecture": architecture},
        })
    };
    let mut manifests = vec![
        entry(&layout.host, "unknown", "unknown"),
        entry(&layout.foreign, "linux", "s390x"),
        entry(&layout.host, &host.os, &host.architecture),
    ];
    for depth in 0..5 {
        layout.set_index(&manifests);
        if depth < 4 {
            for (platform, want) in [(&host, &layout.host), (&on("s390x"), &layout.foreign)] {
                let image = layout.resolve(platform).unwrap();
                assert_eq!(json!(image.manifest_digest), want["digest"], "{depth}");
            }
            let error = error_of(layout.resolve(&on("riscv64")));
            assert_contains(
                &error,
                &["no image for linux/riscv64", "linux/s390x", "--arch"],
            );
        } else {
            let error = error_of(layout.resolve(&host));
            assert_contains(&error, &["more than 3 indexes"]);
        }
        manifests = vec![layout.add_index(&manifests)];
    }
}

#[test]
fn an_image_for_another_platform() {
    let layout = TwoPlatforms::new();
    layout.set_index(std::slice::from_ref(&layout.foreign));
    let host = Platform::host();
    let error = error_of(layout.resolve(&host));
    assert_contains(&error, &["the image is for linux/s390x", "--arch s390x"]);
    let s390x = Platform {
        architecture: "s390x".to_owned(),
        ..host
    };
    let image = layout.resolve(&s390x).unwrap();
    assert_eq!(json!(image.manifest_digest), layout.foreign["digest"]);
}
