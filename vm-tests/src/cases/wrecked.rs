//! A system with packages of RPM, as it comes and wrecked as images were seen to be.

use anyhow::{Result, ensure};
use vm_tests::expect::{Expectations, Expected};

use super::trixie;
use crate::lab::Lab;
use crate::system::{Base, System};

/// Trixie with an RPM database beside dpkg's.
const RPM: System = System {
    name: "rpm",
    recipe: "rpm",
    base: Base::System(&trixie::SYSTEM),
    ..trixie::SYSTEM
};

/// The same with one more layer, which loses and leaves what careless builds do.
const WRECKED: System = System {
    name: "wrecked",
    recipe: "wrecked",
    base: Base::System(&RPM),
    import: &["--initramfs=regenerate", "--etc-conflict=etc"],
    ..trixie::SYSTEM
};

/// What `check` says of the wrecked image, and not of the one that it was made of.
const FINDINGS: &[(&str, &str, &str)] = &[
    ("repaired", "permissions", "/etc/firewalld"),
    ("repaired", "permissions", "/etc/nftables"),
    ("repaired", "permissions", "/etc/nftables/osf"),
    (
        "repaired",
        "permissions",
        "/usr/lib/containers/storage/overlay-images",
    ),
    (
        "repaired",
        "permissions",
        "/usr/libexec/initscripts/legacy-actions/auditd",
    ),
    ("repaired", "permissions", "/etc/lossy"),
    ("repaired", "permissions", "/etc/lossy/secret.conf"),
    ("repaired", "permissions", "/var/lib/lossy"),
    ("repaired", "permissions", "/usr/bin/dumpcap"),
    ("repaired", "permissions", "/usr/bin/kwin_wayland"),
    ("repaired", "permissions", "/usr/bin/rcp"),
    ("repaired", "permissions", "/usr/libexec/sssd/krb5_child"),
    ("repaired", "permissions", "/usr/libexec/sssd/selinux_child"),
    ("repaired", "xattrs", "/usr/bin/rcp"),
    ("repaired", "etc", "/usr/etc/nsswitch.conf"),
    ("repaired", "container-leftovers", "/.dockerenv"),
    ("repaired", "container-leftovers", "/etc/machine-id"),
    (
        "repaired",
        "container-leftovers",
        "/var/lib/dbus/machine-id",
    ),
    (
        "repaired",
        "container-leftovers",
        "/var/lib/systemd/random-seed",
    ),
    ("repaired", "container-leftovers", "/etc/hostname"),
    ("repaired", "container-leftovers", "/usr/sbin/policy-rc.d"),
    ("repaired", "container-leftovers", "/etc/mtab"),
    ("warning", "accounts", "/usr/share/drifted"),
    ("warning", "accounts", "/usr/share/gone"),
];

/// What the packages declare.
const DECLARED: &[(&str, Expected)] = &[
    ("/etc/bluetooth", Expected::Mode(0o755)),
    ("/etc/firewalld", Expected::Mode(0o750)),
    ("/etc/nftables/osf", Expected::Mode(0o700)),
    ("/etc/lossy", Expected::Mode(0o750)),
    ("/etc/lossy/secret.conf", Expected::Mode(0o640)),
    ("/var/lib/lossy", Expected::Mode(0o770)),
    (
        "/usr/bin/dumpcap",
        Expected::Capabilities("cap_dac_override,cap_net_admin,cap_net_raw=eip"),
    ),
    (
        "/usr/bin/kwin_wayland",
        Expected::Capabilities("cap_sys_nice=ep"),
    ),
    (
        "/usr/libexec/sssd/krb5_child",
        Expected::Capabilities("cap_dac_read_search,cap_setgid,cap_setuid=p"),
    ),
];

fn expectations(commit: String) -> Expectations {
    let mut expected = trixie::expectations(commit);
    expected.files.extend(DECLARED);
    expected.answers = vec![
        ("rpm --verify --all --nomtime --nodeps", String::new()),
        ("rpm --query --all", "lossy-1-1.noarch\n".to_owned()),
        (
            "stat -c %U:%G /etc/lossy /etc/lossy/secret.conf /var/lib/lossy",
            "root:lossy\nlossy:lossy\nlossy:lossy\n".to_owned(),
        ),
    ];
    expected
}

/// What packages declare is in the guest, by rpm's own judgement.
pub fn rpm(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&RPM)?;
    lab.boot(&disk, "first", &expectations(commit))?;
    disk.check()
}

/// All of it is there again where the image has lost it.
pub fn wrecked(lab: &Lab) -> Result<()> {
    let checked = lab.check(&WRECKED, "1")?;
    ensure!(checked.bootable, "`check` says that it would not boot");
    let missing = checked.missing(FINDINGS);
    ensure!(
        missing.is_empty(),
        "`check` does not say:\n  {}",
        missing.join("\n  ")
    );
    let before = lab.check(&RPM, "1")?.missing(FINDINGS);
    ensure!(
        before.len() == FINDINGS.len(),
        "of the image before it was wrecked `check` lacks only:\n  {}",
        before.join("\n  ")
    );
    let (disk, commit) = lab.first_release(&WRECKED)?;
    let mut expected = expectations(commit);
    expected.files.extend([
        ("/etc/lossy/other.conf", Expected::Type("etc_t")),
        ("/tmp", Expected::Mode(0o1777)),
        ("/.dockerenv", Expected::Absent),
        ("/usr/sbin/policy-rc.d", Expected::Absent),
        ("/etc/passwd-", Expected::Absent),
    ]);
    expected.answers.extend([
        (
            "grep -c 0123456789abcdef /etc/machine-id || true",
            "0\n".to_owned(),
        ),
        (
            "grep -c builder /etc/nsswitch.conf || true",
            "0\n".to_owned(),
        ),
        (
            "cat /etc/lossy/other.conf",
            "only below /usr/etc\n".to_owned(),
        ),
        ("readlink /etc/mtab", "../proc/self/mounts\n".to_owned()),
    ]);
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}
