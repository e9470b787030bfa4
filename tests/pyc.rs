//! Python takes the compiled files of a deployment as they are.
//!
//! `python3 -v` says of each module whether its compiled file `matches` its source or `is stale`.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use common::image::Image;
use common::{import, not_run, run};

/// The modification time that [`Image`] gives every file.
const TIME: u64 = 1_700_000_000;

const MODULES: [&str; 3] = ["__init__", "one", "two"];

/// Compiles a package and returns its files: path and content.
fn compiled_package(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let package = directory.join("package");
    fs::create_dir(&package).unwrap();
    for module in MODULES {
        let source = package.join(format!("{module}.py"));
        let empty = module == "__init__";
        let code = format!("name = '{module}'\n");
        fs::write(&source, if empty { "" } else { &code }).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(TIME);
        File::options()
            .write(true)
            .open(&source)
            .and_then(|file| file.set_modified(time))
            .unwrap();
    }
    // Whatever the environment of the tests says of dates, these are the files' own.
    let compile = ["-m", "compileall", "-q", "--invalidation-mode=timestamp"];
    run(Command::new("python3").args(compile).arg(&package));
    let mut files = Vec::new();
    for place in [package.clone(), package.join("__pycache__")] {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let inside = path.strip_prefix(directory).unwrap();
                let inside = inside.to_str().unwrap().to_owned();
                files.push((inside, fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn python_compiles_nothing_anew() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut image = Image::new();
    for (path, content) in compiled_package(directory.path()) {
        image = image.file(&format!("usr/lib/python/{path}"), content);
    }
    let layout = image.write(&directory.path().join("image"));
    for (skip, valid) in [(&["--skip-fixup=pyc"][..], false), (&[], true)] {
        let name = format!("valid-{valid}");
        let repo = directory.path().join(format!("{name}-repo"));
        let commit = run(import(&repo, &layout.reference())
            .args(["--init=bare-user", "--quiet"])
            .args(skip));
        let root = directory.path().join(name);
        checkout(&repo, &commit, &["-U"], &root);
        let said = python(
            Command::new("python3").env("PYTHONPATH", root.join("usr/lib/python")),
            "import package.one, package.two",
        );
        let of_package = |line: &&str| line.contains("/package/");
        let matches = said
            .lines()
            .filter(of_package)
            .filter(|line| line.contains(" matches "))
            .count();
        let stale = said.matches("bytecode is stale for 'package").count();
        let expected = if valid { (3, 0) } else { (0, 3) };
        assert_eq!((matches, stale), expected, "{said}");
    }
}

/// The image's own Python, in a checkout of the commit.
#[test]
fn the_python_of_the_demo_image_compiles_nothing_anew() {
    let Some(image) = std::env::var_os("IMPORT_OCI_DEMO_IMAGE") else {
        return not_run("IMPORT_OCI_DEMO_IMAGE names no image");
    };
    if !rustix::process::geteuid().is_root() {
        return not_run("only root may change its root directory");
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let repo = directory.path().join("repo");
    let source = format!("oci:{}:v1", image.to_str().unwrap());
    let commit = run(import(&repo, &source).args(["--init=bare", "--quiet", "--initramfs=keep"]));
    let root = directory.path().join("root");
    checkout(&repo, &commit, &["-H"], &root);
    let said = python(
        Command::new("chroot").arg(&root).arg("/usr/bin/python3"),
        "import argparse, email.message, json, logging, tempfile, urllib.request",
    );
    assert!(said.matches(" matches ").count() > 30, "{said}");
    let anew = |line: &&str| line.contains("bytecode is stale") || line.starts_with("# wrote ");
    assert_eq!(said.lines().filter(anew).collect::<Vec<_>>(), [""; 0]);
}

fn checkout(repo: &Path, commit: &str, options: &[&str], to: &Path) {
    run(Command::new("ostree")
        .arg("checkout")
        .arg(format!("--repo={}", repo.display()))
        .args(options)
        .arg(commit)
        .arg(to));
}

/// What Python says of the modules that a line of code imports.
fn python(command: &mut Command, code: &str) -> String {
    let output = common::output(command.args(["-v", "-c", code]).env_remove("PYTHONHOME"));
    let said = common::stderr(&output).to_owned();
    assert!(output.status.success(), "{said}");
    said
}
