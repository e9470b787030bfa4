//! What goes where: the commit or one object of JSON to standard output, all else to standard
//! error. The object is as docs/import-v1.schema.json says; every test that imports checks that of
//! its own output.

mod support {
    pub mod command;
    pub mod layout;
    pub mod schema;
}

use std::process::Output;

use serde_json::{Value, json};
use support::command::{import, import_arguments, import_oci, run, scratch, text};
use support::layout::{Image, Layer, specimen};
use support::schema::import_v1;

/// Imports the specimen with `options`.
fn output(options: &[&str]) -> Output {
    let directory = scratch();
    let image = specimen().write(&directory.path().join("image"));
    let repo = directory.path().join("repo");
    run(import_oci()
        .args(import_arguments(&repo, "bare-user", &image))
        .args(options))
}

fn words(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn is_commit(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn the_commit_alone() {
    let output = output(&[]);
    let line = words(&output.stdout).strip_suffix('\n').unwrap();
    assert!(is_commit(line), "{line}");
    // The report for people: where it came from, what it became, what was done to it.
    for part in [
        "source    oci:",
        "manifest  sha256:",
        "selinux   policy tiny:",
        "kernel    6.1.0",
        "special-files: 2",
        "dropped /var/games/queue: FIFO",
    ] {
        assert!(words(&output.stderr).contains(part), "{part:?} is not told");
    }
}

#[test]
fn one_object() {
    let output = output(&["--json"]);
    let (line, rest) = words(&output.stdout).split_once('\n').unwrap();
    assert_eq!(rest, "");
    let object: Value = serde_json::from_str(line).unwrap();
    assert!(is_commit(text(&object, "/commit")), "{line}");
    assert!(words(&output.stderr).contains("source    oci:"));
}

#[test]
fn why_nothing_is_labelled() {
    const CONTEXTS: &str = "etc/selinux/p/contexts/files/file_contexts";
    for (config, reason) in [
        (None, "the image has no /etc/selinux/config"),
        (
            Some("SELINUX=disabled\nSELINUXTYPE=p\n"),
            "/etc/selinux/config says neither SELINUX=enforcing nor SELINUX=permissive",
        ),
        (
            Some("SELINUX=enforcing\nSELINUXTYPE=q\n"),
            "/etc/selinux/config selects the policy q, of which the image has no file_contexts",
        ),
    ] {
        let directory = scratch();
        let mut layer = Layer::new().file(CONTEXTS, 0o644, "/.* u:r:t\n");
        if let Some(config) = config {
            layer = layer.file("etc/selinux/config", 0o644, config);
        }
        let image = Image::new()
            .layer(layer)
            .write(&directory.path().join("image"));
        let repo = directory.path().join("repo");
        let arguments = import_arguments(&repo, "bare-user", &image);
        let output = run(import_oci().args(arguments).arg("--json"));
        let line = format!("\nselinux   nothing is labelled: {reason}\n");
        assert!(
            words(&output.stderr).contains(&line),
            "{line:?} is not told"
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["selinux"], Value::Null);
        assert_eq!(json["selinux_reason"], reason);
        let notes = json["notes"].as_array().unwrap().iter();
        let notes: Vec<_> = notes.filter(|note| note["by"] == "label").collect();
        let detail = format!("nothing is labelled: {reason}; not used: the policy p");
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0]["detail"], detail);
    }
}

#[test]
fn every_change() {
    let object: Value = serde_json::from_slice(&output(&["--json"]).stdout).unwrap();
    let output = output(&["-v"]);
    for note in object["notes"].as_array().unwrap() {
        let [action, path, detail] = ["/action", "/path", "/detail"].map(|field| text(note, field));
        let line = format!("\n  {action:7} {path}: {detail}\n");
        assert!(
            words(&output.stderr).contains(&line),
            "{line:?} is not told"
        );
    }
}

#[test]
fn quiet() {
    for options in [
        &["--quiet"][..],
        &["--quiet", "--json"],
        &["-q", "--threads=1"],
    ] {
        let output = output(options);
        assert_eq!(words(&output.stderr), "", "{options:?}");
        assert_eq!(words(&output.stdout).lines().count(), 1, "{options:?}");
    }
}

#[test]
fn failures_say_nothing_on_standard_output() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    for (options, code) in [
        (&[][..], 1),
        (&["--json"], 1),
        (&["--quiet"], 1),
        (&["--quiet", "--verbose"], 2),
    ] {
        let source = format!("oci:{}", directory.path().join("nothing").display());
        let output = import_oci()
            .args(import_arguments(&repo, "bare-user", &source))
            .args(options)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{options:?}");
        assert_eq!(words(&output.stdout), "", "{options:?}");
        assert!(words(&output.stderr).starts_with("error: "), "{options:?}");
    }
}

/// Imports of every shape: with a policy and without, with a kernel and without, of an image and
/// of an unpacked root, with notes that escape a path.
#[test]
fn objects_are_as_the_schema_says() {
    let directory = scratch();
    let repo = directory.path().join("repo");
    let specimen = specimen().write(&directory.path().join("specimen"));
    let plain = Image::new()
        .layer(Layer::new().fifo("tmp/new\nline\u{1}"))
        .write(&directory.path().join("plain"));
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("usr")).unwrap();
    let root = format!("rootfs:{}", root.display());
    for (source, layers, kernel, policy) in [
        (&specimen, 2, json!("6.1.0"), json!("tiny")),
        (&plain, 1, Value::Null, Value::Null),
        (&root, 0, Value::Null, Value::Null),
    ] {
        // Checks it.
        let json = import(&repo, "bare-user", source, &[]);
        assert_eq!(json["source"], **source);
        assert_eq!(json["layers"].as_array().unwrap().len(), layers);
        assert_eq!(json["kernel"], kernel);
        assert_eq!(json["selinux"]["policy"], policy);
        assert_eq!(
            json["selinux_reason"].is_null(),
            json["selinux"].is_object()
        );
        if *source == plain {
            assert_eq!(text(&json, "/notes/0/path"), r"/tmp/new\nline\u{1}");
        }
    }
}

#[test]
fn the_schema_describes_all_of_it() {
    assert_eq!(import_v1().undescribed(), Vec::<String>::new());
}

#[test]
fn the_schema_refuses_anything_else() {
    let schema = import_v1();
    let object: Value = serde_json::from_slice(&output(&["--json"]).stdout).unwrap();
    assert_eq!(schema.check(&object), Vec::<String>::new());

    // Not one field may be missing.
    let mut fields = Vec::new();
    for pointer in ["", "/layers/0", "/tree", "/objects", "/selinux", "/notes/0"] {
        let names = object.pointer(pointer).unwrap().as_object().unwrap().keys();
        fields.extend(names.map(|name| (pointer, name.clone())));
    }
    assert!(fields.len() > 30);
    for (pointer, name) in fields {
        let mut without = object.clone();
        let holder = without.pointer_mut(pointer).unwrap();
        holder.as_object_mut().unwrap().remove(&name);
        assert!(!schema.check(&without).is_empty(), "{pointer}/{name}");
    }

    for (pointer, value) in [
        ("/version", json!(2)),
        ("/commit", json!("x".repeat(64))),
        ("/commit", json!("a".repeat(63))),
        ("/unchanged", json!(0)),
        ("/image", json!(true)),
        ("/refs/0", json!("/leading")),
        ("/layers/0/cached", json!(null)),
        ("/source", json!("image")),
        ("/timestamp", json!("1")),
        ("/timestamp", json!(-1)),
        ("/manifest_digest", json!("a".repeat(64))),
        ("/layers", json!({})),
        ("/layers/0/size", json!(1.5)),
        ("/tree/files", json!(null)),
        ("/objects", json!([])),
        ("/selinux", json!(false)),
        ("/selinux/taken_over", json!("no")),
        ("/selinux_reason", json!(false)),
        ("/kernel", json!(6)),
        ("/notes/0/action", json!("removed")),
        ("/notes/0/path", json!("relative")),
    ] {
        let mut other = object.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert!(!schema.check(&other).is_empty(), "{pointer}");
    }

    let mut more = object.clone();
    more["new"] = json!(1);
    assert_eq!(schema.check(&more), ["/new is not described"]);
}
