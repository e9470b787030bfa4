//! Extended attributes that mean something only where the image was built, or that come back from
//! a file system other than they went there.

mod acl;

use std::collections::HashSet;

use anyhow::Result;

use super::{Fixup, Image};
use crate::metadata::{CAPABILITY_XATTR, LABEL_XATTR};
use crate::path::escape;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode};
use acl::Acl;

/// Drops the xattrs of overlayfs, of builders and of foreign SELinux policies and those that no
/// file system holds, makes ACLs agree with modes, and file capabilities of a user namespace's root
/// plain ones.
#[derive(Debug)]
pub struct CleanXattrs;

impl Fixup for CleanXattrs {
    fn name(&self) -> &'static str {
        "xattrs"
    }

    fn summary(&self) -> &'static str {
        "drop xattrs of overlayfs, builders and other hosts' SELinux policies, and what no file \
         system holds"
    }

    fn reason(&self) -> &'static str {
        "They mean something only where the image was built, or come back from a file system other than they went there."
    }

    fn after(&self) -> &'static [&'static str] {
        &["ostree-base"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let mut seen = HashSet::new();
        let with_xattrs: Vec<_> = image
            .tree
            .walk()
            .filter(|&(_, id)| !image.tree.inode(id).metadata.xattrs.is_empty() && seen.insert(id))
            .collect();
        for (path, id) in with_xattrs {
            for (action, detail) in clean(image.tree.inode_mut(id)) {
                report.note(self.name(), action, &path, detail);
            }
        }
        Ok(())
    }
}

/// Drops what no commit holds from the xattrs of an inode, as the fixup does.
pub fn clean_xattrs(inode: &mut Inode) {
    clean(inode);
}

/// Cleans the xattrs of one inode and says what was done.
fn clean(inode: &mut Inode) -> Vec<(Action, String)> {
    let Inode { metadata, content } = inode;
    let mode = metadata.mode;
    let mut done = Vec::new();
    let mut note =
        |action, name: &[u8], why| done.push((action, format!("xattr {}: {why}", escape(name))));
    metadata
        .xattrs
        .retain(|name, value| match judge(name, value, mode, content) {
            Verdict::Keep => true,
            Verdict::Change(new, why) => {
                note(Action::Changed, name, why);
                *value = new;
                true
            }
            Verdict::Drop(why) => {
                note(Action::Dropped, name, why);
                false
            }
        });
    done
}

/// What becomes of an xattr, and why.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Change(Box<[u8]>, &'static str),
    Drop(&'static str),
}

fn judge(name: &[u8], value: &[u8], mode: u32, content: &Content) -> Verdict {
    if let Some(why) = foreign(name).or_else(|| homeless(name, content)) {
        return Verdict::Drop(why);
    }
    match name {
        // A bare repo keeps xattrs as they are, but libostree reads back none that are empty, so
        // that the object would no longer be what its checksum says.
        _ if value.is_empty() => Verdict::Drop("empty, which ostree cannot hold"),
        CAPABILITY_XATTR => capability(value),
        acl::ACCESS => access_acl(value, mode),
        acl::DEFAULT => default_acl(value),
        _ => Verdict::Keep,
    }
}

/// Why an xattr does not belong into a commit, if so.
fn foreign(name: &[u8]) -> Option<&'static str> {
    const BUILDERS: &[&[u8]] = &[
        b"user.component",
        b"user.ostreemeta",
        b"user.rootlesscontainers",
        b"user.containers.override_stat",
    ];
    if name == LABEL_XATTR {
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

/// Why no file system that a system boots from could hold an xattr of this name, if so (xattr(7)).
fn homeless(name: &[u8], content: &Content) -> Option<&'static str> {
    let is_in = |space: &[u8]| name.len() > space.len() && name.starts_with(space);
    match content {
        _ if is_in(b"security.") => None,
        Content::File { .. } if name == acl::DEFAULT => Some("only a directory can have it"),
        Content::Directory(_) | Content::File { .. }
            if is_in(b"user.") || name == acl::ACCESS || name == acl::DEFAULT =>
        {
            None
        }
        Content::Symlink(_) | Content::Special(_) => Some("only a file or a directory can have it"),
        _ => Some("no file system knows it"),
    }
}

/// Reads `struct vfs_cap_data` (linux/capability.h). Version 3 of the namespace root that is the
/// host's root is the same as version 2.
fn capability(value: &[u8]) -> Verdict {
    const REVISION_MASK: u32 = 0xff00_0000;
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_3: u32 = 0x0300_0000;

    let Some((magic, rest)) = value.split_first_chunk::<4>() else {
        return Verdict::Drop("shorter than its header");
    };
    let magic = u32::from_le_bytes(*magic);
    match (magic & REVISION_MASK, rest.len()) {
        (REVISION_2, 16) => Verdict::Keep,
        (REVISION_3, 20) if rest[16..] == [0; 4] => {
            let magic = (magic & !REVISION_MASK) | REVISION_2;
            let plain = [&magic.to_le_bytes()[..], &rest[..16]].concat();
            Verdict::Change(plain.into(), "that of a namespace's root made a plain one")
        }
        (REVISION_3, 20) => Verdict::Drop("belongs to a user namespace that is not the host's"),
        _ => Verdict::Drop("neither version 2 nor 3, or of the wrong size"),
    }
}

/// An access ACL and the mode are one thing to a kernel, so that either would change the other
/// where they are set. The mode counts: it is what readers of the image that know no ACLs see.
fn access_acl(value: &[u8], mode: u32) -> Verdict {
    let mut acl = match Acl::parse(value) {
        Ok(acl) if acl.is_minimal() => return Verdict::Drop("says no more than the mode"),
        Ok(acl) => acl,
        Err(why) => return Verdict::Drop(why),
    };
    acl.set_mode(mode);
    match acl.to_bytes() {
        same if *same == *value => Verdict::Keep,
        new => Verdict::Change(new, "made to agree with the mode"),
    }
}

fn default_acl(value: &[u8]) -> Verdict {
    match Acl::parse(value).map(|acl| acl.to_bytes()) {
        Ok(same) if *same == *value => Verdict::Keep,
        Ok(new) => Verdict::Change(new, "written as a kernel writes it"),
        Err(why) => Verdict::Drop(why),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::acl::tests::acl;
    use super::*;
    use crate::metadata::Special;
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

    /// User 7 has access to a file of mode `6MASK4`.
    fn acl_with_mask(mask: u16) -> Vec<u8> {
        const NO_ID: u32 = u32::MAX;
        acl(&[
            (1, 6, NO_ID),
            (2, 6, 7),
            (4, 4, NO_ID),
            (16, mask, NO_ID),
            (32, 4, NO_ID),
        ])
    }

    fn minimal_acl(user: u16) -> Vec<u8> {
        acl(&[(1, user, u32::MAX), (4, 4, u32::MAX), (32, 4, u32::MAX)])
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
                .xattr("system.posix_acl_default", &minimal_acl(7)),
            &[
                "/a 644 \"\" user.mine",
                "/b 644 \"\" user.mine",
                "/d/ 755 system.posix_acl_default",
            ],
            &["dropped /a", "dropped /a", "dropped /a", "dropped /d"],
        );
    }

    #[test]
    fn what_no_file_system_holds() {
        check(
            &CleanXattrs,
            Layers::new()
                .file("a", "")
                .xattr("com.example", b"1")
                .xattr("security.", b"1")
                .xattr("security.ima", b"1")
                .xattr("system.nfs4_acl", b"1")
                .xattr("user.", b"1")
                .xattr("system.posix_acl_default", &minimal_acl(6))
                .symlink("b", "a")
                .xattr("security.x", b"1")
                .xattr("system.posix_acl_access", &acl_with_mask(7))
                .xattr("user.x", b"1")
                .special("c", Special::Fifo)
                .xattr("user.x", b"1"),
            &["/a 644 \"\" security.ima", "/b -> a security.x", "/c FIFO"],
            &[
                "dropped /a",
                "dropped /a",
                "dropped /a",
                "dropped /a",
                "dropped /a",
                "dropped /b",
                "dropped /b",
                "dropped /c",
            ],
        );
    }

    #[test]
    fn acls() {
        let (access, default) = ("system.posix_acl_access", "system.posix_acl_default");
        check(
            &CleanXattrs,
            Layers::new()
                .file("agrees", "")
                .xattr(access, &acl_with_mask(4))
                .file("differs", "")
                .xattr(access, &acl_with_mask(6))
                .file("malformed", "")
                .xattr(access, b"junk")
                .dir("malformed-default", 0o755)
                .xattr(default, b"junk")
                .file("minimal", "")
                .xattr(access, &minimal_acl(6))
                .file("minimal-differs", "")
                .xattr(access, &minimal_acl(7)),
            &[
                &format!("/agrees 644 \"\" {access}"),
                &format!("/differs 644 \"\" {access}"),
                "/malformed 644 \"\"",
                "/malformed-default/ 755",
                "/minimal 644 \"\"",
                "/minimal-differs 644 \"\"",
            ],
            &[
                "changed /differs",
                "dropped /malformed",
                "dropped /malformed-default",
                "dropped /minimal",
                "dropped /minimal-differs",
            ],
        );
        assert_eq!(
            access_acl(&acl_with_mask(6), 0o644),
            Verdict::Change(acl_with_mask(4).into(), "made to agree with the mode")
        );
    }

    #[test]
    fn capabilities() {
        let plain = "that of a namespace's root made a plain one";
        assert_eq!(capability(&V2), Verdict::Keep);
        assert_eq!(capability(&v3(0)), Verdict::Change(V2.into(), plain));
        for invalid in [&v3(7)[..], &[1, 2], &V2[..12]] {
            assert!(matches!(capability(invalid), Verdict::Drop(_)));
        }
    }
}
