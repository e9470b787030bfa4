//! `prune` of a repo without a system: refs alone say what is needed.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::command::{fsck, import, import_arguments, import_oci};
use super::{IMAGES, LAYERS, OURS, Place, image_ref, our_ref, texts};

/// The same without what differs by nature.
fn as_if_done(mut dry_run: Value) -> Value {
    assert_eq!(dry_run["dry_run"], true);
    dry_run["dry_run"] = json!(false);
    dry_run
}

#[test]
fn images_stay_without_a_system() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    // One that others pulled, which nothing of ours keeps.
    let pulled = place.import(&["base", "two"]);
    place.ostree(&["refs", "--delete", &our_ref(&pulled)]);
    let before = place.refs("");
    let pruned = place.json("prune", &[]);
    assert_eq!(place.refs(""), before);
    assert_eq!(pruned["objects"]["removed"], 0);
    assert!(before.contains(&image_ref(&source)) && before.contains(&image_ref(&pulled)));
}

#[test]
fn a_dry_run_tells_the_truth_and_does_nothing() {
    let place = Place::new();
    let (one, two) = (
        place.import(&["base", "one"]),
        place.import(&["base", "two"]),
    );
    place.json("remove", &[&one, "--skip-gc"]);
    // A branch with a history, which must not lose it.
    fs::create_dir(place.at("tree")).unwrap();
    let tree = format!("--tree=dir={}", place.at("tree").display());
    let first = place.ostree(&["commit", "--branch=os/branch", "--subject=1", &tree]);
    fs::write(place.at("tree/file"), "2").unwrap();
    place.ostree(&["commit", "--branch=os/branch", "--subject=2", &tree]);
    // Objects that nothing needs any more already.
    fs::write(place.at("tree/file"), "lost").unwrap();
    place.ostree(&["commit", "--branch=os/lost", &tree]);
    place.ostree(&["refs", "--delete", "os/lost"]);

    let before = place.refs("");
    let told = place.json("prune", &["--dry-run", "--undeployed"]);
    assert_eq!(place.refs(""), before);
    assert!(
        place
            .said("prune", &["--dry-run"])
            .starts_with("would remove 1 layer\n")
    );
    fsck(&place.repo());
    let done = place.json("prune", &["--undeployed"]);
    assert_eq!(as_if_done(told), done);
    assert_eq!(texts(&done["images"]), [&*two]);
    assert_eq!(texts(&done["kept"]), [&*two]);
    assert_eq!(texts(&done["layers"]).len(), 3);
    assert_eq!(place.refs(""), ["os/branch".to_owned()].into());
    assert!(place.has(&format!("{first}.commit")));
    fsck(&place.repo());

    let nothing = place.json("prune", &["--undeployed"]);
    assert_eq!(nothing["objects"]["removed"], 0);
    assert_eq!(nothing["objects"]["bytes"], 0);
    let left =
        done["objects"]["total"].as_u64().unwrap() - done["objects"]["removed"].as_u64().unwrap();
    assert_eq!(nothing["objects"]["total"], left);
}

/// Refs by which libostree, rpm-ostree and bootc say what they need.
#[test]
fn refs_of_others_keep_commits_and_layers() {
    for keeper in [
        "ostree/0/1/0",
        "ostree/1/1/0",
        "rpmostree/base/0",
        "ostree/container/baseimage/bootc/0",
    ] {
        let place = Place::new();
        let (one, two) = (
            place.import(&["base", "one"]),
            place.import(&["base", "two"]),
        );
        let needed = place.commits(&one);
        place.ostree(&["refs", &needed[0], "--create", keeper]);
        let pruned = place.json("prune", &["--undeployed"]);
        assert_eq!(texts(&pruned["layers"]).len(), 1, "{keeper}");
        assert!(texts(&pruned["images"]).contains(&&*two), "{keeper}");
        // A deployment keeps its image, too.
        let deployed = !keeper.contains("baseimage");
        let images = place.refs(IMAGES);
        assert_eq!(images.contains(&image_ref(&one)), deployed, "{keeper}");
        assert_eq!(place.refs(OURS).len(), 0);
        assert_eq!(place.refs(LAYERS).len(), 2);
        for commit in needed {
            assert!(place.has(&format!("{commit}.commit")), "{keeper}");
        }
        fsck(&place.repo());
    }
}

#[test]
fn imports_without_a_name_stay_unless_undeployed() {
    let place = Place::new();
    let source = place.write(&["base", "one"]);
    import(&place.repo(), place.mode, &source, &["--no-imgref"]);
    place.json("prune", &[]);
    assert_eq!(place.refs(OURS), [our_ref(&source)].into());
    assert_eq!(place.refs(LAYERS).len(), 2);
    let pruned = place.json("prune", &["--undeployed"]);
    assert_eq!(texts(&pruned["kept"]), [&*source]);
    assert_eq!(place.refs("").len(), 0);
}

#[test]
fn who_imports_and_who_prunes_wait_for_each_other() {
    let place = Place::new();
    let source = place.import(&["base", "one"]);
    let repo = place.repo();
    let prune = || {
        let mut command = import_oci();
        command.arg("prune").arg("--repo").arg(&repo);
        command
    };
    let import = || {
        let mut command = import_oci();
        command.args(import_arguments(&repo, place.mode, &source));
        command
    };
    // As long as one imports none prunes, and the other way round; several import at once.
    for (held, mut command, waits) in [
        (
            File::lock_shared as fn(&File) -> std::io::Result<()>,
            prune(),
            true,
        ),
        (File::lock, import(), true),
        (File::lock, prune(), true),
        (File::lock_shared, import(), false),
    ] {
        let lock = File::open(&repo).unwrap();
        held(&lock).unwrap();
        let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let begun = Instant::now();
        let ended = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            let patience = if waits { 2 } else { 120 };
            if begun.elapsed() > Duration::from_secs(patience) {
                break false;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(ended, !waits, "{command:?}");
        lock.unlock().unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{errors}");
        assert_eq!(errors.contains("waiting for it"), waits, "{errors}");
    }
}
