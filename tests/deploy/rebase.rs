//! `import-oci rebase`: whoever keeps a system is told of an image that its repo has. Scripts stand
//! in for bootc and rpm-ostree; what they would find is asked of ostree-ext.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::command::{self, import_oci, run};
use crate::support::peers;
use crate::system::{System, base, root_of, text};
use crate::tree;

const IMAGE_ORIGIN: &str =
    "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os/image:tag\n";
const REF_ORIGIN: &str = "[origin]\nrefspec=os/stable\n";

/// A system with a deployment of that origin, and these programs.
fn system(origin: &str, programs: &[&str]) -> Option<System> {
    let system = System::new()?;
    let deployed = system.deploy(&system.image("first", [base()]), &[]);
    fs::write(format!("{}.origin", root_of(&deployed).display()), origin).unwrap();
    fs::create_dir(system.at("bin")).unwrap();
    for program in programs {
        stand_in(&system, program, 0);
    }
    Some(system)
}

/// A program that writes down how it was called, with which refs of images in the repo.
fn stand_in(system: &System, program: &str, exit_code: i32) {
    let file = system.at("bin").join(program);
    let script = format!(
        "#!/bin/sh\n{{ echo {program} \"$@\"; ostree refs --repo '{}' ostree/container/image; }} \
         >>'{}'\nexit {exit_code}\n",
        system.repo().display(),
        system.at("calls").display(),
    );
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the programs wrote down.
fn calls(system: &System) -> String {
    fs::read_to_string(system.at("calls")).unwrap_or_default()
}

/// `import-oci rebase …` in the directory of the system's images.
fn rebase(system: &System, words: &[&str]) -> Command {
    let mut path = system.at("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = import_oci();
    command
        .current_dir(system.at(""))
        .env("PATH", path)
        .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments")
        .args([
            "rebase",
            "-q",
            "--arch=amd64",
            "--initramfs=keep",
            "--sysroot=system",
        ])
        .args(words);
    command
}

fn refused(system: &System, words: &[&str]) -> String {
    let Output { status, stderr, .. } = rebase(system, words).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

fn second(system: &System) -> String {
    system.image("second", [base().file("usr/second", 0o644, "")]);
    system.at("second").display().to_string()
}

/// What ostree-ext takes for the image without importing it.
fn found(system: &System, image: &str) -> Option<String> {
    let mut peer = peers::ostree_ext()?;
    let answer = run(peer.arg("prepare").arg(system.repo()).arg(image));
    let answer = serde_json::from_slice(&answer.stdout).unwrap();
    Some(command::text(&answer, "/present/merge_commit").to_owned())
}

#[test]
fn the_owner_finds_the_image_and_is_told() {
    let changed = format!("{IMAGE_ORIGIN}[packages]\nrequested=vim;\n");
    for (origin, programs, told) in [
        (
            IMAGE_ORIGIN,
            &["bootc"][..],
            "bootc switch --transport oci PATH:v1",
        ),
        (
            IMAGE_ORIGIN,
            &["bootc", "rpm-ostree"],
            "bootc switch --transport oci PATH:v1",
        ),
        (
            IMAGE_ORIGIN,
            &["rpm-ostree"],
            "rpm-ostree rebase ostree-unverified-image:oci:PATH:v1",
        ),
        (
            &changed,
            &["bootc", "rpm-ostree"],
            "rpm-ostree rebase ostree-unverified-image:oci:PATH:v1",
        ),
        (
            REF_ORIGIN,
            &["bootc", "rpm-ostree"],
            "rpm-ostree rebase ostree-unverified-image:oci:PATH:v1",
        ),
    ] {
        let Some(system) = system(origin, programs) else {
            return;
        };
        let path = second(&system);
        let before = system.deployments();
        run(&mut rebase(&system, &["oci:second:v1"]));
        let calls = calls(&system);
        let mut lines = calls.lines();
        assert_eq!(
            lines.next(),
            Some(&*told.replace("PATH", &path)),
            "{origin}"
        );
        let image = lines.find(|name| name.ends_with("second_3A_v1"));
        let image = image.unwrap_or_else(|| panic!("the image was not there: {calls}"));
        let commit = run(Command::new("ostree")
            .args(["rev-parse", "--repo"])
            .arg(system.repo())
            .arg(format!("ostree/container/image/{image}")));
        let reference = format!("ostree-unverified-image:oci:{path}:v1");
        if let Some(found) = found(&system, &reference) {
            assert_eq!(found, text(commit).trim_end());
        }
        assert_eq!(system.deployments(), before, "that is the owner's to do");
    }
}

#[test]
fn without_an_owner_it_is_deployed() {
    for origin in [IMAGE_ORIGIN, REF_ORIGIN] {
        let Some(system) = system(origin, &[]) else {
            return;
        };
        let path = second(&system);
        let name = text(run(&mut rebase(&system, &["oci:second:v1"])));
        let name = name.trim_end();
        assert_eq!(system.deployments()[0], format!("os {name}"));
        let file = format!("ostree/deploy/os/deploy/{name}.origin");
        assert_eq!(
            fs::read_to_string(system.root().join(file)).unwrap(),
            format!("[origin]\ncontainer-image-reference=ostree-unverified-image:oci:{path}:v1\n")
        );
    }
}

#[test]
fn commands_are_printed_and_do_the_same() {
    for (programs, words, printed) in [
        (
            &["bootc"][..],
            &["--print", "--squash", "oci:second:v1"][..],
            "import-oci --repo system/ostree/repo --target-imgref oci:PATH:v1 -q --arch=amd64 \
             --initramfs=keep --squash oci:second:v1\nbootc switch --transport oci PATH:v1\n",
        ),
        (
            &["rpm-ostree"],
            &[
                "--print",
                "--target-imgref=ostree-image-signed:oci:other dir:v1",
                "oci:second:v1",
            ],
            "import-oci --repo system/ostree/repo -q --arch=amd64 --initramfs=keep \
             '--target-imgref=ostree-image-signed:oci:other dir:v1' oci:second:v1\n\
             rpm-ostree rebase 'ostree-image-signed:oci:other dir:v1'\n",
        ),
        (
            &[],
            &["oci:second:v1", "--print"],
            "import-oci deploy --sysroot system --target-imgref oci:PATH:v1 -q --arch=amd64 \
             --initramfs=keep oci:second:v1\n",
        ),
    ] {
        let Some(system) = system(IMAGE_ORIGIN, programs) else {
            return;
        };
        let path = second(&system);
        system.image("other dir", [base().file("usr/second", 0o644, "")]);
        let before = (tree(&system), system.refs());
        let found = text(run(&mut rebase(&system, words)));
        assert_eq!(found, printed.replace("PATH", &path));
        assert_eq!(calls(&system), "");
        assert_eq!((tree(&system), system.refs()), before, "nothing was done");

        // What was printed is what a shell runs.
        let program = Path::new(env!("CARGO_BIN_EXE_import-oci"))
            .parent()
            .unwrap();
        let path = [
            system.at("bin").to_str().unwrap(),
            program.to_str().unwrap(),
        ]
        .join(":");
        run(Command::new("sh")
            .current_dir(system.at(""))
            .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments")
            .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
            .args(["-euc", &found]));
        match programs {
            [] => assert_eq!(system.deployments().len(), 2),
            _ => assert!(calls(&system).starts_with(programs[0])),
        }
    }
}

#[test]
fn an_owner_that_fails() {
    let Some(system) = system(IMAGE_ORIGIN, &[]) else {
        return;
    };
    second(&system);
    stand_in(&system, "bootc", 3);
    let said = refused(&system, &["oci:second:v1"]);
    assert!(
        said.contains("the import is done; bootc switch --transport oci"),
        "{said}"
    );
    assert!(said.contains("exit status: 3"), "{said}");
}

#[test]
fn what_the_owner_would_not_find_is_refused() {
    let Some(system) = system(IMAGE_ORIGIN, &["bootc"]) else {
        return;
    };
    second(&system);
    fs::create_dir_all(system.at("root/etc")).unwrap();
    let refs = system.refs();
    for (words, says) in [
        (
            &["oci:second", "--no-imgref"][..],
            "bootc would not find the image in the repo",
        ),
        (
            &["rootfs:root", "--target-imgref=oci:first:v1"],
            "bootc has no name for an unpacked root; `import-oci deploy`",
        ),
        (
            &["oci:second", "--target-imgref=oci:first:v1"],
            "push it there first",
        ),
        (
            &["oci:second", "--target-imgref=docker-archive:x"],
            "bootc and rpm-ostree see another manifest",
        ),
        (
            &[
                "oci:second",
                "--target-imgref=ostree-remote-image:x:oci:second",
            ],
            "bootc knows no signatures of an ostree remote",
        ),
    ] {
        let said = refused(&system, words);
        assert!(said.contains(says), "{says:?} is not in: {said}");
    }
    let changed = system.at("system/ostree/deploy/os/deploy");
    for entry in fs::read_dir(changed).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "origin")
        {
            fs::write(path, format!("{IMAGE_ORIGIN}[packages]\nrequested=vim;\n")).unwrap();
        }
    }
    let said = refused(&system, &["oci:second"]);
    assert!(
        said.contains("is changed by rpm-ostree, which is not here"),
        "{said}"
    );
    assert_eq!(system.refs(), refs);
    assert_eq!(calls(&system), "");

    let Some(empty) = System::new() else { return };
    second(&empty);
    let said = refused(&empty, &["oci:second"]);
    assert!(
        said.contains("nothing is deployed in system: `import-oci deploy` begins"),
        "{said}"
    );
}
