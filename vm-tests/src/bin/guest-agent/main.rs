//! The agent inside a guest: answers what a test asks on the virtio-serial port.
//!
//! It is started by its unit once, and unconfined, for a confined agent sees less than there is.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, ExitCode, Output};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::lgetxattr;
use vm_tests::denial;
use vm_tests::report::{self, FileState, PORT, Reply, Report, Request};

fn main() -> ExitCode {
    match answer_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "guest-agent: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn answer_all() -> Result<()> {
    let path = format!("/dev/virtio-ports/{PORT}");
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {path}"))?;
    let mut lines = BufReader::new(port.try_clone()?).lines();
    say(&port, &Reply::Ready)?;
    while let Some(line) = lines.next().transpose()? {
        match serde_json::from_str(&line)? {
            Request::Report { paths } => say(&port, &Reply::Report(Box::new(look(&paths)?)))?,
            Request::Shell { command } => say(&port, &shell(&command)?)?,
            Request::PowerOff => {
                output(&["systemctl", "--no-block", "poweroff"])?;
                break;
            }
        }
    }
    Ok(())
}

fn say(mut port: &File, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    port.write_all(&line).context("writing to the port")
}

fn shell(command: &str) -> Result<Reply> {
    let output = Command::new("sh").args(["-c", command]).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Reply::Output {
        code: output.status.code(),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

fn look(paths: &[String]) -> Result<Report> {
    let state = output(&["systemctl", "is-system-running", "--wait"])?;
    let settled_seconds = seconds(&fs::read_to_string("/proc/uptime")?);
    let properties = "--property=Id,ActiveState,NRestarts";
    let selinux = mode();
    // An image without a policy has no program for it either.
    let would_relabel = match selinux.as_str() {
        "disabled" => Vec::new(),
        _ => report::relabels(&checked(
            &["restorecon", "-nrv", "/etc", "/usr", "/var"],
            &[0],
        )?),
    };
    Ok(Report {
        settled_seconds,
        selinux,
        agent_label: output(&["id", "--context"])?.trim().to_owned(),
        state: state.trim().to_owned(),
        units: report::units(&checked(&["systemctl", "show", properties, "*"], &[0])?),
        mounts: report::mounts(&fs::read_to_string("/proc/self/mountinfo")?),
        files: paths
            .iter()
            .map(|path| Ok((path.clone(), file(path)?)))
            .collect::<Result<BTreeMap<_, _>>>()?,
        would_relabel,
        denials: denial::denials(&audit()?, started()?),
        deployments: report::deployments(&checked(&["ostree", "admin", "status"], &[0])?),
        warnings: output(&[
            "journalctl",
            "-b",
            "-p",
            "warning",
            "-o",
            "short-monotonic",
            "--no-pager",
        ])?
        .lines()
        .map(str::to_owned)
        .collect(),
    })
}

fn mode() -> String {
    match fs::read_to_string("/sys/fs/selinux/enforce").as_deref() {
        Ok("1") => "enforcing",
        Ok(_) => "permissive",
        Err(_) => "disabled",
    }
    .to_owned()
}

/// Whatever may hold audit messages: the journal before auditd runs, its own log from then on.
fn audit() -> Result<String> {
    let grep = ["journalctl", "-b", "-o", "cat", "--no-pager", "--grep=avc:"];
    let journal = checked(&grep, &[0, 1])?; // 1: no such line
    let path = "/var/log/audit/audit.log";
    let log = match fs::read(path) {
        Ok(log) => log,
        // An image without a policy has no auditd; of any other a unit that must run.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context(path),
    };
    Ok(journal + &String::from_utf8_lossy(&log))
}

/// When the kernel started, in seconds since the epoch.
fn started() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let time = stat.lines().find_map(|line| line.strip_prefix("btime "));
    time.context("no btime in /proc/stat")?
        .parse()
        .context("reading btime")
}

fn seconds(uptime: &str) -> u64 {
    uptime
        .split('.')
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0)
}

fn file(path: &str) -> Result<Option<FileState>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(path.to_owned()),
    };
    let mut label = [0; 512];
    let label = lgetxattr(path, "security.selinux", &mut label)
        .ok()
        .map(|length| {
            String::from_utf8_lossy(&label[..length])
                .trim_end_matches('\0')
                .to_owned()
        });
    let capabilities = match metadata.is_file() {
        true => output(&["getcap", path])?,
        false => String::new(),
    };
    Ok(Some(FileState {
        mode: metadata.mode() & 0o7777,
        owner: metadata.uid(),
        group: metadata.gid(),
        label,
        capabilities: capabilities
            .trim()
            .strip_prefix(path)
            .map(|sets| sets.trim_start().to_owned()),
    }))
}

/// The standard output of a command that ends with one of these codes: what fails would else find nothing.
fn checked(words: &[&str], codes: &[i32]) -> Result<String> {
    let output = run(words)?;
    let code = output.status.code();
    ensure!(
        code.is_some_and(|code| codes.contains(&code)),
        "{words:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The standard output of a command, whether it fails or not: a report says what there is to say.
fn output(words: &[&str]) -> Result<String> {
    Ok(String::from_utf8_lossy(&run(words)?.stdout).into_owned())
}

fn run(words: &[&str]) -> Result<Output> {
    Command::new(words[0])
        .args(&words[1..])
        .output()
        .with_context(|| format!("starting {}", words[0]))
}
