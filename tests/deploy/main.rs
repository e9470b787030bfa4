//! `import-oci deploy` and `rebase`: what a system boots next, as libostree and its tools see it.

#[path = "../support"]
mod support {
    pub mod command;
    pub mod layout;
    pub mod listing;
    pub mod peers;
    pub mod schema;
}
mod booted;
mod labels;
mod rebase;
mod refused;
mod system;

use std::fs;
use std::path::Path;

use support::command::run;
use support::layout::Layer;
use support::listing::{Listing, assert_equal, is_below, read_directory};
use support::schema;
use system::{System, base, root_of, text};

/// The whole system but the content of its repo, whose refs are compared by name.
fn tree(system: &System) -> Listing {
    let mut listing = read_directory(&system.root()).unwrap().listing;
    listing.retain(|path, _| !is_below(path, b"ostree/repo"));
    listing
}

/// Takes the origin files from a tree; their contents are told apart by their digests.
fn take_origins(tree: &mut Listing) -> Vec<Vec<u8>> {
    let paths = tree.keys().filter(|path| path.ends_with(b".origin"));
    let paths: Vec<_> = paths.cloned().collect();
    for path in &paths {
        tree.remove(path);
    }
    paths
}

#[test]
fn what_ostree_admin_deploy_leaves_is_left() {
    let (Some(ours), Some(theirs)) = (System::new(), System::new()) else {
        return;
    };
    for (version, options) in [
        ("1", &["--karg=root=LABEL=root", "--karg=rw"][..]),
        ("2", &["--karg=quiet"]),
        ("3", &[]),
    ] {
        let layer = base().file("etc/version", 0o644, version);
        let source = ours.image(version, [layer]);
        let deployed = ours.deploy(&source, options);

        // The same commit under the same refs, deployed by ostree.
        let commit = deployed["commit"].as_str().unwrap();
        let source = ["--arch=amd64", "--initramfs=keep", &source];
        let mut import = support::command::import_oci();
        run(import.arg("--repo").arg(theirs.repo()).args(source));
        let mut deploy = theirs.ostree_admin(["deploy", "--os=os"]);
        for option in options {
            deploy.arg(option.replace("--karg=", "--karg-append="));
        }
        run(deploy.arg(commit));

        let (mut our_tree, mut their_tree) = (tree(&ours), tree(&theirs));
        let origins = take_origins(&mut our_tree);
        assert_eq!(origins, take_origins(&mut their_tree));
        assert_equal(&their_tree, &our_tree);
        assert_eq!(ours.deployments(), theirs.deployments());
        assert_eq!(ours.boot_arguments(), theirs.boot_arguments());
        let mut their_refs = theirs.refs();
        their_refs.retain(|name| !name.contains("/baseimage/import-oci/"));
        assert_eq!(ours.refs(), their_refs);
    }
    assert_eq!(ours.deployments().len(), 2, "{:?}", ours.deployments());
    ours.fsck();
}

#[test]
fn the_origin_is_what_was_typed() {
    let Some(system) = System::new() else { return };
    let source = system.image("image", [base()]);
    let unverified = format!("ostree-unverified-image:{source}");
    for (typed, target, origin) in [
        (&source, None, &*unverified),
        (&unverified, None, &*unverified),
        (
            &source,
            Some("docker://quay.io/os/image:tag"),
            "ostree-unverified-registry:quay.io/os/image:tag",
        ),
        (
            &source,
            Some("ostree-image-signed:docker://quay.io/os/image:tag"),
            "ostree-image-signed:docker://quay.io/os/image:tag",
        ),
    ] {
        let target = target.map(|target| format!("--target-imgref={target}"));
        let deployed = system.deploy(typed, &target.iter().map(|t| &**t).collect::<Vec<_>>());
        assert_eq!(deployed["origin"], origin);
        let file = format!("{}.origin", root_of(&deployed).display());
        let expected = format!("[origin]\ncontainer-image-reference={origin}\n");
        assert_eq!(fs::read_to_string(file).unwrap(), expected);
    }
}

#[test]
fn the_answer_is_the_name_of_what_boots_next() {
    let Some(system) = System::new() else { return };
    let source = system.image("image", [base()]);
    for serial in 0..2 {
        let output = run(&mut system.command(&source, &["--karg=quiet"]));
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let name = text(output);
        let name = name.trim_end();
        assert_eq!(system.deployments()[0], format!("os {name}"));
        assert!(name.ends_with(&format!(".{serial}")), "{name}");
        for part in [
            &*format!("{name} of os, boots next"),
            &format!("origin    ostree-unverified-image:{source}"),
            "arguments quiet",
        ] {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    }
    // The same argument twice is two arguments.
    assert_eq!(system.boot_arguments(), "quiet quiet");
}

/// What the host gets of a kept `/var` depends on its libostree, and on what was there before.
#[test]
fn what_the_host_does_not_get_of_var_is_told() {
    let Some(system) = System::new() else { return };
    let var = system.root().join("ostree/deploy/os/var");
    for (version, name) in [("1", "lib/first"), ("2", "lib/second")] {
        let layer = Layer::new().file(&format!("var/{name}/state"), 0o644, "state");
        let source = system.image(version, [base(), layer]);
        let output = run(&mut system.command(&source, &["--var=keep", "--json"]));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let missing = json["var_missing"].as_array().unwrap();
        let told = missing.iter().any(|path| {
            let path = path.as_str().unwrap();
            format!("/var/{name}").starts_with(path)
        });
        assert_eq!(told, !var.join(name).exists(), "{missing:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.contains("/var will lack"), told, "{said}");
    }
    // Lines of tmpfiles.d make all of it when the host starts.
    let layer = Layer::new().file("var/lib/third/state", 0o644, "state");
    let source = system.image("3", [base(), layer]);
    assert_eq!(
        system.deploy(&source, &[])["var_missing"],
        serde_json::json!([])
    );
}

#[test]
fn the_image_is_the_deployments_to_keep() {
    let Some(system) = System::new() else { return };
    let source = system.image("image", [base(), Layer::new().file("usr/x", 0o644, "x")]);
    let deployed = system.deploy(&source, &["--write-ref=os/stable"]);
    let refs = system.refs();
    let below = |prefix: &str| refs.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(below("ostree/container/image/"), 1, "{refs:?}");
    assert_eq!(below("ostree/container/blob/"), 2, "{refs:?}");
    assert_eq!(below("ostree/container/baseimage/"), 0, "{refs:?}");
    assert_eq!(below("os/stable"), 1, "{refs:?}");
    let mut list = support::command::import_oci();
    let listed = run(list
        .args(["list", "--json", "--sysroot"])
        .arg(system.root()));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["images"][0]["image"], *source);
    assert_eq!(listed["images"][0]["commit"], deployed["commit"]);
    assert_eq!(listed["images"][0]["deployed"], true);

    // Another image leaves the first where it was, and its own is no image to others.
    let other = system.image("other", [base().file("usr/y", 0o644, "y")]);
    system.deploy(&other, &["--no-imgref"]);
    assert_eq!(system.deployments().len(), 2);
    let images = system
        .refs()
        .into_iter()
        .filter(|name| name.contains("/image/"));
    assert_eq!(images.count(), 1);
    system.fsck();
}

#[test]
fn earlier_deployments() {
    let Some(system) = System::new() else { return };
    let source =
        |version: &str| system.image(version, [base().file("etc/version", 0o644, version)]);
    for (version, options, left) in [
        ("1", &[][..], 1),
        ("2", &[], 2),
        ("3", &["--retain"], 3),
        ("4", &[], 2),
    ] {
        let deployed = system.deploy(&source(version), options);
        let deployments = system.deployments();
        assert_eq!(deployments.len(), left, "{version}: {deployments:?}");
        let first = format!("os {}", deployed["deployment"].as_str().unwrap());
        assert_eq!(deployments[0], first);
    }
}

#[test]
fn kernel_arguments_follow_those_before() {
    let Some(system) = System::new() else { return };
    let source = system.image("image", [base()]);
    for (options, expected) in [
        (&["--karg=a=1", "--karg=a=2", "--karg=b"][..], "a=1 a=2 b"),
        (&[], "a=1 a=2 b"),
        (&["--karg=c=x y"], "a=1 a=2 b c=x y"),
        (
            &["--karg-delete=a=1", "--karg-delete=b", "--karg=b=3"],
            "a=2 c=x y b=3",
        ),
    ] {
        system.deploy(&source, options);
        assert_eq!(system.boot_arguments(), expected);
    }
}

#[test]
fn stateroots_are_made_when_asked_for() {
    let Some(system) = System::new() else { return };
    let source = system.image("image", [base()]);
    let deployed = system.deploy(&source, &["--stateroot=other", "--init"]);
    assert_eq!(deployed["stateroot"], "other");
    assert!(system.root().join("ostree/deploy/other/var/tmp").is_dir());
    let said = system.refused(&source, &[]);
    assert!(
        said.contains("several stateroots, os, other: --stateroot names one"),
        "{said}"
    );
    let deployed = system.deploy(&source, &["--stateroot=os"]);
    assert_eq!(deployed["stateroot"], "os");
    assert_eq!(system.deployments().len(), 2);
}

#[test]
fn changes_of_etc_are_merged() {
    let Some(system) = System::new() else { return };
    let version = |n: &str| {
        base()
            .file("etc/kept", 0o644, n)
            .file("etc/changed", 0o644, n)
            .file("etc/removed", 0o644, n)
    };
    let first = system.deploy(&system.image("1", [version("1")]), &[]);
    let etc = |deployed| root_of(deployed).join("etc");
    let write = |path: &Path, text| fs::write(path, text).unwrap();
    write(&etc(&first).join("changed"), "mine");
    write(&etc(&first).join("added"), "mine");
    fs::remove_file(etc(&first).join("removed")).unwrap();
    let second = system.deploy(&system.image("2", [version("2")]), &[]);
    let read = |name| fs::read_to_string(etc(&second).join(name)).ok();
    assert_eq!(read("kept").as_deref(), Some("2"));
    assert_eq!(read("changed").as_deref(), Some("mine"));
    assert_eq!(read("added").as_deref(), Some("mine"));
    assert_eq!(read("removed"), None);
}

#[test]
fn help_names_what_the_page_does() {
    let help = |verb| text(run(support::command::import_oci().args([verb, "--help"])));
    let help = ["deploy", "rebase"].map(help).join("\n");
    let page = include_str!("../../docs/deploy.md");
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let options: Vec<_> = words
        .filter(|word| word.starts_with("--") && !word.ends_with('-'))
        .collect();
    assert!(options.len() > 10, "{options:?}");
    for option in options {
        let bootc = option == "--enforce-container-sigpolicy";
        assert!(bootc || help.contains(option), "{option} is not in: {help}");
    }
}

#[test]
fn the_schema_describes_all_of_it() {
    assert_eq!(schema::deploy_v1().undescribed(), Vec::<String>::new());
}
