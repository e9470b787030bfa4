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
    pub known_labels: Vec<KnownLabel>,
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
mod tests;
