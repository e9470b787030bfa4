//! A system that runs, as far as libostree can tell: a deployment is the root of a process, and
//! `/sysroot` is read-only.

use std::path::Path;
use std::process::Command;

use crate::support::command::{not_run, run};
use crate::system::{System, base, root_of, text};

/// Mounts a system around its deployment `$1` as its own initramfs does, with the programs of this
/// machine in it and `$2`, where the program under test lies, at /run/program. The rest is run there.
const BOOT: &str = r#"
    cd "$1"; program="$2"; images="$3"; shift 3
    mount --bind . .; cd "$PWD"
    mount --bind ../../../../.. sysroot; mount -o remount,bind,ro sysroot
    mount --bind ../../../../../boot boot; mount --bind ../../var var
    for d in bin lib lib64; do mount --bind /usr/$d usr/$d; done
    for d in proc sys dev; do mount --rbind /$d $d; done
    mount -t tmpfs none run; mount -t tmpfs none tmp
    mkdir run/program run/images; touch run/ostree-booted
    mount --bind "$program" run/program; mount --bind "$images" run/images
    exec chroot . sh -euc "$@"
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
            .args([root, program.parent().unwrap(), &system.at("")])
            .arg(script);
        command
    };
    if !command("true").output().unwrap().status.success() {
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
