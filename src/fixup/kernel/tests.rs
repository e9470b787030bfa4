use super::super::FixupOptions;
use super::super::testing::{check, run};
use super::*;
use crate::testing::Layers;

/// What is left of every image: the lines of `/boot` and of the directories above the modules.
const BOOT: &str = "/boot/ 755";

#[test]
fn debian() {
    check(
        &Kernel,
        Layers::new()
            .dir("boot", 0o755)
            .file("boot/System.map-6.1-amd64", "map")
            .file("boot/config-6.1-amd64", "config")
            .file("boot/initrd.img-6.1-amd64", "initrd")
            .file("boot/initrd.img-6.1-amd64.old-dkms", "old")
            .file("boot/vmlinuz-6.1-amd64", "kernel")
            .symlink("initrd.img", "boot/initrd.img-6.1-amd64")
            .symlink("initrd.img.old", "/boot/initrd.img-5")
            .symlink("lib", "usr/lib")
            .symlink("vmlinuz", "boot/vmlinuz-6.1-amd64")
            .file("usr/lib/modules/6.1-amd64/modules.dep", "dep"),
        &[
            BOOT,
            "/lib -> usr/lib",
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/modules/ 755",
            "/usr/lib/modules/6.1-amd64/ 755",
            "/usr/lib/modules/6.1-amd64/System.map 644 \"map\"",
            "/usr/lib/modules/6.1-amd64/config 644 \"config\"",
            "/usr/lib/modules/6.1-amd64/initramfs.img 644 \"initrd\"",
            "/usr/lib/modules/6.1-amd64/modules.dep 644 \"dep\"",
            "/usr/lib/modules/6.1-amd64/vmlinuz 644 \"kernel\"",
        ],
        &[
            "moved /boot/System.map-6.1-amd64",
            "moved /boot/config-6.1-amd64",
            "moved /boot/initrd.img-6.1-amd64",
            "moved /boot/vmlinuz-6.1-amd64",
            "dropped /boot/initrd.img-6.1-amd64.old-dkms",
            "dropped /initrd.img",
            "dropped /initrd.img.old",
            "dropped /vmlinuz",
        ],
    );
}

#[test]
fn debian_sid_has_hard_links() {
    check(
        &Kernel,
        Layers::new()
            .file("usr/lib/modules/6.1/vmlinuz", "kernel")
            .hardlink("boot/vmlinuz-6.1", "usr/lib/modules/6.1/vmlinuz")
            .file("boot/initrd.img-6.1", "initrd")
            .owner(7, 7),
        &[
            BOOT,
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/modules/ 755",
            "/usr/lib/modules/6.1/ 755",
            "/usr/lib/modules/6.1/initramfs.img 644 \"initrd\"",
            "/usr/lib/modules/6.1/vmlinuz 644 \"kernel\"",
        ],
        &[
            "moved /boot/initrd.img-6.1",
            "dropped /boot/vmlinuz-6.1",
            "changed /usr/lib/modules/6.1/initramfs.img",
        ],
    );
}

#[test]
fn fedora() {
    check(
        &Kernel,
        Layers::new()
            .file("boot/.vmlinuz-6.1.fc40.hmac", "hmac")
            .file("boot/config-6.1.fc40", "config")
            .dir("boot/efi", 0o700)
            .dir("boot/efi/EFI", 0o700)
            .file("boot/efi/EFI/BOOT/BOOTX64.EFI", "shim")
            .dir("boot/grub2", 0o700)
            .file("boot/grub2/fonts/unicode.pf2", "font")
            .file("boot/initramfs-0-rescue-0123.img", "rescue")
            .file("boot/initramfs-6.1.fc40.img", "initrd")
            .file("boot/initramfs-6.1.fc40kdump.img", "kdump")
            .file("boot/loader/entries/0123-6.1.fc40.conf", "entry")
            .file("boot/symvers-6.1.fc40.xz", "symvers")
            .file("boot/vmlinuz-0-rescue-0123", "rescue")
            .file("boot/vmlinuz-6.1.fc40", "kernel")
            .file("usr/lib/modules/6.1.fc40/config", "config")
            .file("usr/lib/modules/6.1.fc40/vmlinuz", "kernel"),
        &[
            BOOT,
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/modules/ 755",
            "/usr/lib/modules/6.1.fc40/ 755",
            "/usr/lib/modules/6.1.fc40/.vmlinuz.hmac 644 \"hmac\"",
            "/usr/lib/modules/6.1.fc40/config 644 \"config\"",
            "/usr/lib/modules/6.1.fc40/initramfs.img 644 \"initrd\"",
            "/usr/lib/modules/6.1.fc40/symvers.xz 644 \"symvers\"",
            "/usr/lib/modules/6.1.fc40/vmlinuz 644 \"kernel\"",
            "/usr/lib/ostree-boot/ 755",
            "/usr/lib/ostree-boot/efi/ 700",
            "/usr/lib/ostree-boot/efi/EFI/ 700",
            "/usr/lib/ostree-boot/efi/EFI/BOOT/ 755",
            "/usr/lib/ostree-boot/efi/EFI/BOOT/BOOTX64.EFI 644 \"shim\"",
            "/usr/lib/ostree-boot/grub2/ 700",
            "/usr/lib/ostree-boot/grub2/fonts/ 755",
            "/usr/lib/ostree-boot/grub2/fonts/unicode.pf2 644 \"font\"",
        ],
        &[
            "moved /boot/.vmlinuz-6.1.fc40.hmac",
            "dropped /boot/config-6.1.fc40",
            "moved /boot/initramfs-6.1.fc40.img",
            "moved /boot/symvers-6.1.fc40.xz",
            "dropped /boot/vmlinuz-6.1.fc40",
            "dropped /boot/initramfs-0-rescue-0123.img",
            "dropped /boot/loader/entries/0123-6.1.fc40.conf",
            "dropped /boot/loader/entries",
            "dropped /boot/loader",
            "dropped /boot/vmlinuz-0-rescue-0123",
            "dropped /boot/initramfs-6.1.fc40kdump.img",
            "moved /boot/efi",
            "moved /boot/grub2",
        ],
    );
}

#[test]
fn arch() {
    check(
        &Kernel,
        Layers::new()
            .file("boot/amd-ucode.img", "microcode")
            .file("boot/initramfs-linux-lts-fallback.img", "fallback")
            .file("boot/initramfs-linux-lts.img", "initrd")
            .file("boot/vmlinuz-linux-lts", "kernel")
            .file("usr/lib/modules/6.1-1-lts/pkgbase", "linux-lts\n"),
        &[
            BOOT,
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/modules/ 755",
            "/usr/lib/modules/6.1-1-lts/ 755",
            "/usr/lib/modules/6.1-1-lts/initramfs.img 644 \"initrd\"",
            "/usr/lib/modules/6.1-1-lts/pkgbase 644 \"linux-lts\\\\n\"",
            "/usr/lib/modules/6.1-1-lts/vmlinuz 644 \"kernel\"",
        ],
        &[
            "moved /boot/initramfs-linux-lts.img",
            "moved /boot/vmlinuz-linux-lts",
            "warning /boot/amd-ucode.img",
            "dropped /boot/amd-ucode.img",
            "dropped /boot/initramfs-linux-lts-fallback.img",
        ],
    );
}

#[test]
fn systemd_boot() {
    for (directory, emptied) in [
        ("boot/0123abcd", vec!["dropped /boot/0123abcd"]),
        (
            "boot/efi/debian",
            vec!["dropped /boot/efi/debian", "moved /boot/efi"],
        ),
        ("efi/debian", vec!["dropped /efi/debian"]),
    ] {
        let layers = Layers::new()
            .dir("boot", 0o755)
            .file(&format!("{directory}/6.1/initrd"), "initrd")
            .file(&format!("{directory}/6.1/linux"), "kernel")
            .file("usr/lib/modules/6.1/modules.dep", "");
        let (tree, notes) = run(&Kernel, layers, FixupOptions::default()).unwrap();
        let in_modules =
            |line: &&String| line.starts_with("/usr/lib/modules/6.1/") && !line.contains("/ ");
        let in_modules: Vec<_> = tree.iter().filter(in_modules).collect();
        assert_eq!(
            in_modules,
            [
                "/usr/lib/modules/6.1/initramfs.img 644 \"initrd\"",
                "/usr/lib/modules/6.1/modules.dep 644 \"\"",
                "/usr/lib/modules/6.1/vmlinuz 644 \"kernel\"",
            ]
        );
        let mut want = vec![
            format!("moved /{directory}/6.1/initrd"),
            format!("moved /{directory}/6.1/linux"),
            format!("dropped /{directory}/6.1"),
        ];
        want.extend(emptied.into_iter().map(str::to_owned));
        assert_eq!(notes, want);
    }
}

/// The first fatal line of an image, and how to get rid of it.
fn fatal(layers: Layers, options: FixupOptions) -> Option<(String, String)> {
    use crate::packages::Packages;
    let (tree, bodies) = layers.merge();
    let mut image = Image {
        tree,
        bodies,
        packages: Packages::default(),
        options,
    };
    let mut report = Report::default();
    Kernel.apply(&mut image, &mut report).unwrap();
    let notes = report.notes();
    let fatal = notes.iter().find(|note| note.action == Action::Fatal)?;
    Some((fatal.detail.clone(), fatal.fix.clone().unwrap()))
}

#[test]
fn the_user_decides_where_the_image_does_not() {
    let empty = Layers::new;
    let one = || Layers::new().file("usr/lib/modules/6.1/vmlinuz", "");
    let two = || {
        one()
            .file("boot/vmlinuz-6.2", "")
            .file("boot/initrd.img-6.1", "")
    };
    let odd = || {
        Layers::new()
            .file("boot/vmlinuz-odd", "")
            .dir("usr/lib/modules/7", 0o755)
    };
    let with = |kernel: Option<&str>, no_kernel, allow_no_initramfs, initramfs| FixupOptions {
        kernel: kernel.map(str::to_owned),
        no_kernel,
        allow_no_initramfs,
        initramfs,
        ..FixupOptions::default()
    };
    let check = Initramfs::Check;
    for (layers, options, want) in [
        (
            empty(),
            with(None, false, false, check),
            Some(["no kernel", "--no-kernel"]),
        ),
        (
            odd(),
            with(None, false, false, check),
            Some(["modules of 7; /boot/vmlinuz-odd", "--no-kernel"]),
        ),
        (empty(), with(None, true, false, check), None),
        (
            Layers::new().file("lib/modules/6.1/vmlinuz", ""),
            with(None, false, false, check),
            Some(["/lib is no link to usr/lib", "--no-kernel"]),
        ),
        (
            one(),
            with(None, false, false, check),
            Some(["no initramfs", "--allow-no-initramfs"]),
        ),
        (one(), with(None, false, true, check), None),
        (one(), with(None, false, false, Initramfs::Regenerate), None),
        (
            two(),
            with(None, false, false, check),
            Some(["6.1, 6.2", "--kernel=6.1 or --kernel=6.2"]),
        ),
        (two(), with(Some("6.1"), false, false, check), None),
        (
            two(),
            with(Some("6.2"), false, false, check),
            Some(["no initramfs", "regenerate"]),
        ),
        (
            two(),
            with(Some("7"), false, false, check),
            Some(["6.1, 6.2", "--kernel"]),
        ),
        (two(), with(None, true, false, check), None),
    ] {
        let found = fatal(layers, options.clone());
        let matches = match (&found, want) {
            (Some((reason, fix)), Some([part, way])) => reason.contains(part) && fix.contains(way),
            (found, want) => found.is_none() && want.is_none(),
        };
        assert!(matches, "{found:?}, not {want:?}: {options:?}");
    }
}

#[test]
fn the_others_keep_their_modules() {
    let layers = Layers::new()
        .file("boot/initrd.img-6.1", "i1")
        .file("boot/vmlinuz-6.1", "k1")
        .file("boot/vmlinuz-6.3", "k3")
        .file("usr/lib/modules/6.1/modules.dep", "")
        .file("usr/lib/modules/6.2/initramfs.img", "i2")
        .file("usr/lib/modules/6.2/modules.dep", "")
        .file("usr/lib/modules/6.2/vmlinuz", "k2");
    let options = FixupOptions {
        kernel: Some("6.1".to_owned()),
        ..FixupOptions::default()
    };
    let (tree, notes) = run(&Kernel, layers, options).unwrap();
    assert_eq!(
        tree[4..],
        [
            "/usr/lib/modules/6.1/ 755",
            "/usr/lib/modules/6.1/initramfs.img 644 \"i1\"",
            "/usr/lib/modules/6.1/modules.dep 644 \"\"",
            "/usr/lib/modules/6.1/vmlinuz 644 \"k1\"",
            "/usr/lib/modules/6.2/ 755",
            "/usr/lib/modules/6.2/modules.dep 644 \"\"",
        ]
    );
    assert_eq!(
        notes,
        [
            "moved /boot/initrd.img-6.1",
            "moved /boot/vmlinuz-6.1",
            "dropped /usr/lib/modules/6.2/vmlinuz",
            "dropped /usr/lib/modules/6.2/initramfs.img",
            "dropped /boot/vmlinuz-6.3",
        ]
    );
}

#[test]
fn without_a_kernel_boot_is_empty_all_the_same() {
    let layers = Layers::new()
        .file("boot/memtest.bin", "test")
        .dir("boot/dtbs/6.1", 0o755)
        .file("boot/vmlinuz-6.1", "k1")
        .file("usr/lib/modules/6.2/vmlinuz", "k2")
        .file("usr/lib/ostree-boot/memtest.bin", "other");
    let options = FixupOptions {
        no_kernel: true,
        ..FixupOptions::default()
    };
    let (tree, notes) = run(&Kernel, layers, options).unwrap();
    assert_eq!(
        tree,
        [
            BOOT,
            "/usr/ 755",
            "/usr/lib/ 755",
            "/usr/lib/modules/ 755",
            "/usr/lib/modules/6.2/ 755",
            "/usr/lib/modules/6.2/vmlinuz 644 \"k2\"",
            "/usr/lib/ostree-boot/ 755",
            "/usr/lib/ostree-boot/memtest.bin 644 \"other\"",
        ]
    );
    assert_eq!(
        notes,
        [
            "dropped /boot/dtbs/6.1",
            "dropped /boot/dtbs",
            "dropped /boot/vmlinuz-6.1",
            "dropped /boot/memtest.bin",
        ]
    );
}

#[test]
fn the_payload_of_an_efi_partition_has_one_place() {
    let layers = Layers::new()
        .dir("boot/EFI", 0o700)
        .file("boot/EFI/Linux/uki.efi", "1")
        .dir("efi/EFI", 0o750)
        .file("efi/EFI/Linux/uki.efi", "2")
        .file("efi/EFI/Linux/other.efi", "3");
    let options = FixupOptions {
        no_kernel: true,
        ..FixupOptions::default()
    };
    let (tree, notes) = run(&Kernel, layers, options).unwrap();
    assert_eq!(
        tree[5..],
        [
            "/usr/lib/ostree-boot/efi/ 755",
            "/usr/lib/ostree-boot/efi/EFI/ 700",
            "/usr/lib/ostree-boot/efi/EFI/Linux/ 755",
            "/usr/lib/ostree-boot/efi/EFI/Linux/other.efi 644 \"3\"",
            "/usr/lib/ostree-boot/efi/EFI/Linux/uki.efi 644 \"1\"",
        ]
    );
    assert_eq!(
        notes,
        [
            "moved /boot/EFI",
            "moved /efi/EFI/Linux/other.efi",
            "dropped /efi/EFI/Linux/uki.efi",
            "moved /efi/EFI/Linux",
            "moved /efi/EFI",
        ]
    );
}

#[test]
fn device_trees_follow() {
    for path in ["boot/dtbs/6.1/board.dtb", "boot/dtb-6.1/board.dtb"] {
        let layers = Layers::new()
            .file(path, "tree")
            .file("usr/lib/modules/6.1/vmlinuz", "")
            .file("usr/lib/modules/6.1/initrd", "");
        let (tree, _) = run(&Kernel, layers, FixupOptions::default()).unwrap();
        assert_eq!(
            tree[5..],
            [
                "/usr/lib/modules/6.1/dtb/ 755",
                "/usr/lib/modules/6.1/dtb/board.dtb 644 \"tree\"",
                "/usr/lib/modules/6.1/initramfs.img 644 \"\"",
                "/usr/lib/modules/6.1/vmlinuz 644 \"\"",
            ]
        );
    }
}
