//! One form for a tree, wherever it was read from, so that two can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use import_oci::bodies::{BodyStore as _, MemoryStore};
use import_oci::digest::Digest;
use import_oci::entry::EntryKind;
use import_oci::layer::{Limits, read};
use import_oci::metadata::Special;
use import_oci::path::{ImagePath, escape};
use import_oci::source::LayerDescriptor;
use rustix::fs::{lgetxattr, llistxattr};

/// A tree: everything under its path. Names of one file are not told apart, they share `links`.
pub type Snapshot = BTreeMap<ImagePath, Node>;

/// A file, directory or link.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first of the names that this file has in the tree.
    pub links: Option<ImagePath>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File { size: u64, digest: Digest },
    Symlink(Vec<u8>),
    Special(Special),
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, uid, gid, .. } = self;
        write!(f, "{:?} {mode:o} {uid}:{gid} @{}", self.kind, self.mtime)?;
        for (name, value) in &self.xattrs {
            write!(f, " {}={:?}", escape(name), escape(value))?;
        }
        match &self.links {
            Some(first) => write!(f, " = {first}"),
            None => Ok(()),
        }
    }
}

/// The descriptor of a plain tar, or of what passes for one.
pub fn descriptor(blob: &[u8], tar: &[u8]) -> LayerDescriptor {
    LayerDescriptor {
        index: 0,
        digest: Digest::of(blob),
        size: blob.len() as u64,
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        diff_id: Digest::of(tar),
        unpacked: false,
    }
}

/// What `read` makes of a plain tar.
pub fn of_archive(tar: &[u8]) -> Snapshot {
    let mut sink = MemoryStore::new(0);
    let layer = read(&descriptor(tar, tar), tar, &mut sink, &Limits::default())
        .unwrap_or_else(|error| panic!("{error:#}"));
    assert!(layer.report.notes().is_empty(), "{:?}", layer.report);
    assert_eq!(layer.uncompressed_size, tar.len() as u64);

    let mut nodes = Snapshot::new();
    for entry in layer.entries {
        let kind = match entry.kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink(target) => Kind::Symlink(target.into()),
            EntryKind::Special(special) => Kind::Special(special),
            EntryKind::File { body, size } => {
                assert_eq!(sink.size(body.index), size);
                let mut bytes = vec![0; size as usize];
                assert_eq!(
                    sink.read_at(body.index, 0, &mut bytes).unwrap(),
                    bytes.len()
                );
                let digest = Digest::of(&bytes);
                Kind::File { size, digest }
            }
            EntryKind::Hardlink(target) => {
                let first = nodes.get_mut(&target).expect("a link to an earlier name");
                first.links = Some(target);
                let node = first.clone();
                nodes.insert(entry.path, node);
                continue;
            }
        };
        let xattrs = entry.metadata.xattrs.into_iter();
        let node = Node {
            kind,
            mode: entry.metadata.mode,
            uid: entry.metadata.uid,
            gid: entry.metadata.gid,
            mtime: entry.metadata.mtime,
            xattrs: xattrs.map(|(k, v)| (k.into(), v.into())).collect(),
            links: None,
        };
        let before = nodes.insert(entry.path, node);
        assert!(before.is_none(), "nothing is written twice");
    }
    name_links_by_their_first(&mut nodes);
    nodes
}

/// What lies on disk at the names `tops` in `root`.
pub fn of_disk(root: &Path, tops: &[&str]) -> Snapshot {
    let mut nodes = Snapshot::new();
    let mut inodes = BTreeMap::new();
    let mut pending: Vec<_> = tops.iter().map(|top| root.join(top)).collect();
    while let Some(file) = pending.pop() {
        let name = file.strip_prefix(root).unwrap();
        let path = ImagePath::parse(name.as_os_str().as_bytes()).unwrap();
        let metadata = file.symlink_metadata().unwrap();
        let file_type = metadata.file_type();
        let kind = if file_type.is_dir() {
            pending.extend(fs::read_dir(&file).unwrap().map(|f| f.unwrap().path()));
            Kind::Directory
        } else if file_type.is_symlink() {
            let target = fs::read_link(&file).unwrap();
            Kind::Symlink(target.as_os_str().as_bytes().to_vec())
        } else if file_type.is_fifo() {
            Kind::Special(Special::Fifo)
        } else {
            let bytes = fs::read(&file).unwrap();
            let digest = Digest::of(&bytes);
            let size = bytes.len() as u64;
            Kind::File { size, digest }
        };
        let links = (metadata.nlink() > 1 && kind != Kind::Directory)
            .then(|| inodes.entry(metadata.ino()).or_insert(path.clone()).clone());
        let node = Node {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            xattrs: xattrs(&file).unwrap(),
            links,
        };
        nodes.insert(path, node);
    }
    name_links_by_their_first(&mut nodes);
    nodes
}

/// Which name comes first depends on who walked the tree; the smallest does not.
fn name_links_by_their_first(nodes: &mut Snapshot) {
    let mut smallest = BTreeMap::new();
    for (path, node) in nodes.iter() {
        if let Some(link) = &node.links {
            smallest.entry(link.clone()).or_insert(path.clone());
        }
    }
    for node in nodes.values_mut() {
        if let Some(link) = &mut node.links {
            *link = smallest[link].clone();
        }
    }
}

fn xattrs(file: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = [0; 4096];
    let length = llistxattr(file, &mut names)?;
    let mut xattrs = BTreeMap::new();
    for name in names[..length].split(|&b| b == 0) {
        if name.starts_with(b"user.") {
            let mut value = [0; 4096];
            let length = lgetxattr(file, name, &mut value)?;
            xattrs.insert(name.to_vec(), value[..length].to_vec());
        }
    }
    Ok(xattrs)
}

/// Compares two snapshots and shows only where they differ.
#[track_caller]
pub fn assert_same(what: &str, found: &Snapshot, want: &Snapshot) {
    let mut differences = String::new();
    for path in found
        .keys()
        .chain(want.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (found, want) = (found.get(path), want.get(path));
        if found != want {
            differences.push_str(&format!("{path}\n  found {found:?}\n  want  {want:?}\n"));
        }
    }
    assert!(differences.is_empty(), "{what}:\n{differences}");
    assert!(!want.is_empty(), "{what}: nothing to compare");
}
