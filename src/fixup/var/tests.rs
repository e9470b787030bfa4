//! Images and what becomes of their `/var`.

use super::super::FixupOptions;
use super::super::testing::run;
use super::*;
use crate::metadata::Special;
use crate::testing::Layers;

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ngames:x:5:60::/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\ngames:x:60:\n";

/// What the fixup makes of an image with accounts: the listing without them, and the notes.
fn apply(layers: Layers, options: FixupOptions) -> (Vec<String>, Vec<String>) {
    let layers = layers.file("etc/passwd", PASSWD).file("etc/group", GROUP);
    let (mut tree, notes) = run(&MoveVar, layers, options).unwrap();
    let accounts = ["/etc/ 755", "/etc/passwd 644", "/etc/group 644"];
    let parents = ["/usr/ 755", "/usr/lib/ 755", "/usr/lib/tmpfiles.d/ 755"];
    tree.retain(|line| {
        let is = |known: &&str| line.starts_with(known);
        !accounts.iter().any(is) && !parents.contains(&&**line)
    });
    (tree, notes)
}

fn with(var: Var) -> FixupOptions {
    FixupOptions {
        var,
        ..FixupOptions::default()
    }
}

/// Our file with these lines, as listings print it.
fn lines(lines: &[&str]) -> String {
    let text = format!(
        "# Made by import-oci, see tmpfiles.d(5).\n{}\n",
        lines.join("\n")
    );
    let text = crate::path::escape(text.as_bytes());
    format!("/usr/lib/tmpfiles.d/{LINES} 644 {text:?}")
}

#[test]
fn directories_links_and_files_become_lines() {
    let layers = Layers::new()
        .dir("var", 0o711)
        .dir("var/log/audit", 0o2750)
        .owner(0, 4)
        .dir("var/spool/mail", 0o1777)
        .owner(5, 77)
        .symlink("var/spool/link", "../mail")
        .file("var/lib/one", "1")
        .owner(5, 60)
        .file("var/lib/a b/%", "odd")
        .dir("var/lib/state", 0o700)
        .owner(5, 60)
        .file("var/lib/state/file", "2")
        .owner(5, 60)
        .file("var/lib/state/sub/file", "3");
    let (tree, notes) = apply(layers, FixupOptions::default());
    assert_eq!(
        tree,
        [
            &lines(&[
                "d /var/lib 0755 root root -",
                "C \"/var/lib/a b\" - - - -",
                "C /var/lib/one 0644 games games -",
                "C /var/lib/state - - - -",
                "z /var/lib/state - games games -",
                "z /var/lib/state/file - games games -",
                "d /var/lib/state/sub 0755 root root -",
                "d /var/log 0755 root root -",
                "d /var/log/audit 2750 root adm -",
                "d /var/spool 0755 root root -",
                "L /var/spool/link - - - - ../mail",
                "d /var/spool/mail 1777 games 77 -",
            ]),
            "/usr/share/ 755",
            "/usr/share/factory/ 755",
            "/usr/share/factory/var/ 711",
            "/usr/share/factory/var/lib/ 755",
            "/usr/share/factory/var/lib/a b/ 755",
            "/usr/share/factory/var/lib/a b/% 644 \"odd\"",
            "/usr/share/factory/var/lib/one 644 \"1\" 5:60",
            "/usr/share/factory/var/lib/state/ 700 5:60",
            "/usr/share/factory/var/lib/state/file 644 \"2\" 5:60",
            "/usr/share/factory/var/lib/state/sub/ 755",
            "/usr/share/factory/var/lib/state/sub/file 644 \"3\"",
            "/var/ 711",
        ]
    );
    assert_eq!(
        notes,
        [
            "moved /var/lib",
            "moved /var/lib/a b",
            "moved /var/lib/one",
            "moved /var/lib/state",
            "moved /var/log",
            "moved /var/log/audit",
            "moved /var/spool",
            "moved /var/spool/link",
            "moved /var/spool/mail",
            "added /usr/lib/tmpfiles.d/import-oci-var.conf",
        ]
    );
}

#[test]
fn lines_of_packages_count() {
    let layers = Layers::new()
        .dir("var/log/audit", 0o750)
        .dir("var/lib/tool", 0o700)
        .owner(5, 60)
        .file("var/lib/tool/state", "1")
        .dir("var/lib/%", 0o755)
        .symlink("var/run", "/run")
        .file("var/lib/empty", "")
        .file(
            "usr/lib/tmpfiles.d/x.conf",
            "d /var/log 0755\nd /var/lib/tool 0700 games games\nL /var/run - - - - ../run\n\
             d /var/log/audit 0700\nf /var/lib/empty\nd %S/%%\nz /var/lib 0755\nd /var/lib/%m\n",
        );
    let (tree, notes) = apply(layers, FixupOptions::default());
    let want = lines(&[
        "d /var/lib 0755 root root -",
        "C /var/lib/tool/state 0644 root root -",
    ]);
    assert_eq!(tree[0], want);
    assert!(tree.contains(&"/usr/share/factory/var/lib/empty 644 \"\"".to_owned()));
    assert!(notes.contains(&"moved /var/log/audit".to_owned()));
}

#[test]
fn what_hosts_make_is_dropped() {
    let layers = Layers::new()
        .dir("var/cache/apt", 0o700)
        .file("var/cache/apt/x.bin", "")
        .file("var/log/apt/history.log", "")
        .symlink("var/log/README", "../../usr/share/doc/README")
        .file("var/lib/apt/lists/x_Packages", "")
        .file("var/tmp/x/y", "")
        .file("var/lib/systemd/random-seed", "secret")
        .file("var/run/x.pid", "")
        .special("var/lib/fifo", Special::Fifo);
    let (tree, notes) = apply(layers, FixupOptions::default());
    assert_eq!(
        tree,
        [
            &lines(&[
                "d /var/cache 0755 root root -",
                "d /var/cache/apt 0700 root root -",
                "d /var/lib 0755 root root -",
                "d /var/lib/apt 0755 root root -",
                "d /var/lib/apt/lists 0755 root root -",
                "d /var/lib/systemd 0755 root root -",
                "d /var/log 0755 root root -",
                "L /var/log/README - - - - ../../usr/share/doc/README",
                "d /var/log/apt 0755 root root -",
                "L /var/run - - - - ../run",
                "d /var/tmp 0755 root root -",
            ]),
            "/var/ 755",
        ]
    );
    let dropped: Vec<_> = notes
        .iter()
        .filter_map(|n| n.strip_prefix("dropped "))
        .collect();
    assert_eq!(
        dropped,
        [
            "/var/run",
            "/var/run/x.pid",
            "/var/cache/apt/x.bin",
            "/var/log/apt/history.log",
            "/var/lib/apt/lists/x_Packages",
            "/var/lib/systemd/random-seed",
            "/var/tmp/x",
            "/var/tmp/x/y",
            "/var/lib/fifo",
        ]
    );
}

#[test]
fn systemd_goes_no_further_than_another_owner() {
    let layers = Layers::new()
        .dir("var/lib/games", 0o755)
        .owner(5, 60)
        .dir("var/lib/games/roots", 0o755)
        .dir("var/lib/games/roots/deep", 0o755)
        .dir("var/lib/games/empty", 0o755);
    let (tree, _) = apply(layers, FixupOptions::default());
    let want = lines(&[
        "d /var/lib 0755 root root -",
        "d /var/lib/games 0755 games games -",
        "d /var/lib/games/empty 0755 root root -",
        "C /var/lib/games/roots - - - -",
    ]);
    assert_eq!(tree[0], want);
}

#[test]
fn xattrs_that_are_lost_are_told() {
    let layers = Layers::new()
        .dir("var/a", 0o755)
        .xattr("user.x", b"1")
        .file("var/b", "")
        .xattr("user.x", b"1")
        .xattr("security.capability", b"1")
        .xattr("security.selinux", b"l\0");
    let (_, notes) = apply(layers, FixupOptions::default());
    assert_eq!(
        notes[..4],
        [
            "changed /var/a",
            "moved /var/a",
            "changed /var/b",
            "moved /var/b"
        ]
    );
}

#[test]
fn a_commit_of_ours_that_was_built_on_grows() {
    let layers = Layers::new()
        .file(
            &format!("usr/lib/tmpfiles.d/{LINES}"),
            "# Made by import-oci, see tmpfiles.d(5).\nd /var/lib 0755 root root -\nC /var/lib/x - - - -\n",
        )
        .file("usr/share/factory/var/lib/x/old", "1")
        .layer()
        .file("var/lib/x/new", "2");
    let (tree, _) = apply(layers, FixupOptions::default());
    let want = lines(&[
        "d /var/lib 0755 root root -",
        "C /var/lib/x - - - -",
        "C /var/lib/x/new 0644 root root -",
    ]);
    assert_eq!(tree[0], want);
    assert!(tree.contains(&"/usr/share/factory/var/lib/x/new 644 \"2\"".to_owned()));
    assert!(tree.contains(&"/usr/share/factory/var/lib/x/old 644 \"1\"".to_owned()));
}

/// An image with one thing of each kind.
fn mixed() -> Layers {
    Layers::new()
        .file("var/lib/dpkg/status", "Package: x\n")
        .file("var/lib/x", "1")
        .file("var/lock/y", "")
}

const DPKG: &str = "L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg";

#[test]
fn kept() {
    let (tree, notes) = apply(mixed(), with(Var::Keep));
    assert_eq!(
        tree,
        [
            "/usr/lib/sysimage/ 755",
            "/usr/lib/sysimage/dpkg/ 755",
            "/usr/lib/sysimage/dpkg/status 644 \"Package: x\\\\n\"",
            &lines(&[DPKG]),
            "/var/ 755",
            "/var/lib/ 755",
            "/var/lib/dpkg -> ../../usr/lib/sysimage/dpkg",
            "/var/lib/x 644 \"1\"",
            "/var/lock -> ../run/lock",
        ]
    );
    assert_eq!(
        notes,
        [
            "moved /var/lib/dpkg",
            "dropped /var/lock",
            "dropped /var/lock/y",
            "warning /var",
            "added /usr/lib/tmpfiles.d/import-oci-var.conf",
        ]
    );
}

#[test]
fn dropped() {
    let (tree, notes) = apply(mixed(), with(Var::Drop));
    assert_eq!(tree[3..], [lines(&[DPKG]), "/var/ 755".to_owned()]);
    assert_eq!(
        notes,
        [
            "moved /var/lib/dpkg",
            "dropped /var/lib",
            "dropped /var/lib/x",
            "dropped /var/lock",
            "dropped /var/lock/y",
            "added /usr/lib/tmpfiles.d/import-oci-var.conf",
        ]
    );
}

#[test]
fn no_directory() {
    let (tree, notes) = apply(
        Layers::new().symlink("var", "usr/lib/x"),
        FixupOptions::default(),
    );
    assert_eq!(tree, ["/var -> usr/lib/x"]);
    assert_eq!(notes, ["fatal /var"]);
    for layers in [Layers::new(), Layers::new().file("var", "")] {
        let (_, notes) = apply(layers, FixupOptions::default());
        assert_eq!(notes, Vec::<String>::new());
    }
}
