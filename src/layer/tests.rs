//! What no writer makes on purpose: headers by hand, and blobs that are not what they should be.

use std::io::Write as _;

use ::tar::{EntryType, Header};
use flate2::write::GzEncoder;

use super::*;

mod blobs;
mod dialects;

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
        unpacked: false,
    }
}
