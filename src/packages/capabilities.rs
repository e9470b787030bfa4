//! File capabilities: from the text that packages declare to the xattr that the kernel reads.

/// Why a text names no file capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// A word that is no capability.
    #[error("{0:?} is no capability")]
    Unknown(String),
    /// A clause without an operator, or with a flag that is none of `e`, `i` and `p`.
    #[error("{0:?} is no clause of capabilities")]
    Clause(String),
    /// A file has one effective bit for all its capabilities.
    #[error("only some of the capabilities are effective, which no file can say")]
    PartlyEffective,
}

/// The names of `linux/capability.h`, by number.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `VFS_CAP_REVISION_2` of `linux/capability.h`.
const REVISION_2: u32 = 0x0200_0000;
/// `VFS_CAP_FLAGS_EFFECTIVE`
const EFFECTIVE: u32 = 1;

/// The value of `security.capability` (revision 2, 20 bytes) for a text as cap_from_text(3) reads it,
/// such as `cap_net_raw,cap_net_admin=ep`. `None` for a text that grants nothing.
///
/// # Errors
/// The text is none, or says what no file can.
pub fn parse(text: &str) -> Result<Option<Box<[u8]>>, CapabilityError> {
    let mut sets = Sets::default();
    for clause in text.split_whitespace() {
        sets.apply(clause)?;
    }
    let granted = sets.permitted | sets.inheritable;
    if granted == 0 {
        return Ok(None);
    }
    let effective = match sets.effective {
        0 => 0,
        all if all == granted => EFFECTIVE,
        _ => return Err(CapabilityError::PartlyEffective),
    };
    let [low, high] = [0, 32].map(|shift| {
        [sets.permitted, sets.inheritable].map(|set| (set >> shift & u64::from(u32::MAX)) as u32)
    });
    let words = [REVISION_2 | effective, low[0], low[1], high[0], high[1]];
    let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(Some(bytes.into()))
}

/// One bit a capability.
#[derive(Debug, Default)]
struct Sets {
    effective: u64,
    inheritable: u64,
    permitted: u64,
}

impl Sets {
    /// Applies one clause: names, then operators, each with its flags.
    fn apply(&mut self, clause: &str) -> Result<(), CapabilityError> {
        let wrong = || CapabilityError::Clause(clause.to_owned());
        let is_operator = |c| matches!(c, '=' | '+' | '-');
        let (names, mut rest) = clause.split_at(clause.find(is_operator).ok_or_else(wrong)?);
        let mask = match names {
            "" if rest.starts_with('=') => all(),
            names => names
                .split(',')
                .try_fold(0, |mask, name| Ok(mask | bits(name)?))?,
        };
        while let Some(operator) = rest.chars().next() {
            let flags = &rest[1..];
            let end = flags.find(is_operator).unwrap_or(flags.len());
            if operator == '=' {
                for set in [
                    &mut self.effective,
                    &mut self.inheritable,
                    &mut self.permitted,
                ] {
                    *set &= !mask;
                }
            }
            for flag in flags[..end].chars() {
                let set = match flag {
                    'e' => &mut self.effective,
                    'i' => &mut self.inheritable,
                    'p' => &mut self.permitted,
                    _ => return Err(wrong()),
                };
                match operator {
                    '-' => *set &= !mask,
                    _ => *set |= mask,
                }
            }
            rest = &flags[end..];
        }
        Ok(())
    }
}

/// Every capability there is.
fn all() -> u64 {
    (1 << NAMES.len()) - 1
}

fn bits(name: &str) -> Result<u64, CapabilityError> {
    if name.eq_ignore_ascii_case("all") {
        return Ok(all());
    }
    let known = |short: &str| {
        NAMES
            .iter()
            .position(|name| name.eq_ignore_ascii_case(short))
    };
    let prefix = name.get(..4).filter(|p| p.eq_ignore_ascii_case("cap_"));
    let number = match prefix {
        Some(_) => known(&name[4..]),
        None => name.parse().ok().filter(|&number| number < NAMES.len()),
    };
    let number = number.ok_or_else(|| CapabilityError::Unknown(name.to_owned()))?;
    Ok(1 << number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Revision, then permitted and inheritable sets, low words first.
    fn value(effective: bool, permitted: u64, inheritable: u64) -> Box<[u8]> {
        let mut bytes = (REVISION_2 + u32::from(effective)).to_le_bytes().to_vec();
        for shift in [0, 32] {
            for set in [permitted, inheritable] {
                bytes.extend(((set >> shift) as u32).to_le_bytes());
            }
        }
        bytes.into()
    }

    #[test]
    fn texts() {
        for (text, want) in [
            ("", None),
            ("=", None),
            ("cap_net_raw=", None),
            ("cap_net_raw=ep", Some(value(true, 1 << 13, 0))),
            ("cap_net_raw+ep", Some(value(true, 1 << 13, 0))),
            ("CAP_NET_RAW+p", Some(value(false, 1 << 13, 0))),
            ("cap_setgid,cap_setuid=p", Some(value(false, 3 << 6, 0))),
            (
                "cap_dac_override,cap_net_admin,cap_net_raw=eip",
                Some(value(true, 2 | 3 << 12, 2 | 3 << 12)),
            ),
            ("cap_bpf=ep", Some(value(true, 1 << 39, 0))),
            ("13=ep", Some(value(true, 1 << 13, 0))),
            ("=p cap_chown-p", Some(value(false, all() - 1, 0))),
            ("all=p", Some(value(false, all(), 0))),
            ("cap_chown=p cap_kill+p", Some(value(false, 1 | 1 << 5, 0))),
            ("cap_chown=ip-i", Some(value(false, 1, 0))),
            ("= cap_chown+ep", Some(value(true, 1, 0))),
        ] {
            assert_eq!(parse(text), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_text() {
        let clause = |text: &str| CapabilityError::Clause(text.to_owned());
        let unknown = |text: &str| CapabilityError::Unknown(text.to_owned());
        for (text, want) in [
            ("cap_net_raw", clause("cap_net_raw")),
            ("cap_net_raw=x", clause("cap_net_raw=x")),
            ("cap_nothing=ep", unknown("cap_nothing")),
            ("net_raw=ep", unknown("net_raw")),
            ("41=p", unknown("41")),
            ("+ep", unknown("")),
            ("cap_chown=ep cap_kill=p", CapabilityError::PartlyEffective),
        ] {
            assert_eq!(parse(text), Err(want), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "[a-z0-9_,=+ é-]{0,40}") {
            if let Ok(Some(value)) = parse(&text) {
                prop_assert_eq!(value.len(), 20);
            }
        }
    }
}
