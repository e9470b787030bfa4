//! The next Debian, with its own policy, on a root that composefs mounts.

use anyhow::Result;
use vm_tests::expect::{Expectations, Expected, KnownDenial, Root, Security};

use super::trixie;
use crate::lab::{Lab, STATEROOT};
use crate::system::{Base, System};

/// The import makes the initramfs anew, which must know that composefs is wanted.
const SYSTEM: System = System {
    name: "composefs",
    recipe: "composefs",
    base: Base::Image("forky"),
    ..trixie::SYSTEM
};

/// More gaps, of a policy that is older than its systemd.
const KNOWN_DENIALS: &[KnownDenial] = &[
    KnownDenial {
        source: "syslogd_t",
        target: "var_t",
        class: "dir",
        permissions: &["write"],
        reason: "journald would make /var/log where systemd-tmpfiles has not made it yet",
    },
    KnownDenial {
        source: "udev_t",
        target: "systemd_userdbd_runtime_t",
        class: "sock_file",
        permissions: &["read"],
        reason: "udev asks systemd's service of users, which the policy does not know of",
    },
];

/// The first start of a new disk.
pub fn composefs(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&SYSTEM)?;
    let expected = Expectations {
        security: Security::Enforcing,
        commit,
        rollback: None,
        root: Root::Composefs,
        stateroot: STATEROOT,
        active: &[
            "auditd.service",
            "dbus.service",
            "ssh.service",
            "systemd-logind.service",
        ],
        files: vec![
            ("/", Expected::Type("root_t")),
            ("/etc", Expected::Type("etc_t")),
            ("/etc/shadow", Expected::Type("shadow_t")),
            ("/etc/shadow", Expected::Mode(0o640)),
            ("/usr/lib/systemd/systemd", Expected::Type("init_exec_t")),
            ("/usr/bin/passwd", Expected::Type("passwd_exec_t")),
            ("/usr/bin/passwd", Expected::Mode(0o4755)),
            (
                "/usr/bin/ping-cap",
                Expected::Capabilities("cap_net_raw=ep"),
            ),
            ("/var", Expected::Type("var_t")),
            ("/var/log/audit", Expected::Type("auditd_log_t")),
            ("/var/tmp", Expected::Mode(0o1777)),
        ],
        answers: Vec::new(),
        known_denials: [trixie::KNOWN_DENIALS, KNOWN_DENIALS].concat(),
        known_labels: trixie::KNOWN_LABELS,
    };
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}
