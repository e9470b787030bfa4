//! Extended attributes that a file system refuses, or hands back otherwise than it got them: a bare
//! repo must hold what its checksums say.

use std::process::Command;

use tar::EntryType::{Directory, Regular, Symlink};

use crate::common::image::Image;
use crate::common::not_run;
use crate::common::{import, output, run, stderr};

const ACCESS: &str = "SCHILY.xattr.system.posix_acl_access";
const DEFAULT: &str = "SCHILY.xattr.system.posix_acl_default";

/// The value of an ACL (linux/posix_acl_xattr.h): tag, permissions, number.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn of_every_kind_in_a_bare_repo() {
    if !rustix::process::geteuid().is_root() {
        not_run("a bare repo needs root");
        return;
    }
    let no = u32::MAX;
    let minimal = acl(&[(1, 6, no), (4, 4, no), (32, 4, no)]);
    let stricter = acl(&[(1, 4, no), (4, 0, no), (32, 0, no)]);
    // A file of mode 644 by its mode, but 674 by its mask.
    let named = acl(&[(1, 6, no), (2, 7, 7), (4, 4, no), (16, 7, no), (32, 4, no)]);
    let numbered = acl(&[(1, 6, 1), (4, 4, 2), (8, 7, 7), (16, 4, 3), (32, 4, 4)]);

    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut image = Image::new();
    for (path, kind, key, value) in [
        ("minimal", Regular, ACCESS, &minimal[..]),
        ("stricter", Regular, ACCESS, &stricter),
        ("named", Regular, ACCESS, &named),
        ("numbered", Regular, ACCESS, &numbered),
        ("malformed", Regular, ACCESS, b"junk"),
        ("file-default", Regular, DEFAULT, &minimal),
        ("link", Symlink, ACCESS, &named),
        ("directory", Directory, DEFAULT, &named),
        ("user-link", Symlink, "SCHILY.xattr.user.x", b"1"),
        ("stranger", Regular, "SCHILY.xattr.com.example", b"1"),
        ("system", Regular, "SCHILY.xattr.system.x", b"1"),
        ("nameless", Regular, "SCHILY.xattr.user.", b"1"),
        ("kept", Regular, "SCHILY.xattr.security.x", b"1"),
    ] {
        let (mode, target) = match kind {
            Symlink => (0o777, "kept"),
            Directory => (0o755, ""),
            _ => (0o644, ""),
        };
        // The content tells files apart that would be one object otherwise.
        let content = if kind == Regular { path } else { "" };
        let content = content.as_bytes();
        image = image
            .pax(key, value)
            .entry(path, kind, mode, target, content);
    }
    let source = image.write(&directory.path().join("image")).reference();
    let repo = directory.path().join("repo");
    let imported = output(import(&repo, &source).args(["--init=bare", "--write-ref=x"]));
    assert!(imported.status.success(), "{}", stderr(&imported));
    run(Command::new("ostree").arg("fsck").arg("--repo").arg(&repo));
    let listed = run(Command::new("ostree")
        .args(["ls", "-RX", "x"])
        .arg("--repo")
        .arg(&repo));
    let with_xattrs: Vec<_> = listed
        .lines()
        .filter(|line| line.contains("b'"))
        .map(|line| line.rsplit(' ').next().expect("a path"))
        .collect();
    println!("{listed}");
    assert_eq!(with_xattrs, ["/kept", "/named", "/numbered", "/directory"]);
}
