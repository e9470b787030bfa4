//! What is said between a test and the agent in its guest: one JSON value a line, each way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::denial::Denial;

/// The name of the virtio-serial port on which the two talk.
pub const PORT: &str = "org.import-oci.guest";

/// What a test asks of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Wait until the system has started, then report about it and about these paths.
    Report {
        /// Absolute paths whose [`FileState`] is wanted.
        paths: Vec<String>,
    },
    /// Run a command of the shell as root.
    Shell {
        /// The command, for `sh -c`.
        command: String,
    },
    /// Shut the guest down, which ends the conversation.
    PowerOff,
}

/// What the guest answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The agent has started; said once, unasked.
    Ready,
    /// The answer to [`Request::Report`].
    Report(Box<Report>),
    /// The answer to [`Request::Shell`].
    Output {
        /// The exit code, unless a signal ended the command.
        code: Option<i32>,
        /// Standard output, then standard error.
        text: String,
    },
}

/// The state of a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Seconds from the start of the kernel until systemd had nothing left to start.
    pub settled_seconds: u64,
    /// The mode of SELinux: `enforcing`, `permissive`, or `disabled` where the kernel has none.
    pub selinux: String,
    /// The label of the agent: a report by a confined one would miss things.
    pub agent_label: String,
    /// What `systemctl is-system-running` says.
    pub state: String,
    /// All units that are loaded, by name.
    pub units: BTreeMap<String, Unit>,
    /// What is mounted, in the order of mounting.
    pub mounts: Vec<Mount>,
    /// The paths that were asked for; nothing where there is none.
    pub files: BTreeMap<String, Option<FileState>>,
    /// What `restorecon` would change in `/etc`, `/usr` and `/var`.
    pub would_relabel: Vec<Relabel>,
    /// What SELinux denied since the guest started, each once.
    pub denials: Vec<Denial>,
    /// What `ostree admin status` shows, in its order.
    pub deployments: Vec<Deployment>,
    /// Messages of the journal since the start, from warnings on. For the reader alone.
    pub warnings: Vec<String>,
}

/// The state of one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// How often systemd has started it again.
    pub restarts: u64,
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is mounted.
    pub target: String,
    /// Which directory of its file system is mounted there.
    pub root: String,
    /// The type of the file system.
    pub kind: String,
    /// Options of this mount, such as `ro`.
    pub options: Vec<String>,
}

/// What is remarkable of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// The bits of its mode, as `chmod` takes them.
    pub mode: u32,
    /// Who owns it.
    pub owner: u32,
    /// The group that owns it.
    pub group: u32,
    /// Its SELinux label.
    pub label: Option<String>,
    /// Its capabilities as `getcap` prints them.
    pub capabilities: Option<String>,
}

/// A file whose label is not what the policy of the guest gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relabel {
    /// The path.
    pub path: String,
    /// The label it has.
    pub from: String,
    /// The label that the policy gives it.
    pub to: String,
}

/// One deployment on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The checksum of its commit.
    pub commit: String,
    /// Which one of several of that commit.
    pub serial: u32,
    /// Whether the guest runs it.
    pub booted: bool,
    /// Whether it is what a user would roll back to.
    pub rollback: bool,
}

/// Reads `/proc/self/mountinfo`; see proc(5).
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<_> = left.split(' ').collect();
        Some(Mount {
            root: (*left.get(3)?).to_owned(),
            target: (*left.get(4)?).to_owned(),
            options: left.get(5)?.split(',').map(str::to_owned).collect(),
            kind: right.split(' ').next()?.to_owned(),
        })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Reads what `systemctl show --property=Id,ActiveState,NRestarts` prints: a paragraph a unit.
pub fn units(properties: &str) -> BTreeMap<String, Unit> {
    let unit = |paragraph: &str| {
        let properties: BTreeMap<_, _> = paragraph
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let unit = Unit {
            active: (*properties.get("ActiveState")?).to_owned(),
            restarts: properties
                .get("NRestarts")
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
        };
        Some(((*properties.get("Id")?).to_owned(), unit))
    };
    properties.split("\n\n").filter_map(unit).collect()
}

/// Reads the deployments of what `ostree admin status` prints.
pub fn deployments(status: &str) -> Vec<Deployment> {
    let deployment = |line: &str| {
        let booted = line.starts_with("* ");
        let mut words = line.trim_start_matches(['*', ' ']).split(' ').skip(1);
        let (commit, serial) = words.next()?.split_once('.')?;
        let is_checksum = commit.len() == 64 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        is_checksum.then_some(())?;
        Some(Deployment {
            commit: commit.to_owned(),
            serial: serial.parse().ok()?,
            booted,
            rollback: words.next() == Some("(rollback)"),
        })
    };
    status.lines().filter_map(deployment).collect()
}

/// Reads what `restorecon -nrv` prints.
pub fn relabels(lines: &str) -> Vec<Relabel> {
    let relabel = |line: &str| {
        let (path, labels) = line.strip_prefix("Would relabel ")?.rsplit_once(" from ")?;
        let (from, to) = labels.split_once(" to ")?;
        Some(Relabel {
            path: path.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        })
    };
    lines.lines().filter_map(relabel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_gives_the_directory_behind_a_mount() {
        let read = mounts(
            "22 1 254:0 /ostree/deploy/debian/deploy/ab.0 / rw,relatime shared:1 - ext4 /dev/vda rw,seclabel\n\
             30 22 254:0 /ostree/deploy/debian/var /var ro,relatime shared:3 master:1 - ext4 /dev/vda rw\n\
             nonsense\n",
        );
        let brief: Vec<_> = read
            .iter()
            .map(|m| (m.target.as_str(), m.root.as_str()))
            .collect();
        assert_eq!(
            brief,
            [
                ("/", "/ostree/deploy/debian/deploy/ab.0"),
                ("/var", "/ostree/deploy/debian/var"),
            ]
        );
        assert_eq!(read[1].kind, "ext4");
        assert_eq!(read[1].options, ["ro", "relatime"]);
    }

    #[test]
    fn units_need_no_count_of_restarts() {
        let read = units(
            "Id=auditd.service\nActiveState=activating\nNRestarts=7\n\n\
             NRestarts=0\nId=ssh.service\nActiveState=active\n\nId=var.mount\nActiveState=active\n",
        );
        let unit = |active: &str, restarts| Unit {
            active: active.to_owned(),
            restarts,
        };
        assert_eq!(read["auditd.service"], unit("activating", 7));
        assert_eq!(read["ssh.service"], unit("active", 0));
        assert_eq!(read["var.mount"], unit("active", 0));
    }

    #[test]
    fn status_tells_the_booted_deployment_and_the_one_to_roll_back_to() {
        let (new, old) = ("a".repeat(64), "b".repeat(64));
        let read = deployments(&format!(
            "* debian {new}.0\n    Version: 2\n    origin refspec: demo/v2\n  debian {old}.1 (rollback)\n",
        ));
        let deployment = |commit: &str, serial, booted| Deployment {
            commit: commit.to_owned(),
            serial,
            booted,
            rollback: !booted,
        };
        assert_eq!(
            read,
            [deployment(&new, 0, true), deployment(&old, 1, false)]
        );
    }

    #[test]
    fn restorecon_may_name_paths_with_spaces() {
        let read = relabels("Would relabel /var/a from b from u:r:x:s0 to u:r:y:s0\nother\n");
        assert_eq!(
            read,
            [Relabel {
                path: "/var/a from b".to_owned(),
                from: "u:r:x:s0".to_owned(),
                to: "u:r:y:s0".to_owned(),
            }]
        );
    }
}
