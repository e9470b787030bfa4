//! The test program: `vm-tests [FILTER]`, with the options of `cargo test`'s own programs.
//!
//! It takes `import-oci` and the guests' agent from its own directory, and keeps logs and pages in
//! `target/vm-tests`. Where no machine can be started it says why and exits with 77.

mod cases;
mod lab;
mod system;

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

/// Exit code of a test that cannot run here, as automake and meson read it.
const NOT_RUN: u8 = 77;

/// Set in the program that runs in its own mount namespace.
const INSIDE: &str = "IMPORT_OCI_VM_TESTS_INSIDE";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let trials = cases::CASES.iter().map(|&(name, case)| {
        Trial::test(name, move || {
            lab::run_case(name, case).map_err(|error| format!("{error:#}").into())
        })
    });
    if arguments.list {
        return libtest_mimic::run(&arguments, trials.collect()).exit_code();
    }
    if let Some(reason) = cannot_run() {
        writeln!(io::stderr(), "vm-tests: not run: {reason}").ok();
        return ExitCode::from(NOT_RUN);
    }
    if std::env::var_os(INSIDE).is_none() {
        return enter_namespace();
    }
    // A guest takes all cores that a small machine has.
    arguments.test_threads.get_or_insert(1);
    let _lock = match lab::lock_output() {
        Ok(lock) => lock,
        Err(error) => {
            writeln!(io::stderr(), "vm-tests: {error:#}").ok();
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    lab::remove_disks();
    if conclusion.num_passed + conclusion.num_failed == 0 {
        writeln!(io::stderr(), "vm-tests: no case has such a name").ok();
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Starts this program again where its mounts end with it, however it ends.
fn enter_namespace() -> ExitCode {
    let error = Command::new("unshare")
        .args(["--mount", "--propagation=private"])
        .arg(std::env::current_exe().expect("Linux knows"))
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    writeln!(io::stderr(), "vm-tests: starting unshare: {error}").ok();
    ExitCode::FAILURE
}

/// Why no case can run here.
fn cannot_run() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root mounts the disks of guests".to_owned());
    }
    if !cfg!(target_arch = "x86_64") {
        return Some("the images are for x86_64".to_owned());
    }
    let programs = [
        "qemu-system-x86_64",
        "umoci",
        "ostree",
        "mkfs.ext4",
        "e2fsck",
        "unshare",
        "losetup",
    ];
    let missing = programs.iter().find(|program| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        !std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    })?;
    Some(format!(
        "there is no {missing}; scripts/deps and scripts/vm-deps install it"
    ))
}
