//! Every label is libselinux's, by the policy of the unpacked image, and `labels` tells why.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use import_oci::label::{FileKind, Oracle, PolicyFiles, Reference as _};
use import_oci::path::escape;
use serde_json::Value;

use crate::support::command::{import_oci, run, text};
use crate::support::listing::{Kind, Node, read_commit};
use crate::{Imported, Unpacked, demo, known_fixups_alone, small};

#[test]
fn of_the_demo_image() {
    if let Some(demo) = demo() {
        check(demo);
    }
}

#[test]
fn of_a_small_image() {
    let (_directory, image) = small();
    check(&image);
}

#[test]
fn explained_for_the_demo_image() {
    if let Some(demo) = demo() {
        explain(
            demo,
            &[
                "/",
                "/etc",
                "/etc/shadow",
                "/usr/etc/shadow",
                "/usr/bin/bash",
                "/bin/bash",
                "/lib/systemd/systemd",
                "/proc",
                "/usr/share/demo/labelled/local.conf",
                "/usr/share/demo/labelled/absent.conf",
                "/opt/vendor/bin/tool",
                "/root/.ssh/id_ed25519",
                "/var/log/demo",
                "/run/absent",
            ],
        );
    }
}

#[test]
fn explained_for_a_small_image() {
    let (_directory, image) = small();
    let paths = ["/", "/etc/cache", "/etc/shadow", "/lib/kept", "/proc", "/x"];
    explain(&image, &paths);
}

/// The policy of an unpacked image.
struct Policy {
    name: String,
    files: PolicyFiles,
}

impl Policy {
    fn of(unpacked: &Unpacked) -> Self {
        let selinux = unpacked.path.join("etc/selinux");
        let config = fs::read_to_string(selinux.join("config")).unwrap();
        let name = config.lines().find_map(|l| l.strip_prefix("SELINUXTYPE="));
        let name = name.expect("the image selects a policy").to_owned();
        let files = selinux.join(&name).join("contexts/files");
        let read = |name: &str| fs::read(files.join(name)).ok();
        Self {
            name,
            files: PolicyFiles {
                file_contexts: read("file_contexts").expect("the policy has file contexts"),
                homedirs: read("file_contexts.homedirs"),
                local: read("file_contexts.local"),
                subs: read("file_contexts.subs"),
                subs_dist: read("file_contexts.subs_dist"),
            },
        }
    }

    fn oracle(&self) -> Oracle {
        Oracle::new(&self.files).unwrap()
    }

    /// What `name:number` says.
    fn line(&self, name: &str, number: usize) -> String {
        let mut present = self.files.present();
        let (_, content) = present
            .find(|(file, _)| file.name() == name)
            .unwrap_or_else(|| panic!("the image has no {name}"));
        let content = String::from_utf8_lossy(content);
        let line = content.lines().nth(number - 1);
        line.unwrap_or_else(|| panic!("{name} has no line {number}"))
            .trim()
            .to_owned()
    }
}

fn check(image: &Imported) {
    let Some(unpacked) = image.unpacked() else {
        return;
    };
    let policy = Policy::of(unpacked);
    let mut oracle = policy.oracle();
    let commit = read_commit(&image.repo, image.commit()).listing;
    let mut without = Vec::new();
    let mut wrong = Vec::new();
    for (path, node) in &commit {
        let expected = oracle.lookup(&lookup_path(path), kind(node)).unwrap();
        let value = expected.as_ref().map(|label| [label, "\0"].concat());
        let found = node.xattrs.get(&b"security.selinux"[..]);
        if found.map(Vec::as_slice) != value.as_deref().map(str::as_bytes) {
            let path = escape(path);
            let found = found.map(|label| escape(label));
            wrong.push(format!("/{path}: {found:?}, libselinux {expected:?}"));
        }
        if expected.is_none() {
            without.push(format!("/{}", escape(path)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );

    let selinux = &image.json["selinux"];
    assert_eq!(selinux["policy"], *policy.name);
    assert_eq!(selinux["unlabelled"], without.len());
    assert_eq!(selinux["labelled"], commit.len() - without.len());
    assert_eq!(selinux["taken_over"], false);
    let notes = image.json["notes"].as_array().unwrap().iter();
    let mut told: Vec<_> = notes
        .filter(|note| note["by"] == "label")
        .map(|note| text(note, "/path"))
        .collect();
    told.sort_unstable();
    without.sort_unstable();
    assert_eq!(told, without);
}

/// `/usr/etc` of a commit is `/etc` of a host, and `/proc` a mount point as `/mnt` is.
fn lookup_path(path: &[u8]) -> Vec<u8> {
    match path.strip_prefix(b"usr/etc") {
        _ if path == b"proc" => b"/mnt".to_vec(),
        Some(rest) if rest.is_empty() || rest[0] == b'/' => [b"/etc", rest].concat(),
        _ => [b"/", path].concat(),
    }
}

fn kind(node: &Node) -> FileKind {
    match node.kind {
        Kind::Directory => FileKind::Directory,
        Kind::File { .. } => FileKind::Regular,
        Kind::Symlink(_) => FileKind::Symlink,
        Kind::Special(_) => unreachable!("no commit holds special files"),
    }
}

/// Lets the command explain the labels of `paths`, as text and as JSON.
fn explain(image: &Imported, paths: &[&str]) {
    let Some(unpacked) = image.unpacked() else {
        return;
    };
    let policy = Policy::of(unpacked);
    let mut oracle = policy.oracle();
    let commit = read_commit(&image.repo, image.commit()).listing;

    let json = labels(image, &["--json"], paths);
    let answers: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), paths.len());
    let mut printed = String::new();
    for (path, answer) in paths.iter().zip(&answers) {
        let place = follow_parents(&commit, path);
        let in_commit = in_commit(&place);
        let node = commit.get(in_commit.as_bytes());
        let kind = node.map_or(FileKind::Regular, kind);
        let context = oracle
            .lookup(&lookup_path(in_commit.as_bytes()), kind)
            .unwrap();
        assert_eq!(text(answer, "/path"), *path);
        let resolved = (place != *path).then_some(&*place);
        assert_eq!(answer["resolved"].as_str(), resolved, "{path}");
        assert_eq!(answer["exists"], node.is_some(), "{path}");
        assert_eq!(answer["context"].as_str(), context.as_deref(), "{path}");
        check_lines(&policy, answer, kind);
        printed += &as_text(answer);
    }
    assert_eq!(labels(image, &[], paths), printed);
}

/// `path` with the links of its parents followed, on the host.
fn follow_parents(commit: &BTreeMap<Vec<u8>, Node>, path: &str) -> String {
    let mut place = PathBuf::from(path);
    'follow: loop {
        let parents: Vec<_> = place.ancestors().skip(1).map(Path::to_owned).collect();
        for parent in parents.iter().rev() {
            let node = commit.get(in_commit(parent.to_str().unwrap()).as_bytes());
            if let Some(Kind::Symlink(target)) = node.map(|node| &node.kind) {
                let target = Path::new(OsStr::from_bytes(target));
                let below = place.strip_prefix(parent).unwrap();
                // Absolute targets replace what they are joined to.
                place = parent.parent().unwrap().join(target).join(below);
                continue 'follow;
            }
        }
        return place.to_str().unwrap().to_owned();
    }
}

/// The name in the commit of what a host has at `path`.
fn in_commit(path: &str) -> String {
    let place = match Path::new(path).strip_prefix("/etc") {
        Ok(below) => Path::new("usr/etc").join(below).display().to_string(),
        Err(_) => path[1..].to_owned(),
    };
    place.trim_end_matches('/').to_owned()
}

fn labels(image: &Imported, options: &[&str], paths: &[&str]) -> String {
    let output = run(import_oci()
        .args(["labels", "--quiet", &image.source])
        .args(known_fixups_alone())
        .args(options)
        .args(paths));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

/// Each line stands where it is said to stand, and the last one, alone in a policy, gives the
/// context to the path that was looked up.
fn check_lines(policy: &Policy, answer: &Value, kind: FileKind) {
    let looked_up = text(answer, "/looked_up");
    let mut rules = Vec::new();
    for line in answer["lines"].as_array().unwrap() {
        let line = line.as_str().unwrap();
        let (place, says) = line.split_once(": ").unwrap();
        let (file, number) = place.split_once(':').unwrap();
        assert_eq!(policy.line(file, number.parse().unwrap()), says, "{answer}");
        if file.starts_with("file_contexts.subs") {
            let target = says.split_whitespace().nth(1).unwrap();
            assert!(looked_up.starts_with(target), "{answer}");
        } else {
            rules.push(says);
        }
    }
    let context = match rules[..] {
        [] => None,
        [rule] => {
            let alone = PolicyFiles {
                file_contexts: format!("{rule}\n").into_bytes(),
                ..PolicyFiles::default()
            };
            let context = rule.split_whitespace().last().unwrap();
            let given = Oracle::new(&alone)
                .unwrap()
                .lookup(looked_up.as_bytes(), kind)
                .unwrap();
            match context {
                "<<none>>" => assert_eq!(given, None, "{answer}"),
                _ => assert_eq!(given.as_deref(), Some(context), "{answer}"),
            }
            given
        }
        _ => panic!("several lines decide: {answer}"),
    };
    assert_eq!(answer["context"].as_str(), context.as_deref(), "{answer}");
}

/// An answer as it is printed for people.
fn as_text(answer: &Value) -> String {
    let context = answer["context"].as_str().unwrap_or("<<none>>");
    let missing = match answer["exists"] == true {
        true => "",
        false => "  (not in the image)",
    };
    let resolved = match answer["resolved"].as_str() {
        Some(resolved) => format!(" -> {resolved}"),
        None => String::new(),
    };
    let path = text(answer, "/path");
    let mut printed = format!("{path}{resolved}  {context}{missing}\n");
    let lines = answer["lines"].as_array().unwrap();
    for line in lines {
        printed += &format!("    {}\n", line.as_str().unwrap());
    }
    if lines.is_empty() {
        let looked_up = text(answer, "/looked_up");
        printed += &format!("    no line of the policy matches {looked_up}\n");
    }
    printed
}
