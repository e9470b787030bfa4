//! Which images there are, and what they are.

use crate::place::{SHAPES, blob_ref, digests, path, places};
use crate::support::command::{skopeo_digest, text};
use crate::support::layout::specimen;

#[test]
fn what_is_known_of_an_image() {
    for place in places(&["bare-user", "bare", "archive"]) {
        let source = place.write("image", specimen());
        for options in SHAPES {
            let json = place.import(&source, options);
            let before = place.snapshot();
            let repo = place.repo();
            let repo = format!("--repo={}", repo.display());
            let image = |words: &[&str]| place.peer(&[&["container", "image"], words].concat());

            assert_eq!(image(&["list", &repo]), format!("{source}\n"));
            let known = place.query(&source);
            assert_eq!(known["merge_commit"], json["commit"]);
            assert_eq!(known["manifest_digest"], json["manifest_digest"]);
            assert_eq!(known["manifest_digest"], skopeo_digest(&source));
            assert_eq!(known["version"], "1.2");
            assert!(known["update"].is_null());
            let layers = digests(&known["manifest"]);
            assert_eq!(layers.len(), if options.is_empty() { 2 } else { 1 });
            assert_eq!(known["base_commit"], before.refs[&blob_ref(layers[0])]);

            let metadata = ["metadata", &repo, &source];
            let said: serde_json::Value = serde_json::from_str(&image(&metadata)).unwrap();
            assert_eq!(said, known["manifest"]);
            let config = image(&[&metadata[..], &["--config"]].concat());
            let config: serde_json::Value = serde_json::from_str(&config).unwrap();
            assert_eq!(config, known["config"]);
            let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
            assert_eq!(diff_ids.len(), layers.len());

            let history = image(&["history", &repo, &source]);
            let lines: Vec<_> = history.lines().collect();
            assert_eq!(lines.len(), 1 + layers.len(), "{history}");
            for (line, layer) in lines[1..].iter().zip(&layers) {
                let (_, digest) = layer.split_once(':').unwrap();
                assert!(line.starts_with(&digest[..20]), "{history}");
            }
            assert_eq!(place.snapshot(), before);
        }
    }
}

/// Refs that say nothing to ostree-ext are no images to it.
#[test]
fn what_is_no_image() {
    for place in places(&["bare-user"]) {
        let source = place.write("image", specimen());
        let json = place.import(&source, &["--no-imgref", "--write-ref=os/test"]);
        let repo = place.repo();
        let list = ["container", "image", "list", "--repo", path(&repo)];
        assert_eq!(place.peer(&list), "");
        let said = place.peer_fails(&["query", path(&repo), &source]);
        assert!(said.contains("no such image"), "{said}");
        let target = "docker://example.com/os:1";
        place.import(&source, &[&format!("--target-imgref={target}")]);
        assert_eq!(place.peer(&list), format!("{target}\n"));
        let known = place.query("registry:example.com/os:1");
        assert_eq!(text(&known, "/merge_commit"), text(&json, "/commit"));
    }
}
