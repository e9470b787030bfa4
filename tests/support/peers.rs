//! Programs made of other crates that do what we do, each a workspace below `tests/peers`, and what is
//! made of our shim in the place of such a crate.
#![allow(dead_code, reason = "no test target uses all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::command::not_run;

/// `ostree-ext-peer`, whose commands are those of `tests/peers/ostree-ext`; `None`, and said, where it
/// cannot be built.
pub fn ostree_ext() -> Option<Command> {
    program("debug/ostree-ext-peer")
}

/// `tests/peers/example` with ostree-ext; `None`, and said, where it cannot be built.
pub fn example() -> Option<Command> {
    program("debug/pull")
}

/// The same with ostree-ext-shim in place of ostree-ext.
pub fn example_of_shim() -> Option<Command> {
    program("shim/debug/pull")
}

/// The manifests of both.
pub fn manifests_of_example() -> [PathBuf; 2] {
    let of_example = "tests/peers/example/Cargo.toml";
    [
        find(of_example).expect("it lies in the tree"),
        target().join("shim/Cargo.toml"),
    ]
}

fn program(name: &str) -> Option<Command> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let output = Command::new(find("scripts/peers").ok_or("scripts/peers is missing")?)
            .arg(target())
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    });
    match built {
        Ok(()) => Some(Command::new(target().join(name))),
        Err(why) => {
            not_run(&format!(
                "the workspaces of tests/peers cannot be built: {why}"
            ));
            None
        }
    }
}

fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("a directory in target").join("peers")
}

/// A file of the tree: the tests of all packages of the workspace come here.
fn find(name: &str) -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above
        .map(|directory| directory.join(name))
        .find(|file| file.exists())
}
