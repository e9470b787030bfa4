//! Users and groups, as `passwd(5)`, `group(5)` and `sysusers.d(5)` write them.

use anyhow::Result;

use super::fragments;
use super::sysusers::{self, Declaration, GroupId};
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

impl User {
    /// Reads a line. `None`: it is a comment, speaks of NIS, or has no name and numbers.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let fields = fields(line)?;
        let text = |index: usize| {
            let field = fields.get(index).copied().unwrap_or_default();
            String::from_utf8_lossy(field).into_owned()
        };
        Some(Self {
            name: text(0),
            uid: parse_id(fields.get(2)?)?,
            gid: parse_id(fields.get(3)?)?,
            gecos: text(4),
            home: text(5),
            shell: text(6),
        })
    }
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

impl Group {
    /// Reads a line. `None`: as for [`User::parse`].
    pub fn parse(line: &[u8]) -> Option<Self> {
        let fields = fields(line)?;
        let members = fields.get(3).copied().unwrap_or_default();
        let members = members.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        Some(Self {
            name: String::from_utf8_lossy(fields[0]).into_owned(),
            gid: parse_id(fields.get(2)?)?,
            members: members
                .filter(|name| !name.is_empty())
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        })
    }
}

/// The fields of a line that names an account; the first is its name.
fn fields(line: &[u8]) -> Option<Vec<&[u8]>> {
    let fields: Vec<_> = line.split(|&b| b == b':').collect();
    let name = fields[0];
    // `+` and `-` include and exclude accounts of NIS.
    let special = name.first().is_none_or(|first| b"+-#".contains(first));
    (!special).then_some(fields)
}

/// The number of an account. All bits set mean "none" to the kernel.
pub(super) fn parse_id(digits: &[u8]) -> Option<u32> {
    let decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| decimal)?;
    text.parse().ok().filter(|&id| id != u32::MAX)
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
    ///
    /// # Errors
    /// A file of accounts is too large to be one.
    pub fn read(tree: &Tree, bodies: &Bodies) -> Result<Self> {
        let mut database = Self::default();
        let file = |name: &str| fragments::read_file(tree, bodies, &fragments::path(name));
        for name in ["passwd", "group"] {
            let etc = match file(&format!("etc/{name}"))? {
                None => file(&format!("usr/etc/{name}"))?,
                found => found,
            };
            for text in [etc, file(&format!("usr/lib/{name}"))?]
                .into_iter()
                .flatten()
            {
                match name {
                    "passwd" => database.add_passwd(&text),
                    _ => database.add_group(&text),
                }
            }
        }
        database.declare(tree, sysusers::declarations(tree, bodies, None)?);
        Ok(database)
    }

    /// Adds the accounts of a file like `/etc/passwd` whose names it does not have yet. A line that is
    /// none is passed over, as the C library does.
    pub fn add_passwd(&mut self, text: &[u8]) {
        for line in text.split(|&b| b == b'\n') {
            self.add_user(User::parse(line.trim_ascii()));
        }
    }

    /// As [`AccountDatabase::add_passwd`], for a file like `/etc/group`.
    pub fn add_group(&mut self, text: &[u8]) {
        for line in text.split(|&b| b == b'\n') {
            self.add_group_line(Group::parse(line.trim_ascii()));
        }
    }

    fn add_user(&mut self, user: Option<User>) {
        let Some(user) = user else { return };
        if self.uid(&user.name).is_none() {
            self.users.push(user);
        }
    }

    fn add_group_line(&mut self, group: Option<Group>) {
        let Some(group) = group else { return };
        if self.gid(&group.name).is_none() {
            self.groups.push(group);
        }
    }

    /// Adds what lines of `sysusers.d` declare with numbers that are the same on every host: all
    /// groups before the users that have them.
    fn declare(&mut self, tree: &Tree, declarations: Vec<Declaration>) {
        for declaration in &declarations {
            let (name, gid) = match declaration {
                Declaration::Group { name, id } => (name, id.fixed(tree, |owned| owned.gid)),
                Declaration::User {
                    name,
                    id,
                    group: None,
                    ..
                } => (name, id.fixed(tree, |owned| owned.gid)),
                _ => continue,
            };
            self.add_group_line(gid.map(|gid| Group {
                name: name.clone(),
                gid,
                members: Vec::new(),
            }));
        }
        for declaration in declarations {
            match declaration {
                Declaration::User {
                    name,
                    id,
                    group,
                    gecos,
                    home,
                    shell,
                } => {
                    let gid = match &group {
                        Some(GroupId::Number(gid)) => Some(*gid),
                        Some(GroupId::Name(group)) => self.gid(group),
                        None => self.gid(&name),
                    };
                    let ids = id.fixed(tree, |owned| owned.uid).zip(gid);
                    self.add_user(ids.map(|(uid, gid)| User {
                        name,
                        uid,
                        gid,
                        gecos,
                        home,
                        shell,
                    }));
                }
                Declaration::Member { user, group } => {
                    let group = self.groups.iter_mut().find(|g| g.name == group);
                    if let Some(group) = group.filter(|group| !group.members.contains(&user)) {
                        group.members.push(user);
                    }
                }
                Declaration::Group { .. } => {}
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    fn list(layers: Layers) -> Vec<String> {
        let (tree, bodies) = layers.merge();
        let database = AccountDatabase::read(&tree, &bodies).unwrap();
        let users = database.users.iter();
        let users = users.map(|u| format!("{}={}:{} {} {}", u.name, u.uid, u.gid, u.home, u.shell));
        let groups = database.groups.iter();
        let groups = groups.map(|g| format!("{}={} {}", g.name, g.gid, g.members.join("+")));
        users.chain(groups).collect()
    }

    #[test]
    fn bad_lines_are_passed_over_and_the_first_wins() {
        let layers = Layers::new()
            .file(
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\n\
                 # a:x:1:1:::\n+nis\n\n:x:1:1:::\nb:x:-1:1:::\nc:x:1\nd:x:4294967295:1:::\n\
                 short:x:5:6\n root:x:1:1:again:/:\n",
            )
            .file("usr/lib/passwd", "root:x:9:9:::\naltfiles:x:2:2::/:\n")
            .file("usr/etc/passwd", "default:x:3:3:::\n")
            .file("etc/group", "root:x:0:\nwheel:x:10:a, b,,c\nbad:x:\n");
        assert_eq!(
            list(layers),
            [
                "root=0:0 /root /bin/sh",
                "short=5:6  ",
                "altfiles=2:2 / ",
                "root=0 ",
                "wheel=10 a+b+c",
            ]
        );
    }

    #[test]
    fn commits_and_links() {
        let layers = Layers::new()
            .file("usr/etc/passwd", "a:x:3:3::/:\n")
            .symlink("usr/etc/group", "/etc/managed/group")
            .file("usr/etc/managed/group", "a:x:3:\n");
        assert_eq!(list(layers), ["a=3:3 / ", "a=3 "]);
        let layers = Layers::new().symlink("etc/passwd", "passwd");
        assert_eq!(list(layers), [""; 0]);
    }

    #[test]
    fn declared_with_fixed_numbers() {
        let layers = Layers::new()
            .file("etc/group", "games:x:60:\n")
            .dir("srv/x", 0o755)
            .owner(70, 71)
            .file(
                "usr/lib/sysusers.d/a.conf",
                "u plain 5 \"A user\" /home/p /bin/sh\n\
                 u dynamic - -\nu%m 6\n\
                 u late 7:later\nm plain games\nm plain games\nm plain absent\n\
                 u both 8:9\nu owner /srv/x\nu alone 10:nobody-has-it\n",
            )
            .file(
                "usr/lib/sysusers.d/b.conf",
                "g later 77\ng plain 99\nr - 1-5\n",
            );
        assert_eq!(
            list(layers),
            [
                "plain=5:5 /home/p /bin/sh",
                "late=7:77  ",
                "both=8:9  ",
                "owner=70:71  ",
                "games=60 plain",
                "plain=5 ",
                "owner=71 ",
                "later=77 ",
            ]
        );
    }

    #[test]
    fn numbers_and_names() {
        let mut database = AccountDatabase::default();
        database.add_passwd(b"a:x:3:4:::\nb:x:3:4:::\n");
        database.add_group(b"g:x:4:\n");
        assert_eq!(database.uid("b"), Some(3));
        assert_eq!(database.gid("g"), Some(4));
        assert_eq!(database.gid("a"), None);
        assert_eq!(database.user_name(3), Some("a"));
        assert_eq!(database.group_name(4), Some("g"));
        assert_eq!(database.group_name(3), None);
    }
}
