//! RPM packages made and installed by rpm itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::command::run;

/// Where the database of the packages lies.
const DATABASE: &str = "/usr/lib/sysimage/rpm";

/// One path of a package.
#[derive(Debug, Clone)]
pub struct Declared {
    pub path: String,
    pub mode: u32,
    pub group: &'static str,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Directory,
    /// A file, its `%attributes` and its content.
    File(&'static str, &'static str),
    /// A file with capabilities, which is its own path.
    Capabilities(String),
}

/// An empty root with the accounts of the packages, and links as a merged /usr has them.
pub fn root(directory: &Path) -> PathBuf {
    let root = directory.join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    let passwd = "root:x:0:0:root:/root:/bin/sh\n";
    let group = "root:x:0:\npolkitd:x:998:\nnamed:x:25:\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), group).unwrap();
    root
}

/// Builds a package with these paths and installs it into `root`.
pub fn install(directory: &Path, root: &Path, name: &str, paths: &[Declared]) {
    let (mut making, mut files) = (String::new(), String::new());
    for Declared {
        path,
        mode,
        group,
        what,
    } in paths
    {
        let (attributes, content) = match what {
            What::Directory => ("%dir".to_owned(), None),
            What::File(attributes, content) => ((*attributes).to_owned(), Some(*content)),
            What::Capabilities(text) => (format!("%caps({text})"), Some(&**path)),
        };
        match content {
            None => making += &format!("mkdir -p %{{buildroot}}{path}\n"),
            Some(content) => {
                making += &format!(
                    "install -D /dev/stdin %{{buildroot}}{path} <<'END'\n{content}\nEND\n"
                );
            }
        }
        files += &format!("%attr({mode:04o}, root, {group}) {attributes} {path}\n");
    }
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1\nSummary: A package of a test\nLicense: MIT\n\
         %description\n%{{summary}}\n%install\n{making}%files\n{files}"
    );
    let file = directory.join(format!("{name}.spec"));
    fs::write(&file, spec).unwrap();
    let top = directory.join("rpmbuild");
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--target=noarch"])
        .args(["--define", &format!("_topdir {}", top.display())])
        .arg(&file));
    let package = top.join(format!("RPMS/noarch/{name}-1-1.noarch.rpm"));
    run(rpm(root).args(["--install", "--nodeps"]).arg(package));
}

/// The paths at which `rpm --verify` finds something, with the links to them followed.
pub fn verify(root: &Path) -> Vec<String> {
    let output = rpm(root)
        .args(["--verify", "--all", "--nomtime"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<_> = text
        .lines()
        .map(|line| match line.split_once('/') {
            Some((_, path)) => follow_parents(root, path),
            None => panic!("rpm says: {line}"),
        })
        .collect();
    assert_eq!(output.status.success(), found.is_empty(), "{text}");
    found
}

/// rpm says `/bin/x` where the package does, and `/bin` may be a link.
fn follow_parents(root: &Path, path: &str) -> String {
    let path = Path::new(path);
    let parent = root.join(path.parent().unwrap());
    let parent = parent.canonicalize().unwrap();
    let parent = parent.strip_prefix(root.canonicalize().unwrap()).unwrap();
    let path = Path::new("/").join(parent).join(path.file_name().unwrap());
    path.to_str().unwrap().to_owned()
}

fn rpm(root: &Path) -> Command {
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(root).args(["--dbpath", DATABASE]);
    rpm
}
