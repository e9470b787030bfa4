//! Programs made of other crates that do what we do, each a workspace below `tests/peers`.
#![allow(dead_code, reason = "no test target uses all of it")]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::command::not_run;

/// `ostree-ext-peer`, whose commands are those of `tests/peers/ostree-ext`; `None`, and said, where it
/// cannot be built.
pub fn ostree_ext() -> Option<Command> {
    program("ostree-ext-peer")
}

/// `tests/peers/example` with ostree-ext; `None`, and said, where it cannot be built.
pub fn ostree_ext_example() -> Option<Command> {
    program("pull")
}

fn program(name: &str) -> Option<Command> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = tmp.parent().expect("a directory in target").join("peers");
    let built = BUILT.get_or_init(|| {
        let manifest = "tests/peers/ostree-ext/Cargo.toml";
        // The tests of all packages of the workspace come here.
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let manifest = above
            .map(|directory| directory.join(manifest))
            .find(|manifest| manifest.exists())
            .ok_or("it is missing")?;
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    });
    match built {
        Ok(()) => Some(Command::new(target.join("debug").join(name))),
        Err(why) => {
            not_run(&format!("tests/peers/ostree-ext cannot be built: {why}"));
            None
        }
    }
}
