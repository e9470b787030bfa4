//! Images as they should not be: one line that names image, place and cause.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};

use import_oci::source::Platform;

use crate::{Fixture, assert_contains, error_of, open, resolve};

#[test]
fn layouts() {
    let fixture = Fixture::new();
    let image = resolve(&fixture.reference("oci", "layout:v1")).unwrap();
    fixture.write("secret", "secret");
    fixture.shell("chmod -R u+w layout");
    for (damage, parts) in [
        ("rm oci-layout", &["oci-layout", "No such file"][..]),
        (
            r#"echo '{"imageLayoutVersion":"2.0.0"}' >oci-layout"#,
            &["imageLayoutVersion 2.0.0 is not supported"],
        ),
        ("rm index.json", &["index.json", "No such file"]),
        (
            "ln -sf ../secret index.json",
            &["index.json", "a symbolic link"],
        ),
        (
            r#"echo '{"schemaVersion":2,' >index.json"#,
            &["index.json: malformed JSON: EOF while parsing"],
        ),
        (
            r#"echo '{"schemaVersion":2,"manifests":[]}' >index.json"#,
            &["index.json: no image is tagged v1", "none has a tag"],
        ),
        (
            r#"sed -i 's/"v1"/"v2"/' index.json"#,
            &["index.json: no image is tagged v1; the tags are v2"],
        ),
        (
            r#"sed -i 's/sha256:\([0-9a-f]*\)/sha512:\1\1/' index.json"#,
            &["digest sha512:", "only sha256 is supported"],
        ),
        (
            r#"sed -i 's,"sha256:[^"]*,"sha256:../../../secret,' index.json"#,
            &["index.json: malformed JSON: Invalid encoded value"],
        ),
        (
            "head -c 5000000 /dev/zero >index.json",
            &["index.json: longer than 4194304 bytes"],
        ),
        ("rm MANIFEST", &["manifest sha256:", "No such file"]),
        ("echo >>MANIFEST", &["manifest sha256:", "bytes, expected"]),
        (
            "sed -i s/layers/LAYERS/ MANIFEST",
            &["manifest sha256:", "its content has the digest sha256:"],
        ),
        ("rm CONFIG", &["configuration sha256:", "No such file"]),
        (
            "ln -sf ../../../secret CONFIG",
            &["configuration sha256:", "a symbolic link"],
        ),
        (
            "rm CONFIG; mkdir CONFIG",
            &["configuration sha256:", "not a regular file"],
        ),
        (
            "rm CONFIG; mkfifo CONFIG",
            &["configuration sha256:", "not a regular file"],
        ),
        (
            "mv blobs ../moved; ln -s ../moved blobs",
            &["manifest sha256:", "Not a directory"],
        ),
    ] {
        let damage = damage
            .replace(
                "MANIFEST",
                &format!("blobs/sha256/{}", image.manifest_digest.hex()),
            )
            .replace(
                "CONFIG",
                &format!("blobs/sha256/{}", image.config_digest.hex()),
            );
        fixture.shell(&format!(
            "rm -rf bad moved; cp -r layout bad; cd bad; {damage}"
        ));
        let reference = fixture.reference("oci", "bad:v1");
        let error = error_of(resolve(&reference));
        assert_contains(&error, parts);
    }
}

#[test]
fn layers() {
    let fixture = Fixture::new();
    let reference = fixture.reference("oci", "layout:v1");
    let source = open(&reference).unwrap();
    let image = source.resolve(&Platform::host()).unwrap();
    let layer = &image.layers[1];
    let blob = fixture.blob(&layer.digest);
    let check = |reason: &str| {
        let error = error_of(source.open_layer(layer));
        assert_contains(&error, &[reason]);
    };
    fs::set_permissions(&blob, PermissionsExt::from_mode(0o644)).unwrap();
    let file = File::options().write(true).open(&blob).unwrap();
    file.set_len(7).unwrap();
    check("the blob has 7 bytes, the manifest says");
    fs::remove_file(&blob).unwrap();
    check("No such file");
    symlink("/etc/passwd", &blob).unwrap();
    check("a symbolic link");
}

#[test]
fn oci_archives() {
    let fixture = Fixture::new();
    fixture.shell(
        "tar -cf good.tar -C layout oci-layout index.json blobs
         head -c 520 good.tar >header.tar
         cd layout; tar -cf ../blob.tar $(ls -S blobs/sha256/* | head -1); cd ..
         head -c 4000 blob.tar >body.tar
         gzip -c good.tar | head -c 200 >good.tar.gz; zstd -qc good.tar | head -c 200 >good.tar.zst
         truncate -s 1M hole; tar -Scf sparse.tar hole; tar -Scf paxsparse.tar --format=posix hole
         tar -cf names.tar -P --transform s,^,../, -C layout oci-layout index.json
         tar -cf noblobs.tar -C layout oci-layout index.json
         cp -r layout links; ln -sf ../secret links/index.json; tar -cf links.tar -C links .
         : >empty.tar
         tar -cf docker.tar --transform s/one/manifest.json/ -C files one",
    );
    for (name, parts) in [
        (
            "header.tar",
            &["header.tar", "ends within member oci-layout"][..],
        ),
        (
            "body.tar",
            &["body.tar", "ends within member blobs/sha256/"],
        ),
        ("good.tar.gz", &["good.tar.gz", "within its gzip stream"]),
        ("good.tar.zst", &["good.tar.zst", "within its zstd stream"]),
        ("sparse.tar", &["member hole", "without --sparse"]),
        ("paxsparse.tar", &["hole", "without --sparse"]),
        ("names.tar", &["names.tar", "`..`"]),
        ("noblobs.tar", &["manifest sha256:", "is missing"]),
        ("links.tar", &["index.json", "not a regular file"]),
        ("empty.tar", &["empty.tar", "an empty archive"]),
        ("docker.tar", &["docker.tar", "name it docker-archive:"]),
        ("missing.tar", &["missing.tar", "No such file"]),
        ("layout", &["layout", "a directory, expected a tar"]),
    ] {
        let error = error_of(resolve(&fixture.reference("oci-archive", name)));
        assert_contains(&error, parts);
    }
}

/// Nothing of a file that is no image is told.
#[test]
fn any_file() {
    let fixture = Fixture::new();
    fixture.shell(
        "for i in $(seq 100); do echo secret:x:0:0; done >passwd; gzip -k passwd
         truncate -s 600 zeros",
    );
    let at = |name: &str| fixture.path().join(name).display().to_string();
    for name in ["passwd", "passwd.gz"] {
        for (reference, looked_for) in [
            (at(name), "looked for oci-layout"),
            (fixture.reference("oci-archive", name), "not a tar archive"),
            (fixture.reference("docker-archive", name), "gzip or zstd"),
        ] {
            let error = error_of(open(&reference));
            let start = format!("{reference}: ");
            assert_contains(&error, &[&start, "not a tar archive", looked_for]);
            assert!(!error.contains("secret"), "{error}");
        }
    }
    let error = error_of(open(&at("zeros")));
    assert_contains(&error, &["zeros: ", "an empty archive"]);
}

#[test]
fn docker_archives() {
    let fixture = Fixture::new();
    fixture.copy_to("docker-archive", "good.tar:foo/bar:1");
    fixture.shell("mkdir good; tar -xf good.tar -C good; chmod -R u+w good; rm -r good/*/");
    for (damage, parts) in [
        ("rm [0-9a-f]*.tar", &["layer 1 (", "is missing"][..]),
        (
            "rm [0-9a-f]*.json",
            &["configuration ", ".json", "is missing"],
        ),
        ("rm manifest.json", &["manifest.json is missing"]),
        (
            "echo '[{' >manifest.json",
            &["manifest.json: malformed JSON: EOF while parsing"],
        ),
        (
            "echo '[]' >manifest.json",
            &["manifest.json: it has no image"],
        ),
        (
            r#"sed -i 's/"Layers":\[[^]]*\]/"Layers":[]/' manifest.json"#,
            &["the image is empty: it has no layers"],
        ),
        (
            r#"sed -i 's/"Layers":\["[^"]*",/"Layers":[/' manifest.json"#,
            &["manifest.json has 1 layers, the configuration 2 diff_ids"],
        ),
        (
            r#"sed -i 's,"Layers":\["[^"]*","Layers":["../../etc/passwd",' manifest.json"#,
            &["layer 1 (../../etc/passwd)", "`..`"],
        ),
        (
            "for layer in [0-9a-f]*.tar; do ln -sf /etc/passwd $layer; done",
            &["layer 1 (", "-> /etc/passwd", "is missing"],
        ),
        (
            "for config in [0-9a-f]*.json; do echo >>$config; done",
            &["configuration ", "has the digest", "its name says"],
        ),
        ("mv manifest.json oci-layout", &["name it oci-archive:"]),
    ] {
        fixture.shell(&format!(
            "rm -rf bad; cp -r good bad; cd bad; {damage}; tar -cf ../bad.tar *"
        ));
        let reference = fixture.reference("docker-archive", "bad.tar");
        let error = error_of(resolve(&reference));
        assert_contains(&error, parts);
    }
}
