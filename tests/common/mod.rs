//! Images made on the spot, and the commands that are run on them.

// Each test target uses a part of it.
#![allow(dead_code)]

pub mod image;
mod program;

use std::path::Path;
use std::process::{Command, Output};

pub use program::{import_oci, not_run};

/// `import-oci --repo REPO --no-kernel SOURCE`.
pub fn import(repo: &Path, source: &str) -> Command {
    let mut command = import_oci();
    command
        .arg("--repo")
        .arg(repo)
        .arg("--no-kernel")
        .arg(source);
    command
}

/// Runs a command that has to succeed; its standard output without the last newline.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        stderr(&output)
    );
    stdout(&output).trim_end_matches('\n').to_owned()
}

/// Runs a command, whatever it says.
pub fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command wrote to its standard output.
pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

/// What a command wrote to its standard error.
pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}
