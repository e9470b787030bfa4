//! What pacman and dpkg know of modes and owners.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::notes;
use crate::support::command::{import, run, scratch};
use crate::support::layout::{CAPABILITY, Image, Layer};

/// `ostree ls -X` of a path: mode, owner and xattrs.
fn list(repo: &Path, json: &Value, path: &str) -> String {
    let listed = run(Command::new("ostree")
        .arg("ls")
        .arg(format!("--repo={}", repo.display()))
        .args(["-d", "-X", json["commit"].as_str().unwrap(), path]));
    String::from_utf8(listed.stdout).unwrap()
}

/// The list of a package's files, written as makepkg has libarchive write it.
#[test]
fn lists_of_libarchive_are_read() {
    let directory = scratch();
    let root = directory.path().join("package");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("etc/sudoers.d")).unwrap();
    fs::write(root.join(".PKGINFO"), "pkgname = sudo\n").unwrap();
    fs::write(root.join("usr/bin/sudo"), "sudo").unwrap();
    fs::write(root.join("usr/bin/a b"), "").unwrap();
    let chmod = |mode: &str, path: &str| {
        run(Command::new("chmod").arg(mode).arg(root.join(path)));
    };
    chmod("4755", "usr/bin/sudo");
    chmod("2755", "usr/bin/a b");
    chmod("0750", "etc/sudoers.d");
    let list_file = directory.path().join("mtree");
    run(Command::new("bsdtar")
        .arg("--create")
        .arg("--file")
        .arg(&list_file)
        .args(["--format=mtree", "--gzip", "--uid=0", "--gid=0"])
        .arg("--options=!all,use-set,type,uid,gid,mode,time,size,sha256,link")
        .arg("--directory")
        .arg(&root)
        .args([".PKGINFO", "etc", "usr"]));
    let written = fs::read(&list_file).unwrap();
    let image = Image::new().layer(
        Layer::new()
            .bytes(
                "var/lib/pacman/local/sudo-1.9.17-1/mtree",
                0o644,
                (0, 0),
                &written,
            )
            .file("usr/bin/sudo", 0o755, "sudo")
            .file("usr/bin/a b", 0o755, "replaced")
            .directory("etc/sudoers.d", 0o755),
    );
    let source = image.write(&directory.path().join("image"));
    let repo = directory.path().join("repo");
    let json = import(&repo, "bare-user", &source, &[]);
    assert_eq!(
        notes(&json),
        [
            "changed /etc/sudoers.d",
            "warning /usr/bin/a b",
            "changed /usr/bin/sudo",
        ]
    );
    assert!(list(&repo, &json, "/usr/bin/sudo").starts_with("-04755 0 0"));
    assert!(list(&repo, &json, "/usr/etc/sudoers.d").starts_with("d00750 0 0"));
}

/// What scripts of Debian's packages do, and what an administrator wants instead.
#[test]
fn overrides_and_scripts_of_debian_count() {
    let script = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n\
        if command -v setcap >/dev/null; then\n\
        if ! setcap cap_dac_override,cap_fowner+ep /usr/bin/tool; then chmod u+s /usr/bin/tool; fi\n\
        fi\nfi\n";
    let directory = scratch();
    let package = directory.path().join("package");
    fs::create_dir_all(package.join("usr/bin")).unwrap();
    fs::write(package.join("usr/bin/tool"), "tool").unwrap();
    let sums = run(Command::new("md5sum")
        .current_dir(&package)
        .arg("usr/bin/tool"));
    let sums = String::from_utf8(sums.stdout).unwrap();
    let image = Image::new().layer(
        Layer::new()
            .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n")
            .file("etc/group", 0o644, "root:x:0:\nmessagebus:x:101:\n")
            .file("var/lib/dpkg/info/tool.postinst", 0o755, script)
            .file("var/lib/dpkg/info/tool.md5sums", 0o644, &sums)
            .file(
                "var/lib/dpkg/statoverride",
                0o644,
                "root messagebus 4754 /usr/lib/dbus/launch\n",
            )
            .file("usr/bin/tool", 0o755, "tool")
            .file("usr/lib/dbus/launch", 0o754, "launch"),
    );
    let source = image.write(&directory.path().join("image"));
    let repo = directory.path().join("repo");
    let json = import(&repo, "bare-user", &source, &[]);
    assert_eq!(
        notes(&json),
        ["changed /usr/bin/tool", "changed /usr/lib/dbus/launch"]
    );
    assert!(list(&repo, &json, "/usr/lib/dbus/launch").starts_with("-04754 0 101"));
    let listed = list(&repo, &json, "/usr/bin/tool");
    assert!(listed.contains("security.capability"), "{listed}");
    let bytes: Vec<_> = CAPABILITY
        .iter()
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    assert!(listed.contains(&bytes.join(", ")), "{listed}");
}
