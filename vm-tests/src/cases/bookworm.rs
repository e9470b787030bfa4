//! Debian 12, whose libostree is older, deployed by `import-oci deploy` on a host with the same.

use anyhow::{Result, ensure};
use vm_tests::expect::{Expectations, Expected, KnownDenial};

use super::debian;
use crate::lab::{Lab, STATEROOT};
use crate::system::{Base, ENFORCING, Installer, System};

const SYSTEM: System = System {
    name: "bookworm",
    recipe: "bookworm",
    base: Base::Image("bookworm"),
    import: &[],
    arguments: ENFORCING,
    has_policy: true,
    installer: Installer::ImportOci,
    has_program: false,
};

/// The gaps of Debian 12's policy.
const KNOWN_DENIALS: &[KnownDenial] = &[
    KnownDenial {
        source: "getty_t",
        target: "getty_t",
        class: "capability2",
        permissions: &["checkpoint_restore"],
        reason: "the policy is older than the capability, which the kernel looks for first",
    },
    KnownDenial {
        source: "systemd_sysctl_t",
        target: "tmpfs_t",
        class: "dir",
        permissions: &["search"],
        reason: "the policy is older than the credentials that systemd mounts for it",
    },
    KnownDenial {
        source: "systemd_tmpfiles_t",
        target: "locale_t",
        class: "file",
        permissions: &["map"],
        reason: "the policy lets it read locales, and not map them",
    },
    KnownDenial {
        source: "udev_t",
        target: "sysctl_fs_t",
        class: "dir",
        permissions: &["search"],
        reason: "systemd asks for the limit of open files",
    },
    KnownDenial {
        source: "udev_t",
        target: "udev_t",
        class: "process",
        permissions: &["setrlimit"],
        reason: "and would raise its own",
    },
];

fn expectations(commit: String) -> Expectations {
    let mut expected = debian::expectations(commit, KNOWN_DENIALS);
    debian::expect_deployed_by_us(&mut expected);
    expected.files.extend([
        ("/etc/systemd/system", Expected::Type("systemd_unit_t")),
        ("/etc/ssh", Expected::Type("etc_t")),
        ("/etc/mtab", Expected::Type("etc_t")), // a link
        ("/var/lib/kept", Expected::Mode(0o2750)),
    ]);
    expected.answers = vec![
        ("cat /var/lib/kept/state", "state\n".to_owned()),
        ("stat -c %U:%G /var/lib/kept", "games:adm\n".to_owned()),
    ];
    expected
}

/// The first start of a disk that nothing but `import-oci deploy` put a system on.
pub fn bookworm(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&SYSTEM)?;
    let mounted = disk.mount()?;
    let origin = mounted.origin(STATEROOT, &commit)?;
    let image = format!(
        "container-image-reference=ostree-unverified-image:{}",
        SYSTEM.source("1")?
    );
    ensure!(
        origin.lines().any(|line| line == image),
        "the origin: {origin}"
    );
    drop(mounted);
    lab.boot(&disk, "first", &expectations(commit))?;
    disk.check()
}
