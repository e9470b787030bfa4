//! The next Debian, with its own policy, on a root that composefs mounts.

use anyhow::Result;
use vm_tests::expect::{Expectations, KnownDenial, Root};

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

fn expectations(commit: String) -> Expectations {
    let known = [trixie::KNOWN_DENIALS, KNOWN_DENIALS].concat();
    Expectations {
        root: Root::Composefs,
        ..debian::expectations(commit, &known)
    }
}

/// The first start of a new disk.
pub fn composefs(lab: &Lab) -> Result<()> {
    first_start(lab, &SYSTEM)
}

/// The same where `/var` is that of the image, as libostree copies it.
pub fn var_kept(lab: &Lab) -> Result<()> {
    first_start(lab, &VAR_KEPT)
}

fn first_start(lab: &Lab, system: &System) -> Result<()> {
    let (disk, commit) = lab.first_release(system)?;
    lab.boot(&disk, "first", &expectations(commit))?;
    disk.check()
}
