//! File capabilities: as packages write them, `cap_from_text(3)`, and as file systems hold them,
//! `struct vfs_cap_data` of linux/capability.h.

use std::fmt;

/// Names of capabilities by their number (linux/capability.h).
const NAMES: &[&str] = &[
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

/// Every capability there is.
const ALL: u64 = (1 << NAMES.len()) - 1;

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// The capabilities of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// What a process that runs the file gets, a bit a capability.
    permitted: u64,
    /// What it keeps of those it could inherit.
    inheritable: u64,
    /// Are they in effect from the start?
    effective: bool,
}

/// A text that names no file capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no file capabilities: {reason}")]
pub struct CapabilityError {
    text: String,
    reason: &'static str,
}

/// What a text says of each flag, a bit a capability.
#[derive(Debug, Default)]
struct Flags {
    effective: u64,
    inheritable: u64,
    permitted: u64,
}

impl Capabilities {
    /// Reads a text as `cap_from_text(3)` does: clauses like `cap_chown,cap_kill+ep`, divided by
    /// spaces, each of a list of names or numbers, an operator and flags. An empty text is an empty
    /// set.
    ///
    /// # Errors
    /// It is no such text, or a file cannot hold it: one flag says whether all capabilities of a
    /// file are in effect.
    pub fn parse(text: &str) -> Result<Self, CapabilityError> {
        let error = |reason| CapabilityError {
            text: text.to_owned(),
            reason,
        };
        let mut flags = Flags::default();
        for clause in text.split_ascii_whitespace() {
            flags.apply(clause).map_err(error)?;
        }
        let held = flags.permitted | flags.inheritable;
        if flags.effective != 0 && held & !flags.effective != 0 {
            return Err(error("some are in effect and some are not"));
        }
        Ok(Self {
            permitted: flags.permitted,
            inheritable: flags.inheritable,
            effective: flags.effective != 0,
        })
    }

    /// Reads the value of the xattr `security.capability`. `None`: it is not of version 2.
    pub fn from_xattr(value: &[u8]) -> Option<Self> {
        let words: [u8; 20] = value.try_into().ok()?;
        let word = |index: usize| {
            let bytes = &words[4 * index..4 * index + 4];
            u32::from_le_bytes(bytes.try_into().expect("four bytes"))
        };
        let set = |low: usize, high: usize| u64::from(word(low)) | u64::from(word(high)) << 32;
        (word(0) & REVISION_MASK == REVISION_2).then(|| Self {
            permitted: set(1, 3),
            inheritable: set(2, 4),
            effective: word(0) & EFFECTIVE != 0,
        })
    }

    /// The value of the xattr `security.capability`, version 2.
    pub fn to_xattr(self) -> [u8; 20] {
        let magic = REVISION_2 | if self.effective { EFFECTIVE } else { 0 };
        let halves = |set: u64| [set as u32, (set >> 32) as u32];
        let [permitted, inheritable] = [halves(self.permitted), halves(self.inheritable)];
        let words = [
            magic,
            permitted[0],
            inheritable[0],
            permitted[1],
            inheritable[1],
        ];
        let mut value = [0; 20];
        for (bytes, word) in value.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        value
    }

    /// Are there none?
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Flags {
    /// Applies one clause: a list of capabilities, then operators with their flags.
    fn apply(&mut self, clause: &str) -> Result<(), &'static str> {
        let operator = |c| matches!(c, '=' | '+' | '-');
        let (list, mut rest) = clause.split_at(clause.find(operator).ok_or("no operator")?);
        let set = match list {
            "" if rest.starts_with('=') => ALL,
            "" => return Err("an operator without capabilities"),
            list => list
                .split(',')
                .map(parse_name)
                .try_fold(0, |set, bit| bit.map(|bit| set | bit))?,
        };
        let mut first = true;
        while let Some(operator) = rest.chars().next() {
            rest = &rest[1..];
            let letters = rest.find(['=', '+', '-']).unwrap_or(rest.len());
            let (letters, behind) = rest.split_at(letters);
            rest = behind;
            match operator {
                '=' if first => self.each(|flag| *flag &= !set),
                '=' => return Err("`=` behind another operator"),
                _ if letters.is_empty() => return Err("an operator without flags"),
                _ => {}
            }
            first = false;
            for letter in letters.chars() {
                let flag = match letter {
                    'e' => &mut self.effective,
                    'i' => &mut self.inheritable,
                    'p' => &mut self.permitted,
                    _ => return Err("flags are e, i and p"),
                };
                match operator {
                    '-' => *flag &= !set,
                    _ => *flag |= set,
                }
            }
        }
        Ok(())
    }

    fn each(&mut self, change: impl Fn(&mut u64)) {
        change(&mut self.effective);
        change(&mut self.inheritable);
        change(&mut self.permitted);
    }
}

/// The bit of a capability, or all for `all`.
fn parse_name(name: &str) -> Result<u64, &'static str> {
    const UNKNOWN: &str = "an unknown capability";
    let lower = name.to_ascii_lowercase();
    let number = match lower.strip_prefix("cap_") {
        _ if lower == "all" => return Ok(ALL),
        Some(name) => NAMES.iter().position(|&known| known == name),
        None if lower.bytes().all(|b| b.is_ascii_digit()) => lower.parse().ok(),
        None => None,
    };
    let known = number.filter(|&number| number < NAMES.len());
    known.map(|number| 1 << number).ok_or(UNKNOWN)
}

impl fmt::Display for Capabilities {
    /// As `getcap` prints them, capabilities with equal flags together; nothing for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = self.permitted & self.inheritable;
        let groups = [
            (both, "ip"),
            (self.permitted & !both, "p"),
            (self.inheritable & !both, "i"),
        ];
        let effective = if self.effective { "e" } else { "" };
        let mut separator = "";
        for (set, flags) in groups.into_iter().filter(|&(set, _)| set != 0) {
            let names: Vec<_> = (0..u64::BITS)
                .filter(|bit| set >> bit & 1 != 0)
                .map(|bit| match NAMES.get(bit as usize) {
                    Some(name) => format!("cap_{name}"),
                    None => bit.to_string(),
                })
                .collect();
            write!(f, "{separator}{}={effective}{flags}", names.join(","))?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sets(permitted: u64, inheritable: u64, effective: bool) -> Capabilities {
        Capabilities {
            permitted,
            inheritable,
            effective,
        }
    }

    #[test]
    fn texts_are_read() {
        const RAW: u64 = 1 << 13;
        const ADMIN: u64 = 1 << 12;
        for (text, want) in [
            ("", sets(0, 0, false)),
            ("=", sets(0, 0, false)),
            ("cap_net_raw=ep", sets(RAW, 0, true)),
            ("cap_net_raw+ep", sets(RAW, 0, true)),
            ("= cap_net_raw+ep", sets(RAW, 0, true)),
            ("CAP_NET_RAW=pe", sets(RAW, 0, true)),
            ("13=p", sets(RAW, 0, false)),
            (
                "cap_net_admin,cap_net_raw=eip",
                sets(RAW | ADMIN, RAW | ADMIN, true),
            ),
            ("cap_net_admin=p cap_net_raw=i", sets(ADMIN, RAW, false)),
            ("cap_net_raw=p+i", sets(RAW, RAW, false)),
            ("cap_net_raw=+p", sets(RAW, 0, false)),
            ("cap_net_raw=eip-i", sets(RAW, 0, true)),
            ("=ep", sets(ALL, 0, true)),
            ("all=p cap_net_raw-p", sets(ALL & !RAW, 0, false)),
            ("all=p cap_net_raw=", sets(ALL & !RAW, 0, false)),
            ("cap_checkpoint_restore=p", sets(1 << 40, 0, false)),
            ("  cap_net_raw=p\n", sets(RAW, 0, false)),
        ] {
            assert_eq!(Capabilities::parse(text), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "cap_net_raw",
            "+ep",
            "-p",
            "cap_net_raw+",
            "cap_net_raw=x",
            "net_raw=p",
            "cap_no=p",
            "41=p",
            "cap_net_raw,=p",
            ",cap_net_raw=p",
            "cap_net_raw=p=i",
            "cap_net_raw=ep cap_net_admin=p",
            "é=p",
        ] {
            assert!(Capabilities::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn xattrs_are_as_the_kernel_writes_them() {
        let ping = Capabilities::parse("cap_net_raw=ep").unwrap();
        let value = [
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(ping.to_xattr(), value);
        assert_eq!(Capabilities::from_xattr(&value), Some(ping));
        assert_eq!(Capabilities::from_xattr(&value[1..]), None);
        let mut third = value;
        third[3] = 3;
        assert_eq!(Capabilities::from_xattr(&third), None);
        assert_eq!(ping.to_string(), "cap_net_raw=ep");
    }

    proptest! {
        #[test]
        fn texts_never_panic(text in "(cap_[a-z_]{1,12}|all|[0-9]{1,3}|[ ,=+\\-eip]|\\PC){0,8}") {
            if let Ok(read) = Capabilities::parse(&text) {
                prop_assert_eq!(Capabilities::from_xattr(&read.to_xattr()), Some(read));
            }
        }

        #[test]
        fn what_is_printed_is_read(permitted in 0..=ALL, inheritable in 0..=ALL, effective: bool) {
            let effective = effective && permitted | inheritable != 0;
            let printed = sets(permitted, inheritable, effective);
            prop_assert_eq!(Capabilities::parse(&printed.to_string()), Ok(printed));
        }
    }
}
