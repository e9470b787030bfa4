//! The commits of layers are those that ostree-ext makes of layers.

use crate::place::{blob_ref, digests, path, places};
use crate::support::layout::{CREATED, Image, Layer};
use crate::support::listing::{assert_equal, read_commit};

/// Each a tar archive that ostree-ext takes as it is: where a directory is missing, libostree makes all
/// directories above it anew, and the root's mode it always forgets.
fn archives() -> [Layer; 3] {
    let lower = Layer::new()
        .directory("./", 0o755)
        .directory("usr", 0o755)
        .directory("usr/bin", 0o711)
        .owned_file("usr/bin/setuid", 0o4755, (5, 60), "s")
        .file("usr/bin/gone", 0o755, "gone")
        .hardlink("usr/bin/linked", "usr/bin/setuid")
        .symlink("usr/bin/link", "setuid")
        .directory("usr/old", 0o755)
        .file("usr/old/gone", 0o644, "")
        .directory("etc", 0o755)
        .owned_file("etc/shadow", 0o640, (0, 42), "root\n")
        .directory("var", 0o755)
        .owned_directory("var/games", 0o2775, (0, 60))
        .directory("tmp", 0o1777);
    let middle = Layer::new()
        .directory("./", 0o755)
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .file("usr/bin/.wh.gone", 0o644, "")
        .directory("usr/old", 0o755)
        .file("usr/old/.wh..wh..opq", 0o644, "")
        .file("usr/old/new", 0o644, "new");
    let upper = Layer::new()
        .directory("./", 0o755)
        .directory("etc", 0o700)
        .file("etc/shadow", 0o600, "changed\n")
        .hardlink("etc/linked", "etc/shadow");
    [lower, middle, upper]
}

#[test]
fn layers_are_what_others_make_of_them() {
    for place in places(&["bare-user", "bare", "archive"]) {
        let image = archives().into_iter().fold(Image::new(), Image::layer);
        let source = place.write("image", image.created(CREATED));
        let json = place.import(&source, &[]);
        let refs = place.snapshot().refs;
        let theirs = place.init("theirs");
        let known = place.query(&source);
        let layers = digests(&known["manifest"]);
        let diff_ids = known["config"]["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!((layers.len(), diff_ids.len()), (3, 3));
        for (number, (digest, archive)) in layers.iter().zip(archives()).enumerate() {
            let tar = place.at(&format!("{number}.tar"));
            std::fs::write(&tar, archive.tar()).unwrap();
            let name = format!("layer/{number}");
            let expected = place.peer(&["layer", path(&theirs), &name, path(&tar)]);
            let expected = read_commit(&theirs, expected.trim());

            let commit = &refs[&blob_ref(digest)];
            let layer = place.tree(commit);
            assert_equal(&expected.listing, &layer.listing);
            assert_eq!(layer.objects, expected.objects);
            let key = "--print-metadata-key=import-oci.diff-id";
            let diff_id = place.ostree(&["show", key, commit]);
            assert_eq!(diff_id.trim().trim_matches('\''), diff_ids[number]);
        }
        assert_ne!(refs[&blob_ref(layers[0])], json["commit"]);
        place.fsck();
    }
}
