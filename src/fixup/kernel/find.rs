//! Where distributions put kernels and what belongs to them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::bodies::Bodies;
use crate::path::ImagePath;
use crate::tree::{Content, InodeId, Tree};

/// What is found of kernels in an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// The versions that have modules, and whether their kernel lies beside them.
    pub(super) modules: BTreeMap<String, bool>,
    /// What belongs to a kernel and lies outside of its modules, in the order of preference.
    pub(super) files: Vec<BootFile>,
    /// What a deployment has no use for, and why.
    pub(super) spare: Vec<(ImagePath, &'static str)>,
}

/// Something of a kernel that lies outside of its modules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BootFile {
    pub(super) path: ImagePath,
    pub(super) version: String,
    pub(super) role: Role,
}

/// What a file is to its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The kernel itself.
    Kernel,
    /// Its initramfs.
    Initramfs,
    /// Something that Fedora keeps beside the modules under this name.
    Part(&'static str),
}

impl Role {
    /// The name that it has beside the modules.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinuz",
            Self::Initramfs => "initramfs.img",
            Self::Part(name) => name,
        }
    }
}

impl Survey {
    /// The versions of all kernels.
    pub(super) fn kernels(&self) -> BTreeSet<&str> {
        let beside = self.modules.iter().filter(|&(_, &has_kernel)| has_kernel);
        let elsewhere = self.files.iter().filter(|f| f.role == Role::Kernel);
        beside
            .map(|(version, _)| version.as_str())
            .chain(elsewhere.map(|file| file.version.as_str()))
            .collect()
    }
}

/// `usr/lib/modules`.
pub(super) fn modules() -> ImagePath {
    ImagePath::root().join(b"usr").join(b"lib").join(b"modules")
}

/// Where kernels lie outside of their modules: the boot partition and the EFI system partition, as
/// installers mount them.
pub(super) fn boot_directories() -> [ImagePath; 3] {
    let (boot, efi) = (
        ImagePath::root().join(b"boot"),
        ImagePath::root().join(b"efi"),
    );
    let boot_efi = boot.join(b"efi");
    [boot, boot_efi, efi]
}

/// The version of the kernel of a tree, if there is exactly one where ostree looks for it: a
/// regular file `usr/lib/modules/VERSION/vmlinuz`.
///
/// # Errors
/// The name of its directory is not UTF-8.
pub fn find_kernel(tree: &Tree) -> Result<Option<String>> {
    let versions = versions(tree)?;
    let mut kernels = versions.into_iter().filter(|&(_, has_kernel)| has_kernel);
    let (first, second) = (kernels.next(), kernels.next());
    Ok(first
        .filter(|_| second.is_none())
        .map(|(version, _)| version))
}

/// The versions that have modules, and whether they have a kernel.
fn versions(tree: &Tree) -> Result<BTreeMap<String, bool>> {
    let modules = modules();
    directories(tree, &modules)
        .map(|(name, id)| {
            let kernel = tree.child(id, b"vmlinuz");
            let is_file = |id| matches!(tree.inode(id).content, Content::File { .. });
            let version = std::str::from_utf8(name)
                .with_context(|| format!("the name of {} is not UTF-8", modules.join(name)))?;
            Ok((version.to_owned(), kernel.is_some_and(is_file)))
        })
        .collect()
}

/// Looks for kernels.
pub(super) fn survey(tree: &Tree, bodies: &Bodies) -> Result<Survey> {
    let mut survey = Survey {
        modules: versions(tree)?,
        ..Survey::default()
    };
    let names = Names {
        packages: packages(tree, bodies, &survey.modules)?,
        versions: survey.modules.keys().cloned().collect(),
    };
    for directory in boot_directories() {
        for (name, id) in children(tree, &directory) {
            let path = directory.join(name);
            match &tree.inode(id).content {
                Content::Symlink(_) => survey.spare.push((path, "a link within /boot")),
                Content::Directory(_) if name == b"loader" => {
                    let entries = path.join(b"entries");
                    let entries = children(tree, &entries).map(|(name, _)| entries.join(name));
                    let why = "an entry of a boot menu: a deployment gets its own";
                    survey.spare.extend(entries.map(|path| (path, why)));
                }
                Content::Directory(_) if name == b"dtbs" => {
                    for (version, _) in directories(tree, &path) {
                        survey.add(&names, path.join(version), Role::Part("dtb"), version);
                    }
                }
                Content::Directory(_) if name.starts_with(b"dtb-") => {
                    survey.add(&names, path, Role::Part("dtb"), &name[4..]);
                }
                Content::Directory(_) => survey.add_entry_directory(tree, &names, &path),
                _ => {
                    if let Some((role, key)) = role(name) {
                        survey.add(&names, path, role, key);
                    } else if name.ends_with(b"-ucode.img") {
                        survey.spare.push((path, MICROCODE));
                    }
                }
            }
        }
    }
    let kernels = survey.kernels();
    let kernels: BTreeSet<String> = kernels.into_iter().map(str::to_owned).collect();
    let (files, orphans) = survey
        .files
        .into_iter()
        .partition(|f: &BootFile| kernels.contains(&f.version));
    survey.files = files;
    let orphans: Vec<BootFile> = orphans;
    let orphans = orphans.into_iter().map(|file| (file.path, ORPHAN));
    survey.spare.extend(orphans);
    Ok(survey)
}

/// Why a file is spare that is not loaded beside the one initramfs of a deployment.
pub(super) const MICROCODE: &str =
    "microcode beside the initramfs is never loaded; the initramfs has to hold it";
const ORPHAN: &str = "belongs to no kernel of the image";

impl Survey {
    fn add(&mut self, names: &Names, path: ImagePath, role: Role, key: &[u8]) {
        match names.version(role, key) {
            Ok(version) => self.files.push(BootFile {
                path,
                version,
                role,
            }),
            Err(why) => self.spare.push((path, why)),
        }
    }

    /// Adds what kernel-install(8) puts to `TOKEN/VERSION`, if `directory` is such a `TOKEN`.
    fn add_entry_directory(&mut self, tree: &Tree, names: &Names, directory: &ImagePath) {
        for (key, version) in directories(tree, directory) {
            if tree.child(version, b"linux").is_none() {
                continue;
            }
            let path = directory.join(key);
            for (name, _) in children(tree, &path) {
                match name {
                    b"linux" => self.add(names, path.join(name), Role::Kernel, key),
                    b"initrd" => self.add(names, path.join(name), Role::Initramfs, key),
                    _ => self.spare.push((path.join(name), "copied for a boot menu")),
                }
            }
        }
    }
}

/// What the name of a file in `/boot` says: what it is, and to which version or package it belongs.
fn role(name: &[u8]) -> Option<(Role, &[u8])> {
    const NAMES: [(&str, &str, Role); 11] = [
        ("vmlinuz-", "", Role::Kernel),
        ("vmlinux-", "", Role::Kernel),
        ("initrd.img-", "", Role::Initramfs),
        ("initramfs-", ".img", Role::Initramfs),
        ("initrd-", "", Role::Initramfs),
        ("config-", "", Role::Part("config")),
        ("System.map-", "", Role::Part("System.map")),
        (".vmlinuz-", ".hmac", Role::Part(".vmlinuz.hmac")),
        ("symvers-", ".gz", Role::Part("symvers.gz")),
        ("symvers-", ".xz", Role::Part("symvers.xz")),
        ("symvers-", ".zst", Role::Part("symvers.zst")),
    ];
    NAMES.iter().find_map(|&(prefix, suffix, role)| {
        let rest = name.strip_prefix(prefix.as_bytes())?;
        Some((role, rest.strip_suffix(suffix.as_bytes())?))
    })
}

/// What names of files can mean.
struct Names {
    versions: BTreeSet<String>,
    /// The versions of Arch's packages (`linux`, `linux-lts`), by which it names files.
    packages: BTreeMap<String, String>,
}

impl Names {
    /// The version that `key` names; else why the file is spare.
    fn version(&self, role: Role, key: &[u8]) -> Result<String, &'static str> {
        let key = std::str::from_utf8(key).map_err(|_| ORPHAN)?;
        if self.versions.contains(key) {
            return Ok(key.to_owned());
        }
        if let Some(version) = self.packages.get(key) {
            return Ok(version.clone());
        }
        if key.starts_with("0-rescue-") {
            return Err("a deployment rescues itself by the one before it");
        }
        let package = key.strip_suffix("-fallback");
        if package.is_some_and(|package| self.packages.contains_key(package)) {
            return Err("a deployment has one initramfs; this is the second");
        }
        // A kernel that has everything built in has no modules.
        match (role, key.starts_with(|c: char| c.is_ascii_digit())) {
            (Role::Kernel, false) => Err("a kernel, but nothing tells its version"),
            _ => Ok(key.to_owned()),
        }
    }
}

/// The versions by the package that `pkgbase` names.
fn packages(
    tree: &Tree,
    bodies: &Bodies,
    versions: &BTreeMap<String, bool>,
) -> Result<BTreeMap<String, String>> {
    let mut packages = BTreeMap::new();
    for version in versions.keys() {
        let path = modules().join(version.as_bytes()).join(b"pkgbase");
        if let Some(id) = tree.lookup(&path)
            && let Content::File { body, .. } = tree.inode(id).content
        {
            let name = bodies.read(body, 4096).with_context(|| path.to_string())?;
            let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
            packages.insert(name, version.clone());
        }
    }
    Ok(packages)
}

/// What lies in the directory `path`; nothing in everything else.
pub(super) fn children<'t>(
    tree: &'t Tree,
    path: &ImagePath,
) -> impl Iterator<Item = (&'t [u8], InodeId)> + use<'t> {
    let children = tree.lookup(path).and_then(|id| tree.children(id));
    children
        .into_iter()
        .flatten()
        .map(|(name, &id)| (&**name, id))
}

/// The directories in the directory `path`.
fn directories<'t>(
    tree: &'t Tree,
    path: &ImagePath,
) -> impl Iterator<Item = (&'t [u8], InodeId)> + use<'t> {
    children(tree, path).filter(|&(_, id)| tree.children(id).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn exactly_one_kernel_counts() {
        let one = || {
            Layers::new()
                .file("usr/lib/modules/6.1/vmlinuz", "")
                .dir("usr/lib/modules/5", 0o755)
        };
        for (layers, expected) in [
            (Layers::new(), None),
            (one(), Some("6.1")),
            (one().file("usr/lib/modules/5/vmlinuz", ""), None),
            (one().symlink("usr/lib/modules/5/vmlinuz", "x"), Some("6.1")),
            (Layers::new().file("usr/lib/modules", ""), None),
        ] {
            let (tree, _) = layers.merge();
            assert_eq!(find_kernel(&tree).unwrap().as_deref(), expected);
        }
    }

    #[test]
    fn names_tell_role_and_version() {
        for (name, want) in [
            ("vmlinuz-6.1-amd64", Some((Role::Kernel, "6.1-amd64"))),
            (
                "vmlinux-6.1-powerpc64le",
                Some((Role::Kernel, "6.1-powerpc64le")),
            ),
            ("initrd.img-6.1", Some((Role::Initramfs, "6.1"))),
            (
                "initramfs-6.1.fc40.img",
                Some((Role::Initramfs, "6.1.fc40")),
            ),
            ("initrd-6.4-default", Some((Role::Initramfs, "6.4-default"))),
            (
                ".vmlinuz-6.1.hmac",
                Some((Role::Part(".vmlinuz.hmac"), "6.1")),
            ),
            ("symvers-6.1.xz", Some((Role::Part("symvers.xz"), "6.1"))),
            ("memtest86+.bin", None),
            ("vmlinuz", None),
        ] {
            let found = role(name.as_bytes());
            let want = want.map(|(role, key)| (role, key.as_bytes()));
            assert_eq!(found, want, "{name}");
        }
    }
}
