//! Archives that nobody would write: damaged ones, and noise. Reading must end, in whatever way.

use std::io::{self, Write as _};

use flate2::write::GzEncoder;
use import_oci::bodies::{BodyId, BodySink};
use import_oci::layer::{Limits, read};
use proptest::collection::vec;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use crate::snapshot::descriptor;

/// Takes everything and keeps nothing, so that a sparse file may be as large as it likes.
struct Nowhere;

impl BodySink for Nowhere {
    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn write_zeros(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<BodyId> {
        Ok(BodyId { store: 0, index: 0 })
    }
}

/// An archive with an entry of every kind, for mutation.
fn every_kind() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let header = |entry_type, size: u64| {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type);
        header.set_size(size);
        header.set_mode(0o755);
        header
    };
    let mut add = |mut header: Header, path: &str, data: &[u8]| {
        builder.append_data(&mut header, path, data).unwrap();
    };
    add(header(EntryType::Directory, 0), "dir/", b"");
    add(header(EntryType::Regular, 700), "dir/file", &[b'f'; 700]);
    let mut link = header(EntryType::Link, 0);
    link.set_link_name_literal("dir/file").unwrap();
    add(link, "hard", b"");
    let mut sparse = Header::new_gnu();
    sparse.set_entry_type(EntryType::GNUSparse);
    sparse.set_size(5);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.set_real_size(1000);
    gnu.sparse[0].set_offset(10);
    gnu.sparse[0].set_length(5);
    add(sparse, "sparse", b"data!");

    let capability = b"\x01\n=\0";
    let extensions = [
        ("SCHILY.xattr.security.capability", &capability[..]),
        ("LIBARCHIVE.xattr.user.a%20b", b"AAAA"),
        ("size", b"3"),
        ("uid", b"4000000000"),
        ("mtime", b"-1.5"),
        ("path", b"pax/name"),
    ];
    builder.append_pax_extensions(extensions).unwrap();
    builder
        .append_data(&mut header(EntryType::Regular, 3), "x", &b"abc"[..])
        .unwrap();
    for version in [
        &[
            ("GNU.sparse.map", &b"0,1,9,2"[..]),
            ("GNU.sparse.size", b"20"),
        ][..],
        &[
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.size", b"20"),
        ],
    ] {
        builder
            .append_pax_extensions(version.iter().copied())
            .unwrap();
        builder
            .append_data(&mut header(EntryType::Regular, 3), "x", &b"abc"[..])
            .unwrap();
    }
    let version = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"99"),
    ];
    builder.append_pax_extensions(version).unwrap();
    let mut map = b"2\n0\n1\n50\n2\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"abc");
    builder
        .append_data(&mut header(EntryType::Regular, 515), "x", &map[..])
        .unwrap();
    let long = "long/".repeat(60);
    builder
        .append_link(
            &mut header(EntryType::Symlink, 0),
            long.clone() + "name",
            long,
        )
        .unwrap();
    builder.into_inner().unwrap()
}

/// Makes the checksums of the headers right again, so that a mutation is not refused before it is
/// looked at. `original` tells which blocks are headers.
fn repair_headers(tar: &mut [u8], original: &[u8]) {
    for (block, original) in tar.chunks_exact_mut(512).zip(original.chunks_exact(512)) {
        let mut before = Header::from_byte_slice(original).clone();
        before.set_cksum();
        if before.as_bytes()[..] == *original && original[0] != 0 {
            let mut header = Header::from_byte_slice(block).clone();
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Reads `blob` as a layer with the right digest. What comes of it is not asked.
fn must_return(blob: &[u8], tar: &[u8]) -> bool {
    let limits = Limits::default();
    read(&descriptor(blob, tar), blob, &mut Nowhere, &limits).is_ok()
}

#[test]
fn unmutated_is_read() {
    let tar = every_kind();
    assert!(must_return(&tar, &tar));
    assert!(must_return(&gzip(&tar), &tar));
    assert!(must_return(&zstd::encode_all(&tar[..], 1).unwrap(), &tar));
}

/// Bytes that mean something in a header, a record or a map.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        proptest::sample::select(&b"\0\n =,0179xgLKSD/.\x80\xff"[..]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn mutated_archives(
        mutations in vec((any::<prop::sample::Index>(), byte()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        repair in any::<bool>(),
    ) {
        let original = every_kind();
        let mut tar = original.clone();
        for (at, byte) in mutations {
            let at = at.index(tar.len());
            tar[at] = byte;
        }
        if repair {
            repair_headers(&mut tar, &original);
        }
        if let Some(cut) = cut {
            tar.truncate(cut.index(tar.len()));
        }
        must_return(&tar, &tar);
    }

    #[test]
    fn mutated_blobs(
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        zstd in any::<bool>(),
    ) {
        let tar = every_kind();
        let mut blob = if zstd { zstd::encode_all(&tar[..], 1).unwrap() } else { gzip(&tar) };
        for (at, byte) in mutations {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        must_return(&blob, &tar);
    }

    #[test]
    fn noise(noise in vec(any::<u8>(), 0..3000), magic in 0..4usize) {
        let magic = [&b""[..], b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"][magic];
        let blob = [magic, &noise].concat();
        must_return(&blob, &noise);
    }
}
