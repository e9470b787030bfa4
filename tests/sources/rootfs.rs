//! Unpacked roots.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use import_oci::bodies::{Bodies, BodyId, BodyStore as _};
use import_oci::entry::{Entry, EntryKind};
use import_oci::metadata::Metadata;
use import_oci::source::{self, FetchOptions, Source, UnpackedRoot};

use crate::{assert_contains, error_of, may, run, shell};

/// A directory with `root`: files, hardlinks, links, directories, a FIFO.
fn unpacked_root() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    shell(
        directory.path(),
        "umask 022
         mkdir -p root/usr/bin root/usr/share root/etc root/var/lib; chmod 755 root
         printf body >root/usr/bin/tool; chmod 4755 root/usr/bin/tool
         touch -d @1000 root/usr/bin/tool
         ln root/usr/bin/tool root/usr/bin-alias; ln root/usr/bin/tool root/etc/tool
         ln -s /etc/passwd root/etc/link
         : >root/etc/empty; chmod 600 root/etc/empty
         mkfifo -m 640 root/var/fifo
         chmod 1777 root/var/lib
         echo outside >outside; ln -s ../../../outside root/usr/share/escape",
    );
    directory
}

fn walk(root: &Path) -> anyhow::Result<UnpackedRoot> {
    match source::open(
        &format!("rootfs:{}", root.display()),
        &FetchOptions::default(),
    )?
    .1
    {
        Source::Root(root) => root.walk(0),
        Source::Image(image) => panic!("{image} is an image"),
    }
}

fn entry<'a>(root: &'a UnpackedRoot, path: &str) -> &'a Entry {
    let found = root.entries.iter().find(|e| e.path.to_string() == path);
    found.unwrap_or_else(|| panic!("{path} is missing"))
}

fn body(root: &UnpackedRoot, path: &str) -> BodyId {
    match entry(root, path).kind {
        EntryKind::File { body, .. } => body,
        ref other => panic!("{path} is no file: {other:?}"),
    }
}

fn xattr(root: &UnpackedRoot, path: &str, name: &str) -> Option<Vec<u8>> {
    let xattrs = &entry(root, path).metadata.xattrs;
    xattrs.get(name.as_bytes()).map(|value| value.to_vec())
}

fn describe(entry: &Entry) -> String {
    let kind = match &entry.kind {
        EntryKind::Directory => "directory".to_owned(),
        EntryKind::File { size, .. } => format!("file of {size}"),
        EntryKind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
        EntryKind::Hardlink(first) => format!("= {first}"),
        EntryKind::Special(special) => special.to_string(),
    };
    format!("{} {:o} {kind}", entry.path, entry.metadata.mode)
}

#[test]
fn everything_is_found() {
    let directory = unpacked_root();
    let path = directory.path().join("root");
    let root = walk(&path).unwrap();
    let entries: Vec<_> = root.entries.iter().map(describe).collect();
    assert_eq!(
        entries,
        [
            "/ 755 directory",
            "/etc 755 directory",
            "/etc/empty 600 file of 0",
            "/etc/link 777 -> /etc/passwd",
            "/etc/tool 4755 file of 4",
            "/usr 755 directory",
            "/usr/bin 755 directory",
            "/usr/bin-alias 4755 = /etc/tool",
            "/usr/bin/tool 4755 = /etc/tool",
            "/usr/share 755 directory",
            "/usr/share/escape 777 -> ../../../outside",
            "/var 755 directory",
            "/var/fifo 640 FIFO",
            "/var/lib 1777 directory",
        ]
    );
    assert!(root.report.notes().is_empty());
    let metadata = &entry(&root, "/etc/tool").metadata;
    let owner = fs::metadata(path.join("etc/tool")).unwrap();
    assert_eq!(metadata.mtime, 1000);
    assert_eq!((metadata.uid, metadata.gid), (owner.uid(), owner.gid()));
    assert_eq!(walk(&path).unwrap().entries, root.entries);

    let (tool, empty) = (body(&root, "/etc/tool"), body(&root, "/etc/empty"));
    let bodies = Bodies::new(vec![Box::new(root.bodies)]);
    assert_eq!(bodies.read(tool, 4).unwrap(), b"body");
    assert_eq!(bodies.read(empty, 0).unwrap(), b"");
}

#[test]
fn a_changed_file_is_noticed() {
    for (change, reason) in [
        ("printf BODY >root/etc/tool", "changed while"),
        ("printf longer >root/etc/tool", "changed while"),
        ("touch root/etc/tool", "changed while"),
        ("rm root/etc/tool", "No such file"),
        ("ln -sf ../../outside root/etc/tool", "a symbolic link"),
        (
            "mv root/etc moved; ln -s ../moved root/etc",
            "Not a directory",
        ),
    ] {
        let directory = unpacked_root();
        let root = walk(&directory.path().join("root")).unwrap();
        let index = body(&root, "/etc/tool").index;
        shell(directory.path(), change);
        let error = root.bodies.read_at(index, 0, &mut [0; 10]).unwrap_err();
        assert_contains(&error.to_string(), &["/etc/tool: ", reason]);
    }
    // Also when the change comes between two reads.
    for change in ["printf BODY >root/etc/tool", ": >root/etc/tool"] {
        let directory = unpacked_root();
        let root = walk(&directory.path().join("root")).unwrap();
        let index = body(&root, "/etc/tool").index;
        assert_eq!(root.bodies.read_at(index, 0, &mut [0; 2]).unwrap(), 2);
        shell(directory.path(), change);
        let error = root.bodies.read_at(index, 2, &mut [0; 10]).unwrap_err();
        assert_contains(&error.to_string(), &["/etc/tool: changed while"]);
    }
}

#[test]
fn bodies_are_read_from_many_threads() {
    let directory = tempfile::tempdir().unwrap();
    shell(
        directory.path(),
        "mkdir -p root/usr; for i in $(seq 200); do seq $i 20000 >root/usr/$i; done",
    );
    let root = walk(&directory.path().join("root")).unwrap();
    let paths = root.entries.iter().map(|entry| entry.path.to_string());
    let files: Vec<_> = paths
        .filter(|path| path.starts_with("/usr/"))
        .map(|path| (body(&root, &path), path))
        .collect();
    assert_eq!(files.len(), 200);
    let bodies = Bodies::new(vec![Box::new(root.bodies)]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (bodies, files, directory) = (&bodies, &files, &directory);
            scope.spawn(move || {
                for (body, path) in files.iter().cycle().skip(thread * 7).take(files.len()) {
                    let mut got = Vec::new();
                    bodies.reader(*body).read_to_end(&mut got).unwrap();
                    let file = format!("{}/root{path}", directory.path().display());
                    assert!(got == fs::read(file).unwrap(), "{path}");
                }
            });
        }
    });
}

#[test]
fn xattrs() {
    let directory = unpacked_root();
    let set = "setfattr -n user.long -v $(printf %01000d 0) root/etc/tool
               setfattr -n user.binary -v 0x000a3d root/etc/tool
               setfattr -n user.empty root/etc/tool
               setfattr -n user.dir -v x root/usr/share";
    if !may(directory.path(), set) {
        return;
    }
    let root = walk(&directory.path().join("root")).unwrap();
    for (path, name, value) in [
        ("/etc/tool", "user.long", Some(vec![b'0'; 1000])),
        ("/etc/tool", "user.binary", Some(b"\0\n=".to_vec())),
        ("/etc/tool", "user.empty", Some(Vec::new())),
        ("/usr/share", "user.dir", Some(b"x".to_vec())),
        ("/usr/bin", "user.dir", None),
    ] {
        assert_eq!(xattr(&root, path, name), value, "{path} {name}");
    }
}

#[test]
fn owners_and_what_only_root_may_set() {
    let directory = unpacked_root();
    let set = "setfattr -h -n trusted.link -v l root/etc/link
               setfattr -n trusted.fifo -v f root/var/fifo
               chown 1234:5678 root/etc/empty; chown -h 7:8 root/etc/link
               setcap cap_net_raw+ep root/etc/empty";
    if !may(directory.path(), set) {
        return;
    }
    let root = walk(&directory.path().join("root")).unwrap();
    assert_eq!(
        xattr(&root, "/etc/link", "trusted.link"),
        Some(b"l".to_vec())
    );
    assert_eq!(
        xattr(&root, "/var/fifo", "trusted.fifo"),
        Some(b"f".to_vec())
    );
    assert!(xattr(&root, "/etc/empty", "security.capability").is_some());
    for (path, uid, gid) in [("/etc/empty", 1234, 5678), ("/etc/link", 7, 8)] {
        let metadata = &entry(&root, path).metadata;
        assert_eq!((metadata.uid, metadata.gid), (uid, gid), "{path}");
    }
}

#[test]
fn what_is_no_root_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    shell(
        directory.path(),
        "mkdir empty nousr nousr/etc linkusr; ln -s ../nousr linkusr/usr; : >file",
    );
    for (name, reason) in [
        ("missing", "No such file"),
        ("file", "Not a directory"),
        ("empty", "the directory is empty"),
        ("nousr", "not an unpacked root: it has no directory usr"),
        ("linkusr", "not an unpacked root: it has no directory usr"),
    ] {
        let error = error_of(walk(&directory.path().join(name)));
        assert_contains(&error, &[reason]);
    }
}

#[test]
fn an_overlay_upper_is_refused() {
    for (trace, path, reason) in [
        (
            "setfattr -n user.overlay.opaque -v y root/usr/bin",
            "/usr/bin",
            "user.overlay.opaque",
        ),
        (
            "setfattr -n user.overlay.redirect -v /x root/usr/share",
            "/usr/share",
            "user.overlay.redirect",
        ),
        (
            "setfattr -n user.overlay.metacopy -v y root/etc/tool",
            "/etc/tool",
            "user.overlay.metacopy",
        ),
        (
            "setfattr -n trusted.overlay.opaque -v y root",
            "/",
            "trusted.overlay.opaque",
        ),
        (
            "setfattr -n user.fuseoverlayfs.opaque -v y root/etc",
            "/etc",
            "user.fuseoverlayfs.opaque",
        ),
        (
            "rm -r root/usr; mknod root/var/gone c 0 0; mknod root/etc/gone c 0 0",
            "/etc/gone",
            "character device 0:0",
        ),
        (
            ": >root/etc/.wh.gone",
            "/etc/.wh.gone",
            "a whiteout by its name",
        ),
    ] {
        let directory = unpacked_root();
        if may(directory.path(), trace) {
            let error = error_of(walk(&directory.path().join("root")));
            let place = format!("{path}: ");
            assert_contains(&error, &[&place, reason, "name the merged mount instead"]);
        }
    }
}

#[test]
fn traces_in_container_storage_and_run_are_no_overlay_upper() {
    let directory = unpacked_root();
    shell(
        directory.path(),
        "cd root/var/lib; mkdir -p containers/storage/overlay/0123/diff/etc
         : >containers/storage/overlay/0123/diff/etc/.wh.gone",
    );
    walk(&directory.path().join("root")).unwrap();
    if may(
        directory.path(),
        "mkdir -p root/run/systemd/inaccessible; mknod root/run/systemd/inaccessible/chr c 0 0
         cd root/var/lib/containers/storage/overlay/0123/diff
         mknod gone c 0 0; setfattr -n trusted.overlay.opaque -v y etc",
    ) {
        walk(&directory.path().join("root")).unwrap();
    }
}

/// Set for a test that runs again in a mount namespace of its own: the directory of its root.
const INSIDE: &str = "IMPORT_OCI_TEST_MOUNTED";

/// Runs `test` again after these mounts, in a mount namespace of its own, with [`INSIDE`] set.
fn run_with_mounts(test: &str, mounts: &str) {
    let directory = unpacked_root();
    if !may(directory.path(), &format!("unshare -m sh -ec '{mounts}'")) {
        return;
    }
    let again = unpacked_root();
    let commands = format!("{mounts}\nexec \"$0\" --exact rootfs::{test}");
    let output = run(Command::new("unshare")
        .args(["-m", "sh", "-ec", &commands])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, again.path())
        .current_dir(again.path()));
    assert_contains(&String::from_utf8_lossy(&output), &["1 passed"]);
}

#[test]
fn no_mount_is_crossed() {
    let Some(directory) = std::env::var_os(INSIDE) else {
        return run_with_mounts(
            "no_mount_is_crossed",
            "mkdir root/tmp root/proc; find root -exec touch -h -d @1000 {} +
             mount -t tmpfs -o mode=0751,uid=7 none root/usr/share; : >root/usr/share/mounted
             mount -t tmpfs -o mode=0700 none root/tmp
             mount -t proc none root/proc
             mount --bind outside root/etc/empty
             mount --bind root/var root/var/lib",
        );
    };
    let root = walk(&Path::new(&directory).join("root")).unwrap();
    let entries: Vec<_> = root.entries.iter().map(describe).collect();
    // Nothing of the mounts shows, neither of those on the same device.
    for (path, mode) in [
        ("/proc", 0o755),
        ("/tmp", 0o1777),
        ("/usr/share", 0o755),
        ("/var/lib", 0o755),
    ] {
        let want = Metadata {
            mode,
            ..Metadata::default()
        };
        assert_eq!(entry(&root, path).metadata, want, "{path}");
    }
    let newest = root.entries.iter().map(|entry| entry.metadata.mtime).max();
    assert_eq!(newest, Some(1000));
    for below in ["/proc/", "/tmp/", "/usr/share/", "/var/lib/", "/etc/empty "] {
        let found = entries.iter().find(|entry| entry.starts_with(below));
        assert_eq!(found, None);
    }
    let notes = root.report.notes().iter();
    let notes: Vec<_> = notes
        .map(|note| format!("{} {}", note.action, note.path))
        .collect();
    assert_eq!(
        notes,
        [
            "dropped /etc/empty",
            "warning /proc",
            "warning /tmp",
            "warning /usr/share",
            "warning /var/lib"
        ]
    );
}

/// The merged mount of an overlay is a root, what the kernel wrote to its upper directory is not.
#[test]
fn an_overlay_is_read_merged() {
    let Some(directory) = std::env::var_os(INSIDE) else {
        return run_with_mounts(
            "an_overlay_is_read_merged",
            "mkdir layers; mount -t tmpfs none layers; mkdir layers/upper layers/work merged
             mount -t overlay -o lowerdir=root,upperdir=layers/upper,workdir=layers/work none merged
             rm merged/etc/empty; rm -r merged/usr/share; mkdir merged/usr/share
             echo new >merged/usr/share/new",
        );
    };
    let directory = Path::new(&directory);
    let root = walk(&directory.join("merged")).unwrap();
    let entries: Vec<_> = root.entries.iter().map(describe).collect();
    for entry in [
        "/etc/tool 4755 file of 4",
        "/usr/bin/tool 4755 = /etc/tool",
        "/usr/share/new 644 file of 4",
    ] {
        assert!(entries.contains(&entry.to_owned()), "{entry}: {entries:?}");
    }
    for gone in ["/etc/empty ", "/usr/share/escape "] {
        assert!(!entries.iter().any(|entry| entry.starts_with(gone)));
    }
    assert!(root.report.notes().is_empty());
    let ids: Vec<_> = ["/etc/tool", "/usr/share/new"]
        .map(|path| body(&root, path))
        .into();
    let bodies = Bodies::new(vec![Box::new(root.bodies)]);
    assert_eq!(bodies.read(ids[0], 4).unwrap(), b"body");
    assert_eq!(bodies.read(ids[1], 4).unwrap(), b"new\n");

    let error = error_of(walk(&directory.join("layers/upper")));
    assert_contains(&error, &["/etc/empty: a whiteout", "the merged mount"]);
    shell(directory, "rm layers/upper/etc/empty");
    let error = error_of(walk(&directory.join("layers/upper")));
    assert_contains(
        &error,
        &["/usr/share: has the xattr trusted.overlay.opaque"],
    );
}
