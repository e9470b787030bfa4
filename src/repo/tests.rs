use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ostree::glib;
use tempfile::TempDir;

use super::worker::IN_MEMORY;
use super::*;
use crate::bodies::{Bodies, BodyId, BodySink as _, BodyStore, Spool};
use crate::contract::MetadataValue;
use crate::digest::Digest;
use crate::metadata::{Metadata, Xattrs};
use crate::object::{FileHeader, FileObject, MetadataObject, dirmeta, dirtree};
use crate::path::ImagePath;

const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// The modes that can be tried here: bare repos give files their owner, which only root may.
fn modes() -> Vec<Mode> {
    let mut modes = vec![Mode::BareUser, Mode::Archive];
    if rustix::process::geteuid().is_root() {
        modes.push(Mode::Bare);
    } else {
        eprintln!("bare repo: not run: needs root");
    }
    modes
}

fn new_repo(mode: Mode) -> (TempDir, Repo) {
    let directory = tempfile::tempdir().unwrap();
    let repo = Repo::init(&directory.path().join("repo"), mode).unwrap();
    (directory, repo)
}

/// The commit that `name` points to.
fn resolve_ref(repo: &Repo, name: &str) -> Option<Digest> {
    let commit = repo.inner.resolve_rev(name, true).unwrap();
    commit.map(|hex| Digest::from_hex(&hex).unwrap())
}

fn assert_fsck_clean(repo: &Repo) {
    let fsck = Command::new("ostree")
        .arg("fsck")
        .arg("--repo")
        .arg(repo.path())
        .output();
    let fsck = fsck.expect("ostree is installed");
    assert!(
        fsck.status.success(),
        "{}",
        String::from_utf8_lossy(&fsck.stderr)
    );
}

fn stored_objects(repo: &Repo) -> usize {
    let objects = fs::read_dir(repo.path().join("objects")).unwrap();
    objects
        .map(|prefix| fs::read_dir(prefix.unwrap().path()).unwrap().count())
        .sum()
}

fn metadata(mode: u32, uid: u32) -> Metadata {
    let label = *b"system_u:object_r:usr_t:s0\0";
    let xattrs: Xattrs = [
        ((*b"security.selinux").into(), label.into()),
        ((*b"user.greeting").into(), (*b"hello\nworld").into()),
    ]
    .into();
    Metadata {
        mode,
        uid,
        gid: 5,
        mtime: 1,
        xattrs,
    }
}

fn link_metadata() -> Metadata {
    let mut metadata = metadata(0o777, 0);
    metadata.xattrs.remove(&b"user.greeting"[..]);
    metadata
}

/// A root with files of every size class, twins, a link and a directory.
struct Sample {
    paths: Vec<&'static str>,
    files: Vec<FileObject>,
    bodies: Arc<Bodies>,
    large: Vec<u8>,
    _directory: TempDir,
}

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(0, directory.path()).unwrap();
        let mut add = |body: &[u8]| {
            spool.write(body).unwrap();
            Some(spool.finish().unwrap())
        };
        let large: Vec<u8> = (0..2 * IN_MEMORY + 12_345)
            .map(|i| ((i * i) >> 7) as u8)
            .collect();
        let regular = |mode, uid| FileHeader::regular(&metadata(mode, uid), None).unwrap();
        let (paths, files): (Vec<_>, Vec<_>) = [
            ("large", regular(0o4755, 1), add(&large)),
            ("empty", regular(0o644, 0), add(b"")),
            (
                "limit",
                regular(0o600, 2),
                add(&large[..IN_MEMORY as usize]),
            ),
            ("small", regular(0o644, 0), add(b"small")),
            ("twin", regular(0o644, 0), add(b"small")),
            (
                "link",
                FileHeader::symlink(&link_metadata(), None, b"/nowhere").unwrap(),
                None,
            ),
            ("directory/other", regular(0o444, 0), add(b"other")),
        ]
        .into_iter()
        .map(|(path, header, body)| (path, FileObject { header, body }))
        .unzip();
        Self {
            paths,
            files,
            bodies: Arc::new(Bodies::new(vec![Box::new(spool.seal().unwrap())])),
            large,
            _directory: directory,
        }
    }

    fn write_files(&self, transaction: &Transaction<'_>) -> Result<Vec<Digest>> {
        let path = |index: usize| ImagePath::parse(self.paths[index].as_bytes()).unwrap();
        transaction.write_files(
            &self.files,
            &vec![None; self.files.len()],
            &self.bodies,
            &path,
            &|| (),
        )
    }

    /// Writes everything and lets `name` point to it.
    fn import(&self, repo: &Repo, name: &str, threads: NonZeroUsize) -> (Digest, Statistics) {
        let transaction = repo.transaction(threads).unwrap();
        let checksums = self.write_files(&transaction).unwrap();
        let [root_files @ .., other] = &checksums[..] else {
            unreachable!()
        };
        let names = self.paths.iter().map(|path| path.as_bytes());
        let meta = dirmeta(&metadata(0o755, 0), None).unwrap();
        let inner = tree([(&b"other"[..], *other)], None);
        let root = tree(
            names.zip(root_files.iter().copied()),
            Some((&b"directory"[..], inner.checksum, meta.checksum)),
        );
        transaction
            .write_metadata(&[meta.clone(), inner, meta.clone(), root.clone()])
            .unwrap();
        let metadata = [
            ("ostree.bootable", MetadataValue::Flag(true)),
            ("version", MetadataValue::Text("1".into())),
        ];
        let commit = transaction
            .write_commit(&CommitSpec {
                root: TreeRoot {
                    dirtree: root.checksum,
                    dirmeta: meta.checksum,
                },
                parent: None,
                metadata: &metadata,
                timestamp: 1_700_000_000,
            })
            .unwrap();
        transaction.set_ref(name, commit).unwrap();
        (commit, transaction.commit().unwrap())
    }
}

fn tree<'a>(
    files: impl IntoIterator<Item = (&'a [u8], Digest)>,
    directories: impl IntoIterator<Item = (&'a [u8], Digest, Digest)>,
) -> MetadataObject {
    dirtree(ImagePath::root, files, directories).unwrap()
}

#[test]
fn every_mode_and_thread_count_gives_the_same_commit() {
    let sample = Sample::new();
    let mut commits = Vec::new();
    for mode in modes() {
        for threads in [1, 3] {
            let (_directory, repo) = new_repo(mode);
            let threads = NonZeroUsize::new(threads).unwrap();
            let (commit, statistics) = sample.import(&repo, "os/test", threads);
            commits.push(commit);
            assert_eq!(resolve_ref(&repo, "os/test"), Some(commit));
            assert_eq!(resolve_ref(&repo, "os/other"), None);
            assert_fsck_clean(&repo);
            let bytes = sample.large.len() as u64 + IN_MEMORY + 10;
            let expected = Statistics {
                content_written: 6,
                content_present: 0,
                metadata_written: 4,
                metadata_present: 0,
                content_bytes_written: bytes,
            };
            assert_eq!(statistics, expected, "{mode}");
            assert_eq!(stored_objects(&repo), 10);
            let mut cat = Command::new("ostree");
            cat.args(["cat", "os/test", "/large", "--repo"])
                .arg(repo.path());
            assert!(cat.output().unwrap().stdout == sample.large, "{mode}");
        }
    }
    commits.dedup();
    assert_eq!(commits.len(), 1);
}

#[test]
fn what_is_there_is_not_written_again() {
    let (_directory, repo) = new_repo(Mode::BareUser);
    let sample = Sample::new();
    let (first, _) = sample.import(&repo, "first", THREADS);
    let (second, statistics) = sample.import(&repo, "second", THREADS);
    assert_eq!(first, second);
    let expected = Statistics {
        content_present: 6,
        metadata_present: 4,
        ..Statistics::default()
    };
    assert_eq!(statistics, expected);
}

#[test]
fn dropped_transaction_leaves_the_repo_as_it_was() {
    for mode in modes() {
        let directory = tempfile::tempdir().unwrap();
        let repo = Repo::init(&directory.path().join("repo"), mode).unwrap();
        let sample = Sample::new();
        let transaction = repo.transaction(THREADS).unwrap();
        let checksums = sample.write_files(&transaction).unwrap();
        transaction.set_ref("os/test", checksums[0]).unwrap();
        assert!(repo.transaction(THREADS).is_err(), "one at a time");
        drop(transaction);

        assert_eq!(resolve_ref(&repo, "os/test"), None);
        assert_eq!(stored_objects(&repo), 0);
        assert_fsck_clean(&repo);
        let left = walk(&repo.spool_directory());
        assert!(
            !left.iter().any(|name| name.contains("staging")),
            "{left:?}"
        );

        sample.import(&repo, "os/test", THREADS);
        assert_fsck_clean(&repo);
        assert_eq!(stored_objects(&repo), 10);
    }
}

#[test]
fn a_transaction_that_fails_leaves_others_alone() {
    let (_directory, repo) = new_repo(Mode::Archive);
    let other = Repo::open(repo.path()).unwrap();
    let sample = Sample::new();
    let failing = repo.transaction(THREADS).unwrap();
    let running = other.transaction(THREADS).unwrap();
    sample.write_files(&failing).unwrap();
    sample.write_files(&running).unwrap();
    let staged = || {
        let names = walk(&repo.spool_directory());
        names.iter().filter(|name| name.contains(".filez")).count()
    };
    assert_eq!(staged(), 12);
    drop(failing);
    assert_eq!(staged(), 6);
    running.commit().unwrap();
    assert_eq!(stored_objects(&repo), 6);
    assert_eq!(staged(), 0);
}

#[test]
fn progress_counts_everything_once() {
    let (_directory, repo) = new_repo(Mode::Archive);
    let sample = Sample::new();
    let calls = AtomicU64::new(0);
    let transaction = repo.transaction(THREADS).unwrap();
    let done = || {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let path = |_| ImagePath::root();
    transaction
        .write_files(
            &sample.files,
            &vec![None; sample.files.len()],
            &sample.bodies,
            &path,
            &done,
        )
        .unwrap();
    assert_eq!(calls.into_inner(), 7);
}

/// A body of a file that somebody else writes to.
#[derive(Debug)]
struct Changing {
    file: fs::File,
    /// Overwritten after that many reads.
    after: u64,
    reads: AtomicU64,
}

impl BodyStore for Changing {
    fn may_change(&self) -> bool {
        true
    }

    fn size(&self, _: u32) -> u64 {
        IN_MEMORY + 1
    }

    fn read_at(&self, _: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == self.after {
            self.file.write_all_at(b"changed", IN_MEMORY - 10)?;
        }
        self.file.read_at(buffer, offset)
    }
}

#[test]
fn file_that_changes_under_our_hands_is_an_error() {
    let (_directory, repo) = new_repo(Mode::BareUser);
    let file = tempfile::tempfile().unwrap();
    file.set_len(IN_MEMORY + 1).unwrap();
    let first_pass = (IN_MEMORY + 1).div_ceil(256 * 1024);
    let store = Changing {
        file,
        after: first_pass + 1,
        reads: AtomicU64::new(0),
    };
    let object = FileObject {
        header: FileHeader::regular(&Metadata::default(), None).unwrap(),
        body: Some(BodyId { store: 0, index: 0 }),
    };
    let transaction = repo.transaction(THREADS).unwrap();
    let bodies = Arc::new(Bodies::new(vec![Box::new(store)]));
    let path = |_| ImagePath::parse(b"var/log/journal").unwrap();
    let error = transaction
        .write_files(&[object], &[None], &bodies, &path, &|| ())
        .unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("writing /var/log/journal"), "{error}");
    assert!(error.contains("changed while it was read"), "{error}");
    let staged = walk(&repo.spool_directory());
    assert!(
        !staged.iter().any(|name| name.ends_with(".file")),
        "{staged:?}"
    );
}

fn walk(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        names.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            names.extend(walk(&entry.path()));
        }
    }
    names
}

#[test]
fn body_that_ends_early_is_an_error() {
    #[derive(Debug)]
    struct Short;
    impl BodyStore for Short {
        fn size(&self, _: u32) -> u64 {
            10
        }
        fn read_at(&self, _: u32, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }
    let (_directory, repo) = new_repo(Mode::BareUser);
    let object = FileObject {
        header: FileHeader::regular(&Metadata::default(), None).unwrap(),
        body: Some(BodyId { store: 0, index: 0 }),
    };
    let transaction = repo.transaction(THREADS).unwrap();
    let bodies = Arc::new(Bodies::new(vec![Box::new(Short)]));
    let path = |_| ImagePath::parse(b"etc/motd").unwrap();
    let error = transaction
        .write_files(&[object], &[None], &bodies, &path, &|| ())
        .unwrap_err();
    assert!(
        format!("{error:#}").starts_with("writing /etc/motd"),
        "{error:#}"
    );
}

#[test]
fn reserved_space_is_respected() {
    let (_directory, repo) = new_repo(Mode::BareUser);
    let config = repo.path().join("config");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}min-free-space-size=1000000GB\n")).unwrap();
    let repo = Repo::open(repo.path()).unwrap();

    let is_no_space = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(RepoError::NoSpace { path, .. }) if path == repo.path());
    assert!(is_no_space(&repo.ensure_free_space(1).unwrap_err()));
    let error = Sample::new()
        .write_files(&repo.transaction(THREADS).unwrap())
        .unwrap_err();
    assert!(is_no_space(&error), "{error:#}");
    assert!(format!("{error:#}").starts_with("writing /"), "{error:#}");
    assert_eq!(stored_objects(&repo), 0);
    assert_fsck_clean(&repo);
}

#[test]
fn errors_of_libostree_get_a_way_out() {
    let (_directory, mut repo) = new_repo(Mode::Archive);
    let full = glib::Error::new(
        gio::IOErrorEnum::NoSpace,
        "fallocate: No space left on device",
    );
    let error = repo.explain(full);
    assert!(matches!(
        error.downcast_ref(),
        Some(RepoError::NoSpace { .. })
    ));
    for kind in [
        gio::IOErrorEnum::NoSpace,
        gio::IOErrorEnum::NotSupported,
        gio::IOErrorEnum::InvalidArgument,
    ] {
        let error = repo.explain(glib::Error::new(kind, "fsetxattr(user.x): No"));
        assert!(matches!(error.downcast_ref(), Some(RepoError::Xattr(..))));
    }
    repo.mode = Mode::Bare;
    let is_root = rustix::process::geteuid().is_root();
    for (call, xattr) in [("fchown", false), ("lsetxattr", true)] {
        let denied = glib::Error::new(gio::IOErrorEnum::PermissionDenied, call);
        let error = repo.explain(denied);
        let kind = error.downcast_ref();
        let needs_root = matches!(kind, Some(RepoError::BareNeedsRoot(..)));
        assert_eq!(needs_root, !is_root, "{call}: {error:#}");
        let about_xattr = matches!(kind, Some(RepoError::Xattr(..)));
        assert_eq!(about_xattr, is_root && xattr, "{call}: {error:#}");
    }
    assert!(repo.ensure_free_space(1).is_ok());
    assert!(repo.ensure_free_space(u64::MAX).is_err());
}

#[test]
fn refuses_what_is_no_repo_for_us() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for path in [directory.path(), &missing] {
        let error = Repo::open(path).unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(RepoError::NotARepo(at)) if at == path),
            "{error:#}"
        );
    }

    let path = directory.path().join("repo");
    Repo::init(&path, Mode::Archive).unwrap();
    Repo::init(&path, Mode::Archive).unwrap();
    let error = Repo::init(&path, Mode::BareUser).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(RepoError::OtherMode { .. })),
        "{error:#}"
    );

    let path = directory.path().join("bare-user-only");
    ostree::Repo::new_for_path(&path)
        .create(ostree::RepoMode::BareUserOnly, gio::Cancellable::NONE)
        .unwrap();
    let error = format!("{:#}", Repo::open(&path).unwrap_err());
    assert!(error.contains("cannot hold owners and labels"), "{error}");

    let (_directory, repo) = new_repo(Mode::Archive);
    let transaction = repo.transaction(THREADS).unwrap();
    assert!(transaction.set_ref("a b", Digest::of(b"")).is_err());
}

#[test]
fn unwritable_repo_is_refused_before_any_work() {
    use std::os::unix::fs::PermissionsExt as _;
    if rustix::process::geteuid().is_root() {
        eprintln!("not run: root may write everywhere");
        return;
    }
    let (_directory, repo) = new_repo(Mode::Archive);
    let objects = repo.path().join("objects");
    fs::set_permissions(&objects, fs::Permissions::from_mode(0o555)).unwrap();
    let error = Repo::open(repo.path()).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(RepoError::NotWritable(..))),
        "{error:#}"
    );
}

#[test]
fn modes_are_parsed_by_their_names() {
    for mode in [Mode::Bare, Mode::BareUser, Mode::Archive] {
        assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
    }
    assert!("bare-user-only".parse::<Mode>().is_err());
}
