//! Is a difference between a declaration and the image a loss, or was it meant?

use super::Repair;
use crate::metadata::{CAPABILITY_XATTR, Metadata};
use crate::packages::Capabilities;
use crate::tree::Inode;

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

/// What a builder gives a directory that it makes without knowing of it.
const DIRECTORY: u32 = 0o755;

/// What a declaration asks of one inode; `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub capabilities: Option<Capabilities>,
}

/// Why a difference stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The user asked for a report; it was plainly lost.
    Lost,
    /// It may be meant.
    Meant,
    /// Only the running system makes the path.
    Ghost,
    /// The content of the file is not the one that is declared, or that is not known.
    Content,
    /// Another name of the file was compared before.
    OtherName,
}

impl Reason {
    /// It, behind the name of the package.
    pub fn words(self) -> &'static str {
        match self {
            Self::Lost | Self::Meant => "",
            Self::Ghost => ", which does not ship it,",
            Self::Content => ", to which the content is not known to belong,",
            Self::OtherName => ", which has it under another name, too,",
        }
    }

    /// What to do about it.
    pub fn fix(self) -> Option<&'static str> {
        match self {
            Self::Lost => Some("--repair=missing sets what is declared"),
            Self::Meant => Some("if it is not meant, --repair=full sets what is declared"),
            Self::Content => Some("if it is not meant, install the package again"),
            Self::Ghost | Self::OtherName => None,
        }
    }
}

/// One aspect that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    what: &'static str,
    found: String,
    wanted: String,
}

/// What becomes of the differences of one inode. Mode and owners belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    wanted: Wanted,
    access: Vec<Difference>,
    access_kept: Option<Reason>,
    capabilities: Option<Difference>,
    capabilities_kept: Option<Reason>,
}

/// Compares `inode` with what is declared of it.
pub fn judge(inode: &Inode, wanted: &Wanted, repair: Repair) -> Judgement {
    let metadata = &inode.metadata;
    let mut access = Vec::new();
    let mut compare = |what, found: u32, wanted: Option<u32>, print: fn(u32) -> String| {
        if let Some(wanted) = wanted.filter(|&wanted| wanted != found) {
            let [found, wanted] = [found, wanted].map(print);
            access.push(Difference {
                what,
                found,
                wanted,
            });
        }
    };
    compare("mode", metadata.mode, wanted.mode, |mode| {
        format!("{mode:04o}")
    });
    compare("user", metadata.uid, wanted.uid, |id| id.to_string());
    compare("group", metadata.gid, wanted.gid, |id| id.to_string());
    let value = metadata.xattrs.get(CAPABILITY_XATTR);
    Judgement {
        wanted: wanted.clone(),
        access,
        access_kept: keep(repair, access_was_lost(inode, wanted)),
        capabilities: compare_capabilities(value.map(|value| &**value), wanted.capabilities),
        capabilities_kept: keep(repair, value.is_none()),
    }
}

/// Why a difference stays, if it does.
fn keep(repair: Repair, lost: bool) -> Option<Reason> {
    match (repair, lost) {
        (Repair::Full, _) | (Repair::Missing, true) => None,
        (Repair::Report, true) => Some(Reason::Lost),
        (Repair::Report | Repair::Missing, false) => Some(Reason::Meant),
    }
}

/// Is everything either as declared or what is left when nobody cared? One value that is neither was
/// chosen by somebody, and so may be the others.
fn access_was_lost(inode: &Inode, wanted: &Wanted) -> bool {
    let metadata = &inode.metadata;
    let is_directory = inode.content.is_directory();
    let mode = wanted.mode.is_none_or(|wanted| {
        let plain = [wanted, wanted & 0o777].contains(&metadata.mode);
        plain || (is_directory && metadata.mode == DIRECTORY)
    });
    let chosen_acl = wanted.mode != Some(metadata.mode) && metadata.xattrs.contains_key(ACCESS_ACL);
    let owner =
        |found: u32, wanted: Option<u32>| wanted.is_none_or(|wanted| [wanted, 0].contains(&found));
    mode && !chosen_acl && owner(metadata.uid, wanted.uid) && owner(metadata.gid, wanted.gid)
}

fn compare_capabilities(found: Option<&[u8]>, wanted: Option<Capabilities>) -> Option<Difference> {
    let wanted = wanted?;
    let none = || "none".to_owned();
    let print = |set: Capabilities| match set.is_empty() {
        true => none(),
        false => set.to_string(),
    };
    let found_set = match found {
        None => Some(Capabilities::default()),
        Some(value) => Capabilities::from_xattr(value),
    };
    (found_set != Some(wanted)).then(|| Difference {
        what: "capabilities",
        found: found_set.map_or_else(|| "unreadable".to_owned(), print),
        wanted: print(wanted),
    })
}

impl Judgement {
    /// Leaves all differences that would be repaired as they are.
    pub fn keep(&mut self, reason: Reason) {
        self.access_kept.get_or_insert(reason);
        self.capabilities_kept.get_or_insert(reason);
    }

    /// Leaves all differences as they are, and for this reason alone.
    pub fn keep_all(&mut self, reason: Reason) {
        self.access_kept = Some(reason);
        self.capabilities_kept = Some(reason);
    }

    /// Would something be changed?
    pub fn repairs(&self) -> bool {
        self.repaired().is_some()
    }

    /// What is changed, in words.
    pub fn repaired(&self) -> Option<String> {
        let words: Vec<_> = self
            .repaired_differences()
            .map(
                |Difference {
                     what,
                     found,
                     wanted,
                 }| format!("{what} {found} to {wanted}"),
            )
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    fn repaired_differences(&self) -> impl Iterator<Item = &Difference> {
        let access = self.access.iter().filter(|_| self.access_kept.is_none());
        let capabilities = self.capabilities.iter();
        access.chain(capabilities.filter(|_| self.capabilities_kept.is_none()))
    }

    /// What stays different, in words, and why.
    pub fn kept(&self) -> Vec<(String, Reason)> {
        let words = |differences: &[Difference]| {
            let words = differences.iter().map(
                |Difference {
                     what,
                     found,
                     wanted,
                 }| format!("{what} {wanted} instead of {found}"),
            );
            words.collect::<Vec<_>>().join(", ")
        };
        let access = self.access_kept.map(|reason| (&self.access[..], reason));
        let capabilities = self.capabilities_kept;
        let capabilities = capabilities.map(|reason| (self.capabilities.as_slice(), reason));
        [access, capabilities]
            .into_iter()
            .flatten()
            .filter(|(differences, _)| !differences.is_empty())
            .map(|(differences, reason)| (words(differences), reason))
            .collect()
    }

    /// Changes what is to be changed: the owner, then the mode, then the capabilities, the order in
    /// which a kernel would keep all three.
    pub fn apply(&self, metadata: &mut Metadata) {
        if self.access_kept.is_none() {
            let wanted = &self.wanted;
            metadata.uid = wanted.uid.unwrap_or(metadata.uid);
            metadata.gid = wanted.gid.unwrap_or(metadata.gid);
            if wanted.mode.is_some_and(|mode| mode != metadata.mode) {
                // It says what the mode says, and more that the package knows nothing of.
                metadata.xattrs.remove(ACCESS_ACL);
            }
            metadata.mode = wanted.mode.unwrap_or(metadata.mode);
        }
        if let (Some(_), None, Some(set)) = (
            &self.capabilities,
            self.capabilities_kept,
            self.wanted.capabilities,
        ) {
            match set.is_empty() {
                true => metadata.xattrs.remove(CAPABILITY_XATTR),
                false => metadata
                    .xattrs
                    .insert(CAPABILITY_XATTR.into(), set.to_xattr().into()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    fn directory(mode: u32, uid: u32, gid: u32) -> Inode {
        let metadata = Metadata {
            mode,
            uid,
            gid,
            ..Metadata::default()
        };
        Inode {
            metadata,
            content: Content::empty_directory(),
        }
    }

    fn link(uid: u32, gid: u32) -> Inode {
        let content = Content::Symlink(b"x"[..].into());
        let Inode { metadata, .. } = directory(0o777, uid, gid);
        Inode { metadata, content }
    }

    fn wanted(mode: Option<u32>, uid: u32, gid: u32) -> Wanted {
        Wanted {
            mode,
            uid: Some(uid),
            gid: Some(gid),
            ..Wanted::default()
        }
    }

    #[test]
    fn losses_are_told_from_choices() {
        let polkit = wanted(Some(0o750), 0, 998);
        let sticky = wanted(Some(0o1777), 0, 0);
        let mail = wanted(Some(0o2775), 8, 12);
        for (inode, wanted, lost) in [
            (directory(0o755, 0, 0), &polkit, true),
            (directory(0o755, 0, 998), &polkit, true),
            (directory(0o750, 0, 0), &polkit, true),
            (directory(0o700, 0, 0), &polkit, false),
            (directory(0o755, 0, 5), &polkit, false),
            (directory(0o750, 5, 998), &polkit, false),
            (directory(0o755, 0, 0), &sticky, true),
            (directory(0o777, 0, 0), &sticky, true),
            (directory(0o775, 8, 0), &mail, true),
            (directory(0o775, 8, 8), &mail, false),
            (
                link(0, 0),
                &Wanted {
                    mode: None,
                    ..mail.clone()
                },
                true,
            ),
            (
                link(9, 0),
                &Wanted {
                    mode: None,
                    ..mail.clone()
                },
                false,
            ),
        ] {
            assert_eq!(
                access_was_lost(&inode, wanted),
                lost,
                "{inode:?} {wanted:?}"
            );
        }
        let mut chosen = directory(0o755, 0, 0);
        chosen
            .metadata
            .xattrs
            .insert(ACCESS_ACL.into(), b"acl"[..].into());
        assert!(!access_was_lost(&chosen, &polkit));
        let capability = Capabilities::parse("cap_kill=p").unwrap();
        for (value, wanted, words) in [
            (None, capability, Some("none cap_kill=p")),
            (Some(&capability.to_xattr()[..]), capability, None),
            (Some(b"x"), capability, Some("unreadable cap_kill=p")),
            (
                Some(&capability.to_xattr()),
                Capabilities::default(),
                Some("cap_kill=p none"),
            ),
            (None, Capabilities::default(), None),
        ] {
            let found = compare_capabilities(value, Some(wanted));
            let found = found.map(|found| format!("{} {}", found.found, found.wanted));
            assert_eq!(found.as_deref(), words);
        }
    }

    #[test]
    fn full_repairs_everything_and_report_nothing() {
        let polkit = wanted(Some(0o750), 0, 998);
        for (repair, mode, repaired, kept) in [
            (Repair::Report, 0o755, None, Some(Reason::Lost)),
            (Repair::Report, 0o700, None, Some(Reason::Meant)),
            (
                Repair::Missing,
                0o755,
                Some("mode 0755 to 0750, group 0 to 998"),
                None,
            ),
            (Repair::Missing, 0o700, None, Some(Reason::Meant)),
            (
                Repair::Full,
                0o700,
                Some("mode 0700 to 0750, group 0 to 998"),
                None,
            ),
        ] {
            let mut inode = directory(mode, 0, 0);
            let judgement = judge(&inode, &polkit, repair);
            assert_eq!(judgement.repaired().as_deref(), repaired);
            assert_eq!(judgement.kept().first().map(|(_, reason)| *reason), kept);
            judgement.apply(&mut inode.metadata);
            let again = judge(&inode, &polkit, repair);
            assert_eq!(again.repaired(), None);
        }
    }
}
