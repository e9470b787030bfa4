//! `statoverride`: modes and owners that the administrator or a package's script has set for good.

use std::sync::Arc;

use crate::packages::{DeclaredFile, Owner, accounts};
use crate::path::ImagePath;

/// Reads lines of `USER GROUP MODE PATH`; `#` and a number may stand for a name. Lines that are
/// none are passed over.
pub fn parse(package: &Arc<str>, text: &[u8]) -> Vec<DeclaredFile> {
    let lines = text.split(|&b| b == b'\n');
    lines.filter_map(|line| parse_line(package, line)).collect()
}

fn parse_line(package: &Arc<str>, line: &[u8]) -> Option<DeclaredFile> {
    let mut fields = line.splitn(4, |&b| b == b' ');
    let (user, group) = (owner(fields.next()?)?, owner(fields.next()?)?);
    let mode = octal(fields.next()?)?;
    let path = ImagePath::parse(fields.next()?.strip_prefix(b"/")?).ok()?;
    let mut file = DeclaredFile::new(package.clone(), path);
    file.user = Some(user);
    file.group = Some(group);
    file.mode = Some(mode);
    Some(file)
}

/// An account: a name, or `#` and a number.
fn owner(word: &[u8]) -> Option<Owner> {
    match word.strip_prefix(b"#") {
        Some(digits) => accounts::parse_id(digits).map(Owner::Number),
        None if word.is_empty() => None,
        None => Some(Owner::Name(String::from_utf8_lossy(word).into())),
    }
}

/// A mode in octal digits.
pub fn octal(word: &[u8]) -> Option<u32> {
    let digits = !word.is_empty() && word.len() <= 5 && word.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(word).ok().filter(|_| digits)?;
    let mode = u32::from_str_radix(text, 8).ok()?;
    (mode <= 0o7777).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read() {
        for (line, want) in [
            (
                "root messagebus 4754 /usr/lib/launch helper",
                Some("/usr/lib/launch helper 4754 root messagebus"),
            ),
            ("#0 #50 2755 /usr/bin/x", Some("/usr/bin/x 2755 0 50")),
            ("", None),
            ("root root 755", None),
            ("root root 755 relative", None),
            ("root root rwx /x", None),
            ("root root 17777 /x", None),
            ("root root 888 /x", None),
            ("root #x 755 /x", None),
            ("root  755 /x", None),
            ("root root 755 /../x", None),
        ] {
            let found = parse(&"p".into(), line.as_bytes());
            let found = found.first().map(|file| {
                let owner = |owner: &Option<Owner>| match owner.as_ref().unwrap() {
                    Owner::Name(name) => name.to_string(),
                    Owner::Number(number) => number.to_string(),
                };
                let mode = file.mode.unwrap();
                let (user, group) = (owner(&file.user), owner(&file.group));
                format!("{} {mode:o} {user} {group}", file.path)
            });
            assert_eq!(found.as_deref(), want, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(text in prop::collection::vec(any::<u8>(), 0..128)) {
            parse(&"p".into(), &text);
        }
    }
}
