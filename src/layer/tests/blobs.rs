//! Blobs that are not what their descriptor, media type or image says.

use super::*;
use crate::bodies::BodyId;
use crate::bodies::MemoryStore;

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

/// A store that keeps layers unpacked has no blob to check, and its tar is checked all the more.
#[test]
fn unpacked_layers_are_their_diff_id() {
    let (blob, tar) = good();
    let layer = LayerDescriptor {
        unpacked: true,
        ..descriptor(TAR_GZIP, &blob, &tar)
    };
    let read = verdict(&layer, &tar).unwrap();
    assert_eq!(read.uncompressed_size, tar.len() as u64);
    assert!(read.report.notes().is_empty(), "{:?}", read.report);
    let damages = [
        blob,
        tar[..tar.len() - 1].to_vec(),
        [&tar[..], b"x"].concat(),
        tar[600..].to_vec(),
        Vec::new(),
    ];
    for damaged in damages {
        let error = verdict(&layer, &damaged).unwrap_err();
        assert!(
            matches!(error, LayerError::DiffIdMismatch { expected, found }
                if expected == layer.diff_id && found == Digest::of(&damaged)),
            "{error}"
        );
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
