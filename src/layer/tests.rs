//! What no writer makes on purpose: headers by hand, and blobs that are not what they should be.

use std::io::Write as _;

use ::tar::{EntryType, Header};
use flate2::write::GzEncoder;

use super::*;
use crate::bodies::{BodyStore as _, MemoryStore};

/// A tar stream being put together.
#[derive(Default, Clone)]
struct Archive(Vec<u8>);

impl Archive {
    /// Adds an entry: a header that `edit` finishes, and its data.
    fn entry(
        mut self,
        mut header: Header,
        flag: u8,
        name: &str,
        data: &[u8],
        edit: impl FnOnce(&mut Header),
    ) -> Self {
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::new(flag));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        edit(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn ustar(self, flag: u8, name: &str, data: &[u8]) -> Self {
        self.entry(Header::new_ustar(), flag, name, data, |_| {})
    }

    fn gnu(self, flag: u8, name: &str, data: &[u8]) -> Self {
        self.entry(Header::new_gnu(), flag, name, data, |_| {})
    }

    fn link(self, flag: u8, name: &str, target: &str) -> Self {
        self.entry(Header::new_ustar(), flag, name, b"", |header| {
            header.set_link_name_literal(target).unwrap();
        })
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            // Two digits are enough for what is written here.
            let length = key.len() + value.len() + 5;
            assert!((10..100).contains(&length));
            data.push_str(&format!("{length} {key}={value}\n"));
        }
        self.ustar(b'x', "PaxHeaders/x", data.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn descriptor(media_type: &str, blob: &[u8], tar: &[u8]) -> LayerDescriptor {
    LayerDescriptor {
        index: 2,
        digest: Digest::of(blob),
        size: blob.len() as u64,
        media_type: media_type.to_owned(),
        diff_id: Digest::of(tar),
    }
}

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
                ("uid", "4294967295"),
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
            "/pax-name 644 4294967295:3000000 symlink pax-target",
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
            new().ustar(b'x', "x", b"junk"),
            "invalid PAX record at byte 0",
        ),
        (new().pax(&[("path", "orphan")]), "the archive is truncated"),
        (
            new().pax(&[("uid", "4294967296")]).ustar(b'0', "x", b""),
            "entry x at offset 1024: invalid uid \"4294967296\"",
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
fn limit_of_entries() {
    let tar = Archive::default()
        .ustar(b'0', "a", b"")
        .ustar(b'0', "b", b"")
        .end();
    let limits = Limits {
        entries: 1,
        ..Limits::default()
    };
    let error = read(
        &descriptor(TAR, &tar, &tar),
        &*tar,
        &mut MemoryStore::new(0),
        &limits,
    );
    assert!(format!("{:#}", error.unwrap_err()).ends_with("entries: more than 1"));
}

/// Reads `blob` as the layer that `layer` describes.
fn verdict(layer: &LayerDescriptor, blob: &[u8]) -> Result<Layer, LayerError> {
    read(layer, blob, &mut MemoryStore::new(0), &Limits::default()).map_err(|error| {
        let text = format!("{error:#}");
        assert!(text.starts_with("layer 3 (sha256:"), "{text}");
        error.downcast().expect("a LayerError")
    })
}

fn good() -> (Vec<u8>, Vec<u8>) {
    let noise: Vec<u8> = (0..300_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let tar = Archive::default()
        .ustar(b'0', "noise", &noise)
        .ustar(b'0', "last", b"x")
        .end();
    (gzip(&tar), tar)
}

#[test]
fn altered_blobs_are_called_corrupt() {
    let (blob, tar) = good();
    for (media_type, blob) in [(TAR_GZIP, &blob), (TAR, &tar)] {
        let layer = descriptor(media_type, blob, &tar);
        assert!(verdict(&layer, blob).is_ok());
        // The start breaks the magic or the first header, the middle a body or the deflate
        // stream, the end a checksum or padding.
        for at in [
            0,
            3,
            40,
            600,
            blob.len() / 2,
            blob.len() - 6,
            blob.len() - 1,
        ] {
            let mut altered = blob.clone();
            altered[at] ^= 0x11;
            let error = verdict(&layer, &altered).unwrap_err();
            assert!(
                matches!(error, LayerError::DigestMismatch { expected, found }
                    if expected == layer.digest && found == Digest::of(&altered)),
                "byte {at}: {error}"
            );
        }
    }
}

#[test]
fn blobs_of_another_size() {
    let (blob, tar) = good();
    let layer = descriptor(TAR_GZIP, &blob, &tar);
    let size = blob.len() as u64;
    for length in [0, 1, 100, blob.len() / 2, blob.len() - 1] {
        let error = verdict(&layer, &blob[..length]).unwrap_err();
        assert!(
            matches!(error, LayerError::SizeMismatch { expected, found }
                if expected == size && found == length as u64),
            "{length} bytes: {error}"
        );
    }
    let longer = [&blob[..], &[0; 1000]].concat();
    let error = verdict(&layer, &longer).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the blob is too long: expected {size} bytes, found at least {}",
            size + 1
        )
    );
}

#[test]
fn right_blob_of_a_wrong_image() {
    let (blob, tar) = good();
    for (media_type, blob) in [(TAR_GZIP, &blob), (TAR, &tar)] {
        let layer = descriptor(media_type, blob, b"another");
        let error = verdict(&layer, blob).unwrap_err();
        assert!(
            matches!(error, LayerError::DiffIdMismatch { expected, found }
                if expected == Digest::of(b"another") && found == Digest::of(&tar)),
            "{error}"
        );
    }
}

#[test]
fn right_blob_that_cannot_be_read() {
    let (blob, tar) = good();
    let cut = &blob[..blob.len() / 2];
    let mut damaged = blob.clone();
    let crc = damaged.len() - 6;
    damaged[crc] ^= 1;
    for (blob, want) in [
        (cut, "the gzip stream is truncated"),
        (&damaged, "the gzip stream is damaged"),
        (b"BZh91AY&SY\0\0\0\0", "compressed with bzip2"),
        (b"\xfd7zXZ\0\0\0\0\0\0", "compressed with xz"),
        (b"no archive at all", "the archive is truncated"),
    ] {
        let error = verdict(&descriptor(TAR_GZIP, blob, &tar), blob).unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(error.contains(want), "{error}");
    }
    let error = verdict(&descriptor("text/plain", &blob, &tar), &blob).unwrap_err();
    assert!(matches!(error, LayerError::UnsupportedMediaType(_)));
}

#[test]
fn content_decides_over_media_type() {
    let tar = Archive::default().ustar(b'0', "a", b"1").end();
    let zstd = zstd::encode_all(&*tar, 1).unwrap();
    for (media_type, blob, warnings) in [
        (TAR, gzip(&tar), 1),
        (TAR_GZIP, tar.clone(), 1),
        (TAR_GZIP, zstd, 1),
        (TAR_GZIP, gzip(&tar), 0),
        (TAR_GZIP, [gzip(&tar), vec![0; 999]].concat(), 0),
        (TAR_GZIP, [gzip(&tar), vec![1; 999]].concat(), 1),
    ] {
        let layer = verdict(&descriptor(media_type, &blob, &tar), &blob).unwrap();
        assert_eq!(layer.entries.len(), 1);
        assert_eq!(layer.uncompressed_size, tar.len() as u64);
        assert_eq!(layer.report.notes().len(), warnings, "{:?}", layer.report);
    }
}

#[test]
fn failures_of_others_are_not_the_blob_s() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("cable pulled"))
        }
    }
    struct FullDisk;
    impl BodySink for FullDisk {
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn write_zeros(&mut self, _: u64) -> io::Result<()> {
            unreachable!("nothing is sparse")
        }
        fn finish(&mut self) -> io::Result<BodyId> {
            unreachable!("a write failed")
        }
    }

    let (blob, tar) = good();
    let layer = descriptor(TAR_GZIP, &blob, &tar);
    let half = blob[..blob.len() / 2].chain(Broken);
    let mut sink = MemoryStore::new(0);
    let error = read(&layer, half, &mut sink, &Limits::default()).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(LayerError::Read(_))),
        "{error:#}"
    );

    // Endless: the rest of the blob is not waited for.
    let endless = LayerDescriptor {
        size: u64::MAX,
        ..layer
    };
    let blob = blob.chain(io::repeat(0));
    let error = read(&endless, blob, &mut FullDisk, &Limits::default()).unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("entry noise at offset 0: storing the content"),
        "{text}"
    );
}
