//! A registry on loopback and the private surroundings of one test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::image::Layout;
use crate::common::{import_oci, not_run, run};

/// Variables by which the machine's owner could tell the tests of another set-up.
const FOREIGN: [&str; 6] = [
    "CONTAINERS_POLICY_JSON",
    "CONTAINERS_REGISTRIES_CONF",
    "REGISTRY_AUTH_FILE",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_CONFIG",
];

/// A directory of a test's own, which is `$HOME` of all that is run in it, with a `policy.json`
/// that accepts anything.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        place.policy(r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        place
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("below the place")).expect("a directory");
        fs::write(&path, text).expect("it can be written");
        path
    }

    /// The place once more, its repo gone.
    pub fn without_repo(self) -> Self {
        fs::remove_dir_all(self.at("repo")).expect("there is a repo");
        self
    }

    /// Replaces the policy of the user.
    pub fn policy(&self, text: &str) {
        self.write(".config/containers/policy.json", text);
    }

    /// Lets `command` run here.
    pub fn here(&self, mut command: Command) -> Command {
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        command
            .env("HOME", self.0.path())
            .env("GNUPGHOME", self.at("gnupg"))
            .env("CONTAINERS_STORAGE_CONF", self.at("storage.conf"))
            .current_dir(self.0.path());
        command
    }

    /// `PROGRAM ARGUMENT…`, run here; what it prints.
    pub fn run(&self, line: &[&str]) -> String {
        let mut command = Command::new(line[0]);
        command.args(&line[1..]);
        run(&mut self.here(command))
    }

    /// `skopeo copy` to or from a registry without TLS.
    pub fn copy(&self, from: &str, to: &str, options: &[&str]) {
        let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        let skopeo = ["skopeo", "copy", "--quiet"];
        self.run(&[&skopeo[..], &tls, options, &[from, to]].concat());
    }

    /// Copies the image of a layout, byte for byte.
    pub fn push(&self, layout: &Layout, to: &str, options: &[&str]) {
        let from = format!("{}:v1", layout.reference());
        self.copy(&from, to, &[&["--preserve-digests"], options].concat());
    }

    /// `import-oci --json SOURCE` of an image that would not boot, with `options`.
    pub fn import(&self, source: &str, options: &[&str]) -> Command {
        let mut command = import_oci();
        command.args(["--init=archive", "--json", "--no-kernel"]);
        command.args(["--initramfs=keep", "--repo"]);
        command.arg(self.at("repo")).args(options).arg(source);
        self.here(command)
    }
}

/// The option for a registry without TLS.
pub const INSECURE: &str = "--insecure-skip-tls-verification";

/// A running registry. It ends with the value.
pub struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`
    pub address: String,
    storage: PathBuf,
}

impl Registry {
    /// Starts one without TLS and without users; `None` where there is none to start.
    pub fn start(place: &Place) -> Option<Self> {
        Self::start_with(place, "", "")
    }

    /// Starts one with more YAML, at the end of its `http` section and of its configuration.
    pub fn start_with(place: &Place, http: &str, more: &str) -> Option<Self> {
        // Whoever takes the port meanwhile fails the test, which then says so.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let storage = place.at("registry");
        let configuration = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: {address}\n{http}\n{more}\n",
            storage.display()
        );
        let configuration = place.write("registry.yml", &configuration);
        let log = fs::File::create(place.at("registry.log")).expect("a log");
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(configuration)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let Ok(process) = started else {
            not_run("docker-registry cannot be started");
            return None;
        };
        let mut registry = Self {
            process,
            address,
            storage,
        };
        registry.wait(&place.at("registry.log"));
        Some(registry)
    }

    fn wait(&mut self, log: &Path) {
        let patience = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&self.address).is_err() {
            let ended = self.process.try_wait().expect("our own child");
            let log = || fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none(), "the registry ended: {}", log());
            assert!(Instant::now() < patience, "nobody listens: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `docker://127.0.0.1:PORT/NAME`
    pub fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    /// The file in which the registry keeps the blob with this digest.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a sha256");
        let blobs = self.storage.join("docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
