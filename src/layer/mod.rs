//! From the bytes of a layer blob to its entries.
//!
//! A layer is read once: the blob is digested, decompressed, digested again (the diff_id) and
//! parsed as tar in one pass, bodies going straight to a [`BodySink`].
//! Nothing leaves this module as good before size, digest and diff_id matched.

use std::io::{self, BufRead, Read};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context as _;

use crate::bodies::BodySink;
use crate::compression::{Compression, MAGIC};
use crate::digest::{Digest, HashingReader};
use crate::entry::Entry;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::source::LayerDescriptor;

mod compression;
mod error;
mod media_type;
mod parallel;
mod pipe;
mod tar;

use compression::PeekReader;

pub use crate::tar_format::{Limits, TarError};
pub use error::LayerError;
pub use media_type::is_foreign;
pub use parallel::read_all;

/// A layer that was read and is what its image says.
#[derive(Debug)]
pub struct Layer {
    /// The entries in the order of the archive.
    pub entries: Vec<Entry>,
    /// What was odd about it.
    pub report: Report,
    /// Size of the decompressed tar stream in bytes.
    pub uncompressed_size: u64,
}

/// Size in bytes of what is read from a blob at once.
const READ_BUFFER: usize = 256 * 1024;

/// Reads the layer that `layer` describes from `blob`, its bytes as stored, in one pass: contents
/// go to `sink`, everything else is returned.
///
/// Of an [unpacked](LayerDescriptor::unpacked) layer `blob` is the tar, and its diff_id all that
/// is verified.
///
/// A thread of its own reads, digests and decompresses the blob while the calling one digests the
/// result, parses it and feeds `sink`. Size, digest and diff_id are verified; a blob that is not
/// the one described is reported as such, whatever it made the parser stumble over. The error is a
/// [`LayerError`] in a context that names the layer. What `sink` was given before an error is
/// worth nothing.
pub fn read(
    layer: &LayerDescriptor,
    blob: impl Read + Send,
    sink: &mut dyn BodySink,
    limits: &Limits,
) -> anyhow::Result<Layer> {
    read_verified(layer, blob, sink, limits).with_context(|| layer.to_string())
}

fn read_verified(
    layer: &LayerDescriptor,
    blob: impl Read + Send,
    sink: &mut dyn BodySink,
    limits: &Limits,
) -> Result<Layer, LayerError> {
    let promised = match media_type::compression(&layer.media_type)? {
        _ if layer.unpacked => Compression::None,
        promised => promised,
    };
    let given_up = AtomicBool::new(false);
    let blob = Abandonable {
        inner: blob,
        given_up: &given_up,
    };
    // One byte more than there should be is enough to know that a blob is too long.
    let limit = match layer.unpacked {
        true => u64::MAX,
        false => layer.size.saturating_add(1),
    };
    let blob = HashingReader::new(blob.take(limit));
    let mut blob = PeekReader::new(blob, READ_BUFFER);
    let start = blob.peek(MAGIC).map_err(LayerError::Read)?;
    let compression = match Compression::sniff(start) {
        Ok(compression) => compression,
        Err(unsupported) => {
            verify_blob(layer, blob)?;
            return Err(unsupported.into());
        }
    };

    let mut report = Report::default();
    let mut warn = |detail| report.note("layer", Action::Warning, &ImagePath::root(), detail);
    if compression != promised {
        warn(format!(
            "{layer} is {compression}, its media type says {promised}"
        ));
    }
    // The diff_id of a plain tar is the digest of its blob, which is verified.
    let (writer, stream) = pipe::pipe(compression != Compression::None);
    let (parsed, unpacked) = thread::scope(|scope| {
        let unpacking = scope.spawn(|| unpack(layer, blob, compression, writer));
        let parsed = parse(stream, sink, limits);
        if matches!(&parsed, Err(error) if error.is_store()) {
            given_up.store(true, Ordering::Relaxed);
        }
        (parsed, unpacking.join())
    });
    let parsed = match parsed {
        Err(error) if error.is_store() => return Err(error),
        parsed => parsed,
    };
    let garbage = unpacked.unwrap_or_else(|panic| resume_unwind(panic))?;
    let parsed = parsed?;
    let diff_id = parsed.digest.unwrap_or(match layer.unpacked {
        true => layer.diff_id,
        false => layer.digest,
    });
    if diff_id != layer.diff_id {
        return Err(LayerError::DiffIdMismatch {
            expected: layer.diff_id,
            found: diff_id,
        });
    }

    for (garbage, place) in [(garbage, "compressed stream"), (parsed.garbage, "archive")] {
        if garbage > 0 {
            warn(format!(
                "{layer} has {garbage} bytes behind the end of its {place}: ignored"
            ));
        }
    }
    report.append(parsed.report);
    Ok(Layer {
        entries: parsed.entries,
        report,
        uncompressed_size: parsed.size,
    })
}

/// Decompresses `blob` into `stream` and verifies it. A stream that the parser left is not
/// decompressed further, but the blob is still read to its end: its digest decides what is to
/// blame. Returns how much garbage stands behind the compressed stream.
fn unpack<R: Read>(
    layer: &LayerDescriptor,
    mut blob: PeekReader<HashingReader<R>>,
    compression: Compression,
    mut stream: pipe::Writer,
) -> Result<u64, LayerError> {
    let unpacked = compression::unpack(compression, &mut blob, |source| stream.send_all(source))
        .and_then(|()| stream.flush());
    let parser_left = stream.is_closed();
    drop(stream);
    match unpacked {
        Err(error) if blob.failed() => Err(LayerError::Read(error)),
        Err(_) if parser_left => verify_blob(layer, blob),
        Err(source) => {
            verify_blob(layer, blob)?;
            Err(match source.kind() {
                io::ErrorKind::UnexpectedEof => LayerError::Truncated(compression),
                _ => LayerError::Damaged {
                    compression,
                    source,
                },
            })
        }
        Ok(()) => verify_blob(layer, blob),
    }
}

/// Reads `blob` to its end and verifies size and digest. Returns how much garbage there was.
fn verify_blob<R: Read>(
    layer: &LayerDescriptor,
    mut blob: PeekReader<HashingReader<R>>,
) -> Result<u64, LayerError> {
    let garbage = drain(&mut blob).map_err(LayerError::Read)?;
    let (digest, size) = blob.into_inner().finish();
    if layer.unpacked {
        return match digest == layer.diff_id {
            true => Ok(garbage),
            false => Err(LayerError::DiffIdMismatch {
                expected: layer.diff_id,
                found: digest,
            }),
        };
    }
    if size != layer.size {
        return Err(LayerError::SizeMismatch {
            expected: layer.size,
            found: size,
        });
    }
    if digest != layer.digest {
        return Err(LayerError::DigestMismatch {
            expected: layer.digest,
            found: digest,
        });
    }
    Ok(garbage)
}

/// What the parsing thread has to say.
struct Parsed {
    entries: Vec<Entry>,
    report: Report,
    /// Bytes behind the end of the archive that are not padding.
    garbage: u64,
    /// Digest of the stream, if it was asked for.
    digest: Option<Digest>,
    /// Size of the stream in bytes.
    size: u64,
}

/// Parses `stream`. Takes it, so that the unpacking thread never waits for a parser that gave up.
fn parse(
    mut stream: pipe::Reader,
    sink: &mut dyn BodySink,
    limits: &Limits,
) -> Result<Parsed, LayerError> {
    let mut report = Report::default();
    let entries = tar::read_entries(&mut stream, sink, limits, &mut report)?;
    let garbage = drain(&mut stream).map_err(LayerError::Read)?;
    let (digest, size) = stream.finish();
    Ok(Parsed {
        entries,
        report,
        garbage,
        digest,
        size,
    })
}

/// Reads to the end of a stream. Returns how many bytes there were if they are more than padding,
/// that is, not all zero.
fn drain(stream: &mut impl BufRead) -> io::Result<u64> {
    let (mut count, mut padding) = (0, true);
    loop {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            return Ok(if padding { 0 } else { count });
        }
        padding &= bytes.iter().all(|&b| b == 0);
        let n = bytes.len();
        count += n as u64;
        stream.consume(n);
    }
}

/// A reader that fails once nobody needs it any more: a full disk is told at once, not when the
/// rest of a large blob has been fetched for its digest.
struct Abandonable<'a, R> {
    inner: R,
    given_up: &'a AtomicBool,
}

impl<R: Read> Read for Abandonable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(io::Error::other("abandoned"));
        }
        self.inner.read(buffer)
    }
}

#[cfg(test)]
mod tests;
