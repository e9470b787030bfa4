//! What the owner of a guest changes between two releases, and what a new release has to leave of it.

use anyhow::Result;
use vm_tests::expect::{Expectations, Expected};
use vm_tests::machine::Machine;

/// What an owner does, as commands of a shell.
const EDITS: &[&str] = &[
    "echo 'changed by the user' >>/etc/edited.conf",
    "echo 'added by the user' >/etc/added.conf",
    "rm /etc/deleted.conf",
    "echo data >/var/lib/demo/written",
    // From now on no release brings its /etc/passwd.
    "useradd --no-create-home owner",
];

/// Uses a guest that runs release 1.
pub fn edit(guest: &mut Machine) -> Result<()> {
    for command in EDITS {
        guest.shell(command)?;
    }
    Ok(())
}

/// Expects what was edited as the owner left it, and all else as `release` brings it.
pub fn expect_edits(expected: &mut Expectations, release: &str) {
    expected.files.extend([
        ("/etc/deleted.conf", Expected::Absent),
        ("/etc/added.conf", Expected::Type("etc_t")),
        ("/etc/edited.conf", Expected::Type("etc_t")),
    ]);
    expected.answers.extend([
        ("cat /usr/share/release", format!("{release}\n")),
        (
            "cat /etc/untouched.conf",
            format!("default of release {release}\n"),
        ),
        (
            "cat /etc/edited.conf",
            "default of release 1\nchanged by the user\n".to_owned(),
        ),
        ("cat /etc/added.conf", "added by the user\n".to_owned()),
        ("cat /var/lib/demo/written", "data\n".to_owned()),
        ("id --name --user owner", "owner\n".to_owned()),
    ]);
}

/// Expects the service that release 2 brings: a user that no host has, and its data.
pub fn expect_newcomer(expected: &mut Expectations) {
    expected.files.extend([
        ("/etc/brought.conf", Expected::Type("etc_t")),
        ("/var/lib/newcomer", Expected::Mode(0o750)),
    ]);
    expected.answers.push((
        "stat -c %U:%G /var/lib/newcomer",
        "newcomer:newcomer\n".to_owned(),
    ));
}
