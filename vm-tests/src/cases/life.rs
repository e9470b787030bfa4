//! Life after the first boot: a guest that imports what it boots next by itself, while it enforces a policy
//! that does not know all labels of the new image.

use anyhow::{Result, ensure};
use vm_tests::denial::denials;
use vm_tests::disk::Disk;
use vm_tests::expect::{Expectations, Expected};
use vm_tests::machine::Machine;
use vm_tests::medium;

use super::owner;
use super::trixie::{self, expectations};
use crate::lab::{Lab, STATEROOT};
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

/// The domain of `dist/import-oci.cil`.
const OUR_DOMAIN: &str = "import_oci_t";

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

/// Judges a guest that has imported, shuts it down, and returns the commit that it boots next.
fn finish(lab: &Lab, mut guest: Machine, name: &str, expected: &Expectations) -> Result<String> {
    let pending = guest.shell(PENDING)?.trim().to_owned();
    ensure!(
        !pending.is_empty() && pending != expected.commit,
        "nothing is pending"
    );
    lab.finish(guest, name, expected)?;
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
/// that the guest has; a start of the first again, and from the second the third.
pub fn update_inside(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM)?;

    let mut guest = lab.start_with(&disk, "used", &medium)?;
    owner::edit(&mut guest)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("", "2"))?;
    let mut expected = expectations(first);
    owner::expect_edits(&mut expected, "1");
    let second = finish(lab, guest, "used", &expected)?;

    let mut updated = second_release(second, expected.commit.clone());
    owner::expect_edits(&mut updated, "2");
    lab.boot(&disk, "updated", &updated)?;

    // What a user chooses in the menu; the second release is still what boots by itself.
    let older = lab.start_older(&disk, "rolled-back")?;
    lab.finish(older, "rolled-back", &expected)?;

    let mut guest = lab.start_with(&disk, "updated-again", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("", "3"))?;
    updated.rollback = None; // what runs and what is next are the two that stay
    let third = finish(lab, guest, "updated-again", &updated)?;

    let mut expected = expectations(third);
    expected.rollback = Some(updated.commit);
    owner::expect_edits(&mut expected, "3");
    lab.boot(&disk, "third", &expected)?;
    disk.check()
}

/// The power fails while the second release is imported, and again while it is deployed. Nothing is lost,
/// the first release still starts, and the unit does it all at the next try.
pub fn power_cut(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM)?;
    let before = disk.mount()?.refs()?;
    let expected = expectations(first);

    // The power of a guest fails once a condition of a shell holds in it.
    let cut = |name: &str, condition: &str| -> Result<()> {
        let mut guest = lab.start_with(&disk, name, &medium)?;
        lab.judge(&mut guest, name, &expected)?;
        mount_medium(&mut guest)?;
        guest.shell(&start_unit("--no-block", "2"))?;
        // With `sync`, so that the disk has what is half done, too.
        let wait = format!("until {condition}; do sleep 0.1; done 2>/dev/null; sync");
        guest.shell(&wait)?;
        drop(guest);
        disk.check()
    };
    cut(
        "writes-objects",
        "find /ostree/repo/tmp/staging-* -name '*.file' | grep -q .",
    )?;
    let refs = disk.mount()?.refs()?;
    ensure!(refs == before, "refs were:\n{before}\nand are:\n{refs}");
    cut(
        "deploys",
        "[ $(ls -d /ostree/deploy/debian/deploy/*.0 | wc -l) -gt 1 ]",
    )?;

    let mut guest = lab.start_with(&disk, "again", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell(&start_unit("", "2"))?;
    let second = finish(lab, guest, "again", &expected)?;
    lab.boot(&disk, "updated", &second_release(second, expected.commit))?;
    disk.check()
}

/// What an owner types at a shell, finished at shutdown.
pub fn rebase_inside(lab: &Lab) -> Result<()> {
    let (disk, first) = lab.first_release(&SYSTEM)?;
    let medium = lab.medium(&SYSTEM)?;
    let mut guest = lab.start_with(&disk, "used", &medium)?;
    mount_medium(&mut guest)?;
    guest.shell("import-oci rebase oci:/run/medium:release-2")?;
    let second = finish(lab, guest, "used", &expectations(first.clone()))?;
    shutdown_was_allowed(lab, &disk)?;
    let mut expected = second_release(second, first);
    expected.answers.push((
        "grep -h container-image-reference /ostree/deploy/debian/deploy/*.origin | sort -u",
        "container-image-reference=ostree-unverified-image:oci:/run/medium:release-2\n".to_owned(),
    ));
    lab.boot(&disk, "rebased", &expected)?;
    disk.check()
}

/// Nothing was denied to the service that finishes a deployment after the report: neither auditd nor, once
/// that has stopped, the kernel on its console tells of it.
fn shutdown_was_allowed(lab: &Lab, disk: &Disk) -> Result<()> {
    let console = lab.serial("used")?;
    ensure!(
        console.contains("ostree-finalize-staged"),
        "the console does not tell of the shutdown"
    );
    let log = disk.mount()?.read_var(STATEROOT, "log/audit/audit.log")?;
    let denied: Vec<_> = denials(&(console + "\n" + &log), 0)
        .into_iter()
        .filter(|denial| denial.source == OUR_DOMAIN)
        .map(|denial| denial.to_string())
        .collect();
    ensure!(
        denied.is_empty(),
        "denied to us:\n  {}",
        denied.join("\n  ")
    );
    Ok(())
}
