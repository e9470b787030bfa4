//! What every case needs: where things lie, and a system to start from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use vm_tests::checked::Checked;
use vm_tests::command::run_logged;
use vm_tests::disk::{Disk, LABEL, MountedDisk};
use vm_tests::esp;
use vm_tests::expect::{self, Expectations};
use vm_tests::machine::{Loader, Machine, Parts};
use vm_tests::medium;
use vm_tests::page::{self, Outcome, Page};

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
    /// The pages there.
    pages: RefCell<Vec<String>>,
}

/// Runs a case in a directory of its own, which keeps the logs; the disk goes.
pub fn run_case(name: &'static str, case: fn(&Lab) -> Result<()>) -> Result<()> {
    let started = Instant::now();
    let directory = fresh(&output()?.join(name))?;
    let pages = RefCell::default();
    let lab = Lab {
        name,
        directory,
        pages,
    };
    let result = case(&lab);
    for bulky in ["disk.img", "esp.img", "medium.img", "kernel", "initramfs"] {
        fs::remove_file(lab.directory.join(bulky)).ok();
    }
    add_to_index(Outcome {
        name,
        took: started.elapsed(),
        error: result.as_ref().err().map(|error| format!("{error:#}")),
        pages: lab.pages.into_inner(),
    })?;
    result
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
            .args(["check", "--json", &system.source(release)?])
            .output()?;
        fs::write(self.file("check.json"), &output.stdout)?;
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
            serial: self.file(&format!("{name}.serial.log")),
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
            serial: self.file(&format!("{name}.serial.log")),
        })
    }

    /// A second disk with all releases of a system but the layers of the first, which a guest of it has.
    pub fn medium(&self, system: &System) -> Result<PathBuf> {
        medium::create(self.file("medium.img"), &system.image("1")?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts a guest, judges it and shuts it down.
    pub fn boot(&self, disk: &Disk, name: &str, expected: &Expectations) -> Result<()> {
        self.judge(self.start(disk, name)?, name, expected)
    }

    /// Asks a guest for its report, keeps a page of it, and fails if the guest is not as expected; shuts
    /// it down if it is.
    pub fn judge(&self, mut machine: Machine, name: &str, expected: &Expectations) -> Result<()> {
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
        let serial = fs::read(self.file(&format!("{name}.serial.log")))?;
        let page = Page {
            title: &format!("{}: {name}", self.name),
            wrong: &wrong,
            serial: &String::from_utf8_lossy(&serial),
            report: &report,
        };
        let file_name = format!("{name}.html");
        let file = self.file(&file_name);
        fs::write(&file, page.html())?;
        self.pages.borrow_mut().push(file_name);
        ensure!(
            wrong.is_empty(),
            "{name}, see {}:\n  {}",
            file.display(),
            wrong.join("\n  ")
        );
        machine.power_off()
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
