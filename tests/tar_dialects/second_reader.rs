//! The same archives, read by the `tar-core` crate.

use import_oci::bodies::{BodyStore as _, MemoryStore};
use import_oci::entry::{Entry, EntryKind};
use import_oci::layer::{Limits, read};
use import_oci::metadata::Special;
use import_oci::path::ImagePath;
use tar_core::parse::{ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, SparseEntry};

use crate::snapshot::descriptor;

/// Asserts that both readers see the same entries, in the same order, with the same content.
///
/// Left out is what `tar-core` has not: `LIBARCHIVE.xattr` (bsdtar writes both kinds unless told
/// otherwise), times before 1970, and the end of an archive at a lone zero block.
pub fn check(what: &str, tar: &[u8]) {
    let mut sink = MemoryStore::new(0);
    let layer = read(&descriptor(tar, tar), tar, &mut sink, &Limits::default()).unwrap();
    let mut ours = layer.entries.iter();

    let mut parser = Parser::with_defaults();
    parser.set_ignore_pax_errors(true);
    let mut rest = tar;
    loop {
        let event = parser
            .parse(rest)
            .unwrap_or_else(|error| panic!("{what}: tar-core: {error}"));
        let (consumed, theirs, map) = match event {
            ParseEvent::End { .. } => break,
            ParseEvent::NeedData { .. } => panic!("{what}: tar-core wants more"),
            ParseEvent::GlobalExtensions { consumed, .. } => {
                rest = &rest[consumed..];
                continue;
            }
            ParseEvent::Entry { consumed, entry } => (consumed, entry, None),
            ParseEvent::SparseEntry {
                consumed,
                entry,
                sparse_map,
                real_size,
            } => (consumed, entry, Some((sparse_map, real_size))),
        };
        let data = &rest[consumed..][..theirs.size as usize];
        let ours = ours
            .next()
            .unwrap_or_else(|| panic!("{what}: tar-core has {} too", theirs.path_lossy()));
        compare(what, ours, &theirs);
        if let EntryKind::File { body, size } = ours.kind {
            let want = match &map {
                Some((map, real_size)) => expand(data, map, *real_size),
                None => data.to_vec(),
            };
            let mut bytes = vec![0; size as usize];
            sink.read_at(body.index, 0, &mut bytes).unwrap();
            assert!(bytes == want, "{what}: content of {}", ours.path);
        }
        rest = &rest[(consumed + theirs.padded_size() as usize).min(rest.len())..];
    }
    assert_eq!(ours.next(), None, "{what}: tar-core has fewer entries");
}

fn compare(what: &str, ours: &Entry, theirs: &ParsedEntry<'_>) {
    let at = format!("{what}: {}", ours.path);
    assert_eq!(ours.path, ImagePath::parse(&theirs.path).unwrap(), "{what}");
    let link = || theirs.link_target.as_deref().unwrap_or_default();
    let (major, minor) = (
        theirs.dev_major.unwrap_or_default(),
        theirs.dev_minor.unwrap_or_default(),
    );
    let body = match ours.kind {
        EntryKind::File { body, size } => Some((body, size)),
        _ => None,
    };
    let want = match theirs.entry_type {
        // V7 has no other way to say so.
        EntryType::Regular if theirs.path.ends_with(b"/") => EntryKind::Directory,
        // GNU's incremental dumps.
        EntryType::Other(b'D') | EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink(link().into()),
        EntryType::Link => EntryKind::Hardlink(ImagePath::parse(link()).unwrap()),
        EntryType::Fifo => EntryKind::Special(Special::Fifo),
        EntryType::Char => EntryKind::Special(Special::CharDevice { major, minor }),
        EntryType::Block => EntryKind::Special(Special::BlockDevice { major, minor }),
        _ => {
            let (body, size) = body.unwrap_or_else(|| panic!("{at}: {:?}", theirs.entry_type));
            EntryKind::File { body, size }
        }
    };
    assert_eq!(ours.kind, want, "{at}");
    let metadata = &ours.metadata;
    assert_eq!(metadata.mode, theirs.mode & 0o7777, "{at}");
    assert_eq!(u64::from(metadata.uid), theirs.uid, "{at}");
    assert_eq!(u64::from(metadata.gid), theirs.gid, "{at}");
    if metadata.mtime >= 0 {
        assert_eq!(metadata.mtime as u64, theirs.mtime, "{at}");
    }
    for (name, value) in &theirs.xattrs {
        assert_eq!(
            metadata.xattrs.get(&**name).map(|v| &**v),
            Some(&**value),
            "{at}"
        );
    }
}

fn expand(data: &[u8], map: &[SparseEntry], size: u64) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    let mut rest = data;
    for segment in map {
        let (piece, behind) = rest.split_at(segment.length as usize);
        bytes[segment.offset as usize..][..piece.len()].copy_from_slice(piece);
        rest = behind;
    }
    bytes
}
