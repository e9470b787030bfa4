//! The command as users and scripts meet it: options, exit codes, and what is said where.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::image::{Image, Layout};
use common::{import, import_oci, not_run, output, run, stderr, stdout};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with an image, and room for repos.
struct Place {
    directory: TempDir,
    image: Layout,
}

impl Place {
    fn new() -> Self {
        Self::of(
            Image::new()
                .dir("etc", 0o755)
                .file("etc/hostname", "host")
                .file("usr/bin/tool", "tool")
                .layer()
                .file("usr/bin/other", "other"),
        )
    }

    fn of(image: Image) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let image = image.write(&directory.path().join("image"));
        Self { directory, image }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An import of the image into a new repo.
    fn import(&self, arguments: &[&str]) -> Command {
        let mut command = import(&self.at("repo"), &self.image.reference());
        command.arg("--init=archive").args(arguments);
        command
    }

    /// What `ostree ls` says of `path` in the only commit of the repo.
    fn list(&self, path: &str) -> String {
        let ostree = |command: &str| {
            let mut ostree = Command::new("ostree");
            ostree.arg(command).arg("--repo").arg(self.at("repo"));
            ostree
        };
        let refs = run(&mut ostree("refs"));
        let image = refs
            .lines()
            .find(|name| name.starts_with("ostree/container/image/"));
        run(ostree("ls").args(["-R", image.expect("an image"), path]))
    }
}

fn is_commit(line: &str) -> bool {
    line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit())
}

fn assert_usage_error(output: &Output, part: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(stdout(output), "", "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert!(said.contains(part), "{part:?} is not in: {said}");
}

/// The options that the README names where it says what the command does.
fn documented_options() -> Vec<String> {
    let readme = include_str!("../README.md");
    let (_, usage) = readme.split_once("## Usage").expect("a section");
    let (usage, _) = usage.split_once("## What runs where").expect("a section");
    let words = usage.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let mut options: Vec<_> = words
        .filter(|word| word.starts_with("--") && !word.ends_with('-'))
        .map(str::to_owned)
        .collect();
    options.sort();
    options.dedup();
    options
}

#[test]
fn help_names_what_the_readme_does() {
    let documented = documented_options();
    assert!(documented.len() > 8, "{documented:?}");
    let help = run(import_oci().arg("--help"));
    let of_verb = |verb| run(import_oci().args([verb, "--help"]));
    let verbs = ["check", "deploy", "labels", "rebase"]
        .map(of_verb)
        .join("\n");
    for option in &documented {
        let found = help.contains(option) || verbs.contains(option);
        assert!(found, "{option} is not in: {help}{verbs}");
    }
    for part in [
        "labels",
        "oci:DIR[:TAG]",
        "oci-archive:FILE",
        "docker-archive:FILE",
        "rootfs:DIR",
        "OSTREE_REPO",
        "SOURCE_DATE_EPOCH",
        "Exit codes: 0 done, 1 failed, or checked and would not boot, 2 wrong usage, 77 unchanged",
    ] {
        assert!(help.contains(part), "{part} is not in: {help}");
    }
    let labels = run(import_oci().args(["labels", "--help"]));
    for part in ["<PATH>", "--json", "--arch", "--skip-fixup", "--quiet"] {
        assert!(labels.contains(part), "{part} is not in: {labels}");
    }
    assert!(!labels.contains("--repo"), "{labels}");
    let version = run(import_oci().arg("--version"));
    assert_eq!(version, concat!("import-oci ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage() {
    for (arguments, part) in [
        (&["--init=bare-user-only", "oci:x"][..], "bare-user-only"),
        (
            &["--init=zip", "oci:x"],
            "repos of mode zip are not supported",
        ),
        (
            &["--skip-fixup", "nonsense", "oci:x"],
            "possible values: special-files, ostree-base",
        ),
        (
            &["--etc-conflict=both", "oci:x"],
            "possible values: error, etc, usr-etc",
        ),
        (
            &["--dir-metadata=mine", "oci:x"],
            "possible values: last, first",
        ),
        (
            &["--symlink-parent=keep", "oci:x"],
            "possible values: replace, follow, error",
        ),
        (
            &["--threads=0", "oci:x"],
            "invalid value '0' for '--threads",
        ),
        (
            &["--timestamp=yesterday", "oci:x"],
            "invalid value 'yesterday'",
        ),
        (&["--quiet", "-v", "oci:x"], "cannot be used with"),
        (&["--nonsense", "oci:x"], "unexpected argument '--nonsense'"),
        (&["oci:x", "oci:y"], "'oci:y' cannot be used"),
        (&["--repo=x"], "required arguments were not provided"),
        (&["labels", "oci:x"], "required arguments were not provided"),
    ] {
        assert_usage_error(&output(import_oci().args(arguments)), part);
    }
    let nothing = output(&mut import_oci());
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("Usage: import-oci"));
}

#[test]
fn init_makes_repos() {
    for (option, mode) in [
        ("--init=bare-user", "bare-user"),
        ("--init=archive", "archive-z2"),
        ("--init=archive-z2", "archive-z2"),
        ("--init", "bare"),
    ] {
        let place = Place::new();
        let mut command = import(&place.at("repo"), &place.image.reference());
        if mode == "bare" && !rustix::process::geteuid().is_root() {
            not_run("a bare repo needs root");
            continue;
        }
        // Again: a repo of the same mode that is there is taken as it is.
        for _ in 0..2 {
            assert!(is_commit(&run(command.arg(option))), "{option}");
            command = import(&place.at("repo"), &place.image.reference());
        }
        let config = fs::read_to_string(place.at("repo/config")).unwrap();
        assert!(
            config.contains(&format!("mode={mode}\n")),
            "{option}: {config}"
        );
    }
}

#[test]
fn standard_output_is_for_the_answer() {
    let place = Place::new();
    let plain = output(&mut place.import(&[]));
    let (answer, said) = (stdout(&plain), stderr(&plain));
    let commit = answer.strip_suffix('\n').expect("a whole line");
    assert!(is_commit(commit), "{answer}");
    for part in [
        &format!("source    {}\n", place.image.reference()),
        "manifest  sha256:",
        "selinux   nothing is labelled: the image has no /etc/selinux/config",
        "refs      ostree/container/baseimage/import-oci/oci_3A_",
        "          ostree/container/image/oci_3A_",
        "          2 of layers",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }

    let quiet = output(&mut place.import(&["--quiet"]));
    assert_eq!((stdout(&quiet), stderr(&quiet)), (answer, ""));

    let other = format!("--repo={}", place.at("other").display());
    let json = output(import_oci().args([
        &other,
        "--init=archive",
        "--json",
        "--no-kernel",
        &place.image.reference(),
    ]));
    let lines: Vec<_> = stdout(&json).lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let object: Value = serde_json::from_str(lines[0]).expect("one JSON object");
    assert_eq!(object["version"], 1);
    assert_eq!(object["commit"], commit);
    assert_eq!(object["source"], place.image.reference());
    assert_eq!(object["manifest_digest"], place.image.manifest);
    assert_eq!(object["config_digest"], place.image.config);
    let layers = object["layers"].as_array().expect("layers").iter();
    let layers: Vec<_> = layers
        .map(|layer| layer["digest"].as_str().unwrap())
        .collect();
    assert_eq!(layers, place.image.layers);
    assert!(
        object["notes"]
            .as_array()
            .is_some_and(|notes| !notes.is_empty())
    );
}

#[test]
fn notes_are_summed_up_unless_all_are_wanted() {
    let image = (0..40).fold(Image::new().file("usr/bin/tool", ""), |image, number| {
        let name = format!("tmp/{number}");
        image.entry(name, tar::EntryType::Fifo, 0o600, "", b"")
    });
    let place = Place::of(image);
    let said = |arguments: &[&str]| {
        // Once it is there, there is nothing to note.
        fs::remove_dir_all(place.at("repo")).ok();
        let output = output(&mut place.import(arguments));
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output).to_owned()
    };
    let fifos = |text: &str| text.matches("/tmp/").count();
    let some = said(&[]);
    assert!(fifos(&some) < 20, "{some}");
    assert!(some.contains("more; -v or --json shows them"), "{some}");
    for level in ["-v", "-vv"] {
        let all = said(&[level]);
        assert!(fifos(&all) >= 40, "{all}");
        assert!(
            !all.contains("shows them") && !all.contains('\u{1b}'),
            "{all}"
        );
    }
    fs::remove_dir_all(place.at("repo")).unwrap();
    let json = output(&mut place.import(&["--json", "-q"]));
    assert!(fifos(stdout(&json)) >= 40);
}

#[test]
fn readers_may_leave() {
    let place = Place::new();
    for arguments in [&[][..], &["--json"]] {
        let mut child = place
            .import(arguments)
            .args(["--quiet"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it is our child");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    }
}

#[test]
fn bare_paths_are_recognised() {
    let place = Place::new();
    let commit = run(&mut place.import(&[]));
    place.image.archive(&place.at("image.tar"));
    let docker = format!("docker-archive:{}:a:1", place.at("docker.tar").display());
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet"])
        .args([&place.image.reference(), &docker]));
    fs::create_dir_all(place.at("root/usr/bin")).unwrap();
    fs::write(place.at("root/usr/bin/tool"), "tool").unwrap();
    for (name, source, same) in [
        ("image", "oci:DIR/image", true),
        ("image:v1", "oci:DIR/image:v1", true),
        ("image.tar", "oci-archive:DIR/image.tar", true),
        ("image.tar:v1", "oci-archive:DIR/image.tar:v1", true),
        ("docker.tar", "docker-archive:DIR/docker.tar", false),
        ("root", "rootfs:DIR/root", false),
    ] {
        let path = place.at(name).display().to_string();
        let output = output(import(&place.at("repo"), &path).arg("--json"));
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        let object: Value = serde_json::from_str(stdout(&output)).expect("JSON");
        let directory = place.directory.path().display().to_string();
        assert_eq!(
            object["source"],
            source.replace("DIR", &directory),
            "{name}"
        );
        assert_eq!(object["commit"] == *commit, same, "{name}");
    }
}

#[test]
fn the_repo_may_come_from_the_environment() {
    let place = Place::new();
    let import = |variable: &str, arguments: &[&str]| {
        run(import_oci()
            .env("OSTREE_REPO", place.at(variable))
            .args(arguments)
            .args(["--init=archive", "--no-kernel", &place.image.reference()]));
    };
    import("from-environment", &[]);
    assert!(place.at("from-environment/config").exists());
    let option = format!("--repo={}", place.at("from-option").display());
    import("not-this", &[&option]);
    assert!(place.at("from-option/config").exists() && !place.at("not-this").exists());
}

/// The date of a commit of an unpacked root may be chosen, that of an image may not.
#[test]
fn timestamps() {
    let place = Place::new();
    fs::create_dir_all(place.at("root/usr")).unwrap();
    let root = format!("rootfs:{}", place.at("root").display());
    for (source, arguments, variable, expected) in [
        (&root, &["--timestamp=7"][..], None, Some(7)),
        (&root, &[], Some("8"), Some(8)),
        (&root, &["--timestamp=7"], Some("8"), Some(7)),
        (&root, &[], None, None),
        (&root, &[], Some(""), None),
        (
            &place.image.reference(),
            &[],
            Some("not looked at"),
            Some(1_704_164_645),
        ),
    ] {
        let mut command = import(&place.at("repo"), source);
        command.args(["--init=archive", "--json"]).args(arguments);
        command.envs(variable.map(|value| ("SOURCE_DATE_EPOCH", value)));
        let object: Value = serde_json::from_str(&run(&mut command)).expect("JSON");
        let timestamp = object["timestamp"].as_u64().expect("a number");
        match expected {
            Some(expected) => assert_eq!(timestamp, expected, "{source} {arguments:?}"),
            None => assert!(
                timestamp > 1_700_000_000,
                "the newest of the tree: {timestamp}"
            ),
        }
    }
    for (source, argument, variable) in [
        (&root, "--timestamp=18446744073709551615", "8"),
        (&root, "--verbose", "yesterday"),
        (&place.image.reference(), "--timestamp=7", "8"),
    ] {
        let mut command = import(&place.at("repo"), source);
        command.arg(argument).env("SOURCE_DATE_EPOCH", variable);
        assert!(!command.output().unwrap().status.success(), "{argument}");
    }
}

#[test]
fn options_decide_on_the_tree() {
    let etc = || {
        Image::new()
            .file("etc/conf", "from etc")
            .file("usr/etc/conf", "usr/etc")
    };
    let directories = || {
        Image::new()
            .dir("usr/share", 0o700)
            .layer()
            .dir("usr/share", 0o755)
    };
    let links = || {
        Image::new()
            .dir("data/real", 0o755)
            .symlink("data/link", "real")
            .layer()
            .file("data/link/file", "x")
    };
    type Case = (
        fn() -> Image,
        &'static [&'static str],
        &'static str,
        &'static str,
    );
    let cases: [Case; 9] = [
        (
            etc,
            &["--etc-conflict=etc"],
            "/usr/etc",
            "      8 /usr/etc/conf",
        ),
        (
            etc,
            &["--etc-conflict=usr-etc"],
            "/usr/etc",
            "      7 /usr/etc/conf",
        ),
        (etc, &["--skip-fixup=etc"], "/etc", "      8 /etc/conf"),
        (directories, &[], "/usr", "d00755 0 0      0 /usr/share"),
        (
            directories,
            &["--dir-metadata=last"],
            "/usr",
            "d00755 0 0      0 /usr/share",
        ),
        (
            directories,
            &["--dir-metadata=first"],
            "/usr",
            "d00700 0 0      0 /usr/share",
        ),
        (links, &[], "/data", "      1 /data/link/file"),
        (
            links,
            &["--symlink-parent=replace"],
            "/data",
            "      1 /data/link/file",
        ),
        (
            links,
            &["--symlink-parent=follow"],
            "/data",
            "      1 /data/real/file",
        ),
    ];
    for (image, arguments, path, expected) in cases {
        let place = Place::of(image());
        run(&mut place.import(arguments));
        let listed = place.list(path);
        assert!(
            listed.contains(expected),
            "{arguments:?}: {expected:?} is not in: {listed}"
        );
    }
    for (image, arguments, expected) in [
        (
            etc as fn() -> Image,
            &[][..],
            "/etc/conf: differs from /usr/etc/conf",
        ),
        (
            etc,
            &["--etc-conflict=error"],
            "/etc/conf: differs from /usr/etc/conf",
        ),
        (
            links,
            &["--symlink-parent=error"],
            "/data/link/file: its parent /data/link",
        ),
    ] {
        let output = output(&mut Place::of(image()).import(arguments));
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = stderr(&output);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn other_platforms_are_taken_when_named() {
    let place = Place::of(Image::new().file("usr/f", "").config(|config| {
        config["architecture"] = "arm".into();
        config["variant"] = "v7".into();
    }));
    let refused = output(&mut place.import(&[]));
    assert!(stderr(&refused).contains("the image is for linux/arm"));
    let taken = run(&mut place.import(&["--arch=arm", "--variant=v7", "--os=linux"]));
    assert!(is_commit(&taken), "{taken}");
}

#[test]
fn labels_explains() {
    let place = Place::of(
        Image::new()
            .file("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=mini\n")
            .file(
                "etc/selinux/mini/contexts/files/file_contexts",
                "/.*\tsystem_u:object_r:default_t:s0\n/etc/shadow\t--\tsystem_u:object_r:shadow_t:s0\n",
            )
            .file("etc/shadow", ""),
    );
    let labels = |arguments: &[&str]| {
        output(
            import_oci()
                .args(["labels", &place.image.reference()])
                .args(arguments),
        )
    };
    let plain = labels(&["/etc/shadow", "/usr/etc/shadow", "/nothing"]);
    let said = stdout(&plain);
    for part in [
        "/etc/shadow  system_u:object_r:shadow_t:s0\n",
        "/usr/etc/shadow  system_u:object_r:shadow_t:s0\n",
        "/nothing  system_u:object_r:default_t:s0  (not in the image)\n",
        "file_contexts:2",
    ] {
        assert!(
            said.contains(part),
            "{part:?} is not in: {said}{}",
            stderr(&plain)
        );
    }
    let json = labels(&["--json", "/etc/shadow", "/usr"]);
    let answers: Vec<Value> = stdout(&json)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["context"], "system_u:object_r:shadow_t:s0");
    assert_eq!(
        (&answers[0]["exists"], &answers[1]["path"]),
        (&true.into(), &"/usr".into())
    );

    let unlabelled = Place::new();
    let refused = output(import_oci().args(["labels", &unlabelled.image.reference(), "/etc"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).ends_with(" is labelled: the image has no /etc/selinux/config\n"));
}
