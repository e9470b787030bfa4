//! Headers by hand, each dialect's rules.

use super::*;
use crate::bodies::{BodyStore as _, MemoryStore};
use crate::entry::EntryKind;
use crate::metadata::Metadata;

/// Reads a plain tar. Returns the entries as lines, the warnings, and the error.
fn listing(tar: &[u8]) -> (Vec<String>, Vec<String>, Option<String>) {
    let mut sink = MemoryStore::new(0);
    match read(
        &descriptor(TAR, tar, tar),
        tar,
        &mut sink,
        &Limits::default(),
    ) {
        Err(error) => (Vec::new(), Vec::new(), Some(format!("{error:#}"))),
        Ok(layer) => {
            let line = |entry: &Entry| {
                let kind = match &entry.kind {
                    EntryKind::Directory => "directory".to_owned(),
                    EntryKind::File { body, size } => {
                        let mut bytes = vec![0; *size as usize];
                        assert_eq!(sink.size(body.index), *size);
                        sink.read_at(body.index, 0, &mut bytes).unwrap();
                        format!("file {}", crate::path::escape(&bytes))
                    }
                    EntryKind::Symlink(target) => {
                        format!("symlink {}", crate::path::escape(target))
                    }
                    EntryKind::Hardlink(target) => format!("hardlink {target}"),
                    EntryKind::Special(special) => special.to_string(),
                };
                let Metadata { mode, uid, gid, .. } = entry.metadata;
                format!("{} {mode:o} {uid}:{gid} {kind}", entry.path)
            };
            let notes = layer.report.notes().iter();
            (
                layer.entries.iter().map(line).collect(),
                notes.map(|note| note.detail.clone()).collect(),
                None,
            )
        }
    }
}

#[track_caller]
fn reads(archive: Archive, want: &[&str]) {
    let (lines, warnings, error) = listing(&archive.end());
    assert_eq!(error, None);
    assert_eq!(lines, want);
    assert_eq!(warnings, Vec::<String>::new());
}

#[track_caller]
fn warns(archive: Vec<u8>, want: &[&str], warning: &str) {
    let (lines, warnings, error) = listing(&archive);
    assert_eq!(error, None);
    assert_eq!(lines, want);
    assert!(
        matches!(&warnings[..], [only] if only.contains(warning)),
        "{warnings:?}"
    );
}

#[track_caller]
fn refuses(archive: Archive, want: &str) {
    let (_, _, error) = listing(&archive.end());
    let error = error.unwrap_or_else(|| panic!("not refused, but should: {want}"));
    assert!(error.contains(want), "{error:?} should say {want:?}");
}

#[test]
fn kinds() {
    reads(
        Archive::default()
            .ustar(b'5', "./", b"")
            .ustar(b'0', "zero", b"0")
            .ustar(0, "nul", b"1")
            .ustar(b'7', "contiguous", b"7")
            .entry(Header::new_old(), 0, "v7", b"old", |_| {})
            .entry(Header::new_old(), 0, "v7dir/", b"", |_| {})
            .link(b'1', "hard", "./zero")
            .link(b'2', "soft", "../a//b")
            .ustar(b'6', "fifo", b"")
            .entry(Header::new_ustar(), b'3', "char", b"", |header| {
                header.set_device_major(5).unwrap();
                header.set_device_minor(1).unwrap();
            })
            .entry(Header::new_gnu(), b'4', "block", b"", |header| {
                header.set_device_major(253).unwrap();
                header.set_device_minor(1 << 19).unwrap();
            })
            .gnu(b'D', "dumped/", b"Yname\0\0")
            .ustar(b'0', "dir/.wh.gone", b"")
            .entry(Header::new_ustar(), b'0', "mode", b"", |header| {
                header.set_mode(0o106_755);
                header.as_old_mut().uid = *b"        ";
                header.as_old_mut().gid = [0; 8];
            }),
        &[
            "/ 644 0:0 directory",
            "/zero 644 0:0 file 0",
            "/nul 644 0:0 file 1",
            "/contiguous 644 0:0 file 7",
            "/v7 644 0:0 file old",
            "/v7dir 644 0:0 directory",
            "/hard 644 0:0 hardlink /zero",
            "/soft 644 0:0 symlink ../a//b",
            "/fifo 644 0:0 FIFO",
            "/char 644 0:0 character device 5:1",
            "/block 644 0:0 block device 253:524288",
            "/dumped 644 0:0 directory",
            "/dir/.wh.gone 644 0:0 file ",
            "/mode 6755 0:0 file ",
        ],
    );
}

#[test]
fn pax_wins_over_gnu_names_and_headers() {
    reads(
        Archive::default()
            .gnu(b'L', "././@LongLink", b"gnu-name\0")
            .gnu(b'K', "././@LongLink", b"gnu-target\0")
            .link(b'2', "header-name", "header-target")
            .gnu(b'L', "././@LongLink", b"gnu-name\0")
            .gnu(b'K', "././@LongLink", b"gnu-target\0\0\0")
            .pax(&[
                ("path", "pax-name"),
                ("linkpath", "pax-target"),
                ("uid", "4294967294"),
                ("gid", "3000000"),
            ])
            .link(b'2', "header-name", "header-target")
            .pax(&[("path", "after/")])
            .gnu(b'L', "././@LongLink", b"gnu-name")
            .entry(Header::new_ustar(), b'0', "h", b"", |header| {
                header.set_uid(3_000_000);
            })
            .link(b'2', "plain", "plain-target"),
        &[
            "/gnu-name 644 0:0 symlink gnu-target",
            "/pax-name 644 4294967294:3000000 symlink pax-target",
            "/after 644 3000000:0 directory",
            "/plain 644 0:0 symlink plain-target",
        ],
    );
}

#[test]
fn pax_size_rules_the_data() {
    reads(
        Archive::default()
            .pax(&[("size", "700")])
            .entry(Header::new_ustar(), b'0', "file", &[b'x'; 700], |header| {
                header.as_old_mut().size = *b"unknown, lie";
            })
            .ustar(b'0', "next", b""),
        &[
            &format!("/file 644 0:0 file {}", "x".repeat(700)),
            "/next 644 0:0 file ",
        ],
    );
}

#[test]
fn global_headers_are_not_inherited() {
    let comment = b"52 comment=0123456789012345678901234567890123456789\n";
    reads(
        Archive::default()
            .ustar(b'g', "pax_global_header", comment)
            .ustar(b'g', "pax_global_header", b"12 path=evil\n15 SCHILY.x=1\n")
            .pax(&[("path", "own-path")])
            .ustar(b'g', "pax_global_header", b"10 size=9\n")
            .ustar(b'0', "first", b"1")
            .ustar(b'0', "second", b"2"),
        &["/own-path 644 0:0 file 1", "/second 644 0:0 file 2"],
    );
}

#[test]
fn old_gnu_times_are_no_prefix() {
    let times = |header: &mut Header| {
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_atime(0o14_000_000_000);
        gnu.set_ctime(0o14_000_000_000);
    };
    reads(
        Archive::default().entry(Header::new_gnu(), b'0', "name", b"", times),
        &["/name 644 0:0 file "],
    );
}

#[test]
fn sizes_without_data() {
    let sized = |size: u64| {
        move |header: &mut Header| {
            header.set_size(size);
            if header.entry_type() == EntryType::Link {
                header.set_link_name_literal("a").unwrap();
            }
        }
    };
    let data = [b'd'; 600];
    reads(
        Archive::default()
            .ustar(b'0', "a", b"a")
            // The size of the file linked to, as old writers put it.
            .entry(Header::new_ustar(), b'1', "ustar", b"", sized(600))
            .entry(Header::new_gnu(), b'1', "gnu", b"", sized(600))
            .entry(Header::new_old(), b'1', "v7", b"", sized(600))
            .entry(Header::new_ustar(), b'5', "dir", b"", sized(4096))
            // The data of the file linked to, as `pax -o linkdata` and star put them.
            .entry(Header::new_ustar(), b'1', "star", &data, sized(600))
            .pax(&[("size", "600")])
            .entry(Header::new_ustar(), b'1', "pax", &data, sized(0))
            .entry(Header::new_ustar(), b'1', "last", b"", sized(600)),
        &[
            "/a 644 0:0 file a",
            "/ustar 644 0:0 hardlink /a",
            "/gnu 644 0:0 hardlink /a",
            "/v7 644 0:0 hardlink /a",
            "/dir 644 0:0 directory",
            "/star 644 0:0 hardlink /a",
            "/pax 644 0:0 hardlink /a",
            "/last 644 0:0 hardlink /a",
        ],
    );
}

#[test]
fn old_gnu_sparse_with_extension_blocks() {
    let data: Vec<u8> = (b'a'..=b'z').collect();
    let segment = |i: u64| (i * 3, 1);
    let mut extension = ::tar::GnuExtSparseHeader::new();
    for (i, slot) in (4..).zip(extension.sparse_mut()) {
        let (offset, length) = segment(i);
        slot.set_offset(offset);
        slot.set_length(length);
    }
    extension.set_is_extended(true);
    let mut last = ::tar::GnuExtSparseHeader::new();
    let (offset, length) = segment(25);
    last.sparse_mut()[0].set_offset(offset);
    last.sparse_mut()[0].set_length(length);
    let maps = [*extension.as_bytes(), *last.as_bytes()].concat();

    let archive = Archive::default().entry(Header::new_gnu(), b'S', "sparse", &maps, |header| {
        header.set_size(26);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(80);
        gnu.set_is_extended(true);
        for (i, slot) in (0..).zip(&mut gnu.sparse) {
            let (offset, length) = segment(i);
            slot.set_offset(offset);
            slot.set_length(length);
        }
    });
    let mut tar = archive.0;
    tar.extend_from_slice(&data);
    tar.resize(tar.len().next_multiple_of(512), 0);
    let mut want = String::new();
    for letter in 'a'..='z' {
        want.push(letter);
        want.push_str("\\0\\0");
    }
    let want = want.replace("\\0", "\\u{0}");
    let (lines, _, error) = listing(&Archive(tar).ustar(b'0', "next", b"").end());
    assert_eq!(error, None);
    let file = format!("/sparse 644 0:0 file {want}\\u{{0}}\\u{{0}}");
    assert_eq!(lines, [&file, "/next 644 0:0 file "]);
}

#[test]
fn odd_ends() {
    let one = Archive::default().ustar(b'0', "a", b"1");
    let want = &["/a 644 0:0 file 1"];
    for (name, tar) in [
        ("no end marker", one.0.clone()),
        ("no padding", one.0[..513].to_vec()),
        ("a lone zero block", [&one.0[..], &[0; 512]].concat()),
        ("half a zero block", [&one.0[..], &[0; 99]].concat()),
        ("many zero blocks", [&one.0[..], &[0; 20480]].concat()),
    ] {
        let (lines, warnings, error) = listing(&tar);
        assert_eq!(error, None, "{name}");
        assert_eq!(lines, want, "{name}");
        assert!(warnings.is_empty(), "{name}");
    }
    let (lines, _, error) = listing(b"");
    assert_eq!((lines.len(), error), (0, None), "an empty layer");

    let garbage = [one.clone().end(), b"garbage".to_vec()].concat();
    warns(garbage, want, "1031 bytes behind the end of its archive");
    let second = [one.clone().end(), one.end()].concat();
    warns(second, want, "bytes behind the end of its archive");
}

#[test]
fn unknown_types_are_skipped_with_a_warning() {
    for flag in *b"VMDNZ89q" {
        warns(
            Archive::default()
                .ustar(flag, "vendor", &[b'v'; 600])
                .ustar(b'0', "a", b"1")
                .end(),
            &["/a 644 0:0 file 1"],
            "unknown type",
        );
    }
}

#[test]
fn lost_metadata_is_told() {
    for (key, why) in [
        ("SCHILY.acl.access", "ACLs in words are not converted"),
        ("RHT.security.selinux", "label of the build host"),
    ] {
        warns(
            Archive::default()
                .pax(&[(key, "x"), ("path", "a")])
                .ustar(b'0', "x", b"1")
                .end(),
            &["/a 644 0:0 file 1"],
            &format!("PAX record {key}: {why}"),
        );
    }
}

#[test]
fn refused_entries() {
    let new = Archive::default;
    let long = "n".repeat(9000);
    for (archive, want) in [
        (
            new().ustar(b'0', "a/../b", b""),
            "entry a/../b at offset 0: ",
        ),
        (new().ustar(b'0', "./.", b""), "root of the image"),
        (new().link(b'2', ".", "x"), "root of the image"),
        (new().ustar(b'5', "", b""), "the name is empty"),
        (
            new().link(b'2', "s", ""),
            "target of the symbolic link is empty",
        ),
        (new().link(b'1', "h", ""), "hardlink target is empty"),
        (
            new().link(b'1', "h", "../x"),
            "entry h at offset 0: hardlink target: path ../x has a `..` component",
        ),
        (
            new().pax(&[("path", "a\0b")]).ustar(b'0', "x", b""),
            "entry a\\u{0}b at offset 1024: path a\\u{0}b has a NUL byte",
        ),
        (
            new().pax(&[("linkpath", "a\0b")]).link(b'2', "x", "y"),
            "target of the symbolic link has a NUL byte",
        ),
        (
            new().gnu(b'K', "", &[b't'; 4096]).link(b'2', "x", "y"),
            "target of the symbolic link is too long",
        ),
        (
            new().gnu(b'L', "", long.as_bytes()).ustar(b'0', "x", b""),
            "bytes of a GNU long name: more than 8192",
        ),
        (
            new().ustar(b'x', "x", &vec![0; (1 << 20) + 1]),
            "bytes of PAX records: more than 1048576",
        ),
        (
            new().ustar(b'x', "x", b"junk").ustar(b'0', "x", b""),
            "entry x at offset 1024: invalid PAX record at byte 0",
        ),
        (new().pax(&[("path", "orphan")]), "the archive is truncated"),
        (
            new().pax(&[("uid", "4294967296")]).ustar(b'0', "x", b""),
            "entry x at offset 1024: invalid uid \"4294967296\"",
        ),
        (
            new().pax(&[("uid", "4294967295")]).ustar(b'0', "x", b""),
            "entry x at offset 1024: invalid uid \"4294967295\"",
        ),
        (
            new().entry(Header::new_gnu(), b'0', "x", b"", |header| {
                header.set_gid(u64::from(u32::MAX));
            }),
            "entry x at offset 0: invalid gid \"4294967295\"",
        ),
        (
            new().entry(Header::new_gnu(), b'0', "x", b"", |header| {
                header.set_uid(1 << 32);
            }),
            "invalid uid",
        ),
        (
            new().entry(Header::new_ustar(), b'0', "x", b"", |header| {
                header.set_size(5000);
            }),
            "entry x at offset 0: the archive is truncated",
        ),
        (
            new().entry(Header::new_gnu(), b'S', "x", b"", |header| {
                header.as_gnu_mut().unwrap().set_real_size(u64::MAX >> 1);
            }),
            "bytes of a sparse file",
        ),
    ] {
        refuses(archive, want);
    }
    let mut altered = new().ustar(b'5', "d", b"").ustar(b'0', "x", b"");
    altered.0[512 + 130] ^= 1;
    refuses(
        altered,
        "entry (unnamed) at offset 512: not a tar header: its checksum does not match",
    );
}

#[test]
fn limits_of_a_layer() {
    let record = [("SCHILY.xattr.user.a", "12345")];
    let tar = Archive::default()
        .pax(&record)
        .ustar(b'0', "a", b"")
        .pax(&record)
        .ustar(b'0', "b", b"")
        .end();
    let (entries, layer_xattrs) = (4, 48);
    let exact = Limits {
        entries,
        layer_xattrs,
        ..Limits::default()
    };
    for (limits, want) in [
        (exact.clone(), None),
        (
            Limits {
                entries: entries - 1,
                ..exact.clone()
            },
            Some("entry (unnamed) at offset 2560: entries: more than 3"),
        ),
        (
            Limits {
                layer_xattrs: layer_xattrs - 1,
                ..exact
            },
            Some("entry b at offset 2560: bytes of extended attributes in the layer: more than 47"),
        ),
    ] {
        let mut sink = MemoryStore::new(0);
        let read = read(&descriptor(TAR, &tar, &tar), &*tar, &mut sink, &limits);
        let error = read.err().map(|error| format!("{error:#}"));
        match (&error, want) {
            (Some(error), Some(want)) => assert!(error.ends_with(want), "{error}"),
            (error, want) => assert_eq!(error.as_deref(), want),
        }
    }
}
