//! Signatures, judged by ostree itself: what is signed is a commit of plain ostree, and the commit
//! of the image is its child.

mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod schema;
}

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ostree::gio::Cancellable;
use ostree::glib::{Variant, VariantDict};
use serde_json::Value;
use support::command::{fsck, import, import_arguments, import_oci, run, scratch, text};
use support::layout::{Image, specimen};
use support::listing::open;
use tempfile::TempDir;

const BRANCH: &str = "os/stable";

/// A directory with an image, keys and repos.
struct Place {
    directory: TempDir,
    image: String,
}

impl Place {
    fn new() -> Self {
        Self::of(specimen())
    }

    fn of(image: Image) -> Self {
        let directory = scratch();
        let image = image.write(&directory.path().join("image"));
        Self { directory, image }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn import(&self, options: &[&str]) -> Value {
        self.import_into("repo", options)
    }

    fn import_into(&self, repo: &str, options: &[&str]) -> Value {
        import(&self.at(repo), "archive", &self.image, options)
    }

    /// An import that may fail.
    fn try_import(&self, options: &[&str]) -> Output {
        let mut command = import_oci();
        command
            .args(import_arguments(&self.at("repo"), "archive", &self.image))
            .arg("--quiet")
            .args(options);
        command.output().unwrap()
    }

    fn ostree(&self, arguments: &[&str]) -> String {
        self.ostree_in("repo", arguments)
    }

    fn ostree_in(&self, repo: &str, arguments: &[&str]) -> String {
        let output = run(&mut self.ostree_command(repo, arguments));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ostree_command(&self, repo: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ostree");
        command
            .arg(format!("--repo={}", self.at(repo).display()))
            .args(arguments);
        command
    }

    /// Nothing of the image can be read any more but its manifest and configuration.
    fn remove_layers(&self, json: &Value) {
        for layer in json["layers"].as_array().unwrap() {
            let digest = text(layer, "/digest").replace(':', "/");
            fs::remove_file(self.at("image/blobs").join(digest)).unwrap();
        }
    }

    /// The detached metadata of a commit.
    fn detached(&self, commit: &str) -> Option<Variant> {
        let repo = open(&self.at("repo"));
        repo.read_commit_detached_metadata(commit, Cancellable::NONE)
            .unwrap()
    }

    /// How many signatures of a kind lie beside a commit.
    fn signatures(&self, commit: &str, kind: &str) -> usize {
        let Some(metadata) = self.detached(commit) else {
            return 0;
        };
        let signatures = VariantDict::new(Some(&metadata)).lookup_value(kind, None);
        signatures.map_or(0, |signatures| signatures.n_children())
    }

    fn parent(&self, json: &Value) -> Option<String> {
        let (commit, _) = open(&self.at("repo"))
            .load_commit(text(json, "/commit"))
            .unwrap();
        ostree::commit_get_parent(&commit).map(String::from)
    }
}

/// A key of GnuPG in a directory of its own.
struct GpgKey {
    home: TempDir,
    fingerprint: String,
}

impl GpgKey {
    fn new() -> Self {
        // Below the target directory the path may be too long for the socket of GnuPG's agent.
        let home = tempfile::tempdir().unwrap();
        let make = [
            "--quick-generate-key",
            "signer@test",
            "ed25519",
            "sign",
            "never",
        ];
        gpg(home.path(), &make);
        let keys = gpg(home.path(), &["--list-secret-keys", "--with-colons"]);
        let keys = String::from_utf8(keys).unwrap();
        let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.split(':').nth(9).unwrap().to_owned();
        Self { home, fingerprint }
    }

    /// The options that sign with it.
    fn options(&self) -> [String; 2] {
        [
            format!("--gpg-sign={}", self.fingerprint),
            format!("--gpg-homedir={}", self.home.path().display()),
        ]
    }

    /// The file of its public half.
    fn public(&self) -> PathBuf {
        let file = self.home.path().join("public.gpg");
        fs::write(&file, gpg(self.home.path(), &["--export"])).unwrap();
        file
    }
}

fn gpg(home: &Path, arguments: &[&str]) -> Vec<u8> {
    run(Command::new("gpg")
        .arg("--homedir")
        .arg(home)
        .args([
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ])
        .args(arguments))
    .stdout
}

fn all<'a>(parts: &[&'a [String]], more: &[&'a str]) -> Vec<&'a str> {
    let parts = parts.iter().copied().flatten().map(String::as_str);
    parts.chain(more.iter().copied()).collect()
}

const GPG: &str = "ostree.gpgsigs";
const DUMMY: &str = "ostree.sign.dummy";

#[test]
fn ostree_pulls_what_is_signed_and_nothing_else() {
    let place = Place::new();
    let [key, other] = [GpgKey::new(), GpgKey::new()];
    let write_ref = format!("--write-ref={BRANCH}");
    let json = place.import(&all(&[&key.options()], &[&write_ref]));
    let (commit, base) = (text(&json, "/commit"), text(&json, "/base"));
    assert_eq!(place.parent(&json).as_deref(), Some(base));
    assert_eq!(place.ostree(&["rev-parse", BRANCH]), base);
    assert_eq!(place.signatures(base, GPG), 1);
    assert_eq!(place.signatures(commit, GPG), 0);
    // The same tree and date.
    let repo = open(&place.at("repo"));
    let [one, two] = [commit, base].map(|commit| repo.load_commit(commit).unwrap().0);
    for index in [5, 6, 7] {
        assert_eq!(one.child_value(index), two.child_value(index));
    }

    let source = format!("file://{}", place.at("repo").display());
    for (name, key, verified) in [("good", &key, true), ("bad", &other, false)] {
        place.ostree_in(name, &["init", "--mode=archive"]);
        let public = format!("--gpg-import={}", key.public().display());
        let add = [
            "remote",
            "add",
            "--set=gpg-verify=true",
            &public,
            "origin",
            &source,
        ];
        place.ostree_in(name, &add);
        let pull = ["pull", "origin", BRANCH];
        let output = place.ostree_command(name, &pull).output().unwrap();
        assert_eq!(output.status.success(), verified, "{name}: {output:?}");
        if verified {
            let pulled = place.ostree_in(name, &["rev-parse", &format!("origin:{BRANCH}")]);
            assert_eq!(pulled, base);
        }
    }
    fsck(&place.at("repo"));

    let unsigned = place.import_into("unsigned", &[]);
    assert_eq!(unsigned["base"], Value::Null);
    assert_ne!(unsigned["commit"], json["commit"]);
    assert_eq!(unsigned["tree"], json["tree"]);
}

#[test]
fn the_same_whoever_signs_and_whatever_was_there() {
    for options in [&[][..], &["--squash"]] {
        let place = Place::new();
        let keys = [GpgKey::new(), GpgKey::new()];
        let [key, other] = keys.each_ref().map(GpgKey::options);
        let cold = place.import_into("cold", &all(&[&other], options));
        let unsigned = place.import(options);
        place.remove_layers(&unsigned);

        // What is there is signed without reading the image.
        let signed = place.import(&all(&[&key], options));
        let base = text(&signed, "/base");
        assert_eq!(signed["commit"], cold["commit"]);
        assert_eq!(signed["base"], cold["base"]);
        assert_eq!(signed["unchanged"], false);
        assert_eq!(place.signatures(base, GPG), 1);

        let again = place.import(&all(&[&key], options));
        assert_eq!(again["unchanged"], true);
        assert_eq!(again["commit"], signed["commit"]);
        assert_eq!(again["refs"], signed["refs"]);
        assert_eq!(place.signatures(base, GPG), 1);

        // Another key signs too, and the first stays.
        let other = place.import(&all(&[&other], options));
        assert_eq!(other["unchanged"], false);
        assert_eq!(other["commit"], signed["commit"]);
        assert_eq!(place.signatures(base, GPG), 2);

        // What is asked for decides: without a key there is no base, and nothing keeps it.
        let back = place.import(options);
        assert_eq!(back["commit"], unsigned["commit"]);
        assert_eq!(back["base"], Value::Null);
        let refs = place.ostree(&["refs"]);
        assert!(!refs.contains("import-oci/signed/"), "{refs}");
        for name in back["refs"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            assert_eq!(place.ostree(&["rev-parse", name]), text(&back, "/commit"));
        }
        let again = place.import(options);
        assert_eq!(again["unchanged"], true);
        fsck(&place.at("repo"));
    }
}

/// bootc writes what it saw of an update over whatever lies beside the commit of an image.
#[test]
fn the_signature_outlives_a_look_for_updates() {
    let place = Place::new();
    let key = GpgKey::new();
    let key = key.options();
    let options = all(&[&key], &[]);
    let json = place.import(&options);
    let (commit, base) = (text(&json, "/commit"), text(&json, "/base"));
    let seen = VariantDict::new(None);
    seen.insert("ostree-ext.cached.manifest-digest", "sha256:0");
    let repo = open(&place.at("repo"));
    repo.write_commit_detached_metadata(commit, Some(&seen.end()), Cancellable::NONE)
        .unwrap();
    assert_eq!(place.signatures(base, GPG), 1);
    assert_eq!(place.import(&options)["unchanged"], true);
    assert!(place.detached(commit).is_some());
}

#[test]
fn the_base_outlives_a_prune_and_is_made_again_if_lost() {
    let place = Place::new();
    let key = GpgKey::new();
    let key = key.options();
    let options = all(&[&key], &[]);
    let json = place.import(&options);
    let (commit, base) = (text(&json, "/commit"), text(&json, "/base"));
    // As the clean-up of deployments prunes.
    let prune = ["prune", "--refs-only", "--depth=0"];
    place.ostree(&prune);
    assert_eq!(place.signatures(base, GPG), 1);
    assert_eq!(place.import(&options)["unchanged"], true);

    let refs = place.ostree(&["refs"]);
    let kept_by = refs.lines().find(|name| name.contains("/signed/")).unwrap();
    place.ostree(&["refs", "--delete", kept_by]);
    place.ostree(&prune);
    assert!(
        !place
            .ostree_command("repo", &["show", base])
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(place.ostree(&["ls", commit]).contains("/usr"));
    place.remove_layers(&json);
    let again = place.import(&options);
    assert_eq!(again["commit"], json["commit"]);
    assert_eq!(again["base"], json["base"]);
    assert_eq!(place.signatures(base, GPG), 1);
    fsck(&place.at("repo"));
}

#[test]
fn keys_in_files() {
    let place = Place::new();
    let secret = "c2VjcmV0";
    fs::write(place.at("key"), format!("{secret}\n")).unwrap();
    let file = format!("--sign-from-file={}", place.at("key").display());
    let sign = || {
        run(import_oci()
            .args(import_arguments(&place.at("repo"), "archive", &place.image))
            .args(["--json", "-vvv", &file, "--sign-type=dummy"])
            .env("OSTREE_DUMMY_SIGN_ENABLED", "1"))
    };
    let output = sign();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let base = text(&json, "/base");
    for (key, valid) in [(secret, true), ("b3RoZXI=", false)] {
        let verify = ["sign", "--verify", "--sign-type=dummy", base, key];
        let mut verify = place.ostree_command("repo", &verify);
        let verified = verify
            .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
            .output()
            .unwrap();
        assert_eq!(verified.status.success(), valid, "{verified:?}");
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(secret), "{said}");
    sign();
    assert_eq!(place.signatures(base, DUMMY), 1);
}

/// The key pair of RFC 8032, section 7.1, test 1.
#[test]
fn ed25519() {
    let place = Place::new();
    let (secret, public) = (
        "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==",
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    fs::write(place.at("key"), secret).unwrap();
    let file = format!("--sign-from-file={}", place.at("key").display());
    if ostree::Sign::by_name("ed25519").is_err() {
        let output = place.try_import(&[&file]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(said.contains("libostree was built without it"), "{said}");
        assert!(!said.contains(secret), "{said}");
        return;
    }
    let json = place.import(&[&file]);
    let base = text(&json, "/base");
    place.ostree(&["sign", "--verify", base, public]);
    assert_eq!(place.import(&[&file])["unchanged"], true);
    assert_eq!(place.signatures(base, "ostree.sign.ed25519"), 1);
}

#[test]
fn a_key_that_cannot_sign_is_refused_before_anything_is_read() {
    let place = Place::new();
    let json = place.import_into("other", &[]);
    place.remove_layers(&json);
    let key = GpgKey::new();
    let key = key.options();
    fs::write(place.at("empty"), "\n").unwrap();
    fs::write(place.at("two"), "YQ==\nYg==\n").unwrap();
    let file = |name| format!("--sign-from-file={}", place.at(name).display());
    let (none, empty, two) = (file("none"), file("empty"), file("two"));
    let unknown = format!("--gpg-sign={}", "0".repeat(40));
    let no_home = format!("--gpg-homedir={}", place.at("none").display());
    let short = unknown.as_str();
    for (options, part) in [
        (vec![short, &key[1]], "gpg --list-secret-keys"),
        (vec![&key[0], &key[1], short], "0000000000"),
        (vec![&key[0], &no_home], "none: No such file"),
        (vec![&none], "none: No such file"),
        (vec![&empty], "the file is empty"),
        (vec![&two], "more than one key"),
        (vec![&two, "--sign-type=foo"], "foo key in"),
    ] {
        let output = place.try_import(&options);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(part), "{part} is not in {said}");
        assert_eq!(place.ostree(&["refs"]), "");
    }
}
