//! What holds of every Debian system that enforces its policy.

use vm_tests::expect::{Expectations, Expected, KnownDenial, KnownLabel, Root, Security};

use crate::lab::STATEROOT;

/// Services that wait for others, and log or write where only a right label lets them.
const ACTIVE: &[&str] = &[
    "auditd.service",
    "dbus.service",
    "ssh.service",
    "systemd-logind.service",
];

const FILES: &[(&str, Expected)] = &[
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
    ("/var/home", Expected::Type("home_root_t")),
    ("/var/roothome", Expected::Type("user_home_dir_t")),
    ("/var/roothome", Expected::Mode(0o700)),
];

/// Where `--var=tmpfiles` alone puts what images have in `/var/lib`.
const FACTORY: &str = "/usr/share/factory/var/lib";

/// What only such a `/var` has: it is empty when the system starts for the first time.
const RANDOM_SEED: &str = "/var/lib/systemd/random-seed";

/// The stamp of who deploys.
const DEPLOYED: &str = "/var/.ostree-selabeled";

/// Files that programs of the guest make, and label by their own parent's rule.
const KNOWN_LABELS: &[KnownLabel] = &[
    KnownLabel {
        path: DEPLOYED,
        reason: "a stamp that libostree writes while it deploys, where the kernel has no SELinux",
    },
    KnownLabel {
        path: "/etc/.pwd.lock",
        reason: "systemd-sysusers makes it with the type transition of shadow files",
    },
    KnownLabel {
        path: RANDOM_SEED,
        reason: "systemd-random-seed makes it where systemd-tmpfiles has not made the directory yet",
    },
];

/// What holds of a guest that runs this commit. The denials are the gaps of its policy.
pub fn expectations(commit: String, known_denials: &[KnownDenial]) -> Expectations {
    Expectations {
        security: Security::Enforcing,
        commit,
        rollback: None,
        root: Root::Directory,
        stateroot: STATEROOT,
        active: ACTIVE,
        files: FILES.to_vec(),
        answers: Vec::new(),
        known_denials: known_denials.to_vec(),
        known_labels: KNOWN_LABELS.to_vec(),
    }
}

/// Expects that `/var` came with the commit, and that nothing is allowed which only an empty one excuses.
pub fn expect_var_kept(expected: &mut Expectations) {
    expected.files.push((FACTORY, Expected::Absent));
    expected
        .known_labels
        .retain(|known| known.path != RANDOM_SEED);
}

/// Expects that `import-oci deploy` made the deployment, which labels what libostree leaves without.
pub fn expect_deployed_by_us(expected: &mut Expectations) {
    expected.known_labels.retain(|known| known.path != DEPLOYED);
}
