//! What containers, builders and package managers leave in an image and no system should boot with.

use anyhow::{Context as _, Result};

use super::pattern::find;
use super::{Fixup, Image};
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, InodeId};

/// Drops what containers, builders and package managers leave behind; empties `/etc/machine-id`; takes
/// a container's names out of `/etc/hosts`; tells what may have been meant.
#[derive(Debug)]
pub struct ContainerLeftovers;

/// What nobody means to ship, and why no system should have it.
const LEFTOVERS: &[(&[&str], &str)] = &[
    (
        &[".dockerenv", ".containerenv", "run/.containerenv"],
        "it marks a container, for which systemd would take the host",
    ),
    (
        &[
            "stargz.index.json",
            ".prefetch.landmark",
            ".no.prefetch.landmark",
        ],
        "it belongs to the layer as an eStargz archive, not to the image",
    ),
    (&["etc/.pwd.lock"], "lock of the account files"),
    (
        &[
            "etc/passwd-",
            "etc/group-",
            "etc/shadow-",
            "etc/gshadow-",
            "etc/subuid-",
            "etc/subgid-",
        ],
        "backup of an account file",
    ),
    (
        &[
            "var/lib/dpkg/lock*",
            "var/lib/dpkg/triggers/Lock",
            "var/lib/apt/lists/lock",
            "var/cache/apt/archives/lock",
        ],
        "lock of a package manager",
    ),
    // In no other place: libsemanage makes one where it is missing, which it cannot where the module
    // store itself is read-only. The one in /var moves to /etc.
    (
        &[
            "etc/selinux/*/semanage.*.LOCK",
            "var/lib/selinux/*/semanage.*.LOCK",
        ],
        "lock of the module store",
    ),
    (
        &["var/lib/systemd/random-seed", "var/lib/urandom/random-seed"],
        "a random seed that many hosts share is none",
    ),
    (
        &["var/lib/systemd/credential.secret"],
        "a key for credentials that many hosts share keeps no secret; each makes its own",
    ),
    (
        &["var/lib/dbus/machine-id"],
        "every host would have the same id; D-Bus takes that of /etc/machine-id",
    ),
];

/// Where a database of RPM may lie.
const RPM_DATABASES: &[&str] = &["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];

/// The locks in it.
const RPM_LOCKS: &[&str] = &[".rpm.lock", ".dbenv.lock", "__db.*"];

/// How a database of SQLite begins, and where it says how to write and to read it: by a write-ahead log or by
/// a rollback journal.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
const SQLITE_VERSIONS: usize = 18;
const WRITE_AHEAD: [u8; 2] = [2, 2];
const ROLLBACK: [u8; 2] = [1, 1];

/// What a builder mounts files of its own over, and leaves empty.
const MOUNT_POINTS: &[&str] = &["etc/resolv.conf", "etc/hostname", "etc/hosts"];

/// What a base image for containers configures, and what it means on a host.
const CONTAINER_CONFIGURATION: &[(&str, &str)] = &[
    (
        "etc/dpkg/dpkg.cfg.d/docker*",
        "dpkg is set up for containers, where it need not write durably or install all files",
    ),
    (
        "etc/apt/apt.conf.d/docker-*",
        "APT is set up for containers, where it keeps no packages and fetches less",
    ),
];

/// More is no file that a person or a builder wrote.
const LIMIT: u64 = 1 << 20;

impl Fixup for ContainerLeftovers {
    fn name(&self) -> &'static str {
        "container-leftovers"
    }

    fn summary(&self) -> &'static str {
        "drop what containers, builders and package managers leave behind"
    }

    fn reason(&self) -> &'static str {
        "A lock, a machine-id or a resolv.conf of the build is shared by every host that boots the image."
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for (patterns, why) in LEFTOVERS {
            for pattern in *patterns {
                self.drop_files(image, pattern, |_, _| true, why, report);
            }
        }
        for pattern in MOUNT_POINTS {
            let why = "empty: a builder had a file of its own mounted there";
            self.drop_files(image, pattern, |_, size| size == 0, why, report);
        }
        for directory in RPM_DATABASES {
            self.clean_rpm_database(image, directory, report)?;
        }
        self.empty_machine_id(image, report)?;
        self.clean_hosts(image, report)?;
        self.judge_names(image, report)?;
        self.drop_policy_rc_d(image, report)?;
        self.link_mtab(image, report)?;
        self.tell(image, report);
        Ok(())
    }
}

impl ContainerLeftovers {
    /// Drops the regular files at `pattern` that `which` picks by path and size.
    fn drop_files(
        &self,
        image: &mut Image,
        pattern: &str,
        which: impl Fn(&ImagePath, u64) -> bool,
        why: &str,
        report: &mut Report,
    ) {
        for (path, id) in find(&image.tree, pattern) {
            if let Content::File { size, .. } = image.tree.inode(id).content
                && which(&path, size)
            {
                image.tree.remove(&path);
                report.note(self.name(), Action::Dropped, &path, why);
            }
        }
    }

    /// Locks go; what SQLite keeps beside the database, too, unless changes are in it that are not yet in the
    /// database.
    fn clean_rpm_database(
        &self,
        image: &mut Image,
        directory: &str,
        report: &mut Report,
    ) -> Result<()> {
        for lock in RPM_LOCKS {
            let pattern = format!("{directory}/{lock}");
            self.drop_files(image, &pattern, |_, _| true, "lock of RPM", report);
        }
        let log = format!("{directory}/rpmdb.sqlite-wal");
        let pending = find(&image.tree, &log)
            .into_iter()
            .any(|(_, id)| !matches!(image.tree.inode(id).content, Content::File { size: 0, .. }));
        if pending {
            return Ok(());
        }
        for pattern in [log, format!("{directory}/rpmdb.sqlite-shm")] {
            let why = "working file of SQLite without content";
            self.drop_files(image, &pattern, |_, _| true, why, report);
        }
        self.end_write_ahead_mode(image, &format!("{directory}/rpmdb.sqlite"), report)
    }

    /// A database in that mode is read only with its working files, or where SQLite can make them, which it
    /// cannot below `/usr` of a host. Whoever writes to the database chooses the mode anew.
    fn end_write_ahead_mode(
        &self,
        image: &mut Image,
        database: &str,
        report: &mut Report,
    ) -> Result<()> {
        for (path, id) in find(&image.tree, database) {
            let Content::File { body, size } = image.tree.inode(id).content else {
                continue;
            };
            let mut header = [0; SQLITE_MAGIC.len() + 4];
            let read = image.bodies.read_at(body, 0, &mut header);
            let read = read.with_context(|| path.to_string())?;
            let versions = SQLITE_VERSIONS..SQLITE_VERSIONS + WRITE_AHEAD.len();
            if read < header.len()
                || !header.starts_with(SQLITE_MAGIC)
                || header[versions] != WRITE_AHEAD
            {
                continue;
            }
            let body = image.bodies.patch(body, SQLITE_VERSIONS as u64, &ROLLBACK);
            image.tree.inode_mut(id).content = Content::File { body, size };
            let detail = "the write-ahead mode of SQLite ended: in it nothing reads the database where /usr is read-only";
            report.note(self.name(), Action::Changed, &path, detail);
        }
        Ok(())
    }

    /// An empty one is filled at the first boot and kept. `uninitialized` says that the first boot is to
    /// come, see `machine-id(5)`.
    fn empty_machine_id(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for (path, text, inode) in text_files(image, "etc/machine-id")? {
            if text.trim_ascii().is_empty() || text.trim_ascii() == b"uninitialized" {
                continue;
            }
            replace(image, &path, inode, b"")?;
            let detail = "emptied: every host would have the same id";
            report.note(self.name(), Action::Changed, &path, detail);
        }
        Ok(())
    }

    /// Container managers add names of the container and of their host.
    fn clean_hosts(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for (path, text, inode) in text_files(image, "etc/hosts")? {
            let lines = text.split_inclusive(|&b| b == b'\n');
            let (injected, own): (Vec<_>, Vec<_>) = lines.partition(|line| is_injected(line));
            if injected.is_empty() {
                continue;
            }
            let own = own.concat();
            if own.trim_ascii().is_empty() {
                image.tree.remove(&path);
                let detail = "a container manager wrote it";
                report.note(self.name(), Action::Dropped, &path, detail);
                continue;
            }
            replace(image, &path, inode, &own)?;
            let detail = format!(
                "{} lines that a container manager wrote taken out",
                injected.len()
            );
            report.note(self.name(), Action::Changed, &path, detail);
        }
        Ok(())
    }

    /// A name that is a container's is dropped. Name and resolvers may be the builder's or meant: who can
    /// tell is the author.
    fn judge_names(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for (path, text, _) in text_files(image, "etc/hostname")? {
            let name = String::from_utf8_lossy(text.trim_ascii()).into_owned();
            if is_container_id(name.as_bytes()) {
                image.tree.remove(&path);
                let detail = "the id of a container";
                report.note(self.name(), Action::Dropped, &path, detail);
            } else if !name.is_empty() {
                let detail = format!("every host that is not told another is named {name:?}");
                let fix = "remove the file in the image, unless that is meant";
                report.advise(self.name(), &path, detail, fix);
            }
        }
        for (path, text, _) in text_files(image, "etc/resolv.conf")? {
            let mut lines = text.split(|&b| b == b'\n');
            if lines.any(|line| line.trim_ascii().starts_with(b"nameserver")) {
                let detail = "every host begins with these name servers, which are those of the build unless you wrote them";
                let fix = "remove the file in the image, or make it a link to ../run/systemd/resolve/stub-resolv.conf";
                report.advise(self.name(), &path, detail, fix);
            }
        }
        Ok(())
    }

    /// Builders let no service start when its package is installed. A package may have the file for its
    /// own reasons.
    fn drop_policy_rc_d(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for (path, text, _) in text_files(image, "usr/sbin/policy-rc.d")? {
            if forbids_everything(&text) && !is_owned(image, &path)? {
                image.tree.remove(&path);
                let detail = "a builder lets no service start with it";
                report.note(self.name(), Action::Dropped, &path, detail);
            }
        }
        Ok(())
    }

    fn link_mtab(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for (path, id) in find(&image.tree, "etc/mtab") {
            let inode = image.tree.inode(id);
            if !matches!(inode.content, Content::File { .. }) {
                continue;
            }
            let link = Inode {
                metadata: Metadata {
                    mode: 0o777,
                    ..Metadata::default()
                },
                content: Content::Symlink(b"../proc/self/mounts"[..].into()),
            };
            image.tree.insert(&path, link)?;
            let detail = "link to ../proc/self/mounts in place of the mounts of the build";
            report.note(self.name(), Action::Changed, &path, detail);
        }
        Ok(())
    }

    /// What is harmful or useless on many images and meant on others.
    fn tell(&self, image: &Image, report: &mut Report) {
        for (path, _) in find(&image.tree, "etc/ssh/ssh_host_*_key") {
            let detail = "a private key that every host has, and everybody who has the image";
            let fix = "remove it in the image: hosts make their own where there is none";
            report.advise(self.name(), &path, detail, fix);
        }
        for (pattern, detail) in CONTAINER_CONFIGURATION {
            for (path, _) in find(&image.tree, pattern) {
                let fix = "remove the file in the image if packages are to be installed on hosts";
                report.advise(self.name(), &path, *detail, fix);
            }
        }
    }
}

/// The regular files at `pattern` with their content and inode.
fn text_files(image: &Image, pattern: &str) -> Result<Vec<(ImagePath, Vec<u8>, InodeId)>> {
    let mut files = Vec::new();
    for (path, id) in find(&image.tree, pattern) {
        if let Content::File { body, .. } = image.tree.inode(id).content {
            let text = image.bodies.read(body, LIMIT);
            files.push((path.clone(), text.with_context(|| path.to_string())?, id));
        }
    }
    Ok(files)
}

/// Gives the name `path` a file of its own with the metadata of `old`: other names keep theirs.
fn replace(image: &mut Image, path: &ImagePath, old: InodeId, text: &[u8]) -> Result<()> {
    let inode = Inode {
        metadata: image.tree.inode(old).metadata.clone(),
        content: Content::File {
            body: image.bodies.add(text),
            size: text.len() as u64,
        },
    };
    image.tree.insert(path, inode)?;
    Ok(())
}

/// Does a line of `hosts` name a container, or the host of one?
fn is_injected(line: &[u8]) -> bool {
    let line = line.split(|&b| b == b'#').next().unwrap_or_default();
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|w| !w.is_empty());
    words.next().is_some()
        && words.any(|name| {
            [&b"host.containers.internal"[..], b"host.docker.internal"].contains(&name)
                || is_container_id(name)
        })
}

/// Container managers name a container by the first 12 digits of its id.
fn is_container_id(name: &[u8]) -> bool {
    name.len() == 12 && name.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Is `exit 101` ("forbidden by policy") all that a script does?
fn forbids_everything(script: &[u8]) -> bool {
    let lines = script.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    lines
        .filter(|line| !line.is_empty() && line[0] != b'#')
        .eq([&b"exit 101"[..]])
}

/// Does a package of dpkg say that `path` is its own?
fn is_owned(image: &Image, path: &ImagePath) -> Result<bool> {
    let owned = path.to_absolute();
    for (_, text, _) in text_files(image, "var/lib/dpkg/info/*.list")? {
        if text.split(|&b| b == b'\n').any(|line| line == owned) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
