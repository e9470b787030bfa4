use super::super::FixupOptions;
use super::*;
use crate::packages::{Account, DeclaredFile, DeclaredKind, Packages, capabilities};
use crate::testing::{Layers, image_path, list};

/// `path`, of package `p`.
fn declare(path: &str, kind: DeclaredKind) -> DeclaredFile {
    let mut file = DeclaredFile::new(image_path(path), "p".into());
    file.kind = Some(kind);
    file
}

fn directory(path: &str, mode: u32, group: &str) -> DeclaredFile {
    DeclaredFile {
        mode: Some(mode),
        owner: Some(Account::Name("root".into())),
        group: Some(Account::Name(group.into())),
        ..declare(path, DeclaredKind::Directory)
    }
}

/// With the SHA-256 of the content `x`.
fn program(path: &str, mode: u32, caps: &str) -> DeclaredFile {
    let sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    DeclaredFile {
        mode: Some(mode),
        capabilities: capabilities::parse(caps).unwrap(),
        digest: Some(ContentDigest {
            algorithm: DigestAlgorithm::Sha256,
            hex: sum.into(),
        }),
        ..declare(path, DeclaredKind::File)
    }
}

const GROUP: &str = "root:x:0:\npolkitd:x:996:\n";

/// What becomes of `layers`, without the accounts; and the notes, as `action path: detail`.
fn run(layers: Layers, files: &[DeclaredFile], repair: Repair) -> (Vec<String>, Vec<String>) {
    let layers = layers
        .layer()
        .file("usr/lib/passwd", "root:x:0:0::/root:/bin/sh\n")
        .file("usr/lib/group", GROUP);
    let (tree, bodies) = layers.merge();
    let scratch = tempfile::tempdir().unwrap();
    let packages = Packages::read(&tree, &bodies, scratch.path()).unwrap();
    let mut image = Image {
        tree,
        bodies,
        packages: Packages {
            files: files.to_vec(),
            ..packages
        },
        options: FixupOptions {
            repair,
            ..FixupOptions::default()
        },
    };
    let mut report = Report::default();
    Permissions.apply(&mut image, &mut report).unwrap();
    let once = list(&image.tree, &image.bodies);
    let mut again = Report::default();
    Permissions.apply(&mut image, &mut again).unwrap();
    assert_eq!(list(&image.tree, &image.bodies), once, "not idempotent");
    let warnings = report
        .notes()
        .iter()
        .filter(|n| n.action == Action::Warning);
    assert!(again.notes().iter().eq(warnings));
    let told = |n: &crate::report::Note| format!("{} {}: {}", n.action, n.path, n.detail);
    let notes = report.notes().iter().map(told).collect();
    let own = |line: &String| !line.starts_with("/usr/ ") && !line.starts_with("/usr/lib");
    (once.into_iter().filter(own).collect(), notes)
}

fn check(layers: Layers, files: &[DeclaredFile], repair: Repair, tree: &[&str], notes: &[&str]) {
    assert_eq!(
        run(layers, files, repair),
        (
            tree.iter().map(ToString::to_string).collect(),
            notes.iter().map(ToString::to_string).collect()
        )
    );
}

/// A directory as it was lost, one as an author wants it, one as it should be.
fn directories() -> (Layers, Vec<DeclaredFile>) {
    let layers = Layers::new()
        .dir("etc/lost", 0o755)
        .dir("etc/meant", 0o711)
        .owner(0, 7)
        .dir("etc/right", 0o750)
        .owner(0, 996);
    let declared = ["etc/lost", "etc/meant", "etc/right", "etc/absent"];
    let declared = declared.map(|path| directory(path, 0o750, "polkitd"));
    (layers, declared.to_vec())
}

const LOST: &str = "group polkitd instead of 0, mode 0750 instead of 0755, as package p declares";
const MEANT: &str = "group polkitd instead of 7, mode 0750 instead of 0711, as package p declares";

#[test]
fn what_was_lost_is_restored() {
    let (layers, declared) = directories();
    check(
        layers,
        &declared,
        Repair::Missing,
        &[
            "/etc/ 755",
            "/etc/lost/ 750 0:996",
            "/etc/meant/ 711 0:7",
            "/etc/right/ 750 0:996",
        ],
        &[
            &format!("changed /etc/lost: {LOST}"),
            &format!("warning /etc/meant: not {MEANT}"),
        ],
    );
}

#[test]
fn all_or_nothing_on_request() {
    let (layers, declared) = directories();
    let (tree, notes) = run(layers, &declared, Repair::Report);
    assert_eq!(tree[1], "/etc/lost/ 755");
    assert_eq!(notes[0], format!("warning /etc/lost: not {LOST}"));
    let (layers, declared) = directories();
    let (tree, notes) = run(layers, &declared, Repair::Full);
    assert_eq!(tree[2], "/etc/meant/ 750 0:996");
    assert_eq!(notes[1], format!("changed /etc/meant: {MEANT}"));
}

#[test]
fn a_commit_has_its_etc_elsewhere_and_merged_usr_has_links() {
    let layers = Layers::new()
        .dir("usr/etc/lost", 0o755)
        .symlink("bin", "usr/bin")
        .dir("usr/bin/d", 0o755);
    let declared = [
        directory("etc/lost", 0o700, "root"),
        directory("bin/d", 0o700, "root"),
    ];
    check(
        layers,
        &declared,
        Repair::Missing,
        &[
            "/bin -> usr/bin",
            "/usr/bin/ 755",
            "/usr/bin/d/ 700",
            "/usr/etc/ 755",
            "/usr/etc/lost/ 700",
        ],
        &[
            "changed /etc/lost: mode 0700 instead of 0755, as package p declares",
            "changed /usr/bin/d: mode 0700 instead of 0755, as package p declares",
        ],
    );
}

#[test]
fn files_with_the_content_of_their_package() {
    let layers = Layers::new()
        .file("caps", "x")
        .file("replaced", "y")
        .file("setuid", "x")
        .file("stricter", "x")
        .file("others", "x")
        .xattr("security.capability", b"others");
    let declared = [
        program("caps", 0o644, "cap_net_raw=ep"),
        program("replaced", 0o644, "cap_net_raw=ep"),
        program("setuid", 0o4644, ""),
        program("stricter", 0o600, ""),
        program("others", 0o644, "cap_net_raw=ep"),
    ];
    check(
        layers,
        &declared,
        Repair::Missing,
        &[
            "/caps 644 \"x\" security.capability",
            "/others 644 \"x\" security.capability",
            "/replaced 644 \"y\"",
            "/setuid 4644 \"x\"",
            "/stricter 644 \"x\"",
        ],
        &[
            "changed /caps: capabilities instead of none, as package p declares",
            "warning /others: not capabilities instead of others, as package p declares",
            "changed /setuid: mode 4644 instead of 0644, as package p declares",
            "warning /stricter: not mode 0600 instead of 0644, as package p declares",
        ],
    );
}

#[test]
fn configuration_may_have_changed() {
    let mut config = program("conf", 0o644, "");
    config.group = Some(Account::Name("polkitd".into()));
    config.config = true;
    let changed = "changed /conf: group polkitd instead of 0, as package p declares";
    let layers = Layers::new().file("conf", "edited");
    let tree = ["/conf 644 \"edited\" 0:996"];
    check(layers, &[config], Repair::Missing, &tree, &[changed]);
}

#[test]
fn a_script_that_fell_back_to_setuid() {
    let mut ping = program("ping", 0o4644, "cap_net_raw=ep");
    (ping.mode, ping.setuid_instead) = (None, true);
    for (mode, notes) in [(0o4755, 0), (0o755, 1)] {
        let layers = Layers::new().file("ping", "x").mode(mode);
        let (_, told) = run(layers, std::slice::from_ref(&ping), Repair::Missing);
        assert_eq!(told.len(), notes);
    }
}

#[test]
fn packages_that_contradict_each_other() {
    let of = |package: &str, mode| DeclaredFile {
        package: package.into(),
        ..directory("d", mode, "root")
    };
    let layers = || Layers::new().dir("d", 0o755);
    let (tree, notes) = run(layers(), &[of("a", 0o700), of("b", 0o750)], Repair::Full);
    assert_eq!((&*tree[0], notes.len()), ("/d/ 755", 0));
    let chief = [of("a", 0o700), of("filesystem", 0o555)];
    let (tree, notes) = run(layers(), &chief, Repair::Full);
    assert_eq!((&*tree[0], notes.len()), ("/d/ 555", 1));
}

#[test]
fn what_is_not_known_is_told() {
    let layers = Layers::new().dir("d", 0o755).file("kind", "x");
    let declared = [
        directory("d", 0o755, "nobody-knows"),
        directory("kind", 0o700, "root"),
    ];
    check(
        layers,
        &declared,
        Repair::Full,
        &["/d/ 755", "/kind 644 \"x\""],
        &["warning /d: package p declares the group nobody-knows, which the image does not know"],
    );
    let layers = Layers::new().file("var/lib/rpm/Packages", "");
    let (_, notes) =
        super::super::testing::run(&Permissions, layers, FixupOptions::default()).unwrap();
    assert_eq!(notes, ["warning /var/lib/rpm/Packages"]);
}
