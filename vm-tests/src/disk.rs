//! The disk of a guest: one ext4 file system with an OSTree system root.
//!
//! The system root is made and deployed to by the image's own ostree in a chroot, as an older libostree
//! on the host would leave `/var` without its content and, but for what `import-oci deploy` does about
//! it, directories of `/etc` without a label.
//!
//! Mounts are made without care for their end: the test program runs in a mount namespace of its own.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::fs::XattrFlags;

use crate::command::{command, run};

/// Bytes of a disk. It is sparse: what it takes is what is written to it.
const SIZE: u64 = 6 << 30;

/// The label of the file system, by which kernels find their root.
pub const LABEL: &str = "root";

/// Where the chroot lies on the disk while it is needed, beside the files that it shares.
const CHROOT: &str = ".chroot";

/// A disk that no one has mounted.
#[derive(Debug)]
pub struct Disk {
    /// The file that holds it.
    pub file: PathBuf,
}

impl Disk {
    /// Makes a disk with an empty file system.
    ///
    /// # Errors
    /// The file cannot be written, or `mkfs.ext4` fails.
    pub fn create(file: PathBuf) -> Result<Self> {
        File::create(&file)?.set_len(SIZE)?;
        let mut mkfs = command(["mkfs.ext4", "-q", "-L", LABEL, "-O", "verity", "-m", "0"]);
        run(mkfs.arg(&file))?;
        Ok(Self { file })
    }

    /// Copies a disk, holes and all.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub fn copy(&self, file: PathBuf) -> Result<Self> {
        run(command(["cp", "--sparse=always", "--reflink=auto"])
            .arg(&self.file)
            .arg(&file))?;
        Ok(Self { file })
    }

    /// Mounts the disk until the value is dropped.
    ///
    /// # Errors
    /// There is no free loop device, or the file system is damaged.
    pub fn mount(&self) -> Result<MountedDisk> {
        let mountpoint = tempfile::tempdir()?;
        run(command(["mount", "-o", "loop"])
            .arg(&self.file)
            .arg(mountpoint.path()))?;
        Ok(MountedDisk { mountpoint })
    }

    /// Checks the file system and the repository on it.
    ///
    /// # Errors
    /// One of them is damaged.
    pub fn check(&self) -> Result<()> {
        // A journal to replay is no damage: mounting does that.
        let disk = self.mount()?;
        run(command(["ostree", "fsck", "--quiet", "--repo"]).arg(disk.repo()))?;
        drop(disk);
        run(command(["e2fsck", "-f", "-n"]).arg(&self.file)).map(drop)
    }
}

/// A disk whose files are at hand.
#[derive(Debug)]
pub struct MountedDisk {
    mountpoint: tempfile::TempDir,
}

impl Drop for MountedDisk {
    fn drop(&mut self) {
        let mut umount = command(["umount", "--recursive"]);
        if let Err(error) = run(umount.arg(self.path())) {
            panic!("a file of the disk is still in use: {error:#}");
        }
    }
}

impl MountedDisk {
    /// The system root.
    pub fn path(&self) -> &Path {
        self.mountpoint.path()
    }

    /// The repository of the system root.
    pub fn repo(&self) -> PathBuf {
        self.path().join("ostree/repo")
    }

    /// The boot directory of the system root.
    pub fn boot(&self) -> PathBuf {
        self.path().join("boot")
    }

    /// Makes an empty repository, for the image whose ostree will make the rest of the system root.
    ///
    /// # Errors
    /// `ostree` fails.
    pub fn create_repo(&self) -> Result<()> {
        let repo = self.repo();
        fs::create_dir_all(&repo)?;
        run(command(["ostree", "init", "--mode=bare", "--repo"]).arg(&repo)).map(drop)
    }

    /// Makes a system root around the repository, and a state root in it.
    ///
    /// # Errors
    /// `ostree` of the commit at `branch` fails.
    pub fn create_system_root(&self, branch: &str, stateroot: &str) -> Result<()> {
        let chroot = Chroot::new(self, branch)?;
        chroot.run(["ostree", "admin", "init-fs", "--modern", "/sysroot"])?;
        chroot.run([
            "ostree",
            "admin",
            "os-init",
            "--sysroot=/sysroot",
            stateroot,
        ])?;
        self.configure()
    }

    /// Makes a system root, by the host's ostree, for who makes a state root in it.
    ///
    /// # Errors
    /// `ostree` fails.
    pub fn create_system_root_by_host(&self) -> Result<()> {
        run(command(["ostree", "admin", "init-fs", "--modern"]).arg(self.path()))?;
        self.configure()
    }

    fn configure(&self) -> Result<()> {
        for (key, value) in [("sysroot.bootloader", "none"), ("sysroot.readonly", "true")] {
            run(command(["ostree", "config", "set", key, value, "--repo"]).arg(self.repo()))?;
        }
        Ok(())
    }

    /// Deploys the commit at `branch`, to be started with these kernel arguments.
    ///
    /// # Errors
    /// Its `ostree` fails.
    pub fn deploy(&self, branch: &str, stateroot: &str, arguments: &[&str]) -> Result<()> {
        let chroot = Chroot::new(self, branch)?;
        let os = format!("--os={stateroot}");
        let mut deploy = chroot.command(["ostree", "admin", "deploy", "--sysroot=/sysroot", &os]);
        deploy.args(
            arguments
                .iter()
                .map(|argument| format!("--karg={argument}")),
        );
        run(deploy.arg(branch)).map(drop)
    }

    /// A file of the `/var` of a state root.
    ///
    /// # Errors
    /// There is none.
    pub fn read_var(&self, stateroot: &str, file: &str) -> Result<String> {
        let path = self
            .path()
            .join(format!("ostree/deploy/{stateroot}/var/{file}"));
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// The refs of the repository with their commits, each on a line, in byte order.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn refs(&self) -> Result<String> {
        let mut grep = command(["grep", "--recursive", ".", "refs"]);
        let refs = run(grep.current_dir(self.repo()))?;
        let mut refs: Vec<_> = refs.lines().collect();
        refs.sort_unstable();
        Ok(refs.join("\n"))
    }

    /// The origin of the first deployment of a commit.
    ///
    /// # Errors
    /// There is no such deployment.
    pub fn origin(&self, stateroot: &str, commit: &str) -> Result<String> {
        let origin = format!("ostree/deploy/{stateroot}/deploy/{commit}.0.origin");
        fs::read_to_string(self.path().join(&origin)).with_context(|| format!("reading {origin}"))
    }

    /// Gives the system root around the deployments the labels that an installer gives it, which runs
    /// where the kernel has SELinux.
    ///
    /// The kernels in `/boot` are other names of objects of the repository, whose labels are part of
    /// their checksums: what has several names stays as it is.
    ///
    /// # Errors
    /// A label cannot be written.
    pub fn label_system_root(&self, stateroot: &str) -> Result<()> {
        label(self.path(), "root_t")?;
        let stateroot = format!("ostree/deploy/{stateroot}");
        for directory in [
            "ostree",
            "ostree/repo",
            "ostree/deploy",
            &stateroot,
            &(stateroot.clone() + "/deploy"),
        ] {
            label(&self.path().join(directory), "usr_t")?;
        }
        label_tree(&self.boot(), "boot_t")
    }

    /// What the bootloader would start: the entry with the highest version.
    ///
    /// # Errors
    /// There is none, or it lacks a line.
    pub fn boot_entry(&self) -> Result<BootEntry> {
        self.boot_entry_before(0)
    }

    /// What a user may choose in the bootloader's menu instead: the entry so many places below.
    ///
    /// # Errors
    /// As for [`MountedDisk::boot_entry`].
    pub fn boot_entry_before(&self, places: usize) -> Result<BootEntry> {
        let mut entries = Vec::new();
        for file in fs::read_dir(self.boot().join("loader/entries"))? {
            entries.push(fs::read_to_string(file?.path())?);
        }
        sorted(&entries)
            .into_iter()
            .nth(places)
            .context("there are fewer whole boot loader entries")
    }

    /// Copies the kernel and the initramfs of an entry to where QEMU reads them.
    ///
    /// # Errors
    /// They are not there, or cannot be written.
    pub fn copy_kernel(&self, entry: &BootEntry, kernel: &Path, initramfs: &Path) -> Result<()> {
        for (from, to) in [(&entry.kernel, kernel), (&entry.initramfs, initramfs)] {
            let from = self.boot().join(from.trim_start_matches('/'));
            fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
        }
        Ok(())
    }
}

/// A checkout of a commit to run its programs in, with the disk at `/sysroot`.
struct Chroot {
    root: PathBuf,
}

impl Chroot {
    fn new(disk: &MountedDisk, branch: &str) -> Result<Self> {
        let chroot = Self {
            root: disk.path().join(CHROOT),
        };
        let mut checkout = command(["ostree", "checkout", "--require-hardlinks", "--repo"]);
        run(checkout.arg(disk.repo()).arg(branch).arg(&chroot.root))?;
        if !chroot.root.join("etc").exists() {
            std::os::unix::fs::symlink("usr/etc", chroot.root.join("etc"))?;
        }
        Ok(chroot)
    }

    /// A command that runs inside. What it mounts ends with it.
    fn command<const N: usize>(&self, words: [&str; N]) -> Command {
        const SETUP: &str = "cd \"$1\"; shift; mount --bind .. sysroot; \
            for d in proc sys dev; do mount --rbind /$d $d; done; \
            for d in run tmp var; do mount -t tmpfs none $d/; done; exec chroot . \"$@\"";
        let mut inside = command([
            "unshare",
            "--mount",
            "--propagation=private",
            "sh",
            "-euc",
            SETUP,
            "sh",
        ]);
        inside.arg(&self.root).args(words);
        inside
    }

    fn run<const N: usize>(&self, words: [&str; N]) -> Result<String> {
        run(&mut self.command(words))
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        // The disk is for one case: what stays behind only takes space.
        fs::remove_dir_all(&self.root).ok();
    }
}

fn label(path: &Path, kind: &str) -> Result<()> {
    let value = format!("system_u:object_r:{kind}:s0\0");
    rustix::fs::lsetxattr(
        path,
        "security.selinux",
        value.as_bytes(),
        XattrFlags::empty(),
    )
    .with_context(|| format!("labelling {}", path.display()))
}

fn label_tree(path: &Path, kind: &str) -> Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            label_tree(&entry?.path(), kind)?;
        }
    } else if metadata.nlink() > 1 {
        return Ok(());
    }
    label(path, kind)
}

/// One entry of the boot loader, by the Boot Loader Specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// The path of the kernel on the boot partition.
    pub kernel: String,
    /// The path of the initramfs there.
    pub initramfs: String,
    /// The kernel arguments.
    pub arguments: String,
}

/// The entries that are whole, the one with the highest version first.
fn sorted(entries: &[String]) -> Vec<BootEntry> {
    let entry = |text: &String| {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(k, _)| *k == key)
                .map(|(_, value)| value.trim().to_owned())
        };
        let version: u64 = value("version")?.parse().ok()?;
        let entry = BootEntry {
            kernel: value("linux")?,
            initramfs: value("initrd")?,
            arguments: value("options")?,
        };
        Some((version, entry))
    };
    let mut whole: Vec<_> = entries.iter().filter_map(entry).collect();
    whole.sort_by_key(|(version, _)| Reverse(*version));
    whole.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_entry_is_first() {
        let entry = |version: &str, name: &str| {
            format!(
                "title x\nversion {version}\noptions root=LABEL=root {name}\nlinux /o/{name}\ninitrd /o/{name}.img\n"
            )
        };
        let broken = entry("11", "broken").replace("initrd", "devicetree");
        let found = sorted(&[entry("9", "old"), entry("10", "new"), broken]);
        let arguments: Vec<_> = found.iter().map(|entry| &*entry.arguments).collect();
        assert_eq!(arguments, ["root=LABEL=root new", "root=LABEL=root old"]);
        assert_eq!(found[0].kernel, "/o/new");
        assert_eq!(found[0].initramfs, "/o/new.img");
        assert_eq!(sorted(&[]), []);
    }
}
