//! `import-oci check`: would an image boot, and what would an import change? It writes nothing.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::command::{import, import_oci, is_root, not_run, run, scratch, text};
use support::layout::{Image, Layer};
use support::listing::read_directory;
use support::schema;

/// Checks `source` and returns what `--json` prints, which is as its schema says, and the exit code.
fn check(source: &str, options: &[&str]) -> (Value, i32) {
    let output = output(source, &[&["--json", "--quiet"], options].concat());
    let json: Value = serde_json::from_slice(&output.stdout).expect("--json prints one object");
    let wrong = schema::check_v1().check(&json);
    assert!(wrong.is_empty(), "{source}: {wrong:#?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (json, output.status.code().expect("no signal"))
}

fn output(source: &str, options: &[&str]) -> Output {
    let mut command = import_oci();
    command.args(["check", source]).args(options);
    command.output().unwrap()
}

/// `severity by path` of each finding.
fn findings(json: &Value) -> Vec<String> {
    let findings = json["findings"].as_array().unwrap().iter();
    let word = |finding, field| text(finding, field).to_owned();
    findings
        .map(|f| {
            ["/severity", "/by", "/path"]
                .map(|field| word(f, field))
                .join(" ")
        })
        .collect()
}

/// An image with a kernel, and an initramfs that nobody looks into.
fn bootable(layer: Layer, directory: &Path) -> String {
    let layer = layer
        .file("usr/lib/modules/6.1/vmlinuz", 0o644, "kernel")
        .file("usr/lib/modules/6.1/initramfs.img", 0o644, "initramfs");
    Image::new().layer(layer).write(directory)
}

#[test]
fn what_is_fatal_is_told_at_once_and_decides_the_exit_code() {
    let directory = scratch();
    let layer = Layer::new()
        .file("etc/a", 0o644, "1")
        .file("usr/etc/a", 0o644, "2")
        .file("etc/b", 0o644, "1")
        .file("usr/etc/b", 0o644, "2")
        .file("usr/.ostree-wh.x", 0o644, "no whiteout");
    let image = bootable(layer, &directory.path().join("image"));
    let (json, code) = check(&image, &["--initramfs=keep"]);
    assert_eq!((code, &json["bootable"]), (1, &Value::Bool(false)));
    let found = findings(&json);
    assert_eq!(
        found[..3],
        [
            "fatal special-files /usr/.ostree-wh.x",
            "fatal etc /etc/a",
            "fatal etc /etc/b"
        ]
    );
    for finding in &json["findings"].as_array().unwrap()[..3] {
        assert!(!text(finding, "/fix").is_empty());
    }
    // An import refuses for the same reasons, all of them, and says the way out.
    let repo = directory.path().join("repo");
    let refused = import_oci()
        .args(support::command::import_arguments(
            &repo,
            "bare-user",
            &image,
        ))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in [
        "/usr/.ostree-wh.x: ",
        "/etc/a: ",
        "/etc/b: ",
        "--etc-conflict=etc",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }

    let (json, code) = check(&image, &["--initramfs=keep", "--etc-conflict=etc"]);
    assert_eq!(code, 1);
    let fatal = findings(&json)
        .into_iter()
        .filter(|f| f.starts_with("fatal"));
    assert_eq!(fatal.count(), 1, "{json:#}");
}

#[test]
fn a_clean_image_says_so_in_one_line() {
    if !is_root() {
        return not_run("a checkout with owners takes root");
    }
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let layer = Layer::new().file("etc/x", 0o600, "x").fifo("usr/fifo");
    let image = bootable(layer, &at("image"));
    let json = import(&at("repo"), "bare", &image, &["--initramfs=keep"]);
    run(Command::new("ostree")
        .arg(format!("--repo={}", at("repo").display()))
        .args(["checkout", "--require-hardlinks", text(&json, "/commit")])
        .arg(at("checkout")));
    let source = format!("rootfs:{}", at("checkout").display());
    let output = output(&source, &["--initramfs=keep"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{source}: would boot, nothing to repair\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn it_writes_nothing() {
    let directory = scratch();
    let layer = Layer::new().fifo("usr/fifo").file("etc/x", 0o600, "x");
    let image = bootable(layer, &directory.path().join("image"));
    let temporary = directory.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let before = read_directory(&directory.path().join("image"))
        .unwrap()
        .listing;
    run(import_oci()
        .args(["check", "--initramfs=keep", &image])
        .env("TMPDIR", &temporary)
        .current_dir(&temporary));
    let after = read_directory(&directory.path().join("image"))
        .unwrap()
        .listing;
    assert_eq!(before, after);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_table_on_a_terminal() {
    let directory = scratch();
    let layer = Layer::new().fifo("usr/fifo").file("etc/x", 0o600, "x");
    let image = bootable(layer, &directory.path().join("image"));
    let program = import_oci().get_program().to_owned();
    let command = format!(
        "stty cols 60; {} check -q --initramfs=keep {image}",
        program.to_str().unwrap()
    );
    // `script` gives it a terminal.
    let output = run(Command::new("script").args(["-qec", &command, "/dev/null"]));
    let screen = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let rows: Vec<_> = screen.lines().collect();
    assert!(rows[0].contains(": would boot: 0 fatal"), "{screen}");
    let rows = &rows[1..];
    assert!(rows.iter().all(|row| row.chars().count() <= 60), "{screen}");
    let column = rows[0].find("path").expect("a header");
    let fifo = rows.iter().find(|row| row.contains("/usr/fifo")).unwrap();
    assert_eq!(fifo.find("/usr/fifo"), Some(column), "{screen}");
    assert!(screen.contains("FIFO"), "{screen}");
}

#[test]
fn the_schema_describes_everything() {
    assert_eq!(schema::check_v1().undescribed(), Vec::<String>::new());
}
