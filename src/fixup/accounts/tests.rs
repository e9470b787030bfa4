//! The tree before and after.

use super::super::FixupOptions;
use super::super::testing::run;
use super::*;
use crate::testing::Layers;

/// An image whose package declares `declared` and no more.
fn image() -> Layers {
    Layers::new()
        .file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\n\
             declared:x:5:5:::\n\
             polkitd:x:995:994::/:/sbin/nologin\n\
             alice:x:1000:1000::/home/alice:/bin/sh\n",
        )
        .file(
            "etc/group",
            "root:x:0:\ndeclared:x:5:\npolkitd:x:994:alice\nalice:x:1000:\n",
        )
        .file("usr/lib/sysusers.d/a.conf", "u declared 5\n")
}

fn options(users: Users) -> FixupOptions {
    FixupOptions {
        users,
        ..FixupOptions::default()
    }
}

/// The lines of the tree that begin with one of `paths`, and the notes.
fn lines(layers: Layers, options: FixupOptions, paths: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut tree, notes) = run(&Accounts, layers, options).unwrap();
    tree.retain(|line| paths.iter().any(|path| line.starts_with(path)));
    (tree, notes)
}

/// The content of one file, and the notes.
fn content(layers: Layers, options: FixupOptions, path: &str) -> (String, Vec<String>) {
    let (tree, notes) = lines(layers, options, &[&format!("/{path} ")]);
    let text = tree
        .first()
        .map_or("", |line| line.split_once('"').unwrap().1);
    let text = text.rsplit_once('"').map_or("", |(text, _)| text);
    (text.replace(r"\\n", "\n").replace(r"\\\\", r"\"), notes)
}

#[test]
fn system_accounts_that_no_package_declares_are_declared() {
    let (text, notes) = content(image(), FixupOptions::default(), sysusers::FILE);
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        ["g polkitd 994", "u polkitd 995:polkitd - / /sbin/nologin"]
    );
    assert_eq!(notes, [format!("added /{}", sysusers::FILE)]);

    let covered = image().file("usr/lib/sysusers.d/b.conf", "u polkitd -\n");
    let (text, notes) = content(covered, FixupOptions::default(), sysusers::FILE);
    assert_eq!((&*text, notes.len()), ("", 0));
}

#[test]
fn what_is_left_of_an_earlier_import_goes() {
    let layers = image()
        .file("usr/lib/sysusers.d/b.conf", "u polkitd -\n")
        .file(sysusers::FILE, "u polkitd 7\n")
        .file(
            tmpfiles::FILE,
            "z /var/x - polkitd root\nz /var/y - gone root\n",
        );
    let (text, notes) = content(layers, FixupOptions::default(), tmpfiles::FILE);
    assert_eq!(text.lines().nth(1), Some("z /var/x - polkitd root"));
    assert_eq!(text.lines().count(), 2);
    assert_eq!(
        notes,
        [
            format!("dropped /{}", sysusers::FILE),
            format!("changed /{}", tmpfiles::FILE)
        ]
    );
}

#[test]
fn files_on_the_host_are_given_to_their_owners_by_name() {
    let layers = image()
        .dir("etc/polkit-1/rules.d", 0o750)
        .owner(0, 994)
        .file("etc/polkit-1/program", "")
        .owner(995, 0)
        // No policy lets systemd-tmpfiles near it.
        .file("etc/gshadow", "")
        .owner(0, 994)
        .dir("var/lib/a b", 0o700)
        .owner(995, 994)
        .file("var/lib/alices", "")
        .owner(995, 1000)
        .dir("var/lib/told", 0o700)
        .owner(995, 0)
        .file("var/home", "")
        .owner(1000, 1000)
        .symlink("var/link", "x")
        .owner(995, 0)
        .file(
            "usr/lib/tmpfiles.d/p.conf",
            "d /var/lib/told 0700 polkitd root\n",
        );
    let (text, notes) = content(layers, FixupOptions::default(), tmpfiles::FILE);
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            r#"z \"/var/lib/a b\" - polkitd polkitd"#,
            "z /etc/polkit-1/program - polkitd root",
            "z /etc/polkit-1/rules.d - root polkitd",
            "z /var/lib/alices - polkitd -",
        ]
    );
    let added = format!("added /{}", tmpfiles::FILE);
    assert!(notes.contains(&added), "{notes:?}");
}

#[test]
fn a_commit_is_spelled_like_the_host() {
    let layers = Layers::new()
        .file("usr/etc/passwd", "games:x:5:60:::\n")
        .file("usr/etc/group", "games:x:60:\n")
        .dir("usr/etc/games", 0o2775)
        .owner(0, 60)
        .file("usr/etc/games/set-id", "")
        .owner(5, 60);
    let (text, _) = content(layers, FixupOptions::default(), tmpfiles::FILE);
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "z /etc/games - root games",
            "z /etc/games/set-id - games games"
        ]
    );
}

#[test]
fn altfiles_take_system_accounts() {
    let layers = image()
        .file("usr/lib64/libnss_altfiles.so.2", "")
        .file("usr/lib/passwd", "polkitd:x:1:1:::\nkept:x:2:2:::\n")
        .file("etc/nsswitch.conf", "passwd: files\ngroup: files\n");
    let paths = [
        "/etc/passwd",
        "/etc/group",
        "/usr/lib/passwd",
        "/usr/lib/group",
        "/etc/nss",
    ];
    let (tree, notes) = lines(layers, options(Users::Altfiles), &paths);
    assert_eq!(
        tree,
        [
            r#"/etc/group 644 "root:x:0:\\nalice:x:1000:\\n""#,
            r#"/etc/nsswitch.conf 644 "passwd: files altfiles\\ngroup: files altfiles\\n""#,
            r#"/etc/passwd 644 "root:x:0:0:root:/root:/bin/bash\\nalice:x:1000:1000::/home/alice:/bin/sh\\n""#,
            r#"/usr/lib/group 644 "declared:x:5:\\npolkitd:x:994:alice\\n""#,
            r#"/usr/lib/passwd 644 "kept:x:2:2:::\\ndeclared:x:5:5:::\\npolkitd:x:995:994::/:/sbin/nologin\\n""#,
        ]
    );
    assert_eq!(
        notes,
        [
            "changed /usr/lib/passwd",
            "changed /etc/passwd",
            "added /usr/lib/group",
            "changed /etc/group",
            "changed /etc/nsswitch.conf",
        ]
    );
}

#[test]
fn a_link_to_usr_etc_is_followed() {
    let layers = Layers::new()
        .symlink("etc", "usr/etc")
        .file("usr/etc/passwd", "games:x:5:60:::\n")
        .file("usr/lib/libnss_altfiles.so.2", "");
    let (tree, notes) = lines(
        layers,
        options(Users::Altfiles),
        &["/usr/etc/", "/usr/lib/p"],
    );
    assert_eq!(
        tree[1..],
        [
            r#"/usr/etc/nsswitch.conf 644 "passwd: files altfiles\\ngroup: files altfiles\\n""#,
            "/usr/etc/passwd 644 \"\"",
            r#"/usr/lib/passwd 644 "games:x:5:60:::\\n""#,
        ]
    );
    assert_eq!(
        notes,
        [
            "added /usr/lib/passwd",
            "changed /usr/etc/passwd",
            "added /usr/etc/nsswitch.conf",
        ]
    );
}

#[test]
fn altfiles_need_their_module() {
    let (tree, notes) = lines(image(), options(Users::Altfiles), &["/usr/lib/passwd"]);
    assert_eq!(tree, [""; 0]);
    assert_eq!(notes, ["fatal /usr/lib"]);
}

#[test]
fn keep_only_tells() {
    let layers = || {
        image()
            .dir("etc/polkit-1", 0o750)
            .owner(0, 994)
            .file("etc/shadow", "bin:*:19000:::::\n")
    };
    let before = crate::testing::list(&layers().merge().0, &layers().merge().1);
    let (tree, notes) = run(&Accounts, layers(), options(Users::Keep)).unwrap();
    assert_eq!(tree, before);
    assert_eq!(notes, ["warning /etc/shadow", "warning /etc/passwd"]);
}

#[test]
fn shadow_is_read_by_nobody() {
    let layers = Layers::new()
        .file("etc/shadow", "bin:*:19000:::::\nalice:$y$:19000:::::\n")
        .file("usr/etc/gshadow", "");
    let (tree, notes) = lines(layers, FixupOptions::default(), &["/etc/", "/usr/etc/g"]);
    assert_eq!(
        tree[1..],
        [
            r#"/etc/shadow 640 "bin:*::::::\\nalice:$y$:19000:::::\\n""#,
            "/usr/etc/gshadow 640 \"\"",
        ]
    );
    assert_eq!(
        notes,
        [
            "changed /etc/shadow",
            "changed /etc/shadow",
            "changed /usr/etc/gshadow"
        ]
    );
}

#[test]
fn nameless_and_movable_owners_are_told() {
    let layers = || {
        image()
            .file("opt/a", "")
            .owner(77, 0)
            .file("opt/b", "")
            .owner(77, 78)
            .dir("usr/share/p", 0o755)
            .owner(995, 994)
            .file("usr/share/p/a", "")
            .owner(995, 994)
            .file("usr/share/p/b", "")
            .file("usr/share/p/c", "")
            .owner(0, 994)
            .file("usr/share/fixed", "")
            .owner(5, 5)
            .file("usr/share/people", "")
            .owner(1000, 0)
            .file("usr/share/factory/etc/x", "")
            .owner(995, 994)
    };
    let (_, notes) = lines(layers(), options(Users::Keep), &[]);
    assert_eq!(
        notes,
        [
            "warning /etc/passwd",
            "warning /opt/b",
            "warning /opt/a",
            "warning /usr/share/p",
            "warning /usr/share/p/c",
        ]
    );
    let with_module = layers().file("usr/lib/libnss_altfiles.so.2", "");
    let (_, notes) = lines(with_module, options(Users::Altfiles), &[]);
    assert!(
        !notes.iter().any(|note| note.contains("/usr/share/")),
        "{notes:?}"
    );
}

#[test]
fn numbers_of_an_earlier_commit_are_kept() {
    let mut earlier = AccountDatabase::default();
    earlier.add_passwd(b"polkitd:x:998:997::/:/sbin/nologin\nalice:x:1000:1000:::\n");
    earlier.add_group(b"polkitd:x:997:\nother:x:5:\n");
    let options = FixupOptions {
        earlier_accounts: Some(earlier),
        users: Users::Keep,
        ..FixupOptions::default()
    };
    let layers = image()
        .file("usr/share/p", "")
        .owner(995, 994)
        .hardlink("usr/share/same", "usr/share/p")
        .file("usr/share/q", "")
        .owner(5, 5);
    let (tree, notes) = lines(layers, options, &["/etc/", "/usr/share/"]);
    assert_eq!(
        tree[1..],
        [
            r#"/etc/group 644 "root:x:0:\\ndeclared:x:999:\\npolkitd:x:997:alice\\nalice:x:1000:\\n""#,
            "/etc/passwd 644 \"root:x:0:0:root:/root:/bin/bash\\\\n\
             declared:x:5:999:::\\\\n\
             polkitd:x:998:997::/:/sbin/nologin\\\\n\
             alice:x:1000:1000::/home/alice:/bin/sh\\\\n\"",
            "/usr/share/ 755",
            "/usr/share/p 644 \"\" 998:997",
            "/usr/share/q 644 \"\" 5:999",
            "/usr/share/same 644 \"\" 998:997",
        ]
    );
    assert_eq!(
        notes,
        [
            "changed /etc/passwd",
            "changed /etc/group",
            "changed /etc/group",
            "warning /etc/passwd",
            "warning /usr/share/q",
        ]
    );
}

#[test]
fn numbers_of_nobodys_files_are_not_given_to_anybody() {
    let mut earlier = AccountDatabase::default();
    earlier.add_passwd(b"polkitd:x:998:994:::\n");
    let options = FixupOptions {
        earlier_accounts: Some(earlier),
        ..FixupOptions::default()
    };
    let layers = image().file("usr/share/p", "").owner(998, 0);
    let (_, notes) = lines(layers, options, &[]);
    assert!(notes.contains(&"fatal /etc/passwd".to_owned()), "{notes:?}");
}
