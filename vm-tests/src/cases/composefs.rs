//! The next Debian, with its own policy, on a root that composefs mounts.

use anyhow::Result;
use vm_tests::expect::{Expectations, Expected, KnownDenial, Root};

use super::{debian, trixie};
use crate::lab::Lab;
use crate::system::{Base, System};

/// The import makes the initramfs anew, which must know that composefs is wanted.
const SYSTEM: System = System {
    name: "composefs",
    recipe: "composefs",
    base: Base::Image("forky"),
    ..trixie::SYSTEM
};

/// The same, its `/var` brought along.
const VAR_KEPT: System = System {
    name: "composefs-var-kept",
    import: &["--initramfs=regenerate", "--var=keep"],
    ..SYSTEM
};

/// More gaps, of a policy that is older than its systemd.
const KNOWN_DENIALS: &[KnownDenial] = &[KnownDenial {
    source: "udev_t",
    target: "systemd_userdbd_runtime_t",
    class: "sock_file",
    permissions: &["read"],
    reason: "udev asks systemd's service of users, which the policy does not know of",
}];

/// The price of a `/var` that starts empty.
const EMPTY_VAR: KnownDenial = KnownDenial {
    source: "syslogd_t",
    target: "var_t",
    class: "dir",
    permissions: &["write"],
    reason: "journald would make /var/log where systemd-tmpfiles has not made it yet",
};

fn expectations(commit: String) -> Expectations {
    let known = [trixie::KNOWN_DENIALS, KNOWN_DENIALS].concat();
    let mut expected = debian::expectations(commit, &known);
    expected.root = Root::Composefs;
    expected
        .files
        .push(("/var/lib/kept", Expected::Mode(0o2750)));
    expected.answers = vec![
        ("cat /var/lib/kept/state", "state\n".to_owned()),
        ("stat -c %U:%G /var/lib/kept", "games:adm\n".to_owned()),
    ];
    expected
}

/// The first start of a new disk.
pub fn composefs(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&SYSTEM)?;
    let mut expected = expectations(commit);
    expected.known_denials.push(EMPTY_VAR);
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}

/// The same where `/var` is that of the image, as libostree copies it.
pub fn var_kept(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&VAR_KEPT)?;
    let mut expected = expectations(commit);
    debian::expect_var_kept(&mut expected);
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}
