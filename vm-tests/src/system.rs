//! The systems that are booted: what image each is made of, how it is imported and started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use vm_tests::command::{command, run};
use vm_tests::image::{self, Tagged};

use crate::lab::{fresh, output, sibling};

/// What a user of Debian's SELinux policy starts the kernel with. Debian's kernel would take AppArmor,
/// and the policy comes in permissive mode.
pub const ENFORCING: &[&str] = &[
    "rw",
    "console=ttyS0",
    "security=selinux",
    "selinux=1",
    "enforcing=1",
];

/// One kind of guest.
#[derive(Debug, Clone, Copy)]
pub struct System {
    /// Its name, by which its disk is known and its branches begin.
    pub name: &'static str,
    /// The recipe of its images, a directory of `images`.
    pub recipe: &'static str,
    /// What the recipe starts from.
    pub base: Base,
    /// Options of the import.
    pub import: &'static [&'static str],
    /// Kernel arguments beside the root file system.
    pub arguments: &'static [&'static str],
    /// Is there an SELinux policy, so that an installer labels the disk?
    pub has_policy: bool,
    /// What makes its first deployment.
    pub installer: Installer,
    /// Is our program in the image, with its unit?
    pub has_program: bool,
}

/// What makes the first deployment of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// The image's own ostree, in a chroot.
    Image,
    /// `import-oci deploy`, with the libostree of the host.
    ImportOci,
}

/// What a recipe starts from.
#[derive(Debug, Clone, Copy)]
pub enum Base {
    /// An image that `scripts/image` builds.
    Image(&'static str),
    /// The first release of another system.
    System(&'static System),
    /// The commit of that, encapsulated by ostree-ext.
    Encapsulated(&'static System),
}

impl System {
    /// The branch of a release.
    pub fn branch(&self, release: &str) -> String {
        format!("{}/{release}", self.name)
    }

    /// The image of a release, with the agent, as a source of an import.
    pub fn source(&self, release: &str) -> Result<String> {
        let Tagged { layout, tag } = self.image(release)?;
        Ok(format!("oci:{}:{tag}", layout.display()))
    }

    /// The image of a release, with the agent.
    pub fn image(&self, release: &str) -> Result<Tagged> {
        Ok(Tagged {
            layout: self.images_with_agent()?,
            tag: format!("release-{release}"),
        })
    }

    fn images_with_agent(&self) -> Result<PathBuf> {
        static MADE: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layout) = made.get(self.recipe) {
            return Ok(layout.clone());
        }
        // The agent is built more often than the images, and only added to a copy of them.
        let directory = fresh(&output()?.join("images").join(self.recipe))?;
        let layout = directory.join("layout");
        run(command(["cp", "--recursive", "--reflink=auto"])
            .arg(self.images()?)
            .arg(&layout))?;
        let tree = agent_tree(&directory.join("agent"))?;
        if self.has_program {
            add_program(&tree)?;
        }
        for release in image::releases(&source().join("images").join(self.recipe))? {
            image::add_layer(&layout, &format!("release-{release}"), &tree)?;
        }
        made.insert(self.recipe, layout.clone());
        Ok(layout)
    }

    /// The layout with the images of all releases as they are kept, without the agent.
    fn images(&self) -> Result<PathBuf> {
        let base = match self.base {
            Base::Image(name) => Tagged {
                layout: base_image(name)?,
                tag: "v1".to_owned(),
            },
            Base::System(below) => Tagged {
                layout: below.images()?,
                tag: "release-1".to_owned(),
            },
            Base::Encapsulated(below) => below.encapsulated()?,
        };
        let cache = base.layout.parent().context("images lie in the cache")?;
        let recipe = source().join("images").join(self.recipe);
        image::build(&recipe, &base, cache)
    }

    /// The first release without the agent, imported and made an image again.
    fn encapsulated(&self) -> Result<Tagged> {
        let directory = output()?.join("encapsulated");
        fs::create_dir_all(&directory)?;
        let repo = fresh(&directory.join(self.name).with_extension("repo"))?;
        let image = format!("oci:{}:release-1", self.images()?.display());
        let branch = self.branch("1");
        let mut import = Command::new(sibling("import-oci")?);
        import.arg("--repo").arg(&repo).arg("--init");
        import.args(["--write-ref", &branch]).args(self.import);
        let commit = run(import.args(["--quiet", &image]))?;
        let encapsulated = Tagged {
            layout: directory.join(format!("{}-{commit}", self.name)),
            tag: "v1".to_owned(),
        };
        if !encapsulated.layout.exists() {
            let work = fresh(&directory.join("work"))?;
            run(Command::new(peer()?)
                .arg("encapsulate")
                .arg(&repo)
                .arg(&branch)
                .arg(format!("{}:{}", work.display(), encapsulated.tag)))?;
            fs::rename(&work, &encapsulated.layout)?;
        }
        fs::remove_dir_all(&repo)?;
        Ok(encapsulated)
    }
}

/// What the agent's layer holds.
fn agent_tree(tree: &Path) -> Result<PathBuf> {
    let units = tree.join("usr/lib/systemd/system");
    let wants = units.join("multi-user.target.wants");
    let programs = tree.join("usr/libexec");
    fs::create_dir_all(&wants)?;
    fs::create_dir_all(&programs)?;
    let unit = "guest-agent.service";
    fs::copy(source().join("guest").join(unit), units.join(unit))?;
    std::os::unix::fs::symlink(format!("../{unit}"), wants.join(unit))?;
    fs::copy(sibling("guest-agent")?, programs.join("guest-agent"))?;
    Ok(tree.to_owned())
}

/// Adds what `make install` installs, without symbols: they are most of a program that is not optimised.
fn add_program(tree: &Path) -> Result<()> {
    let programs = tree.join("usr/bin");
    fs::create_dir_all(&programs)?;
    run(command(["strip", "--strip-all", "-o"])
        .arg(programs.join("import-oci"))
        .arg(sibling("import-oci")?))?;
    let units = tree.join("usr/lib/systemd/system");
    let finalize = units.join("ostree-finalize-staged.service.d");
    fs::create_dir_all(&finalize)?;
    let dist = source().join("../dist");
    let unit = "import-oci@.service";
    fs::copy(dist.join(unit), units.join(unit))?;
    let drop_in = "ostree-finalize-staged.conf";
    fs::copy(dist.join(drop_in), finalize.join("import-oci.conf"))?;
    Ok(())
}

/// An image of `tests/images`; the demo image may come from the environment.
fn base_image(name: &str) -> Result<PathBuf> {
    match std::env::var_os("IMPORT_OCI_DEMO_IMAGE") {
        Some(path) if name == "demo" => Ok(path.into()),
        _ => {
            let script = source().join("../scripts/image");
            run(Command::new(script).arg(name)).map(PathBuf::from)
        }
    }
}

/// ostree-ext's side of the tests.
fn peer() -> Result<PathBuf> {
    let target = output()?.parent().map(Path::to_owned);
    let peer = target
        .context("it lies in target")?
        .join("peers/debug/ostree-ext-peer");
    ensure!(
        peer.exists(),
        "there is no {}: `make vm-test` builds it",
        peer.display()
    );
    Ok(peer)
}

/// The directory of this crate.
fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
