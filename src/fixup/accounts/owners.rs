//! Numbers of owners that have no name, or not the same on every host.

use std::collections::BTreeMap;

use anyhow::Result;

use super::files::{System, TextFile, path};
use super::{BY, Users};
use crate::fixup::Image;
use crate::metadata::Metadata;
use crate::packages::AccountDatabase;
use crate::packages::sysusers::{Declaration, declarations};
use crate::path::ImagePath;
use crate::report::Report;

/// What a file system is mounted over: what an image has there is never seen.
const MOUNTED_OVER: &[&str] = &["dev", "proc", "run", "sys", "tmp"];

/// What a host has of its own, where lines of tmpfiles.d name owners: it is writable.
const WRITABLE: &[&str] = &[
    "boot",
    "etc",
    "home",
    "media",
    "mnt",
    "root",
    "srv",
    "var",
    "usr/etc",
    // Copied to /etc and /var.
    "usr/share/factory",
];

/// Tells of owners without a name, and of movable ones where nothing can give files to them by name.
pub fn tell(image: &Image, system: &System, report: &mut Report) -> Result<()> {
    tell_nameless(image, report);
    tell_movable(image, &Fixed::of(image, system)?, report);
    Ok(())
}

/// One line for each number.
fn tell_nameless(image: &Image, report: &mut Report) {
    let accounts = &image.packages.accounts;
    let mut found: BTreeMap<_, (ImagePath, u64)> = BTreeMap::new();
    for (path, metadata) in owned(image, MOUNTED_OVER) {
        let Metadata { uid, gid, .. } = *metadata;
        let user = accounts.user_name(uid).is_none().then_some(("user", uid));
        let group = accounts.group_name(gid).is_none().then_some(("group", gid));
        for owner in [user, group]
            .into_iter()
            .flatten()
            .filter(|&(_, id)| id != 0)
        {
            found.entry(owner).or_insert_with(|| (path.clone(), 0)).1 += 1;
        }
    }
    for ((kind, id), (first, count)) in found {
        let detail = match count {
            1 => format!("it belongs to the {kind} {id}, which has no name"),
            _ => format!(
                "the first of {count} paths that belong to the {kind} {id}, which has no name"
            ),
        };
        let fix = "give them to an account of the image, or make one with that number";
        report.advise(BY, &first, detail, fix);
    }
}

/// User and group with their numbers, where these may be others on a host.
type Owners<'n> = [Option<(&'n str, u32)>; 2];

/// One line for each subtree of one owner.
fn tell_movable(image: &Image, fixed: &Fixed, report: &mut Report) {
    let accounts = &image.packages.accounts;
    let without: Vec<_> = MOUNTED_OVER.iter().chain(WRITABLE).copied().collect();
    let mut found: Vec<(ImagePath, Owners<'_>, u64)> = Vec::new();
    // The subtrees on the way to where the walk is.
    let mut open: Vec<usize> = Vec::new();
    for (path, metadata) in owned(image, &without) {
        let Metadata { uid, gid, .. } = *metadata;
        let user = accounts
            .user_name(uid)
            .filter(|_| fixed.is_movable_user(uid));
        let group = accounts
            .group_name(gid)
            .filter(|_| fixed.is_movable_group(gid));
        let owners = [user.map(|name| (name, uid)), group.map(|name| (name, gid))];
        if owners == [None, None] {
            continue;
        }
        while open
            .pop_if(|&mut top| !path.starts_with(&found[top].0))
            .is_some()
        {}
        match open.iter().find(|&&top| found[top].1 == owners) {
            Some(&top) => found[top].2 += 1,
            None => {
                open.push(found.len());
                found.push((path, owners, 1));
            }
        }
    }
    for (path, [user, group], count) in found {
        let user = user.map(|(name, id)| format!("the user {name} ({id})"));
        let group = group.map(|(name, id)| format!("the group {name} ({id})"));
        let owners: Vec<_> = user.into_iter().chain(group).collect();
        let owners = owners.join(" and ");
        let others = match count {
            1 => String::new(),
            _ => format!(", with {} more below it,", count - 1),
        };
        let detail =
            format!("it belongs{others} to {owners}, whose number may be another's on a host");
        let fix = "choose --users=altfiles where the image has nss-altfiles, or --ids-from=REF to keep the numbers of an earlier commit, or declare the number in sysusers.d";
        report.advise(BY, &path, detail, fix);
    }
}

/// Every path but those in `without`, with its metadata.
fn owned<'i>(
    image: &'i Image,
    without: &[&str],
) -> impl Iterator<Item = (ImagePath, &'i Metadata)> {
    let without: Vec<_> = without.iter().map(|place| path(place)).collect();
    let tree = &image.tree;
    let files = tree
        .walk()
        .map(|(path, id)| (path, &tree.inode(id).metadata));
    files.filter(move |(path, metadata)| {
        (metadata.uid, metadata.gid) != (0, 0)
            && !without.iter().any(|place| path.starts_with(place))
    })
}

/// The accounts whose numbers are the same on every host, or that an earlier commit had.
#[derive(Debug)]
struct Fixed {
    system: System,
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Fixed {
    fn of(image: &Image, system: &System) -> Result<Self> {
        let mut fixed = Self {
            system: *system,
            users: Vec::new(),
            groups: Vec::new(),
        };
        // Our own lines ask for numbers, too, but they ask late: of hosts that have others already.
        let own = path(super::sysusers::FILE);
        for declaration in declarations(&image.tree, &image.bodies, Some(&own))? {
            match declaration {
                Declaration::User { id, group, .. } => {
                    fixed.users.extend(id.fixed(&image.tree, |owned| owned.uid));
                    let own_group = id.fixed(&image.tree, |owned| owned.gid);
                    fixed.groups.extend(own_group.filter(|_| group.is_none()));
                }
                Declaration::Group { id, .. } => {
                    fixed
                        .groups
                        .extend(id.fixed(&image.tree, |owned| owned.gid));
                }
                Declaration::Member { .. } => {}
            }
        }
        let accounts = &image.packages.accounts;
        if let Some(earlier) = &image.options.earlier_accounts {
            fixed.add(
                accounts,
                |user| earlier.uid(user),
                |group| earlier.gid(group),
            );
        }
        if image.options.users == Users::Altfiles {
            let mut altfiles = AccountDatabase::default();
            if let Some(file) = TextFile::at(image, path("usr/lib/passwd"))? {
                altfiles.add_passwd(&file.text);
            }
            if let Some(file) = TextFile::at(image, path("usr/lib/group"))? {
                altfiles.add_group(&file.text);
            }
            fixed.add(
                accounts,
                |user| altfiles.uid(user),
                |group| altfiles.gid(group),
            );
        }
        Ok(fixed)
    }

    /// Adds the accounts whose number is the same elsewhere.
    fn add(
        &mut self,
        accounts: &AccountDatabase,
        uid: impl Fn(&str) -> Option<u32>,
        gid: impl Fn(&str) -> Option<u32>,
    ) {
        let users = accounts.users().iter();
        self.users
            .extend(users.filter(|u| uid(&u.name) == Some(u.uid)).map(|u| u.uid));
        let groups = accounts.groups().iter();
        self.groups.extend(
            groups
                .filter(|g| gid(&g.name) == Some(g.gid))
                .map(|g| g.gid),
        );
    }

    fn is_movable_user(&self, uid: u32) -> bool {
        self.system.has_user(uid) && !self.users.contains(&uid)
    }

    fn is_movable_group(&self, gid: u32) -> bool {
        self.system.has_group(gid) && !self.groups.contains(&gid)
    }
}
