//! A system that runs, as far as libostree can tell: a deployment is the root of a process, and
//! `/sysroot` is read-only.

use std::path::Path;
use std::process::Command;

use crate::labels;
use crate::support::command::{not_run, run};
use crate::system::{System, base, root_of, text};

/// Boots the deployment `$2` of the system `$1` as its own initramfs does, with the programs of this
/// machine in it, what lies in `$3` at /run/program and `$4` at /run/images, and runs the rest there.
///
/// It works on a copy on a file system of its own, and copies it back: libostree remounts the whole
/// file system of `/sysroot`, which others may freeze at this moment.
const BOOT: &str = r#"
    system="$1"; deployment="$2"; program="$3"; images="$4"; shift 4
    cp="cp -a --reflink=never"; work="$images/work"
    mkdir "$work"; mount -t tmpfs none "$work"; $cp "$system/." "$work"
    cd "$work/ostree/deploy/os/deploy/$deployment"
    mount --bind . .; cd "$PWD"
    mount --bind "$work" sysroot; mount -o remount,bind,ro sysroot
    mount --bind "$work/boot" boot; mount --bind ../../var var
    for d in bin lib lib64; do mount --bind /usr/$d usr/$d; done
    for d in proc sys dev; do mount --rbind /$d $d; done
    mount -t tmpfs none run; mount -t tmpfs none tmp
    mkdir run/program run/images; touch run/ostree-booted
    mount --bind "$program" run/program; mount --bind "$images" run/images
    chroot . sh -euc "$@"
    cd "$work"; umount --recursive "$work/ostree/deploy/os/deploy/$deployment"
    find "$system" -mindepth 1 -delete; $cp . "$system"
"#;

/// Runs a script in a system whose deployment `root` runs, with images at /run/images; what it
/// printed. `None`, and said, where nothing can be mounted.
fn inside(system: &System, root: &Path, script: &str) -> Option<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_import-oci"));
    let command = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments")
            .args([
                "--mount",
                "--propagation=private",
                "--pid",
                "--fork",
                "--mount-proc",
            ])
            .args(["sh", "-euc", BOOT, "sh"])
            .arg(system.root())
            .arg(root.file_name().unwrap())
            .args([program.parent().unwrap(), &system.at("")])
            .arg(script);
        command
    };
    let can_mount = ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    let tried = Command::new("unshare").args(can_mount).output();
    if !tried.unwrap().status.success() {
        not_run("nothing can be mounted here");
        return None;
    }
    Some(text(run(&mut command(script))))
}

/// That nobody but `import-oci` sees the repo as one to write to.
const IS_READ_ONLY: &str = "! touch sysroot/ostree/x 2>/dev/null";

#[test]
fn a_staged_deployment_waits_for_the_shutdown() {
    let Some(system) = System::new() else { return };
    let first = system.deploy(&system.image("1", [base()]), &["--karg=first"]);
    system.image("2", [base().file("etc/version", 0o644, "2")]);
    let script = format!(
        "{IS_READ_ONLY}
         /run/program/import-oci deploy --stage -q --json --arch=amd64 --initramfs=keep \
             --karg=second oci:/run/images/2
         {IS_READ_ONLY}
         echo changed > etc/changed-later
         ostree admin status
         ostree refs --repo sysroot/ostree/repo
         mount -o remount,bind,rw sysroot
         ostree admin finalize-staged"
    );
    let Some(said) = inside(&system, &root_of(&first), &script) else {
        return;
    };
    let (json, rest) = said.split_once('\n').unwrap();
    let staged: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(staged["staged"], true);
    assert_eq!(staged["stateroot"], "os", "that of what runs");
    let name = staged["deployment"].as_str().unwrap();
    assert!(rest.contains(&format!("os {name} (staged)")), "{rest}");
    assert!(
        rest.contains("ostree/container/image/oci_3A__2F_run/images/2"),
        "{rest}"
    );
    assert!(!rest.contains("baseimage"), "{rest}");

    let deployments = system.deployments();
    assert_eq!(deployments[0], format!("os {name}"), "{deployments:?}");
    assert_eq!(system.boot_arguments(), "first second");
    let root = system
        .root()
        .join(format!("ostree/deploy/os/deploy/{name}"));
    assert!(
        root.join("etc/changed-later").exists(),
        "/etc is merged at the end"
    );
    system.fsck();
}

#[test]
fn a_staged_deployment_that_cannot_be_labelled_is_taken_back() {
    let Some(system) = labels::without_selinux() else {
        return;
    };
    let first = system.deploy(&system.image("1", [base()]), &[]);
    system.image("2", [labels::image()]);
    // No file in it has labels.
    let script = "
        mkdir var/foreign
        mount -t ramfs none sysroot/ostree/deploy/os/var/foreign
        import='/run/program/import-oci deploy --stage -q --arch=amd64 --initramfs=keep oci:/run/images/2'
        $import 2>&1 || echo exit $?
        ostree admin status
        umount sysroot/ostree/deploy/os/var/foreign
        $import >/dev/null && ostree admin status";
    let Some(said) = inside(&system, &root_of(&first), script) else {
        return;
    };
    let (failed, rest) = said
        .split_once("exit 1\n")
        .unwrap_or_else(|| panic!("{said}"));
    assert!(failed.contains("var/foreign"), "{failed}");
    let first = first["deployment"].as_str().unwrap();
    assert!(rest.starts_with(&format!("* os {first}")), "{rest}");
    assert_eq!(rest.matches("(staged)").count(), 1, "{rest}");
}

#[test]
fn a_deployment_is_finished_at_once_unless_it_is_staged() {
    let Some(system) = System::new() else { return };
    let first = system.deploy(&system.image("1", [base()]), &[]);
    system.image("2", [base().file("etc/version", 0o644, "2")]);
    let script = format!(
        "/run/program/import-oci deploy -q --arch=amd64 --initramfs=keep oci:/run/images/2
         {IS_READ_ONLY}"
    );
    let Some(said) = inside(&system, &root_of(&first), &script) else {
        return;
    };
    assert_eq!(system.deployments()[0], format!("os {}", said.trim_end()));
}

#[test]
fn a_rebase_stages_or_tells_the_owner() {
    let Some(system) = System::new() else { return };
    let first = system.deploy(&system.image("1", [base()]), &[]);
    system.image("2", [base().file("etc/version", 0o644, "2")]);
    let script = format!(
        "rebase='/run/program/import-oci rebase -q --arch=amd64 --initramfs=keep oci:/run/images/2'
         $rebase --print; $rebase; ostree admin status
         mkdir /tmp/bin; printf '#!/bin/sh\necho bootc $@' >/tmp/bin/bootc; chmod +x /tmp/bin/bootc
         PATH=/tmp/bin:$PATH $rebase
         {IS_READ_ONLY}"
    );
    let Some(said) = inside(&system, &root_of(&first), &script) else {
        return;
    };
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines[0],
        "import-oci deploy --sysroot / --stage -q --arch=amd64 --initramfs=keep oci:/run/images/2"
    );
    assert!(
        said.contains(&format!("os {} (staged)", lines[1])),
        "{said}"
    );
    assert_eq!(
        lines.last(),
        Some(&"bootc switch --transport oci /run/images/2")
    );
}

/// The repo of a running system can be written to by what changes it, and by nobody else.
#[test]
fn images_come_and_go_while_it_runs() {
    let Some(system) = System::new() else { return };
    let first = system.deploy(&system.image("1", [base()]), &[]);
    system.image("2", [base().file("etc/version", 0o644, "2")]);
    let script = format!(
        "{IS_READ_ONLY}
         for repo in '' --repo=/ostree/repo; do
             /run/program/import-oci -q $repo --arch=amd64 --initramfs=keep oci:/run/images/2
             {IS_READ_ONLY}
             /run/program/import-oci prune --undeployed
             ostree refs --repo sysroot/ostree/repo | grep -c container/image
         done
         /run/program/import-oci -q --arch=amd64 --initramfs=keep oci:/run/images/2
         /run/program/import-oci remove oci:/run/images/2
         {IS_READ_ONLY}"
    );
    let Some(said) = inside(&system, &root_of(&first), &script) else {
        return;
    };
    let removed = said.matches("removed oci:/run/images/2").count();
    assert_eq!(removed, 3, "{said}");
    assert_eq!(
        said.matches("\n1\n").count(),
        2,
        "what is deployed stays: {said}"
    );
    system.fsck();
}
