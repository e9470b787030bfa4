//! What holds of all fixups together, on random images made of everything they look for.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::metadata::Special;
use crate::report::Note;
use crate::testing::{Layers, image_path, list};
use crate::tree::Content;
use origin::{host_path, is_below, original_path};

#[path = "../../tests/support/origin.rs"]
mod origin;

/// Something of an image that one fixup or another cares about.
type Ingredient = fn(Layers) -> Layers;

const CONTEXTS: &str = "usr/etc/selinux/p/contexts/files/file_contexts";
const CONFIG: &str = "SELINUX=enforcing\nSELINUXTYPE=p\n";
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ndaemon:x:2:2::/:/sbin/nologin\npolkitd:x:997:996::/:/sbin/nologin\nann:x:1000:1000::/home/ann:/bin/sh\n";
const GROUP: &str = "root:x:0:\ndaemon:x:2:\npolkitd:x:996:\nann:x:1000:\n";
const STATUS: &str = "Package: base-files\nStatus: install ok installed\nVersion: 1\n";

const INGREDIENTS: &[Ingredient] = &[
    |l| l.file("etc/passwd", PASSWD).file("etc/group", GROUP),
    |l| l.file("etc/shadow", "root:*:1::::::\n").owner(0, 2),
    |l| l.file("etc/.pwd.lock", "").file("etc/passwd-", PASSWD),
    |l| l.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    |l| l.file("etc/hostname", "").file("etc/resolv.conf", ""),
    |l| l.file(".dockerenv", "").file("run/.containerenv", ""),
    |l| l.file("etc/x", "same").file("usr/etc/x", "same"),
    |l| l.dir("etc/d", 0o700).file("usr/etc/d/y", "y"),
    |l| l.file("usr/etc/conflict", "1").file("etc/conflict", "2"),
    |l| l.dir("etc/polkit-1/rules.d", 0o700).owner(997, 0),
    |l| l.file("usr/share/owned", "").owner(997, 996),
    |l| l.file("usr/share/orphan", "").owner(4242, 4343),
    |l| l.file("boot/vmlinuz-6.1", "kernel"),
    |l| l.file("boot/initrd.img-6.1", "initramfs"),
    |l| l.file("boot/config-6.1", "CONFIG_X=y"),
    |l| l.file("boot/efi/EFI/BOOT/BOOTX64.EFI", "loader"),
    |l| l.file("boot/grub/grub.cfg", ""),
    |l| l.dir("usr/lib/modules/6.1/kernel", 0o755),
    |l| l.file("usr/lib/modules/6.1/vmlinuz", "kernel"),
    |l| l.file("usr/lib/modules/6.2/vmlinuz", "another"),
    |l| l.file("usr/lib/modules/6.1/initramfs.img", "initramfs"),
    |l| l.symlink("vmlinuz", "boot/vmlinuz-6.1"),
    |l| l.dir("var/log/audit", 0o700),
    |l| l.file("var/log/dpkg.log", "installed"),
    |l| l.file("var/cache/apt/pkgcache.bin", "cache"),
    |l| l.dir("var/lib/polkit-1", 0o750).owner(997, 996),
    |l| l.file("var/lib/odd name/%x", "state"),
    |l| {
        l.symlink("var/run", "/run")
            .symlink("var/lock", "/run/lock")
    },
    |l| l.symlink("var/lib/link", "../odd"),
    |l| {
        l.file("var/lib/dpkg/status", STATUS)
            .file("var/lib/dpkg/lock", "")
    },
    |l| {
        l.file(
            "var/lib/dpkg/statoverride",
            "root daemon 2755 /usr/bin/tool\n",
        )
        .file("usr/bin/tool", "")
    },
    |l| l.file("var/lib/selinux/p/active/modules/100/base/cil", "cil"),
    |l| l.file("var/lib/pacman/local/x-1-1/desc", "%NAME%\nx\n"),
    |l| {
        l.file(
            "usr/lib/tmpfiles.d/x.conf",
            "d /var/log/audit 0700 root root -\n",
        )
    },
    |l| l.file("usr/lib/sysusers.d/x.conf", "u polkitd 997 \"polkit\"\n"),
    |l| l.dir("home", 0o755).dir("srv", 0o755).dir("mnt", 0o755),
    |l| {
        l.dir("media", 0o755)
            .dir("opt", 0o755)
            .dir("usr/local", 0o755)
    },
    |l| l.file("home/ann/.profile", "x").owner(1000, 1000),
    |l| l.dir("root", 0o700).file("root/.bashrc", "alias"),
    |l| l.file("srv/www/index.html", "<p>"),
    |l| {
        l.file("opt/vendor/tool", "tool")
            .file("usr/local/bin/x", "x")
    },
    |l| l.symlink("bin", "usr/bin").symlink("lib", "usr/lib"),
    |l| l.file("tmp/x", "").file("dev/pts/0", "").file("proc/1", ""),
    |l| l.special("usr/share/fifo", Special::Fifo),
    |l| l.special("usr/share/w", Special::CharDevice { major: 0, minor: 0 }),
    |l| {
        l.file("usr/bin/labelled", "")
            .xattr("security.selinux", b"u:r:t\0")
    },
    |l| {
        l.file("usr/bin/overlaid", "")
            .xattr("user.overlay.origin", b"x")
    },
    |l| {
        l.file("etc/selinux/config", CONFIG)
            .file(&CONTEXTS[4..], "/.* u:r:t\n/home/[^/]+ -d u:r:h\n")
    },
    |l| l.file(&format!("{CONTEXTS}.subs_dist")[4..], "/lib /usr/lib\n"),
    |l| {
        l.file(
            &format!("{CONTEXTS}.homedirs")[4..],
            "/home/[^/]+/.+ u:r:h\n",
        )
    },
    |l| l.file("usr/lib/python3/x.py", "x=1\n"),
    |l| {
        l.file(
            "usr/lib/python3/__pycache__/x.cpython-311.pyc",
            "\u{7}\r\r\n\0\0\0\0\0\0\0\0\u{4}\0\0\0code",
        )
    },
    |l| {
        l.file("usr/lib64/libnss_altfiles.so.2", "elf")
            .file("etc/nsswitch.conf", "passwd: files\ngroup: files\n")
    },
    |l| l.file("sysroot/ostree/repo/objects/00/00.file", "object"),
];

/// Some ingredients, in some order, in one to three layers.
fn images() -> impl Strategy<Value = Vec<Vec<usize>>> {
    vec(vec(0..INGREDIENTS.len(), 0..16), 1..4)
}

fn image(recipe: &[Vec<usize>]) -> Image {
    let mut layers = Layers::new();
    for layer in recipe {
        layers = layer
            .iter()
            .fold(layers, |layers, &index| INGREDIENTS[index](layers))
            .layer();
    }
    let (tree, bodies) = layers.merge();
    let scratch = tempfile::tempdir().unwrap();
    Image {
        packages: Packages::read(&tree, &bodies, scratch.path()).unwrap(),
        tree,
        bodies,
        options: FixupOptions::default(),
    }
}

fn apply(fixups: &[&dyn Fixup], image: &mut Image) -> Report {
    let mut report = Report::default();
    for fixup in fixups {
        fixup.apply(image, &mut report).unwrap();
    }
    report
}

/// What the report still says when nothing is left to change: things have moved by then, and `/var`
/// is empty, which is why words that count paths may be others.
fn remaining(report: &Report) -> BTreeSet<String> {
    let stays = |note: &&Note| matches!(note.action, Action::Warning | Action::Fatal);
    let notes = report.notes().iter().filter(stays);
    notes
        .map(|note| (original_path(&note.path.to_string()), note))
        .filter(|(path, _)| !is_below(path, "/var"))
        .map(|(path, note)| format!("{} {} {path}", note.by, note.action))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_second_pass_changes_nothing(recipe in images()) {
        let mut image = image(&recipe);
        let first = apply(FIXUPS, &mut image);
        // A conflict leaves the tree as it is, half-way to what it would be.
        prop_assume!(first.refuse_fatal().is_ok() || first.notes().iter().all(|n| n.by != "etc" || n.action != Action::Fatal));
        let once = list(&image.tree, &image.bodies);
        let scratch = tempfile::tempdir().unwrap();
        image.packages = Packages::read(&image.tree, &image.bodies, scratch.path()).unwrap();
        let second = apply(FIXUPS, &mut image);
        prop_assert_eq!(list(&image.tree, &image.bodies), once);
        let changes: Vec<_> = second
            .notes()
            .iter()
            .filter(|note| !matches!(note.action, Action::Warning | Action::Fatal))
            .collect();
        prop_assert!(changes.is_empty(), "{:#?}", changes);
        prop_assert_eq!(remaining(&second), remaining(&first));
    }

    #[test]
    fn nothing_is_dropped_or_changed_in_silence(recipe in images()) {
        let mut image = image(&recipe);
        let before = lines(&image);
        let report = apply(FIXUPS, &mut image);
        let after = lines(&image);
        for (path, line) in before {
            let moved = match is_below(&path, "/etc") {
                true => format!("/usr{path}"),
                false => path.clone(),
            };
            let told = report.notes().iter().any(|note| {
                note.action != Action::Warning
                    && note.path != image_path("etc")
                    && is_below(&host_path(&path), &host_path(&note.path.to_string()))
            });
            prop_assert!(told || after.get(&moved) == Some(&line), "{path}: {line}\n{:#?}", report.notes());
        }
    }
}

/// Every path with all that is known of it.
fn lines(image: &Image) -> BTreeMap<String, String> {
    image
        .tree
        .walk()
        .map(|(path, id)| {
            let inode = image.tree.inode(id);
            let content = match &inode.content {
                Content::File { body, .. } => {
                    format!("{:?}", image.bodies.read(*body, 1 << 20).unwrap())
                }
                Content::Directory(_) => "directory".to_owned(),
                other => format!("{other:?}"),
            };
            (path.to_string(), format!("{:?} {content}", inode.metadata))
        })
        .collect()
}

#[test]
fn names_are_unique_and_can_be_skipped() {
    let mut names: Vec<_> = FIXUPS.iter().map(|f| f.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FIXUPS.len());

    let (tree, bodies) = Layers::new().file("etc/x", "").merge();
    let mut image = Image {
        tree,
        bodies,
        packages: Packages::default(),
        options: FixupOptions {
            skip: names.iter().map(|&n| n.to_owned()).collect(),
            ..FixupOptions::default()
        },
    };
    let mut report = Report::default();
    apply_all(&mut image, &mut report).unwrap();
    assert_eq!(
        list(&image.tree, &image.bodies),
        ["/etc/ 755", "/etc/x 644 \"\""]
    );
    image.options.skip.clear();
    apply_all(&mut image, &mut report).unwrap();
    assert!(image.tree.lookup(&image_path("usr/etc/x")).is_some());
    assert!(image.tree.lookup(&image_path("sysroot")).is_some());
}

/// Fixups in an order that [`Fixup::after`] allows, picked by `choices`.
fn some_order(choices: &[usize]) -> Vec<&'static dyn Fixup> {
    let mut left = FIXUPS.to_vec();
    let mut order: Vec<&dyn Fixup> = Vec::new();
    for choice in choices.iter().cycle() {
        let waits = |fixup: &&dyn Fixup| {
            let waiting = left
                .iter()
                .any(|other| fixup.after().contains(&other.name()));
            !waiting
        };
        let ready: Vec<_> = left.iter().copied().filter(|fixup| waits(fixup)).collect();
        let Some(next) = ready.get(choice % ready.len().max(1)) else {
            break;
        };
        order.push(*next);
        left.retain(|fixup| fixup.name() != next.name());
    }
    assert_eq!(order.len(), FIXUPS.len(), "fixups wait for each other");
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_order_matters_but_the_one_that_is_documented(
        recipe in images(),
        choices in vec(0..FIXUPS.len(), FIXUPS.len()),
    ) {
        let mut listed = image(&recipe);
        let report = apply(FIXUPS, &mut listed);
        prop_assume!(report.refuse_fatal().is_ok() || report.notes().iter().all(|n| n.by != "etc" || n.action != Action::Fatal));
        let order = some_order(&choices);
        let mut other = image(&recipe);
        apply(&order, &mut other);
        let names: Vec<_> = order.iter().map(|fixup| fixup.name()).collect();
        prop_assert_eq!(list(&listed.tree, &listed.bodies), list(&other.tree, &other.bodies), "{:?}", names);
    }
}

#[test]
fn the_order_is_the_documented_one() {
    for (index, fixup) in FIXUPS.iter().enumerate() {
        let before: Vec<_> = FIXUPS[..index].iter().map(|f| f.name()).collect();
        for name in fixup.after() {
            assert!(before.contains(name), "{} before {name}", fixup.name());
        }
    }
}
