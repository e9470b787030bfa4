//! Life after the first boot: a guest that imports what it boots next by itself, while it enforces a policy
//! that does not know all labels of the new image.

use anyhow::{Result, ensure};
use vm_tests::expect::{Expectations, Expected};
use vm_tests::machine::Machine;
use vm_tests::medium;

use super::owner;
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

/// The commit that boots next.
const PENDING: &str = "ostree admin status | sed -n 's/^  debian \\([0-9a-f]*\\)\\.0 (\\(pending\\|staged\\))$/\\1/p'";

/// How an owner updates from a stick: by our unit.
fn start_unit(options: &str, release: &str) -> String {
    format!(
        "systemctl start {options} \
         \"$(systemd-escape --template=import-oci@.service oci:/run/medium:release-{release})\" \
         || {{ journalctl --no-pager -b -u 'import-oci@*'; ausearch -m avc -i; exit 1; }}"
    )
}

fn mount_medium(guest: &mut Machine) -> Result<()> {
    let label = medium::LABEL;
    let mount = format!("mkdir /run/medium && mount -o ro LABEL={label} /run/medium");
    guest.shell(&mount).map(drop)
}

/// Shuts a guest down that has imported, and returns the commit that it boots next. No denial may
/// concern us.
fn finish(mut guest: Machine, running: &str) -> Result<String> {
    let pending = guest.shell(PENDING)?.trim().to_owned();
    let denials = guest.report(&[])?.denials;
    let ours: Vec<_> = denials
        .iter()
        .filter(|denial| denial.source == "import_oci_t")
        .map(ToString::to_string)
        .collect();
    ensure!(ours.is_empty(), "denied to us:\n  {}", ours.join("\n  "));
    guest.power_off()?;
    ensure!(
        !pending.is_empty() && pending != running,
        "nothing is pending"
    );
    Ok(pending)
}

/// What holds of the second release, whatever was before it.
fn second_release(commit: String, first: String) -> Expectations {
    let mut expected = expectations(commit);
    expected.rollback = Some(first);
    owner::expect_newcomer(&mut expected);
    expected.files.extend([
        ("/usr/bin/import-oci", Expected::Type("import_oci_exec_t")),
        (
            "/usr/share/newcomer/data",
            Expected::Type("newcomer_data_t"),
        ),
        ("/etc/newcomer.conf", Expected::Type("newcomer_data_t")),
    ]);
    expected
}

/// The second release, with a new type in its policy, by our unit and from a medium without the layers
/// that the guest has; then the first again, and from it the third.
pub fn update_inside(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM)?;

    let mut guest = lab.start_with(&disk, "used", &medium)?;
    owner::edit(&mut guest)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("", "2"))?;
    let second = finish(guest, &first)?;

    let mut expected = second_release(second.clone(), first.clone());
    owner::expect_edits(&mut expected, "2");
    lab.boot(&disk, "updated", &expected)?;

    // What a user chooses in the menu; the second release is still what boots by itself.
    let mut expected = expectations(first);
    owner::expect_edits(&mut expected, "1");
    lab.judge(
        lab.start_older(&disk, "rolled-back")?,
        "rolled-back",
        &expected,
    )?;

    let mut guest = lab.start_with(&disk, "updated-again", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("", "3"))?;
    let third = finish(guest, &second)?;
    let mut expected = expectations(third);
    expected.rollback = Some(second);
    owner::expect_edits(&mut expected, "3");
    lab.boot(&disk, "third", &expected)?;
    disk.check()
}

/// The power fails while the second release is imported. Nothing is lost, and the import goes well then.
pub fn power_cut(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM)?;

    let mut guest = lab.start_with(&disk, "cut", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("--no-block", "2"))?;
    // Objects are written from now on until the refs move.
    guest.shell("until ls -d /ostree/repo/tmp/staging-*; do sleep 0.1; done")?;
    // What QEMU has written stays in this machine's cache: only the guest loses its memory.
    drop(guest);
    let mounted = disk.mount()?;
    let refs = mounted.refs()?;
    ensure!(
        !refs.contains("release-2"),
        "the import was over when the power failed: {refs}"
    );
    drop(mounted);
    disk.check()?;
    lab.boot(&disk, "after-the-cut", &expectations(first.clone()))?;

    let mut guest = lab.start_with(&disk, "again", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("", "2"))?;
    finish(guest, &first)?;
    disk.check()
}

/// What an owner types at a shell, finished at shutdown.
pub fn rebase_inside(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM)?;
    let mut guest = lab.start_with(&disk, "used", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell("import-oci rebase oci:/run/medium:release-2")?;
    let second = finish(guest, &first)?;
    let mut expected = second_release(second, first);
    expected
        .answers
        .push(("cat /usr/share/release", "2\n".to_owned()));
    expected.answers.push((
        "grep -h container-image-reference /ostree/deploy/debian/deploy/*.origin | sort -u",
        "container-image-reference=ostree-unverified-image:oci:/run/medium:release-2\n".to_owned(),
    ));
    lab.boot(&disk, "rebased", &expected)?;
    disk.check()
}
