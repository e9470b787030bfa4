//! What SELinux denied, as the kernel's audit messages tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One denial, without what differs between two of a kind: process, inode, time.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Denial {
    /// The type of who asked.
    pub source: String,
    /// The type of what it was about.
    pub target: String,
    /// The class of that: `file`, `dir`, `capability`, …
    pub class: String,
    /// What was asked for.
    pub permissions: Vec<String>,
    /// The program that asked.
    pub command: String,
    /// The path or name of what it was about, where the kernel knew.
    pub object: Option<String>,
    /// Whether it was let through: the mode, or the type of who asked, was permissive.
    pub permissive: bool,
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            source,
            target,
            class,
            command,
            ..
        } = self;
        let permissions = self.permissions.join(" ");
        write!(
            f,
            "{command}: {source} {target} {class} {{ {permissions} }}"
        )?;
        match &self.object {
            Some(object) => write!(f, " at {object}"),
            None => Ok(()),
        }
    }
}

/// Finds the denials in lines of the journal and of `audit.log`, each kind once.
///
/// Messages from before `since`, in seconds since the epoch, are of an earlier start. Those without a
/// date count: only the log of this start has such.
pub fn denials(lines: &str, since: u64) -> Vec<Denial> {
    let mut found: Vec<_> = lines
        .lines()
        .filter(|line| date(line).is_none_or(|date| date >= since))
        .filter_map(denial)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The seconds of `audit(1764079000.123:45)`.
fn date(line: &str) -> Option<u64> {
    let (_, after) = line.split_once("audit(")?;
    after.split_once('.')?.0.parse().ok()
}

fn denial(line: &str) -> Option<Denial> {
    let (_, after) = line.split_once("avc:")?;
    let (permissions, fields) = after.trim_start().strip_prefix("denied")?.split_once('}')?;
    let permissions = permissions.trim_start().strip_prefix('{')?;
    let fields: BTreeMap<_, _> = fields
        .split(' ')
        .filter_map(|f| f.split_once('='))
        .collect();
    let text = |name: &str| {
        fields
            .get(name)
            .map(|value| value.trim_matches('"').to_owned())
    };
    Some(Denial {
        source: type_of(fields.get("scontext")?)?,
        target: type_of(fields.get("tcontext")?)?,
        class: text("tclass")?,
        permissions: permissions.split_whitespace().map(str::to_owned).collect(),
        command: text("comm").unwrap_or_default(),
        object: text("path").or_else(|| text("name")),
        permissive: fields.get("permissive") == Some(&"1"),
    })
}

fn type_of(context: &str) -> Option<String> {
    context.split(':').nth(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "audit: type=1400 audit(1764079000.123:45): avc:  denied  { read open } for  pid=485 \
        comm=\"systemd-tmpfile\" name=\"apt\" dev=\"vda\" ino=7 scontext=system_u:system_r:systemd_tmpfiles_t:s0 \
        tcontext=system_u:object_r:apt_var_lib_t:s0:c1,c2 tclass=dir permissive=0";

    #[test]
    fn a_denial_is_told_without_what_differs_each_time() {
        let again = LINE.replace("pid=485", "pid=500").replace("ino=7", "ino=9");
        let [denial] = denials(&format!("{LINE}\n{again}\n"), 0)
            .try_into()
            .unwrap();
        assert_eq!(
            denial.to_string(),
            "systemd-tmpfile: systemd_tmpfiles_t apt_var_lib_t dir { read open } at apt"
        );
        assert!(!denial.permissive);
    }

    #[test]
    fn an_earlier_start_does_not_count() {
        assert_eq!(denials(LINE, 1_764_079_001), []);
        assert_eq!(denials(LINE, 1_764_079_000).len(), 1);
        let undated = LINE.replace("audit(1764079000.123:45)", "audit");
        assert_eq!(denials(&undated, 1_764_079_001).len(), 1);
    }

    #[test]
    fn other_lines_are_no_denials() {
        let others = "avc:  granted  { x } for comm=\"a\"\navc: denied\nusb 1-1: reset\navc:  denied  { x } for a=b\n";
        assert_eq!(denials(others, 0), []);
    }
}
