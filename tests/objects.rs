//! Objects as we compute them against libostree's own code: its checksum function, its checking
//! writers and its validators, for every kind of object and every mode of repo.

use std::collections::BTreeMap;

use import_oci::digest::Digest;
use import_oci::metadata::{Metadata, Xattrs};
use import_oci::object::{FileHeader, MetadataKind, MetadataObject, dirmeta, dirtree};
use import_oci::path::ImagePath;
use ostree::gio::prelude::*;
use ostree::glib::{Bytes, Variant};
use ostree::{ObjectType, RepoMode, gio};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFDIR: u32 = 0o040_000;

/// Repos that libostree checks our objects with. Bare ones give files their owner: only root can.
struct Repos {
    _directory: tempfile::TempDir,
    repos: Vec<ostree::Repo>,
}

impl Repos {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut modes = vec![
            ("archive", RepoMode::Archive),
            ("bare-user", RepoMode::BareUser),
        ];
        if rustix::process::geteuid().is_root() {
            modes.push(("bare", RepoMode::Bare));
        } else {
            eprintln!("bare repo: not run: needs root");
        }
        let repos = modes
            .into_iter()
            .map(|(name, mode)| {
                let repo = ostree::Repo::new_for_path(directory.path().join(name));
                repo.create(mode, gio::Cancellable::NONE).unwrap();
                repo
            })
            .collect();
        Self {
            _directory: directory,
            repos,
        }
    }

    /// Every repo takes the object under our checksum, which libostree computes again.
    fn check_content(&self, object: &[u8], checksum: Digest) {
        for repo in &self.repos {
            let stream = gio::MemoryInputStream::from_bytes(&Bytes::from(object));
            let length = object.len() as u64;
            repo.write_content(
                Some(&checksum.hex()),
                &stream,
                length,
                gio::Cancellable::NONE,
            )
            .unwrap_or_else(|error| panic!("{:?} repo: {error}", repo.mode()));
            repo.fsck_object(ObjectType::File, &checksum.hex(), gio::Cancellable::NONE)
                .unwrap_or_else(|error| panic!("{:?} repo, fsck: {error}", repo.mode()));
        }
    }

    fn check_metadata(&self, object: &MetadataObject, expected: &Variant) {
        assert_eq!(&*object.bytes, expected.normal_form().data());
        let kind = match object.kind {
            MetadataKind::DirMeta => ObjectType::DirMeta,
            MetadataKind::DirTree => ObjectType::DirTree,
            MetadataKind::Commit => ObjectType::Commit,
        };
        let variant = Variant::from_data_with_type(
            object.bytes.clone(),
            &ostree::metadata_variant_type(kind),
        );
        assert!(variant.is_normal_form());
        for repo in &self.repos {
            let written = repo
                .write_metadata(kind, None, &variant, gio::Cancellable::NONE)
                .unwrap();
            assert_eq!(written.to_hex(), object.checksum.hex());
        }
    }
}

fn file_info(metadata: &Metadata, kind: u32, target: Option<&str>) -> gio::FileInfo {
    let info = gio::FileInfo::new();
    info.set_attribute_uint32("unix::uid", metadata.uid);
    info.set_attribute_uint32("unix::gid", metadata.gid);
    info.set_attribute_uint32("unix::mode", kind | metadata.mode);
    info.set_file_type(match kind {
        S_IFREG => gio::FileType::Regular,
        S_IFLNK => gio::FileType::SymbolicLink,
        _ => gio::FileType::Directory,
    });
    if let Some(target) = target {
        info.set_symlink_target(target);
    }
    info
}

/// `a(ayay)` built by GLib.
fn xattrs_variant(xattrs: &Xattrs) -> Variant {
    let pairs: Vec<_> = xattrs
        .iter()
        .map(|(name, value)| {
            let mut name = name.to_vec();
            name.push(0);
            (name, value.to_vec())
        })
        .collect();
    pairs.to_variant()
}

/// Xattrs that a filesystem of any kind takes, so that the bare repo can hold them.
fn any_xattrs() -> impl Strategy<Value = Xattrs> {
    let name = proptest::string::string_regex("(user|trusted)\\.[a-zé.]{1,40}").unwrap();
    let user = btree_map(name, vec(any::<u8>(), 1..300), 0..5);
    (user, any::<bool>()).prop_map(|(user, labelled)| {
        let mut xattrs: Xattrs = user
            .into_iter()
            .map(|(name, value)| (name.into_bytes().into(), value.into()))
            .collect();
        if labelled {
            let label = *b"system_u:object_r:shadow_t:s0\0";
            xattrs.insert((*b"security.selinux").into(), label.into());
        }
        xattrs
    })
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    (0..0o10000u32, 0..u32::MAX, 0..u32::MAX, any_xattrs()).prop_map(|(mode, uid, gid, xattrs)| {
        Metadata {
            mode,
            uid,
            gid,
            mtime: 7,
            xattrs,
        }
    })
}

fn any_name() -> impl Strategy<Value = String> {
    let long = vec(any::<char>(), 1..=60).prop_map(String::from_iter);
    let short = proptest::string::string_regex("[a-c.]{1,3}").unwrap();
    prop_oneof![long, short].prop_filter("a file name", |name| {
        !name.contains(['/', '\0']) && name != "." && name != ".."
    })
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn regular_files() {
    let repos = Repos::new();
    proptest!(config(200), |(metadata in any_metadata(), body in vec(any::<u8>(), 0..5000))| {
        let header = FileHeader::regular(&metadata, None).unwrap();
        let mut hasher = header.hasher();
        hasher.update(&body);
        let checksum = hasher.finish();

        let theirs = ostree::checksum_file_from_input(
            &file_info(&metadata, S_IFREG, None),
            Some(&xattrs_variant(&metadata.xattrs)),
            Some(&gio::MemoryInputStream::from_bytes(&Bytes::from(&body))),
            ObjectType::File,
            gio::Cancellable::NONE,
        ).unwrap();
        prop_assert_eq!(theirs.to_hex(), checksum.hex());
        repos.check_content(&[header.bytes(), &body].concat(), checksum);
    });
}

#[test]
fn symbolic_links() {
    let repos = Repos::new();
    let target = vec(any::<char>().prop_filter("no NUL", |&c| c != '\0'), 1..200);
    let target = target.prop_map(String::from_iter);
    // user.* is for regular files and directories only: xattr(7).
    let metadata = any_metadata().prop_map(|mut metadata| {
        metadata
            .xattrs
            .retain(|name, _| !name.starts_with(b"user."));
        metadata
    });
    proptest!(config(200), |(metadata in metadata, target in target)| {
        let header = FileHeader::symlink(&metadata, None, target.as_bytes()).unwrap();
        let checksum = Digest::of(header.bytes());

        let link = Metadata { mode: 0o777, ..metadata.clone() };
        let theirs = ostree::checksum_file_from_input(
            &file_info(&link, S_IFLNK, Some(&target)),
            Some(&xattrs_variant(&metadata.xattrs)),
            None::<&gio::InputStream>,
            ObjectType::File,
            gio::Cancellable::NONE,
        ).unwrap();
        prop_assert_eq!(theirs.to_hex(), checksum.hex());
        repos.check_content(header.bytes(), checksum);
    });
}

#[test]
fn dirmetas() {
    let repos = Repos::new();
    proptest!(config(200), |(metadata in any_metadata())| {
        let ours = dirmeta(&metadata, None).unwrap();
        let theirs = ostree::create_directory_metadata(
            &file_info(&metadata, S_IFDIR, None),
            Some(&xattrs_variant(&metadata.xattrs)),
        );
        repos.check_metadata(&ours, &theirs);
    });
}

/// Small trees, and some whose offsets take two and four bytes.
#[test]
fn dirtrees() {
    let repos = Repos::new();
    let names = prop_oneof![
        9 => btree_map(any_name(), any_digest(), 0..8),
        1 => btree_map(any_name(), any_digest(), 0..2000),
    ];
    let directories = btree_map(any_name(), (any_digest(), any_digest()), 0..30);
    proptest!(config(100), |(files in names, directories in directories)| {
        check_dirtree(&repos, &files, &directories);
    });
}

fn check_dirtree(
    repos: &Repos,
    files: &BTreeMap<String, Digest>,
    directories: &BTreeMap<String, (Digest, Digest)>,
) {
    let ours = dirtree(
        ImagePath::root,
        files
            .iter()
            .map(|(name, &content)| (name.as_bytes(), content)),
        directories
            .iter()
            .map(|(name, &(tree, meta))| (name.as_bytes(), tree, meta)),
    )
    .unwrap();
    let bytes = |digest: &Digest| digest.as_bytes().to_vec();
    let theirs: ostree::TreeVariantType = (
        files
            .iter()
            .map(|(name, content)| (name.clone(), bytes(content)))
            .collect(),
        directories
            .iter()
            .map(|(name, (tree, meta))| (name.clone(), bytes(tree), bytes(meta)))
            .collect(),
    );
    repos.check_metadata(&ours, &theirs.to_variant());
}

/// Sizes at which the offsets of a tuple, an array and an element become wider.
#[test]
fn xattr_values_of_every_width() {
    let repos = Repos::new();
    let metadata = |length: usize| Metadata {
        xattrs: [((*b"user.x").into(), vec![7; length].into())].into(),
        ..Metadata::default()
    };
    for length in (200..270).chain(65_400..65_560) {
        let ours = dirmeta(&metadata(length), None).unwrap();
        let info = file_info(&metadata(length), S_IFDIR, None);
        let xattrs = xattrs_variant(&metadata(length).xattrs);
        repos.check_metadata(
            &ours,
            &ostree::create_directory_metadata(&info, Some(&xattrs)),
        );
    }
}
