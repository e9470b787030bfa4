//! The trust put in images: containers-policy.json(5), as far as we have to understand it. Whether
//! a signature is the one asked for is always skopeo's judgement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::options::Surroundings;
use super::{FetchOptions, manifest};
use crate::contract::{OstreeImageReference, SignatureSource, Transport};

/// A policy and where it lies.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// The file, which skopeo is given.
    pub(super) file: PathBuf,
    rules: Rules,
}

/// The requirements of a policy; scopes are names of images or their beginnings.
#[derive(Debug, Clone, Deserialize)]
struct Rules {
    default: Vec<Requirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Requirement {
    #[serde(rename = "type")]
    kind: String,
}

impl Policy {
    /// Reads the policy for `reference`.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read: nothing is fetched then, as skopeo and podman have it.
    /// The reference asks for a signature, and the policy accepts anything by default, with which
    /// ostree-ext refuses such references too.
    pub(super) fn read(reference: &OstreeImageReference, options: &FetchOptions) -> Result<Self> {
        let file = Surroundings::of_process(|around| options.policy_file(around)).context(
            "there is no policy.json, without which no image is fetched; the package of \
             containers-common has one, --signature-policy names another",
        )?;
        let policy = Self::read_file(&file).with_context(|| file.display().to_string())?;
        ensure!(
            reference.sigverify != SignatureSource::ContainerPolicy
                || !accept_anything(&policy.rules.default),
            "ostree-image-signed: asks for a signature, and the default of {} is \
             insecureAcceptAnything; let the default be reject and name there who signs which \
             images (containers-policy.json(5)), or give ostree-unverified-image:{}",
            file.display(),
            reference.imgref
        );
        Ok(policy)
    }

    fn read_file(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file)?;
        Ok(Self {
            file: file.to_owned(),
            rules: manifest::parse_json(&bytes)?,
        })
    }

    /// Might an image of `transport` be refused?
    pub(super) fn asks_of(&self, transport: Transport) -> bool {
        self.rules.ask_of(match transport {
            Transport::Registry => "docker",
            other => other.serializable_name(),
        })
    }
}

impl Rules {
    fn ask_of(&self, transport: &str) -> bool {
        let scopes = self.transports.get(transport);
        let scopes = scopes.into_iter().flat_map(BTreeMap::values);
        !scopes
            .chain([&self.default])
            .all(|requirements| accept_anything(requirements))
    }
}

fn accept_anything(requirements: &[Requirement]) -> bool {
    let accepts = |requirement: &Requirement| requirement.kind == "insecureAcceptAnything";
    !requirements.is_empty() && requirements.iter().all(accepts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYTHING: &str = r#"[{"type": "insecureAcceptAnything"}]"#;
    const REJECT: &str = r#"[{"type": "reject"}]"#;
    const SIGNED: &str = r#"[{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]"#;

    #[test]
    fn what_a_policy_asks() {
        for (default, transports, docker, storage) in [
            (ANYTHING, String::new(), false, false),
            (REJECT, String::new(), true, true),
            (SIGNED, String::new(), true, true),
            ("[]", String::new(), true, true),
            (
                ANYTHING,
                format!(r#""docker": {{"registry.example": {SIGNED}}}"#),
                true,
                false,
            ),
            (
                ANYTHING,
                format!(r#""containers-storage": {{"": {ANYTHING}, "x": {REJECT}}}"#),
                false,
                true,
            ),
            // Images that no scope names fall to the default.
            (
                REJECT,
                format!(r#""docker": {{"registry.example": {ANYTHING}}}"#),
                true,
                true,
            ),
        ] {
            let text = format!(r#"{{"default": {default}, "transports": {{{transports}}}}}"#);
            let rules: Rules = serde_json::from_str(&text).unwrap();
            assert_eq!(rules.ask_of("docker"), docker, "{text}");
            assert_eq!(rules.ask_of("containers-storage"), storage, "{text}");
        }
    }

    fn read(reference: &str, policy: &str) -> Result<Policy> {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("policy.json");
        std::fs::write(&file, policy).unwrap();
        let options = FetchOptions {
            signature_policy: Some(file),
            ..FetchOptions::default()
        };
        Policy::read(&reference.parse().unwrap(), &options)
    }

    #[test]
    fn refuses_a_policy_that_accepts_anything() {
        let open = format!(r#"{{"default": {ANYTHING}}}"#);
        let closed = format!(r#"{{"default": {REJECT}}}"#);
        for (reference, policy, reason) in [
            ("ostree-unverified-registry:x", &open, ""),
            ("ostree-image-signed:docker://x", &closed, ""),
            (
                "ostree-image-signed:docker://x",
                &open,
                "or give ostree-unverified-image:docker://x",
            ),
            (
                "ostree-unverified-registry:x",
                &"{}".to_owned(),
                "policy.json: malformed JSON",
            ),
        ] {
            let got = read(reference, policy).map_or_else(|e| format!("{e:#}"), |_| String::new());
            assert_eq!(got.is_empty(), reason.is_empty(), "{reference}: {got}");
            assert!(got.contains(reason), "{reference}: {got}");
        }
    }
}
