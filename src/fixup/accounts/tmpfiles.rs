//! Lines of `tmpfiles.d(5)` that give files in `/etc` and `/var` to their owners by name.
//!
//! `ostree` merges the files of the image into the host's `/etc` with the numbers of the image, and
//! the host's `/etc/passwd`, with the numbers of the host, wins.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use anyhow::Result;

use super::files::{System, TextFile, is_strict_name, path, write_own};
use crate::fixup::Image;
use crate::fixup::pattern::matches;
use crate::packages::{AccountDatabase, fragments};
use crate::path::ImagePath;
use crate::report::Report;
use crate::tree::{Content, Inode};

/// Our file.
pub const FILE: &str = "usr/lib/tmpfiles.d/import-oci-accounts.conf";

const HEADER: &str = "\
# Owners by name, because a host may have other numbers for them, see tmpfiles.d(5). Made by import-oci.
";

/// Files that policies keep from `systemd-tmpfiles` as from everybody but the programs that change
/// passwords, which give them to their owner by name whenever they write them.
const PASSWORDS: [&[u8]; 2] = [b"etc/shadow", b"etc/gshadow"];

/// Writes a line for each file and directory in `/etc` and `/var` that a system account owns, unless
/// a line of the image is about it already, or it is one of [`PASSWORDS`].
pub fn name_owners(image: &mut Image, system: &System, report: &mut Report) -> Result<()> {
    let file = path(FILE);
    let accounts = &image.packages.accounts;
    let declared = Declared::read(image, &file)?;
    let mut lines = BTreeMap::new();
    // In a commit of ours /var has gone, and only its lines tell what was there.
    if let Some(before) = TextFile::at(image, file.clone())? {
        lines.extend(fragments::lines(&before.text).filter_map(|line| still_good(line, accounts)));
    }
    for (place, host) in [("etc", "etc"), ("usr/etc", "etc"), ("var", "var")] {
        let place = path(place);
        for (found, id) in image.tree.walk_from(&place) {
            let below = found.components().skip(place.components().count());
            let on_host = below.fold(path(host), |path, name| path.join(name));
            if PASSWORDS.contains(&on_host.as_bytes()) || declared.is_about(&on_host) {
                continue;
            }
            if let Some(line) = line(&on_host, image.tree.inode(id), accounts, system) {
                lines.insert(escape(&on_host), line);
            }
        }
    }
    let text = lines
        .values()
        .fold(String::new(), |text, line| text + line + "\n");
    let text = (!lines.is_empty()).then(|| format!("{HEADER}{text}"));
    let what = format!(
        "lines that give files to their owners by name: {}",
        lines.len()
    );
    write_own(
        image,
        &file,
        text.as_deref().map(str::as_bytes),
        &what,
        report,
    )
}

/// The line for a file; `None`: no system account owns it, or it is a link.
fn line(
    path: &ImagePath,
    inode: &Inode,
    accounts: &AccountDatabase,
    system: &System,
) -> Option<String> {
    let metadata = &inode.metadata;
    let is_file = match inode.content {
        Content::Directory(_) => false,
        Content::File { .. } => true,
        Content::Symlink(_) | Content::Special(_) => return None,
    };
    let name = |name: Option<&str>| name.filter(|name| is_strict_name(name)).map(str::to_owned);
    let user = name(accounts.user_name(metadata.uid)).filter(|_| system.has_user(metadata.uid));
    let group = name(accounts.group_name(metadata.gid)).filter(|_| system.has_group(metadata.gid));
    if user.is_none() && group.is_none() {
        return None;
    }
    let field = |name: Option<String>, id| match (name, id) {
        (Some(name), _) => name,
        (None, 0) => "root".to_owned(),
        (None, _) => "-".to_owned(),
    };
    let (user, group) = (field(user, metadata.uid), field(group, metadata.gid));
    // The mode is the host's own business, but a change of owner takes these bits from a file.
    let mode = match metadata.mode {
        mode if is_file && mode & 0o6000 != 0 => format!("{mode:04o}"),
        _ => "-".to_owned(),
    };
    Some(format!("z {} {mode} {user} {group}", escape(path)))
}

/// A line of an earlier import with its path, as long as its accounts exist.
fn still_good(line: &[u8], accounts: &AccountDatabase) -> Option<(String, String)> {
    let line = std::str::from_utf8(line).ok()?;
    // None of the last three fields has a space in it.
    let mut from_end = line.rsplitn(4, ' ');
    let [group, user, _mode, rest] = [(); 4].map(|()| from_end.next());
    let (group, user, path) = (group?, user?, rest?.strip_prefix("z ")?);
    let known = (user == "-" || accounts.uid(user).is_some())
        && (group == "-" || accounts.gid(group).is_some());
    known.then(|| (path.to_owned(), line.to_owned()))
}

/// A path of the host, spelled so that it ends no word and is no specifier, and as a pattern stands for
/// itself alone. Quotes rather than C escapes: systemd 252 takes `\x20` for `x20`.
fn escape(path: &ImagePath) -> String {
    let mut pattern = Vec::new();
    for byte in path.to_absolute() {
        match byte {
            b'%' => pattern.push(b'%'),
            b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\' => pattern.push(b'\\'),
            _ => {}
        }
        pattern.push(byte);
    }
    let mut word = String::new();
    for chunk in pattern.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '"' => word.extend(['\\', c]),
                // These cannot stand in a line; only newer versions find such a file.
                c if c.is_ascii_control() => {
                    write!(word, r"\x{:02x}", u32::from(c)).expect(IN_MEMORY)
                }
                c => word.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(word, r"\x{byte:02x}").expect(IN_MEMORY);
        }
    }
    match word.contains([' ', '\'', '"', '\\']) {
        true => format!("\"{word}\""),
        false => word,
    }
}

const IN_MEMORY: &str = "a string takes all";

/// The paths whose owner the image's own lines decide.
#[derive(Debug, Default)]
struct Declared {
    paths: HashSet<Vec<u8>>,
    patterns: Vec<(Vec<u8>, bool)>,
}

impl Declared {
    /// Reads all files but `except`.
    fn read(image: &Image, except: &ImagePath) -> Result<Self> {
        let mut declared = Self::default();
        for (path, text) in fragments::read(&image.tree, &image.bodies, "tmpfiles.d")? {
            if path != *except {
                fragments::lines(&text).for_each(|line| declared.add(line));
            }
        }
        Ok(declared)
    }

    fn add(&mut self, line: &[u8]) {
        let words = fragments::words(line, 2).unwrap_or_default();
        let [kind, path] = &words[..] else { return };
        let Some(path) = expand(path) else { return };
        match kind[..] {
            [
                b'f' | b'F' | b'd' | b'D' | b'v' | b'q' | b'Q' | b'p' | b'b' | b'c' | b'C',
                ..,
            ] => {
                self.paths.insert(path);
            }
            [kind @ (b'e' | b'm' | b'z' | b'Z'), ..] => self.patterns.push((path, kind == b'Z')),
            _ => {}
        }
    }

    fn is_about(&self, path: &ImagePath) -> bool {
        self.paths.contains(&path.to_absolute())
            || self.patterns.iter().any(|(pattern, recursive)| {
                let mut names = path.components();
                let pattern = pattern
                    .split(|&b| b == b'/')
                    .filter(|name| !name.is_empty());
                let mut pattern = pattern.peekable();
                let is_match = pattern
                    .by_ref()
                    .all(|pattern| names.next().is_some_and(|name| matches(pattern, name)));
                is_match && (*recursive || names.next().is_none())
            })
    }
}

/// Resolves specifiers that are the same on every host. `None`: one is not, or it is no path.
fn expand(path: &[u8]) -> Option<Vec<u8>> {
    let mut expanded = Vec::new();
    let mut bytes = path.strip_suffix(b"/").unwrap_or(path).iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => expanded.extend_from_slice(match bytes.next()? {
                b'%' => b"%",
                b'C' => b"/var/cache",
                b'h' => b"/root",
                b'L' => b"/var/log",
                b'S' => b"/var/lib",
                b't' => b"/run",
                b'T' => b"/tmp",
                b'V' => b"/var/tmp",
                _ => return None,
            }),
            byte => expanded.push(byte),
        }
    }
    expanded.starts_with(b"/").then_some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::image_path;

    #[test]
    fn paths_that_lines_of_the_image_are_about() {
        let mut declared = Declared::default();
        for line in [
            "d /var/lib/a 0755 root root -",
            "d! /var/lib/boot/ - - -",
            "z /etc/cups/*.conf 0640 root lp",
            "Z /var/log/all - adm adm",
            "d %S/b",
            "d %S/%%c",
            "L /var/link - - - - /target",
            "d /var/%m",
            "d 'open",
            "x /var/tmp/*",
        ] {
            declared.add(line.as_bytes());
        }
        for (path, about) in [
            ("var/lib/a", true),
            ("var/lib/a/below", false),
            ("var/lib/boot", true),
            ("etc/cups/x.conf", true),
            ("etc/cups/d/x.conf", false),
            ("etc/cups", false),
            ("var/log/all", true),
            ("var/log/all/below/it", true),
            ("var/log/allied", false),
            ("var/lib/b", true),
            ("var/lib/%c", true),
            ("var/link", false),
            ("var/tmp/x", false),
        ] {
            assert_eq!(declared.is_about(&image_path(path)), about, "{path}");
        }
    }

    #[test]
    fn paths_stand_for_themselves() {
        for (path, text) in [
            ("etc/plain-1.2_3", "/etc/plain-1.2_3"),
            ("etc/a b%c", r#""/etc/a b%%c""#),
            ("etc/a*[b]", r#""/etc/a\\*\\[b\\]""#),
            (r"etc/\", r#""/etc/\\\\""#),
            ("etc/\"é'", r#""/etc/\"é'""#),
            ("etc/a\nb", r#""/etc/a\x0ab""#),
        ] {
            assert_eq!(escape(&image_path(path)), text);
        }
    }
}
