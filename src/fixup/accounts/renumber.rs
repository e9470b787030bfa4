//! The numbers that accounts had in an earlier commit, so that hosts that were deployed from it find
//! their files to belong to the same accounts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Result;

use super::BY;
use super::files::{System, TextFile, path};
use crate::fixup::Image;
use crate::packages::{AccountDatabase, Group, User};
use crate::report::{Action, Report};

/// An account that gets another number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Move {
    name: String,
    from: u32,
    to: u32,
    /// Had it `to` in the earlier commit? Else its number is that of another account there.
    earlier: bool,
}

/// Names and numbers.
type Numbers = Vec<(String, u32)>;

/// Gives the accounts of the image and everything that belongs to them the numbers of `earlier`.
/// An account that is new, with the number of another, gets a free one.
pub fn keep_earlier(
    image: &mut Image,
    earlier: &AccountDatabase,
    report: &mut Report,
) -> Result<()> {
    let passwd = files(image, "passwd")?;
    let group = files(image, "group")?;
    let mut here = AccountDatabase::default();
    passwd.iter().for_each(|file| here.add_passwd(&file.text));
    group.iter().for_each(|file| here.add_group(&file.text));
    let system = System::of(image)?;
    let (uids, gids) = owners(image);
    let users = plan(
        &user_numbers(&here),
        &user_numbers(earlier),
        &uids,
        system.uid_max(),
    );
    let groups = plan(
        &group_numbers(&here),
        &group_numbers(earlier),
        &gids,
        system.gid_max(),
    );
    let (users, groups) = match (users, groups) {
        (Ok(users), Ok(groups)) => (users, groups),
        (users, groups) => {
            let why = [("user", users), ("group", groups)];
            for (kind, why) in why
                .into_iter()
                .filter_map(|(k, plan)| Some((k, plan.err()?)))
            {
                let fix = "give those paths to an account of the image, or leave out --ids-from";
                let place = passwd
                    .first()
                    .map_or_else(|| path("etc"), |file| file.path.clone());
                report.fatal(BY, &place, format!("{kind} {why}"), fix);
            }
            return Ok(());
        }
    };
    let uids = numbers(&user_numbers(&here), &users);
    let gids = numbers(&group_numbers(&here), &groups);
    for file in &passwd {
        let text = edit(&file.text, |fields| {
            let user = User::parse(&fields.join(&b':'))?;
            let moved = users.iter().find(|to| to.name == user.name);
            fields[2] = moved.map_or(user.uid, |to| to.to).to_string().into_bytes();
            fields[3] = moved_id(&gids, user.gid).to_string().into_bytes();
            Some(())
        });
        file.write(image, &text);
    }
    for file in &group {
        let text = edit(&file.text, |fields| {
            let group = Group::parse(&fields.join(&b':'))?;
            let moved = groups.iter().find(|to| to.name == group.name);
            fields[2] = moved.map_or(group.gid, |to| to.to).to_string().into_bytes();
            Some(())
        });
        file.write(image, &text);
    }
    let counts = change_owners(image, &uids, &gids);
    for (kind, files, moves, counts) in [
        ("user", &passwd, &users, &counts.0),
        ("group", &group, &groups, &counts.1),
    ] {
        for Move {
            name,
            from,
            to,
            earlier,
        } in moves
        {
            let why = match earlier {
                true => "as in the earlier commit",
                false => "because the earlier commit has it for another",
            };
            let count = counts.get(from).copied().unwrap_or_default();
            let detail = format!("{kind} {name}: {from} becomes {to}, {why}; {count} files follow");
            let file = files.first().expect("the account stands in one");
            report.note(BY, Action::Changed, &file.path, detail);
        }
    }
    Ok(())
}

/// The files of accounts, the one that counts first.
fn files(image: &Image, name: &str) -> Result<Vec<TextFile>> {
    let etc = TextFile::of_etc(image, name)?;
    let alternative = TextFile::at(image, path("usr/lib").join(name.as_bytes()))?;
    Ok(etc.into_iter().chain(alternative).collect())
}

fn user_numbers(accounts: &AccountDatabase) -> Numbers {
    let users = accounts.users().iter();
    users.map(|user| (user.name.clone(), user.uid)).collect()
}

fn group_numbers(accounts: &AccountDatabase) -> Numbers {
    let groups = accounts.groups().iter();
    groups
        .map(|group| (group.name.clone(), group.gid))
        .collect()
}

/// Every number that owns something.
fn owners(image: &Image) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let metadata = image.tree.ids().map(|id| &image.tree.inode(id).metadata);
    metadata
        .map(|metadata| (metadata.uid, metadata.gid))
        .unzip()
}

/// Who gets which number. The error: a number is needed that belongs to no account but owns files.
fn plan(
    here: &Numbers,
    earlier: &Numbers,
    owners: &BTreeSet<u32>,
    system_max: u32,
) -> Result<Vec<Move>, String> {
    let had: BTreeMap<&str, u32> = earlier.iter().rev().map(|(n, id)| (&**n, *id)).collect();
    let named: BTreeSet<u32> = here.iter().map(|&(_, id)| id).collect();
    let mut taken: BTreeSet<u32> = had.values().copied().collect();
    taken.extend(named.iter().chain(owners));
    let mut moves = Vec::new();
    for (name, from) in here {
        let (name, from) = (name.clone(), *from);
        match had.get(&*name) {
            // Root is root.
            _ if from == 0 => {}
            Some(&to) if to == from || to == 0 => {}
            Some(&to) if owners.contains(&to) && !named.contains(&to) => {
                return Err(format!(
                    "{name} had the number {to} in the earlier commit, which owns files of this image without having a name"
                ));
            }
            Some(&to) => moves.push(Move {
                name,
                from,
                to,
                earlier: true,
            }),
            None if had.values().any(|&id| id == from) => {
                let to = free(from, system_max, &taken);
                taken.insert(to);
                moves.push(Move {
                    name,
                    from,
                    to,
                    earlier: false,
                });
            }
            None => {}
        }
    }
    Ok(moves)
}

/// A free number of the same kind: for the system the highest, as systemd hands them out; for people
/// the next.
fn free(from: u32, system_max: u32, taken: &BTreeSet<u32>) -> u32 {
    let of_system = (1..=system_max).rev().filter(|_| from <= system_max);
    let next = from.max(system_max).saturating_add(1)..65534;
    of_system
        .chain(next)
        .chain(65536..u32::MAX)
        .find(|id| !taken.contains(id))
        .expect("fewer accounts than numbers")
}

/// From number to number. Where two names have one, files go with the first.
fn numbers(here: &Numbers, moves: &[Move]) -> BTreeMap<u32, u32> {
    let mut numbers = BTreeMap::new();
    for (name, from) in here {
        let moved = moves.iter().find(|to| to.name == *name);
        numbers
            .entry(*from)
            .or_insert(moved.map_or(*from, |to| to.to));
    }
    numbers
}

fn moved_id(ids: &BTreeMap<u32, u32>, id: u32) -> u32 {
    ids.get(&id).copied().unwrap_or(id)
}

/// The text with the fields of each line changed; a line for which that gives `None` stays.
fn edit(text: &[u8], change: impl Fn(&mut Vec<Vec<u8>>) -> Option<()>) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&b| b == b'\n') {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line, &b"\n"[..]),
            None => (line, &b""[..]),
        };
        let mut fields: Vec<_> = line.split(|&b| b == b':').map(<[u8]>::to_vec).collect();
        match change(&mut fields) {
            Some(()) => changed.extend_from_slice(&fields.join(&b':')),
            None => changed.extend_from_slice(line),
        }
        changed.extend_from_slice(end);
    }
    changed
}

type Counts = BTreeMap<u32, u64>;

/// Changes the owners of everything, also where ACLs name them. How many files had each number.
fn change_owners(
    image: &mut Image,
    uids: &BTreeMap<u32, u32>,
    gids: &BTreeMap<u32, u32>,
) -> (Counts, Counts) {
    let (mut users, mut groups) = (Counts::new(), Counts::new());
    let mut seen = HashSet::new();
    let inodes: Vec<_> = image.tree.ids().filter(|id| seen.insert(*id)).collect();
    for id in inodes {
        let metadata = &mut image.tree.inode_mut(id).metadata;
        *users.entry(metadata.uid).or_default() += 1;
        *groups.entry(metadata.gid).or_default() += 1;
        metadata.uid = moved_id(uids, metadata.uid);
        metadata.gid = moved_id(gids, metadata.gid);
        for (name, value) in &mut metadata.xattrs {
            if name.starts_with(b"system.posix_acl_") {
                change_acl(value, uids, gids);
            }
        }
    }
    (users, groups)
}

/// An ACL as its xattr holds it (linux/posix_acl_xattr.h): a version of four bytes, then entries of a
/// tag, permissions and a number.
fn change_acl(acl: &mut [u8], uids: &BTreeMap<u32, u32>, gids: &BTreeMap<u32, u32>) {
    const USER: [u8; 2] = 2_u16.to_le_bytes();
    const GROUP: [u8; 2] = 8_u16.to_le_bytes();
    for entry in acl.get_mut(4..).unwrap_or_default().chunks_exact_mut(8) {
        let (head, number) = entry.split_at_mut(4);
        let ids = match [head[0], head[1]] {
            USER => uids,
            GROUP => gids,
            _ => continue,
        };
        let id = u32::from_le_bytes(number.try_into().expect("four of eight bytes"));
        number.copy_from_slice(&moved_id(ids, id).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(list: &[(&str, u32)]) -> Numbers {
        list.iter()
            .map(|&(name, id)| (name.to_owned(), id))
            .collect()
    }

    #[test]
    fn plans() {
        let earlier = accounts(&[
            ("root", 0),
            ("a", 990),
            ("b", 991),
            ("gone", 992),
            ("x", 1000),
        ]);
        for (here, want) in [
            (&[("root", 0), ("a", 990), ("new", 5)][..], &[][..]),
            // Exchanged.
            (
                &[("a", 991), ("b", 990)],
                &[("a", 991, 990), ("b", 990, 991)],
            ),
            // New, with the number of another: one that is there, one that is gone.
            (
                &[("a", 991), ("new", 990)],
                &[("a", 991, 990), ("new", 990, 999)],
            ),
            (
                &[("n", 991), ("m", 992), ("o", 999)],
                &[("n", 991, 998), ("m", 992, 997)],
            ),
            (&[("alice", 1000), ("bob", 1001)], &[("alice", 1000, 1002)]),
            // What is root's stays root's, and nothing becomes root's.
            (&[("a", 0), ("root", 7)], &[]),
        ] {
            let owners = BTreeSet::from([0]);
            let moves = plan(&accounts(here), &earlier, &owners, 999).unwrap();
            let moves: Vec<_> = moves.iter().map(|m| (&*m.name, m.from, m.to)).collect();
            assert_eq!(moves, want, "{here:?}");
        }
    }

    #[test]
    fn files_of_nobody_become_nobodys() {
        let owners = BTreeSet::from([0, 990, 991]);
        let earlier = accounts(&[("a", 990)]);
        assert!(plan(&accounts(&[("a", 991)]), &earlier, &owners, 999).is_err());
        assert!(plan(&accounts(&[("a", 991), ("b", 990)]), &earlier, &owners, 999).is_ok());
        // A number that is handed out owns nothing either.
        let owners = BTreeSet::from([0, 999]);
        let moves = plan(&accounts(&[("new", 990)]), &earlier, &owners, 999).unwrap();
        assert_eq!(moves[0].to, 998);
    }

    #[test]
    fn entries_of_acls() {
        let entry =
            |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[4, 0], &id.to_le_bytes()].concat();
        let acl = |user, group| {
            let version = 2_u32.to_le_bytes().to_vec();
            let entries = [
                entry(1, u32::MAX),
                entry(2, user),
                entry(8, group),
                entry(0x20, u32::MAX),
            ];
            [version, entries.concat()].concat()
        };
        let mut value = acl(5, 5);
        change_acl(&mut value, &[(5, 6)].into(), &[(5, 7)].into());
        assert_eq!(value, acl(6, 7));
        change_acl(&mut [2, 0, 0], &[].into(), &[].into());
    }
}
