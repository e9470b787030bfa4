//! Extended attributes that mean something only where the image was built.

use std::collections::HashSet;

use anyhow::Result;

use super::{Fixup, Image};
use crate::metadata::Xattrs;
use crate::path::escape;
use crate::report::{Action, Report};

/// Drops the xattrs of overlayfs, of builders and of foreign SELinux policies, and makes file
/// capabilities of a user namespace's root plain ones.
#[derive(Debug)]
pub struct CleanXattrs;

/// The label of whoever built the image: labels come from the image's own policy.
const SELINUX: &[u8] = b"security.selinux";
const CAPABILITY: &[u8] = b"security.capability";
/// A bare repo keeps xattrs as they are, but libostree reads back none that are empty, so that the
/// object would no longer be what its checksum says.
const EMPTY: &str = "empty, which ostree cannot hold";

impl Fixup for CleanXattrs {
    fn name(&self) -> &'static str {
        "xattrs"
    }

    fn summary(&self) -> &'static str {
        "drop xattrs of overlayfs, builders and other hosts' SELinux policies"
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let mut seen = HashSet::new();
        let with_xattrs: Vec<_> = image
            .tree
            .walk()
            .filter(|&(_, id)| !image.tree.inode(id).metadata.xattrs.is_empty() && seen.insert(id))
            .collect();
        for (path, id) in with_xattrs {
            for (action, detail) in clean(&mut image.tree.inode_mut(id).metadata.xattrs) {
                report.note(self.name(), action, &path, detail);
            }
        }
        Ok(())
    }
}

/// Cleans the xattrs of one inode and says what was done.
fn clean(xattrs: &mut Xattrs) -> Vec<(Action, String)> {
    let mut done = Vec::new();
    xattrs.retain(|name, value| {
        if let Some(why) = foreign(name).or(value.is_empty().then_some(EMPTY)) {
            done.push((Action::Dropped, format!("xattr {}: {why}", escape(name))));
            return false;
        }
        if &**name != CAPABILITY {
            return true;
        }
        match capability(value) {
            Capability::Plain => true,
            Capability::OfRoot(plain) => {
                let detail = "file capability of a namespace's root made a plain one".to_owned();
                done.push((Action::Changed, detail));
                *value = plain;
                true
            }
            Capability::Invalid(why) => {
                done.push((Action::Dropped, format!("file capability: {why}")));
                false
            }
        }
    });
    done
}

/// Why an xattr does not belong into a commit, if so.
fn foreign(name: &[u8]) -> Option<&'static str> {
    const BUILDERS: &[&[u8]] = &[
        b"user.component",
        b"user.ostreemeta",
        b"user.rootlesscontainers",
        b"user.containers.override_stat",
    ];
    if name == SELINUX {
        Some("label of the build host")
    } else if name == b"security.evm" {
        Some("signature over an inode of the build host")
    } else if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
        Some("bookkeeping of a file system")
    } else if BUILDERS.contains(&name) || name.starts_with(b"user.chunkah.") {
        Some("bookkeeping of an image builder")
    } else {
        None
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Capability {
    Plain,
    /// Version 3 of the namespace root that is the host's root: the same as this version 2.
    OfRoot(Box<[u8]>),
    Invalid(&'static str),
}

/// Reads `struct vfs_cap_data` (linux/capability.h).
fn capability(value: &[u8]) -> Capability {
    const REVISION_MASK: u32 = 0xff00_0000;
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;

    let Some((magic, rest)) = value.split_first_chunk::<4>() else {
        return Capability::Invalid("shorter than its header");
    };
    let magic = u32::from_le_bytes(*magic);
    match (magic & REVISION_MASK, rest.len()) {
        (REVISION_2, 16) => Capability::Plain,
        (REVISION_3, 20) if rest[16..] == [0; 4] => {
            let magic = (magic & !REVISION_MASK) | REVISION_2;
            Capability::OfRoot([&magic.to_le_bytes()[..], &rest[..16]].concat().into())
        }
        (REVISION_3, 20) => {
            Capability::Invalid("belongs to a user namespace that is not the host's")
        }
        _ => Capability::Invalid("neither version 2 nor 3, or of the wrong size"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;
    use crate::testing::Layers;

    const V2: [u8; 20] = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    fn v3(root: u8) -> Vec<u8> {
        let mut value = V2.to_vec();
        value[3] = 3;
        value.extend([root, 0, 0, 0]);
        value
    }

    #[test]
    fn strips_what_belongs_elsewhere() {
        check(
            &CleanXattrs,
            Layers::new()
                .file("a", "")
                .xattr("security.selinux", b"x_t\0")
                .xattr("user.mine", b"1")
                .xattr("user.overlay.origin", b"1")
                .xattr("user.nothing", b"")
                .hardlink("b", "a")
                .dir("d", 0o755)
                .xattr("trusted.overlay.opaque", b"y")
                .xattr("system.posix_acl_default", b"kept"),
            &[
                "/a 644 \"\" user.mine",
                "/b 644 \"\" user.mine",
                "/d/ 755 system.posix_acl_default",
            ],
            &["dropped /a", "dropped /a", "dropped /a", "dropped /d"],
        );
    }

    #[test]
    fn capabilities() {
        let tables = [
            (V2.to_vec(), Some(V2.to_vec()), 0),
            (v3(0), Some(V2.to_vec()), 1),
            (v3(7), None, 1),
            (vec![1, 2], None, 1),
            (V2[..12].to_vec(), None, 1),
        ];
        for (before, after, notes) in tables {
            let name: Box<[u8]> = CAPABILITY.into();
            let mut xattrs = Xattrs::from([(name, before.into())]);
            assert_eq!(clean(&mut xattrs).len(), notes);
            assert_eq!(xattrs.get(CAPABILITY).map(|v| v.to_vec()), after);
        }
    }
}
