//! Starting programs, with errors that say what they said.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A command of these words.
pub fn command<const N: usize>(words: [&str; N]) -> Command {
    let [program, arguments @ ..] = words.as_slice() else {
        unreachable!("a command has a name");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a command and returns what it printed, without white space around it.
///
/// # Errors
/// It cannot be started, or it failed: then the error holds its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    ensure!(status.success(), "{command:?}: {status}: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// As [`run`], for a command whose standard error is worth keeping: it goes to `log`.
///
/// # Errors
/// As [`run`]; the error names the log.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<String> {
    let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
    let output = command
        .stdin(Stdio::null())
        .stderr(file)
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let (status, log) = (output.status, log.display());
    ensure!(status.success(), "{command:?}: {status}, see {log}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
