//! What RPM packages declare and layers lost is restored: real packages made by rpmbuild, installed by
//! rpm, spoiled in a later layer, and judged by `rpm --verify`.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::command::{import, is_root, not_run, run, scratch, text};
use support::listing::{Listing, read_commit};

/// What was seen to be lost.
const LOSSES: &str = include_str!("data/permissions/losses.tsv");
const DATABASE: &str = "/usr/lib/sysimage/rpm";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\npolkitd:x:997:996::/:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\npolkitd:x:996:\n";
const POLKITD: u32 = 996;

/// What the package declares: mode and group of directories, capabilities of programs.
#[derive(Debug, Default)]
struct Losses {
    directories: BTreeMap<&'static str, (u32, &'static str)>,
    programs: BTreeMap<&'static str, &'static str>,
}

fn losses() -> Losses {
    let mut losses = Losses::default();
    for line in LOSSES.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('\t').collect();
        let [kind, path, value] = fields[..] else {
            panic!("{line:?}");
        };
        let directory = losses.directories.entry(path);
        match kind {
            "dir-mode" => {
                directory.or_insert((0, "root")).0 = u32::from_str_radix(value, 8).unwrap()
            }
            "group" => directory.or_insert((0o750, "root")).1 = value,
            "caps" => {
                losses.programs.insert(path, value);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((losses.directories.len(), losses.programs.len()), (21, 11));
    losses
}

/// A package that declares all of it.
fn build_package(losses: &Losses, directory: &Path) -> PathBuf {
    let mut install = String::new();
    let mut files = String::new();
    for (path, (mode, group)) in &losses.directories {
        install += &format!("mkdir -p %{{buildroot}}{path}\n");
        files += &format!("%dir %attr({mode:04o},root,{group}) {path}\n");
    }
    for (path, caps) in &losses.programs {
        install += &format!("install -D /bin/true %{{buildroot}}{path}\n");
        files += &format!("%attr(0755,root,root) %caps({caps}) {path}\n");
    }
    let spec = format!(
        "Name: losses\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n\
         %description\nd\n%install\n{install}%files\n{files}"
    );
    fs::write(directory.join("losses.spec"), spec).unwrap();
    let top = directory.join("rpmbuild");
    run(Command::new("rpmbuild")
        .arg("-bb")
        .arg(format!("--define=_topdir {}", top.display()))
        // Neither stripped nor searched for dependencies: the programs are stand-ins.
        .args([
            "--define=__os_install_post %nil",
            "--define=_build_id_links none",
        ])
        .args([
            "--define=__requires_exclude .*",
            "--define=_binaries_in_noarch_packages_terminate_build 0",
        ])
        .arg(directory.join("losses.spec")));
    top.join("RPMS/noarch/losses-1-1.noarch.rpm")
}

/// A root with the package in it, as a tar.
fn install(package: &Path, directory: &Path) -> PathBuf {
    let root = directory.join("root");
    for path in ["etc", "usr/bin", "usr/lib/sysimage/rpm"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("etc/passwd"), PASSWD).unwrap();
    fs::write(root.join("etc/group"), GROUP).unwrap();
    run(rpm(&root).args(["--install", "--nodeps"]).arg(package));
    let layer = directory.join("package.tar");
    run(Command::new("tar")
        .args([
            "--create",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
        ])
        .arg(format!("--file={}", layer.display()))
        .arg(format!("--directory={}", root.display()))
        .arg("."));
    layer
}

fn rpm(root: &Path) -> Command {
    let mut command = Command::new("rpm");
    command
        .arg(format!("--root={}", root.display()))
        .arg(format!("--dbpath={DATABASE}"));
    command
}

/// A layer that describes every directory anew as a builder does that knows nothing of it, and copies
/// the programs without their capabilities.
fn spoil(losses: &Losses, directory: &Path) -> PathBuf {
    let tree = directory.join("spoilt");
    for path in losses.directories.keys() {
        fs::create_dir_all(tree.join(&path[1..])).unwrap();
    }
    for path in losses.programs.keys() {
        let copy = tree.join(&path[1..]);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy("/bin/true", &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(tree.join("etc/.pwd.lock"), "").unwrap();
    let layer = directory.join("spoilt.tar");
    run(Command::new("tar")
        .args(["--create", "--owner=0", "--group=0", "--mode=u=rwX,go=rX"])
        .arg(format!("--file={}", layer.display()))
        .arg(format!("--directory={}", tree.display()))
        .arg("."));
    layer
}

/// An image of these layers, written by umoci.
fn image(layers: &[PathBuf], directory: &Path) -> String {
    let layout = directory.join("image");
    let image = format!("{}:v1", layout.display());
    run(Command::new("umoci")
        .args(["init", "--layout"])
        .arg(&layout));
    run(Command::new("umoci").args(["new", "--image", &image]));
    for layer in layers {
        run(Command::new("umoci")
            .args(["raw", "add-layer", "--image", &image])
            .arg(layer));
    }
    image
}

/// What `rpm --verify` says of a commit that is checked out as a host: its lines by path.
fn verify(repo: &Path, commit: &str, directory: &Path) -> BTreeMap<String, String> {
    let checkout = directory.join("checkout");
    // Copies: rpm opens its database for writing.
    run(Command::new("ostree")
        .arg(format!("--repo={}", repo.display()))
        .args(["checkout", "--force-copy", commit])
        .arg(&checkout));
    fs::rename(checkout.join("usr/etc"), checkout.join("etc")).unwrap();
    verify_root(&checkout)
}

fn verify_root(root: &Path) -> BTreeMap<String, String> {
    let mut command = rpm(root);
    command.args(["--verify", "--all", "--nomtime", "--nodeps"]);
    // It fails if it has anything to say.
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| {
        let path = &line[line.find('/').expect("a path")..];
        (path.to_owned(), line.to_owned())
    });
    lines.collect()
}

/// The image with everything lost, and what it lost.
fn spoilt_image(directory: &Path) -> (String, Losses) {
    let losses = losses();
    let package = build_package(&losses, directory);
    let layers = [install(&package, directory), spoil(&losses, directory)];
    (image(&layers, directory), losses)
}

fn mode_and_group(commit: &Listing, path: &str) -> (u32, u32) {
    let path = match path.strip_prefix("/etc/") {
        Some(below) => format!("usr/etc/{below}"),
        None => path[1..].to_owned(),
    };
    let node = &commit[path.as_bytes()];
    (node.mode & 0o7777, node.gid)
}

#[test]
fn everything_that_was_lost_is_back() {
    if !is_root() {
        return not_run("installing a package takes root");
    }
    let directory = scratch();
    let (image, losses) = spoilt_image(directory.path());

    // It was lost indeed.
    let unpacked = directory.path().join("unpacked");
    run(Command::new("umoci")
        .args(["raw", "unpack", "--image", &image])
        .arg(&unpacked));
    let lost = verify_root(&unpacked);
    for (path, &(mode, group)) in &losses.directories {
        let as_declared = mode == 0o755 && group == "root";
        assert_eq!(lost.contains_key(*path), !as_declared, "{path}: {lost:#?}");
    }
    for path in losses.programs.keys() {
        assert!(lost[*path].contains('P'), "{}", lost[*path]);
    }

    let repo = directory.path().join("repo");
    let json = import(&repo, "bare", &format!("oci:{image}"), &[]);
    let commit = read_commit(&repo, text(&json, "/commit")).listing;
    for (path, &(mode, group)) in &losses.directories {
        let gid = if group == "polkitd" { POLKITD } else { 0 };
        assert_eq!(mode_and_group(&commit, path), (mode, gid), "{path}");
    }
    let told = changed(&json, "permissions");
    let mut expected: BTreeSet<_> = losses.programs.keys().map(|p| (*p).to_owned()).collect();
    let changed_directories = losses
        .directories
        .iter()
        .filter(|(path, _)| lost.contains_key(**path));
    expected.extend(changed_directories.map(|(path, _)| (*path).to_owned()));
    assert_eq!(told, expected);
    // What rpm still finds is told, and here that is nothing.
    let found = verify(&repo, text(&json, "/commit"), directory.path());
    assert_eq!(found, BTreeMap::new());
}

#[test]
fn only_told_on_request() {
    if !is_root() {
        return not_run("installing a package takes root");
    }
    let directory = scratch();
    let (image, losses) = spoilt_image(directory.path());
    let repo = directory.path().join("repo");
    let options = ["--repair=report"];
    let json = import(&repo, "bare", &format!("oci:{image}"), &options);
    assert_eq!(changed(&json, "permissions"), BTreeSet::new());
    let notes = json["notes"].as_array().unwrap().iter();
    let told: BTreeSet<_> = notes
        .filter(|note| note["by"] == "permissions")
        .map(|note| text(note, "/path").to_owned())
        .collect();
    let found = verify(&repo, text(&json, "/commit"), directory.path());
    assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), told);
    assert!(told.len() > losses.programs.len());
}

/// The paths that a fixup changed.
fn changed(json: &Value, by: &str) -> BTreeSet<String> {
    let notes = json["notes"].as_array().unwrap().iter();
    notes
        .filter(|note| note["by"] == by && note["action"] == "changed")
        .map(|note| text(note, "/path").to_owned())
        .collect()
}

/// The kernel's own bytes for texts of capabilities.
#[test]
fn capabilities_are_those_of_setcap() {
    if !is_root() {
        return not_run("file capabilities take root");
    }
    let directory = scratch();
    let file = directory.path().join("file");
    for caps in [
        "cap_net_raw+ep",
        "cap_dac_override,cap_net_admin,cap_net_raw=eip",
        "cap_dac_read_search,cap_setgid,cap_setuid=p",
        "cap_checkpoint_restore,cap_bpf=ep",
        "cap_chown=ip cap_kill+p",
    ] {
        fs::write(&file, "").unwrap();
        run(Command::new("setcap").arg(caps).arg(&file));
        let output = run(Command::new("getfattr")
            .args([
                "--absolute-names",
                "--only-values",
                "--name=security.capability",
            ])
            .arg(&file));
        let ours = import_oci::packages::capabilities::parse(caps).unwrap();
        assert_eq!(ours.as_deref(), Some(&*output.stdout), "{caps}");
    }
}
