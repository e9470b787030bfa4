use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// What is written comes back, with the bodies numbered.
fn number_bodies(mut record: LayerRecord, store: u32) -> LayerRecord {
    let mut count = 0;
    for entry in &mut record.entries {
        if let EntryKind::File { body, .. } = &mut entry.kind {
            *body = BodyId {
                store,
                index: count,
            };
            count += 1;
        }
    }
    record
}

fn path() -> impl Strategy<Value = ImagePath> {
    let name = vec(any::<u8>(), 1..8);
    vec(name, 0..4).prop_filter_map("a path", |names| ImagePath::parse(&names.join(&b'/')).ok())
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let bytes = || vec(any::<u8>(), 0..6).prop_map(Vec::into_boxed_slice);
    let xattrs = btree_map(bytes(), bytes(), 0..3);
    (
        0..=0o7777u32,
        any::<u32>(),
        any::<u32>(),
        any::<i64>(),
        xattrs,
    )
        .prop_map(|(mode, uid, gid, mtime, xattrs)| Metadata {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
}

fn kind() -> impl Strategy<Value = EntryKind> {
    let device = || (any::<u32>(), any::<u32>());
    let body = BodyId { store: 9, index: 9 };
    prop_oneof![
        Just(EntryKind::Directory),
        any::<u64>().prop_map(move |size| EntryKind::File { body, size }),
        vec(1..=255u8, 1..9).prop_map(|target| EntryKind::Symlink(target.into())),
        path().prop_map(EntryKind::Hardlink),
        device()
            .prop_map(|(major, minor)| EntryKind::Special(Special::CharDevice { major, minor })),
        device()
            .prop_map(|(major, minor)| EntryKind::Special(Special::BlockDevice { major, minor })),
        Just(EntryKind::Special(Special::Fifo)),
        Just(EntryKind::Special(Special::Socket)),
    ]
}

fn record() -> impl Strategy<Value = LayerRecord> {
    let entry = (path(), kind(), metadata()).prop_map(|(path, kind, metadata)| Entry {
        path,
        kind,
        metadata,
    });
    let label = || {
        let some = prop_oneof![Just("a:b:c"), Just("ü"), Just("")];
        proptest::option::of(some).prop_map(|label| label.map(Arc::<str>::from))
    };
    let file = (any::<[u8; 32]>(), label()).prop_map(|(object, label)| StoredFile {
        object: Digest::from_bytes(object),
        label,
    });
    let start = |(file, bytes): (u32, Vec<u8>)| FileStart {
        file,
        bytes: bytes.into(),
    };
    let note = (
        proptest::sample::select(&ACTIONS[..]),
        path(),
        any::<String>(),
    );
    (
        any::<[u8; 32]>(),
        (any::<u64>(), any::<Option<[u8; 32]>>()),
        vec(note, 0..4),
        vec((entry, file, label()), 0..12),
        vec((any::<u32>(), vec(any::<u8>(), 0..5)), 0..3),
    )
        .prop_map(
            move |(diff_id, (uncompressed_size, policy), notes, entries, starts)| {
                let mut report = Report::default();
                for (action, path, detail) in notes {
                    report.note(STAGE, action, &path, detail);
                }
                let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
                let files = entries.iter().filter(|(entry, ..)| is_file(entry));
                LayerRecord {
                    diff_id: Digest::from_bytes(diff_id),
                    uncompressed_size,
                    checked_policy: policy.map(Digest::from_bytes),
                    report,
                    files: files.map(|(_, file, _)| file.clone()).collect(),
                    starts: starts.into_iter().map(start).collect(),
                    labels: entries.iter().map(|(.., label)| label.clone()).collect(),
                    entries: entries.into_iter().map(|(entry, ..)| entry).collect(),
                }
            },
        )
}

proptest! {
    #[test]
    fn comes_back(record in record(), store: u32) {
        let encoded = record.encode().unwrap();
        prop_assert_eq!(LayerRecord::decode(&encoded, store), Ok(number_bodies(record, store)));
    }

    /// Anything is refused, or is the one form of something.
    #[test]
    fn takes_anything(bytes in vec(any::<u8>(), 0..200)) {
        LayerRecord::decode(&bytes, 0).ok();
        let of = |bytes: &[u8]| LayerRecord::deserialise(Reader::new(bytes), 0);
        if let Ok(record) = of(&bytes) {
            prop_assert_eq!(of(&record.serialise()), Ok(record));
        }
    }

    /// The same, closer to home.
    #[test]
    fn takes_damage(record in record(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = record.serialise();
        let whole = bytes.clone();
        bytes[at.index(whole.len())] = byte;
        let of = |bytes: &[u8]| LayerRecord::deserialise(Reader::new(bytes), 0);
        if let Ok(record) = of(&bytes) {
            prop_assert_eq!(of(&record.serialise()), Ok(record));
        }
        let cut = cut.index(whole.len());
        prop_assert!(of(&whole[..cut]).is_err());
    }
}

#[test]
fn numbers() {
    for signed in [0, 1, -1, 63, -64, i64::MAX, i64::MIN] {
        assert_eq!(unzigzag(zigzag(signed)), signed);
    }
    assert_eq!([zigzag(-1), zigzag(1)], [1, 2]);
    for value in [0, 1, 0x7f, 0x80, u64::from(u32::MAX), u64::MAX] {
        let mut out = Vec::new();
        number(&mut out, value);
        assert_eq!(Reader::new(&out).number(), Ok(value));
    }
    let range = Err(RecordError::Range("number"));
    for bytes in [
        &[0x80, 0][..],
        &[0xff; 11],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
    ] {
        assert_eq!(Reader::new(bytes).number(), range, "{bytes:x?}");
    }
}

#[test]
fn hostile_bytes() {
    let compressed = |plain: &[u8]| {
        let mut bytes = vec![VERSION];
        bytes.extend(zstd::encode_all(plain, 1).unwrap());
        bytes
    };
    // A list that claims more than there is, and a frame that unpacks to more than memory.
    let claims = [&[0; 32][..], &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let bomb = vec![0; LARGEST_DECOMPRESSED as usize + 1];
    for (bytes, error) in [
        (Vec::new(), RecordError::Truncated),
        (vec![VERSION + 1], RecordError::Version(VERSION + 1)),
        (compressed(b""), RecordError::Truncated),
        (compressed(&claims), RecordError::Truncated),
        (compressed(&[0; 39]), RecordError::TooLong(1)),
        (
            compressed(&bomb),
            RecordError::Compression("larger than any layer".to_owned()),
        ),
    ] {
        assert_eq!(LayerRecord::decode(&bytes, 0), Err(error));
    }
    let garbage = LayerRecord::decode(&[VERSION, 1, 2, 3, 4], 0);
    assert!(matches!(garbage, Err(RecordError::Compression(_))));
}
