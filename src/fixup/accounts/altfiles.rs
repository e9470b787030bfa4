//! `/usr/lib/passwd` and `/usr/lib/group`, which nss-altfiles reads besides the host's own files.

use anyhow::Result;

use super::BY;
use super::files::{System, TextFile, path, write_own};
use crate::fixup::Image;
use crate::host::etc;
use crate::packages::{Group, User};
use crate::report::{Action, Report};

/// What glibc loads for `altfiles` in `nsswitch.conf(5)`.
const MODULE: &[u8] = b"libnss_altfiles.so.2";

/// Moves system accounts there, where no host changes them.
pub fn relocate(image: &mut Image, system: &System, report: &mut Report) -> Result<()> {
    let is_module = |name: &[u8]| name == MODULE;
    if !image
        .tree
        .walk()
        .any(|(path, _)| path.file_name().is_some_and(is_module))
    {
        let reason = "--users=altfiles needs libnss_altfiles.so.2, which the image does not have";
        let fix = "install nss-altfiles in the image, or choose --users=sysusers";
        report.fatal(BY, &path("usr/lib"), reason, fix);
        return Ok(());
    }
    let user = |line: &[u8]| User::parse(line).map(|u| (system.has_user(u.uid), u.name));
    relocate_lines(image, "passwd", user, report)?;
    let group = |line: &[u8]| Group::parse(line).map(|g| (system.has_group(g.gid), g.name));
    relocate_lines(image, "group", group, report)?;
    consult(image, report)
}

/// Moves the lines of `/etc/NAME` of which `account` says that they are those of the system.
fn relocate_lines(
    image: &mut Image,
    name: &str,
    account: impl Fn(&[u8]) -> Option<(bool, String)>,
    report: &mut Report,
) -> Result<()> {
    let Some(file) = TextFile::of_etc(image, name)? else {
        return Ok(());
    };
    let (moved, kept): (Vec<_>, Vec<_>) = lines(&file.text)
        .partition(|line| account(line.trim_ascii()).is_some_and(|(of_system, _)| of_system));
    if moved.is_empty() {
        return Ok(());
    }
    let target = path("usr/lib").join(name.as_bytes());
    let there = TextFile::at(image, target.clone())?.map_or_else(Vec::new, |file| file.text);
    let name = |line: &[u8]| account(line.trim_ascii()).map(|(_, name)| name);
    let names: Vec<_> = moved.iter().map(|line| name(line)).collect();
    // The line in /etc was the one that counted.
    let there = lines(&there).filter(|line| name(line).is_none() || !names.contains(&name(line)));
    let text = join(there.chain(moved.iter().copied()));
    let what = format!("{} system accounts of {}", moved.len(), file.path);
    write_own(image, &target, Some(&text), &what, report)?;
    file.write(image, &join(kept.into_iter()));
    let detail = format!("{} system accounts moved to {target}", moved.len());
    report.note(BY, Action::Changed, &file.path, detail);
    Ok(())
}

/// Sees to it that the C library looks there.
fn consult(image: &mut Image, report: &mut Report) -> Result<()> {
    let file = TextFile::of_etc(image, "nsswitch.conf")?;
    let place = etc(&image.tree).join(b"nsswitch.conf");
    let before = file.as_ref().map(|file| &*file.text).unwrap_or_default();
    let text = with_altfiles(before);
    if text == before {
        return Ok(());
    }
    let what = "passwd and group are looked up in altfiles, too";
    match file {
        Some(file) => {
            file.write(image, &text);
            report.note(BY, Action::Changed, &file.path, what);
            Ok(())
        }
        None => write_own(image, &place, Some(&text), what, report),
    }
}

/// `nsswitch.conf` with `altfiles` after `files`. A database without a line is looked up in `files`.
fn with_altfiles(text: &[u8]) -> Vec<u8> {
    let mut changed: Vec<_> = lines(text).map(<[u8]>::to_vec).collect();
    for (database, required) in [("passwd", true), ("group", true), ("initgroups", false)] {
        let prefix = format!("{database}:");
        let is_line = |line: &&mut Vec<u8>| line.trim_ascii_start().starts_with(prefix.as_bytes());
        match changed.iter_mut().find(is_line) {
            Some(line) => *line = add_service(line),
            None if required => changed.push(format!("{database}: files altfiles").into_bytes()),
            None => {}
        }
    }
    join(changed.iter().map(|line| &**line))
}

fn add_service(line: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    let rule = text.split('#').next().unwrap_or_default().trim_end();
    let services: Vec<_> = words(rule).collect();
    if services.iter().any(|&(_, word)| word == "altfiles") {
        return line.to_vec();
    }
    let files = services.iter().position(|&(_, word)| word == "files");
    let (end, added) = match files {
        None => (rule.len(), " altfiles".to_owned()),
        Some(index) => {
            let end = |&(start, word): &(usize, &str)| start + word.len();
            let next = services.get(index + 1);
            // What is merged with the services that follow is merged with this one first.
            match next.filter(|(_, word)| word.to_ascii_lowercase().contains("=merge]")) {
                Some(merge) => (end(merge), format!(" altfiles {}", merge.1)),
                None => (end(&services[index]), " altfiles".to_owned()),
            }
        }
    };
    format!("{}{added}{}", &text[..end], &text[end..]).into_bytes()
}

/// The words of a line and where they begin.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = line.as_ptr() as usize;
    line.split_whitespace()
        .map(move |word| (word.as_ptr() as usize - start, word))
}

/// The lines of a text without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = (!text.is_empty()).then(|| text.split(|&b| b == b'\n'));
    lines.into_iter().flatten()
}

fn join<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    lines.flat_map(|line| [line, b"\n"].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altfiles_are_consulted_after_files() {
        for (before, after) in [
            ("", "passwd: files altfiles\ngroup: files altfiles\n"),
            (
                "# x\npasswd:\t\tfiles systemd # y\ngroup: files [SUCCESS=merge] systemd\nhosts: files\n",
                "# x\npasswd:\t\tfiles altfiles systemd # y\n\
                 group: files [SUCCESS=merge] altfiles [SUCCESS=merge] systemd\nhosts: files\n",
            ),
            (
                "passwd: files [NOTFOUND=return] sss\ngroup: compat\ninitgroups: files",
                "passwd: files altfiles [NOTFOUND=return] sss\ngroup: compat altfiles\n\
                 initgroups: files altfiles\n",
            ),
        ] {
            let once = with_altfiles(before.as_bytes());
            assert_eq!(String::from_utf8_lossy(&once), after);
            assert_eq!(with_altfiles(&once), once);
        }
    }
}
