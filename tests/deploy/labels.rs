//! What libostree leaves without a label.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use import_oci::label::{FileKind, Oracle, PolicyFiles, Reference as _};

use crate::support::command::not_run;
use crate::support::layout::Layer;
use crate::support::listing::{Kind, Listing, read_directory};
use crate::system::{System, base, root_of};

const LABEL: &[u8] = b"security.selinux";

const FILE_CONTEXTS: &str = "\
/.* u:r:default_t:s0
/etc(/.*)? u:r:etc_t:s0
/etc/dir -d u:r:dir_t:s0
/etc/dir/link -l u:r:link_t:s0
/etc/shadow -- u:r:shadow_t:s0
/etc/unlabelled -d <<none>>
/var u:r:var_t:s0
/var/log -d u:r:log_t:s0
/var/tmp -d u:r:tmp_t:s0
/var/run -l u:r:run_t:s0
";

/// An image with a policy, as far as libostree looks.
pub fn image() -> Layer {
    base()
        .file(
            "etc/selinux/config",
            0o644,
            "SELINUX=enforcing\nSELINUXTYPE=p\n",
        )
        .file("etc/selinux/p/policy/policy.33", 0o644, "rules")
        .file(
            "etc/selinux/p/contexts/files/file_contexts",
            0o644,
            FILE_CONTEXTS,
        )
        .file("etc/shadow", 0o600, "")
        .directory("etc/dir", 0o755)
        .symlink("etc/dir/link", "../shadow")
        .directory("etc/unlabelled", 0o755)
}

/// A system where libostree does not label by itself.
pub fn without_selinux() -> Option<System> {
    if Path::new("/sys/fs/selinux").exists() {
        not_run("this kernel has SELinux, and libostree labels by itself");
        return None;
    }
    System::new()
}

fn listing(directory: &Path) -> Listing {
    read_directory(directory).unwrap().listing
}

/// The policy `name` of a deployment, by files that are there.
fn policy_of(root: &Path, name: &str) -> PolicyFiles {
    let files = root.join(format!("etc/selinux/{name}/contexts/files"));
    let read = |name| fs::read(files.join(name)).ok();
    PolicyFiles {
        file_contexts: read("file_contexts").unwrap(),
        homedirs: read("file_contexts.homedirs"),
        local: read("file_contexts.local"),
        subs: read("file_contexts.subs"),
        subs_dist: read("file_contexts.subs_dist"),
    }
}

/// The label at a path. libostree ends some with a NUL and some without, which is the same to kernels.
fn label(listing: &Listing, path: &[u8]) -> Option<String> {
    let label = String::from_utf8(listing[path].xattrs.get(LABEL)?.clone()).unwrap();
    Some(label.trim_end_matches('\0').to_owned())
}

/// Compares the labels of what lies in a directory with what libostree's own library says; how many.
fn judge(oracle: &mut Oracle, directory: &Listing, host_path: &str) -> usize {
    for (path, node) in directory {
        let path = String::from_utf8(path.clone()).unwrap();
        let host_path = match &*path {
            "" => host_path.to_owned(),
            _ => format!("{host_path}/{path}"),
        };
        let kind = match node.kind {
            Kind::Directory => FileKind::Directory,
            Kind::Symlink(_) => FileKind::Symlink,
            _ => FileKind::Regular,
        };
        let expected = oracle.lookup(host_path.as_bytes(), kind).unwrap();
        assert_eq!(label(directory, path.as_bytes()), expected, "{host_path}");
    }
    directory.len()
}

#[test]
fn everything_has_the_label_of_the_policy() {
    let Some(system) = without_selinux() else {
        return;
    };
    let deployed = system.deploy(&system.image("image", [image()]), &[]);
    let root = root_of(&deployed);
    let mut oracle = Oracle::new(&policy_of(&root, "p")).unwrap();
    let etc = judge(&mut oracle, &listing(&root.join("etc")), "/etc");
    assert!(etc > 12, "{etc}");
    let var = system.root().join("ostree/deploy/os/var");
    assert!(judge(&mut oracle, &listing(&var), "/var") > 5);

    assert_eq!(deployed["labelled"]["policy"], "p");
    // libostree labels no directory of /etc here, and in /var not the mark that it labelled the rest.
    let given = |field: &str| deployed["labelled"][field].as_u64().unwrap();
    assert!(given("etc") > 5 && given("var") > 0, "{deployed}");
    assert!(given("etc") <= etc as u64);

    // What is a name of an object is as it was.
    system.fsck();
    let kernel = root.join("usr/lib/modules/6.1/vmlinuz");
    assert!(fs::metadata(kernel).unwrap().nlink() > 1);
}

/// Debian's policy, on a first deployment and on one whose policy libostree built anew.
#[test]
fn everything_of_debian_has_its_label() {
    let Some(image) = std::env::var_os("IMPORT_OCI_DEMO_IMAGE") else {
        return not_run("IMPORT_OCI_DEMO_IMAGE is not set");
    };
    let Some(system) = without_selinux() else {
        return;
    };
    let source = format!("oci:{}", image.into_string().unwrap());
    for options in [&["--karg=quiet"][..], &[]] {
        let options = [options, &["--allow-no-initramfs"]].concat();
        let deployed = system.deploy(&source, &options);
        assert_eq!(deployed["labelled"]["policy"], "default");
        let given = deployed["labelled"]["etc"].as_u64().unwrap();
        assert!(given > 100, "{deployed}");
        let root = root_of(&deployed);
        let mut oracle = Oracle::new(&policy_of(&root, "default")).unwrap();
        let etc = judge(&mut oracle, &listing(&root.join("etc")), "/etc");
        assert!(etc > 1000, "{etc}");
    }
    system.fsck();
}

#[test]
fn what_has_a_label_keeps_it() {
    let Some(system) = without_selinux() else {
        return;
    };
    // libostree thinks that this /var has its labels; it has one, and not the policy's.
    let var = system.root().join("ostree/deploy/os/var");
    fs::write(var.join(".ostree-selabeled"), "").unwrap();
    fs::write(var.join("log/deep"), "").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(var.join("log"), LABEL, b"u:r:other_t:s0\0", flags).unwrap();
    system.deploy(&system.image("image", [image()]), &[]);
    let var = listing(&var);
    for (path, expected) in [
        ("", Some("u:r:var_t:s0")),
        ("tmp", Some("u:r:tmp_t:s0")),
        ("run", Some("u:r:run_t:s0")),
        ("log", Some("u:r:other_t:s0")),
        // What a system has written is its own.
        ("log/deep", None),
    ] {
        assert_eq!(
            label(&var, path.as_bytes()).as_deref(),
            expected,
            "/var/{path}"
        );
    }
}

#[test]
fn no_policy_no_labels() {
    let Some(system) = System::new() else { return };
    let deployed = system.deploy(&system.image("image", [base()]), &[]);
    assert_eq!(deployed["labelled"], serde_json::Value::Null);
    let labelled = listing(&root_of(&deployed));
    assert!(
        labelled
            .values()
            .all(|node| !node.xattrs.contains_key(LABEL))
    );
}
