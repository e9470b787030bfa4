//! A virtual machine: QEMU with a kernel, a disk, and the agent's port on its standard streams.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::report::{PORT, Reply, Report, Request};

/// How long a guest may take for one answer, its start included: several times what an idle machine
/// with an emulated processor takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a processor that works takes to say its first word.
const PROBE: Duration = Duration::from_secs(15);

/// What runs the code of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processor {
    /// The processor of this machine.
    Kvm,
    /// An emulated one, some ten times slower.
    Tcg,
}

/// What starts a machine.
#[derive(Debug, Clone)]
pub enum Loader {
    /// QEMU itself, which is quick.
    Qemu {
        /// The initramfs.
        initramfs: PathBuf,
        /// The kernel arguments.
        arguments: String,
    },
    /// UEFI firmware and the boot loader that it finds.
    Firmware {
        /// The file of the EFI system partition.
        partition: PathBuf,
    },
}

/// Where distributions keep UEFI firmware.
const FIRMWARE: &[&str] = &[
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
];

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The kernel.
    pub kernel: PathBuf,
    /// What starts it.
    pub loader: Loader,
    /// The file of the disk, which the guest writes to.
    pub disk: PathBuf,
    /// The file of a second disk, if there is one; the guest only reads it.
    pub medium: Option<PathBuf>,
    /// The file to which the serial console goes.
    pub serial: PathBuf,
}

/// A machine that runs. It is killed, as if the power failed, when this is dropped.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    requests: ChildStdin,
    replies: Receiver<String>,
    serial: PathBuf,
}

impl Machine {
    /// Starts a machine and waits for the agent in it.
    ///
    /// # Errors
    /// QEMU cannot be started or ends early, or the agent says nothing for ten minutes.
    pub fn start(parts: &Parts) -> Result<Self> {
        let processor = processor(&parts.kernel)?;
        let mut qemu = qemu(processor, &parts.serial);
        match &parts.loader {
            Loader::Qemu {
                initramfs,
                arguments,
            } => qemu
                .arg("-kernel")
                .arg(&parts.kernel)
                .arg("-initrd")
                .arg(initramfs)
                .args(["-append", arguments]),
            // It keeps no variables, and so finds the loader by its name alone, as on a new machine.
            Loader::Firmware { partition } => qemu
                .arg("-drive")
                .arg(format!(
                    "if=pflash,format=raw,readonly=on,file={}",
                    firmware()?
                ))
                .arg("-drive")
                .arg(drive(partition, "loader"))
                .args(["-device", "virtio-blk-pci,drive=loader,bootindex=0"]),
        };
        if let Some(medium) = &parts.medium {
            qemu.arg("-drive")
                .arg(drive(medium, "medium") + ",readonly=on")
                .args(["-device", "virtio-blk-pci,drive=medium"]);
        }
        let mut qemu = qemu
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            .args(["-chardev", "stdio,id=agent,signal=off"])
            .args([
                "-device",
                &format!("virtserialport,chardev=agent,name={PORT}"),
            ])
            .arg("-drive")
            .arg(drive(&parts.disk, "disk"))
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting QEMU")?;
        let requests = qemu.stdin.take().expect("it is piped");
        let answers = BufReader::new(qemu.stdout.take().expect("it is piped"));
        let (sender, replies) = mpsc::channel();
        // It ends with the pipe, and so with QEMU.
        std::thread::spawn(move || {
            for line in answers.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut machine = Self {
            qemu,
            requests,
            replies,
            serial: parts.serial.clone(),
        };
        let first = machine.reply().context("starting the guest")?;
        ensure!(first == Reply::Ready, "the agent began with {first:?}");
        Ok(machine)
    }

    /// What the guest says of itself and of these paths, once it has started.
    ///
    /// # Errors
    /// There is no answer in ten minutes.
    pub fn report(&mut self, paths: &[&str]) -> Result<Report> {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        match self.ask(&Request::Report { paths })? {
            Reply::Report(report) => Ok(*report),
            other => bail!("asked for a report, the agent says {other:?}"),
        }
    }

    /// Runs a command of the shell in the guest, as root, and returns what it printed.
    ///
    /// # Errors
    /// It failed: then the error holds what it printed. Or there is no answer in ten minutes.
    pub fn shell(&mut self, command: &str) -> Result<String> {
        let request = Request::Shell {
            command: command.to_owned(),
        };
        match self.ask(&request)? {
            Reply::Output {
                code: Some(0),
                text,
            } => Ok(text),
            Reply::Output { code, text } => {
                bail!("in the guest, {command:?} gave {code:?}: {text}")
            }
            other => bail!("asked for a command, the agent says {other:?}"),
        }
    }

    /// Shuts the guest down, and waits until it has.
    ///
    /// # Errors
    /// It has not in ten minutes, or QEMU fails.
    pub fn power_off(mut self) -> Result<()> {
        self.say(&Request::PowerOff)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.qemu.try_wait()? {
                ensure!(status.success(), "QEMU: {status}");
                // A panic ends QEMU as well.
                let said = fs::read(&self.serial)?;
                ensure!(
                    String::from_utf8_lossy(&said).contains("reboot: Power down"),
                    "the guest ended before it had shut down; see {}",
                    self.serial.display()
                );
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        bail!("the guest has not shut down; see {}", self.serial.display())
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        self.say(request)?;
        self.reply()
    }

    fn say(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.requests.write_all(&line)?;
        self.requests.flush().context("asking the agent")
    }

    fn reply(&mut self) -> Result<Reply> {
        let log = self.serial.display();
        match self.replies.recv_timeout(PATIENCE) {
            Ok(line) => {
                serde_json::from_str(&line).with_context(|| format!("the agent says {line}"))
            }
            Err(RecvTimeoutError::Timeout) => bail!("no answer from the guest; see {log}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the guest ended; see {log}"),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}

/// The part of the command line that a guest and the probe have in common.
fn qemu(processor: Processor, serial: &Path) -> Command {
    let (accelerator, model) = match processor {
        Processor::Kvm => ("kvm", "host"),
        Processor::Tcg => ("tcg,thread=multi", "max"),
    };
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none"])
        .args(["-accel", accelerator, "-cpu", model])
        .args(["-smp", "2", "-m", "1536"])
        .arg("-serial")
        .arg(format!("file:{}", serial.display()));
    command
}

/// The disk needs not survive a crash of this machine, so nothing waits for it.
fn drive(disk: &Path, id: &str) -> String {
    // A comma ends a value, two stand for one.
    let file = disk.display().to_string().replace(',', ",,");
    format!("file={file},if=none,id={id},format=raw,cache=unsafe")
}

fn firmware() -> Result<&'static str> {
    let found = FIRMWARE.iter().find(|file| Path::new(file).exists());
    found
        .copied()
        .with_context(|| format!("there is none of {FIRMWARE:?}; scripts/vm-deps installs it"))
}

/// Whether KVM works is found by starting a kernel on it: there are machines whose `/dev/kvm` opens and
/// never comes to a first instruction.
fn processor(kernel: &Path) -> Result<Processor> {
    static FOUND: OnceLock<Processor> = OnceLock::new();
    if let Some(&processor) = FOUND.get() {
        return Ok(processor);
    }
    let works = Path::new("/dev/kvm").exists() && speaks_on_kvm(kernel)?;
    let processor = if works {
        Processor::Kvm
    } else {
        Processor::Tcg
    };
    Ok(*FOUND.get_or_init(|| processor))
}

fn speaks_on_kvm(kernel: &Path) -> Result<bool> {
    let serial = tempfile::NamedTempFile::new()?;
    // Without a root file system the kernel says its name and panics, which ends QEMU.
    let mut probe = qemu(Processor::Kvm, serial.path())
        .arg("-kernel")
        .arg(kernel)
        .args(["-append", "console=ttyS0 panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting QEMU")?;
    let deadline = Instant::now() + PROBE;
    while Instant::now() < deadline && probe.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(100));
    }
    probe.kill().ok();
    probe.wait()?;
    let said = fs::read(serial.path())?;
    Ok(String::from_utf8_lossy(&said).contains("Kernel panic"))
}
