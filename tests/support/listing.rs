//! Trees as they are found, in a directory or in a commit, in a form that can be compared.
#![allow(dead_code, reason = "no test target uses all of it")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use import_oci::digest::{Digest, HashingReader};
use import_oci::path::escape;
use ostree::gio::prelude::*;
use ostree::{ObjectType, Repo, gio};

const NOT_CANCELLED: Option<&gio::Cancellable> = gio::Cancellable::NONE;

/// What lies at each path; paths have no leading slash, the root is empty.
pub type Listing = BTreeMap<Vec<u8>, Node>;

pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// All that a commit says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub xattrs: Xattrs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File {
        content: Digest,
        size: u64,
    },
    Symlink(Vec<u8>),
    /// What no commit holds, in words.
    Special(String),
}

impl Node {
    /// A directory of root's without xattrs.
    pub fn directory(mode: u32) -> Self {
        Self {
            kind: Kind::Directory,
            mode,
            uid: 0,
            gid: 0,
            xattrs: Xattrs::new(),
        }
    }

    /// A link of root's without xattrs.
    pub fn symlink(target: &[u8]) -> Self {
        Self {
            kind: Kind::Symlink(target.to_vec()),
            ..Self::directory(0o777)
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Directory => f.write_str("directory")?,
            Kind::File { content, size } => write!(f, "file {size} {content}")?,
            Kind::Symlink(target) => write!(f, "symlink -> {}", escape(target))?,
            Kind::Special(what) => f.write_str(what)?,
        }
        write!(f, " {:04o} {}:{}", self.mode, self.uid, self.gid)?;
        for (name, value) in &self.xattrs {
            write!(f, " {}=\"{}\"", escape(name), escape(value))?;
        }
        Ok(())
    }
}

/// Fails with every difference: `-` what was expected, `+` what was found.
#[track_caller]
pub fn assert_equal(expected: &Listing, found: &Listing) {
    let mut differences = Vec::new();
    let mut line = |sign: char, path: &[u8], node: Option<&Node>| {
        differences.extend(node.map(|node| format!("{sign} /{} {node}", escape(path))));
    };
    for (path, node) in expected {
        if found.get(path) != Some(node) {
            line('-', path, Some(node));
            line('+', path, found.get(path));
        }
    }
    for (path, node) in found {
        if !expected.contains_key(path) {
            line('+', path, Some(node));
        }
    }
    assert!(
        differences.is_empty(),
        "{} lines differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Does `path` lie below `directory`?
pub fn is_below(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.starts_with(b"/") || directory.is_empty() && !rest.is_empty())
}

/// A directory on disk: what lies below it, and which paths are names of the same file.
#[derive(Debug)]
pub struct Directory {
    pub listing: Listing,
    /// All names of each file that has several.
    pub hardlinks: Vec<Vec<Vec<u8>>>,
}

/// Reads a directory, itself included, without following links.
pub fn read_directory(root: &Path) -> io::Result<Directory> {
    let mut listing = Listing::new();
    let mut inodes: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let place = root.join(std::ffi::OsStr::from_bytes(&path));
        let metadata = fs::symlink_metadata(&place)?;
        let node = Node {
            kind: kind_on_disk(&place, &metadata)?,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            xattrs: xattrs_on_disk(&place)?,
        };
        if node.kind == Kind::Directory {
            for entry in fs::read_dir(&place)? {
                pending.push(join(&path, &entry?.file_name().into_vec()));
            }
        } else if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            inodes.entry(inode).or_default().push(path.clone());
        }
        listing.insert(path, node);
    }
    Ok(Directory {
        listing,
        hardlinks: inodes.into_values().collect(),
    })
}

fn kind_on_disk(place: &Path, metadata: &Metadata) -> io::Result<Kind> {
    let kind = metadata.file_type();
    let device = |what: &str| {
        let (major, minor) = (
            rustix::fs::major(metadata.rdev()),
            rustix::fs::minor(metadata.rdev()),
        );
        Kind::Special(format!("{what} device {major}:{minor}"))
    };
    Ok(match kind {
        _ if kind.is_dir() => Kind::Directory,
        _ if kind.is_symlink() => Kind::Symlink(fs::read_link(place)?.into_os_string().into_vec()),
        _ if kind.is_char_device() => device("character"),
        _ if kind.is_block_device() => device("block"),
        _ if kind.is_fifo() => Kind::Special("FIFO".to_owned()),
        _ if kind.is_socket() => Kind::Special("socket".to_owned()),
        _ => file(File::open(place)?)?,
    })
}

fn xattrs_on_disk(place: &Path) -> io::Result<Xattrs> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(place, &mut names[..])?;
    let names = names[..length].split(|&byte| byte == 0);
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(place, name, &mut value[..])?;
            value.truncate(length);
            Ok((name.to_vec(), value))
        })
        .collect()
}

fn file(content: impl Read) -> io::Result<Kind> {
    let mut reader = HashingReader::new(content);
    io::copy(&mut reader, &mut io::sink())?;
    let (content, size) = reader.finish();
    Ok(Kind::File { content, size })
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

/// The tree of a commit: what lies at each path, and the objects of what is not a directory.
#[derive(Debug, Default)]
pub struct Commit {
    pub listing: Listing,
    pub objects: BTreeMap<Vec<u8>, String>,
}

/// `a(say)`: names and checksums of files. `a(sayay)`: of directories.
type DirTree = (Vec<(String, Vec<u8>)>, Vec<(String, Vec<u8>, Vec<u8>)>);
/// Owner, group and mode, big endian, and xattrs, whose names end in a NUL.
type DirMeta = (u32, u32, u32, Vec<(Vec<u8>, Vec<u8>)>);

/// Reads a commit with libostree, object by object.
pub fn read_commit(repo: &Path, checksum: &str) -> Commit {
    let repo = open(repo);
    let (commit, _) = repo.load_commit(checksum).unwrap();
    let [tree, meta] = [6, 7].map(|index| commit.child_value(index).get::<Vec<u8>>().unwrap());
    let mut found = Commit::default();
    let mut pending = vec![(Vec::new(), tree, meta)];
    while let Some((path, tree, meta)) = pending.pop() {
        let load = |kind, checksum: &[u8]| repo.load_variant(kind, &hex::encode(checksum)).unwrap();
        let (uid, gid, mode, xattrs): DirMeta = load(ObjectType::DirMeta, &meta).get().unwrap();
        let node = Node {
            kind: Kind::Directory,
            mode: permissions(u32::from_be(mode), 0o040_000),
            uid: u32::from_be(uid),
            gid: u32::from_be(gid),
            xattrs: named(xattrs),
        };
        found.listing.insert(path.clone(), node);
        let (files, directories): DirTree = load(ObjectType::DirTree, &tree).get().unwrap();
        for (name, checksum) in files {
            let (path, checksum) = (join(&path, name.as_bytes()), hex::encode(checksum));
            let node = read_file(&repo, &checksum);
            found.listing.insert(path.clone(), node);
            found.objects.insert(path, checksum);
        }
        for (name, tree, meta) in directories {
            pending.push((join(&path, name.as_bytes()), tree, meta));
        }
    }
    found
}

/// Opens a repo with libostree.
pub fn open(repo: &Path) -> Repo {
    let repo = Repo::new_for_path(repo);
    repo.open(NOT_CANCELLED).unwrap();
    repo
}

fn read_file(repo: &Repo, checksum: &str) -> Node {
    let (content, info, xattrs) = repo.load_file(checksum, NOT_CANCELLED).unwrap();
    let [uid, gid, mode] =
        ["unix::uid", "unix::gid", "unix::mode"].map(|name| info.attribute_uint32(name));
    let (kind, file_type) = match content {
        Some(content) => (file(content.into_read()).unwrap(), 0o100_000),
        None => {
            let target = info.symlink_target().expect("neither a file nor a link");
            (Kind::Symlink(target.into_os_string().into_vec()), 0o120_000)
        }
    };
    Node {
        kind,
        mode: permissions(mode, file_type),
        uid,
        gid,
        xattrs: named(xattrs.get().unwrap()),
    }
}

/// A mode without its type, which must be this one.
fn permissions(mode: u32, file_type: u32) -> u32 {
    assert_eq!(mode & !0o7777, file_type, "{mode:o}");
    mode & 0o7777
}

fn named(xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Xattrs {
    let names = xattrs.iter().map(|(name, _)| name);
    assert!(names.is_sorted(), "xattrs are not sorted");
    let count = xattrs.len();
    let named: Xattrs = xattrs
        .into_iter()
        .map(|(mut name, value)| {
            assert_eq!(name.pop(), Some(0), "names of xattrs end in a NUL");
            (name, value)
        })
        .collect();
    assert_eq!(named.len(), count, "an xattr stands twice");
    named
}
