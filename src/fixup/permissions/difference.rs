//! What differs between an inode and what is claimed of it, and what of that was plainly lost.

use std::fmt;

use super::claims::Claim;
use crate::metadata::Metadata;
use crate::packages::{Account, AccountDatabase};
use crate::tree::{Content, Inode};

const CAPABILITY: &[u8] = b"security.capability";
/// The mode that builders give a directory they know nothing of.
const DEFAULT_DIRECTORY: u32 = 0o755;
/// Set-user-ID, set-group-ID and sticky.
const SPECIAL_BITS: u32 = 0o7000;
const SETUID: u32 = 0o4000;

/// What an inode should be.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub(super) differences: Vec<Difference<'a>>,
    /// Accounts that nobody knows the number of: `user x`.
    pub(super) unknown: Vec<String>,
}

/// One attribute that differs. Displayed as `mode 0750 instead of 0755`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference<'a> {
    /// As declared.
    pub(super) value: Value<'a>,
    /// As it is, for messages.
    instead_of: String,
    /// Was it plainly lost, so that no author can have meant it?
    pub(super) is_loss: bool,
}

/// A value that is declared.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Mode(u32),
    Owner(u32, &'a Account),
    Group(u32, &'a Account),
    Capabilities(&'a [u8]),
}

impl Value<'_> {
    pub(super) fn apply(&self, metadata: &mut Metadata) {
        match *self {
            Self::Mode(mode) => metadata.mode = mode,
            Self::Owner(uid, _) => metadata.uid = uid,
            Self::Group(gid, _) => metadata.gid = gid,
            Self::Capabilities(value) => {
                metadata.xattrs.insert(CAPABILITY.into(), value.into());
            }
        }
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Mode(mode) => write!(f, "mode {mode:04o}")?,
            Value::Owner(_, account) => write!(f, "owner {account}")?,
            Value::Group(_, account) => write!(f, "group {account}")?,
            Value::Capabilities(_) => write!(f, "capabilities")?,
        }
        write!(f, " instead of {}", self.instead_of)
    }
}

/// Compares. Owner before mode before capabilities: the order in which a file system takes them.
pub(super) fn of<'a>(inode: &Inode, claim: &Claim<'a>, accounts: &AccountDatabase) -> Found<'a> {
    let metadata = &inode.metadata;
    let mut found = Found::default();
    let mut owner = |account: Option<&'a Account>, is_user: bool, have: u32| {
        let account = account?;
        let number = match account {
            Account::Number(number) => Some(*number),
            Account::Name(name) if is_user => accounts.uid(name),
            Account::Name(name) => accounts.gid(name),
        };
        let Some(number) = number else {
            let kind = if is_user { "user" } else { "group" };
            found.unknown.push(format!("{kind} {account}"));
            return None;
        };
        let value = match is_user {
            true => Value::Owner(number, account),
            false => Value::Group(number, account),
        };
        (number != have).then(|| Difference {
            value,
            instead_of: have.to_string(),
            is_loss: have == 0,
        })
    };
    let owners = [
        owner(claim.owner, true, metadata.uid),
        owner(claim.group, false, metadata.gid),
    ];
    found.differences.extend(owners.into_iter().flatten());
    found.differences.extend(mode(inode, claim));
    found.differences.extend(capabilities(inode, claim));
    found
}

fn mode<'a>(inode: &Inode, claim: &Claim<'_>) -> Option<Difference<'a>> {
    let (want, have) = (claim.mode?, inode.metadata.mode);
    // A package that sets capabilities takes the set-user-ID bit off only where it can.
    if matches!(inode.content, Content::Symlink(_)) || want == have {
        return None;
    }
    let is_loss = match inode.content {
        Content::Directory(_) => have == DEFAULT_DIRECTORY,
        _ => want & !SPECIAL_BITS == have & !SPECIAL_BITS && have & !want == 0,
    };
    Some(Difference {
        value: Value::Mode(want),
        instead_of: format!("{have:04o}"),
        is_loss,
    })
}

fn capabilities<'a>(inode: &Inode, claim: &Claim<'a>) -> Option<Difference<'a>> {
    let want = claim.capabilities?;
    let have = inode.metadata.xattrs.get(CAPABILITY);
    let fell_back = claim.setuid_instead && inode.metadata.mode & SETUID != 0;
    if fell_back || have.is_some_and(|have| **have == *want) {
        return None;
    }
    Some(Difference {
        value: Value::Capabilities(want),
        instead_of: have.map_or("none", |_| "others").to_owned(),
        is_loss: have.is_none(),
    })
}
