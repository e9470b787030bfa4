//! Life after the first boot: a guest that imports what it boots next by itself, while it enforces a policy
//! that does not know all labels of the new image.

use anyhow::{Result, ensure};
use vm_tests::expect::Expected;
use vm_tests::medium;

use super::trixie::{self, expectations};
use crate::lab::Lab;
use crate::system::System;

/// The demo image with our program, its unit and its policy module. Its initramfs is made with the image,
/// because an emulated processor takes minutes for one.
const SYSTEM: System = System {
    name: "life",
    recipe: "life",
    import: &[],
    has_program: true,
    ..trixie::SYSTEM
};

/// How an owner updates from a stick.
const UPDATE: &str = "systemctl start \
    \"$(systemd-escape --template=import-oci@.service oci:/run/medium:release-2)\" \
    || { journalctl --no-pager -b -u 'import-oci@*'; ausearch -m avc -i; exit 1; }";

/// The commit that boots next.
const PENDING: &str =
    "ostree admin status | sed -n 's/^  debian \\([0-9a-f]*\\)\\.0 (pending)$/\\1/p'";

/// The second release, with a new type in its policy, by our unit and from a medium without the layers
/// that the guest has.
pub fn update_inside(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM, "2", "1")?;

    let mut guest = lab.start_with(&disk, "used", Some(&medium))?;
    guest.shell("echo 'changed by the user' >>/etc/edited.conf")?;
    guest.shell("echo 'added by the user' >/etc/added.conf")?;
    guest.shell("rm /etc/deleted.conf")?;
    guest.shell("echo data >/var/lib/demo/written")?;
    guest.shell(&format!(
        "mkdir /run/medium && mount -o ro LABEL={} /run/medium",
        medium::LABEL
    ))?;
    guest.shell(UPDATE)?;
    let second = guest.shell(PENDING)?.trim().to_owned();
    let denials = guest.report(&[])?.denials;
    let ours: Vec<_> = denials
        .iter()
        .filter(|denial| denial.source == "import_oci_t")
        .map(ToString::to_string)
        .collect();
    ensure!(ours.is_empty(), "denied to us:\n  {}", ours.join("\n  "));
    guest.power_off()?;
    ensure!(!second.is_empty() && second != first, "nothing is pending");

    let mut expected = expectations(second);
    expected.rollback = Some(first);
    expected.files.extend([
        ("/usr/bin/import-oci", Expected::Type("import_oci_exec_t")),
        (
            "/usr/share/newcomer/data",
            Expected::Type("newcomer_data_t"),
        ),
        ("/etc/newcomer.conf", Expected::Type("newcomer_data_t")),
        ("/etc/deleted.conf", Expected::Absent),
        ("/etc/added.conf", Expected::Type("etc_t")),
        ("/etc/brought.conf", Expected::Type("etc_t")),
        ("/var/lib/newcomer", Expected::Mode(0o750)),
    ]);
    expected.answers = vec![
        ("cat /usr/share/release", "2\n".to_owned()),
        (
            "cat /etc/untouched.conf",
            "default of release 2\n".to_owned(),
        ),
        (
            "cat /etc/edited.conf",
            "default of release 1\nchanged by the user\n".to_owned(),
        ),
        ("cat /etc/added.conf", "added by the user\n".to_owned()),
        ("cat /var/lib/demo/written", "data\n".to_owned()),
        (
            "stat -c %U:%G /var/lib/newcomer",
            "newcomer:newcomer\n".to_owned(),
        ),
    ];
    lab.boot(&disk, "updated", &expected)?;
    disk.check()
}
