//! Where an ostree system has directories elsewhere than the policy knows them, libselinux on the
//! host gives a path what the commit holds there. A second judge is `matchpathcon`.

use std::fs;
use std::path::Path;
use std::process::Command;

use import_oci::fixup::FixupOptions;
use import_oci::import::{ImportOptions, Prepared, prepare};
use import_oci::label::{
    FileKind, Oracle, PolicyFiles, Reference as _, find_policy, kind, label_tree,
};
use import_oci::progress::Silent;
use import_oci::report::Report;
use import_oci::source::{self, FetchOptions};

use crate::support::command::{run, scratch};
use crate::support::layout::{Image, Layer};
use crate::{debian, demo_image, fedora, options};

/// What genhomedircon writes for users whose homes are in `PARENT`, in the way of Fedora's.
const HOMEDIRS: &str = "\
    PARENT/[^/]+ -d unconfined_u:object_r:user_home_dir_t:s0\n\
    PARENT/[^/]+/.+ unconfined_u:object_r:user_home_t:s0\n\
    PARENT/[^/]+/\\.ssh(/.*)? unconfined_u:object_r:ssh_home_t:s0\n\
    PARENT -d system_u:object_r:home_root_t:s0\n\
    /root/\\.ssh(/.*)? system_u:object_r:ssh_home_t:s0\n";

#[test]
fn of_debian() {
    match debian() {
        Ok(files) => hold(&files),
        Err(reason) => eprintln!("not run: {reason}"),
    }
}

#[test]
fn of_fedora() {
    match fedora() {
        Ok(files) => hold(&files),
        Err(reason) => eprintln!("not run: {reason}"),
    }
}

/// With homes known in `/home` and in `/var/home`, every name has the label of the other.
fn hold(policy: &PolicyFiles) {
    for (parent, added, left_out) in [
        ("/home", "/var/home /home", "/home /var/home"),
        ("/var/home", "/home /var/home", "/var/home /home"),
    ] {
        let files = in_an_image(&PolicyFiles {
            homedirs: Some(HOMEDIRS.replace("PARENT", parent).into_bytes()),
            ..policy.clone()
        });
        let subs_dist = String::from_utf8(files.subs_dist.clone().unwrap()).unwrap();
        assert!(subs_dist.lines().any(|line| line == added), "{subs_dist}");
        assert!(!subs_dist.lines().any(|line| line == left_out));
        let mut oracle = Oracle::new(&files).unwrap();
        let mut paths = Vec::new();
        for (one, other, want) in [
            ("/var/home/u/.ssh/id", "/home/u/.ssh/id", Some("ssh_home_t")),
            ("/var/home/u/x", "/home/u/x", Some("user_home_t")),
            ("/var/roothome/.ssh/id", "/root/.ssh/id", Some("ssh_home_t")),
            ("/usr/etc/shadow", "/etc/shadow", Some("shadow_t")),
            (
                "/usr/etc/systemd/system/sshd.service",
                "/etc/systemd/system/sshd.service",
                None,
            ),
            ("/usr/etc/passwd", "/etc/passwd", None),
            ("/usr/lib/opt/v/bin/x", "/opt/v/bin/x", Some("bin_t")),
            ("/var/usrlocal/bin/x", "/usr/local/bin/x", Some("bin_t")),
            ("/var/srv/www/x", "/srv/www/x", None),
            ("/var/mnt/x", "/mnt/x", None),
            ("/var/opt/v/bin/x", "/opt/v/bin/x", Some("bin_t")),
        ] {
            let mut label = |path: &str| oracle.lookup(path.as_bytes(), FileKind::Regular).unwrap();
            let (found, expected) = (label(one), label(other));
            assert_eq!(found, expected, "{one} and {other}, homes in {parent}");
            if let Some(want) = want {
                let context = expected.as_deref().unwrap_or_default();
                let found = context.split(':').nth(2);
                assert_eq!(found, Some(want), "{other}, homes in {parent}");
            }
            paths.push((one, found));
        }
        judged_by_matchpathcon(&files, &paths);
    }
}

/// The policy after an import of an image with it, and with the links of an ostree system.
fn in_an_image(files: &PolicyFiles) -> PolicyFiles {
    let config = "SELINUX=enforcing\nSELINUXTYPE=p\n";
    let mut layer = Layer::new().file("etc/selinux/config", 0o644, config);
    for (file, content) in files.present() {
        let path = format!("etc/selinux/p/contexts/files/{file}");
        let content = std::str::from_utf8(content).unwrap();
        layer = layer.file(&path, 0o644, content);
    }
    for (link, target) in [
        ("home", "var/home"),
        ("root", "var/roothome"),
        ("srv", "var/srv"),
        ("mnt", "var/mnt"),
        ("opt", "var/opt"),
        ("usr/local", "../var/usrlocal"),
    ] {
        layer = layer.symlink(link, target);
    }
    let directory = scratch();
    let image = Image::new()
        .layer(layer)
        .write(&directory.path().join("image"));
    let prepared = prepared(&image);
    let found = find_policy(&prepared.tree, &prepared.bodies).unwrap();
    found.unwrap().1
}

fn judged_by_matchpathcon(files: &PolicyFiles, labels: &[(&str, Option<String>)]) {
    let directory = scratch();
    write(files, directory.path());
    let output = run(Command::new("matchpathcon")
        .args(["-n", "-m", "file", "-f"])
        .arg(directory.path().join("file_contexts"))
        .args(labels.iter().map(|(path, _)| path)));
    let found = String::from_utf8(output.stdout).unwrap();
    let found: Vec<_> = found.lines().map(str::trim).collect();
    let expected: Vec<_> = labels
        .iter()
        .map(|(_, label)| label.as_deref().unwrap_or("<<none>>"))
        .collect();
    assert_eq!(found, expected);
}

fn write(files: &PolicyFiles, directory: &Path) {
    for (file, content) in files.present() {
        fs::write(directory.join(file.name()), content).unwrap();
    }
}

/// `restorecon` on the booted host has nothing to say of what the commit holds, but of `/proc`,
/// which is mounted over before it could look.
#[test]
fn of_every_path_of_the_demo_image() {
    let image = match demo_image() {
        Ok(image) => image,
        Err(reason) => return eprintln!("not run: {reason}"),
    };
    let prepared = prepared(&image);
    let (tree, bodies) = (&prepared.tree, &prepared.bodies);
    let (_, files) = find_policy(tree, bodies).unwrap().unwrap();
    let labels = label_tree(tree, bodies, &mut Report::default()).unwrap();
    let mut oracle = Oracle::new(&files).unwrap();
    let mut different = Vec::new();
    for ((path, id), label) in tree.walk().zip(labels.of_paths()) {
        let kind = kind(&tree.inode(id).content);
        let found = oracle.lookup(&path.to_absolute(), kind).unwrap();
        if found.as_deref() != label {
            different.push(path.to_string());
        }
    }
    assert_eq!(different, ["/proc"]);
}

fn prepared(reference: &str) -> Prepared {
    let options = ImportOptions {
        fixups: FixupOptions {
            no_kernel: true,
            ..FixupOptions::default()
        },
        ..options()
    };
    let (_, source) = source::open(reference, &FetchOptions::default()).unwrap();
    let (spools, mut report) = (std::env::temp_dir(), Report::default());
    prepare(source, &spools, &options, &Silent, &mut report).unwrap()
}
