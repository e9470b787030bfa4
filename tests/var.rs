//! What a host gets back of an image's `/var`: systemd-tmpfiles makes it from the commit, and the
//! programs that look for their databases there find them.
//!
//! Owners and a bare repo take root. `IMPORT_OCI_DEMO_IMAGE` names the layout of a whole system,
//! tag `v1`; its own programs are run then.

#[path = "support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use import_oci::path::escape;
use serde_json::Value;
use support::command::{import, is_root, not_run, run, scratch, text};
use support::layout::{Image, Layer};
use support::listing::{Kind, Listing, Node, read_directory};
use tempfile::TempDir;

const OPTIONS: &[&str] = &["--initramfs=keep"];

/// A host that was deployed from a commit, before its first boot.
struct Host {
    directory: TempDir,
    json: Value,
}

impl Host {
    fn of(source: &str, options: &[&str]) -> Self {
        let directory = scratch();
        let repo = directory.path().join("repo");
        let json = import(&repo, "bare", source, &[OPTIONS, options].concat());
        let host = Self { directory, json };
        run(Command::new("ostree")
            .arg(format!("--repo={}", repo.display()))
            .args(["checkout", "--force-copy", text(&host.json, "/commit")])
            .arg(host.root()));
        // As a deployment has it.
        run(Command::new("cp")
            .arg("-a")
            .arg(host.root().join("usr/etc"))
            .arg(host.root().join("etc")));
        host
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// What a program of the host itself prints.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = run(Command::new("bwrap")
            .arg("--bind")
            .arg(self.root())
            .arg("/")
            .args([
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "--cap-add",
                "ALL",
                program,
            ])
            .args(arguments));
        String::from_utf8(output.stdout).unwrap()
    }

    fn listing(&self) -> Listing {
        read_directory(&self.root()).unwrap().listing
    }

    /// Boots, as far as systemd-tmpfiles of this machine goes, which must have nothing to complain of.
    fn boot(&self) {
        for _first_and_second in 0..2 {
            let output = self.create();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }

    fn create(&self) -> Output {
        Command::new("systemd-tmpfiles")
            .args(["--create", "--boot"])
            .arg(format!("--root={}", self.root().display()))
            .output()
            .unwrap()
    }

    /// The notes of the fixup: action and detail by path.
    fn notes(&self) -> BTreeMap<Vec<u8>, Vec<(String, String)>> {
        let mut notes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for note in self.json["notes"].as_array().unwrap() {
            let [path, action, detail] = ["/path", "/action", "/detail"].map(|p| text(note, p));
            let path = path.trim_start_matches('/').as_bytes().to_vec();
            let line = (action.to_owned(), detail.to_owned());
            notes.entry(path).or_default().push(line);
        }
        notes
    }
}

/// Can this test run here?
fn can_run() -> bool {
    let tool = |name: &str| Command::new(name).arg("--version").output().is_ok();
    match is_root() && tool("systemd-tmpfiles") {
        true => true,
        false => {
            not_run("owners take root, and what is made of lines takes systemd-tmpfiles");
            false
        }
    }
}

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ngames:x:5:60::/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nadm:x:4:\ngames:x:60:\n";

fn odd() -> Layer {
    Layer::new()
        .directory("usr/lib/", 0o755)
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .directory("var/", 0o755)
        .owned_directory("var/log/audit/", 0o2750, (0, 4))
        .owned_directory("var/spool/all/", 0o1777, (5, 60))
        .owned_directory("var/numbers/", 0o710, (4711, 4712))
        .directory("var/lib/a b\t'c' \"d\" \\x41 %m é #/", 0o700)
        .directory("var/lib/-/", 0o755)
        .symlink("var/lib/link", "a b %m \\ \"é\"")
        .symlink("var/lib/dash", "-")
        .owned_file("var/lib/file %%", 0o4750, (5, 60), "1")
        .owned_directory("var/lib/state/", 0o750, (5, 60))
        .owned_file("var/lib/state/[a]*{b,c}?\\", 0o600, (5, 60), "2")
        .owned_file("var/lib/state/ab", 0o600, (5, 4), "3")
        .symlink("var/lib/state/link", "ab")
        .directory("var/lib/state/roots/", 0o755)
        .directory("var/lib/state/roots/deep/", 0o700)
        .owned_directory("var/lib/games/", 0o755, (5, 60))
        .directory("var/lib/games/roots/", 0o711)
        .directory("var/lib/games/roots/deep/", 0o700)
        .symlink("var/run", "/run")
        .directory("root/", 0o700)
        .file("root/.profile", 0o600, "umask 077")
        .owned_directory("home/ann/", 0o700, (1000, 1000))
        .owned_file("home/ann/x y", 0o600, (1000, 1000), "mine")
        .file("srv/www/index.html", 0o644, "<p>")
        .file(
            "usr/lib/tmpfiles.d/var.conf",
            0o644,
            "d /var/log 0755 - - -\nL /var/run - - - - ../run\n",
        )
}

#[test]
fn systemd_makes_it_again() {
    if !can_run() {
        return;
    }
    let directory = scratch();
    let source = Image::new()
        .layer(odd())
        .write(&directory.path().join("image"));
    let host = Host::of(&source, &[]);
    assert_eq!(
        fs::read_dir(host.root().join("var")).unwrap().count(),
        0,
        "/var of the commit is not empty"
    );
    host.boot();
    let whole = Host::of(&source, &["--var=keep", "--layout=keep"]);
    let mut expected = Listing::new();
    for (path, mut node) in whole.listing() {
        let place = on_host(&path);
        if let (b"var/run", Kind::Symlink(target)) = (&*path, &mut node.kind) {
            // The line of the package.
            *target = b"../run".to_vec();
        }
        if place.starts_with(b"var/") {
            expected.insert(place, node);
        }
    }
    for (path, mode) in [
        ("home", 0o755),
        ("mnt", 0o755),
        ("roothome", 0o700),
        ("srv", 0o755),
    ] {
        let path = format!("var/{path}").into_bytes();
        expected.entry(path).or_insert(Node::directory(mode));
    }
    let mut found = host.listing();
    found.retain(|path, _| path.starts_with(b"var/"));
    support::listing::assert_equal(&expected, &found);
}

/// Where a host has what an image has at `path`.
fn on_host(path: &[u8]) -> Vec<u8> {
    for (from, to) in [
        ("home", "var/home"),
        ("root", "var/roothome"),
        ("srv", "var/srv"),
    ] {
        if let Some(rest) = path.strip_prefix(from.as_bytes())
            && (rest.is_empty() || rest[0] == b'/')
        {
            return [to.as_bytes(), rest].concat();
        }
    }
    path.to_vec()
}

#[test]
fn a_checkout_changes_nothing() {
    if !can_run() {
        return;
    }
    let directory = scratch();
    let source = Image::new()
        .layer(odd())
        .write(&directory.path().join("image"));
    for options in [&[][..], &["--var=keep", "--layout=strict"], &["--var=drop"]] {
        let host = Host::of(&source, options);
        fs::remove_dir_all(host.root().join("etc")).unwrap();
        let repo = host.directory.path().join("repo");
        let checkout = format!("rootfs:{}", host.root().display());
        let second = import(&repo, "bare", &checkout, &[OPTIONS, options].concat());
        for root in ["dirtree", "dirmeta"] {
            assert_eq!(second["tree"][root], host.json["tree"][root], "{options:?}");
        }
    }
}

#[test]
fn rpm_finds_its_database() {
    if !can_run() {
        return;
    }
    let directory = scratch();
    let root = directory.path().join("image");
    for path in ["usr/lib", "etc", "var/lib/rpm"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    install_rpm(directory.path(), &root);
    for (options, place) in [
        (&[][..], "/usr/lib/sysimage/rpm"),
        (&["--rpm-ostree-compat"], "/usr/share/rpm"),
        (&["--var=keep"], "/usr/lib/sysimage/rpm"),
        (&["--var=drop"], "/usr/lib/sysimage/rpm"),
    ] {
        let host = Host::of(&format!("rootfs:{}", root.display()), options);
        host.boot();
        for database in ["/var/lib/rpm", "/usr/lib/sysimage/rpm", place] {
            assert_eq!(installed_rpms(&host.root(), database), "something-1-1\n");
        }
        let macros = host.root().join("usr/lib/rpm/macros.d/macros.import-oci");
        let output = run(Command::new("rpm")
            .arg(format!("--load={}", macros.display()))
            .args(["--eval", "%_dbpath"]));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), place);
    }
    let host = Host::of(
        &format!("rootfs:{}", root.display()),
        &["--rpm-ostree-compat"],
    );
    let base = "/usr/lib/sysimage/rpm-ostree-base-db";
    assert_eq!(installed_rpms(&host.root(), base), "something-1-1\n");
}

/// Makes a package of nothing and installs it below `root`.
fn install_rpm(directory: &Path, root: &Path) {
    let spec = directory.join("something.spec");
    let text = "Name: something\nVersion: 1\nRelease: 1\nSummary: Nothing\nLicense: None\n\
                BuildArch: noarch\n%description\n%files\n";
    fs::write(&spec, text).unwrap();
    run(Command::new("rpmbuild")
        .arg("-bb")
        .arg("--define")
        .arg(format!("_topdir {}", directory.join("build").display()))
        .arg(&spec));
    let rpm = directory.join("build/RPMS/noarch/something-1-1.noarch.rpm");
    run(Command::new("rpm")
        .args(["--dbpath=/var/lib/rpm", "--nodeps", "-i"])
        .arg(format!("--root={}", root.display()))
        .arg(rpm));
}

fn installed_rpms(root: &Path, database: &str) -> String {
    let output = run(Command::new("rpm")
        .arg(format!("--root={}", root.display()))
        .arg(format!("--dbpath={database}"))
        .args(["-qa", "--qf", "%{name}-%{version}-%{release}\\n"]));
    String::from_utf8(output.stdout).unwrap()
}

/// The demo image as a host, and what it was.
fn demo(options: &[&str]) -> Option<(Host, Listing)> {
    let Ok(image) = std::env::var("IMPORT_OCI_DEMO_IMAGE") else {
        not_run("IMPORT_OCI_DEMO_IMAGE names no image; scripts/demo-image makes one");
        return None;
    };
    if !can_run() {
        return None;
    }
    let host = Host::of(&format!("oci:{image}:v1"), options);
    let unpacked = host.directory.path().join("unpacked");
    run(Command::new("umoci")
        .args(["raw", "unpack", "--image", &format!("{image}:v1")])
        .arg(&unpacked));
    let listing = read_directory(&unpacked).unwrap().listing;
    Some((host, listing))
}

#[test]
fn nothing_of_a_real_system_is_lost() {
    let Some((host, before)) = demo(&[]) else {
        return;
    };
    // With its own systemd, which knows more than that of this machine may.
    host.run("systemd-tmpfiles", &["--create", "--boot", "--prefix=/var"]);
    let after = host.listing();
    let notes = host.notes();
    let lost: Vec<_> = before
        .iter()
        .filter(|(path, _)| path.starts_with(b"var/"))
        .filter(|(path, node)| !is_accounted_for(path, node, &after, &notes))
        .map(|(path, node)| format!("{} {node}", escape(path)))
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");

    let directory = |path: &str| &after[path.as_bytes()];
    let audit = &before[&b"var/log/audit"[..]];
    assert_eq!(directory("var/log/audit").mode, audit.mode);
    assert_eq!(directory("var/log/audit").gid, audit.gid);
}

/// Is it there again, was it dropped with a note, or did it move?
fn is_accounted_for(
    path: &[u8],
    node: &Node,
    after: &Listing,
    notes: &BTreeMap<Vec<u8>, Vec<(String, String)>>,
) -> bool {
    let same = |other: Option<&Node>| {
        other.is_some_and(|other| {
            let kind = match (&node.kind, &other.kind) {
                // The line of a package may write the same target in another way.
                (Kind::Symlink(_), Kind::Symlink(_)) => true,
                (one, other) => one == other,
            };
            kind && (node.mode, node.uid, node.gid) == (other.mode, other.uid, other.gid)
        })
    };
    if same(after.get(path)) {
        return true;
    }
    let told = |path: &[u8]| notes.get(path).into_iter().flatten();
    // A line of a package, or a directory that is there already, has a mode of its own.
    let differs = ["not as the image has it", "whose mode and owner stay"];
    let is_told = |detail: &str| differs.iter().any(|words| detail.contains(words));
    if told(path).any(|(action, detail)| action == "dropped" || is_told(detail)) {
        return true;
    }
    let ends = (0..=path.len()).filter(|&at| at == path.len() || path[at] == b'/');
    ends.map(|at| path.split_at(at)).any(|(top, rest)| {
        told(top).any(|(action, detail)| {
            let target = detail.strip_prefix("to /").filter(|_| action == "moved");
            target.is_some_and(|target| {
                same(after.get(&[target.as_bytes(), rest].concat()))
                    || is_told_again(target, rest, notes)
            })
        })
    })
}

/// Was what moved dropped or changed at its new place, by this or a later fixup?
fn is_told_again(
    target: &str,
    rest: &[u8],
    notes: &BTreeMap<Vec<u8>, Vec<(String, String)>>,
) -> bool {
    notes.contains_key(&[target.as_bytes(), rest].concat())
}

#[test]
fn programs_of_a_real_system_find_their_databases() {
    let Some((host, before)) = demo(&["--var=drop"]) else {
        return;
    };
    host.run("systemd-tmpfiles", &["--create", "--boot", "--prefix=/var"]);
    let packages = host.run("dpkg-query", &["--show"]).lines().count();
    let lists = before.keys().filter(|path| {
        let path = std::ffi::OsStr::from_bytes(path);
        let path = Path::new(path);
        path.starts_with("var/lib/dpkg/info") && path.extension().is_some_and(|e| e == "list")
    });
    assert_eq!(packages, lists.count());
    assert!(host.run("dpkg", &["-l"]).contains("base-files"));

    let modules = host
        .run("semodule", &["-l", "-s", "default"])
        .lines()
        .count();
    let stored = before.keys().filter(|path| {
        let path = path.strip_prefix(b"var/lib/selinux/default/active/modules/");
        path.is_some_and(|path| path.ends_with(b"/cil"))
    });
    assert!(modules > 0 && modules <= stored.count());
}
