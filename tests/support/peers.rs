//! Programs made of other crates that do what we do, each a workspace below `tests/peers`.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::command::not_run;

/// `ostree-ext-peer`, whose commands are those of `tests/peers/ostree-ext`; `None`, and said, where it
/// cannot be built.
pub fn ostree_ext() -> Option<Command> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = tmp.parent().expect("a directory in target").join("peers");
    let built = BUILT.get_or_init(|| {
        let manifest = "tests/peers/ostree-ext/Cargo.toml";
        let output = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--manifest-path", manifest])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    });
    match built {
        Ok(()) => Some(Command::new(target.join("debug/ostree-ext-peer"))),
        Err(why) => {
            not_run(&format!("tests/peers/ostree-ext cannot be built: {why}"));
            None
        }
    }
}
