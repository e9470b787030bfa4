//! With which keys commits are signed.

use std::path::PathBuf;

use clap::Args;

use crate::repo::{KeyFile, SigningKeys};

/// Arguments of an import about signatures, in the words of `ostree commit`.
#[derive(Debug, Args)]
pub struct SigningArgs {
    /// Sign with this key of GnuPG; may be given several times. Signed is a commit of the same
    /// tree, the parent of the one that is the image.
    #[arg(long, value_name = "KEY-ID")]
    gpg_sign: Vec<String>,

    /// The directory where GnuPG has the keys [default: GNUPGHOME, else ~/.gnupg].
    #[arg(long, value_name = "DIR", requires = "gpg_sign")]
    gpg_homedir: Option<PathBuf>,

    /// Sign with the secret key in this file, in base64 as `ostree sign` takes it.
    #[arg(long, value_name = "FILE")]
    sign_from_file: Option<PathBuf>,

    /// Which kind of key that is, of those that libostree was built with.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "ed25519",
        requires = "sign_from_file"
    )]
    sign_type: String,
}

impl SigningArgs {
    /// The keys that were asked for.
    pub fn keys(&self) -> SigningKeys {
        SigningKeys {
            gpg: self.gpg_sign.clone(),
            gpg_homedir: self.gpg_homedir.clone(),
            file: self.sign_from_file.clone().map(|path| KeyFile {
                path,
                kind: self.sign_type.clone(),
            }),
        }
    }
}
