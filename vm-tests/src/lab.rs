//! What every case needs: where things lie, and a system to start from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail, ensure};
use vm_tests::command::{command, run, run_logged};
use vm_tests::disk::{Disk, LABEL, MountedDisk};
use vm_tests::expect::{self, Expectations};
use vm_tests::image;
use vm_tests::machine::{Machine, Parts};
use vm_tests::page::Page;
use vm_tests::report::Report;

/// The name of the state root of all guests.
pub const STATEROOT: &str = "debian";

/// What a user of Debian's SELinux policy starts the kernel with. Debian's kernel would take AppArmor,
/// and the policy comes in permissive mode.
const ARGUMENTS: &[&str] = &[
    "rw",
    "console=ttyS0",
    "security=selinux",
    "selinux=1",
    "enforcing=1",
];

/// What only the test wants of the kernel: speed, and no denial left out of its log.
const TEST_ARGUMENTS: &str =
    "mitigations=off sysctl.kernel.printk_ratelimit=0 audit_backlog_limit=8192";

/// One case while it runs.
#[derive(Debug)]
pub struct Lab {
    name: &'static str,
    /// Where its disk and logs lie.
    directory: PathBuf,
}

/// Runs a case in a directory of its own, which keeps the logs; the disk goes.
pub fn run_case(name: &'static str, case: fn(&Lab) -> Result<()>) -> Result<()> {
    let directory = fresh(&output()?.join(name))?;
    let lab = Lab { name, directory };
    let result = case(&lab);
    for bulky in ["disk.img", "kernel", "initramfs"] {
        fs::remove_file(lab.directory.join(bulky)).ok();
    }
    result
}

impl Lab {
    /// A disk with a first release deployed, and the commit of that.
    pub fn first_release(&self) -> Result<(Disk, String)> {
        let first = first_release()?;
        let disk = first.disk.copy(self.directory.join("disk.img"))?;
        Ok((disk, first.commit.clone()))
    }

    /// Imports a release into the repository of a disk, at the branch of its name, and returns the commit.
    pub fn import(&self, disk: &MountedDisk, release: &str) -> Result<String> {
        import(disk, release, &self.directory)
    }

    /// Starts what the boot loader would start. `name` is that of the start in the logs.
    pub fn start(&self, disk: &Disk, name: &str) -> Result<Machine> {
        let file = |name: &str| self.directory.join(name);
        let parts = Parts {
            kernel: file("kernel"),
            initramfs: file("initramfs"),
            arguments: {
                let mounted = disk.mount()?;
                let entry = mounted.boot_entry()?;
                mounted.copy_kernel(&entry, &file("kernel"), &file("initramfs"))?;
                format!("{} {TEST_ARGUMENTS}", entry.arguments)
            },
            disk: disk.file.clone(),
            serial: file(&format!("{name}.serial.log")),
        };
        Machine::start(&parts)
    }

    /// Asks a guest for its report, keeps a page of it, and fails if the guest is not as expected.
    pub fn judge(
        &self,
        machine: &mut Machine,
        name: &str,
        expected: &Expectations,
    ) -> Result<Report> {
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
        let serial = fs::read(self.directory.join(format!("{name}.serial.log")))?;
        let page = Page {
            title: &format!("{}: {name}", self.name),
            wrong: &wrong,
            serial: &String::from_utf8_lossy(&serial),
            report: &report,
        };
        let file = self.directory.join(format!("{name}.html"));
        fs::write(&file, page.html())?;
        ensure!(
            wrong.is_empty(),
            "{name}, see {}:\n  {}",
            file.display(),
            wrong.join("\n  ")
        );
        Ok(report)
    }
}

/// The disk that cases copy, so that only the first of them waits for the import.
#[derive(Debug)]
struct FirstRelease {
    disk: Disk,
    commit: String,
}

fn first_release() -> Result<&'static FirstRelease> {
    static FIRST: OnceLock<Result<FirstRelease, String>> = OnceLock::new();
    let first = FIRST.get_or_init(|| make_first_release().map_err(|error| format!("{error:#}")));
    match first {
        Ok(first) => Ok(first),
        Err(error) => bail!("{error}"),
    }
}

fn make_first_release() -> Result<FirstRelease> {
    let directory = output()?;
    let disk = Disk::create(directory.join("first-release.img"))?;
    let mounted = disk.mount()?;
    mounted.create_repo()?;
    let commit = import(&mounted, "1", &directory)?;
    let branch = branch("1");
    mounted.create_system_root(&branch, STATEROOT)?;
    let root = format!("root=LABEL={LABEL}");
    mounted.deploy(&branch, STATEROOT, &[&[root.as_str()], ARGUMENTS].concat())?;
    drop(mounted);
    Ok(FirstRelease { disk, commit })
}

/// The branch of a release.
pub fn branch(release: &str) -> String {
    format!("trixie/{release}")
}

fn import(disk: &MountedDisk, release: &str, logs: &Path) -> Result<String> {
    let image = format!("oci:{}:release-{release}", images()?.display());
    let mut import = Command::new(sibling("import-oci")?);
    import
        .arg("--repo")
        .arg(disk.repo())
        .args(["--write-ref", &branch(release)])
        .args(["--initramfs=regenerate", "-v", &image]);
    run_logged(&mut import, &logs.join(format!("import-{release}.log")))
}

/// The images of all releases, with the agent.
fn images() -> Result<&'static Path> {
    static IMAGES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let images = IMAGES.get_or_init(|| make_images().map_err(|error| format!("{error:#}")));
    match images {
        Ok(layout) => Ok(layout),
        Err(error) => bail!("{error}"),
    }
}

fn make_images() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let base = demo_image(source)?;
    let cache = base.parent().context("the demo image lies in the cache")?;
    let layout = image::build(&source.join("images/trixie"), &base, cache)?;
    // The agent is built more often than the images, and only added to a copy of them.
    let directory = fresh(&output()?.join("images"))?;
    let with_agent = directory.join("layout");
    run(command(["cp", "--recursive", "--reflink=auto"])
        .arg(&layout)
        .arg(&with_agent))?;
    let tree = agent_tree(source, &directory.join("agent"))?;
    for release in ["1", "2"] {
        image::add_layer(&with_agent, &format!("release-{release}"), &tree)?;
    }
    Ok(with_agent)
}

/// What the agent's layer holds.
fn agent_tree(source: &Path, tree: &Path) -> Result<PathBuf> {
    let units = tree.join("usr/lib/systemd/system");
    let wants = units.join("multi-user.target.wants");
    let programs = tree.join("usr/libexec");
    fs::create_dir_all(&wants)?;
    fs::create_dir_all(&programs)?;
    let unit = "guest-agent.service";
    fs::copy(source.join("guest").join(unit), units.join(unit))?;
    std::os::unix::fs::symlink(format!("../{unit}"), wants.join(unit))?;
    fs::copy(sibling("guest-agent")?, programs.join("guest-agent"))?;
    Ok(tree.to_owned())
}

fn demo_image(source: &Path) -> Result<PathBuf> {
    match std::env::var_os("IMPORT_OCI_DEMO_IMAGE") {
        Some(path) => Ok(path.into()),
        None => run(&mut Command::new(source.join("../scripts/demo-image"))).map(PathBuf::from),
    }
}

/// A program that was built together with this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("there is no {}: `make vm-test` builds it", path.display());
    }
    Ok(path)
}

/// An empty directory at `path`, in place of what an earlier run left there.
fn fresh(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}

/// Where logs, pages and disks go.
fn output() -> Result<PathBuf> {
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
