//! What cannot be deployed is told, and then nothing was.

use std::os::unix::process::CommandExt as _;

use crate::support::command::{import_oci, is_root, not_run};
use crate::support::layout::Layer;
use crate::system::{System, base};
use crate::tree;

#[test]
fn nothing_is_deployed_and_nothing_imported() {
    let Some(system) = System::new() else { return };
    let image = system.image("image", [base()]);
    let (root, etc) = (system.at("root"), system.at("root/etc"));
    std::fs::create_dir_all(&etc).unwrap();
    let root = format!("rootfs:{}", root.display());
    let no_kernel = system.image("empty", [Layer::new().directory("etc", 0o755)]);
    let before = tree(&system);
    for (source, options, says) in [
        (
            &image,
            &["--stateroot=none"][..],
            "no stateroot none but os; --init makes it",
        ),
        (
            &image,
            &["--stateroot=../os", "--init"],
            "\"../os\" cannot be a stateroot",
        ),
        (
            &image,
            &["--stage"],
            "runs, so nobody would finish the deployment",
        ),
        (&image, &["--karg-delete=quiet"], "--karg-delete quiet: "),
        (
            &image,
            &["--write-ref=ostree/container/x"],
            "cannot be a branch",
        ),
        (
            &root,
            &["--no-kernel"],
            "is no image, and the origin of a deployment names one",
        ),
        (&no_kernel, &[], "no kernel"),
    ] {
        let said = system.refused(source, options);
        assert!(said.contains(says), "{says:?} is not in: {said}");
        assert!(system.refs().is_empty(), "{said}");
        assert_eq!(tree(&system), before, "{said}");
    }
    let mut absent = import_oci();
    absent
        .args(["deploy", "--sysroot"])
        .arg(system.at("absent"));
    let output = absent.arg(&image).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("--sysroot names a system as `ostree admin init-fs` makes it"),
        "{said}"
    );
}

#[test]
fn nothing_is_deployed_but_the_image_is_there() {
    let Some(system) = System::new() else { return };
    let deployed = system.deploy(&system.image("first", [base()]), &[]);
    let before = (system.deployments(), system.boot_arguments());
    let stays = || {
        assert_eq!((system.deployments(), system.boot_arguments()), before);
        let commit = deployed["commit"].as_str().unwrap();
        let listed = std::fs::read_dir(system.root().join("ostree/deploy/os/deploy")).unwrap();
        for entry in listed {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with(commit), "{name} is left");
        }
        system.fsck();
    };
    // An import that allows what a deployment cannot.
    let empty = system.image("empty", [Layer::new().directory("etc", 0o755)]);
    let said = system.refused(&empty, &["--no-kernel"]);
    assert!(
        said.starts_with("error: the import is done; deploying oci:"),
        "{said}"
    );
    assert!(
        said.contains("would not boot: it has not exactly one kernel"),
        "{said}"
    );
    stays();

    // A policy that libostree begins to look at when half of the deployment is there.
    let half = base()
        .file(
            "etc/selinux/config",
            0o644,
            "SELINUX=enforcing\nSELINUXTYPE=p\n",
        )
        .file(
            "etc/selinux/p/contexts/files/file_contexts",
            0o644,
            "/.* u:r:default_t:s0\n",
        );
    let said = system.refused(&system.image("half", [half]), &[]);
    assert!(said.contains("deploying the commit"), "{said}");
    assert!(said.contains("SELinux"), "{said}");
    stays();
}

#[test]
fn only_root_may() {
    if !is_root() {
        not_run("becoming another user needs root");
        return;
    }
    let mut command = import_oci();
    let output = command.args(["deploy", "oci:x"]).uid(65534).output();
    // The program may lie where only root looks.
    let Ok(output) = output else { return };
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("deploying needs root"), "{said}");
}
