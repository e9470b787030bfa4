//! A tree on disk with everything that is hard to archive.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

/// What every dialect holds.
pub const SHORT: &str = "short";
/// Names for ustar's prefix; a FIFO.
pub const MEDIUM: &str = "medium";
/// Names and times for which a dialect must have an extension.
pub const LONG: &str = "long";

/// Values of extended attributes that break readers: records in a value, and the bytes that end
/// keys, values and records.
pub const XATTRS: [(&str, &[u8]); 5] = [
    ("user.capability", b"\x01\0\0\x02\n\0\0\0=\n\n12 size=1\n"),
    ("user.empty", b""),
    ("user.equals", b"a=b=c"),
    ("user.newlines", b"\n\n10 uid=7\n"),
    ("user.nul", b"\0\xff\0"),
];

/// Makes the three trees in `root`. False, and a word about it, where the file system has no
/// extended attributes; everything else is there then.
pub fn make(root: &Path) -> bool {
    let short = root.join(SHORT);
    fs::create_dir(&short).unwrap();
    for size in [0, 1, 511, 512, 513, 300_000] {
        let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 253) as u8).collect();
        fs::write(short.join(format!("size-{size}")), bytes).unwrap();
    }
    for mode in [0o400, 0o755, 0o4755, 0o2711, 0o6755, 0o1644] {
        let file = short.join(format!("mode-{mode:o}"));
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let sticky = short.join("sticky");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).unwrap();
    for name in [
        &b"with space"[..],
        b"new\nline",
        b"back\\slash",
        b"\xff\xfe not utf-8",
        "\u{fc}ml\u{e4}ut".as_bytes(),
        b".wh.whiteout",
        b"a=b",
    ] {
        fs::write(short.join(OsStr::from_bytes(name)), name).unwrap();
    }
    symlink("size-1", short.join("symlink")).unwrap();
    symlink("/no/where/../at all//", short.join("dangling")).unwrap();
    for name in ["hard-1", "hard-2", "sticky/hard-3"] {
        fs::hard_link(short.join("size-513"), short.join(name)).unwrap();
    }
    sparse(&short.join("sparse-start"), 1 << 20, &[(0, 5000)]);
    sparse(&short.join("sparse-end"), 1 << 20, &[((1 << 20) - 3, 3)]);
    sparse(&short.join("sparse-hole"), 300_000, &[]);
    let many: Vec<_> = (0..60).map(|i| (8192 + i * 16384, 100 + i)).collect();
    sparse(&short.join("sparse-many"), 60 * 16384 + 8192, &many);

    let medium = root.join(MEDIUM);
    let deep = medium.join("d".repeat(70)).join("e".repeat(70));
    fs::create_dir_all(&deep).unwrap();
    for length in [10, 80, 100] {
        let name = "f".repeat(length);
        fs::write(deep.join(&name), "deep").unwrap();
    }
    fs::write(medium.join("target"), "hard").unwrap();
    fs::hard_link(medium.join("target"), deep.join("hard")).unwrap();
    symlink("t".repeat(100), medium.join("symlink-100")).unwrap();
    let mode = Mode::from_raw_mode(0o620);
    mknodat(CWD, medium.join("fifo"), FileType::Fifo, mode, 0).unwrap();

    let long = root.join(LONG);
    let deep = long
        .join("g".repeat(101))
        .join("h".repeat(255))
        .join("i".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    for length in [99, 100, 101, 155, 156, 255] {
        fs::write(deep.join("j".repeat(length)), "deeper").unwrap();
    }
    fs::hard_link(deep.join("j".repeat(255)), long.join("hard")).unwrap();
    symlink("t".repeat(101), long.join("symlink-101")).unwrap();
    symlink("t/".repeat(2000), long.join("symlink-4000")).unwrap();
    sparse(&deep.join("sparse"), 1 << 20, &[(500_000, 7)]);
    let old = File::create(long.join("before-1970")).unwrap();
    // Whole seconds: libarchive writes -1.5 s as `-2.5`.
    let time = SystemTime::UNIX_EPOCH - Duration::from_secs(2);
    old.set_modified(time).unwrap();

    let set = |(name, value): &(&str, &[u8])| {
        let all = [
            short.join("size-513"),
            short.join("sparse-many"),
            sticky.clone(),
        ];
        all.iter()
            .all(|file| setxattr(file, *name, value, XattrFlags::empty()).is_ok())
    };
    let have_xattrs = XATTRS.iter().all(set);
    if !have_xattrs {
        eprintln!("extended attributes not run: this file system has none");
    }
    have_xattrs
}

fn sparse(path: &Path, size: u64, data: &[(u64, u64)]) {
    let mut file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for &(offset, length) in data {
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&vec![b'd'; length as usize]).unwrap();
    }
}
