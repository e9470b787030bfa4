//! What dpkg and the scripts of its packages say of files.
//!
//! A `.deb` leaves neither modes nor owners behind once it is unpacked. What an image still knows is what
//! an administrator fixed with dpkg-statoverride(1), and the capabilities that a package's `postinst`
//! sets.

use std::collections::HashMap;

use anyhow::Result;

use super::capabilities;
use super::declared::{Account, ContentDigest, DeclaredFile, DeclaredKind, DigestAlgorithm};
use super::fragments;
use crate::bodies::Bodies;
use crate::path::{ImagePath, escape};
use crate::tree::Tree;

/// Where the database lies: as dpkg has it, and where the `var` fixup puts it.
const DIRECTORIES: [&str; 2] = ["var/lib/dpkg", "usr/lib/sysimage/dpkg"];

/// What an override is said to be of, in place of a package.
const OVERRIDE: &str = "dpkg-statoverride";

/// Reads what the database of `tree` declares.
///
/// # Errors
/// A file of it cannot be read.
pub(super) fn read(tree: &Tree, bodies: &Bodies) -> Result<Vec<DeclaredFile>> {
    let mut declared = Vec::new();
    let directories = DIRECTORIES.map(fragments::path).into_iter();
    let mut present = directories.filter_map(|path| Some((fragments::resolve(tree, &path)?, path)));
    let Some((_, directory)) = present.find(|&(id, _)| tree.children(id).is_some()) else {
        return Ok(declared);
    };
    let overrides = directory.join(b"statoverride");
    if let Some(text) = fragments::read_file(tree, bodies, &overrides)? {
        declared.extend(fragments::lines(&text).filter_map(stat_override));
    }
    let info = directory.join(b"info");
    let scripts = fragments::resolve(tree, &info).and_then(|id| tree.children(id));
    for name in scripts.into_iter().flat_map(|children| children.keys()) {
        let Some(package) = name.strip_suffix(b".postinst") else {
            continue;
        };
        let script = fragments::read_file(tree, bodies, &info.join(name))?.unwrap_or_default();
        let mut files = capabilities_set_by(&escape(package), &String::from_utf8_lossy(&script));
        if !files.is_empty() {
            let sums = info.join(&[package, b".md5sums"].concat());
            let sums = fragments::read_file(tree, bodies, &sums)?.unwrap_or_default();
            for file in &mut files {
                file.digest = digest_of(&file.path, &String::from_utf8_lossy(&sums));
            }
        }
        declared.append(&mut files);
    }
    Ok(declared)
}

/// A line of `statoverride`: user, group, octal mode, path. Numbers have a `#` in front.
fn stat_override(line: &[u8]) -> Option<DeclaredFile> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.splitn(4, ' ');
    let (user, group, mode) = (words.next()?, words.next()?, words.next()?);
    let path = ImagePath::parse(words.next()?.as_bytes()).ok()?;
    let account = |name: &str| match name.strip_prefix('#') {
        Some(number) => number.parse().ok().map(Account::Number),
        None => Some(Account::Name(name.into())),
    };
    let mut file = DeclaredFile::new(path, OVERRIDE.into());
    file.owner = Some(account(user)?);
    file.group = Some(account(group)?);
    file.mode = Some(u32::from_str_radix(mode, 8).ok()? & 0o7777);
    Some(file)
}

/// The capabilities that a shell script gives files by `setcap TEXT PATH`. Only what can be read off it
/// counts: literal words, and variables that are set to a literal or to what `dpkg-divert --truename`
/// says of one.
fn capabilities_set_by(package: &str, script: &str) -> Vec<DeclaredFile> {
    let mut variables = HashMap::new();
    let mut files = Vec::new();
    for line in script.lines().map(str::trim) {
        if let Some((name, value)) = assignment(line) {
            variables.insert(name, value);
        }
        let Some(at) = line.find("setcap ") else {
            continue;
        };
        let separators = |c: char| c.is_whitespace() || ";|&".contains(c);
        let mut words = line[at..].split(separators).filter(|word| !word.is_empty());
        let (Some(text), Some(target)) = (words.nth(1), words.next()) else {
            continue;
        };
        let target = unquote(target);
        let literal = match target.strip_prefix('$') {
            Some(name) => variables.get(name.trim_matches(['{', '}'])).copied(),
            None => Some(target),
        };
        let path = literal.filter(|path| path.starts_with('/') && !path.contains('$'));
        let path = path.and_then(|path| ImagePath::parse(path.as_bytes()).ok());
        if let Some(path) = path
            && let Ok(Some(value)) = capabilities::parse(unquote(text))
        {
            let mut file = DeclaredFile::new(path, package.into());
            file.kind = Some(DeclaredKind::File);
            file.capabilities = Some(value);
            file.setuid_instead = true;
            files.push(file);
        }
    }
    files
}

/// `NAME=/path`, or `NAME=$(dpkg-divert --truename /path)`.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = unquote(value);
    let inner = value.strip_prefix("$(").and_then(|v| v.strip_suffix(')'));
    let value = match inner {
        Some(command) => command.strip_prefix("dpkg-divert --truename ")?.trim(),
        None => value,
    };
    (is_name(name) && value.starts_with('/')).then_some((name, value))
}

fn unquote(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// The line of a path in `md5sums`, whose paths have no leading slash.
fn digest_of(path: &ImagePath, sums: &str) -> Option<ContentDigest> {
    let mut lines = sums.lines().filter_map(|line| line.split_once("  "));
    let (hex, _) = lines.find(|(_, name)| name.as_bytes() == path.as_bytes())?;
    Some(ContentDigest {
        algorithm: DigestAlgorithm::Md5,
        hex: hex.into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::Layers;

    #[test]
    fn overrides() {
        let file = stat_override(b"root messagebus 4754 /usr/lib/dbus helper").unwrap();
        assert_eq!(file.path.to_string(), "/usr/lib/dbus helper");
        assert_eq!(file.mode, Some(0o4754));
        assert_eq!(file.group, Some(Account::Name("messagebus".into())));
        let file = stat_override(b"#7 root 755 /x").unwrap();
        assert_eq!(file.owner, Some(Account::Number(7)));
        for line in [
            "",
            "root root 4755",
            "root root 9 /x",
            "root #x 755 /x",
            "a b 1 /../x",
        ] {
            assert_eq!(stat_override(line.as_bytes()), None, "{line}");
        }
    }

    /// As iputils-ping of Debian 12 has it.
    const PING: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ]; then
    PROGRAM=$(dpkg-divert --truename /bin/ping)
    if command -v setcap > /dev/null; then
        if setcap cap_net_raw+ep $PROGRAM; then
            chmod u-s $PROGRAM
        else
            chmod u+s $PROGRAM
        fi
    fi
fi
"#;

    #[test]
    fn capabilities_of_scripts() {
        for (script, path) in [
            (PING, Some("/bin/ping")),
            ("setcap cap_net_raw=ep /usr/bin/x", Some("/usr/bin/x")),
            (
                "setcap 'cap_net_raw=ep' \"/usr/bin/x\" || true",
                Some("/usr/bin/x"),
            ),
            (
                "P=/usr/bin/x\nsetcap cap_net_raw=ep ${P}",
                Some("/usr/bin/x"),
            ),
            ("setcap $CAPS /usr/bin/x", None),
            ("setcap cap_net_raw=ep $P", None),
            ("setcap -r /usr/bin/x", None),
            ("setcap cap_net_raw=ep \"$P/x\"", None),
            ("setcap cap_net_raw=ep", None),
        ] {
            let files = capabilities_set_by("p", script);
            let found = files.first().map(|file| file.path.to_string());
            assert_eq!(found.as_deref(), path, "{script}");
        }
    }

    #[test]
    fn the_database_lies_in_one_of_two_places() {
        for place in DIRECTORIES {
            let layers = Layers::new()
                .file(&format!("{place}/statoverride"), "root root 750 /x\n")
                .file(&format!("{place}/info/iputils-ping.postinst"), PING)
                .file(
                    &format!("{place}/info/iputils-ping.md5sums"),
                    "0af  bin/ping\n",
                );
            let (tree, bodies) = layers.merge();
            let files = read(&tree, &bodies).unwrap();
            let names: Vec<_> = files.iter().map(|file| &*file.package).collect();
            assert_eq!(names, [OVERRIDE, "iputils-ping"]);
            assert_eq!(&*files[1].digest.as_ref().unwrap().hex, "0af");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "(?s)[a-z =/$(){}'\"#0-9\n-]{0,80}") {
            capabilities_set_by("p", &format!("setcap {text}"));
            stat_override(text.as_bytes());
        }
    }
}
