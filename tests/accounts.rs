//! System accounts on real deployments: libostree merges `/etc` of hosts that have their own
//! accounts, systemd reads our lines, and what an account owns stays its own.

mod support {
    pub mod command;
    pub mod layout;
    pub mod schema;
}

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::command::{import, import_oci, is_root, not_run, run, scratch};
use support::layout::{CREATED, Image, Layer};
use tempfile::TempDir;

const SYSUSERS: &str = "usr/lib/sysusers.d/00-import-oci.conf";
const TMPFILES: &str = "usr/lib/tmpfiles.d/import-oci-accounts.conf";

/// A name with all that means something to systemd-tmpfiles.
const ODD: &str = r#"a b%c*[d]"\e"#;

/// An image that boots as far as libostree can tell, in which polkitd has these numbers.
fn image(uid: u32, gid: u32) -> Layer {
    let polkitd = (u64::from(uid), u64::from(gid));
    Layer::new()
        .file("usr/lib/modules/1/vmlinuz", 0o644, "kernel")
        .file("usr/lib/modules/1/initramfs.img", 0o644, "initramfs")
        .file("usr/lib/os-release", 0o644, "ID=test\n")
        .file(
            "etc/passwd",
            0o644,
            &format!(
                "root:x:0:0:root:/root:/bin/sh\n\
                 polkitd:x:{uid}:{gid}:User \"for\" 100%:/:/usr/sbin/nologin\n"
            ),
        )
        .file(
            "etc/group",
            0o644,
            &format!("root:x:0:\nshadow:x:42:\npolkitd:x:{gid}:\n"),
        )
        .owned_file("etc/shadow", 0o640, (0, 42), "root:*:19000:0:99999:7:::\n")
        .owned_directory("etc/polkit-1/rules.d", 0o750, (0, polkitd.1))
        .owned_file(&format!("etc/polkit-1/{ODD}"), 0o640, polkitd, "")
        .owned_directory("usr/share/polkit-1", 0o750, polkitd)
}

fn write(layer: Layer, directory: &Path, name: &str) -> String {
    let image = Image::new().created(CREATED).layer(layer);
    image.write(&directory.join(name))
}

/// A sysroot with a stateroot of its own.
struct Sysroot(TempDir);

impl Sysroot {
    /// `None`: only root can deploy, and only with these programs.
    fn new() -> Option<Self> {
        if !is_root() {
            not_run("only root can deploy");
            return None;
        }
        for program in ["systemd-sysusers", "systemd-tmpfiles"] {
            if Command::new(program).arg("--version").output().is_err() {
                not_run(&format!("no {program}"));
                return None;
            }
        }
        let sysroot = Self(scratch());
        run(Command::new("ostree")
            .args(["admin", "init-fs"])
            .arg(sysroot.0.path()));
        sysroot.admin(&["os-init", "test"]);
        Some(sysroot)
    }

    fn repo(&self) -> PathBuf {
        self.0.path().join("ostree/repo")
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }

    fn admin(&self, arguments: &[&str]) {
        let sysroot = format!("--sysroot={}", self.0.path().display());
        // Directories that cannot be changed cannot be removed either.
        run(Command::new("ostree")
            .arg("admin")
            .args(arguments)
            .arg(sysroot)
            .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments"));
    }

    /// Imports an image, deploys it, and lets systemd read our lines as it does at boot.
    fn deploy(&self, image: &str, options: &[&str]) -> Deployment {
        let json = import(
            &self.repo(),
            "bare",
            image,
            &[&["--initramfs=keep"], options].concat(),
        );
        let commit = json["commit"].as_str().unwrap();
        self.admin(&["deploy", "--os=test", commit]);
        let deployments = self.0.path().join("ostree/deploy/test/deploy");
        Deployment(deployments.join(format!("{commit}.0")))
    }
}

/// The root of a deployment.
struct Deployment(PathBuf);

impl Deployment {
    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn append(&self, path: &str, text: &str) {
        fs::write(self.path(path), self.read(path) + text).unwrap();
    }

    /// The numbers of an account, as the files of the host say.
    fn numbers(&self, user: &str) -> (u32, u32) {
        numbers(&self.read("etc/passwd"), user)
    }

    fn owner(&self, path: &str) -> (u32, u32) {
        let metadata = fs::symlink_metadata(self.path(path)).unwrap();
        (metadata.uid(), metadata.gid())
    }

    /// What systemd does with our lines before any service starts.
    fn boot(&self) {
        // The file is all that both programs need to read: other lines are not what is tried here.
        self.systemd(&["systemd-sysusers"], "00-import-oci.conf");
        self.systemd(
            &["systemd-tmpfiles", "--create"],
            "import-oci-accounts.conf",
        );
    }

    fn systemd(&self, program: &[&str], file: &str) {
        let output = run(Command::new(program[0])
            .args(&program[1..])
            .arg(format!("--root={}", self.0.display()))
            .arg(file));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for complaint in [
            "Failed",
            "Unknown",
            "Duplicate",
            "invalid",
            "ignoring",
            "not ",
        ] {
            assert!(!said.contains(complaint), "{program:?}: {said}");
        }
    }
}

/// User and group in the text of `passwd`.
fn numbers(passwd: &str, user: &str) -> (u32, u32) {
    let line = passwd
        .lines()
        .find(|line| line.starts_with(&format!("{user}:")));
    let line = line.unwrap_or_else(|| panic!("no {user} in {passwd}"));
    let fields: Vec<_> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

#[test]
fn what_an_account_owns_stays_its_own_on_a_host_with_other_numbers() {
    let Some(sysroot) = Sysroot::new() else {
        return;
    };
    let odd = format!("etc/polkit-1/{ODD}");

    let first = write(image(995, 994), sysroot.directory(), "first");
    let first = sysroot.deploy(&first, &[]);
    assert_eq!(first.numbers("polkitd"), (995, 994));
    first.boot();
    assert_eq!(first.owner("etc/polkit-1/rules.d"), (0, 994));
    assert_eq!(first.owner(&odd), (995, 994));
    // The host gets an account of its own, so that its files are kept by updates.
    first.append("etc/passwd", "local:x:1000:1000::/home/local:/bin/sh\n");
    first.append("etc/group", "local:x:1000:\n");

    let second = image(981, 980)
        .owned_directory("etc/late", 0o700, (981, 979))
        .file("etc/late/x", 0o644, "");
    let second = second.file(
        "etc/group",
        0o644,
        "root:x:0:\nshadow:x:42:\npolkitd:x:980:\nlate:x:979:polkitd\n",
    );
    let second = sysroot.deploy(&write(second, sysroot.directory(), "second"), &[]);
    let passwd = second.read("etc/passwd");
    assert!(passwd.contains("local:x:1000"), "{passwd}");
    assert_eq!(
        second.numbers("polkitd"),
        (995, 994),
        "the host's files win"
    );
    // This is what goes wrong without our lines.
    assert_eq!(second.owner("etc/polkit-1/rules.d"), (0, 980));
    assert_eq!(second.owner(&odd), (981, 980));
    assert!(!second.read("etc/group").contains("late:"));

    second.boot();
    assert_eq!(second.owner("etc/polkit-1/rules.d"), (0, 994));
    assert_eq!(second.owner(&odd), (995, 994));
    let group = second.read("etc/group");
    assert!(group.contains("\nlate:x:979:polkitd\n"), "{group}");
    assert_eq!(second.owner("etc/late"), (995, 979));
    let mode = fs::metadata(second.path("etc/polkit-1/rules.d"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o7777, 0o750);
}

#[test]
fn a_host_without_accounts_gets_those_of_the_image() {
    let Some(sysroot) = Sysroot::new() else {
        return;
    };
    let image = image(995, 994)
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\n\
             one:x:999:989:A \"user\" of 100% \\ more:/var/lib/one:/bin/sh\n\
             two:x:991:989::/nonexistent:\n\
             three:x:7:0:::/usr/sbin/nologin\n",
        )
        .file(
            "etc/group",
            0o644,
            "root:x:0:three\nones:x:989:\nthree:x:988:two,one\n",
        )
        .file("usr/lib/sysusers.d/z.conf", 0o644, "u another - - /\n");
    let image = write(image, sysroot.directory(), "image");
    let deployment = sysroot.deploy(&image, &[]);
    fs::write(
        deployment.path("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\n",
    )
    .unwrap();
    fs::write(deployment.path("etc/group"), "root:x:0:\n").unwrap();

    run(Command::new("systemd-sysusers").arg(format!("--root={}", deployment.0.display())));
    let mut passwd: Vec<_> = deployment
        .read("etc/passwd")
        .lines()
        .map(str::to_owned)
        .collect();
    passwd.sort();
    let another = passwd.remove(0);
    assert!(another.starts_with("another:"), "{another}");
    // It comes last, or it would have the highest number, which is one of ours.
    assert!(!another.contains(":999:"), "{another}");
    assert_eq!(
        passwd,
        [
            r#"one:x:999:989:A "user" of 100% \ more:/var/lib/one:/bin/sh"#,
            "root:x:0:0:root:/root:/bin/sh",
            "three:x:7:0::/:/usr/sbin/nologin",
            "two:x:991:989::/nonexistent:/bin/sh",
        ]
    );
    let group = deployment.read("etc/group");
    for line in ["root:x:0:three\n", "ones:x:989:\n", "three:x:988:one,two\n"] {
        assert!(group.contains(line), "{group}");
    }
}

#[test]
fn altfiles_lie_where_no_host_changes_them() {
    let Some(sysroot) = Sysroot::new() else {
        return;
    };
    let with_module = |uid, gid| {
        image(uid, gid)
            .file(
                "usr/lib/x86_64-linux-gnu/libnss_altfiles.so.2",
                0o755,
                "stub",
            )
            .file(
                "etc/nsswitch.conf",
                0o644,
                "passwd: files\ngroup: files systemd\n",
            )
    };
    let options = ["--users=altfiles"];
    let first = write(with_module(995, 994), sysroot.directory(), "first");
    let first = sysroot.deploy(&first, &options);
    let nsswitch = first.read("etc/nsswitch.conf");
    assert_eq!(
        nsswitch,
        "passwd: files altfiles\ngroup: files altfiles systemd\n"
    );
    assert_eq!(first.read("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    first.append("etc/passwd", "local:x:1000:1000::/home/local:/bin/sh\n");

    let second = write(with_module(981, 980), sysroot.directory(), "second");
    let second = sysroot.deploy(&second, &options);
    assert!(second.read("etc/passwd").contains("local:"));
    assert_eq!(
        numbers(&second.read("usr/lib/passwd"), "polkitd"),
        (981, 980)
    );
    assert_eq!(second.owner("etc/polkit-1/rules.d"), (0, 980));
    assert_eq!(second.owner("usr/share/polkit-1"), (981, 980));
}

#[test]
fn numbers_of_an_earlier_commit() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let options = ["--initramfs=keep", "--write-ref=first"];
    import(
        &repo,
        "bare-user",
        &write(image(995, 994), directory.path(), "first"),
        &options,
    );
    let second = write(image(981, 980), directory.path(), "second");
    let options = ["--initramfs=keep", "--ids-from=first", "--write-ref=second"];
    let json = import(&repo, "bare-user", &second, &options);
    assert_eq!(
        notes(&json, "changed", "/etc/passwd"),
        ["user polkitd: 981 becomes 995, as in the earlier commit; 2 files follow"]
    );

    let ostree = |arguments: &[&str]| {
        let repo = format!("--repo={}", repo.display());
        let output = run(Command::new("ostree").args(arguments).arg(repo));
        String::from_utf8(output.stdout).unwrap()
    };
    let passwd = ostree(&["cat", "second", "/usr/etc/passwd"]);
    assert_eq!(numbers(&passwd, "polkitd"), (995, 994));
    // Nothing else was different.
    assert_eq!(ostree(&["diff", "first", "second"]), "");
    // Where numbers are kept they do not move.
    assert_eq!(notes(&json, "warning", "/usr/share/polkit-1"), [""; 0]);

    let absent = import_oci()
        .arg(format!("--repo={}", repo.display()))
        .args(["--ids-from=absent", &second])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(
        !absent.status.success() && said.contains("absent"),
        "{said}"
    );
}

#[test]
fn a_commit_of_ours_is_imported_as_it_is() {
    if !is_root() {
        return not_run("only root can check out owners");
    }
    let directory = scratch();
    let (repo, checkout) = (
        directory.path().join("repo"),
        directory.path().join("checkout"),
    );
    let layer = image(995, 994)
        .file(".dockerenv", 0o644, "")
        .file(
            "etc/machine-id",
            0o444,
            "0123456789abcdef0123456789abcdef\n",
        )
        .file("etc/mtab", 0o644, "overlay / overlay rw 0 0\n")
        .file("etc/ssh/ssh_host_rsa_key", 0o600, "secret")
        .file("etc/resolv.conf", 0o644, "");
    let source = write(layer, directory.path(), "image");
    let options = ["--initramfs=keep", "--write-ref=first"];
    let first = import(&repo, "bare", &source, &options);
    run(Command::new("ostree")
        .args(["checkout", "first"])
        .arg(&checkout)
        .arg(format!("--repo={}", repo.display())));

    let source = format!("rootfs:{}", checkout.display());
    let options = ["--initramfs=keep", "--write-ref=second"];
    let second = import(&repo, "bare", &source, &options);
    let diff = run(Command::new("ostree")
        .args(["diff", "first", "second"])
        .arg(format!("--repo={}", repo.display())));
    assert_eq!(String::from_utf8_lossy(&diff.stdout), "");
    for by in ["accounts", "container-leftovers"] {
        let changed = |json: &Value| -> Vec<String> {
            let notes = json["notes"].as_array().unwrap().iter();
            let ours = notes.filter(|note| note["by"] == by && note["action"] != "warning");
            ours.map(ToString::to_string).collect()
        };
        assert!(!changed(&first).is_empty(), "{by}");
        assert_eq!(changed(&second), [""; 0], "{by}");
    }
    let warnings =
        |json: &Value, etc: &str| notes(json, "warning", &format!("{etc}/ssh/ssh_host_rsa_key"));
    assert_eq!(warnings(&first, "/etc").len(), 1);
    assert_eq!(warnings(&first, "/etc"), warnings(&second, "/usr/etc"));
    for file in [SYSUSERS, TMPFILES] {
        assert!(checkout.join(file).exists(), "{file}");
    }
}

/// What the notes of this action say of a path.
fn notes(json: &Value, action: &str, path: &str) -> Vec<String> {
    let notes = json["notes"].as_array().unwrap().iter();
    let of_path = notes.filter(|note| note["path"] == path && note["action"] == action);
    of_path
        .map(|note| note["detail"].as_str().unwrap().to_owned())
        .collect()
}
