//! Images that lie, are damaged, or hold what no commit can.

use std::fs;

use serde_json::json;
use tar::EntryType::{Regular, Symlink};

use crate::common::image::{Image, Layout};
use crate::common::import;
use crate::repo::GROUND;

/// What is wrong with an image of two layers.
enum Wrong {
    /// It was made so: all digests fit.
    Made(fn(Image) -> Image),
    /// It was made well and damaged on disk.
    Damaged(fn(&Layout)),
}
use Wrong::{Damaged, Made};

/// A name, what is wrong, and what the line must say. `{image}` stands for the source as it was
/// given, `{manifest}`, `{config}`, `{layer 1}` and `{layer 2}` for digests.
type Case = (&'static str, Wrong, &'static [&'static str]);

fn good() -> Image {
    Image::new()
        .dir("etc", 0o755)
        .file("etc/hostname", "old")
        .symlink("lib", "usr/lib")
        .layer()
        .zstd()
        .file("usr/lib/library", noise(20_000))
}

/// Bytes that no compression shortens, always the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn check(cases: &[Case]) {
    for (name, wrong, expected) in cases {
        let repo = GROUND.repo("bare-user");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("image");
        let layout = match wrong {
            Made(make) => make(good()).write(&path),
            Damaged(damage) => {
                let layout = good().write(&path);
                damage(&layout);
                layout
            }
        };
        let source = format!("{}:v1", layout.reference());
        let temporary = repo.temporary();
        let mut expected: Vec<_> = expected.iter().map(|e| filled(e, &layout)).collect();
        expected.push(source.clone());
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        let line = repo.survives(name, || import(&repo.path, &source), &expected);
        println!("{name}: {line}");
        assert_eq!(line.matches(&source).count(), 1, "{name}: {line}");
        assert_eq!(repo.temporary(), temporary, "{name}: it was written to tmp");
        repo.import_second(name);
    }
}

fn filled(expected: &str, layout: &Layout) -> String {
    let layer = |index: usize| layout.layers.get(index).map_or("", String::as_str);
    expected
        .replace("{manifest}", &layout.manifest)
        .replace("{config}", &layout.config)
        .replace("{layer 1}", &format!("layer 1 ({})", layer(0)))
        .replace("{layer 2}", &format!("layer 2 ({})", layer(1)))
}

fn halve(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
}

fn remove(layout: &Layout, digest: &str) {
    fs::remove_file(layout.blob(digest)).expect("it is there");
}

#[test]
fn blobs() {
    check(&[
        (
            "truncated gzip blob",
            Damaged(|layout| layout.change(&layout.layers[0], halve)),
            &["{layer 1}", "bytes, the manifest says"],
        ),
        (
            "truncated zstd blob",
            Damaged(|layout| layout.change(&layout.layers[1], halve)),
            &["{layer 2}", "bytes, the manifest says"],
        ),
        (
            "longer blob",
            Damaged(|layout| layout.change(&layout.layers[0], |bytes| bytes.push(0))),
            &["{layer 1}", "bytes, the manifest says"],
        ),
        (
            "empty blob",
            Damaged(|layout| layout.change(&layout.layers[0], Vec::clear)),
            &["{layer 1}", "has 0 bytes, the manifest says"],
        ),
        (
            "altered gzip blob",
            Damaged(|layout| layout.change(&layout.layers[0], |bytes| flip(bytes))),
            &["{layer 1}", "the blob is corrupt: expected digest sha256:"],
        ),
        (
            "altered zstd blob",
            Damaged(|layout| layout.change(&layout.layers[1], |bytes| flip(bytes))),
            &["{layer 2}", "the blob is corrupt: expected digest sha256:"],
        ),
        (
            "missing blob",
            Damaged(|layout| remove(layout, &layout.layers[1])),
            &["{layer 2}", "No such file"],
        ),
        (
            "blob that is a directory",
            Damaged(|layout| {
                remove(layout, &layout.layers[1]);
                fs::create_dir(layout.blob(&layout.layers[1])).unwrap();
            }),
            &["{layer 2}", "not a regular file"],
        ),
        (
            "truncated gzip stream",
            Made(|image| image.layer().file("f", "f").blob(halve)),
            &["layer 3 (sha256:", "the gzip stream is truncated"],
        ),
        (
            "truncated zstd stream",
            Made(|image| image.blob(halve)),
            &["{layer 2}", "the zstd stream is truncated"],
        ),
        (
            "truncated plain archive",
            Made(|image| image.plain().blob(halve)),
            &[
                "{layer 2}",
                "entry usr/lib/library",
                "the archive is truncated",
            ],
        ),
        (
            "damaged gzip stream",
            Made(|image| {
                image
                    .layer()
                    .file("f", noise(999))
                    .blob(|bytes| flip(bytes))
            }),
            &["layer 3 (sha256:", "the gzip stream is damaged"],
        ),
        (
            "damaged archive",
            Made(|image| image.plain().blob(|bytes| bytes[3] = b'X')),
            &["{layer 2}", "not a tar header"],
        ),
        (
            "no archive at all",
            Made(|image| image.plain().blob(|bytes| *bytes = noise(4096))),
            &["{layer 2}", "not a tar header"],
        ),
        (
            "xz",
            Made(|image| image.blob(|bytes| *bytes = b"\xfd7zXZ\0 and so on".to_vec())),
            &["{layer 2}", "compressed with xz", "recompress"],
        ),
        (
            "bzip2",
            Made(|image| image.blob(|bytes| *bytes = b"BZh91AY&SY and so on".to_vec())),
            &["{layer 2}", "compressed with bzip2", "recompress"],
        ),
    ]);
}

#[test]
fn documents() {
    check(&[
        (
            "malformed index",
            Damaged(|layout| layout.write("index.json", b"{\"manifests\": [")),
            &["index.json", "malformed JSON", "line 1 column"],
        ),
        (
            "missing index",
            Damaged(|layout| fs::remove_file(layout.directory.join("index.json")).unwrap()),
            &["index.json", "No such file"],
        ),
        (
            "missing oci-layout",
            Damaged(|layout| fs::remove_file(layout.directory.join("oci-layout")).unwrap()),
            &["oci-layout", "No such file"],
        ),
        (
            "missing manifest",
            Damaged(|layout| remove(layout, &layout.manifest)),
            &["manifest {manifest}", "No such file"],
        ),
        (
            "altered manifest",
            Damaged(|layout| layout.change(&layout.manifest, |bytes| flip(bytes))),
            &["manifest {manifest}", "its content has the digest sha256:"],
        ),
        (
            "malformed manifest",
            Made(|image| image.manifest(|manifest| manifest["layers"] = json!("none"))),
            &[
                "manifest {manifest}",
                "malformed JSON",
                "invalid type: string",
            ],
        ),
        (
            "schema 1",
            Made(|image| image.manifest(|manifest| manifest["schemaVersion"] = json!(1))),
            &[
                "manifest {manifest}",
                "schema 1",
                "skopeo copy --format oci",
            ],
        ),
        (
            "artifact",
            Made(|image| image.manifest(|manifest| manifest["artifactType"] = json!("a/b"))),
            &[
                "manifest {manifest}",
                "an artifact of type a/b, not an image",
            ],
        ),
        (
            "missing configuration",
            Damaged(|layout| remove(layout, &layout.config)),
            &["configuration {config}", "No such file"],
        ),
        (
            "altered configuration",
            Damaged(|layout| layout.change(&layout.config, |bytes| flip(bytes))),
            &[
                "configuration {config}",
                "its content has the digest sha256:",
            ],
        ),
        (
            "malformed configuration",
            Made(|image| image.config(|config| config["rootfs"] = json!(7))),
            &[
                "configuration {config}",
                "malformed JSON",
                "invalid type: integer",
            ],
        ),
        (
            "wrong diff_id",
            Made(|image| {
                image.config(|config| {
                    config["rootfs"]["diff_ids"][1] = json!(format!("sha256:{:064}", 7));
                })
            }),
            &["{layer 2}", "expected diff_id sha256:0000", "found sha256:"],
        ),
        (
            "diff_id without a digest",
            Made(|image| image.config(|config| config["rootfs"]["diff_ids"][1] = json!("md5:7"))),
            &["diff_id of layer 2", "md5:7"],
        ),
        (
            "too few diff_ids",
            Made(|image| {
                image.config(|config| {
                    config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
                })
            }),
            &["the manifest has 2 layers, the configuration 1 diff_ids"],
        ),
        (
            "empty image",
            Made(|_| Image::without_layers()),
            &["the image is empty: it has no layers"],
        ),
        (
            "other architecture",
            Made(|image| image.config(|config| config["architecture"] = json!("mips"))),
            &["the image is for linux/mips", "--arch mips"],
        ),
        (
            "wrong tag",
            Made(|image| {
                image.index(|index| {
                    let mut other = index["manifests"][0].clone();
                    for (entry, tag) in [(&mut index["manifests"][0], "new"), (&mut other, "old")] {
                        entry["annotations"]["org.opencontainers.image.ref.name"] = json!(tag);
                    }
                    index["manifests"].as_array_mut().unwrap().push(other);
                })
            }),
            &["no image is tagged v1; the tags are new, old"],
        ),
        (
            "tag of several lines",
            Made(|image| {
                image.index(|index| {
                    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] =
                        json!("a\nerror: b\u{1b}[31m");
                })
            }),
            &[r"the tags are a\nerror: b\u{1b}[31m"],
        ),
        (
            "foreign layer without its blob",
            Made(|image| {
                image
                    .media_type("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd")
                    .manifest(|manifest| {
                        manifest["layers"][1]["digest"] = json!(format!("sha256:{:064}", 7));
                    })
            }),
            &["layer 2 (sha256:0000", "No such file", "foreign"],
        ),
        (
            "encrypted layer",
            Made(|image| image.media_type("+zstd+encrypted")),
            &[
                "{layer 2}",
                "the layer is encrypted",
                "decrypt the image first",
            ],
        ),
        (
            "unknown media type",
            Made(|image| image.media_type("application/vnd.example.squashfs")),
            &[
                "{layer 2}",
                "\"application/vnd.example.squashfs\" is not one of a layer",
            ],
        ),
    ]);
}

#[test]
fn paths() {
    check(&[
        (
            "name that is not UTF-8",
            Made(|image| image.entry(b"usr/caf\xe9", Regular, 0o644, "", b"x")),
            &[r"/usr/caf\xe9", "not UTF-8", "rename it in the image"],
        ),
        (
            "directory whose name is not UTF-8",
            Made(|image| image.entry(b"usr/\xff/x", Regular, 0o644, "", b"x")),
            &[r"/usr/\xff", "not UTF-8"],
        ),
        (
            "link target that is not UTF-8",
            Made(|image| image.entry("usr/link", Symlink, 0o777, b"caf\xe9", b"")),
            &["/usr/link", r#"link target "caf\xe9" is not UTF-8"#],
        ),
        (
            "parent component",
            Made(|image| image.file("usr/../../etc/shadow", "x")),
            &["{layer 2}", "usr/../../etc/shadow has a `..` component"],
        ),
        (
            "NUL",
            Made(|image| image.pax("path", b"usr/a\0b").file("usr/a", "x")),
            &["{layer 2}", r"usr/a\u{0}b has a NUL byte"],
        ),
        (
            "too long a name",
            Made(|image| image.pax("path", &[b'a'; 256]).file("usr/a", "x")),
            &["{layer 2}", "aaa is too long"],
        ),
        (
            "hardlink to nothing",
            Made(|image| image.hardlink("usr/hard", "usr/nothing")),
            &[
                "{layer 2}",
                "/usr/hard: hardlink to /usr/nothing, which does not exist",
            ],
        ),
        (
            "hardlink out of the image",
            Made(|image| image.hardlink("usr/hard", "../../etc/shadow")),
            &["{layer 2}", "entry usr/hard", "hardlink target", "`..`"],
        ),
        (
            "hardlink to a directory",
            Made(|image| image.hardlink("usr/hard", "etc")),
            &[
                "{layer 2}",
                "/usr/hard: hardlink to /etc, which is a directory",
            ],
        ),
        (
            "whiteout of nothing",
            Made(|image| image.file("usr/.wh.", "")),
            &["{layer 2}", "/usr/.wh.: invalid whiteout"],
        ),
        (
            "whiteout of the parent",
            Made(|image| image.file("usr/.wh...", "")),
            &["{layer 2}", "/usr/.wh...: invalid whiteout"],
        ),
        (
            "entry below a file",
            Made(|image| image.file("usr/f", "").file("usr/f/g", "")),
            &[
                "{layer 2}",
                "/usr/f/g: /usr/f is not a directory in the same layer",
            ],
        ),
        (
            "root that is a file",
            Made(|image| image.file(".", "")),
            &["{layer 2}", "root", "not a directory"],
        ),
        (
            "etc and usr/etc differ",
            Made(|image| image.file("usr/etc/hostname", "new")),
            &[
                "/etc/hostname: differs from /usr/etc/hostname",
                "--etc-conflict=etc",
            ],
        ),
        (
            "etc that is a file",
            Made(|image| image.file("etc", "")),
            &["/etc: not a directory"],
        ),
    ]);
}

#[test]
fn several_images() {
    let repo = GROUND.repo("archive");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = good()
        .index(|index| {
            let mut other = index["manifests"][0].clone();
            other["annotations"]["org.opencontainers.image.ref.name"] = json!("v2");
            index["manifests"].as_array_mut().unwrap().push(other);
        })
        .write(&directory.path().join("image"));
    let source = layout.reference();
    let expected = [
        "it has several images",
        &format!("{source}:TAG"),
        "the tags are v1, v2",
    ];
    repo.survives("no tag", || import(&repo.path, &source), &expected);
    repo.import_second("no tag");
}

#[test]
fn archives() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    let layout = good().write(&at("image"));
    let source = layout.archive(&at("image.tar"));
    let good = fs::read(at("image.tar")).unwrap();
    let blob = fs::read(layout.blob(&layout.layers[1])).unwrap();
    let place = good.windows(64).position(|part| part == &blob[..64]);
    let place = place.expect("the archive holds the layer");
    let mut altered = good.clone();
    altered[place + 100] ^= 1;
    for (name, bytes, expected) in [
        ("truncated archive", &good[..good.len() / 2], "truncated"),
        ("archive cut in a layer", &good[..place + 100], "truncated"),
        ("altered archive", &altered[..], "the blob is corrupt"),
        ("empty archive", &[][..], "an empty archive"),
        ("no archive", &b"no archive"[..], "image.tar"),
    ] {
        fs::write(at("image.tar"), bytes).unwrap();
        let repo = GROUND.repo("archive");
        let expected = [expected, &source];
        let line = repo.survives(name, || import(&repo.path, &source), &expected);
        println!("{name}: {line}");
        repo.import_second(name);
    }
}
