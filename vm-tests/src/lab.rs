//! What every case needs: where things lie, and a system to start from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use vm_tests::checked::Checked;
use vm_tests::command::run_logged;
use vm_tests::disk::{Disk, LABEL, MountedDisk};
use vm_tests::esp;
use vm_tests::expect::{self, Expectations};
use vm_tests::machine::{Loader, Machine, Parts};
use vm_tests::medium;
use vm_tests::page::{self, Outcome, Page};
use vm_tests::report::Report;

use crate::system::{Installer, System};

/// The name of the state root of all guests.
pub const STATEROOT: &str = "debian";

/// What only the test wants of the kernel: speed, no denial left out of its log, patience with the timer
/// of a busy machine, and an end that QEMU sees where it panics.
const TEST_ARGUMENTS: &[&str] = &[
    "mitigations=off",
    "sysctl.kernel.printk_ratelimit=0",
    "audit_backlog_limit=8192",
    "no_timer_check",
    "panic=-1",
];

/// How long a case may take, images and all: several times what the longest takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(90 * 60);

/// What follows the name of a guest in that of its serial log.
const SERIAL: &str = ".serial.log";

/// Where the disks lie that cases copy.
const DISKS: &str = "disks";

/// Where the logs of their imports lie.
const SYSTEMS: &str = "systems";

/// One case while it runs.
#[derive(Debug)]
pub struct Lab {
    name: &'static str,
    /// Where its disk and logs lie.
    directory: PathBuf,
    /// The names of its guests, in the order of their starts.
    guests: RefCell<Vec<String>>,
}

/// Runs a case in a directory of its own, which keeps the logs; the disk goes.
pub fn run_case(name: &'static str, case: fn(&Lab) -> Result<()>) -> Result<()> {
    let started = Instant::now();
    // Until the end of this function.
    let _watched = watch(name);
    let directory = fresh(&output()?.join(name))?;
    let lab = Lab {
        name,
        directory,
        guests: RefCell::default(),
    };
    let result = catch_unwind(AssertUnwindSafe(|| case(&lab))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map_or("no text", |s| s);
        Err(anyhow!("it panicked: {said}"))
    });
    for bulky in ["disk.img", "esp.img", "medium.img", "kernel", "initramfs"] {
        fs::remove_file(lab.directory.join(bulky)).ok();
    }
    add_to_index(Outcome {
        name,
        took: started.elapsed(),
        error: result.as_ref().err().map(|error| format!("{error:#}")),
        guests: lab.complete_pages()?,
    })?;
    result
}

/// Ends this program, whatever program of the host hangs, unless what is returned is dropped in time.
fn watch(name: &'static str) -> Sender<()> {
    let (sender, over) = mpsc::channel();
    std::thread::spawn(move || {
        if over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            let minutes = LIMIT.as_secs() / 60;
            writeln!(
                io::stderr(),
                "vm-tests: {name} is not over after {minutes} minutes"
            )
            .ok();
            std::process::exit(1);
        }
    });
    sender
}

/// Writes the index anew with one more case, so that a run that ends early has it, too.
fn add_to_index(outcome: Outcome) -> Result<()> {
    static OUTCOMES: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());
    let mut outcomes = OUTCOMES.lock().unwrap_or_else(PoisonError::into_inner);
    outcomes.push(outcome);
    fs::write(output()?.join("index.html"), page::index(&outcomes))?;
    Ok(())
}

impl Lab {
    /// A disk with the first release of a system deployed, and the commit of that.
    pub fn first_release(&self, system: &System) -> Result<(Disk, String)> {
        let (disk, commit) = first_release(system)?;
        Ok((disk.copy(self.file("disk.img"))?, commit))
    }

    /// What the import of the first release of a system said.
    pub fn first_import(&self, system: &System) -> Result<String> {
        first_release(system)?;
        let log = output()?
            .join(SYSTEMS)
            .join(system.name)
            .join("import-1.log");
        fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))
    }

    /// Imports a release into the repository of a disk, at the branch of its name, and returns the commit.
    pub fn import(&self, disk: &MountedDisk, system: &System, release: &str) -> Result<String> {
        import(disk, system, release, &self.directory)
    }

    /// What `import-oci check --json` says of a release; kept beside the logs.
    pub fn check(&self, system: &System, release: &str) -> Result<Checked> {
        // Its exit code says whether the image would boot, which is said in the answer, too.
        let output = Command::new(sibling("import-oci")?)
            .args(["check", "--json"])
            .args(system.import)
            .arg(system.source(release)?)
            .output()?;
        let file = format!("check-{}.json", system.name);
        fs::write(self.file(&file), &output.stdout)?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts what the boot loader would start. `name` is that of the start in the logs.
    pub fn start(&self, disk: &Disk, name: &str) -> Result<Machine> {
        self.start_entry(disk, name, 0, None)
    }

    /// The same with a second disk.
    pub fn start_with(&self, disk: &Disk, name: &str, medium: &Path) -> Result<Machine> {
        self.start_entry(disk, name, 0, Some(medium))
    }

    /// Starts what a user chooses who wants the deployment before.
    pub fn start_older(&self, disk: &Disk, name: &str) -> Result<Machine> {
        self.start_entry(disk, name, 1, None)
    }

    fn start_entry(
        &self,
        disk: &Disk,
        name: &str,
        places: usize,
        medium: Option<&Path>,
    ) -> Result<Machine> {
        let mounted = disk.mount()?;
        let entry = mounted.boot_entry_before(places)?;
        let (kernel, initramfs) = (self.file("kernel"), self.file("initramfs"));
        mounted.copy_kernel(&entry, &kernel, &initramfs)?;
        drop(mounted);
        Machine::start(&Parts {
            kernel,
            loader: Loader::Qemu {
                initramfs,
                arguments: entry.arguments,
            },
            disk: disk.file.clone(),
            medium: medium.map(Path::to_owned),
            serial: self.console(name),
        })
    }

    /// Starts what a boot loader does start, from its own copy of the entries.
    pub fn start_by_loader(&self, disk: &Disk, name: &str) -> Result<Machine> {
        let mounted = disk.mount()?;
        let (kernel, partition) = (self.file("kernel"), self.file("esp.img"));
        mounted.copy_kernel(&mounted.boot_entry()?, &kernel, &self.file("initramfs"))?;
        esp::create(&partition, &mounted)?;
        drop(mounted);
        Machine::start(&Parts {
            kernel,
            loader: Loader::Firmware { partition },
            disk: disk.file.clone(),
            medium: None,
            serial: self.console(name),
        })
    }

    /// A second disk with all releases of a system but the layers of the first, which a guest of it has.
    pub fn medium(&self, system: &System) -> Result<PathBuf> {
        medium::create(self.file("medium.img"), &system.image("1")?)
    }

    /// Where the serial console of a guest goes that is about to start.
    fn console(&self, name: &str) -> PathBuf {
        self.guests.borrow_mut().push(name.to_owned());
        self.file(&format!("{name}{SERIAL}"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts a guest, judges it and shuts it down.
    pub fn boot(&self, disk: &Disk, name: &str, expected: &Expectations) -> Result<()> {
        self.finish(self.start(disk, name)?, name, expected)
    }

    /// Judges a guest and shuts it down.
    pub fn finish(&self, mut machine: Machine, name: &str, expected: &Expectations) -> Result<()> {
        self.judge(&mut machine, name, expected)?;
        machine.power_off()
    }

    /// Asks a guest for its report, keeps a page of it, and fails if the guest is not as expected.
    pub fn judge(&self, machine: &mut Machine, name: &str, expected: &Expectations) -> Result<()> {
        let paths: Vec<_> = expected.files.iter().map(|(path, _)| *path).collect();
        let report = machine.report(&paths)?;
        let mut wrong = expect::judge(&report, expected);
        for (command, answer) in &expected.answers {
            match machine.shell(command) {
                Ok(said) if said == *answer => {}
                Ok(said) => wrong.push(format!("{command:?} says {said:?}, not {answer:?}")),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        let file = self.write_page(name, &wrong, Some(&report))?;
        ensure!(
            wrong.is_empty(),
            "{name}, see {}:\n  {}",
            file.display(),
            wrong.join("\n  ")
        );
        Ok(())
    }

    fn write_page(&self, name: &str, wrong: &[String], report: Option<&Report>) -> Result<PathBuf> {
        let page = Page {
            title: &format!("{}: {name}", self.name),
            wrong,
            serial: &self.serial(name)?,
            report,
        };
        let file = self.file(&format!("{name}.html"));
        fs::write(&file, page.html())?;
        Ok(file)
    }

    /// All that a guest wrote to its serial console.
    pub fn serial(&self, name: &str) -> Result<String> {
        let serial = fs::read(self.file(&format!("{name}{SERIAL}")))?;
        Ok(String::from_utf8_lossy(&serial).into_owned())
    }

    /// A page for each guest, also for one that never answered; the guests, in the order of their starts.
    fn complete_pages(&self) -> Result<Vec<String>> {
        let guests = self.guests.borrow().clone();
        for name in &guests {
            if !self.file(&format!("{name}.html")).exists() && self.serial(name).is_ok() {
                self.write_page(name, &["it was not asked for a report".to_owned()], None)?;
            }
        }
        Ok(guests)
    }
}

/// The disk that cases of the same system copy, so that only the first of them waits for the import.
fn first_release(system: &System) -> Result<(Disk, String)> {
    static MADE: Mutex<BTreeMap<&str, (PathBuf, String)>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if !made.contains_key(system.name) {
        made.insert(system.name, make_first_release(system)?);
    }
    let (file, commit) = made[system.name].clone();
    Ok((Disk { file }, commit))
}

/// Removes the disks that cases copied.
pub fn remove_disks() {
    // What stays behind only takes space.
    if let Ok(output) = output() {
        fs::remove_dir_all(output.join(DISKS)).ok();
    }
}

fn make_first_release(system: &System) -> Result<(PathBuf, String)> {
    let directory = fresh(&output()?.join(SYSTEMS).join(system.name))?;
    let disks = output()?.join(DISKS);
    fs::create_dir_all(&disks)?;
    let disk = Disk::create(disks.join(system.name).with_extension("img"))?;
    let mounted = disk.mount()?;
    let root = format!("root=LABEL={LABEL}");
    let arguments = [&[root.as_str()], system.arguments, TEST_ARGUMENTS].concat();
    let commit = match system.installer {
        Installer::Image => {
            mounted.create_repo()?;
            let commit = import(&mounted, system, "1", &directory)?;
            let branch = system.branch("1");
            mounted.create_system_root(&branch, STATEROOT)?;
            mounted.deploy(&branch, STATEROOT, &arguments)?;
            commit
        }
        Installer::ImportOci => {
            mounted.create_system_root_by_host()?;
            deploy(&mounted, system, "1", &arguments, &directory)?
        }
    };
    if system.has_policy {
        mounted.label_system_root(STATEROOT)?;
    }
    drop(mounted);
    Ok((disk.file, commit))
}

/// Fixups that are left out to see what becomes of a guest without them.
fn skipped() -> Vec<String> {
    let names = std::env::var("IMPORT_OCI_VM_SKIP").unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

fn import(disk: &MountedDisk, system: &System, release: &str, logs: &Path) -> Result<String> {
    let mut import = Command::new(sibling("import-oci")?);
    import.arg("--repo").arg(disk.repo());
    run_import(import, system, release, logs)
}

/// Imports a release and deploys it in a new state root, with these kernel arguments, and returns the
/// commit.
fn deploy(
    disk: &MountedDisk,
    system: &System,
    release: &str,
    arguments: &[&str],
    logs: &Path,
) -> Result<String> {
    let mut deploy = Command::new(sibling("import-oci")?);
    deploy.arg("deploy").arg("--sysroot").arg(disk.path());
    deploy.args(["--init", "--stateroot", STATEROOT]);
    for argument in arguments {
        deploy.args(["--karg", argument]);
    }
    let deployment = run_import(deploy, system, release, logs)?;
    let (commit, _) = deployment
        .split_once('.')
        .with_context(|| format!("{deployment:?} is no name of a deployment"))?;
    Ok(commit.to_owned())
}

/// Runs a command that imports a release.
fn run_import(mut import: Command, system: &System, release: &str, logs: &Path) -> Result<String> {
    import
        .args(["--write-ref", &system.branch(release)])
        .args(system.import);
    for fixup in skipped() {
        import.args(["--skip-fixup", &fixup]);
    }
    import.args(["-v", &system.source(release)?]);
    run_logged(&mut import, &logs.join(format!("import-{release}.log")))
}

/// A program that was built together with this one.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("there is no {}: `make vm-test` builds it", path.display());
    }
    Ok(path)
}

/// An empty directory at `path`, in place of what an earlier run left there.
pub fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}

/// Waits until no other run of this program uses the directory of logs, pages and disks, which is this one's
/// until the value is dropped.
pub fn lock_output() -> Result<File> {
    let lock = File::create(output()?.join(".lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Where logs, pages and disks go.
pub fn output() -> Result<PathBuf> {
    let target = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .map(Path::to_owned);
    let output = target
        .context("this program lies in target/debug or target/release")?
        .join("vm-tests");
    fs::create_dir_all(&output)?;
    Ok(output)
}
