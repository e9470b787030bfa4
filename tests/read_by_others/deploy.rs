//! An image of ours is deployed.

use std::fs;
use std::process::Command;

use crate::place::{SHAPES, Snapshot, image_ref, path, places, unverified};
use crate::support::command::{import, is_root, not_run, run, text};
use crate::support::layout::{CREATED, Image, Layer};

/// What a deployment asks of a tree.
fn bootable() -> Image {
    let layer = Layer::new()
        .file("etc/host.conf", 0o644, "of the image")
        .file(
            "usr/lib/os-release",
            0o644,
            "ID=test\nPRETTY_NAME=\"Test 1\"\n",
        )
        .file("usr/lib/modules/6.1.0/vmlinuz", 0o600, "kernel")
        .file("usr/lib/modules/6.1.0/initramfs.img", 0o600, "initramfs")
        .directory("sysroot", 0o755);
    Image::new().created(CREATED).version("1.2").layer(layer)
}

#[test]
fn deployed_and_pruned() {
    if !is_root() {
        return not_run("a sysroot takes root");
    }
    for (place, options) in places(&["bare", "bare"]).iter().zip(SHAPES) {
        let sysroot = place.at("sysroot");
        fs::create_dir(&sysroot).unwrap();
        let at_sysroot = format!("--sysroot={}", sysroot.display());
        let admin = |words: &[&str]| {
            let output = run(Command::new("ostree").arg("admin").args(words));
            String::from_utf8(output.stdout).unwrap()
        };
        admin(&["init-fs", path(&sysroot)]);
        admin(&["os-init", "test", &at_sysroot]);
        let repo = sysroot.join("ostree/repo");
        let source = place.write("image", bootable());
        let json = import(&repo, "bare", &source, options);
        let commit = text(&json, "/commit");
        let before = Snapshot::of(&repo);

        let image = format!("--imgref={}", unverified(&source));
        let stateroot = "--stateroot=test";
        place.peer(&[
            "container",
            "image",
            "deploy",
            &at_sysroot,
            stateroot,
            &image,
        ]);
        let status = admin(&["status", &at_sysroot]);
        assert!(status.contains(&format!("test {commit}.0")), "{status}");
        assert!(status.contains("Version: 1.2"), "{status}");
        assert!(
            status.contains(&format!("origin: {}", "<unknown origin type>")),
            "{status}"
        );
        let deployment = sysroot
            .join("ostree/deploy/test/deploy")
            .join(format!("{commit}.0"));
        let origin = fs::read_to_string(deployment.with_extension("0.origin")).unwrap();
        assert!(
            origin.contains(&format!(
                "container-image-reference={}",
                unverified(&source)
            )),
            "{origin}"
        );
        assert_eq!(
            fs::read_to_string(deployment.join("etc/host.conf")).unwrap(),
            "of the image"
        );

        // Whatever is cleaned up now, this image stays, and all its layers.
        let prune = ["container", "image", "prune-images", &at_sysroot, "--full"];
        let said = place.peer(&prune);
        assert!(said.contains("No content was pruned."), "{said}");
        let after = Snapshot::of(&repo);
        assert!(
            before
                .refs
                .iter()
                .all(|(name, commit)| after.refs[name] == *commit)
        );
        assert_eq!(after.refs[&image_ref(&source)], commit);
        assert!(after.objects.is_superset(&before.objects));
    }
}
