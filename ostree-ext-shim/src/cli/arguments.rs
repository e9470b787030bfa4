//! The words and options of ostree-ext 0.15.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{parse_base_imgref, parse_imgref};
use crate::container::store::ImageProxyConfig;
use crate::container::{ImageReference, OstreeImageReference};

/// What ostree-ext adds to ostree, done by import-oci.
#[derive(Debug, Parser)]
#[command(
    name = "ostree",
    version,
    after_help = "Not done here: whatever makes images of commits."
)]
pub(super) enum Program {
    /// Images and systems made of them.
    #[command(subcommand)]
    Container(Container),
}

#[derive(Debug, Subcommand)]
pub(super) enum Container {
    /// Images in a repo.
    #[command(subcommand)]
    Image(Image),
    /// Show the digest of an image.
    Info {
        /// The image, with the trust put in it.
        #[arg(value_parser = parse_imgref)]
        imgref: OstreeImageReference,
    },
    /// Compare the layers of two images.
    Compare {
        /// The one image, with the trust put in it.
        #[arg(value_parser = parse_imgref)]
        imgref_old: OstreeImageReference,
        /// The other.
        #[arg(value_parser = parse_imgref)]
        imgref_new: OstreeImageReference,
    },
    #[command(external_subcommand)]
    Elsewhere(Vec<OsString>),
}

/// How an image is reached.
#[derive(Debug, Args)]
pub(super) struct ProxyArgs {
    /// Use no credentials, whatever files there are.
    #[arg(long)]
    auth_anonymous: bool,

    /// File with credentials for registries.
    #[arg(long)]
    authfile: Option<PathBuf>,

    /// Directory with certificates for registries (*.crt, *.cert, *.key).
    #[arg(long)]
    cert_dir: Option<PathBuf>,

    /// Accept registries without TLS or with any certificate.
    #[arg(long)]
    insecure_skip_tls_verification: bool,
}

impl From<ProxyArgs> for ImageProxyConfig {
    fn from(args: ProxyArgs) -> Self {
        let mut config = Self::default();
        config.auth_anonymous = args.auth_anonymous;
        config.authfile = args.authfile;
        config.certificate_directory = args.cert_dir;
        config.insecure_skip_tls_verification = Some(args.insecure_skip_tls_verification);
        config
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Image {
    /// List the images of a repo.
    List {
        /// The repo.
        #[arg(long)]
        repo: PathBuf,
    },
    /// Import an image, or its update.
    Pull {
        /// The repo.
        repo: PathBuf,
        /// The image, with the trust put in it.
        #[arg(value_parser = parse_imgref)]
        imgref: OstreeImageReference,
        #[command(flatten)]
        proxy: ProxyArgs,
        /// Show no progress.
        #[arg(long)]
        quiet: bool,
        /// Import nothing; if there is an update, write its manifest to this file.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Show how the layers of an image were made.
    History {
        /// The repo.
        #[arg(long)]
        repo: PathBuf,
        /// The image.
        #[arg(value_parser = parse_base_imgref)]
        imgref: ImageReference,
    },
    /// Print the manifest of an image.
    Metadata {
        /// The repo.
        #[arg(long)]
        repo: PathBuf,
        /// The image.
        #[arg(value_parser = parse_base_imgref)]
        imgref: ImageReference,
        /// Print the configuration instead.
        #[arg(long)]
        config: bool,
    },
    /// Copy an image with its layers from one repo to another.
    Copy {
        /// The repo that has it.
        #[arg(long)]
        src_repo: PathBuf,
        /// The repo that gets it.
        #[arg(long)]
        dest_repo: PathBuf,
        /// The image, with the trust put in it.
        #[arg(value_parser = parse_imgref)]
        imgref: OstreeImageReference,
    },
    /// Remove images, and the layers that nothing needs any more.
    Remove {
        /// The repo.
        #[arg(long)]
        repo: PathBuf,
        /// The images.
        #[arg(value_parser = parse_base_imgref)]
        imgrefs: Vec<ImageReference>,
        /// Keep the layers.
        #[arg(long)]
        skip_gc: bool,
    },
    /// Remove the refs of layers that nothing needs.
    PruneLayers {
        /// The repo.
        #[arg(long)]
        repo: PathBuf,
    },
    /// Remove the images that no deployment has, imported by whomever.
    PruneImages {
        /// The physical root of the system.
        #[arg(long)]
        sysroot: PathBuf,
        /// Remove the refs of their layers, too.
        #[arg(long)]
        and_layers: bool,
        /// Remove the objects of both, too.
        #[arg(long, conflicts_with = "and_layers")]
        full: bool,
    },
    /// Import an image and let it be what boots next.
    Deploy(Box<DeployArgs>),
    #[command(external_subcommand)]
    Elsewhere(Vec<OsString>),
}

#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// The physical root of the system [default: the one that runs].
    #[arg(long)]
    pub sysroot: Option<PathBuf>,

    /// The stateroot [default: that of what runs, else `default`].
    #[arg(long)]
    pub stateroot: Option<String>,

    /// The image, with the trust put in it.
    #[arg(long, required_unless_present = "image", conflicts_with = "image", value_parser = parse_imgref)]
    pub imgref: Option<OstreeImageReference>,

    /// The image, as its transport names it.
    #[arg(long)]
    pub image: Option<String>,

    /// The transport of --image [default: registry].
    #[arg(long)]
    pub transport: Option<String>,

    /// The default, which this says.
    #[arg(long, conflicts_with = "enforce_container_sigpolicy")]
    no_signature_verification: bool,

    /// Ask for a policy.json that does not accept everything.
    #[arg(long)]
    pub enforce_container_sigpolicy: bool,

    /// Verify by the keys of an ostree remote, which is not done here.
    #[arg(long)]
    pub ostree_remote: Option<String>,

    #[command(flatten)]
    pub proxy: ProxyArgs,

    /// Where updates shall come from, with the trust put in it, if not from this image.
    #[arg(long, value_parser = parse_imgref)]
    pub target_imgref: Option<OstreeImageReference>,

    /// Write no ref by which others take the commit for an image.
    #[arg(long)]
    pub no_imgref: bool,

    /// A kernel argument; may be given several times. All others go.
    #[arg(long)]
    pub karg: Option<Vec<String>>,

    /// Write the checksum of the commit to this file.
    #[arg(long)]
    pub write_commitid_to: Option<PathBuf>,
}

/// Words of ostree-ext that are not done here, and what is done instead.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "commit",
        "leave it out: an import empties what a build leaves in /run, /tmp and /var by itself",
    ),
    ("encapsulate", MAKES_IMAGES),
    ("export", MAKES_IMAGES),
    (
        "unencapsulate",
        "`ostree container image pull` imports an image whatever it was made of",
    ),
    (
        "import",
        "`ostree container image pull` imports an image whatever it was made of",
    ),
    ("reexport", MAKES_IMAGES),
    ("replace-detached-metadata", MAKES_IMAGES),
];

const MAKES_IMAGES: &str = "import-oci makes no images; ostree-ext-cli and rpm-ostree do, and \
                            `skopeo copy` copies one from where it was";

/// What is said of a command that is not done here.
pub(super) fn elsewhere(words: &[OsString]) -> String {
    let word = words.first().map(|word| word.to_string_lossy());
    let word = word.unwrap_or_default();
    match ELSEWHERE.iter().find(|(name, _)| *name == word) {
        Some((_, instead)) => format!("{word} is not done by import-oci: {instead}"),
        None => format!("there is no command {word}; --help lists those there are"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn other_words_are_answered() {
        for (word, part) in [
            ("commit", "leave it out"),
            ("encapsulate", "skopeo copy"),
            ("unencapsulate", "image pull"),
            ("nonsense", "--help"),
        ] {
            let said = elsewhere(&[word.into()]);
            assert!(said.contains(word) && said.contains(part), "{said}");
        }
    }
}
