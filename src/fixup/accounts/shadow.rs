//! `shadow(5)` and `gshadow(5)`: nobody reads them, and they do not tell when an image was built.

use anyhow::Result;

use super::files::TextFile;
use super::{BY, Users};
use crate::fixup::Image;
use crate::report::{Action, Report};

/// Repairs modes and dates; with [`Users::Keep`] it only tells.
pub fn repair(image: &mut Image, report: &mut Report) -> Result<()> {
    let tell_only = image.options.users == Users::Keep;
    for name in ["shadow", "gshadow"] {
        let Some(file) = TextFile::of_etc(image, name)? else {
            continue;
        };
        let metadata = &mut image.tree.inode_mut(file.id).metadata;
        let strict = metadata.mode & 0o640;
        if metadata.mode & 0o037 != 0 {
            let detail = format!(
                "mode {:04o} lets others read password hashes",
                metadata.mode
            );
            if tell_only {
                let fix = format!("chmod {strict:o} in the image");
                report.advise(BY, &file.path, detail, fix);
            } else {
                metadata.mode = strict;
                let detail = format!("{detail}; now {strict:04o}");
                report.note(BY, Action::Changed, &file.path, detail);
            }
        }
        if name == "shadow" && !tell_only {
            take_out_dates(image, &file, report);
        }
    }
    Ok(())
}

/// As rpm-ostree does: when the password of a locked account was changed means nothing, and differs
/// from build to build.
fn take_out_dates(image: &mut Image, file: &TextFile, report: &mut Report) {
    let (text, count) = without_dates(&file.text);
    if count > 0 {
        file.write(image, &text);
        let detail = format!("date of the last change taken out of {count} locked accounts");
        report.note(BY, Action::Changed, &file.path, detail);
    }
}

/// The text without the third field of locked accounts, and how many had one.
fn without_dates(shadow: &[u8]) -> (Vec<u8>, usize) {
    let mut count = 0;
    let mut text = Vec::with_capacity(shadow.len());
    for line in shadow.split_inclusive(|&b| b == b'\n') {
        let mut fields: Vec<_> = line.split(|&b| b == b':').collect();
        let is_locked = fields
            .get(1)
            .is_some_and(|field| field.starts_with(b"!") || field.starts_with(b"*"));
        if is_locked && fields.len() > 3 && !fields[2].is_empty() {
            fields[2] = b"";
            count += 1;
        }
        text.extend_from_slice(&fields.join(&b':'));
    }
    (text, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_accounts_have_no_date() {
        let shadow = "root:*:19000:0:99999:7:::\nbin:!*:19001:::::\nalice:$y$hash:19002:0:99999:7:::\n\
                      new:!:::::::\nempty::19003:0:::::\nshort:*:19004\n";
        let (text, count) = without_dates(shadow.as_bytes());
        assert_eq!(
            String::from_utf8_lossy(&text),
            "root:*::0:99999:7:::\nbin:!*::::::\nalice:$y$hash:19002:0:99999:7:::\n\
             new:!:::::::\nempty::19003:0:::::\nshort:*:19004\n"
        );
        assert_eq!(count, 2);
        assert_eq!(without_dates(&text).1, 0);
    }
}
