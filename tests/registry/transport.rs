//! What is fetched is what was pushed.

use std::fs;
use std::io::Read as _;

use import_oci::source::{self, FetchOptions, ImageSource, Platform, Source};
use serde_json::json;

use crate::common::image::{Image, sha256};
use crate::common::run;
use crate::server::{INSECURE, Place, Registry};
use crate::{apart_from_cost, assert_contains, imported, layout, refused};

/// Opens an image in a registry without TLS with the library.
fn open(image: &str, place: &Place) -> Box<dyn ImageSource> {
    let options = FetchOptions {
        skip_tls_verification: true,
        anonymous: true,
        signature_policy: Some(place.at(".config/containers/policy.json")),
        ..FetchOptions::default()
    };
    match source::open(image, &options).unwrap().1 {
        Source::Image(image) => image,
        Source::Root(root) => panic!("{root} is not an image"),
    }
}

#[test]
fn the_same_commit_as_from_the_layout() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    let layout = layout(&place);
    let image = registry.image("os/base:v1");
    place.push(&layout, &image, &[]);
    let directory = format!("dir:{}", place.at("dir").display());
    place.copy(&image, &directory, &[]);
    let expected = imported(&place, &layout.reference(), &[]);
    assert_eq!(expected["manifest_digest"], layout.manifest);
    let name = image.strip_prefix("docker://").unwrap();
    let by_digest = registry.image(&format!("os/base@{}", layout.manifest));
    for (source, printed) in [
        (&image, &image),
        (&format!("registry:{name}"), &image),
        (&format!("ostree-unverified-registry:{name}"), &image),
        (&format!("ostree-unverified-image:{image}"), &image),
        (&by_digest, &by_digest),
        (&directory, &directory),
    ] {
        let got = imported(&place, source, &[INSECURE]);
        assert_eq!(got["source"], **printed);
        for what in ["commit", "manifest_digest", "config_digest", "layers"] {
            // By another spelling of the same name it is there already.
            if what == "layers" && got["unchanged"] == true {
                continue;
            }
            let [got, expected] = [&got[what], &expected[what]].map(apart_from_cost);
            assert_eq!(got, expected, "{source}: {what}");
        }
    }

    let mut check = crate::common::import_oci();
    check.args(["check", "--no-kernel", "--initramfs=keep", INSECURE, &image]);
    assert_contains(&run(&mut place.here(check)), "would boot");
}

/// skopeo converts them; the digest is still the one under which the registry has them.
#[test]
fn manifests_of_docker() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    // Docker knows no zstd.
    let layout = Image::new()
        .file("usr/one", "1")
        .layer()
        .file("usr/two", "2")
        .write(&place.at("layout"));
    let image = registry.image("docker:latest");
    let from = format!("{}:v1", layout.reference());
    place.copy(&from, &image, &["--format", "v2s2"]);
    let raw = place.run(&["skopeo", "inspect", "--raw", "--tls-verify=false", &image]);
    assert_contains(&raw, "vnd.docker.distribution.manifest.v2");

    let expected = imported(&place, &layout.reference(), &[]);
    let got = imported(&place, &image, &[INSECURE]);
    assert_eq!(got["manifest_digest"], sha256(raw.as_bytes()));
    assert_eq!(got["tree"], expected["tree"]);
    let [got, expected] = [&got["layers"], &expected["layers"]].map(apart_from_cost);
    assert_eq!(got, expected);
}

#[test]
fn one_image_of_an_index() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    let both = [("amd64", "one"), ("arm64", "two")].map(|(architecture, name)| {
        let image = Image::new().file(&format!("usr/{name}"), name);
        let image = match architecture {
            "amd64" => image.config(|config| config["architecture"] = json!("amd64")),
            _ => image.config(|config| config["architecture"] = json!("arm64")),
        };
        let layout = image.write(&place.at(architecture));
        let size = fs::metadata(layout.blob(&layout.manifest)).unwrap().len();
        let entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": layout.manifest,
            "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        });
        (layout, entry)
    });
    let [(first, amd64), (second, arm64)] = &both;
    for file in fs::read_dir(second.directory.join("blobs/sha256")).unwrap() {
        let file = file.unwrap();
        let to = first.directory.join("blobs/sha256").join(file.file_name());
        fs::copy(file.path(), to).unwrap();
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [amd64, arm64]});
    let index = index.to_string();
    let digest = sha256(index.as_bytes());
    fs::write(first.blob(&digest), &index).unwrap();
    let entry = json!({
        "mediaType": media_type, "digest": digest, "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "v1"},
    });
    let top = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    first.write("index.json", top.as_bytes());
    let image = registry.image("several:v1");
    place.push(first, &image, &["--all"]);

    for (layout, entry) in &both {
        let architecture = entry["platform"]["architecture"].as_str().unwrap();
        let got = imported(&place, &image, &[INSECURE, "--arch", architecture]);
        assert_eq!(got["manifest_digest"], layout.manifest, "{architecture}");
    }
    let error = imported_nothing_for_s390x(&image);
    assert_contains(&error, "s390x");
    let alone = registry.image(&format!("several@{}", second.manifest));
    let place = Place::new();
    let error = refused(&place, &alone, &[INSECURE, "--arch", "amd64"]);
    assert_contains(&error, "--arch");
}

fn imported_nothing_for_s390x(image: &str) -> String {
    refused(&Place::new(), image, &[INSECURE, "--arch", "s390x"])
}

#[test]
fn blobs_are_fetched_when_asked_for() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    let layout = layout(&place);
    let image = registry.image("lazy");
    place.push(&layout, &image, &[]);
    fs::remove_file(registry.blob(&layout.layers[1])).unwrap();

    let source = open(&image, &place);
    let resolved = source.resolve(&Platform::host()).unwrap();
    let manifest = fs::read(layout.blob(&layout.manifest)).unwrap();
    assert!(resolved.manifest_bytes == manifest);
    let config = fs::read(layout.blob(&layout.config)).unwrap();
    assert!(resolved.config_bytes == config);
    let [first, second, third] = &resolved.layers[..] else {
        panic!("three layers");
    };
    // Many at once, one of them given up early.
    let mut left = source.open_layer(first).unwrap();
    left.read_exact(&mut [0; 10]).unwrap();
    drop(left);
    let mut open: Vec<_> = [first, third, first, third]
        .map(|layer| (layer, source.open_layer(layer).unwrap()))
        .into();
    for (layer, blob) in open.iter_mut().rev() {
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes).unwrap();
        assert_eq!(sha256(&bytes), layer.digest.to_string());
        assert_eq!(blob.read(&mut [0; 1]).unwrap(), 0);
    }
    let Err(error) = source.open_layer(second) else {
        panic!("the blob is gone");
    };
    assert_contains(&format!("{error:#}"), "skopeo: ");
}

#[test]
fn certificates() {
    let place = Place::new();
    place.run(&[
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=registry",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]);
    let (certificate, key) = (place.at("cert.pem"), place.at("key.pem"));
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}",
        certificate.display(),
        key.display()
    );
    let Some(registry) = Registry::start_with(&place, &tls, "") else {
        return;
    };
    let layout = layout(&place);
    let image = registry.image("tls");
    place.push(&layout, &image, &[]);
    assert_contains(&refused(&place, &image, &[]), "certificate");
    fs::create_dir(place.at("certs")).unwrap();
    fs::copy(&certificate, place.at("certs/ca.crt")).unwrap();
    let got = imported(&place, &image, &["--cert-dir", "certs"]);
    assert_eq!(got["manifest_digest"], layout.manifest);
    imported(&place, &image, &[INSECURE]);
}

#[test]
fn credentials() {
    // user:password
    const USERS: &str = "user:$2y$05$tl9DlZAn3.JU/QGLSUYfFuFMhwA5WwV042cJ3LL3ciC6/Cwd4KaKu\n";
    let place = Place::new();
    let users = place.write("htpasswd", USERS);
    let auth = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}",
        users.display()
    );
    let Some(registry) = Registry::start_with(&place, "", &auth) else {
        return;
    };
    let layout = layout(&place);
    let image = registry.image("private");
    let options = ["--dest-creds", "user:password"];
    place.push(&layout, &image, &options);
    let file = |name: &str, password: &str| {
        use base64::Engine as _;
        let secret = base64::prelude::BASE64_STANDARD.encode(format!("user:{password}"));
        let auths = json!({"auths": {registry.address.as_str(): {"auth": secret}}});
        place.write(name, &auths.to_string());
    };
    file("good.json", "password");
    file("bad.json", "guess");
    for options in [
        &[][..],
        &["--auth-anonymous"],
        &["--authfile", "bad.json"],
        &["--authfile", "missing.json"],
    ] {
        let error = refused(&place, &image, &[&[INSECURE], options].concat());
        assert_contains(&error, &format!("importing {image}: skopeo: "));
    }
    let mut command = place.import(&image, &[INSECURE, "--auth-anonymous"]);
    command.env("REGISTRY_AUTH_FILE", "good.json");
    crate::refused_by(&mut command, &place.at("repo"));

    imported(&place, &image, &[INSECURE, "--authfile", "good.json"]);
    let mut command = place.import(&image, &[INSECURE]);
    run(command.env("REGISTRY_AUTH_FILE", "good.json"));
    // Where podman login puts it.
    file(".docker/config.json", "password");
    imported(&place, &image, &[INSECURE]);
}

#[test]
fn without_skopeo() {
    let place = Place::new();
    let mut command = place.import("docker://localhost/x", &[]);
    let error = crate::refused_by(command.env("PATH", "/"), &place.at("repo"));
    assert_contains(&error, "install the package skopeo");
}
