//! Lines of `sysusers.d(5)` for system accounts that no package declares.

use std::collections::HashSet;

use anyhow::Result;

use super::BY;
use super::files::{System, TextFile, is_strict_name, path, write_own};
use crate::fixup::Image;
use crate::packages::sysusers::{Declaration, declarations};
use crate::packages::{AccountDatabase, User};
use crate::path::ImagePath;
use crate::report::Report;

/// Our file. Its name comes before those of packages, so that systemd-sysusers hands out the fixed
/// numbers in it before it looks for free ones for others.
pub const FILE: &str = "usr/lib/sysusers.d/00-import-oci.conf";

const HEADER: &str = "\
# System accounts of the image that no package declares, see sysusers.d(5). Made by import-oci.
";

/// Writes the lines.
pub fn declare(image: &mut Image, system: &System, report: &mut Report) -> Result<()> {
    let undeclared = Undeclared::of(image, system)?;
    for (kind, name) in &undeclared.refused {
        let detail =
            format!("the {kind} {name:?} has a name that systemd-sysusers takes from no file");
        let fix = "rename it in the image, or choose --users=altfiles";
        report.advise(BY, &undeclared.path, detail, fix);
    }
    let lines = undeclared.lines;
    let text = (!lines.is_empty()).then(|| format!("{HEADER}{}\n", lines.join("\n")));
    let what = format!("lines that declare system accounts: {}", lines.len());
    write_own(
        image,
        &path(FILE),
        text.as_deref().map(str::as_bytes),
        &what,
        report,
    )
}

/// Tells that the lines are missing.
pub fn tell(image: &Image, system: &System, report: &mut Report) -> Result<()> {
    let Undeclared { path, names, .. } = Undeclared::of(image, system)?;
    if !names.is_empty() {
        let names = names.join(", ");
        let detail =
            format!("no sysusers.d declares {names}: a host that is updated does not get them");
        report.advise(
            BY,
            &path,
            detail,
            "choose --users=sysusers or --users=altfiles",
        );
    }
    Ok(())
}

/// What `/etc/passwd` and `/etc/group` have and `sysusers.d` has not.
#[derive(Debug, Default)]
struct Undeclared {
    /// The file of users.
    path: ImagePath,
    /// Names of accounts, groups first, each once.
    names: Vec<String>,
    /// Lines that would declare them and what they are members of.
    lines: Vec<String>,
    /// Users and groups that no line can declare.
    refused: Vec<(&'static str, String)>,
}

impl Undeclared {
    fn of(image: &Image, system: &System) -> Result<Self> {
        let mut here = AccountDatabase::default();
        let passwd = TextFile::of_etc(image, "passwd")?;
        if let Some(file) = &passwd {
            here.add_passwd(&file.text);
        }
        if let Some(file) = TextFile::of_etc(image, "group")? {
            here.add_group(&file.text);
        }
        let declared = declarations(&image.tree, &image.bodies, Some(&path(FILE)))?;
        let all = AccountDatabase::read(&image.tree, &image.bodies)?;
        let path = passwd.map_or_else(ImagePath::root, |file| file.path);
        Ok(Self {
            path,
            ..Self::among(&here, &all, &declared, *system)
        })
    }

    /// Of the accounts that are `here`; `all` knows the names of more.
    fn among(
        here: &AccountDatabase,
        all: &AccountDatabase,
        declared: &[Declaration],
        system: System,
    ) -> Self {
        let (mut users, mut groups, mut members) = Default::default();
        for declaration in declared {
            declare_names(declaration, &mut users, &mut groups, &mut members);
        }
        let mut found = Self::default();
        for group in here.groups() {
            let name = &group.name;
            if system.has_group(group.gid) && !groups.contains(&**name) && found.take("group", name)
            {
                found.lines.push(format!("g {name} {}", group.gid));
            }
        }
        for user in here.users() {
            let name = &user.name;
            if system.has_user(user.uid) && !users.contains(&**name) && found.take("user", name) {
                found.lines.push(user_line(user, all));
            }
        }
        for group in here.groups() {
            for user in &group.members {
                // A line about a user that is none would make one.
                let known = all
                    .uid(user)
                    .is_some_and(|uid| uid == 0 || system.has_user(uid));
                let name = &*group.name;
                let strict = is_strict_name(user) && is_strict_name(name);
                let of_system = group.gid == 0 || system.has_group(group.gid);
                if known && strict && of_system && !members.contains(&(&**user, name)) {
                    found.lines.push(format!("m {user} {name}"));
                }
            }
        }
        found
    }

    /// Can a line declare it?
    fn take(&mut self, kind: &'static str, name: &str) -> bool {
        let strict = is_strict_name(name);
        if !strict {
            self.refused.push((kind, name.to_owned()));
        }
        if !self.names.iter().any(|other| other == name) {
            self.names.push(name.to_owned());
        }
        strict
    }
}

fn declare_names<'a>(
    declaration: &'a Declaration,
    users: &mut HashSet<&'a str>,
    groups: &mut HashSet<&'a str>,
    members: &mut HashSet<(&'a str, &'a str)>,
) {
    match declaration {
        Declaration::User { name, group, .. } => {
            users.insert(name);
            if group.is_none() {
                groups.insert(name);
            }
        }
        Declaration::Group { name, .. } => {
            groups.insert(name);
        }
        Declaration::Member { user, group } => {
            members.insert((user, group));
        }
    }
}

/// The primary group is named, not numbered: on a host it may have another number.
fn user_line(user: &User, accounts: &AccountDatabase) -> String {
    let User { name, uid, gid, .. } = user;
    let group = match accounts
        .group_name(*gid)
        .filter(|name| is_strict_name(name))
    {
        Some(group) => group.to_owned(),
        None => gid.to_string(),
    };
    let gecos = quote(&user.gecos);
    let home = absolute(&user.home).unwrap_or_else(|| "-".to_owned());
    // An empty one is /bin/sh, see passwd(5); that of sysusers.d is not.
    let shell = absolute(&user.shell).unwrap_or_else(|| "/bin/sh".to_owned());
    format!("u {name} {uid}:{group} {gecos} {home} {shell}")
}

/// A path as a field; `None`: systemd would refuse it.
fn absolute(text: &str) -> Option<String> {
    let normal = text.starts_with('/') && !text.split('/').any(|name| name == "." || name == "..");
    (normal && !text.contains(char::is_control)).then(|| quote(text))
}

/// A field that stands for `text`: no word ends in it, and nothing is a specifier.
fn quote(text: &str) -> String {
    let text = text.replace(char::is_control, " ").replace('%', "%%");
    match text.as_str() {
        "" => "-".to_owned(),
        plain if !plain.contains(|c: char| c.is_whitespace() || "\"'\\".contains(c)) => text,
        _ => format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::fragments::lines;

    fn undeclared(passwd: &str, group: &str, sysusers: &str) -> Undeclared {
        let mut accounts = AccountDatabase::default();
        accounts.add_passwd(passwd.as_bytes());
        accounts.add_group(group.as_bytes());
        let declared: Vec<_> = lines(sysusers.as_bytes())
            .filter_map(Declaration::parse)
            .collect();
        let system = System::of_maxima(999, 999);
        Undeclared::among(&accounts, &accounts, &declared, system)
    }

    #[test]
    fn what_no_package_declares() {
        let found = undeclared(
            "root:x:0:0:root:/root:/bin/bash\n\
             covered:x:5:5::/:/bin/sh\n\
             polkitd:x:995:994:User for 100%:/:/sbin/nologin\n\
             games:x:6:60:::\n\
             odd:x:7:7:a \"b\" \\c:relative:/bin/x\n\
             alice:x:1000:1000::/home/alice:/bin/sh\n\
             dotted.name:x:8:60::/:\n",
            "root:x:0:covered\n\
             covered:x:5:\n\
             games:x:60:polkitd,alice,covered,absent,root\n\
             polkitd:x:994:\n\
             told:x:61:covered\n\
             people:x:1001:games\n",
            "u covered - -\nm covered told\ng told -\n",
        );
        assert_eq!(
            found.lines,
            [
                "g games 60",
                "g polkitd 994",
                "u polkitd 995:polkitd \"User for 100%%\" / /sbin/nologin",
                "u games 6:games - - /bin/sh",
                r#"u odd 7:7 "a \"b\" \\c" - /bin/x"#,
                "m covered root",
                "m polkitd games",
                "m covered games",
                "m root games",
            ]
        );
        assert_eq!(found.names, ["games", "polkitd", "odd", "dotted.name"]);
        assert_eq!(found.refused, [("user", "dotted.name".to_owned())]);
        // What we write is what we read.
        for line in found.lines {
            assert!(Declaration::parse(line.as_bytes()).is_some(), "{line}");
        }
    }

    #[test]
    fn a_user_line_declares_its_group_unless_it_has_another() {
        let (passwd, group) = ("a:x:5:5::/:\n", "a:x:5:\n");
        assert_eq!(undeclared(passwd, group, "u a 5").lines, [""; 0]);
        assert_eq!(undeclared(passwd, group, "u a 5:b").lines, ["g a 5"]);
        assert_eq!(
            undeclared(passwd, group, "g a 5").lines,
            ["u a 5:a - / /bin/sh"]
        );
    }
}
