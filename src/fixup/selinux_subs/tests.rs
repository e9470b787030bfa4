//! What is added to which policies. That libselinux then agrees is for `tests/labels`.

use super::super::FixupOptions;
use super::super::testing::{check, run};
use super::*;
use crate::testing::Layers;

const CONFIG: &str = "SELINUX=enforcing\nSELINUXTYPE=p\n";
const FILES: &str = "usr/etc/selinux/p/contexts/files";

/// The lines that are added to `subs_dist` for these links, with a policy of these lines.
#[track_caller]
fn added(lines: &str, subs: &str, subs_dist: &str, links: &[(&str, &str)]) -> Vec<String> {
    let mut files = PolicyFiles {
        file_contexts: lines.into(),
        subs: Some(subs.into()),
        subs_dist: Some(subs_dist.into()),
        ..PolicyFiles::default()
    };
    let links: Vec<Link> = links.iter().map(|&(l, t)| (l.into(), t.into())).collect();
    let added = add_missing(&mut files, &links).unwrap();
    let lines: Vec<_> = added.iter().map(Equivalence::line).collect();
    let mut again = files.clone();
    assert_eq!(add_missing(&mut again, &links), Ok(Vec::new()));
    let written = String::from_utf8(files.subs_dist.unwrap()).unwrap();
    let block: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert!(written.ends_with(&block), "{written}");
    lines
}

/// What every policy without lines of its own is given.
const ALWAYS: [&str; 2] = ["/usr/etc /etc", "/usr/lib/opt /opt"];

#[test]
fn names_of_ostree_and_rpm_ostree() {
    assert_eq!(added("", "", "", &[]), ALWAYS);
    assert_eq!(added("", "", "/bin /usr/bin", &[]), ALWAYS);
    for (subs, subs_dist, want) in [
        ("", "/usr/etc /etc\n/usr/lib/opt /opt\n", &[][..]),
        ("/usr/etc /etc\n", "", &["/usr/lib/opt /opt"]),
        // An alias that the image's author made stands.
        ("", "/opt /usr/lib/opt\n", &["/usr/etc /etc"]),
        ("", "/usr/lib/opt /srv\n", &["/usr/etc /etc"]),
        // What makes /usr/etc something else than /etc does not.
        ("", "/usr/etc /usr\n", &ALWAYS),
    ] {
        assert_eq!(added("", subs, subs_dist, &[]), want, "{subs}{subs_dist}");
    }
}

#[test]
fn aliases_below_etc_hold_below_usr_etc() {
    let subs_dist = "/etc/init.d /etc/rc.d/init.d\n/etc/systemd/system /usr/lib/systemd/system\n\
                     /etcetera /x\n/etc/no/ /x\n";
    assert_eq!(
        added("", "", subs_dist, &[]),
        [
            "/usr/etc/systemd/system /usr/lib/systemd/system",
            "/usr/etc/init.d /etc/rc.d/init.d",
            "/usr/etc /etc",
            "/usr/etc/init.d /etc/rc.d/init.d",
            "/usr/etc/systemd/system /usr/lib/systemd/system",
            "/usr/lib/opt /opt",
        ]
    );
    // The administrator's lines come before, and are followed by one of the distribution's.
    assert_eq!(
        added(
            "",
            "/etc/a /lib/a\n/etc/b /b\n",
            "/lib /usr/lib\n/etc/b /d\n",
            &[]
        ),
        [
            "/usr/etc/b /b",
            "/usr/etc/a /usr/lib/a",
            "/usr/etc /etc",
            "/usr/etc/b /b",
            "/usr/etc/a /usr/lib/a",
            "/usr/lib/opt /opt",
        ]
    );
}

#[test]
fn homes_are_where_the_policy_has_them() {
    let home = ("/home", "/var/home");
    let in_home = "/home -d u:r:t\n/home/[^/]+/.+ u:r:t\n/var/home/one u:r:t\n";
    let in_var = "/home -l u:r:t\n/var/home/[^/]+/.+ u:r:t\n";
    let both = [in_home, in_var].concat();
    for (lines, subs_dist, want) in [
        (in_home, "", Some("/var/home /home")),
        (in_var, "", Some("/home /var/home")),
        (&*both, "", None),
        (in_home, "/home /var/home\n", None),
        (in_var, "/var/home /home\n", None),
        ("/home -l u:r:t\n", "", Some("/var/home /home")),
        ("/var/home -d u:r:t\n", "", None),
    ] {
        let found = added(lines, "", subs_dist, &[home]);
        assert_eq!(found[..2], ALWAYS);
        assert_eq!(found.get(2).map(|line| &**line), want, "{lines}{subs_dist}");
    }
}

#[test]
fn links_into_var_are_equivalent() {
    let links = [
        ("/root", "/var/roothome"),
        ("/tmp", "/var/tmp"),
        ("/usr/local", "/var/usrlocal"),
        ("/odd name", "/var/odd"),
    ];
    let lines = "/root(/.*)? u:r:t\n/var/tmp -d u:r:t\n";
    let subs_dist = "/usr/local/lib /usr/lib\n";
    assert_eq!(
        added(lines, "", subs_dist, &links)[2..],
        [
            "/var/roothome /root",
            "/var/usrlocal/lib /usr/lib",
            "/var/usrlocal /usr/local",
            "/var/usrlocal/lib /usr/lib",
        ]
    );
}

#[test]
fn links_are_read_from_the_tree() {
    let layers = Layers::new()
        .symlink("home", "var/home")
        .symlink("root", "/var/roothome")
        .symlink("bin", "usr/bin")
        .symlink("media", "run/media")
        .symlink("v", "var")
        .symlink("out", "../../var/./x/")
        .symlink("usr/local", "../var/usrlocal")
        .dir("opt", 0o755);
    let links: Vec<_> = links_into_var(&layers.merge().0)
        .into_iter()
        .map(|(link, target)| [link, target].map(|path| String::from_utf8(path).unwrap()))
        .collect();
    assert_eq!(
        links,
        [
            ["/home", "/var/home"],
            ["/out", "/var/x"],
            ["/root", "/var/roothome"],
            ["/usr/local", "/var/usrlocal"],
        ]
    );
}

#[test]
fn the_file_of_the_policy_is_appended_to() {
    let path = format!("{FILES}/file_contexts.subs_dist");
    let appended = |old: &str| {
        let new = format!("{old}{MARKER}\n/usr/etc /etc\n/usr/lib/opt /opt\n");
        format!("/{path} 640 {:?}", escape(new.as_bytes()))
    };
    let image = |subs_dist: &str| {
        Layers::new()
            .file("usr/etc/selinux/config", CONFIG)
            .file(&format!("{FILES}/file_contexts"), "")
            .file(&path, subs_dist)
            .mode(0o640)
    };
    for old in ["", "/a /b\n"] {
        let (tree, notes) = run(&SelinuxSubs, image(old), FixupOptions::default()).unwrap();
        assert!(tree.contains(&appended(old)), "{tree:#?}");
        assert_eq!(notes, vec![format!("changed /{path}"); 2]);
    }
    // Another name of the file is another file, and a link leads to it.
    let linked = image("")
        .hardlink("usr/share/kept", &path)
        .layer()
        .symlink(&path, "/etc/dist")
        .file("usr/etc/dist", "")
        .mode(0o640);
    let (tree, notes) = run(&SelinuxSubs, linked, FixupOptions::default()).unwrap();
    assert!(
        tree.contains(&"/usr/share/kept 640 \"\"".to_owned()),
        "{tree:#?}"
    );
    assert_eq!(notes, ["changed /usr/etc/dist"; 2]);
}

#[test]
fn a_missing_file_is_made_and_no_policy_needs_none() {
    let layers = Layers::new()
        .file("etc/selinux/config", CONFIG)
        .file("etc/selinux/p/contexts/files/file_contexts", "");
    let path = "/etc/selinux/p/contexts/files/file_contexts.subs_dist";
    let (tree, notes) = run(&SelinuxSubs, layers, FixupOptions::default()).unwrap();
    assert!(
        tree.iter()
            .any(|line| line.starts_with(&format!("{path} 644 ")))
    );
    assert_eq!(notes, vec![format!("added {path}"); 2]);
    check(&SelinuxSubs, Layers::new(), &[], &[]);
}
