//! An image whose base ostree-ext encapsulated from a commit, with a layer on top.

use anyhow::Result;
use vm_tests::expect::Expected;

use super::trixie;
use crate::lab::Lab;
use crate::system::{Base, System};

/// The base brings an initramfs that knows ostree.
const SYSTEM: System = System {
    name: "derived",
    recipe: "derived",
    base: Base::Encapsulated(&trixie::SYSTEM),
    import: &[],
    ..trixie::SYSTEM
};

/// The base boots as it was, its capabilities too, which lie only in the repo that the image brings; so
/// does what the layer changes.
pub fn derived(lab: &Lab) -> Result<()> {
    let (disk, commit) = lab.first_release(&SYSTEM)?;
    let mut expected = trixie::expectations(commit);
    expected.files.extend([
        (
            "/usr/bin/added-cap",
            Expected::Capabilities("cap_net_admin=ep"),
        ),
        ("/usr/share/demo/names/#hash", Expected::Absent),
        ("/etc/added.conf", Expected::Type("etc_t")),
        ("/var/lib/added", Expected::Mode(0o750)),
    ]);
    expected.answers = vec![
        (
            "cat /usr/share/demo/links/kept",
            "changed above the base\n".to_owned(),
        ),
        // The repo of the host, and not the one of the image.
        (
            "ls /sysroot/ostree",
            "boot.1\nboot.1.1\ndeploy\nrepo\n".to_owned(),
        ),
        ("stat -c %U:%G /var/lib/added", "added:added\n".to_owned()),
    ];
    lab.boot(&disk, "first", &expected)?;
    disk.check()
}
