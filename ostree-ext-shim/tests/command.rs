//! `ostree container …` through stock ostree, which finds us in `PATH`.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{image, not_run, output, repo, run, stderr, stdout, sysroot, without_kernel};
use tempfile::TempDir;

/// Where stock ostree looks before it looks in `PATH`.
const INSTALLED: &str = "/usr/libexec/libostree/ext/ostree-container";

/// A directory for one test, in which ostree finds us.
struct Place(TempDir);

impl Place {
    /// `None`, and said: another `ostree container` is installed here.
    fn new() -> Option<Self> {
        if Path::new(INSTALLED).exists() {
            not_run(&format!("ostree would call {INSTALLED}"));
            return None;
        }
        let place = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        fs::create_dir(place.at("bin")).unwrap();
        symlink(BINARY, place.at("bin/ostree-container")).unwrap();
        Some(place)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// `ostree container` with these arguments.
    fn ostree(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("ostree");
        command
            .arg("container")
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env_remove("RUST_LOG");
        command
    }

    fn image(&self, arguments: &[&str]) -> String {
        run(self.ostree(&["image"]).args(arguments))
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_ostree-container");

#[test]
fn images_come_and_go() {
    let Some(place) = Place::new() else { return };
    repo(&place.at("repo"), "bare-user");
    let at = place.text("repo");
    let source = image(&place.at("layout"), "1");
    let trusted = format!("ostree-unverified-image:{source}");

    let pulled = place.image(&["pull", &at, &trusted]);
    let wrote = format!("Wrote: {trusted} => ");
    let commit = pulled.lines().find_map(|line| line.strip_prefix(&*wrote));
    let commit = commit.unwrap_or_else(|| panic!("{pulled}")).to_owned();
    assert!(pulled.contains("layers needed: 2"), "{pulled}");
    assert_eq!(pulled.matches("Fetched layer").count(), 2, "{pulled}");
    let again = place.image(&["pull", &at, &trusted]);
    assert_eq!(again, format!("No changes in {trusted} => {commit}\n"));

    let repo_option = format!("--repo={at}");
    assert_eq!(place.image(&["list", &repo_option]), format!("{source}\n"));
    let manifest = place.image(&["metadata", &repo_option, &source]);
    assert!(manifest.contains(r#""schemaVersion":2"#), "{manifest}");
    let config = place.image(&["metadata", &repo_option, "--config", &source]);
    assert!(config.contains(r#""diff_ids":["#), "{config}");
    let history = place.image(&["history", &repo_option, &source]);
    assert!(history.starts_with("ID "), "{history}");
    assert_eq!(history.lines().count(), 3, "{history}");

    // The upper layer alone is read for the second version.
    fs::remove_dir_all(place.at("layout")).unwrap();
    image(&place.at("layout"), "2");
    let manifest = place.text("manifest.json");
    place.image(&["pull", &at, &trusted, "--check", &manifest]);
    let manifest = fs::read_to_string(manifest).unwrap();
    assert!(manifest.contains(r#""schemaVersion":2"#), "{manifest}");
    let pulled = place.image(&["pull", "--quiet", &at, &trusted]);
    let needed = "layers already present: 1; layers needed: 1";
    assert!(pulled.contains(needed), "{pulled}");
    assert!(pulled.contains("Added layers:     1"), "{pulled}");
    assert!(!pulled.contains("Fetched"), "{pulled}");

    repo(&place.at("other"), "archive");
    let (from, to) = (format!("--src-repo={at}"), place.text("other"));
    place.image(&["copy", &from, &format!("--dest-repo={to}"), &trusted]);
    assert_eq!(
        place.image(&["list", &format!("--repo={to}")]),
        format!("{source}\n")
    );
    run(Command::new("ostree").args(["fsck", &format!("--repo={to}")]));

    let removed = place.image(&["remove", &repo_option, &source]);
    assert_eq!(removed, "Removed images: 1 layers: 2\n");
    assert_eq!(place.image(&["list", &repo_option]), "");
    let removed = place.image(&["prune-layers", &repo_option]);
    assert_eq!(removed, "Removed layers: 0\n");
    let missing = output(&mut place.ostree(&["image", "remove", &repo_option, &source]));
    assert!(!missing.status.success() && stderr(&missing).contains(&source));
}

#[test]
fn a_system() {
    let Some(place) = Place::new() else { return };
    if !rustix::process::geteuid().is_root() {
        return not_run("deployments take root");
    }
    sysroot(&place.at("system"));
    let system = format!("--sysroot={}", place.text("system"));
    let deploy = |image: &str| {
        let image = format!("--imgref=ostree-unverified-image:{image}");
        let to = format!("--write-commitid-to={}", place.text("commit"));
        let options = ["--stateroot=os", "--karg=rw", "--karg=quiet"];
        place.image(&[&["deploy", &*system, &*image, &*to][..], &options].concat());
        fs::read_to_string(place.at("commit")).unwrap()
    };
    let commit = deploy(&image(&place.at("first"), "1"));
    let status = run(Command::new("ostree").args(["admin", "status", &system]));
    assert!(status.contains(&commit), "{status}");
    let origin = place.at(&format!("system/ostree/deploy/os/deploy/{commit}.0.origin"));
    let names = format!("ostree-unverified-image:oci:{}:v1", place.text("first"));
    let origin = fs::read_to_string(origin).unwrap();
    assert_eq!(
        origin,
        format!("[origin]\ncontainer-image-reference={names}\n")
    );

    // One that was pulled and never deployed.
    let repo = place.text("system/ostree/repo");
    let second = image(&place.at("second"), "2");
    place.image(&[
        "pull",
        "--quiet",
        &repo,
        &format!("ostree-unverified-image:{second}"),
    ]);
    let removed = place.image(&["prune-images", &system, "--and-layers"]);
    assert_eq!(removed, format!("Removed: {second}\nRemoved layers: 1\n"));
    let removed = place.image(&["prune-images", &system]);
    assert_eq!(removed, "No unreferenced images.\n");
    let freed = place.image(&["prune-images", &system, "--full"]);
    assert!(
        freed.contains("Removed images: 0\n") && freed.contains("Freed: "),
        "{freed}"
    );
    run(Command::new("ostree").args(["fsck", &format!("--repo={repo}")]));

    // Arguments are not those of the deployment before, but these alone.
    let entries = place.at("system/boot/loader/entries");
    let entry = fs::read_dir(entries).unwrap().next().unwrap().unwrap();
    let entry = fs::read_to_string(entry.path()).unwrap();
    assert!(entry.contains("options rw quiet ostree="), "{entry}");
}

#[test]
fn what_is_not_done_says_what_is() {
    let Some(place) = Place::new() else { return };
    for (words, part) in [
        (&["commit"][..], "leave it out"),
        (
            &["encapsulate", "--repo=x", "ref", "oci:x"],
            "makes no images",
        ),
        (&["unencapsulate", "--repo=x", "x"], "image pull"),
        (&["image", "reexport", "x"], "skopeo copy"),
        (&["image", "nonsense"], "--help"),
    ] {
        let output = output(&mut place.ostree(words));
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let error = stderr(&output);
        assert!(error.contains(part), "{words:?}: {error}");
    }
    let help = stdout(&output(&mut place.ostree(&["image", "--help"])));
    for word in [
        "pull",
        "list",
        "metadata",
        "history",
        "remove",
        "prune-images",
        "deploy",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn what_would_not_boot_is_refused() {
    let Some(place) = Place::new() else { return };
    repo(&place.at("repo"), "archive");
    let source = format!(
        "ostree-unverified-image:{}",
        without_kernel(&place.at("layout"))
    );
    let refused = output(&mut place.ostree(&["image", "pull", &place.text("repo"), &source]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("no kernel"),
        "{}",
        stderr(&refused)
    );
    let refs = format!("--repo={}", place.text("repo"));
    assert_eq!(run(Command::new("ostree").args(["refs", &refs])), "");
}

/// Where stock ostree looks, in a root of its own.
#[test]
fn installed_where_nobody_else_is() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-ostree-ext");
    let install = || {
        let mut command = Command::new(&script);
        command.arg(BINARY).arg(place.path()).arg("/usr/local");
        command
    };
    run(&mut install());
    let link = place.path().join(&INSTALLED[1..]);
    let target = fs::read_link(&link).unwrap();
    assert_eq!(
        target,
        Path::new("/usr/local/libexec/import-oci/ostree-container")
    );
    let installed = place.path().join(target.strip_prefix("/").unwrap());
    let version = run(Command::new(installed).arg("--version"));
    assert!(version.starts_with("ostree "), "{version}");
    // Ours is replaced,
    run(&mut install());
    // another's is not.
    for other in ["/usr/bin/rpm-ostree", "/usr/bin/bootc"] {
        fs::remove_file(&link).unwrap();
        symlink(other, &link).unwrap();
        let refused = output(&mut install());
        assert!(!refused.status.success());
        assert!(stderr(&refused).contains(other), "{}", stderr(&refused));
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(other));
    }
    fs::remove_file(&link).unwrap();
    fs::write(&link, "a program").unwrap();
    assert!(!output(&mut install()).status.success());
    assert_eq!(fs::read(&link).unwrap(), b"a program");
}
