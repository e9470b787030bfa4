//! What of an initramfs matters to ostree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};

use super::{InitramfsError, read};
use crate::path::ImagePath;

/// What an initramfs has for a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Everything that lies in it.
    pub paths: BTreeSet<ImagePath>,
    /// What its `prepare-root.conf` says; `None` if it has none. As for libostree the one in `/etc`
    /// is the only one that counts where there are two.
    pub settings: Option<Settings>,
}

/// What finds the deployment and makes it the root.
pub const PREPARE_ROOT: &str = "usr/lib/ostree/ostree-prepare-root";
/// What starts it.
pub const UNIT: &str = "usr/lib/systemd/system/ostree-prepare-root.service";
/// Its configuration, the one that counts last.
pub const CONFIGURATIONS: [&str; 2] = [
    "usr/lib/ostree/prepare-root.conf",
    "etc/ostree/prepare-root.conf",
];

/// More is no configuration.
const LARGEST_CONFIGURATION: u64 = 1 << 20;
/// More entries are no initramfs.
const MOST_ENTRIES: usize = 1 << 20;

impl Contents {
    /// What a deployment needs and the initramfs lacks.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = |path: &&str| !self.paths.iter().any(|p| p.as_bytes() == path.as_bytes());
        [PREPARE_ROOT, UNIT].into_iter().filter(missing).collect()
    }
}

/// Reads an initramfs for what matters to ostree.
///
/// # Errors
/// As [`read`].
pub fn inspect(mut source: impl Read) -> Result<Contents, InitramfsError> {
    let mut contents = Contents::default();
    let mut configurations = [None, None];
    read(&mut source, &mut |entry, content| {
        let path = entry.path.as_bytes();
        if let Some(rank) = CONFIGURATIONS.iter().position(|c| c.as_bytes() == path) {
            let mut text = Vec::new();
            content.take(LARGEST_CONFIGURATION).read_to_end(&mut text)?;
            // The other names of a file come without content.
            if !text.is_empty() || configurations[rank].is_none() {
                configurations[rank] = Some(Settings::parse(&text));
            }
        }
        contents.paths.insert(entry.path.clone());
        match contents.paths.len() > MOST_ENTRIES {
            true => Err(io::Error::other(format!(
                "it has more than {MOST_ENTRIES} entries"
            ))),
            false => Ok(()),
        }
    })?;
    contents.settings = configurations.into_iter().flatten().last();
    Ok(contents)
}

/// A `prepare-root.conf` (ostree-prepare-root(1)): what it says, by `section.key`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads a key file (GLib's `GKeyFile`). What is none of it says nothing.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut settings = BTreeMap::new();
        let mut section = "";
        for line in text.lines().map(str::trim) {
            let header = line.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
            if let Some(header) = header {
                section = header;
            } else if let Some((key, value)) = line.split_once('=')
                && !line.starts_with('#')
            {
                let key = format!("{section}.{}", key.trim_end());
                settings.insert(key, value.trim_start().to_owned());
            }
        }
        Self(settings)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, (key, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_told() {
        for (text, told) in [
            ("", "nothing"),
            (
                "# c=d\n[composefs]\nenabled = yes\n\n[sysroot]\nreadonly=true\n",
                "composefs.enabled=yes, sysroot.readonly=true",
            ),
            ("[a]\nx=1\n[b]\nx=2\n[a]\nx=3=4\nodd\n", "a.x=3=4, b.x=2"),
        ] {
            assert_eq!(Settings::parse(text.as_bytes()).to_string(), told, "{text}");
        }
    }
}
