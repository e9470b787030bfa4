//! Where the image's dracut runs: in namespaces of its own, without network, on a tree that it
//! cannot write to, as a root that is none outside.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// The name of the initramfs in the directory of the output.
pub(super) const OUTPUT: &str = "initramfs.img";

/// Where that directory lies inside. The initramfs holds dracut's command line, and so this.
const OUTPUT_DIRECTORY: &str = "/run/import-oci";

/// The environment of dracut, which is all that it learns from us. What it makes anew is dated
/// one day after the epoch, because a password that was changed on day 0 counts as expired
/// (shadow(5)).
const ENVIRONMENT: [(&str, &str); 4] = [
    ("HOME", "/"),
    ("LC_ALL", "C.UTF-8"),
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("SOURCE_DATE_EPOCH", "86400"),
];

/// dracut(8) and its arguments for the kernel `version`.
pub(super) fn arguments(version: &str) -> [String; 10] {
    let output = format!("{OUTPUT_DIRECTORY}/{OUTPUT}");
    [
        "dracut",
        "--no-hostonly",
        "--reproducible",
        "--force",
        "--add",
        "ostree",
        "--kver",
        version,
        "--",
        &output,
    ]
    .map(str::to_owned)
}

/// Lets the dracut of the tree `root` make an initramfs for the kernel `version` in the directory
/// `output`.
///
/// # Errors
/// The host has neither bubblewrap nor unshare, does not allow namespaces, or dracut failed.
pub(super) fn run(root: &Path, output: &Path, version: &str) -> Result<()> {
    let sandbox = match env::var_os("PATH").is_some_and(|path| has_program(&path, "bwrap")) {
        true => Sandbox::Bubblewrap,
        false => Sandbox::Unshare,
    };
    let mut command = Command::new(sandbox.program());
    command
        .args(sandbox.arguments(root, output))
        .args(arguments(version))
        .stdin(Stdio::null());
    let outcome = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("a sandbox for dracut takes bubblewrap (bwrap) or unshare; install one of them")
        }
        outcome => outcome.with_context(|| format!("running {}", sandbox.program()))?,
    };
    let said = said(&outcome);
    for line in said.lines() {
        tracing::debug!("dracut: {line}");
    }
    if !outcome.status.success() {
        let lines: Vec<_> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("; ");
        bail!(
            "the image's dracut failed in a sandbox by {}: {}: {last}",
            sandbox.program(),
            outcome.status
        );
    }
    Ok(())
}

/// How many lines of what dracut said go into an error.
const LAST_LINES: usize = 5;

fn said(outcome: &Output) -> String {
    let [out, err] = [&outcome.stdout, &outcome.stderr].map(|s| String::from_utf8_lossy(s));
    format!("{out}{err}")
}

fn has_program(path: &OsStr, name: &str) -> bool {
    env::split_paths(path).any(|directory| directory.join(name).is_file())
}

/// What makes the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sandbox {
    /// bwrap(1).
    Bubblewrap,
    /// unshare(1) of util-linux, where there is no bubblewrap.
    Unshare,
}

/// What dracut may do besides: read files whatever their mode, give modes and owners to what it
/// makes, and run programs with that as their root.
const CAPABILITIES: [&str; 4] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_SYS_CHROOT",
];

/// What [`Sandbox::Unshare`] does in its namespaces: `$1` is the tree, `$2` the output.
const SCRIPT: &str = r#"
root=$1 output=$2
shift 2
mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
for directory in dev run tmp var/tmp; do mount -t tmpfs tmpfs "$root/$directory"; done
for device in full null random tty urandom zero; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "$root/dev/${stream#*:}"; done
mkdir "$root/run/import-oci"
mount --bind "$output" "$root/run/import-oci"
mount -o remount,bind,ro "$root"
cd "$root"
exec chroot . "$@"
"#;

impl Sandbox {
    fn program(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bwrap",
            Self::Unshare => "unshare",
        }
    }

    /// What comes before the command to be run.
    fn arguments(self, root: &Path, output: &Path) -> Vec<OsString> {
        let mut arguments = Vec::new();
        match self {
            Self::Bubblewrap => {
                arguments.extend(words("--unshare-all --die-with-parent --new-session"));
                arguments.extend(words("--uid 0 --gid 0 --hostname localhost --cap-drop ALL"));
                for capability in CAPABILITIES {
                    arguments.extend(["--cap-add".into(), capability.into()]);
                }
                arguments.push("--clearenv".into());
                for (name, value) in ENVIRONMENT {
                    arguments.extend(["--setenv".into(), name.into(), value.into()]);
                }
                arguments.extend(["--ro-bind".into(), root.into(), "/".into()]);
                arguments.extend(words("--proc /proc --dev /dev"));
                arguments.extend(words("--tmpfs /run --tmpfs /tmp --tmpfs /var/tmp"));
                arguments.extend(["--bind".into(), output.into(), OUTPUT_DIRECTORY.into()]);
                arguments.extend(words("--chdir / --"));
            }
            Self::Unshare => {
                arguments.extend(words("--user --map-root-user --mount --pid --fork"));
                arguments.extend(words("--kill-child --net --ipc --uts -- sh -euc"));
                arguments.extend([SCRIPT.into(), "sh".into(), root.into(), output.into()]);
                arguments.extend(words("/usr/bin/env -i"));
                let environment = ENVIRONMENT.map(|(name, value)| format!("{name}={value}"));
                arguments.extend(environment.map(Into::into));
            }
        }
        arguments
    }
}

fn words(text: &str) -> impl Iterator<Item = OsString> {
    text.split(' ').map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_show_the_same_and_nothing_else() {
        for sandbox in [Sandbox::Bubblewrap, Sandbox::Unshare] {
            let arguments = sandbox.arguments("/the/root".as_ref(), "/the/output".as_ref());
            let arguments: Vec<_> = arguments.iter().map(|a| a.to_str().unwrap()).collect();
            let line = arguments.join(" ");
            for part in ["/the/root", "/the/output", "SOURCE_DATE_EPOCH"] {
                assert_eq!(line.matches(part).count(), 1, "{sandbox:?}: {part}");
            }
            let no_network = ["--unshare-all", "--net"];
            assert!(
                no_network.iter().any(|part| arguments.contains(part)),
                "{sandbox:?}"
            );
        }
    }

    #[test]
    fn programs_are_found_by_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = env::join_paths(["/nowhere".as_ref(), directory.path()]).unwrap();
        assert!(!has_program(&path, "bwrap"));
        std::fs::write(directory.path().join("bwrap"), "").unwrap();
        assert!(has_program(&path, "bwrap"));
    }

    #[test]
    fn the_version_is_an_argument() {
        let arguments = arguments("6.1");
        assert!(arguments.windows(2).any(|pair| pair == ["--kver", "6.1"]));
        assert_eq!(arguments.last().unwrap(), "/run/import-oci/initramfs.img");
    }
}
