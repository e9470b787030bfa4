//! A program that calls import-oci where its own import refuses an image, by nothing but
//! docs/fallback-importer.md.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod peers;
    pub mod schema;
}

#[allow(dead_code, reason = "one image is made by it")]
#[path = "common/image.rs"]
mod image;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use import_oci::contract::{ImageReference, RefName};
use ostree::glib::VariantDict;
use serde_json::{Value, json};
use support::command::{fsck, import_arguments, import_oci, run, scratch, text};
use support::layout::specimen;
use support::listing::open;
use support::peers;
use support::schema::{import_v1, progress_v1};
use tempfile::TempDir;

const NAME: &str = "docker://registry.example/os:stable";

struct Caller {
    directory: TempDir,
    source: String,
}

impl Caller {
    fn new() -> Self {
        let directory = scratch();
        let source = specimen().write(&directory.path().join("image"));
        let caller = Self { directory, source };
        run(Command::new("ostree")
            .args(["init", "--mode=archive"])
            .arg(format!("--repo={}", caller.at("repo").display())));
        caller
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The documented call; the image has no kernel that boots. Its standard output is a file, `answer`; what it would be is the pipe for
    /// progress.
    fn call(&self, source: &str, pipe: &str) -> Command {
        let ours = import_oci();
        let mut command = Command::new("sh");
        for (variable, value) in ours.get_envs() {
            assert_eq!(value, None);
            command.env_remove(variable);
        }
        command
            .args(["-c", &format!("exec \"$@\" {pipe} >\"$ANSWER\""), "sh"])
            .arg(ours.get_program())
            .arg("--repo")
            .arg(self.at("repo"))
            .args([
                "--quiet",
                "--json",
                "--progress-fd",
                "3",
                "--no-kernel",
                "--target-imgref",
                NAME,
                source,
            ])
            .env("ANSWER", self.at("answer"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn answer(&self) -> Value {
        let answer = fs::read(self.at("answer")).unwrap();
        let answer = serde_json::from_slice(&answer).unwrap();
        assert_eq!(import_v1().check(&answer), Vec::<String>::new());
        answer
    }
}

#[test]
fn is_told_how_far_it_is_and_finds_the_image() {
    let caller = Caller::new();
    let mut child = caller.call(&caller.source, "3>&1").spawn().unwrap();
    let (mut tasks, mut last) = (Vec::new(), Value::Null);
    let schema = progress_v1();
    assert_eq!(schema.undescribed(), Vec::<String>::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(schema.check(&line), Vec::<String>::new(), "{line}");
        let name = ["/task", "/type"]
            .iter()
            .find_map(|at| line.pointer(at)?.as_str());
        tasks.push(name.unwrap().to_owned());
        last = line;
    }
    tasks.dedup();
    assert_eq!(tasks, ["Start", "pulling", "importing"]);
    assert_eq!(last["steps"], last["stepsTotal"]);
    assert!(last["steps"].as_u64() > Some(5), "{last}");
    assert!(child.wait().unwrap().success());

    let answer = caller.answer();
    assert_eq!(text(&answer, "/image"), NAME);
    assert_eq!(answer["unchanged"], false);
    let image: ImageReference = NAME.parse().unwrap();
    let name = RefName::Image(image).to_ref().unwrap();
    let repo = open(&caller.at("repo"));
    let commit = repo.resolve_rev(&name, false).unwrap().unwrap();
    assert_eq!(commit, text(&answer, "/commit"));
    assert_eq!(answer["refs"].as_array().unwrap().last().unwrap(), &*name);

    // By this the caller will take it for present.
    let (commit, _) = repo.load_commit(&commit).unwrap();
    let metadata = VariantDict::new(Some(&commit.child_value(0)));
    let digest: String = metadata.lookup("ostree.manifest-digest").unwrap().unwrap();
    let index = fs::read(caller.at("image/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(digest, text(&index, "/manifests/0/digest"));
    fsck(&caller.at("repo"));

    let again = caller.call(&caller.source, "3>&1").output().unwrap();
    assert!(again.status.success());
    let line: Value = serde_json::from_slice(&again.stdout).expect("one line");
    assert_eq!(line["type"], "Start");
    assert_eq!(caller.answer()["unchanged"], true);
}

/// What the caller does before and after, if it is made of ostree-ext: the same, also where the image is one commit, and
/// where it is signed.
#[test]
fn takes_the_image_for_present() {
    let caller = Caller::new();
    // ostree-ext wants a history, which is optional.
    let image = image::Image::new()
        .file("usr/bin/tool", "tool")
        .config(|config| config["history"] = json!([{ "created_by": "hand" }]));
    let source = image.write(&caller.at("other")).reference();
    let prepare = || {
        let mut peer = peers::ostree_ext()?;
        let image = format!("ostree-unverified-image:{source}");
        peer.arg("prepare").arg(caller.at("repo")).arg(image);
        Some(peer.output().unwrap())
    };
    let Some(refused) = prepare() else { return };
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("not an ostree encapsulated container"),
        "{said}"
    );
    let key = caller.at("key");
    fs::write(&key, "a2V5").unwrap();
    let signed = format!("--sign-from-file={}", key.display());
    let mut commits = BTreeSet::new();
    for options in [&[][..], &["--squash"], &[&*signed, "--sign-type=dummy"]] {
        let output = run(import_oci()
            .args(import_arguments(&caller.at("repo"), "archive", &source))
            .args(["--quiet"])
            .args(options)
            .env("OSTREE_DUMMY_SIGN_ENABLED", "1"));
        let commit = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let present = prepare().unwrap();
        let said = String::from_utf8(present.stderr).unwrap();
        assert!(present.status.success(), "{options:?}: {said}");
        let found = serde_json::from_slice(&present.stdout).unwrap();
        assert_eq!(text(&found, "/present/merge_commit"), commit, "{options:?}");
        commits.insert(commit);
    }
    assert_eq!(commits.len(), 3);
}

#[test]
fn may_stop_listening() {
    let caller = Caller::new();
    let mut child = caller.call(&caller.source, "3>&1").spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{said}");
    assert_eq!(said, "");
    assert_eq!(text(&caller.answer(), "/image"), NAME);
}

#[test]
fn is_told_why_nothing_was_imported() {
    let caller = Caller::new();
    let missing = format!("oci:{}", caller.at("nothing").display());
    for (source, pipe, part) in [
        (&missing, "3>&1", "nothing"),
        (
            &caller.source,
            "3>&-",
            "--progress-fd: the file descriptor 3",
        ),
        (&caller.source, "3>/dev/null", "descriptor 3 is not a pipe"),
    ] {
        let output = caller.call(source, pipe).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: ") && said.contains(part), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(fs::read(caller.at("answer")).unwrap(), b"");
        let repo = open(&caller.at("repo"));
        let refs = repo
            .list_refs(None, ostree::gio::Cancellable::NONE)
            .unwrap();
        assert!(refs.is_empty(), "{refs:?}");
    }
    // Standard streams have other uses.
    let mut command = import_oci();
    command.args(["--progress-fd", "2", &caller.source]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}
