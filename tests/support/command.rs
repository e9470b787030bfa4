//! Programs that tests run: the command under test, and those that judge it.
#![allow(dead_code, unused_imports, reason = "no test target uses all of it")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::schema;

#[path = "../common/program.rs"]
mod program;
pub use program::{import_oci, not_run};

/// The arguments that import `source` into the repo `repo`, which is made with this mode if it is
/// not there. Few images of tests have a kernel.
pub fn import_arguments(repo: &Path, mode: &str, source: &str) -> Vec<String> {
    vec![
        format!("--repo={}", repo.display()),
        format!("--init={mode}"),
        "--no-kernel".to_owned(),
        source.to_owned(),
    ]
}

/// Imports and returns the JSON object that `--json` prints, which is as its schema says.
pub fn import(repo: &Path, mode: &str, source: &str, options: &[&str]) -> Value {
    let output = run(import_oci()
        .args(import_arguments(repo, mode, source))
        .args(["--quiet", "--json"])
        .args(options));
    let json: Value = serde_json::from_slice(&output.stdout).expect("--json prints one object");
    let wrong = schema::import_v1().check(&json);
    assert!(wrong.is_empty(), "{source}: {wrong:#?}");
    json
}

/// The text at a JSON pointer.
pub fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer}"))
}

/// Lets `ostree fsck` look at every object.
pub fn fsck(repo: &Path) {
    run(Command::new("ostree")
        .arg("fsck")
        .arg(format!("--repo={}", repo.display())));
}

/// Copies an image with skopeo.
pub fn skopeo_copy(from: &str, to: &str, options: &[&str]) {
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", from, to])
        .args(options));
}

/// The digest of the manifest of an image, as skopeo sees it.
pub fn skopeo_digest(reference: &str) -> String {
    let output = run(Command::new("skopeo").args([
        "inspect",
        "--no-tags",
        "--format={{.Digest}}",
        reference,
    ]));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs a command that has to succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output
}

/// A directory on the file system of `target`, which is as real as repos and xattrs want it.
pub fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
