//! Images that boot, as far as an import can tell, and programs that are run on them.
#![allow(dead_code, reason = "no test target uses all of it")]

#[path = "../../../tests/support/layout.rs"]
mod layout;

use std::path::Path;
use std::process::{Command, Output};

use layout::{CREATED, Image, Layer};

/// Writes an image of two layers with a kernel and an initramfs to `directory`; its reference. Of two
/// versions the upper layer differs.
pub fn image(directory: &Path, version: &str) -> String {
    let lower = Layer::new()
        .directory("./", 0o755)
        .directory("etc", 0o755)
        .file("etc/hosts", 0o644, "127.0.0.1 localhost\n")
        .directory("usr/bin", 0o755)
        .file("usr/bin/sh", 0o755, "#!")
        .file(
            "usr/lib/os-release",
            0o644,
            "NAME=Test\nID=test\nVERSION_ID=1\n",
        )
        .file("usr/lib/modules/6.1.0/vmlinuz", 0o644, "kernel")
        .bytes(
            "usr/lib/modules/6.1.0/initramfs.img",
            0o644,
            (0, 0),
            &initramfs(),
        );
    let upper = Layer::new().file("usr/share/version", 0o644, version);
    Image::new()
        .layer(lower)
        .layer(upper)
        .created(CREATED)
        .version(version)
        .write(directory)
}

/// Writes an image that is no system; its reference.
pub fn without_kernel(directory: &Path) -> String {
    let layer = Layer::new().file("usr/bin/sh", 0o755, "#!");
    Image::new().layer(layer).write(directory)
}

/// An initramfs, as cpio writes it, that brings up an OSTree system.
fn initramfs() -> Vec<u8> {
    let files = [
        "usr/lib/ostree/ostree-prepare-root",
        "usr/lib/systemd/system/ostree-prepare-root.service",
        "TRAILER!!!",
    ];
    let mut archive = Vec::new();
    let pad = |archive: &mut Vec<u8>| archive.resize(archive.len().next_multiple_of(4), 0);
    for name in files {
        let (content, length) = ("content", name.len() + 1);
        let (mode, size) = match name {
            "TRAILER!!!" => (0, 0),
            _ => (0o100_755, content.len()),
        };
        let fields = [1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        archive.extend(b"070701");
        archive.extend(
            fields
                .iter()
                .flat_map(|field| format!("{field:08x}").into_bytes()),
        );
        archive.extend(name.as_bytes());
        archive.push(0);
        pad(&mut archive);
        archive.extend(&content.as_bytes()[..size]);
        pad(&mut archive);
    }
    archive
}

/// An empty repo.
pub fn repo(path: &Path, mode: &str) {
    run(Command::new("ostree")
        .arg("init")
        .arg(format!("--mode={mode}"))
        .arg(format!("--repo={}", path.display())));
}

/// A system with a stateroot `os` and nothing deployed.
pub fn sysroot(path: &Path) {
    std::fs::create_dir(path).unwrap();
    let admin = |arguments: &[&str]| {
        run(Command::new("ostree")
            .arg("admin")
            .args(arguments)
            .arg(path.to_str().unwrap()));
    };
    admin(&["init-fs"]);
    admin(&["os-init", "os", "--sysroot"]);
    run(Command::new("ostree")
        .arg(format!("--repo={}", path.join("ostree/repo").display()))
        .args(["config", "set", "sysroot.bootloader", "none"]));
}

/// Runs a command that has to succeed; what it printed.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

/// Runs a command, whatever it says.
pub fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command wrote to its standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What a command wrote to its standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Says that a case cannot be tried here. Where all are expected to be, that is a failure.
pub fn not_run(why: &str) {
    println!("not run: {why}");
    assert!(std::env::var_os("CI").is_none(), "not run: {why}");
}
