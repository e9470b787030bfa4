//! Modes, owners and capabilities that packages declare and that layers lost.

mod agree;
mod judge;
mod locate;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::{Fixup, Image};
use crate::bodies::Bodies;
use crate::packages::{AccountDatabase, DeclaredContent, DeclaredFile, FileKind, Owner};
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, InodeId, Tree};
use agree::agree;
use judge::{Judgement, Reason, Wanted};
use locate::Places;

/// How far the declarations of packages are believed over what an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Repair {
    /// Nothing is repaired, all differences are told.
    Report,
    /// What was plainly lost is repaired, the rest is told.
    #[default]
    Missing,
    /// Every difference is repaired where a file's content is its package's.
    Full,
}

/// Gives paths of packages the modes, owners and capabilities that their packages declare.
///
/// Plainly lost are file capabilities that are gone altogether, and modes and owners that are
/// either as declared or what a builder makes of a path it knows nothing of: a directory with mode
/// 0755, a file without its set-id bits, an owner that is root. A file is repaired only if its
/// content is the package's. What only the running system makes (`%ghost`) never is.
#[derive(Debug)]
pub struct Permissions;

impl Fixup for Permissions {
    fn name(&self) -> &'static str {
        "permissions"
    }

    fn summary(&self) -> &'static str {
        "give files and directories the modes, owners and capabilities that their packages declare"
    }

    fn reason(&self) -> &'static str {
        "Builders reset directory modes, and copies strip file capabilities; programs then fail or secrets lie open."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--repair=missing (default), report or full"]
    }

    fn after(&self) -> &'static [&'static str] {
        &["ostree-base", "xattrs"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        for unread in &image.packages.unread {
            report.advise(self.name(), &unread.path, &unread.reason, &unread.fix);
        }
        let mut accounts = Accounts::new(&image.packages.accounts);
        let mut settled = HashSet::new();
        for (path, (id, files)) in by_place(&image.tree, &image.packages.files) {
            let kind = kind_of(&image.tree.inode(id).content);
            // Where something else lies in its place, the image's author put it there.
            let same_kind =
                |file: &&DeclaredFile| file.kind.is_none_or(|declared| declared == kind);
            let files: Vec<_> = files.into_iter().filter(same_kind).collect();
            let Some(agreed) = agree(&files, kind) else {
                continue;
            };
            if let Some(dissent) = &agreed.dissent {
                let fix = "let only one package own it, or make them agree";
                report.advise(self.name(), &path, dissent, fix);
            }
            let Some(file) = agreed.file else { continue };
            let wanted = accounts.wanted(file, |who| {
                let detail = format!(
                    "package {} gives it to {who}, which the image does not have",
                    file.package
                );
                let fix = "make the account in the image, for example by sysusers.d";
                report.advise(self.name(), &path, detail, fix);
            });
            let inode = image.tree.inode(id);
            let mut judgement = judge::judge(inode, &wanted, image.options.repair);
            if file.ghost {
                judgement.keep_all(Reason::Ghost);
            } else if !settled.insert(id) {
                judgement.keep_all(Reason::OtherName);
            } else if judgement.repairs()
                && !is_of_package(&image.bodies, &inode.content, file, &path)?
            {
                judgement.keep(Reason::Content);
            }
            self.carry_out(&judgement, &path, id, file, &mut image.tree, report);
        }
        Ok(())
    }
}

impl Permissions {
    fn carry_out(
        &self,
        judgement: &Judgement,
        path: &ImagePath,
        id: InodeId,
        file: &DeclaredFile,
        tree: &mut Tree,
        report: &mut Report,
    ) {
        let package = &file.package;
        if let Some(done) = judgement.repaired() {
            judgement.apply(&mut tree.inode_mut(id).metadata);
            let detail = format!("{done}, as package {package} declares");
            report.note(self.name(), Action::Changed, path, detail);
        }
        for (difference, reason) in judgement.kept() {
            let detail = format!("package {package}{} declares {difference}", reason.words());
            match reason.fix() {
                Some(fix) => report.advise(self.name(), path, detail, fix),
                None => report.note(self.name(), Action::Warning, path, detail),
            }
        }
    }
}

/// Every place that packages speak of and the image has, and what they say.
fn by_place<'f>(
    tree: &Tree,
    files: &'f [DeclaredFile],
) -> BTreeMap<ImagePath, (InodeId, Vec<&'f DeclaredFile>)> {
    let mut places = Places::of(tree);
    let mut found = BTreeMap::new();
    for file in files {
        for (path, id) in places.find(&file.path).into_iter().flatten() {
            let (_, files) = found.entry(path).or_insert_with(|| (id, Vec::new()));
            files.push(file);
        }
    }
    found
}

fn kind_of(content: &Content) -> FileKind {
    match content {
        Content::Directory(_) => FileKind::Directory,
        Content::File { .. } => FileKind::Regular,
        Content::Symlink(_) => FileKind::Symlink,
        Content::Special(_) => FileKind::Special,
    }
}

/// Is the content of a file the one that the declaration speaks of?
fn is_of_package(
    bodies: &Bodies,
    content: &Content,
    file: &DeclaredFile,
    path: &ImagePath,
) -> Result<bool> {
    let &Content::File { body, .. } = content else {
        return Ok(true);
    };
    match &file.content {
        DeclaredContent::Any => Ok(true),
        DeclaredContent::Unknown => Ok(false),
        DeclaredContent::Checksum(checksum) => checksum
            .matches(bodies.reader(body))
            .with_context(|| format!("reading {path}")),
    }
}

/// The numbers of accounts: the same few names come up for every path.
struct Accounts<'d> {
    database: &'d AccountDatabase,
    users: HashMap<Arc<str>, Option<u32>>,
    groups: HashMap<Arc<str>, Option<u32>>,
}

impl<'d> Accounts<'d> {
    fn new(database: &'d AccountDatabase) -> Self {
        // Root is root, also in an image without accounts.
        let root = || HashMap::from([("root".into(), Some(0))]);
        Self {
            database,
            users: root(),
            groups: root(),
        }
    }

    /// What a declaration asks for, in numbers. `unknown` is told of accounts that have none.
    fn wanted(&mut self, file: &DeclaredFile, mut unknown: impl FnMut(String)) -> Wanted {
        let mut number = |owner: &Option<Owner>,
                          numbers: &mut HashMap<_, _>,
                          of: &dyn Fn(&str) -> Option<u32>,
                          what| {
            match owner.as_ref()? {
                Owner::Number(number) => Some(*number),
                Owner::Name(name) => {
                    let found = *numbers.entry(name.clone()).or_insert_with(|| of(name));
                    if found.is_none() {
                        unknown(format!("{what} {name}"));
                    }
                    found
                }
            }
        };
        let database = self.database;
        Wanted {
            mode: file.mode,
            uid: number(
                &file.user,
                &mut self.users,
                &|name| database.uid(name),
                "user",
            ),
            gid: number(
                &file.group,
                &mut self.groups,
                &|name| database.gid(name),
                "group",
            ),
            capabilities: file.capabilities,
        }
    }
}
