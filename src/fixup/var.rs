//! `/var` belongs to the host; a commit can only say how to make it.

mod databases;
mod selinux_store;

use anyhow::Result;

use super::factory::Resettling;
use super::tmpfiles::{self, Declared, Line};
use super::{Fixup, Image, drop_subtree};
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, Tree};

/// What becomes of the content of `/var`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Var {
    /// Lines of tmpfiles.d make it anew on every host.
    #[default]
    Tmpfiles,
    /// It stays in the commit; libostree 2024.3 and newer copy it on the first deployment.
    Keep,
    /// It is dropped, but for the databases of packages and the store of the SELinux policy.
    Drop,
}

/// `/var` belongs to the host; a commit can only say how to make it.
#[derive(Debug)]
pub struct MoveVar;

const BY: &str = "var";

/// Our lines, beside those of packages.
const LINES: &str = "import-oci-var.conf";

/// Directories whose files every host makes for itself, and why.
const OF_THE_BUILD: &[(&str, &str)] = &[
    ("var/cache", "a cache: made anew when it is needed"),
    ("var/log", "tells of the build, not of the host"),
    (
        "var/lib/apt/lists",
        "the lists of repositories: fetched anew when they are needed",
    ),
];

/// Secrets that no two hosts may share (systemd's "Building Images Safely").
const SECRETS: &[&str] = &[
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
];

/// What lies in `/run` since Linux hosts have one, and how it is linked.
const RUNTIME: &[(&str, &str)] = &[("var/run", "../run"), ("var/lock", "../run/lock")];

impl Fixup for MoveVar {
    fn name(&self) -> &'static str {
        BY
    }

    fn summary(&self) -> &'static str {
        "turn the content of /var into tmpfiles.d lines and /usr/share/factory/var"
    }

    fn reason(&self) -> &'static str {
        "Deployments never update /var, so what an image has there is missing or stale on a host."
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "--var=tmpfiles (default), keep or drop",
            "--rpm-ostree-compat",
        ]
    }

    fn after(&self) -> &'static [&'static str] {
        &[
            "special-files",
            "ostree-base",
            "xattrs",
            "container-leftovers",
            "permissions",
            "accounts",
        ]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let var = fixed("var");
        let found = image
            .tree
            .lookup(&var)
            .map(|id| &image.tree.inode(id).content);
        if let Some(Content::Symlink(_)) = found {
            let reason = "a symbolic link: a host's /var is mounted there, which takes a directory";
            let fix = "make it a directory with the content in it";
            report.fatal(BY, &var, reason, fix);
            return Ok(());
        }
        let mut lines = databases::settle(image, report)?;
        selinux_store::settle(image, report)?;
        match image.options.var {
            Var::Tmpfiles => {
                link_runtime(image, report)?;
                drop_what_hosts_make(&mut image.tree, report);
                lines.extend(move_out(image, &var, report)?);
            }
            Var::Keep => {
                link_runtime(image, report)?;
                keep(image, &var, &lines, report)?;
            }
            Var::Drop => {
                for name in names(&image.tree, &var) {
                    drop_subtree(
                        &mut image.tree,
                        &var.join(&name),
                        BY,
                        "as --var=drop asks",
                        report,
                    );
                }
            }
        }
        tmpfiles::add(image, LINES, lines, BY, report)
    }
}

fn move_out(image: &mut Image, var: &ImagePath, report: &mut Report) -> Result<Vec<Line>> {
    let declared = Declared::read(&image.tree, &image.bodies, Some(LINES))?;
    let accounts = image.packages.accounts.clone();
    let resettling = Resettling {
        from: var,
        to: var,
        homes: false,
        declared: &declared,
        accounts: &accounts,
        by: BY,
    };
    resettling.apply(image, report)
}

/// Leaves the content in the commit; databases have links where they were.
fn keep(image: &mut Image, var: &ImagePath, links: &[Line], report: &mut Report) -> Result<()> {
    for link in links {
        if let Some(target) = &link.argument {
            image.tree.insert(&link.path, symlink(target))?;
        }
    }
    if !names(&image.tree, var).is_empty() {
        report.advise(
            BY,
            var,
            "stays in the commit: libostree 2024.3 and newer copy it into an empty /var, on the first deployment only",
            "make sure of the host's libostree, or leave out --var=keep",
        );
    }
    Ok(())
}

/// Makes links of `/var/run` and `/var/lock`, which are other names of `/run`.
fn link_runtime(image: &mut Image, report: &mut Report) -> Result<()> {
    for &(path, target) in RUNTIME {
        let path = fixed(path);
        let found = image
            .tree
            .lookup(&path)
            .map(|id| &image.tree.inode(id).content);
        if found.is_some_and(|content| !matches!(content, Content::Symlink(_))) {
            let why = format!("a link to {target}, as on every host");
            drop_subtree(&mut image.tree, &path, BY, &why, report);
            image.tree.insert(&path, symlink(target.as_bytes()))?;
        }
    }
    Ok(())
}

/// Drops files that tell of the build or are every host's own. Directories and links stay.
fn drop_what_hosts_make(tree: &mut Tree, report: &mut Report) {
    let mut drop = Vec::new();
    for &(directory, why) in OF_THE_BUILD {
        for (path, id) in tree.walk_from(&fixed(directory)) {
            if !matches!(
                tree.inode(id).content,
                Content::Directory(_) | Content::Symlink(_)
            ) {
                drop.push((path, why));
            }
        }
    }
    for &secret in SECRETS {
        drop.push((fixed(secret), "a secret: every host makes its own"));
    }
    let temporary = fixed("var/tmp");
    for name in names(tree, &temporary) {
        drop.push((temporary.join(&name), "temporary"));
    }
    for (path, why) in drop {
        drop_subtree(tree, &path, BY, why, report);
    }
}

/// Puts `text` at `path`, keeping the mode and owner of a file that is there.
fn write(image: &mut Image, path: &ImagePath, text: &[u8], report: &mut Report) -> Result<()> {
    let found = image
        .tree
        .lookup(path)
        .map(|id| image.tree.inode(id).clone());
    let before = match found.as_ref().map(|inode| &inode.content) {
        Some(&Content::File { body, size }) if size == text.len() as u64 => {
            Some(image.bodies.read(body, size)?)
        }
        _ => None,
    };
    if before.as_deref() == Some(text) {
        return Ok(());
    }
    let content = Content::File {
        body: image.bodies.add(text),
        size: text.len() as u64,
    };
    let action = match found {
        Some(_) => Action::Changed,
        None => Action::Added,
    };
    let metadata = match found {
        Some(inode) if matches!(inode.content, Content::File { .. }) => inode.metadata,
        _ => Metadata {
            mode: 0o644,
            ..Metadata::default()
        },
    };
    image.tree.insert(path, Inode { metadata, content })?;
    let last = text.trim_ascii_end().rsplit(|&b| b == b'\n').next();
    let detail = String::from_utf8_lossy(last.unwrap_or_default()).into_owned();
    report.note(BY, action, path, detail);
    Ok(())
}

fn symlink(target: &[u8]) -> Inode {
    Inode {
        metadata: Metadata {
            mode: 0o777,
            ..Metadata::default()
        },
        content: Content::Symlink(target.into()),
    }
}

fn names(tree: &Tree, directory: &ImagePath) -> Vec<Box<[u8]>> {
    let children = tree.lookup(directory).and_then(|id| tree.children(id));
    children
        .into_iter()
        .flat_map(|c| c.keys().cloned())
        .collect()
}

fn fixed(path: &str) -> ImagePath {
    ImagePath::parse(path.as_bytes()).expect("a constant without `..`")
}

#[cfg(test)]
mod tests;
