//! How skopeo is called, and what it says in one line.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use containers_image_proxy::{Error, ImageProxyConfig};

use super::options::{Credentials, Surroundings};
use super::policy::Policy;
use super::{FetchOptions, Platform, ResolvedImage, manifest};
use crate::contract::ImageReference;
use crate::digest::Digest;

/// Everything that skopeo is told on its command line.
#[derive(Debug)]
pub(super) struct Skopeo {
    options: FetchOptions,
    credentials: Credentials,
    pub(super) policy: Policy,
}

impl Skopeo {
    pub(super) fn new(options: FetchOptions, policy: Policy) -> Self {
        Self {
            credentials: Surroundings::of_process(|around| options.credentials(around)),
            options,
            policy,
        }
    }

    /// `skopeo`, and what stands before its verb.
    fn command(&self, platform: &Platform) -> Command {
        let mut command = Command::new("skopeo");
        command.arg("--policy").arg(&self.policy.file);
        command.args(["--override-os", &platform.os]);
        command.args(["--override-arch", &platform.architecture]);
        if let Some(variant) = &platform.variant {
            command.args(["--override-variant", variant]);
        }
        command
    }

    /// A process that hands out images on request. It ends when its socket is closed.
    pub(super) fn proxy(&self, platform: &Platform) -> ImageProxyConfig {
        let mut config = ImageProxyConfig::default();
        config.skopeo_cmd = Some(self.command(platform));
        match &self.credentials {
            Credentials::Anonymous => config.auth_anonymous = true,
            Credentials::File(file) => config.authfile = Some(file.clone()),
            Credentials::Containers => {}
        }
        config.certificate_directory = self.options.certificates.clone();
        config.insecure_skip_tls_verification = Some(self.options.skip_tls_verification);
        config
    }

    /// Lets skopeo judge by the policy whether `image`, of which `resolved` was read, may be used.
    ///
    /// Proxies of skopeo before 1.13 do not look at the policy; `skopeo copy` always has. It copies
    /// to a layout where an empty file stands for every layer, so that no layer is fetched.
    ///
    /// # Errors
    ///
    /// The image is refused, or what was judged is not what was read.
    pub(super) fn judge(
        &self,
        image: &ImageReference,
        platform: &Platform,
        resolved: &ResolvedImage,
    ) -> Result<()> {
        let directory = tempfile::tempdir().context("making a directory for skopeo copy")?;
        let blobs = directory.path().join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        for layer in &resolved.layers {
            fs::write(blobs.join(layer.digest.hex()), b"")?;
        }
        let digest = directory.path().join("digest");
        let mut command = self.command(platform);
        command.args(["copy", "--quiet", "--remove-signatures", "--digestfile"]);
        command.arg(&digest);
        match &self.credentials {
            Credentials::Anonymous => command.arg("--src-no-creds"),
            Credentials::File(file) => command.arg("--src-authfile").arg(file),
            Credentials::Containers => &mut command,
        };
        if let Some(certificates) = &self.options.certificates {
            command.arg("--src-cert-dir").arg(certificates);
        }
        if self.options.skip_tls_verification {
            command.arg("--src-tls-verify=false");
        }
        command.arg(image.to_string());
        command.arg(format!("oci:{}:judged", directory.path().display()));
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| told(&Error::SkopeoSpawnError(error)))?;
        if !output.status.success() {
            bail!("skopeo: {}", last_words(&output.stderr));
        }
        let judged: Digest = fs::read_to_string(digest)?.trim().parse()?;
        let read = Digest::of(&resolved.manifest_bytes);
        ensure!(
            judged == read,
            "the policy was asked about the manifest {judged}, and {read} had been read: the image \
             has changed meanwhile; try again"
        );
        Ok(())
    }
}

/// What went wrong with a proxy, in one line with its way out.
pub(super) fn told(error: &Error) -> anyhow::Error {
    match error {
        Error::SkopeoSpawnError(error) if error.kind() == io::ErrorKind::NotFound => {
            anyhow::anyhow!(
                "skopeo is not installed, through which registries and containers-storage are \
                 read; install the package skopeo, 1.9.3 or later"
            )
        }
        Error::RequestInitiationFailure { error, .. }
        | Error::RetryableRequestFailure { error, .. } => {
            anyhow::anyhow!("skopeo: {}", one_line(error))
        }
        Error::ProxyTooOld { .. } => {
            anyhow::anyhow!("skopeo is too old; 1.9.3 or later is needed ({error})")
        }
        error => anyhow::anyhow!("skopeo: {}", one_line(&error.to_string())),
    }
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// The message in the last line that skopeo logged.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text
        .lines()
        .next_back()
        .unwrap_or("it failed and said nothing");
    let quoted = line.split_once(" msg=").map(|(_, message)| message);
    let message = quoted.and_then(|quoted| manifest::parse_json(quoted.as_bytes()).ok());
    message.unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_skopeo() {
        for (stderr, want) in [
            (
                "time=\"x\" level=warning msg=\"w\"\ntime=\"x\" level=fatal msg=\"no \\\"y\\\"\"\n",
                "no \"y\"",
            ),
            (
                "time=\"x\" level=fatal msg=short\n",
                "time=\"x\" level=fatal msg=short",
            ),
            ("panic: x\n", "panic: x"),
            ("", "it failed and said nothing"),
        ] {
            assert_eq!(last_words(stderr.as_bytes()), want);
        }
    }

    #[test]
    fn errors_are_one_line() {
        let failure = Error::RequestInitiationFailure {
            method: "OpenImage".into(),
            error: "pinging registry:\n  refused\n".into(),
        };
        let missing = Error::SkopeoSpawnError(io::ErrorKind::NotFound.into());
        for (error, want) in [
            (failure, "skopeo: pinging registry:; refused"),
            (missing, "install the package skopeo"),
            (Error::Other("a\nb".into()), "skopeo: other error: a; b"),
        ] {
            let text = told(&error).to_string();
            assert!(text.contains(want) && !text.contains('\n'), "{text}");
        }
    }
}
