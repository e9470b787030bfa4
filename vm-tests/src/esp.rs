//! An EFI system partition with systemd-boot, as one who installs it beside OSTree makes it.
//!
//! systemd-boot reads nothing but FAT, and OSTree writes `/boot` only where there are links: so the
//! entries and what they start are copied from one to the other.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Result, ensure};

use crate::command::{command, run};
use crate::disk::MountedDisk;

/// Where distributions keep systemd-boot.
const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Bytes of the partition: room for some kernels with initramfs.
const SIZE: u64 = 256 << 20;

/// Makes a partition in `file` that starts what OSTree has in `/boot` of the disk.
///
/// # Errors
/// systemd-boot or mtools are not installed, or the file cannot be written.
pub fn create(file: &Path, disk: &MountedDisk) -> Result<()> {
    ensure!(
        Path::new(LOADER).exists(),
        "there is no {LOADER}; scripts/vm-deps installs it"
    );
    File::create(file)?.set_len(SIZE)?;
    run(command(["mformat", "-F", "-i"]).arg(file).arg("::"))?;
    run(command(["mmd", "-i"]).arg(file).args([
        "::/EFI",
        "::/EFI/BOOT",
        "::/loader",
        "::/loader/entries",
    ]))?;
    let copy = |from: &Path, to: &str| {
        let mut copy = command(["mcopy", "-s", "-i"]);
        run(copy.arg(file).arg(from).arg(to)).map(drop)
    };
    copy(Path::new(LOADER), "::/EFI/BOOT/BOOTX64.EFI")?;
    for entry in fs::read_dir(disk.boot().join("loader/entries"))? {
        copy(&entry?.path(), "::/loader/entries")?;
    }
    copy(&disk.boot().join("ostree"), "::/")
}
