//! Debian trixie as it comes: an initramfs without ostree, SELinux in permissive mode, a full `/var`.

use anyhow::{Result, ensure};
use vm_tests::expect::{Expectations, Expected, KnownDenial};

use super::{debian, owner};
use crate::lab::Lab;
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

/// What an unconfined shell meets besides, which deploys with ostree itself.
const DENIED_TO_OSTREE: &[KnownDenial] = &[
    KnownDenial {
        source: "unconfined_t",
        target: "semanage_t",
        class: "process2",
        permissions: &["nnp_transition", "nosuid_transition"],
        reason: "libostree runs semodule in a sandbox, which gives no new privileges, so it stays unconfined",
    },
    KnownDenial {
        source: "unconfined_t",
        target: "setfiles_t",
        class: "process2",
        permissions: &["nnp_transition", "nosuid_transition"],
        reason: "as for semodule, which starts setfiles",
    },
];

/// What holds of every system that is made of the demo image.
pub fn expectations(commit: String) -> Expectations {
    let mut expected = debian::expectations(commit, KNOWN_DENIALS);
    expected.files.extend([
        ("/usr/share/demo/modes/setgid", Expected::Mode(0o2750)),
        ("/usr/share/demo/modes/private", Expected::Mode(0o700)),
        ("/usr/share/demo/modes/unreadable", Expected::Mode(0)),
        (
            "/usr/share/demo/labelled/local.conf",
            Expected::Type("etc_t"),
        ),
        ("/etc/ssh", Expected::Mode(0o700)),
        ("/var/lib/demo", Expected::Mode(0o750)),
        ("/root", Expected::Type("root_t")), // a link
    ]);
    expected
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
    debian::expect_var_kept(&mut expected);
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
    owner::edit(&mut guest)?;
    let machine_id = guest.shell("cat /etc/machine-id")?;
    guest.shell(&format!("ostree admin deploy {}", SYSTEM.branch("2")))?;
    let mut used = expectations(first.clone());
    owner::expect_edits(&mut used, "1");
    used.known_denials.extend(DENIED_TO_OSTREE);
    lab.finish(guest, "used", &used)?;

    let mut expected = expectations(second);
    expected.rollback = Some(first);
    owner::expect_edits(&mut expected, "2");
    owner::expect_newcomer(&mut expected);
    expected.answers.push(("cat /etc/machine-id", machine_id));
    lab.boot(&disk, "updated", &expected)?;
    disk.check()
}
