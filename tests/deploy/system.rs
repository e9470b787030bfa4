//! Systems to deploy to, and images to deploy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{import_oci, is_root, not_run, run, scratch};
use crate::support::layout::{Image, Layer};
use crate::support::schema;

/// A system without a boot loader, in a directory of its own.
pub struct System {
    directory: TempDir,
}

impl System {
    /// A system with a stateroot `os`; `None`, and said, where it cannot be made.
    pub fn new() -> Option<Self> {
        if !is_root() {
            not_run("deploying needs root");
            return None;
        }
        let system = Self {
            directory: scratch(),
        };
        fs::create_dir(system.root()).unwrap();
        run(ostree(["admin", "init-fs"]).arg(system.root()));
        run(ostree(["config", "set", "sysroot.bootloader", "none", "--repo"]).arg(system.repo()));
        run(&mut system.ostree_admin(["os-init", "os"]));
        Some(system)
    }

    /// Its physical root.
    pub fn root(&self) -> PathBuf {
        self.at("system")
    }

    pub fn repo(&self) -> PathBuf {
        self.root().join("ostree/repo")
    }

    /// A place beside the system.
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes an image beside it; the image as a source.
    pub fn image(&self, name: &str, layers: impl IntoIterator<Item = Layer>) -> String {
        let image = layers
            .into_iter()
            .fold(Image::new().history(), Image::layer);
        image.write(&self.at(name))
    }

    /// `ostree admin …` on it.
    pub fn ostree_admin<const N: usize>(&self, words: [&str; N]) -> Command {
        let mut command = ostree(["admin"]);
        command.args(words).arg("--sysroot").arg(self.root());
        command
    }

    /// `import-oci deploy …` on it.
    pub fn command(&self, source: &str, options: &[&str]) -> Command {
        let mut command = import_oci();
        command
            .env("OSTREE_SYSROOT_DEBUG", MUTABLE)
            .args(["deploy", "--arch=amd64", "--initramfs=keep", "--sysroot"])
            .arg(self.root())
            .args(options)
            .arg(source);
        command
    }

    /// Deploys; what `--json` prints, which is as its schema says.
    pub fn deploy(&self, source: &str, options: &[&str]) -> Value {
        let output = run(self.command(source, options).args(["--json", "--quiet"]));
        let json: Value = serde_json::from_slice(&output.stdout).expect("--json prints one object");
        let wrong = schema::deploy_v1().check(&json);
        assert!(wrong.is_empty(), "{source}: {wrong:#?}");
        json
    }

    /// Deploys what must be refused; why.
    pub fn refused(&self, source: &str, options: &[&str]) -> String {
        let output = self
            .command(source, options)
            .arg("--quiet")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty());
        said
    }

    /// The deployments as `ostree admin status` lists them, `OS COMMIT.SERIAL` each.
    pub fn deployments(&self) -> Vec<String> {
        let status = text(run(&mut self.ostree_admin(["status"])));
        let lines = status.lines().filter(|line| line.contains('.'));
        let words = |line: &str| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        };
        lines
            .filter(|line| !line.contains(':'))
            .map(words)
            .collect()
    }

    /// The names of all refs.
    pub fn refs(&self) -> Vec<String> {
        let refs = text(run(ostree(["refs", "--repo"]).arg(self.repo())));
        let mut refs: Vec<_> = refs.lines().map(str::to_owned).collect();
        refs.sort();
        refs
    }

    /// The `options` of what boots next, without ostree's own, which stands anywhere among them.
    pub fn boot_arguments(&self) -> String {
        let newest = newest_entry(&self.root());
        let options = newest
            .lines()
            .find_map(|line| line.strip_prefix("options "));
        let words = options.expect("options").split_whitespace();
        let (ostree, own): (Vec<_>, Vec<_>) = words.partition(|word| word.starts_with("ostree="));
        assert_eq!(ostree.len(), 1, "{newest}");
        own.join(" ")
    }

    pub fn fsck(&self) {
        run(ostree(["fsck", "--quiet", "--repo"]).arg(self.repo()));
    }
}

/// The boot loader's entry with the highest version.
fn newest_entry(root: &Path) -> String {
    let entries = fs::read_dir(root.join("boot/loader/entries")).unwrap();
    let version = |text: &String| -> u32 {
        let version = text.lines().find_map(|line| line.strip_prefix("version "));
        version.expect("a version").parse().unwrap()
    };
    let entries = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    entries.max_by_key(version).expect("an entry")
}

/// libostree makes roots of deployments immutable unless it is told to be debugged; then directories
/// of tests can be removed.
const MUTABLE: &str = "mutable-deployments";

fn ostree<const N: usize>(words: [&str; N]) -> Command {
    let mut command = Command::new("ostree");
    command.env("OSTREE_SYSROOT_DEBUG", MUTABLE).args(words);
    command
}

/// The root of a deployment.
pub fn root_of(deployed: &Value) -> PathBuf {
    PathBuf::from(deployed["path"].as_str().expect("a path"))
}

/// What a command printed.
pub fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// A layer that boots as far as libostree looks.
pub fn base() -> Layer {
    Layer::new()
        .directory("etc", 0o755)
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .directory("usr/lib", 0o755)
        .directory("usr/lib64", 0o755)
        .symlink("bin", "usr/bin")
        .symlink("lib", "usr/lib")
        .symlink("lib64", "usr/lib64")
        .file("usr/lib/modules/6.1/vmlinuz", 0o755, "kernel")
        .file("usr/lib/modules/6.1/initramfs.img", 0o644, "initramfs")
        .file(
            "usr/lib/os-release",
            0o644,
            "ID=test\nPRETTY_NAME=\"Test\"\n",
        )
        .symlink("etc/os-release", "../usr/lib/os-release")
}
