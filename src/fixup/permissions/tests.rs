//! Whole trees, before and after.

use ostree::glib::ChecksumType;

use super::super::FixupOptions;
use super::*;
use crate::packages::{AccountDatabase, Capabilities, DeclaredChecksum, Packages, Unread};
use crate::testing::{Layers, image_path, list};

/// A line of `PACKAGE PATH KIND MODE USER:GROUP`, `-` for what is not declared.
fn declare(line: &str) -> DeclaredFile {
    let [package, path, kind, mode, owner] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("five words: {line}");
    };
    let (user, group) = owner.split_once(':').unwrap();
    let owner = |name: &str| match name.parse() {
        Ok(number) => Some(Owner::Number(number)),
        Err(_) => (name != "-").then(|| Owner::Name(name.into())),
    };
    DeclaredFile {
        package: package.into(),
        path: image_path(path),
        kind: match kind {
            "directory" => Some(FileKind::Directory),
            "file" => Some(FileKind::Regular),
            "link" => Some(FileKind::Symlink),
            _ => None,
        },
        mode: u32::from_str_radix(mode, 8).ok(),
        user: owner(user),
        group: owner(group),
        capabilities: None,
        content: DeclaredContent::Any,
        ghost: false,
    }
}

fn declares(lines: &[&str]) -> Vec<DeclaredFile> {
    lines.iter().map(|line| declare(line)).collect()
}

/// A declaration of a program with this content and these capabilities.
fn program(line: &str, content: &str, capabilities: &str) -> DeclaredFile {
    let digest = crate::digest::Digest::of(content.as_bytes()).hex();
    let checksum = DeclaredChecksum::parse(ChecksumType::Sha256, digest.as_bytes()).unwrap();
    DeclaredFile {
        capabilities: Some(Capabilities::parse(capabilities).unwrap()),
        content: DeclaredContent::Checksum(checksum),
        ..declare(line)
    }
}

/// The tree, and the notes as `action path: detail`.
fn run(layers: Layers, files: Vec<DeclaredFile>, repair: Repair) -> (Vec<String>, Vec<String>) {
    let (tree, bodies) = layers.merge();
    let mut accounts = AccountDatabase::default();
    accounts.add_passwd(b"root:x:0:0::/root:/bin/sh\n");
    accounts.add_group(b"root:x:0:\npolkitd:x:998:\n");
    let mut image = Image {
        tree,
        bodies,
        packages: Packages {
            accounts,
            files,
            ..Packages::default()
        },
        options: FixupOptions {
            repair,
            ..FixupOptions::default()
        },
    };
    let mut apply = || {
        let mut report = Report::default();
        Permissions.apply(&mut image, &mut report).unwrap();
        let notes = report.notes().iter();
        let notes: Vec<_> = notes
            .map(|note| format!("{} {}: {}", note.action, note.path, note.detail))
            .collect();
        (list(&image.tree, &image.bodies), notes)
    };
    let (tree, notes) = apply();
    let (again, mut repeated) = apply();
    assert_eq!(again, tree, "not idempotent");
    repeated.retain(|note| !notes.contains(note));
    assert_eq!(repeated, [""; 0], "news in the second pass");
    (tree, notes)
}

#[test]
fn lost_modes_owners_and_capabilities_come_back() {
    let layers = Layers::new()
        .dir("etc/polkit-1/rules.d", 0o755)
        .dir("etc/audit", 0o755)
        .file("usr/bin/ping", "ping")
        .file("usr/bin/su", "su")
        .symlink("lib", "usr/lib")
        .dir("usr/lib/secret", 0o755)
        .symlink("usr/lib/link", "x");
    let mut files = declares(&[
        "polkit /etc/polkit-1/rules.d directory 750 root:polkitd",
        "audit /etc/audit directory 750 root:root",
        "legacy /lib/secret directory 700 root:root",
        "legacy /lib/link link - root:polkitd",
        "gone /usr/lib/gone directory 700 root:root",
        "other /lib directory 700 root:root",
    ]);
    files.push(program(
        "iputils /usr/bin/ping file 644 root:root",
        "ping",
        "cap_net_raw=ep",
    ));
    files.push(program(
        "util-linux /usr/bin/su file 4644 root:root",
        "su",
        "",
    ));
    let (tree, notes) = run(layers, files, Repair::Missing);
    assert_eq!(
        tree,
        [
            "/etc/ 755",
            "/etc/audit/ 750",
            "/etc/polkit-1/ 755",
            "/etc/polkit-1/rules.d/ 750 0:998",
            "/lib -> usr/lib",
            "/usr/ 755",
            "/usr/bin/ 755",
            "/usr/bin/ping 644 \"ping\" security.capability",
            "/usr/bin/su 4644 \"su\"",
            "/usr/lib/ 755",
            "/usr/lib/link -> x 0:998",
            "/usr/lib/secret/ 700",
        ]
    );
    assert_eq!(
        notes,
        [
            "changed /etc/audit: mode 0755 to 0750, as package audit declares",
            "changed /etc/polkit-1/rules.d: mode 0755 to 0750, group 0 to 998, as package polkit declares",
            "changed /usr/bin/ping: capabilities none to cap_net_raw=ep, as package iputils declares",
            "changed /usr/bin/su: mode 0644 to 4644, as package util-linux declares",
            "changed /usr/lib/link: group 0 to 998, as package legacy declares",
            "changed /usr/lib/secret: mode 0755 to 0700, as package legacy declares",
        ]
    );
}

#[test]
fn what_may_be_meant_is_told() {
    let layers = || {
        Layers::new()
            .dir("usr/etc/chosen", 0o711)
            .dir("usr/etc/lost", 0o755)
            .file("usr/bin/other", "changed")
            .xattr("security.capability", &[0; 20])
            .file("usr/bin/ping", "another ping")
            .dir("usr/ghost", 0o755)
    };
    let files = || {
        let ghost = DeclaredFile {
            ghost: true,
            ..declare("p /usr/ghost directory 700 root:root")
        };
        vec![
            declare("p /etc/chosen directory 750 root:root"),
            declare("p /etc/lost directory 750 root:root"),
            program(
                "p /usr/bin/other file 600 root:root",
                "changed",
                "cap_kill=p",
            ),
            program(
                "p /usr/bin/ping file 644 root:root",
                "ping",
                "cap_net_raw=ep",
            ),
            ghost,
        ]
    };
    let before = run(layers(), Vec::new(), Repair::Missing).0;
    let (tree, notes) = run(layers(), files(), Repair::Report);
    assert_eq!(tree, before);
    let chosen = "warning /etc/chosen: package p declares mode 0750 instead of 0711";
    let other = [
        "warning /usr/bin/other: package p declares mode 0600 instead of 0644",
        "warning /usr/bin/other: package p declares capabilities cap_kill=p instead of unreadable",
    ];
    let ghost =
        "warning /usr/ghost: package p, which does not ship it, declares mode 0700 instead of 0755";
    let changed_ping = "warning /usr/bin/ping: package p, to which the content is not known to belong, declares capabilities cap_net_raw=ep instead of none";
    assert_eq!(
        notes,
        [
            chosen,
            "warning /etc/lost: package p declares mode 0750 instead of 0755",
            other[0],
            other[1],
            "warning /usr/bin/ping: package p declares capabilities cap_net_raw=ep instead of none",
            ghost,
        ]
    );
    let (tree, notes) = run(layers(), files(), Repair::Missing);
    assert_eq!(
        tree.iter()
            .filter(|line| !before.contains(line))
            .collect::<Vec<_>>(),
        ["/usr/etc/lost/ 750"]
    );
    assert_eq!(
        notes,
        [
            chosen,
            "changed /etc/lost: mode 0755 to 0750, as package p declares",
            other[0],
            other[1],
            changed_ping,
            ghost,
        ]
    );
    let (tree, notes) = run(layers(), files(), Repair::Full);
    let new: Vec<_> = tree.iter().filter(|line| !before.contains(line)).collect();
    assert_eq!(
        new,
        [
            "/usr/bin/other 600 \"changed\" security.capability",
            "/usr/etc/chosen/ 750",
            "/usr/etc/lost/ 750",
        ]
    );
    assert_eq!(
        notes,
        [
            "changed /etc/chosen: mode 0711 to 0750, as package p declares",
            "changed /etc/lost: mode 0755 to 0750, as package p declares",
            "changed /usr/bin/other: mode 0644 to 0600, capabilities unreadable to cap_kill=p, as package p declares",
            changed_ping,
            ghost,
        ]
    );
}

#[test]
fn owners_of_one_path_must_agree() {
    let layers = Layers::new()
        .dir("usr/agreed", 0o755)
        .dir("usr/layout", 0o755)
        .dir("usr/open", 0o755)
        .dir("usr/claimed", 0o755);
    let mut files = declares(&[
        "a /usr/agreed directory 700 root:root",
        "b /usr/agreed directory 700 root:root",
        "a /usr/layout directory 755 root:root",
        "filesystem /usr/layout directory 555 root:root",
        "a /usr/open directory 700 root:root",
        "b /usr/open directory 750 root:root",
        "a /usr/claimed directory 0 root:root",
        "b /usr/claimed directory 711 root:root",
    ]);
    files[6].ghost = true;
    let (tree, notes) = run(layers, files, Repair::Full);
    assert_eq!(
        tree,
        [
            "/usr/ 755",
            "/usr/agreed/ 700",
            "/usr/claimed/ 711",
            "/usr/layout/ 555",
            "/usr/open/ 755"
        ]
    );
    assert_eq!(
        notes,
        [
            "changed /usr/agreed: mode 0755 to 0700, as package a declares",
            "changed /usr/claimed: mode 0755 to 0711, as package b declares",
            "warning /usr/layout: package a declares it otherwise than filesystem, which counts",
            "changed /usr/layout: mode 0755 to 0555, as package filesystem declares",
            "warning /usr/open: packages a and b declare it differently, so that it was left as it is",
        ]
    );
}

#[test]
fn accounts_must_be_known_and_names_of_one_file_compete_not() {
    let layers = Layers::new()
        .dir("usr/d", 0o755)
        .file("usr/x", "x")
        .hardlink("usr/y", "usr/x");
    let files = declares(&[
        "p /usr/d directory 700 nobody-knows:polkitd",
        "p /usr/x file 600 7:root",
        "p /usr/y file 644 root:root",
    ]);
    let (tree, notes) = run(layers, files, Repair::Full);
    assert_eq!(
        tree,
        [
            "/usr/ 755",
            "/usr/d/ 700 0:998",
            "/usr/x 600 \"x\" 7:0",
            "/usr/y 600 \"x\" 7:0"
        ]
    );
    assert_eq!(
        notes,
        [
            "warning /usr/d: package p gives it to user nobody-knows, which the image does not have",
            "changed /usr/d: mode 0755 to 0700, group 0 to 998, as package p declares",
            "changed /usr/x: mode 0644 to 0600, user 0 to 7, as package p declares",
            "warning /usr/y: package p, which has it under another name, too, declares mode 0644 instead of 0600, user 0 instead of 7",
        ]
    );
}

#[test]
fn what_was_not_read_is_told() {
    let (tree, bodies) = Layers::new().merge();
    let unread = Unread {
        path: image_path("var/lib/rpm/Packages"),
        reason: "not read".to_owned(),
        fix: "rebuild it".to_owned(),
    };
    let mut image = Image {
        tree,
        bodies,
        packages: Packages {
            unread: vec![unread],
            ..Packages::default()
        },
        options: FixupOptions::default(),
    };
    let mut report = Report::default();
    Permissions.apply(&mut image, &mut report).unwrap();
    let [note] = report.notes() else {
        panic!("{report:?}");
    };
    assert_eq!(
        (note.action, note.fix.as_deref()),
        (Action::Warning, Some("rebuild it"))
    );
}
