//! Whether a guest is as it should be.
//!
//! That a system says `running` is not enough: it says so with `/var` on the wrong mount, with auditd
//! started again and again, and with a shadow file that anyone may read.

use std::collections::BTreeMap;

use crate::denial::Denial;
use crate::report::{FileState, Mount, Report};

/// What a test expects of a guest. What holds of every guest is not said here.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// What the guest does with SELinux.
    pub security: Security,
    /// The commit that the guest runs.
    pub commit: String,
    /// The commit that a user would roll back to, if there is one.
    pub rollback: Option<String>,
    /// How its root is mounted.
    pub root: Root,
    /// The name of the state root, which holds `/var`.
    pub stateroot: &'static str,
    /// Units that run.
    pub active: &'static [&'static str],
    /// Paths, and what of them is expected.
    pub files: Vec<(&'static str, Expected)>,
    /// Commands for the shell of the guest, and what each prints.
    pub answers: Vec<(&'static str, String)>,
    /// Denials that no image can avoid.
    pub known_denials: Vec<KnownDenial>,
    /// Files that a program of the guest labels otherwise than its policy says.
    pub known_labels: &'static [KnownLabel],
}

/// What a guest does with SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Security {
    /// It enforces the policy of its image.
    #[default]
    Enforcing,
    /// Its image has no policy, and nothing in it has a label.
    NoPolicy,
}

/// How the root of a guest is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Root {
    /// The directory of the deployment, with `/usr` mounted over itself and read-only.
    #[default]
    Directory,
    /// An overlay by composefs, which is read-only as a whole.
    Composefs,
}

/// What is expected of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// There is nothing.
    Absent,
    /// Its label has this type.
    Type(&'static str),
    /// It has no label.
    Unlabelled,
    /// Its mode is this.
    Mode(u32),
    /// It has these capabilities, as `getcap` prints them.
    Capabilities(&'static str),
}

/// A denial that is a gap of the image's own policy.
#[derive(Debug, Clone, Copy)]
pub struct KnownDenial {
    /// The type of who asks.
    pub source: &'static str,
    /// The type of what it is about.
    pub target: &'static str,
    /// The class of that.
    pub class: &'static str,
    /// All permissions that may be denied.
    pub permissions: &'static [&'static str],
    /// Why the image cannot avoid it.
    pub reason: &'static str,
}

/// A file that gets its label from a program of the guest, not from us.
#[derive(Debug, Clone, Copy)]
pub struct KnownLabel {
    /// The path.
    pub path: &'static str,
    /// Why it has another label than the policy says.
    pub reason: &'static str,
}

impl KnownDenial {
    fn covers(&self, denial: &Denial) -> bool {
        denial.source == self.source
            && denial.target == self.target
            && denial.class == self.class
            && denial
                .permissions
                .iter()
                .all(|p| self.permissions.contains(&p.as_str()))
    }
}

/// How often units may have been started again. The journal runs in the initramfs already, and systemd
/// starts it again in the real root.
const RESTARTS: &[(&str, u64)] = &[("systemd-journald.service", 1)];

/// Everything that is wrong with a guest by its report, one sentence each; nothing if it is as it should
/// be. What the commands of [`Expectations::answers`] print is not in a report.
pub fn judge(report: &Report, expected: &Expectations) -> Vec<String> {
    let mut wrong = Vec::new();
    security(report, expected, &mut wrong);
    services(report, expected, &mut wrong);
    deployments(report, expected, &mut wrong);
    mounts(report, expected, &mut wrong);
    files(&report.files, &expected.files, &mut wrong);
    wrong
}

fn security(report: &Report, expected: &Expectations, wrong: &mut Vec<String>) {
    let mode = match expected.security {
        Security::Enforcing => "enforcing",
        Security::NoPolicy => "disabled",
    };
    if report.selinux != mode {
        wrong.push(format!("SELinux is {}", report.selinux));
    }
    if expected.security == Security::Enforcing && type_of(&report.agent_label) != "unconfined_t" {
        let label = &report.agent_label;
        wrong.push(format!(
            "the agent ran as {label}, so its report may miss things"
        ));
    }
    for denial in &report.denials {
        if !expected
            .known_denials
            .iter()
            .any(|known| known.covers(denial))
        {
            wrong.push(format!("denied: {denial}"));
        }
    }
    for relabel in &report.would_relabel {
        if !expected
            .known_labels
            .iter()
            .any(|known| known.path == relabel.path)
        {
            let crate::report::Relabel { path, from, to } = relabel;
            wrong.push(format!("{path} has the label {from}, the policy says {to}"));
        }
    }
}

fn services(report: &Report, expected: &Expectations, wrong: &mut Vec<String>) {
    if report.state != "running" {
        wrong.push(format!("the system is {}", report.state));
    }
    for (name, unit) in &report.units {
        if unit.active == "failed" {
            wrong.push(format!("{name} has failed"));
        }
        let allowed = RESTARTS
            .iter()
            .find(|(known, _)| known == name)
            .map_or(0, |(_, n)| *n);
        if unit.restarts > allowed {
            wrong.push(format!("{name} was started again {} times", unit.restarts));
        }
    }
    for name in expected.active {
        match report.units.get(*name).map(|unit| unit.active.as_str()) {
            Some("active") => {}
            Some(state) => wrong.push(format!("{name} is {state}")),
            None => wrong.push(format!("there is no {name}")),
        }
    }
}

fn deployments(report: &Report, expected: &Expectations, wrong: &mut Vec<String>) {
    let commit_of = |of: fn(&crate::report::Deployment) -> bool| {
        report
            .deployments
            .iter()
            .find(|d| of(d))
            .map(|d| d.commit.as_str())
    };
    let booted = commit_of(|d| d.booted);
    if booted != Some(expected.commit.as_str()) {
        wrong.push(format!("runs {booted:?}, not {}", expected.commit));
    }
    let rollback = commit_of(|d| d.rollback);
    if rollback != expected.rollback.as_deref() {
        wrong.push(format!(
            "would roll back to {rollback:?}, not {:?}",
            expected.rollback
        ));
    }
}

fn mounts(report: &Report, expected: &Expectations, wrong: &mut Vec<String>) {
    let stateroot = format!("/ostree/deploy/{}", expected.stateroot);
    let deployment = format!("{stateroot}/deploy/{}.", expected.commit);
    // What is mounted last over a directory is what one sees there.
    let seen = |target: &str| report.mounts.iter().rfind(|mount| mount.target == target);

    let root = seen("/").cloned().unwrap_or_default();
    let (etc, mut of_disk) = match expected.root {
        Root::Directory => {
            if !root.root.starts_with(&deployment) {
                wrong.push(format!(
                    "/ is {}, not the deployment of {}",
                    root.root, expected.commit
                ));
            }
            let usr = ("/usr", format!("{}/usr", root.root), "ro");
            (format!("{}/etc", root.root), vec![usr])
        }
        Root::Composefs => {
            if root.kind != "overlay" || !root.options.iter().any(|option| option == "ro") {
                wrong.push(format!(
                    "/ is {} with {:?}, not a read-only overlay",
                    root.kind, root.options
                ));
            }
            (format!("{deployment}0/etc"), Vec::new())
        }
    };
    of_disk.extend([
        ("/etc", etc, "rw"),
        ("/var", format!("{stateroot}/var"), "rw"),
        ("/sysroot", "/".to_owned(), "ro"),
        ("/boot", "/boot".to_owned(), ""),
    ]);
    for (target, directory, access) in of_disk {
        let Some(Mount { root, options, .. }) = seen(target) else {
            wrong.push(format!("{target} is no mount"));
            continue;
        };
        if *root != directory {
            wrong.push(format!("{target} is {root}, not {directory}"));
        }
        if !access.is_empty() && !options.iter().any(|option| option == access) {
            wrong.push(format!("{target} is not mounted {access}"));
        }
    }
}

fn files(
    found: &BTreeMap<String, Option<FileState>>,
    expected: &[(&str, Expected)],
    wrong: &mut Vec<String>,
) {
    for &(path, expectation) in expected {
        let Some(state) = found.get(path).and_then(Option::as_ref) else {
            if expectation != Expected::Absent {
                wrong.push(format!("there is no {path}"));
            }
            continue;
        };
        match expectation {
            Expected::Absent => wrong.push(format!("{path} is there")),
            Expected::Type(expected) => {
                let label = state.label.as_deref().unwrap_or("no label");
                if type_of(label) != expected {
                    wrong.push(format!("{path} has {label}, not {expected}"));
                }
            }
            Expected::Unlabelled => {
                if let Some(label) = &state.label {
                    wrong.push(format!("{path} has {label}, not no label"));
                }
            }
            Expected::Mode(expected) => {
                let mode = state.mode;
                if mode != expected {
                    wrong.push(format!("{path} has mode {mode:04o}, not {expected:04o}"));
                }
            }
            Expected::Capabilities(expected) => {
                if state.capabilities.as_deref() != Some(expected) {
                    let found = &state.capabilities;
                    wrong.push(format!("{path} has capabilities {found:?}, not {expected}"));
                }
            }
        }
    }
}

fn type_of(label: &str) -> &str {
    label.split(':').nth(2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
            known_labels: &[KnownLabel {
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
}
