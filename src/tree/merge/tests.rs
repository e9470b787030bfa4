use super::*;
use crate::testing::{Layers, image_path, list};

/// Merges with `options`; the listing, or the error; and the report's lines.
fn merge_with(
    layers: Layers,
    options: MergeOptions,
) -> (Result<Vec<String>, MergeError>, Vec<String>) {
    let (layers, bodies) = layers.build();
    let (mut tree, mut report) = (Tree::new(), Report::default());
    let result = layers
        .iter()
        .try_for_each(|layer| apply(&mut tree, layer, &options, &mut report))
        .map(|()| list(&tree, &bodies));
    let notes = report
        .notes()
        .iter()
        .map(|n| format!("{} {}", n.action, n.path));
    (result, notes.collect())
}

#[track_caller]
fn check(layers: Layers, expected: &[&str]) {
    let (result, _) = merge_with(layers, MergeOptions::default());
    assert_eq!(result.unwrap(), expected);
}

#[track_caller]
fn check_notes(layers: Layers, expected: &[&str], notes: &[&str]) {
    let (result, found) = merge_with(layers, MergeOptions::default());
    assert_eq!(result.unwrap(), expected);
    assert_eq!(found, notes);
}

fn error(layers: Layers) -> MergeError {
    merge_with(layers, MergeOptions::default()).0.unwrap_err()
}

#[test]
fn whiteouts_hide_lower_layers_only_in_any_order() {
    let lower = || Layers::new().file("d/x", "low").file("d/y", "low").layer();
    check(
        lower().file("d/x", "up").file("d/.wh.x", ""),
        &["/d/ 755", "/d/x 644 \"up\"", "/d/y 644 \"low\""],
    );
    check(lower().file(".wh.d", ""), &[]);
    check(
        lower().file("d/new", "up").file("d/.wh..wh..opq", ""),
        &["/d/ 755", "/d/new 644 \"up\""],
    );
    check(
        lower().file(".wh.d", "").file("d/new", "up"),
        &["/d/ 755", "/d/new 644 \"up\""],
    );
    check(
        lower().file(".wh.nothing", "").file(".wh..wh..opq", ""),
        &[],
    );
}

#[test]
fn directories_keep_entries_and_take_the_last_metadata() {
    let layers = || {
        Layers::new()
            .dir("d", 0o700)
            .owner(1, 2)
            .file("d/x", "")
            .layer()
            .dir("d", 0o755)
            .file("d/y", "")
    };
    check(layers(), &["/d/ 755", "/d/x 644 \"\"", "/d/y 644 \"\""]);
    let first = MergeOptions {
        directory_metadata: DirectoryMetadata::First,
        ..MergeOptions::default()
    };
    let (result, _) = merge_with(layers(), first);
    assert_eq!(result.unwrap()[0], "/d/ 700 1:2");
}

#[test]
fn implicit_parents_touch_nothing_that_exists() {
    check(
        Layers::new()
            .dir("d", 0o700)
            .owner(1, 2)
            .layer()
            .file("d/e/x", ""),
        &["/d/ 700 1:2", "/d/e/ 755", "/d/e/x 644 \"\""],
    );
    check(
        Layers::new().file("d/x", "").dir("d", 0o700),
        &["/d/ 700", "/d/x 644 \"\""],
    );
}

#[test]
fn implicit_directories_are_limited_over_all_layers() {
    let layers = Layers::new()
        .file("a/b/x", "")
        .file("a/b/y", "")
        .dir("c", 0o755)
        .layer()
        .symlink("l", "d")
        .file("l/x", "")
        .layer()
        .file("c/x", "")
        .file("e/x", "");
    let (layers, _) = layers.build();
    let merge = |already: u32| {
        let mut tree = Tree::new();
        tree.implicit_directories = already;
        layers.iter().try_for_each(|layer| {
            let mut report = Report::default();
            apply(&mut tree, layer, &MergeOptions::default(), &mut report)
        })
    };
    // `a`, `a/b`, `d` and `e`.
    for (already, refused) in [
        (4, None),
        (3, Some("e/x")),
        (2, Some("l/x")),
        (1, Some("a/b/x")),
    ] {
        let refused = refused.map(|path| MergeError::TooManyDirectories(image_path(path)));
        assert_eq!(
            merge(MAX_IMPLICIT_DIRECTORIES - already).err(),
            refused,
            "{already}"
        );
    }
}

#[test]
fn the_root_can_be_described() {
    check(Layers::new().dir("", 0o555), &["/ 555"]);
    assert_eq!(
        error(Layers::new().file("", "")),
        MergeError::RootNotADirectory
    );
}

#[test]
fn types_replace_each_other() {
    check(
        Layers::new()
            .file("d/x", "")
            .file("f", "")
            .layer()
            .file("d", "up")
            .file("f/x", ""),
        &["/d 644 \"up\"", "/f/ 755", "/f/x 644 \"\""],
    );
    check(
        Layers::new()
            .symlink("l", "d")
            .dir("d", 0o700)
            .layer()
            .dir("l", 0o711)
            .symlink("d", "l"),
        &["/d -> l", "/l/ 711"],
    );
    assert_eq!(
        error(Layers::new().file("d/x", "").file("d", "")),
        MergeError::ReplacesOwnDirectory(image_path("d"))
    );
    assert_eq!(
        error(Layers::new().file("f", "").file("f/x", "")),
        MergeError::ParentNotADirectory {
            path: image_path("f/x"),
            parent: image_path("f")
        }
    );
}

#[test]
fn duplicates_last_wins_with_a_warning() {
    check_notes(
        Layers::new()
            .file("x", "1")
            .file("x", "2")
            .dir("d", 0o755)
            .dir("d", 0o755),
        &["/d/ 755", "/x 644 \"2\""],
        &["warning /x"],
    );
}

#[test]
fn hardlinks() {
    check(
        Layers::new()
            .file("a", "1")
            .owner(3, 4)
            .layer()
            .hardlink("b", "a"),
        &["/a 644 \"1\" 3:4", "/b 644 \"1\" 3:4"],
    );
    check(
        Layers::new()
            .hardlink("c", "b")
            .hardlink("b", "a")
            .file("a", "forward"),
        &[
            "/a 644 \"forward\"",
            "/b 644 \"forward\"",
            "/c 644 \"forward\"",
        ],
    );
    check(
        Layers::new()
            .file("a", "low")
            .layer()
            .file(".wh.a", "")
            .hardlink("b", "a"),
        &["/b 644 \"low\""],
    );
    check(
        Layers::new()
            .file("a", "low")
            .layer()
            .hardlink("b", "a")
            .file("a", "up"),
        &["/a 644 \"up\"", "/b 644 \"low\""],
    );
    check(
        Layers::new().symlink("l", "x").hardlink("m", "l"),
        &["/l -> x", "/m -> x"],
    );
    check(
        Layers::new()
            .hardlink("b", "a")
            .file("b", "later")
            .file("a", ""),
        &["/a 644 \"\"", "/b 644 \"later\""],
    );
    assert!(matches!(
        error(Layers::new().hardlink("b", "a")),
        MergeError::HardlinkTargetMissing { .. }
    ));
    assert!(matches!(
        error(Layers::new().dir("a", 0o755).hardlink("b", "a")),
        MergeError::HardlinkToDirectory { .. }
    ));
}

#[test]
fn long_chains_of_hardlinks_are_not_gone_through_again_and_again() {
    const LENGTH: usize = 100_000;
    // Each link names the next one: as it is, through a link, and through one that is replaced by
    // the very links that are waited for.
    let chain = |layers: Layers, target: &dyn Fn(usize) -> String| {
        (0..LENGTH).fold(layers, |layers, link| {
            layers.hardlink(&format!("h{link}"), &target(link + 1))
        })
    };
    let here = || Layers::new().symlink("l", ".");
    let lower = (0..LENGTH)
        .fold(Layers::new(), |layers, link| {
            layers.symlink(&format!("h{link}"), "empty")
        })
        .dir("empty", 0o755)
        .symlink("d/x", "/d")
        .layer();
    let last = format!("h{LENGTH}");
    for layers in [
        chain(here(), &|link| format!("h{link}")).file(&last, ""),
        chain(here(), &|link| format!("l/h{link}")).file(&last, ""),
        chain(lower, &|link| format!("h{link}/x")).symlink(&last, "d"),
    ] {
        let (tree, _) = layers.merge();
        let id = |link: usize| tree.lookup(&image_path(&format!("h{link}")));
        assert!(id(0).is_some());
        assert!((1..LENGTH).all(|link| id(link) == id(0)));
    }
}

#[test]
fn links_as_parents() {
    let lower = || {
        Layers::new()
            .symlink("lib", "usr/lib")
            .symlink("srv", "usr/lib")
            .file("usr/lib/x", "")
            .layer()
    };
    check_notes(
        lower().file("lib/y", "").file("lib/.wh.x", ""),
        &[
            "/lib -> usr/lib",
            "/srv -> usr/lib",
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/y 644 \"\"",
        ],
        &["warning /lib"],
    );
    check_notes(
        lower().dir("lib", 0o700).file("lib/y", ""),
        &[
            "/lib -> usr/lib",
            "/srv -> usr/lib",
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/x 644 \"\"",
            "/usr/lib/y 644 \"\"",
        ],
        &["warning /lib"],
    );
    check_notes(
        lower().file("srv/y", ""),
        &[
            "/lib -> usr/lib",
            "/srv/ 755",
            "/srv/y 644 \"\"",
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/x 644 \"\"",
        ],
        &["warning /srv"],
    );
    check_notes(
        Layers::new().symlink("a", "/b/../c").file("a/x", ""),
        &["/a -> /b/../c", "/b/ 755", "/c/ 755", "/c/x 644 \"\""],
        &["warning /a"],
    );
    let refuse = MergeOptions {
        symlink_parent: SymlinkParent::Error,
        ..MergeOptions::default()
    };
    assert_eq!(
        merge_with(lower().file("srv/y", ""), refuse).0,
        Err(MergeError::SymlinkedParent {
            path: image_path("srv/y"),
            link: image_path("srv")
        })
    );
    assert!(matches!(
        error(Layers::new().symlink("a", "a").file("a/x", "")),
        MergeError::Tree(TreeError::Loop(_))
    ));
}

#[test]
fn own_links_cannot_lead_beyond_path_max() {
    let deep = "b/".repeat(1900);
    let chain = |length: usize, last: &str| {
        let layers = Layers::new().symlink("s0", "/usr");
        (1..=length)
            .fold(layers, |layers, link| {
                layers.symlink(&format!("s{link}"), &format!("/s{}/{deep}", link - 1))
            })
            .file(&format!("s{length}/{last}"), "")
    };
    // `usr/` and `deep` have 3804 bytes.
    let fits = format!("{}/{}", "c".repeat(200), "d".repeat(91));
    let (result, _) = merge_with(chain(1, &fits), MergeOptions::default());
    assert!(result.is_ok(), "{result:?}");
    for (length, last) in [(1, fits + "d"), (2, "x".to_owned()), (30, "x".to_owned())] {
        assert_eq!(
            error(chain(length, &last)),
            MergeError::PathTooLong(image_path(&format!("s{length}/{last}")))
        );
    }
}

#[test]
fn invalid_and_foreign_names() {
    for name in ["d/.wh.", "d/.wh..", "d/.wh...", "d/.wh.x/y"] {
        assert_eq!(
            error(Layers::new().file(name, "")),
            MergeError::InvalidWhiteout(image_path(name))
        );
    }
    check_notes(
        Layers::new()
            .file(".wh..wh.plnk/1", "link")
            .hardlink("a", ".wh..wh.plnk/1")
            .file(".wh..wh.aufs", ""),
        &["/a 644 \"link\""],
        &["dropped /.wh..wh.plnk/1", "dropped /.wh..wh.aufs"],
    );
    let literal = MergeOptions {
        whiteouts: false,
        ..MergeOptions::default()
    };
    let (result, _) = merge_with(Layers::new().file(".wh.x", ""), literal);
    assert_eq!(result.unwrap(), ["/.wh.x 644 \"\""]);
}
