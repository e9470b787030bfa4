//! Signatures of commits, made by libostree with keys of this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use ostree::gio::{self, Cancellable};
use ostree::glib::{Bytes, GString, Variant, VariantDict};
use ostree::prelude::*;

use super::{Repo, Transaction};
use crate::digest::Digest;

/// The keys that a user wants commits to be signed with. None: commits are not signed.
#[derive(Debug, Clone, Default)]
pub struct SigningKeys {
    /// Keys of GnuPG, named as it takes them.
    pub gpg: Vec<String>,
    /// Where GnuPG has them, if not where it has those of the user.
    pub gpg_homedir: Option<PathBuf>,
    /// A secret key in a file.
    pub file: Option<KeyFile>,
}

/// A file with one secret key in base64, as `ostree sign` takes it.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What libostree calls this kind of signature: `ed25519`.
    pub kind: String,
}

/// Keys that were tried and can sign.
#[derive(Debug)]
pub struct Signers(Vec<Signer>);

#[derive(Debug)]
enum Signer {
    Gpg {
        key: String,
        homedir: Option<String>,
        /// The fingerprint of what really signs, which may be a subkey of `key`.
        fingerprint: String,
    },
    /// Signatures of the same commit are the same.
    File(ostree::Sign),
}

impl Signers {
    /// Shall commits stay without a signature?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What keys are tried with.
const TRIAL: &[u8] = b"import-oci";

/// Detached metadata: the signatures of GnuPG (`aay`).
const GPG_SIGNATURES: &str = "ostree.gpgsigs";

/// The fingerprint among the attributes of a signature, `OSTREE_GPG_SIGNATURE_ATTR_FINGERPRINT`.
const FINGERPRINT: usize = 5;

impl Repo {
    /// Tries every key, so that one that cannot sign is refused before there is a commit.
    ///
    /// # Errors
    /// There is no such key, it is of another kind, or libostree was built without this kind.
    pub fn signers(&self, keys: &SigningKeys) -> Result<Signers> {
        let homedir = keys.gpg_homedir.as_deref().map(gpg_homedir).transpose()?;
        let gpg = keys.gpg.iter().map(|key| {
            self.gpg_signer(key, homedir.clone()).with_context(|| {
                format!(
                    "signing with the GnuPG key {key:?}, which is named by its fingerprint \
                     (`gpg --list-secret-keys` has it)"
                )
            })
        });
        let file = keys.file.iter().map(|file| {
            file_signer(file).with_context(|| {
                let (kind, path) = (&file.kind, file.path.display());
                format!("signing with the {kind} key in {path}")
            })
        });
        Ok(Signers(gpg.chain(file).collect::<Result<_>>()?))
    }

    fn gpg_signer(&self, key: &str, homedir: Option<String>) -> Result<Signer> {
        let trial = Bytes::from_static(TRIAL);
        let home = homedir.as_deref();
        let dictionary = self
            .inner
            .gpg_sign_data(&trial, None, &[key], home, Cancellable::NONE)?;
        let dictionary = Variant::from_bytes::<HashMap<String, Variant>>(&dictionary);
        let signature = signatures(Some(&dictionary), GPG_SIGNATURES);
        let fingerprints = self.fingerprints(&trial, &signature)?;
        Ok(Signer::Gpg {
            key: key.to_owned(),
            homedir,
            fingerprint: fingerprints.into_iter().next().context("no signature")?,
        })
    }

    /// Which keys made these signatures of GnuPG, known or not.
    fn fingerprints(&self, data: &Bytes, signatures: &[Vec<u8>]) -> Result<Vec<String>> {
        if signatures.is_empty() {
            return Ok(Vec::new());
        }
        let signatures = Bytes::from_owned(signatures.concat());
        let result = self.inner.gpg_verify_data(
            None,
            data,
            &signatures,
            gio::File::NONE,
            gio::File::NONE,
            Cancellable::NONE,
        )?;
        let fingerprints = (0..result.count_all()).map(|index| {
            let fingerprint = result.all(index).child_value(FINGERPRINT);
            let fingerprint = fingerprint.str().context("a signature has a fingerprint")?;
            Ok(fingerprint.to_owned())
        });
        fingerprints.collect()
    }
}

fn gpg_homedir(path: &Path) -> Result<String> {
    let context = || format!("the directory of GnuPG {}", path.display());
    // GnuPG's agent is another process, in another directory.
    let whole = path.canonicalize().with_context(context)?;
    let text = whole.into_os_string().into_string().ok();
    text.context("the path is not UTF-8").with_context(context)
}

fn file_signer(file: &KeyFile) -> Result<Signer> {
    let text = std::fs::read_to_string(&file.path)?;
    let mut keys = text.split_whitespace();
    let (key, more) = (keys.next(), keys.next());
    ensure!(more.is_none(), "there is more than one key in base64");
    let key = key.context("the file is empty")?;
    let sign = ostree::Sign::by_name(&file.kind).with_context(|| {
        let known: Vec<_> = ostree::Sign::all().iter().map(|sign| sign.name()).collect();
        format!(
            "libostree was built without it and has {}",
            known.join(", ")
        )
    })?;
    sign.set_sk(&key.to_variant())?;
    SignExt::data(&sign, &Bytes::from_static(TRIAL), Cancellable::NONE)?;
    Ok(Signer::File(sign))
}

impl Transaction<'_> {
    /// Signs a commit with every key that has not signed it yet; false: all have. The signatures
    /// are part of the repo before a ref moves.
    ///
    /// # Errors
    /// A key cannot sign any more, or the signature cannot be written.
    pub fn sign(&self, commit: Digest, signers: &Signers) -> Result<bool> {
        let checksum = commit.hex();
        let mut signed = false;
        for signer in &signers.0 {
            signed |= self
                .sign_once(&checksum, signer)
                .with_context(|| format!("signing the commit {checksum}"))?;
        }
        Ok(signed)
    }

    fn sign_once(&self, commit: &str, signer: &Signer) -> Result<bool> {
        let repo = self.ostree();
        let (content, _) = repo.load_commit(commit)?;
        let content = content.data_as_bytes();
        let said = repo.read_commit_detached_metadata(commit, Cancellable::NONE)?;
        let signatures = |key: &str| signatures(said.as_ref(), key);
        match signer {
            Signer::Gpg {
                key,
                homedir,
                fingerprint,
            } => {
                let there = signatures(GPG_SIGNATURES);
                if self
                    .repo()
                    .fingerprints(&content, &there)?
                    .contains(fingerprint)
                {
                    return Ok(false);
                }
                repo.sign_commit(commit, key, homedir.as_deref(), Cancellable::NONE)?;
            }
            Signer::File(sign) => {
                let signature = SignExt::data(sign, &content, Cancellable::NONE)?;
                let key: GString = sign.metadata_key();
                if signatures(&key).iter().any(|there| *there == *signature) {
                    return Ok(false);
                }
                sign.commit(repo, commit, Cancellable::NONE)?;
            }
        }
        Ok(true)
    }
}

/// The signatures below a key of detached metadata.
fn signatures(metadata: Option<&Variant>, key: &str) -> Vec<Vec<u8>> {
    let signatures =
        metadata.and_then(|metadata| VariantDict::new(Some(metadata)).lookup_value(key, None));
    let Some(signatures) = signatures else {
        return Vec::new();
    };
    signatures
        .iter()
        .filter_map(|signature| signature.fixed_array().ok().map(<[u8]>::to_vec))
        .collect()
}
