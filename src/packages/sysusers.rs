//! Lines of `sysusers.d(5)`.

use anyhow::Result;

use super::fragments;
use crate::bodies::Bodies;
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::tree::Tree;

/// A line that names an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declaration {
    /// `u`: a user, and a group of its name unless it has another.
    User {
        /// Login name.
        name: String,
        /// Its number.
        id: Id,
        /// Its primary group, where the line names it.
        group: Option<GroupId>,
        /// Comment.
        gecos: String,
        /// Home directory; empty: `/`.
        home: String,
        /// Login shell; empty: the host's default.
        shell: String,
    },
    /// `g`: a group.
    Group {
        /// Its name.
        name: String,
        /// Its number.
        id: Id,
    },
    /// `m`: a user is a member of a group.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
}

/// The number of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// Any that is free on the host.
    Dynamic,
    /// This one.
    Fixed(u32),
    /// That of the owner of this path.
    OwnerOf(ImagePath),
}

impl Id {
    /// The number, if it is the same on every host; `of` picks it from the owners of a path.
    pub fn fixed(&self, tree: &Tree, of: impl Fn(&Metadata) -> u32) -> Option<u32> {
        match self {
            Self::Dynamic => None,
            Self::Fixed(number) => Some(*number),
            Self::OwnerOf(path) => {
                let id = fragments::resolve(tree, path)?;
                Some(of(&tree.inode(id).metadata))
            }
        }
    }
}

/// The primary group of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupId {
    /// By its number.
    Number(u32),
    /// By its name.
    Name(String),
}

impl Declaration {
    /// Reads a line. `None`: it names no account (`r`, a range of numbers), systemd would refuse it, or
    /// its name is known on the host only (`%m`, `%b`, …).
    pub fn parse(line: &[u8]) -> Option<Self> {
        let words = fragments::words(line, 7)?;
        let field = |index: usize| {
            let word = words
                .get(index)
                .filter(|word| !word.is_empty() && *word != b"-");
            word.map(|word| String::from_utf8_lossy(word).replace("%%", "%"))
        };
        let name = |index| field(index).filter(|name| is_name(name));
        let kind = field(0)?;
        // `u!` is a user who cannot log in.
        match kind.trim_end_matches('!') {
            "u" => {
                let (id, group) = user_id(field(2).as_deref())?;
                Some(Self::User {
                    name: name(1)?,
                    id,
                    group,
                    gecos: field(3).unwrap_or_default(),
                    home: field(4).unwrap_or_default(),
                    shell: field(5).unwrap_or_default(),
                })
            }
            "g" => Some(Self::Group {
                name: name(1)?,
                id: id(field(2).as_deref())?,
            }),
            "m" => Some(Self::Member {
                user: name(1)?,
                group: name(2)?,
            }),
            _ => None,
        }
    }
}

/// Every line of the image's own `sysusers.d` that names an account, apart from those of the file
/// `except`, in the order in which systemd reads them.
pub fn declarations(
    tree: &Tree,
    bodies: &Bodies,
    except: Option<&ImagePath>,
) -> Result<Vec<Declaration>> {
    let files = fragments::read(tree, bodies, "sysusers.d")?;
    let files = files.iter().filter(|(path, _)| Some(path) != except);
    let lines = files.flat_map(|(_, text)| fragments::lines(text));
    Ok(lines.filter_map(Declaration::parse).collect())
}

fn id(field: Option<&str>) -> Option<Id> {
    match field {
        None => Some(Id::Dynamic),
        Some(path) if path.starts_with('/') => {
            let path = ImagePath::parse(path.as_bytes()).ok()?;
            Some(Id::OwnerOf(path))
        }
        Some(number) => super::accounts::parse_id(number.as_bytes()).map(Id::Fixed),
    }
}

/// The third field of a `u` line: as for a group, or `UID:GID`, or `UID:GROUP`.
fn user_id(field: Option<&str>) -> Option<(Id, Option<GroupId>)> {
    let Some((uid, group)) = field
        .filter(|field| !field.starts_with('/'))
        .and_then(|field| field.split_once(':'))
    else {
        return Some((id(field)?, None));
    };
    let group = match super::accounts::parse_id(group.as_bytes()) {
        Some(number) => GroupId::Number(number),
        None if is_name(group) => GroupId::Name(group.to_owned()),
        None => return None,
    };
    let uid = Some(uid).filter(|uid| *uid != "-");
    Some((id(uid)?, Some(group)))
}

/// Can it be the name of an account? Specifiers are expanded on the host.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || ":/,%".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, id: Id, group: Option<GroupId>) -> Option<Declaration> {
        Some(Declaration::User {
            name: name.to_owned(),
            id,
            group,
            gecos: String::new(),
            home: String::new(),
            shell: String::new(),
        })
    }

    #[test]
    fn lines() {
        let owner_of = |path: &str| Id::OwnerOf(crate::testing::image_path(path));
        for (line, want) in [
            ("u a", user("a", Id::Dynamic, None)),
            ("u! a -", user("a", Id::Dynamic, None)),
            ("u a 7", user("a", Id::Fixed(7), None)),
            ("u a 7:8", user("a", Id::Fixed(7), Some(GroupId::Number(8)))),
            (
                "u a -:games",
                user("a", Id::Dynamic, Some(GroupId::Name("games".to_owned()))),
            ),
            ("u a /usr/bin/x", user("a", owner_of("usr/bin/x"), None)),
            (
                r#"u a 7 "An %% account" /var/lib/a /bin/sh"#,
                Some(Declaration::User {
                    name: "a".to_owned(),
                    id: Id::Fixed(7),
                    group: None,
                    gecos: "An % account".to_owned(),
                    home: "/var/lib/a".to_owned(),
                    shell: "/bin/sh".to_owned(),
                }),
            ),
            (
                "g a 7",
                Some(Declaration::Group {
                    name: "a".to_owned(),
                    id: Id::Fixed(7),
                }),
            ),
            (
                "m a b",
                Some(Declaration::Member {
                    user: "a".to_owned(),
                    group: "b".to_owned(),
                }),
            ),
            ("r - 500-900", None),
            ("u a%b 7", None),
            ("u a seven", None),
            ("u a 7:", None),
            ("u a /../x", None),
            ("u", None),
            ("m a", None),
            ("u a 4294967295", None),
            ("u 'a", None),
        ] {
            assert_eq!(Declaration::parse(line.as_bytes()), want, "{line}");
        }
    }
}
