//! Tests: what is wrong with a guest is said, and nothing else.

use super::*;
use crate::report::{Deployment, Relabel, Unit};

const KNOWN: KnownDenial = KnownDenial {
    source: "getty_t",
    target: "tmpfs_t",
    class: "dir",
    permissions: &["search", "read"],
    reason: "test",
};

fn expectations() -> Expectations {
    Expectations {
        security: Security::Enforcing,
        commit: "ab".to_owned(),
        rollback: None,
        root: Root::Directory,
        stateroot: "debian",
        active: &["auditd.service"],
        files: vec![
            ("/etc/shadow", Expected::Type("shadow_t")),
            ("/etc/shadow", Expected::Mode(0o640)),
            ("/usr/bin/ping", Expected::Capabilities("cap_net_raw=ep")),
            ("/etc/deleted", Expected::Absent),
        ],
        answers: Vec::new(),
        known_denials: vec![KNOWN],
        known_labels: vec![KnownLabel {
            path: "/var/.ostree-selabeled",
            reason: "test",
        }],
    }
}

fn mount(target: &str, root: &str, option: &str) -> Mount {
    Mount {
        target: target.to_owned(),
        root: root.to_owned(),
        kind: "ext4".to_owned(),
        options: vec![option.to_owned()],
    }
}

fn unit(active: &str, restarts: u64) -> Unit {
    Unit {
        active: active.to_owned(),
        restarts,
    }
}

/// A guest with which nothing is wrong.
fn report() -> Report {
    let file = |label: &str, mode, capabilities: Option<&str>| {
        Some(FileState {
            mode,
            label: Some(format!("system_u:object_r:{label}:s0")),
            capabilities: capabilities.map(str::to_owned),
            ..FileState::default()
        })
    };
    let root = "/ostree/deploy/debian/deploy/ab.0";
    Report {
        selinux: "enforcing".to_owned(),
        agent_label: "unconfined_u:unconfined_r:unconfined_t:s0".to_owned(),
        state: "running".to_owned(),
        units: [("auditd.service".to_owned(), unit("active", 0))].into(),
        mounts: vec![
            mount("/", root, "rw"),
            mount("/etc", &format!("{root}/etc"), "rw"),
            mount("/usr", &format!("{root}/usr"), "ro"),
            mount("/var", "/ostree/deploy/debian/var", "rw"),
            mount("/sysroot", "/", "ro"),
            mount("/boot", "/boot", "rw"),
        ],
        files: [
            ("/etc/shadow".to_owned(), file("shadow_t", 0o640, None)),
            (
                "/usr/bin/ping".to_owned(),
                file("bin_t", 0o755, Some("cap_net_raw=ep")),
            ),
            ("/etc/deleted".to_owned(), None),
        ]
        .into(),
        deployments: vec![Deployment {
            commit: "ab".to_owned(),
            booted: true,
            ..Deployment::default()
        }],
        ..Report::default()
    }
}

/// The one complaint about a guest that differs from a right one in this.
fn complaint(change: impl FnOnce(&mut Report)) -> String {
    let mut report = report();
    change(&mut report);
    let [complaint] = judge(&report, &expectations()).try_into().unwrap();
    complaint
}

#[test]
fn nothing_is_wrong_with_a_right_guest() {
    assert_eq!(judge(&report(), &expectations()), [] as [&str; 0]);
}

#[test]
fn running_with_var_on_the_wrong_mount_is_a_failure() {
    assert_eq!(
        complaint(
            |report| report.mounts[3].root = "/ostree/deploy/debian/deploy/ab.0/var".to_owned()
        ),
        "/var is /ostree/deploy/debian/deploy/ab.0/var, not /ostree/deploy/debian/var"
    );
    assert_eq!(
        complaint(|report| drop(report.mounts.remove(3))),
        "/var is no mount"
    );
    let over = mount("/var", "/", "rw");
    assert_eq!(
        complaint(|report| report.mounts.push(over)),
        "/var is /, not /ostree/deploy/debian/var"
    );
}

#[test]
fn a_root_by_composefs_is_a_read_only_overlay() {
    let mut expected = expectations();
    expected.root = Root::Composefs;
    assert_eq!(
        judge(&report(), &expected),
        ["/ is ext4 with [\"rw\"], not a read-only overlay"]
    );
    let mut overlay = report();
    overlay.mounts.remove(2);
    overlay.mounts[0] = Mount {
        kind: "overlay".to_owned(),
        ..mount("/", "/", "ro")
    };
    assert_eq!(judge(&overlay, &expected), [] as [&str; 0]);
    overlay.mounts[1].root = "/etc".to_owned();
    assert_eq!(
        judge(&overlay, &expected),
        ["/etc is /etc, not /ostree/deploy/debian/deploy/ab.0/etc"]
    );
}

#[test]
fn mounts_are_writable_where_they_have_to_be_and_nowhere_else() {
    assert_eq!(
        complaint(|report| report.mounts[2].options = vec!["rw".to_owned()]),
        "/usr is not mounted ro"
    );
}

#[test]
fn a_unit_in_a_restart_loop_is_a_failure() {
    assert_eq!(
        complaint(|report| drop(
            report
                .units
                .insert("auditd.service".to_owned(), unit("active", 7))
        )),
        "auditd.service was started again 7 times"
    );
    assert_eq!(
        complaint(|report| drop(
            report
                .units
                .insert("other.service".to_owned(), unit("failed", 0))
        )),
        "other.service has failed"
    );
    assert_eq!(
        complaint(|report| drop(
            report
                .units
                .insert("auditd.service".to_owned(), unit("inactive", 0))
        )),
        "auditd.service is inactive"
    );
    assert_eq!(
        complaint(|report| report.units.clear()),
        "there is no auditd.service"
    );
    assert_eq!(
        complaint(|report| report.state = "degraded".to_owned()),
        "the system is degraded"
    );
}

#[test]
fn the_journal_starts_again_in_the_real_root_and_no_more() {
    let journal = |restarts| {
        let mut report = report();
        let name = "systemd-journald.service".to_owned();
        report.units.insert(name, unit("active", restarts));
        judge(&report, &expectations())
    };
    assert_eq!(journal(1), [] as [&str; 0]);
    assert_eq!(
        journal(2),
        ["systemd-journald.service was started again 2 times"]
    );
}

#[test]
fn a_new_denial_is_a_failure() {
    let denial = |permissions: &[&str]| Denial {
        source: "getty_t".to_owned(),
        target: "tmpfs_t".to_owned(),
        class: "dir".to_owned(),
        permissions: permissions.iter().map(|&p| p.to_owned()).collect(),
        command: "agetty".to_owned(),
        ..Denial::default()
    };
    let mut known = report();
    known.denials = vec![denial(&["search"])];
    assert_eq!(judge(&known, &expectations()), [] as [&str; 0]);
    assert_eq!(
        complaint(|report| report.denials = vec![denial(&["search", "write"])]),
        "denied: agetty: getty_t tmpfs_t dir { search write }"
    );
}

#[test]
fn labels_are_those_of_the_policy() {
    let relabel = |path: &str| Relabel {
        path: path.to_owned(),
        from: "u:r:a:s0".to_owned(),
        to: "u:r:b:s0".to_owned(),
    };
    let mut known = report();
    known.would_relabel = vec![relabel("/var/.ostree-selabeled")];
    assert_eq!(judge(&known, &expectations()), [] as [&str; 0]);
    assert_eq!(
        complaint(|report| report.would_relabel = vec![relabel("/etc/x")]),
        "/etc/x has the label u:r:a:s0, the policy says u:r:b:s0"
    );
}

#[test]
fn enforcing_and_told_by_one_who_sees_all() {
    assert_eq!(
        complaint(|report| report.selinux = "permissive".to_owned()),
        "SELinux is permissive"
    );
    assert_eq!(
        complaint(|report| report.agent_label = "system_u:system_r:initrc_t:s0".to_owned()),
        "the agent ran as system_u:system_r:initrc_t:s0, so its report may miss things"
    );
}

#[test]
fn without_a_policy_nothing_enforces_or_has_a_label() {
    let mut expected = expectations();
    expected.security = Security::NoPolicy;
    expected.files = vec![("/etc/shadow", Expected::Unlabelled)];
    assert_eq!(
        judge(&report(), &expected),
        [
            "SELinux is enforcing",
            "/etc/shadow has system_u:object_r:shadow_t:s0, not no label",
        ]
    );
    let mut unlabelled = report();
    unlabelled.selinux = "disabled".to_owned();
    unlabelled.agent_label.clear();
    unlabelled
        .files
        .insert("/etc/shadow".to_owned(), Some(FileState::default()));
    assert_eq!(judge(&unlabelled, &expected), [] as [&str; 0]);
}

#[test]
fn files_are_as_expected() {
    fn shadow(report: &mut Report) -> &mut FileState {
        report
            .files
            .get_mut("/etc/shadow")
            .unwrap()
            .as_mut()
            .unwrap()
    }
    assert_eq!(
        complaint(|report| shadow(report).label = Some("system_u:object_r:etc_t:s0".to_owned())),
        "/etc/shadow has system_u:object_r:etc_t:s0, not shadow_t"
    );
    assert_eq!(
        complaint(|report| shadow(report).mode = 0o644),
        "/etc/shadow has mode 0644, not 0640"
    );
    assert_eq!(
        complaint(|report| drop(report.files.insert("/usr/bin/ping".to_owned(), None))),
        "there is no /usr/bin/ping"
    );
    let there = Some(FileState::default());
    assert_eq!(
        complaint(|report| drop(report.files.insert("/etc/deleted".to_owned(), there))),
        "/etc/deleted is there"
    );
}

#[test]
fn the_right_commit_runs_and_the_right_one_is_kept() {
    assert_eq!(
        complaint(|report| report.deployments[0].booted = false),
        "runs None, not ab"
    );
    let kept = Deployment {
        commit: "cd".to_owned(),
        rollback: true,
        ..Deployment::default()
    };
    assert_eq!(
        complaint(|report| report.deployments.push(kept)),
        "would roll back to Some(\"cd\"), not None"
    );
}
