//! What RPM packages declare and layers lost is in the commit again, by rpm's own judgement.
//!
//! Packages are built and installed by rpm; the layers above lose what builders are known to lose
//! (`tests/data/permissions/known-losses.tsv`): directories come again with mode 0755 and owned by
//! root, files are copied without their capabilities. Only root can give files away.

mod capabilities;
mod others;
mod packages;

#[path = "../support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod schema;
}

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use packages::{Declared, What, install, verify};
use serde_json::Value;
use support::command::{import, is_root, not_run, run, scratch, text};
use tempfile::TempDir;

/// The group of `polkitd` in the image.
const POLKITD: u32 = 998;

/// A line of the file of known losses.
struct Loss {
    kind: &'static str,
    path: &'static str,
    declared: &'static str,
}

fn known_losses() -> Vec<Loss> {
    let lines = include_str!("../data/permissions/known-losses.tsv").lines();
    let losses: Vec<_> = lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [kind, path, declared] => Loss {
                kind,
                path,
                declared,
            },
            _ => panic!("not three fields: {line}"),
        })
        .collect();
    let count = |kind| losses.iter().filter(|loss| loss.kind == kind).count();
    assert_eq!(["dir-mode", "caps", "group"].map(count), [20, 11, 2]);
    losses
}

/// What the package `lossy` declares.
fn lossy() -> Vec<Declared> {
    let losses = known_losses();
    let group = |path| match losses.iter().find(|l| l.kind == "group" && l.path == path) {
        Some(loss) => loss.declared,
        None => "root",
    };
    let mut declared: Vec<Declared> = Vec::new();
    for loss in &losses {
        let (mode, what) = match loss.kind {
            "dir-mode" => (
                u32::from_str_radix(loss.declared, 8).unwrap(),
                What::Directory,
            ),
            "caps" => (0o755, What::Capabilities(loss.declared.to_owned())),
            _ if declared.iter().any(|known| known.path == loss.path) => continue,
            _ => (0o750, What::Directory),
        };
        declared.push(Declared {
            path: loss.path.to_owned(),
            mode,
            group: group(loss.path),
            what,
        });
    }
    declared
}

/// What the package `more` declares: cases beside the known ones.
fn more() -> Vec<Declared> {
    let file = |path: &str, mode, group, attributes| Declared {
        path: path.to_owned(),
        mode,
        group,
        what: What::File(attributes, "content"),
    };
    vec![
        file("/usr/bin/su", 0o4755, "root", ""),
        file("/usr/bin/wall", 0o2755, "named", ""),
        file("/etc/named.conf", 0o640, "named", "%config"),
        file("/etc/made-at-start", 0o600, "root", "%ghost"),
        Declared {
            path: "/bin/merged".to_owned(),
            mode: 0o755,
            group: "root",
            what: What::Capabilities("cap_net_raw=ep".to_owned()),
        },
        Declared {
            path: "/usr/bin/replaced".to_owned(),
            mode: 0o755,
            group: "root",
            what: What::Capabilities("cap_net_raw=ep".to_owned()),
        },
        Declared {
            path: "/etc/chosen".to_owned(),
            mode: 0o755,
            group: "root",
            what: What::Directory,
        },
    ]
}

/// What `filesystem` declares: the layout, and a directory of `more` otherwise.
fn filesystem() -> Vec<Declared> {
    let directory = |path: &str, mode| Declared {
        path: path.to_owned(),
        mode,
        group: "root",
        what: What::Directory,
    };
    vec![
        directory("/boot", 0o555),
        directory("/etc", 0o755),
        directory("/usr", 0o755),
        directory("/usr/bin", 0o555),
        directory("/usr/lib", 0o555),
        directory("/var", 0o755),
    ]
}

/// An image whose upper layer lost all it could, and the packages' root before that.
struct Wrecked {
    directory: TempDir,
    source: String,
}

impl Wrecked {
    /// `None`: it cannot be made here, which was said.
    fn make() -> Option<Self> {
        if !is_root() {
            not_run("only root can give files away");
            return None;
        }
        let directory = scratch();
        let root = packages::root(directory.path());
        install(directory.path(), &root, "filesystem", &filesystem());
        install(directory.path(), &root, "lossy", &lossy());
        install(directory.path(), &root, "more", &more());
        fs::write(root.join("etc/made-at-start"), "").unwrap();
        fs::set_permissions(
            root.join("etc/made-at-start"),
            PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        assert_eq!(verify(&root), [""; 0], "what rpm installed");

        let layout = directory.path().join("image");
        let image = format!("{}:v1", layout.display());
        let umoci = || Command::new("umoci");
        run(umoci().args(["init", "--layout"]).arg(&layout));
        run(umoci().args(["new", "--image", &image]));
        add_layer(directory.path(), &root, &image);
        wreck(&root);
        add_layer(directory.path(), &root, &image);
        let found: BTreeSet<_> = verify(&root).into_iter().collect();
        for declared in lossy() {
            // /etc/bluetooth is declared as a builder makes it anyway.
            let lost = (declared.mode, &declared.what) != (0o755, &What::Directory);
            assert_eq!(found.contains(&declared.path), lost, "{}", declared.path);
        }
        Some(Self {
            source: format!("oci:{image}"),
            directory,
        })
    }

    fn import(&self, source: &str, options: &[&str]) -> Value {
        import(&self.repo(), "bare", source, options)
    }

    fn repo(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    /// A commit as a host has it: `/usr/etc` is `/etc`.
    fn deploy(&self, json: &Value) -> PathBuf {
        let root = self.check_out(json, "deployed");
        fs::rename(root.join("usr/etc"), root.join("etc")).unwrap();
        root
    }

    fn check_out(&self, json: &Value, name: &str) -> PathBuf {
        let root = self.directory.path().join(name);
        run(Command::new("ostree")
            .arg("checkout")
            .arg(format!("--repo={}", self.repo().display()))
            .args(["--force-copy", text(json, "/commit")])
            .arg(&root));
        root
    }
}

/// Adds all of `root` as a layer.
fn add_layer(directory: &Path, root: &Path, image: &str) {
    let tar = directory.join("layer.tar");
    run(Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(&tar)
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--sort=name",
        ])
        .arg("--directory")
        .arg(root)
        .arg("."));
    run(Command::new("umoci")
        .args(["raw", "add-layer", "--image", image])
        .arg(&tar));
}

/// Does to `root` what builders do: directories are made anew, and files copied by what sees neither
/// xattrs nor set-id bits nor owners. And what an author does: one directory is closed, one program
/// replaced.
fn wreck(root: &Path) {
    for declared in [filesystem(), lossy(), more()].concat() {
        let path = root.join(&declared.path[1..]);
        let mode = match declared.what {
            What::Directory => 0o755,
            _ => fs::metadata(&path).unwrap().mode() & 0o777,
        };
        if declared.what != What::Directory {
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, content).unwrap();
        }
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::set_permissions(root.join("etc/chosen"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(root.join("usr/bin/replaced"), "another").unwrap();
}

/// The notes of the fixup as `action path`.
fn notes(json: &Value) -> Vec<String> {
    let notes = json["notes"].as_array().unwrap();
    let own = notes.iter().filter(|note| note["by"] == "permissions");
    own.map(|note| format!("{} {}", text(note, "/action"), text(note, "/path")))
        .collect()
}

/// The paths that any note speaks of.
fn reported(json: &Value) -> BTreeSet<&str> {
    let notes = json["notes"].as_array().unwrap();
    notes.iter().map(|note| text(note, "/path")).collect()
}

#[test]
fn what_layers_lost_comes_back() {
    let Some(image) = Wrecked::make() else { return };
    let json = image.import(&image.source, &[]);
    let root = image.deploy(&json);
    for loss in known_losses() {
        let path = root.join(&loss.path[1..]);
        let metadata = fs::symlink_metadata(&path).unwrap();
        match loss.kind {
            "dir-mode" => {
                let mode = format!("{:04o}", metadata.mode() & 0o7777);
                assert_eq!(mode, loss.declared, "{}", loss.path);
            }
            "group" => assert_eq!(metadata.gid(), POLKITD, "{}", loss.path),
            _ => {
                run(Command::new("setcap")
                    .args(["-q", "-v", loss.declared])
                    .arg(&path));
            }
        }
    }
    for (path, mode, gid) in [
        ("usr/bin/su", 0o4755, 0),
        ("usr/bin/wall", 0o2755, 25),
        ("usr/bin", 0o555, 0),
    ] {
        let metadata = fs::metadata(root.join(path)).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.gid()),
            (mode, gid),
            "{path}"
        );
    }

    // What rpm still finds is what an author did, and the report says it.
    let reported = reported(&json);
    let found = verify(&root);
    for path in &found {
        assert!(reported.contains(&**path), "{path} is not in {reported:?}");
    }
    for meant in ["/etc/chosen", "/usr/bin/replaced"] {
        assert!(found.contains(&meant.to_owned()), "{found:?}");
        assert!(notes(&json).contains(&format!("warning {meant}")));
    }
    assert!(
        !found
            .iter()
            .any(|path| known_losses().iter().any(|loss| loss.path == path))
    );
}

#[test]
fn a_commit_has_lost_nothing() {
    let Some(image) = Wrecked::make() else { return };
    let first = image.import(&image.source, &[]);
    let root = image.check_out(&first, "again");
    let second = image.import(&format!("rootfs:{}", root.display()), &[]);
    let warnings = |json| {
        let mut notes = notes(json);
        notes.retain(|note| note.starts_with("warning"));
        notes
    };
    assert_eq!(notes(&second), warnings(&first));
    assert_eq!(second["tree"], first["tree"]);
}

#[test]
fn the_user_decides_how_far_packages_are_believed() {
    let Some(image) = Wrecked::make() else { return };
    let told = image.import(&image.source, &["--repair=report"]);
    let notes_told = notes(&told);
    assert!(
        notes_told.iter().all(|note| note.starts_with("warning ")),
        "{notes_told:?}"
    );
    let reported = reported(&told);
    let root = image.deploy(&told);
    let found = verify(&root);
    assert!(found.len() > 30, "{found:?}");
    for path in &found {
        assert!(reported.contains(&**path), "{path} is not in {reported:?}");
    }
    fs::remove_dir_all(&root).unwrap();

    let full = image.import(&image.source, &["--repair=full"]);
    let notes_full = notes(&full);
    assert!(
        notes_full.contains(&"changed /etc/chosen".to_owned()),
        "{notes_full:?}"
    );
    let root = image.deploy(&full);
    assert_eq!(
        verify(&root),
        ["/usr/bin/replaced"],
        "its content is the author's"
    );
}
