//! `prune` and `list` of a system: what is deployed stays.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::support::command::{fsck, import_oci, is_root, not_run, run, scratch, text};
use super::{IMAGES, LAYERS, OURS, Place, image_ref, our_ref, texts};

/// A system, whose repo is that of a place.
struct System(Place);

impl System {
    /// `None`: only root can deploy.
    fn new() -> Option<Self> {
        if !is_root() {
            not_run("only root can deploy");
            return None;
        }
        let place = Place {
            directory: scratch(),
            mode: "bare",
        };
        let system = Self(place);
        run(Command::new("ostree")
            .args(["admin", "init-fs"])
            .arg(system.0.at("")));
        std::os::unix::fs::symlink("ostree/repo", system.0.repo()).unwrap();
        system.admin(&["os-init", "test"]);
        Some(system)
    }

    fn sysroot(&self) -> String {
        format!("--sysroot={}", self.0.at("").display())
    }

    fn admin(&self, arguments: &[&str]) {
        // Directories that cannot be changed cannot be removed either.
        run(Command::new("ostree")
            .arg("admin")
            .args(arguments)
            .arg(self.sysroot())
            .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments"));
    }

    /// Deploys an image as bootc and rpm-ostree do, under the name that `origin` says.
    fn deploy(&self, image: &str, origin: &str) {
        let path = self.0.at("origin");
        let text = format!("[origin]\ncontainer-image-reference={origin}\n");
        fs::write(&path, text).unwrap();
        let commit = self.0.resolve(&image_ref(image)).unwrap();
        let origin = format!("--origin-file={}", path.display());
        self.admin(&["deploy", "--os=test", &origin, &commit]);
    }

    fn json(&self, verb: &str, arguments: &[&str]) -> Value {
        super::json(verb, &[&[&*self.sysroot()], arguments].concat())
    }

    fn deployed(&self) -> Vec<String> {
        let listed = self.json("list", &[]);
        let images = listed["images"].as_array().unwrap().iter();
        let deployed = images.filter(|image| image["deployed"] == true);
        deployed
            .map(|image| text(image, "/image").to_owned())
            .collect()
    }
}

#[test]
fn what_waits_or_is_deployed_stays() {
    let Some(system) = System::new() else { return };
    let place = &system.0;
    let deployed = place.import(&["base", "deployed"]);
    let waiting = place.import(&["base", "waiting"]);
    let pulled = place.import(&["base", "pulled"]);
    place.ostree(&["refs", "--delete", &our_ref(&pulled)]);
    system.deploy(&deployed, &format!("ostree-unverified-image:{deployed}"));
    let needed = place.commits(&deployed);
    assert_eq!(system.deployed(), [&*deployed]);
    assert_eq!(system.json("inspect", &[&deployed])["deployed"], true);

    let pruned = system.json("prune", &[]);
    assert_eq!(texts(&pruned["images"]), [&*pulled]);
    assert_eq!(texts(&pruned["kept"]), [&*deployed]);
    assert_eq!(texts(&pruned["layers"]).len(), 1);
    assert!(pruned["objects"]["removed"].as_u64() > Some(0));
    assert_eq!(
        place.refs(IMAGES),
        [image_ref(&deployed), image_ref(&waiting)].into()
    );
    assert_eq!(place.refs(OURS), [our_ref(&waiting)].into());
    assert_eq!(place.refs(LAYERS).len(), 3);
    fsck(&place.repo());

    let pruned = system.json("prune", &["--undeployed"]);
    assert_eq!(texts(&pruned["images"]), [&*waiting]);
    assert_eq!(place.refs(IMAGES), [image_ref(&deployed)].into());
    assert_eq!(place.commits(&deployed), needed);
    fsck(&place.repo());
    system.admin(&["status"]);
}

/// Removing the image of a deployment takes a name away and nothing else.
#[test]
fn deployments_need_no_image_ref() {
    let Some(system) = System::new() else { return };
    let place = &system.0;
    let deployed = place.import(&["base", "deployed"]);
    system.deploy(&deployed, &format!("ostree-unverified-image:{deployed}"));
    let needed = place.commits(&deployed);
    let layers = place.refs(LAYERS);
    place.json("remove", &[&deployed]);
    system.json("prune", &["--undeployed"]);
    assert_eq!(place.refs(IMAGES).len() + place.refs(OURS).len(), 0);
    assert_eq!(place.refs(LAYERS), layers);
    for commit in &needed {
        assert!(place.has(&format!("{commit}.commit")), "{commit}");
    }
    fsck(&place.repo());
}

#[test]
fn a_deployment_without_a_ref_is_not_lost() {
    let Some(system) = System::new() else { return };
    let place = &system.0;
    let deployed = place.import(&["base", "deployed"]);
    system.deploy(&deployed, &format!("ostree-unverified-image:{deployed}"));
    let commit = place.commits(&deployed).swap_remove(0);
    place.json("remove", &[&deployed]);
    for name in place.refs("ostree/") {
        if place.resolve(&name).as_ref() == Some(&commit) {
            place.ostree(&["refs", "--delete", &name]);
        }
    }
    let prune = || {
        let mut command = import_oci();
        command.args(["prune", &system.sysroot()]).output().unwrap()
    };
    let output = prune();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("`ostree admin cleanup` writes"), "{errors}");
    assert!(place.has(&format!("{commit}.commit")));
    system.admin(&["cleanup"]);
    assert_eq!(prune().status.code(), Some(0));
    assert!(place.has(&format!("{commit}.commit")));
    fsck(&place.repo());
}

/// Under the name of a deployment an update may wait that others pulled.
#[test]
fn updates_under_the_name_of_a_deployment_stay() {
    let Some(system) = System::new() else { return };
    let place = &system.0;
    let deployed = place.import(&["base", "deployed"]);
    let update = place.import(&["base", "update"]);
    let commit = place.resolve(&image_ref(&update)).unwrap();
    system.deploy(&deployed, &format!("ostree-unverified-image:{deployed}"));
    place.json("remove", &[&update, "--skip-gc"]);
    place.ostree(&[
        "refs",
        &commit,
        "--force",
        "--create",
        &image_ref(&deployed),
    ]);
    place.ostree(&["refs", "--delete", &our_ref(&deployed)]);
    let pruned = system.json("prune", &["--undeployed"]);
    assert_eq!(
        (&pruned["images"], &pruned["layers"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(place.resolve(&image_ref(&deployed)), Some(commit));
    assert_eq!(place.refs(LAYERS).len(), 3);
}

/// Who wrote an origin that is not understood may mean any image.
#[test]
fn odd_origins_keep_all_images() {
    let Some(system) = System::new() else { return };
    let place = &system.0;
    let deployed = place.import(&["base", "deployed"]);
    let other = place.import(&["base", "other"]);
    system.deploy(&deployed, "ostree-of-the-future:whatever");
    let pruned = system.json("prune", &["--undeployed"]);
    assert_eq!(pruned["images"], json!([]));
    let said = text(&pruned, "/unreadable/0/name");
    assert!(said.starts_with("the origin of a deployment of "), "{said}");
    assert_eq!(
        place.refs(IMAGES),
        [image_ref(&deployed), image_ref(&other)].into()
    );
}

#[test]
fn which_repo_and_which_system() {
    let Some(system) = System::new() else { return };
    let source = system.0.import(&["base"]);
    let list = |arguments: &[&str]| {
        let output = import_oci().arg("list").args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let repo = format!("--repo={}", system.0.repo().display());
    for arguments in [
        &[&*system.sysroot()][..],
        &[&repo],
        &[&system.sysroot(), &repo],
    ] {
        let (code, said) = list(arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&source), "{said}");
    }
    let other = Place::new();
    other.import(&["base"]);
    let repo = format!("--repo={}", other.repo().display());
    let (code, said) = list(&[&system.sysroot(), &repo]);
    assert_eq!(code, Some(1));
    assert!(said.contains("is not the repo of the system"), "{said}");
    let none = format!("--sysroot={}", other.at("").display());
    let (code, said) = list(&[&none]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--sysroot another system"), "{said}");
}
