use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::testing::image_path;

/// A cpio archive as `cpio` writes it.
fn cpio(format: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let names: String = files
        .iter()
        .map(|(path, _)| format!("./{path}\n"))
        .collect();
    let mut command = Command::new("cpio");
    command
        .args(["--quiet", "-o", "-H", format])
        .current_dir(&directory);
    pipe(&mut command, names.as_bytes())
}

/// What a program makes of its standard input.
fn pipe(command: &mut Command, bytes: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}");
        output.stdout
    })
}

fn compress(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut words = program.split(' ');
    let mut command = Command::new(words.next().unwrap());
    pipe(command.args(words), bytes)
}

/// `path=content` of every file.
fn list(bytes: &[u8]) -> Result<Vec<String>, InitramfsError> {
    let mut found = Vec::new();
    read(&mut &bytes[..], &mut |entry, content| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        assert_eq!(text.len(), entry.size as usize);
        found.push(format!("{}={text}", entry.path));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn reads_what_programs_write() {
    let early = cpio("newc", &[("kernel/x86/microcode/x.bin", "code")]);
    let main = cpio("newc", &[("init", "start"), ("etc/odd", "12345")]);
    let late = cpio("crc", &[("late", "")]);
    let early_line = "/kernel/x86/microcode/x.bin=code";
    for program in [
        "cat",
        "gzip -9n",
        "xz --check=crc32",
        "zstd -q -19 -T0",
        "lz4 -q -l -9",
        "lz4 -q -9",
        "lz4 -q -9 -BD --content-size",
    ] {
        let main = compress(program, &main);
        for zeros in [0, 4, 512, 100_000] {
            let padding = vec![0; zeros];
            let bytes = [&early[..], &padding, &main, &padding].concat();
            let found = list(&bytes).unwrap();
            assert_eq!(
                found,
                [early_line, "/init=start", "/etc/odd=12345"],
                "{program}"
            );
        }
        // Where a kernel stops at the end of an archive, so do we: more may follow.
        let found = list(&[&main[..], &[0; 8], &compress(program, &late)].concat()).unwrap();
        assert_eq!(found.last().unwrap(), "/late=", "{program}");
    }
}

#[test]
fn reads_large_files() {
    let content: String = (0..3_000_000u64)
        .map(|n| char::from(b'a' + (n * n % 23) as u8))
        .collect();
    let archive = cpio("newc", &[("large", &content.repeat(4)), ("after", "x")]);
    for program in ["cat", "lz4 -q -l", "lz4 -q", "zstd -q", "gzip -1"] {
        let found = list(&compress(program, &archive)).unwrap();
        assert_eq!(found[0].len(), "/large=".len() + 12_000_000, "{program}");
        assert_eq!(found[1], "/after=x");
    }
}

#[test]
fn says_what_is_wrong() {
    let good = cpio("newc", &[("file", "content")]);
    let mut header = good.clone();
    header[20] = b'x';
    let mut climbing = good.clone();
    climbing[110..114].copy_from_slice(b"./..");
    for (bytes, want) in [
        (vec![], "it is empty"),
        (vec![0; 5000], "it is empty"),
        (b"not an initramfs".to_vec(), "byte 0 begins neither"),
        ([&good[..], b"\0\0junk"].concat(), "begins neither"),
        (compress("bzip2", &good), "compressed with bzip2"),
        (compress("xz --format=lzma", &good), "compressed with lzma"),
        (cpio("odc", &[("file", "")]), "an old format of cpio"),
        (header, "byte 0 begins no header"),
        (climbing, "`..`"),
        (good[..125].to_vec(), "ends in the middle"),
        (
            compress("gzip", &[&good[..], b"junk"].concat()),
            "ends in the middle",
        ),
    ] {
        let error = list(&bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{error}: not {want}");
    }
    for program in ["gzip", "xz", "zstd -q", "lz4 -q -l", "lz4 -q"] {
        let packed = compress(program, &good);
        assert!(list(&packed[..packed.len() / 2]).is_err(), "{program}");
    }
}

#[test]
fn knows_what_ostree_needs() {
    let program = "usr/lib/ostree/ostree-prepare-root";
    let unit = "usr/lib/systemd/system/ostree-prepare-root.service";
    let config = "[composefs]\nenabled=yes\n";
    let contents = |files: &[(&str, &str)]| inspect(&cpio("newc", files)[..]).unwrap();
    let full = contents(&[
        (program, "ELF"),
        (unit, "[Unit]"),
        ("etc/ostree/prepare-root.conf", config),
        ("usr/lib/ostree/prepare-root.conf", "[x]\ny=z\n"),
    ]);
    assert_eq!(full.missing(), [""; 0]);
    assert_eq!(full.settings, Some(Settings::parse(config.as_bytes())));
    assert!(full.paths.contains(&image_path(unit)));
    let bare = contents(&[(program, "")]);
    assert_eq!((bare.missing(), bare.settings), (vec![unit], None));
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_or_read(
        magic in prop::sample::select(vec![
            &b"070701"[..], b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd",
            b"\x04\x22\x4d\x18", &lz4::LEGACY_MAGIC, b"",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        read(&mut &[magic, &bytes].concat()[..], &mut |_, _| Ok(())).ok();
    }

    #[test]
    fn numbers_of_headers_may_be_anything(
        fields in prop::collection::vec(any::<u32>(), 13),
        name_size in 0u32..64,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut header = b"070701".to_vec();
        for (index, field) in fields.iter().enumerate() {
            let field = if index == 11 { name_size } else { *field };
            write!(header, "{field:08x}").unwrap();
        }
        read(&mut &[header, bytes].concat()[..], &mut |_, _| Ok(())).ok();
    }

    #[test]
    fn a_flipped_bit_is_no_panic(program in 0usize..6, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        const PROGRAMS: [&str; 6] =
            ["cat", "gzip", "xz", "zstd -q", "lz4 -q -l", "lz4 -q"];
        static PACKED: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
        let packed = PACKED.get_or_init(|| {
            let archive = cpio("newc", &[("init", "start"), ("etc/odd", "12345")]);
            PROGRAMS.map(|program| compress(program, &archive)).into()
        });
        let mut bytes = packed[program].clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        read(&mut &bytes[..], &mut |_, _| Ok(())).ok();
    }
}
