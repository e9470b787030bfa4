//! Which policy an image uses: `etc/selinux/config`.

/// The type of a policy whose configuration names none (libselinux's `SELINUXDEFAULT`).
const DEFAULT_TYPE: &str = "targeted";

/// The policy type (`SELINUXTYPE=`) that `config`, the content of `etc/selinux/config`, selects;
/// its files lie in `etc/selinux/TYPE/contexts/files`. `None` unless a line `SELINUX=enforcing`
/// or `SELINUX=permissive` enables it.
///
/// Lines are read as libostree's `ostree-sepolicy.c` does: keys stand at the start of a line, the
/// last type wins, and the mode needs only begin with its word, in any case.
pub fn locate(config: &[u8]) -> Option<String> {
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
    enabled.then_some(policy_type)
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
            ("SELINUX=enforcing\n", Some("targeted")),
            ("SELINUX=enforcing\nSELINUXTYPE=default\n", Some("default")),
            (
                "# comment\r\nSELINUXTYPE= mls \r\nSELINUX=Permissive # so\r\n",
                Some("mls"),
            ),
            ("SELINUX=enforcing\nSELINUXTYPE=a\nSELINUXTYPE=b", Some("b")),
        ] {
            assert_eq!(locate(config.as_bytes()).as_deref(), want, "{config:?}");
        }
        assert_eq!(
            locate(b"# \xff\nSELINUX=enforcing\nSELINUXTYPE=x\n").as_deref(),
            Some("x")
        );
    }
}
