//! policy.json is honoured, and `ostree-image-signed:` enforced.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::common::{output, stderr, stdout};
use crate::server::{INSECURE, Place, Registry};
use crate::{assert_contains, imported, layout, refused};

/// A key pair made for this test: the file of its public half.
fn key(place: &Place) -> String {
    place.write("gnupg/gpg.conf", "");
    place.run(&["chmod", "700", "gnupg"]);
    let gpg = [
        "gpg",
        "--batch",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
    ];
    let make = [
        "--quick-generate-key",
        "signer@test",
        "rsa2048",
        "sign",
        "never",
    ];
    place.run(&[&gpg[..], &make].concat());
    place.run(&[
        "gpg",
        "--batch",
        "--quiet",
        "--output",
        "public.gpg",
        "--export",
        "signer@test",
    ]);
    place.at("public.gpg").display().to_string()
}

#[test]
fn are_enforced() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    let layout = layout(&place);
    let [signed, bare] = ["signed:v1", "bare:v1"].map(|name| registry.image(name));
    let key = key(&place);
    let lookaside = format!("file://{}", place.at("lookaside").display());
    place.write(
        ".config/containers/registries.d/default.yaml",
        &format!("default-docker:\n  lookaside: {lookaside}\n  lookaside-staging: {lookaside}\n"),
    );
    place.push(&layout, &signed, &["--sign-by", "signer@test"]);
    place.push(&layout, &bare, &[]);
    let asked = |image: &str| format!("ostree-image-signed:{image}");

    // The policy accepts anything: good for what asks for nothing.
    let expected = imported(&place, &bare, &[INSECURE]);
    let place = place.without_repo();
    let error = refused(&place, &asked(&signed), &[INSECURE]);
    assert_contains(&error, "insecureAcceptAnything");
    assert_contains(&error, &format!("ostree-unverified-image:{signed}"));

    place.policy(r#"{"default": [{"type": "reject"}]}"#);
    for source in [&bare, &signed, &asked(&signed)] {
        assert_contains(&refused(&place, source, &[INSECURE]), "rejected by policy");
    }

    let by = json!([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}]);
    let scopes = json!({"docker": {registry.address.as_str(): by}});
    let strict = json!({"default": [{"type": "reject"}], "transports": scopes});
    place.policy(&strict.to_string());
    for source in [bare.clone(), asked(&bare)] {
        assert_contains(
            &refused(&place, &source, &[INSECURE]),
            "no signature exists",
        );
    }
    let error = refused(&place, &format!("dir:{}", place.at("x").display()), &[]);
    assert_contains(&error, "skopeo: ");
    let got = imported(&place, &asked(&signed), &[INSECURE]);
    assert_eq!(got["source"], asked(&signed));
    assert_eq!(got["commit"], expected["commit"]);
    let unasked = imported(&place, &signed, &[INSECURE]);
    assert_eq!(unasked["branch"], got["branch"]);

    // A signature of another image.
    let place = place.without_repo();
    let other = registry.image("signed:v2");
    place.write(
        "open.json",
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    );
    let changed = crate::image()
        .layer()
        .file("usr/evil", "")
        .write(&place.at("changed"));
    place.push(&changed, &other, &["--policy", "open.json"]);
    let of_v1 = format!("lookaside/signed@{}", layout.manifest.replace(':', "="));
    let of_v2 = format!("lookaside/signed@{}", changed.manifest.replace(':', "="));
    place.run(&["cp", "-r", &of_v1, &of_v2]);
    refused(&place, &asked(&other), &[INSECURE]);

    // Another file with the policy.
    place.write("closed.json", r#"{"default": [{"type": "reject"}]}"#);
    let closed = [INSECURE, "--signature-policy", "closed.json"];
    assert_contains(&refused(&place, &signed, &closed), "rejected by policy");
    let missing = [INSECURE, "--signature-policy", "missing.json"];
    assert_contains(&refused(&place, &signed, &missing), "missing.json");
}

#[test]
fn of_files_cannot_be_asked_for() {
    let place = Place::new();
    let reference = layout(&place).reference();
    let error = refused(&place, &format!("ostree-image-signed:{reference}"), &[]);
    assert_contains(&error, "skopeo copy");
    let error = refused(&place, "ostree-remote-image:r:docker://x", &[]);
    assert_contains(&error, "ostree-image-signed:docker://x");
}

/// A policy that asks something, but not of loopback.
const ASKS_OTHERS: &str = r#"{
    "default": [{"type": "insecureAcceptAnything"}],
    "transports": {"docker": {"registry.example": [{"type": "reject"}]}}
}"#;

/// A tag that moves between what is read and what the policy is asked about. A skopeo that looks
/// at the policy itself leaves no such time.
#[test]
fn what_was_judged_is_what_was_read() {
    let place = Place::new();
    let Some(registry) = Registry::start(&place) else {
        return;
    };
    place.policy(ASKS_OTHERS);
    let first = layout(&place);
    let image = registry.image("moving:v1");
    place.push(&first, &image, &[]);
    let second = crate::image()
        .layer()
        .file("usr/evil", "")
        .write(&place.at("second"));
    let path = std::env::var("PATH").unwrap();
    let mover = format!(
        "#!/bin/sh -e\nPATH='{path}'\ncase \" $* \" in *' copy '*) skopeo copy --quiet \
         --dest-tls-verify=false --preserve-digests {}:v1 {image};; esac\nexec skopeo \"$@\"\n",
        second.reference()
    );
    let mover = place.write("bin/skopeo", &mover);
    std::fs::set_permissions(&mover, Permissions::from_mode(0o755)).unwrap();
    let mut command = place.import(&image, &[INSECURE]);
    command.env("PATH", format!("{}:{path}", place.at("bin").display()));
    let output = output(&mut command);
    match output.status.success() {
        true => assert_contains(stdout(&output), &first.manifest),
        false => assert_contains(stderr(&output), "the image has changed meanwhile"),
    }
}
