//! Debian trixie as it comes: an initramfs without ostree, SELinux in permissive mode, a full `/var`.

use anyhow::{Result, ensure};
use vm_tests::expect::{Expectations, Expected, KnownDenial, KnownLabel, Root, Security};

use crate::lab::{Lab, STATEROOT};
use crate::system::{Base, ENFORCING, Installer, System};

/// The demo image with a policy that lets its services start from an empty `/var`.
pub const SYSTEM: System = System {
    name: "trixie",
    recipe: "trixie",
    base: Base::Image("demo"),
    import: &["--initramfs=regenerate"],
    arguments: ENFORCING,
    has_policy: true,
    installer: Installer::Image,
    has_program: false,
};

/// The same, its `/var` brought along.
const VAR_KEPT: System = System {
    name: "trixie-var-kept",
    import: &["--initramfs=regenerate", "--var=keep"],
    ..SYSTEM
};

/// The gaps of Debian's policy, which a system that is not ours meets as well.
pub const KNOWN_DENIALS: &[KnownDenial] = &[
    KnownDenial {
        source: "syslogd_t",
        target: "tmpfs_t",
        class: "dir",
        permissions: &["search"],
        reason: "the policy is older than the credentials that systemd mounts for journald",
    },
    KnownDenial {
        source: "getty_t",
        target: "tmpfs_t",
        class: "dir",
        permissions: &["search"],
        reason: "as for journald: agetty looks for credentials",
    },
    KnownDenial {
        source: "systemd_logind_t",
        target: "cgroup_t",
        class: "file",
        permissions: &["write", "getattr"],
        reason: "the policy is older than systemd's use of memory.pressure",
    },
    KnownDenial {
        source: "syslogd_t",
        target: "cgroup_t",
        class: "file",
        permissions: &["write", "getattr"],
        reason: "as for logind",
    },
];

/// Files that programs of the guest make, and label by their own parent's rule.
pub const KNOWN_LABELS: &[KnownLabel] = &[
    KnownLabel {
        path: "/var/.ostree-selabeled",
        reason: "a stamp that libostree writes while it deploys, where the kernel has no SELinux",
    },
    KnownLabel {
        path: "/etc/.pwd.lock",
        reason: "systemd-sysusers makes it with the type transition of shadow files",
    },
    KnownLabel {
        path: "/var/lib/systemd/random-seed",
        reason: "systemd-random-seed makes it before the directory has its own label",
    },
];

/// What holds of every system that is made of the demo image.
pub fn expectations(commit: String) -> Expectations {
    Expectations {
        security: Security::Enforcing,
        commit,
        rollback: None,
        root: Root::Directory,
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
            ("/usr/etc/shadow", Expected::Type("shadow_t")),
            ("/usr/lib/systemd/systemd", Expected::Type("init_exec_t")),
            ("/usr/bin/passwd", Expected::Type("passwd_exec_t")),
            ("/usr/bin/passwd", Expected::Mode(0o4755)),
            (
                "/usr/bin/ping-cap",
                Expected::Capabilities("cap_net_raw=ep"),
            ),
            ("/var", Expected::Type("var_t")),
            ("/var/lib", Expected::Type("var_lib_t")),
            ("/var/log", Expected::Type("var_log_t")),
            ("/var/log/audit", Expected::Type("auditd_log_t")),
            ("/var/tmp", Expected::Type("tmp_t")),
            ("/var/tmp", Expected::Mode(0o1777)),
            ("/usr/share/demo/modes/setgid", Expected::Mode(0o2750)),
            ("/usr/share/demo/modes/private", Expected::Mode(0o700)),
            ("/usr/share/demo/modes/unreadable", Expected::Mode(0)),
            (
                "/usr/share/demo/labelled/local.conf",
                Expected::Type("etc_t"),
            ),
            ("/etc/ssh", Expected::Mode(0o700)),
            ("/var/lib/demo", Expected::Mode(0o750)),
            ("/root", Expected::Type("root_t")), // a link to:
            ("/var/roothome", Expected::Type("user_home_dir_t")),
            ("/var/roothome", Expected::Mode(0o700)),
            ("/var/home", Expected::Type("home_root_t")),
        ],
        answers: Vec::new(),
        known_denials: KNOWN_DENIALS.to_vec(),
        known_labels: KNOWN_LABELS,
    }
}

/// The first start of a new disk.
pub fn enforcing_cold(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&SYSTEM)?;
    lab.boot(&disk, "first", &expectations(commit))?;
    disk.check()
}

/// The first start where `/var` is that of the image, as libostree copies it.
pub fn var_kept(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&VAR_KEPT)?;
    let mut expected = expectations(commit);
    expected.answers = vec![
        ("cat /var/lib/demo/state", "state\n".to_owned()),
        ("stat -c %U:%G /var/lib/demo", "games:games\n".to_owned()),
    ];
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}

/// A guest that was used, and then deployed a second release from inside.
pub fn after_update(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let second = {
        let mounted = disk.mount()?;
        lab.import(&mounted, &SYSTEM, "2")?
    };
    ensure!(first != second, "both releases are commit {first}");

    let mut guest = lab.start(&disk, "used")?;
    guest.shell("echo 'changed by the user' >>/etc/edited.conf")?;
    guest.shell("echo 'added by the user' >/etc/added.conf")?;
    guest.shell("rm /etc/deleted.conf")?;
    guest.shell("echo data >/var/lib/demo/written")?;
    let machine_id = guest.shell("cat /etc/machine-id")?;
    guest.shell(&format!("ostree admin deploy {}", SYSTEM.branch("2")))?;
    guest.power_off()?;

    let mut expected = expectations(second);
    expected.rollback = Some(first);
    expected.files.extend([
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
        ("cat /etc/machine-id", machine_id),
        (
            "stat -c %U:%G /var/lib/newcomer",
            "newcomer:newcomer\n".to_owned(),
        ),
    ];
    lab.boot(&disk, "updated", &expected)?;
    disk.check()
}
