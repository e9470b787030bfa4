//! ostree-ext reads what these verbs leave, and would drop nothing more.

use std::path::Path;

use super::support::command::run;
use super::support::peers;
use super::{Place, image_ref, ostree};

#[test]
fn ostree_ext_agrees() {
    if peers::ostree_ext().is_none() {
        return;
    }
    let place = Place::new();
    let (one, two) = (
        place.import(&["base", "one"]),
        place.import(&["base", "two"]),
    );
    let other = place.at("other");
    ostree(&other, &["init", "--mode=archive"]);
    let to = format!("--dest-repo={}", other.display());
    place.json("copy", &[&one, &to]);
    place.json(
        "copy",
        &[&two, &to, "--target-imgref=docker://quay.io/os/two"],
    );
    place.json("remove", &[&one]);
    place.json("prune", &[]);

    let commit = |image: &str| place.resolve(&image_ref(image)).unwrap();
    let two_there = ostree(
        &other,
        &["rev-parse", &image_ref("docker://quay.io/os/two")],
    );
    let one_there = ostree(&other, &["rev-parse", &image_ref(&one)]);
    assert_eq!(two_there, commit(&two));
    let read = |repo: &Path| {
        let mut peer = peers::ostree_ext().unwrap();
        let output = run(peer.arg("images").arg(repo));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read(&place.repo()), format!("{two} {two_there}\n0\n"));
    let expected = format!("docker://quay.io/os/two {two_there}\n{one} {one_there}\n0\n");
    assert_eq!(read(&other), expected);
}
