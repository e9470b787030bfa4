//! Debian trixie as mmdebstrap makes it, without an SELinux policy.

use anyhow::{Result, ensure};
use vm_tests::disk::Disk;
use vm_tests::expect::{Expectations, Expected, Root, Security};

use super::debian;
use crate::lab::{Lab, STATEROOT};
use crate::system::{Base, Installer, System};

/// Its initramfs knows ostree because the package of that was there when it was made.
const SYSTEM: System = System {
    name: "no-policy",
    recipe: "no-policy",
    base: Base::Image("plain"),
    import: &[],
    arguments: &["rw", "console=ttyS0"],
    has_policy: false,
    installer: Installer::Image,
    has_program: false,
};

/// The same, its `/var` brought along.
const VAR_KEPT: System = System {
    name: "no-policy-var-kept",
    import: &["--var=keep"],
    ..SYSTEM
};

/// What finds a label anywhere in the deployment.
const LABELS: &str = "getfattr --absolute-names --recursive --physical --no-dereference \
    --match=security.selinux /etc /usr /var";

fn expectations(commit: String) -> Expectations {
    Expectations {
        security: Security::NoPolicy,
        commit,
        rollback: None,
        root: Root::Directory,
        stateroot: STATEROOT,
        active: &["dbus.service", "ssh.service", "systemd-logind.service"],
        files: vec![
            ("/", Expected::Unlabelled),
            ("/etc/shadow", Expected::Unlabelled),
            ("/etc/shadow", Expected::Mode(0o640)),
            ("/usr/bin/passwd", Expected::Unlabelled),
            ("/usr/bin/passwd", Expected::Mode(0o4755)),
            (
                "/usr/bin/ping-cap",
                Expected::Capabilities("cap_net_raw=ep"),
            ),
            ("/var/tmp", Expected::Mode(0o1777)),
            ("/var/roothome", Expected::Mode(0o700)),
            ("/var/lib/kept", Expected::Mode(0o2750)),
        ],
        answers: vec![
            (LABELS, String::new()),
            ("cat /var/lib/kept/state", "state\n".to_owned()),
            ("stat -c %U:%G /var/lib/kept", "games:adm\n".to_owned()),
        ],
        known_denials: Vec::new(),
        known_labels: Vec::new(),
    }
}

/// The first start of a new disk.
pub fn cold(lab: &Lab) -> Result<()> {
    let (disk, expected) = first_release(lab, &SYSTEM)?;
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}

/// The same where `/var` is that of the image, as libostree copies it.
pub fn var_kept(lab: &Lab) -> Result<()> {
    let (disk, mut expected) = first_release(lab, &VAR_KEPT)?;
    debian::expect_var_kept(&mut expected);
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}

fn first_release(lab: &Lab, system: &System) -> Result<(Disk, Expectations)> {
    let (disk, commit) = lab.first_release(system)?;
    let said = lab.first_import(system)?;
    ensure!(
        said.contains("nothing is labelled: the image has no /etc/selinux/config"),
        "the import does not say that nothing is labelled"
    );
    Ok((disk, expectations(commit)))
}

/// Of two releases systemd-boot starts the one that was deployed last.
pub fn systemd_boot(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let mounted = disk.mount()?;
    let second = lab.import(&mounted, &SYSTEM, "2")?;
    mounted.deploy(&SYSTEM.branch("2"), STATEROOT, &[])?;
    drop(mounted);
    let mut expected = expectations(second);
    expected.rollback = Some(first);
    expected.answers.extend([
        ("cat /usr/share/release", "2\n".to_owned()),
        ("cat /sys/firmware/efi/fw_platform_size", "64\n".to_owned()),
        (
            "cat /sys/firmware/efi/efivars/LoaderInfo-* | tail -c +5 | tr -d '\\000' | cut -d ' ' -f 1",
            "systemd-boot\n".to_owned(),
        ),
    ]);
    lab.finish(lab.start_by_loader(&disk, "loader")?, "loader", &expected)?;
    disk.check()
}
