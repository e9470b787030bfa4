//! Which policy an image uses: `etc/selinux/config`.

use anyhow::{Result, ensure};

/// The type of a policy whose configuration names none (libselinux's `SELINUXDEFAULT`).
const DEFAULT_TYPE: &str = "targeted";

/// The policy type (`SELINUXTYPE=`) that `config`, the content of `etc/selinux/config`, selects;
/// its files lie in `etc/selinux/TYPE/contexts/files`. `None` unless a line `SELINUX=enforcing`
/// or `SELINUX=permissive` enables it.
///
/// Lines are read as libostree's `ostree-sepolicy.c` does: keys stand at the start of a line, the
/// last type wins, and the mode needs only begin with its word, in any case.
///
/// # Errors
/// The type of an enabled policy is not the name of a directory.
pub fn locate(config: &[u8]) -> Result<Option<String>> {
    let mut enabled = false;
    let mut policy_type = DEFAULT_TYPE.to_owned();
    for line in String::from_utf8_lossy(config).lines() {
        if let Some(value) = line.strip_prefix("SELINUXTYPE=") {
            policy_type = value.trim().to_owned();
        } else if let Some(mode) = line.strip_prefix("SELINUX=") {
            enabled |= ["enforcing", "permissive"].iter().any(|word| {
                mode.get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(word))
            });
        }
    }
    ensure!(
        !enabled || is_file_name(&policy_type),
        "/etc/selinux/config: SELINUXTYPE={policy_type} is not the name of a directory in /etc/selinux"
    );
    Ok(enabled.then_some(policy_type))
}

/// Control characters are for no name that is printed.
fn is_file_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations() {
        for (config, want) in [
            ("", None),
            ("SELINUXTYPE=default\n", None),
            ("SELINUX=disabled\nSELINUXTYPE=default\n", None),
            ("#SELINUX=enforcing\nSELINUXTYPE=default\n", None),
            (" SELINUX=enforcing\nSELINUXTYPE=default\n", None),
            ("SELINUX=\nSELINUXTYPE=default\n", None),
            ("SELINUX=disabled\nSELINUXTYPE=\n", None),
            ("SELINUX=enforcing\n", Some("targeted")),
            ("SELINUX=enforcing\nSELINUXTYPE=default\n", Some("default")),
            (
                "# comment\r\nSELINUXTYPE= mls \r\nSELINUX=Permissive # so\r\n",
                Some("mls"),
            ),
            ("SELINUX=enforcing\nSELINUXTYPE=a\nSELINUXTYPE=b", Some("b")),
        ] {
            let found = locate(config.as_bytes()).unwrap();
            assert_eq!(found.as_deref(), want, "{config:?}");
        }
        let found = locate(b"# \xff\nSELINUX=enforcing\nSELINUXTYPE=x\n").unwrap();
        assert_eq!(found.as_deref(), Some("x"));
    }

    #[test]
    fn types_that_are_no_names() {
        for name in ["", " ", ".", "..", "../..", "/", "a/b", "a\0", "a\x1b[m"] {
            let config = format!("SELINUX=enforcing\nSELINUXTYPE={name}\n");
            let error = locate(config.as_bytes()).unwrap_err().to_string();
            let named = format!("/etc/selinux/config: SELINUXTYPE={} ", name.trim());
            assert!(error.starts_with(&named), "{name:?}: {error}");
        }
    }
}
