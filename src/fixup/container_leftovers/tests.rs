//! The tree before and after.

use super::super::FixupOptions;
use super::super::testing::{check, run};
use super::*;
use crate::testing::Layers;

/// The paths of the tree and the notes.
fn paths_and_notes(layers: Layers) -> (Vec<String>, Vec<String>) {
    let (tree, notes) = run(&ContainerLeftovers, layers, FixupOptions::default()).unwrap();
    let files = tree.into_iter().filter(|line| !line.contains("/ "));
    (files.collect(), notes)
}

#[test]
fn files_that_nobody_means_to_ship() {
    for (path, content) in [
        (".dockerenv", ""),
        (".containerenv", ""),
        ("run/.containerenv", "engine=\"podman\""),
        ("stargz.index.json", "{}"),
        (".prefetch.landmark", "\u{f}"),
        (".no.prefetch.landmark", "\u{f}"),
        ("etc/.pwd.lock", ""),
        ("etc/passwd-", "root"),
        ("etc/group-", "root"),
        ("etc/shadow-", "root"),
        ("etc/gshadow-", "root"),
        ("etc/subuid-", ""),
        ("etc/subgid-", ""),
        ("usr/etc/.pwd.lock", ""),
        ("usr/etc/shadow-", "root"),
        ("etc/resolv.conf", ""),
        ("etc/hostname", ""),
        ("etc/hosts", ""),
        ("usr/etc/hosts", ""),
        ("etc/hostname", "0123456789ab\n"),
        ("etc/hosts", "10.0.0.1 host.containers.internal\n\n"),
        ("etc/selinux/targeted/semanage.read.LOCK", ""),
        ("etc/selinux/targeted/semanage.trans.LOCK", ""),
        ("var/lib/dpkg/lock", ""),
        ("var/lib/dpkg/lock-frontend", ""),
        ("var/lib/dpkg/triggers/Lock", ""),
        ("var/lib/apt/lists/lock", ""),
        ("var/cache/apt/archives/lock", ""),
        ("var/lib/rpm/.rpm.lock", ""),
        ("var/lib/rpm/.dbenv.lock", ""),
        ("var/lib/rpm/__db.001", "x"),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite-shm", "x"),
        ("usr/share/rpm/rpmdb.sqlite-wal", ""),
        ("usr/sbin/policy-rc.d", "#!/bin/sh\n\n# Docker\nexit 101\n"),
        (
            "var/lib/dbus/machine-id",
            "0123456789abcdef0123456789abcdef\n",
        ),
        ("var/lib/systemd/random-seed", "random"),
        ("var/lib/urandom/random-seed", "random"),
        ("var/lib/systemd/credential.secret", "secret"),
    ] {
        let (tree, notes) = paths_and_notes(Layers::new().file(path, content));
        assert_eq!(tree, [""; 0], "{path}");
        assert_eq!(notes, [format!("dropped /{path}")]);
    }
}

#[test]
fn files_that_are_meant() {
    for (path, content) in [
        ("srv/.dockerenv", ""),
        ("srv/stargz.index.json", ""),
        ("etc/passwd", "root"),
        ("etc/hosts", "127.0.0.1 localhost # host.docker.internal\n"),
        ("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 0123456789AB\n"),
        ("etc/machine-id", ""),
        ("etc/machine-id", "uninitialized\n"),
        ("usr/etc/machine-id", ""),
        ("etc/resolv.conf", "# empty on purpose\n"),
        ("var/lib/rpm/rpmdb.sqlite", "data"),
        ("var/lib/rpm/rpmdb.sqlite-wal", "changes"),
        ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n"),
        (
            "usr/sbin/policy-rc.d",
            "#!/bin/sh\n[ -e /x ] && exit 0\nexit 101\n",
        ),
        ("var/lib/dpkg/info/a.list", "/usr"),
        ("etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa"),
    ] {
        let (tree, notes) = paths_and_notes(Layers::new().file(path, content));
        assert_eq!(tree.len(), 1, "{path}");
        assert_eq!(notes, [""; 0], "{path}");
    }
    for link in [
        ".dockerenv",
        "etc/resolv.conf",
        "etc/mtab",
        "var/lib/dbus/machine-id",
    ] {
        let (tree, notes) = paths_and_notes(Layers::new().symlink(link, "elsewhere"));
        assert_eq!((tree.len(), notes.len()), (1, 0), "{link}");
    }
}

#[test]
fn a_shared_machine_id_is_emptied() {
    check(
        &ContainerLeftovers,
        Layers::new()
            .file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
            .hardlink("usr/copy", "etc/machine-id"),
        &[
            "/etc/ 755",
            "/etc/machine-id 644 \"\"",
            "/usr/ 755",
            r#"/usr/copy 644 "0123456789abcdef0123456789abcdef\\n""#,
        ],
        &["changed /etc/machine-id"],
    );
}

#[test]
fn names_of_a_container_leave_hosts() {
    check(
        &ContainerLeftovers,
        Layers::new()
            .file(
                "usr/etc/hosts",
                "127.0.0.1\tlocalhost\n172.17.0.2\t0123456789ab\n10.0.0.1 host.docker.internal\n# end",
            )
            .owner(0, 7),
        &[
            "/usr/ 755",
            "/usr/etc/ 755",
            r##"/usr/etc/hosts 644 "127.0.0.1\\tlocalhost\\n# end" 0:7"##,
        ],
        &["changed /usr/etc/hosts"],
    );
}

#[test]
fn mounts_of_the_build_become_a_link() {
    check(
        &ContainerLeftovers,
        Layers::new().file("etc/mtab", "overlay / overlay rw 0 0\n"),
        &["/etc/ 755", "/etc/mtab -> ../proc/self/mounts"],
        &["changed /etc/mtab"],
    );
}

#[test]
fn changes_that_sqlite_has_not_merged_stay_with_their_index() {
    let layers = Layers::new()
        .file("var/lib/rpm/rpmdb.sqlite-shm", "index")
        .file("var/lib/rpm/rpmdb.sqlite-wal", "changes");
    let (tree, notes) = paths_and_notes(layers);
    assert_eq!((tree.len(), notes.len()), (2, 0));
}

#[test]
fn a_database_of_rpm_can_be_read_where_nothing_can_be_written() {
    let database = "var/lib/rpm/rpmdb.sqlite";
    let sqlite = |versions: &str| format!("SQLite format 3\0\u{10}\0{versions}\0@  and the rest");
    let of = |content: &str| paths_and_notes(Layers::new().file(database, content));
    let rollback = of(&sqlite("\u{1}\u{1}"));
    assert_eq!(rollback.1, [""; 0]);
    let write_ahead = of(&sqlite("\u{2}\u{2}"));
    assert_eq!(write_ahead.0, rollback.0);
    assert_eq!(write_ahead.1, [format!("changed /{database}")]);

    let other = sqlite("\u{2}\u{2}").replace("SQLite", "sqlite");
    assert_eq!(of(&other).1, [""; 0]);
    let pending = Layers::new()
        .file(database, &sqlite("\u{2}\u{2}"))
        .file("var/lib/rpm/rpmdb.sqlite-wal", "changes");
    assert_eq!(paths_and_notes(pending).1, [""; 0]);
}

#[test]
fn a_package_may_own_policy_rc_d() {
    let layers = |owner: &str| {
        Layers::new()
            .file("usr/sbin/policy-rc.d", "exit 101")
            .file("var/lib/dpkg/info/a.list", "/.\n/usr/sbin\n")
            .file("var/lib/dpkg/info/b.list", owner)
    };
    let (_, notes) = paths_and_notes(layers("/usr\n/usr/sbin/policy-rc.d\n"));
    assert_eq!(notes, [""; 0]);
    let (_, notes) = paths_and_notes(layers("/usr\n/usr/sbin/policy-rc.d.example\n"));
    assert_eq!(notes, ["dropped /usr/sbin/policy-rc.d"]);
}

#[test]
fn what_may_be_meant_is_told() {
    for (path, content) in [
        ("etc/hostname", "builder\n"),
        ("etc/resolv.conf", "nameserver 10.0.0.1\n"),
        ("etc/ssh/ssh_host_ed25519_key", "secret"),
        ("usr/etc/ssh/ssh_host_rsa_key", "secret"),
        ("etc/dpkg/dpkg.cfg.d/docker-apt-speedup", "force-unsafe-io"),
        ("etc/apt/apt.conf.d/docker-clean", ""),
    ] {
        let (tree, notes) = paths_and_notes(Layers::new().file(path, content));
        assert_eq!(tree.len(), 1, "{path}");
        assert_eq!(notes, [format!("warning /{path}")]);
    }
}
