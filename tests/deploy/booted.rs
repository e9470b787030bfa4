//! A system that runs, as far as libostree can tell: a deployment is the root of a process, and
//! `/sysroot` is read-only.

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

#[test]
fn a_staged_deployment_waits_for_the_shutdown() {
    let Some(system) = System::new() else { return };
    let first = system.deploy(&system.image("1", [base()]), &["--karg=first"]);
    system.image("2", [base().file("etc/version", 0o644, "2")]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_import-oci"));
    let inside = |script: &str| {
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
            .arg(root_of(&first))
            .arg(program.parent().unwrap())
            .arg(system.at(""))
            .arg(script);
        command
    };
    if !inside("true").output().unwrap().status.success() {
        return not_run("nothing can be mounted here");
    }
    let output = run(&mut inside(
        "! touch sysroot/ostree/x 2>/dev/null
         /run/program/import-oci deploy --stage -q --json --arch=amd64 --initramfs=keep \
             --karg=second oci:/run/images/2
         ! touch sysroot/ostree/x 2>/dev/null
         echo changed > etc/changed-later
         ostree admin status
         ostree refs --repo sysroot/ostree/repo
         mount -o remount,bind,rw sysroot
         ostree admin finalize-staged",
    ));
    let said = text(output);
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
