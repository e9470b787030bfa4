//! Kernels and their initramfs, from images to commits: what is refused, what is made anew, and when it is
//! made again.
//!
//! A shell script stands in for dracut in a small image of our own; the demo image has the real one.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::image::{Image, Layout};
use common::{import_oci, not_run, output, run, stderr};
use serde_json::Value;
use tar::EntryType;
use tempfile::TempDir;

/// Checks where it is, then makes an initramfs of what it finds: what was prepared, and
/// `/etc/taken`.
const DRACUT: &str = r#"#!/bin/sh
set -eu
fail() { echo "$1" >&2; exit 3; }
[ "$*" = "--no-hostonly --reproducible --force --add ostree --kver 6.1 -- /run/import-oci/initramfs.img" ] ||
  fail "odd arguments: $*"
[ "$SOURCE_DATE_EPOCH,$LC_ALL,$HOME,$PWD" = 86400,C.UTF-8,/,/ ] || fail "odd environment"
[ -z "${CARGO_MANIFEST_DIR-}" ] || fail "the environment of the host"
[ -e /etc/taken ] || fail "no /etc"
[ ! -e /usr/lib/modules/6.1/initramfs.img ] || fail "the old initramfs"
(: >/usr/written) 2>/dev/null && fail "the tree can be written to"
while read -r name _; do
  case $name in Inter-*|face|lo:) ;; *) fail "a network: $name" ;; esac
done </proc/net/dev
for directory in /run /tmp /var/tmp; do : >$directory/file; done
: </dev/zero >/dev/null
while read -r line; do [ "$line" != broken ] || fail "broken by its configuration"; done </etc/taken
cat /usr/share/prepared >/run/import-oci/initramfs.img
"#;

/// A kernel, a dracut and what its script needs of a system.
fn image(prepared: &[u8]) -> Image {
    let mut image = Image::new()
        .symlink("bin", "usr/bin")
        .symlink("lib", "usr/lib")
        .symlink("lib64", "usr/lib64")
        .entry(
            "usr/bin/dracut",
            EntryType::Regular,
            0o755,
            "",
            DRACUT.as_bytes(),
        )
        .file("usr/lib/modules/6.1/vmlinuz", "kernel")
        .file("boot/initramfs-6.1.img", "knows nothing of ostree")
        .file("usr/share/prepared", prepared)
        .file("usr/share/doc/unrelated", "1")
        .file("etc/taken", "taken");
    let mut files = vec![];
    for program in ["sh", "cat", "env"] {
        let program = format!("/usr/bin/{program}");
        let libraries = run(Command::new("ldd").arg(&program));
        let paths = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        files.extend(paths.map(str::to_owned));
        files.push(program);
    }
    files.sort();
    files.dedup();
    for file in files {
        let content = fs::read(&file).unwrap();
        let path = match file.strip_prefix("/lib") {
            Some(rest) => format!("usr/lib{rest}"),
            None => file[1..].to_owned(),
        };
        image = image.entry(path, EntryType::Regular, 0o755, "", &content);
    }
    image
}

/// An initramfs as cpio writes it.
fn initramfs(files: &[&str]) -> Vec<u8> {
    let directory = TempDir::new().unwrap();
    for path in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "content").unwrap();
    }
    let list = directory.path().join("list");
    fs::write(&list, files.join("\n")).unwrap();
    let mut command = Command::new("cpio");
    command
        .args(["--quiet", "-o", "-H", "newc"])
        .current_dir(&directory)
        .stdin(fs::File::open(list).unwrap());
    output(&mut command).stdout
}

fn bootable() -> Vec<u8> {
    initramfs(&[
        "etc/taken",
        "usr/lib/ostree/ostree-prepare-root",
        "usr/lib/systemd/system/ostree-prepare-root.service",
    ])
}

/// Where images and repos of a test lie: not in memory, where `/tmp` may forbid to run programs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, image: Image) -> Layout {
        image.write(&self.at(name))
    }
}

fn import(repo: &Path, source: &str) -> Command {
    let mut command = import_oci();
    command.arg(format!("--repo={}", repo.display())).args([
        "--init=bare-user",
        "--initramfs=regenerate",
        "--json",
        source,
    ]);
    command
}

/// Under another name: an image that is there under this one is not imported again.
fn anew(command: &mut Command) -> &mut Command {
    command.arg("--target-imgref=oci:another")
}

/// The commit, and what was said of the initramfs.
fn imported(command: &mut Command) -> (String, String) {
    let json: Value = serde_json::from_str(&run(command)).unwrap();
    let notes = json["notes"].as_array().unwrap();
    let of_initramfs = |note: &&Value| note["by"] == "initramfs";
    let said: Vec<_> = notes.iter().filter(of_initramfs).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(json["kernel"].is_string());
    (text(&json["commit"]), text(&said[0]["detail"]))
}

const MADE: &str = "made by the image's dracut";
const REUSED: &str = "that of an earlier import, made of the same";

#[test]
fn made_once_and_reused() {
    let place = Place::new();
    let prepared = bootable();
    let layout = place.write("image", image(&prepared));
    let (repo, other) = (place.at("repo"), place.at("other"));
    let (commit, said) = imported(&mut import(&repo, &layout.reference()));
    assert_eq!(said, MADE);
    let again = imported(anew(&mut import(&repo, &layout.reference())));
    assert_eq!(again, (commit.clone(), REUSED.to_owned()));
    let elsewhere = imported(&mut import(&other, &layout.reference()));
    assert_eq!(elsewhere, (commit.clone(), MADE.to_owned()));

    let file = "/usr/lib/modules/6.1/initramfs.img";
    let content = output(
        Command::new("ostree")
            .args(["cat", &commit, file])
            .arg(repo_argument(&repo)),
    );
    assert!(content.stdout == prepared);
    let listed = run(Command::new("ostree")
        .args(["ls", &commit, file, "/boot"])
        .arg(repo_argument(&repo)));
    assert!(
        listed.starts_with("-00644 0 0 ") && listed.ends_with(" /boot"),
        "{listed}"
    );
    let left: Vec<_> = fs::read_dir(repo.join("tmp")).unwrap().collect();
    assert!(
        left.iter()
            .all(|e| e.as_ref().unwrap().file_name() == "cache"),
        "{left:?}"
    );
}

fn repo_argument(repo: &Path) -> String {
    format!("--repo={}", repo.display())
}

#[test]
fn made_again_when_something_of_it_changed() {
    let place = Place::new();
    let (repo, prepared) = (place.at("repo"), bootable());
    type Change = fn(Image) -> Image;
    let changes: [(&str, Change, &str); 7] = [
        ("the first", |image| image, MADE),
        (
            "content elsewhere",
            |image| image.file("usr/share/doc/unrelated", "2"),
            REUSED,
        ),
        (
            "a file elsewhere",
            |image| image.file("usr/share/new/file", ""),
            REUSED,
        ),
        ("what was taken", |image| image.file("etc/taken", "2"), MADE),
        (
            "configuration",
            |image| image.file("etc/dracut.conf.d/x.conf", ""),
            MADE,
        ),
        (
            "the kernel",
            |image| image.file("usr/lib/modules/6.1/vmlinuz", "2"),
            MADE,
        ),
        (
            "a tool",
            |image| image.file("usr/bin/cat", "#!/bin/sh\nwhile read -r l; do :; done"),
            "",
        ),
    ];
    for (index, (what, change, want)) in changes.into_iter().enumerate() {
        let layout = place.write(&index.to_string(), change(image(&prepared).layer()));
        let mut command = import(&repo, &layout.reference());
        match want {
            // Nothing to reuse, and what is left of the tool makes nothing.
            "" => assert!(!output(&mut command).status.success(), "{what}"),
            want => assert_eq!(imported(&mut command).1, want, "{what}"),
        }
    }
}

#[test]
fn another_sandbox_makes_the_same() {
    let place = Place::new();
    let layout = place.write("image", image(&bootable()));
    let with = imported(&mut import(&place.at("with"), &layout.reference()));
    let without = imported(
        import(&place.at("without"), &layout.reference()).env("PATH", without_bubblewrap(&place)),
    );
    assert_eq!(with, without);
}

/// A `PATH` without bwrap.
fn without_bubblewrap(place: &Place) -> PathBuf {
    let programs = place.at("programs");
    fs::create_dir(&programs).unwrap();
    for program in ["chroot", "ln", "mkdir", "mount", "sh", "unshare"] {
        let found = run(Command::new("sh").args(["-c", "command -v \"$0\"", program]));
        symlink(found, programs.join(program)).unwrap();
    }
    programs
}

#[test]
fn failures_say_the_way_out() {
    let place = Place::new();
    let no_sandbox = place.at("empty");
    fs::create_dir(&no_sandbox).unwrap();
    let everything = std::env::var_os("PATH").unwrap();
    let no_unit = initramfs(&["usr/lib/ostree/ostree-prepare-root"]);
    let mkinitcpio = Image::new()
        .file("usr/lib/modules/6.1/vmlinuz", "")
        .file("usr/bin/mkinitcpio", "");
    for (index, (image, path, wanted)) in [
        (
            mkinitcpio,
            &*everything,
            &[
                "which the image lacks",
                "/usr/bin/mkinitcpio",
                "install dracut",
            ][..],
        ),
        (
            image(&no_unit),
            &everything,
            &["ostree-prepare-root.service", "install its ostree module"],
        ),
        (
            image(b"nothing"),
            &everything,
            &["reading what dracut made", "byte 0"],
        ),
        (
            image(&bootable()).layer().file("etc/taken", "broken\n"),
            &everything,
            &["dracut failed", "broken by its configuration"],
        ),
        (
            image(&bootable()),
            no_sandbox.as_os_str(),
            &["bubblewrap", "unshare"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let layout = place.write(&index.to_string(), image);
        let refused = output(import(&place.at("repo"), &layout.reference()).env("PATH", path));
        assert_eq!(refused.status.code(), Some(1));
        let said = stderr(&refused);
        assert!(
            wanted.iter().all(|part| said.contains(part)),
            "{said}: {wanted:?}"
        );
        assert_eq!(
            run(Command::new("ostree")
                .arg("refs")
                .arg(repo_argument(&place.at("repo")))),
            ""
        );
    }
}

#[test]
fn what_a_remote_has_is_not_reused() {
    let place = Place::new();
    let layout = place.write("image", image(&bootable()));
    let (theirs, ours) = (place.at("theirs"), place.at("ours"));
    let (commit, _) = imported(&mut import(&theirs, &layout.reference()));
    let ostree = |arguments: &[&str]| {
        run(Command::new("ostree")
            .args(arguments)
            .arg(repo_argument(&ours)))
    };
    ostree(&["init", "--mode=bare-user"]);
    ostree(&[
        "pull-local",
        "--remote=other",
        theirs.to_str().unwrap(),
        &commit,
    ]);
    ostree(&["refs", "--create=other:branch", &commit]);
    let (again, said) = imported(&mut import(&ours, &layout.reference()));
    assert_eq!((again, &*said), (commit, MADE));
}

/// The demo image, if there is one.
fn demo() -> Option<String> {
    let image = std::env::var("IMPORT_OCI_DEMO_IMAGE").ok();
    if image.is_none() {
        not_run("IMPORT_OCI_DEMO_IMAGE names no image; scripts/demo-image makes one");
    }
    image.map(|image| format!("oci:{image}:v1"))
}

#[test]
fn the_demo_image_is_refused_as_it_is() {
    let Some(demo) = demo() else { return };
    let place = Place::new();
    let refused = output(
        import_oci()
            .arg(repo_argument(&place.at("repo")))
            .args(["--init=bare-user", &demo]),
    );
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    for part in [
        "no /usr/lib/ostree/ostree-prepare-root",
        "add_dracutmodules",
        "--initramfs=regenerate",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_demo_image_by_its_own_dracut() {
    let Some(demo) = demo() else { return };
    let place = Place::new();
    let (first, second) = (place.at("first"), place.at("second"));
    let (commit, said) = imported(&mut import(&first, &demo));
    assert_eq!(said, MADE);
    let mut other_sandbox = import(&second, &demo);
    let again = imported(other_sandbox.env("PATH", without_bubblewrap(&place)));
    assert_eq!(again, (commit.clone(), MADE.to_owned()));
    let third = imported(anew(&mut import(&first, &demo)));
    assert_eq!(third, (commit.clone(), REUSED.to_owned()));

    // Its checkout is an image that boots as it is.
    let checkout = place.at("checkout");
    run(Command::new("ostree")
        .args(["checkout", "--user-mode", &commit])
        .arg(repo_argument(&first))
        .arg(&checkout));
    let json: Value = serde_json::from_str(&run(import_oci()
        .arg(repo_argument(&place.at("third")))
        .args(["--init=bare-user", "--json"])
        .arg(format!("rootfs:{}", checkout.display()))))
    .unwrap();
    let notes = json["notes"].as_array().unwrap();
    let of_kernel = |note: &&Value| note["by"] == "kernel" || note["by"] == "initramfs";
    assert_eq!(notes.iter().find(of_kernel), None);
}
