//! The kernel arguments of a deployment.

use anyhow::{Context as _, Result};
use ostree::KernelArgs;

/// All arguments of a deployment: those of the deployment `before`, without what is deleted, and
/// then what is appended. `None`: nothing changes.
///
/// A deleted one is `KEY`, if that has one value, or `KEY=VALUE`.
///
/// # Errors
/// One to be deleted is not there, or stands for several.
pub fn kernel_arguments(
    before: Option<&str>,
    delete: &[String],
    append: &[String],
) -> Result<Option<Vec<String>>> {
    if delete.is_empty() && append.is_empty() {
        return Ok(None);
    }
    let arguments = KernelArgs::from_string(before.unwrap_or_default());
    for argument in delete {
        arguments
            .delete(argument)
            .with_context(|| format!("--karg-delete {argument}"))?;
    }
    for argument in append {
        arguments.append(argument);
    }
    let arguments = arguments.to_strv().into_iter().map(Into::into);
    Ok(Some(arguments.collect()))
}

/// Reads an argument that a user wants. A boot loader's entry has all in one line.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("an argument is not empty"),
        _ if text.contains(char::is_control) => Err("an argument has no control characters"),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: Option<&str>, delete: &[&str], append: &[&str]) -> Result<Option<String>> {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let arguments = kernel_arguments(before, &owned(delete), &owned(append))?;
        Ok(arguments.map(|words| words.join(" ")))
    }

    #[test]
    fn arguments() {
        let before = Some("root=LABEL=root rw console=tty0 console=ttyS0");
        for (before, delete, append, expected) in [
            (before, &[][..], &[][..], None),
            (None, &[], &[], None),
            (
                None,
                &[],
                &["rw", "console=a", "console=b"],
                Some("rw console=a console=b"),
            ),
            (
                before,
                &[],
                &["quiet"],
                Some("root=LABEL=root rw console=tty0 console=ttyS0 quiet"),
            ),
            (
                before,
                &["console=tty0", "root"],
                &["root=/dev/vda"],
                Some("rw console=ttyS0 root=/dev/vda"),
            ),
        ] {
            let found = changed(before, delete, append).unwrap();
            assert_eq!(found.as_deref(), expected, "{delete:?} {append:?}");
        }
    }

    #[test]
    fn what_cannot_be_deleted() {
        for (before, delete) in [
            (None, "quiet"),
            (Some("a=1 a=2"), "a"),
            (Some("a=1"), "a=2"),
        ] {
            let error = changed(before, &[delete], &[]).unwrap_err();
            let said = format!("{error:#}");
            assert!(
                said.starts_with(&format!("--karg-delete {delete}: ")),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_no_argument() {
        assert_eq!(
            parse("dyndbg=\"file a +p\""),
            Ok("dyndbg=\"file a +p\"".to_owned())
        );
        for text in ["", "a\nlinux /b", "a\0"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
