//! The command under test, and what is said where it cannot be tested.

use std::process::Command;

/// `import-oci`, without what the environment of the tests would tell it.
pub fn import_oci() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_import-oci"));
    for variable in ["OSTREE_REPO", "RUST_LOG", "SOURCE_DATE_EPOCH"] {
        command.env_remove(variable);
    }
    command
}

/// Says that a case cannot be tried here. Where all are expected to be, that is a failure.
pub fn not_run(why: &str) {
    println!("not run: {why}");
    assert!(std::env::var_os("CI").is_none(), "not run: {why}");
}
