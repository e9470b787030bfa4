//! GNU tar, bsdtar and Python's tarfile.

use std::process::Command;

use import_oci::digest::Digest;
use import_oci::metadata::Special;
use import_oci::path::ImagePath;

use crate::scratch::{self, LONG, MEDIUM, SHORT};
use crate::second_reader;
use crate::snapshot::{self, Kind, Node, Snapshot, assert_same};

/// Is the program there? If not, that is said, and a failure under `CI`.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program} is not installed"
        );
        eprintln!("not run: {program} is not installed");
    }
    found
}

/// What an archiver writes to stdout. Archivers may grumble, but not fail.
fn archive(command: &mut Command) -> Vec<u8> {
    let output = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Reads `tar` with both readers and compares the result with what was asked for.
#[track_caller]
fn check(what: &str, tar: &[u8], want: &Snapshot) {
    let found = snapshot::of_archive(tar);
    assert_same(what, &found, want);
    second_reader::check(what, tar);
}

#[derive(Default, Clone, Copy)]
struct Dialect {
    arguments: &'static [&'static str],
    tops: &'static [&'static str],
    owner: u32,
    xattrs: bool,
    /// Are times before 1970 held?
    negative_times: bool,
}

/// Archives the scratch tree with `program` in each dialect and compares with the disk.
fn against_disk(program: &str, dialects: &[Dialect], owner: fn(u32) -> [String; 2]) {
    if !installed(program) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let have_xattrs = scratch::make(root.path());
    for dialect in dialects {
        let tar = archive(
            Command::new(program)
                .args(dialect.arguments)
                .args(owner(dialect.owner))
                .args(["-cf", "-", "-C"])
                .arg(root.path())
                .args(dialect.tops),
        );
        // The scratch tree has four megabytes of holes: were they written, nothing was tested.
        let sparse = dialect.arguments.contains(&"--sparse");
        assert!(!sparse || tar.len() < 2 << 20, "{:?}", dialect.arguments);
        let mut want = snapshot::of_disk(root.path(), dialect.tops);
        for node in want.values_mut() {
            (node.uid, node.gid) = (dialect.owner, dialect.owner);
            if !dialect.xattrs {
                node.xattrs.clear();
            }
            if !dialect.negative_times {
                node.mtime = node.mtime.max(0);
            }
        }
        let with_xattrs = want.values().any(|node| !node.xattrs.is_empty());
        assert_eq!(with_xattrs, dialect.xattrs && have_xattrs);
        check(&format!("{program} {:?}", dialect.arguments), &tar, &want);
    }
}

#[test]
fn gnu_tar() {
    const ALL: &[&str] = &[SHORT, MEDIUM, LONG];
    let gnu = |arguments| Dialect {
        arguments,
        tops: ALL,
        owner: u32::MAX - 1,
        xattrs: false,
        negative_times: true,
    };
    let pax = |arguments| Dialect {
        xattrs: true,
        ..gnu(arguments)
    };
    against_disk(
        "tar",
        &[
            Dialect {
                tops: &[SHORT],
                owner: 0o7777777,
                ..gnu(&["--format=v7"])
            },
            Dialect {
                tops: &[SHORT, MEDIUM],
                owner: 0o7777777,
                ..gnu(&["--format=ustar"])
            },
            gnu(&["--format=oldgnu"]),
            gnu(&["--format=oldgnu", "--sparse"]),
            gnu(&["--format=gnu"]),
            gnu(&["--format=gnu", "--sparse"]),
            gnu(&["--format=gnu", "--incremental", "--sparse"]),
            pax(&["--format=posix", "--xattrs"]),
            pax(&[
                "--format=posix",
                "--xattrs",
                "--pax-option=globexthdr.name=g,comment=all",
            ]),
            pax(&[
                "--format=posix",
                "--xattrs",
                "--sparse",
                "--sparse-version=0.0",
            ]),
            pax(&[
                "--format=posix",
                "--xattrs",
                "--sparse",
                "--sparse-version=0.1",
            ]),
            pax(&[
                "--format=posix",
                "--xattrs",
                "--sparse",
                "--sparse-version=1.0",
            ]),
        ],
        |id| [format!("--owner=:{id}"), format!("--group=:{id}")],
    );
}

#[test]
fn bsdtar() {
    let dialect = |arguments, tops| Dialect {
        arguments,
        tops,
        owner: 3_000_000,
        xattrs: false,
        negative_times: false,
    };
    let pax = |arguments| Dialect {
        xattrs: true,
        negative_times: true,
        ..dialect(arguments, &[SHORT, MEDIUM, LONG])
    };
    against_disk(
        "bsdtar",
        &[
            pax(&["--format=pax"]),
            pax(&["--format=pax", "--no-read-sparse"]),
            pax(&["--format=pax", "--options=xattrheader=LIBARCHIVE"]),
            pax(&["--format=pax", "--options=xattrheader=SCHILY"]),
            dialect(&["--format=gnutar"], &[SHORT, MEDIUM, LONG]),
            Dialect {
                owner: 0o777777,
                ..dialect(&["--format=ustar"], &[SHORT, MEDIUM])
            },
            Dialect {
                owner: 0o777777,
                ..dialect(&["--format=v7"], &[SHORT])
            },
        ],
        |id| [format!("--uid={id}"), format!("--gid={id}")],
    );
}

/// What `python.py` was told to write, but for what a dialect cannot hold.
fn python_tree(pax: bool, uid: u32) -> Snapshot {
    let node = |kind| Node {
        kind,
        mode: 0o644,
        uid,
        gid: uid,
        mtime: 1_700_000_000,
        xattrs: Default::default(),
        links: None,
    };
    let file = |bytes: &[u8]| {
        node(Kind::File {
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        })
    };
    let path = |raw: &[u8]| ImagePath::parse(raw).unwrap();
    let mut tree = Snapshot::new();
    tree.insert(path(b"."), node(Kind::Directory));
    tree.insert(path(b"dir"), node(Kind::Directory));
    let mut body = file(&[b'b'; 700]);
    body.links = Some(path(b"dir/body"));
    if pax {
        body.xattrs = scratch::XATTRS
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .into();
    }
    tree.insert(path(b"dir/body"), body.clone());
    tree.insert(path(b"hard"), body);
    tree.insert(path(b"soft"), node(Kind::Symlink(b"dir/\xff".to_vec())));
    tree.insert(path(b"byte-\xff"), file(b"1"));
    let (major, minor) = (7, 300);
    let device = Special::BlockDevice { major, minor };
    tree.insert(path(b"block"), node(Kind::Special(device)));
    let device = Special::CharDevice { major, minor };
    tree.insert(path(b"char"), node(Kind::Special(device)));
    tree.insert(path(b"fifo"), node(Kind::Special(Special::Fifo)));
    let split = [[b'p'; 140].as_slice(), b"/", &[b'n'; 90]].concat();
    tree.insert(path(&split), file(b"split"));
    if uid > 0o7777777 {
        let long = [b"l/".repeat(200), vec![b'n'; 255]].concat();
        tree.insert(path(&long), file(b"long"));
        tree.insert(path(b"long-link"), node(Kind::Symlink(vec![b't'; 4095])));
    }
    tree
}

#[test]
fn python_tarfile() {
    if !installed("python3") {
        return;
    }
    for (format, uid) in [
        ("USTAR_FORMAT", 0o7777777),
        ("GNU_FORMAT", u32::MAX - 1),
        ("PAX_FORMAT", u32::MAX - 1),
    ] {
        let tar = archive(
            Command::new("python3")
                .args(["-c", include_str!("python.py"), format])
                .arg(uid.to_string())
                .args(
                    scratch::XATTRS.map(|(name, value)| format!("{name}={}", hex::encode(value))),
                ),
        );
        check(format, &tar, &python_tree(format == "PAX_FORMAT", uid));
    }
}
