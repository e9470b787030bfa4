//! Images, how they are named, and how they are fetched.

pub mod deploy;
mod diff;
mod fetch;
pub mod store;

pub use diff::ManifestDiff;
pub use fetch::{
    fetch_manifest, fetch_manifest_and_config, merge_default_container_proxy_opts,
    merge_default_container_proxy_opts_with_isolation,
};
pub(crate) use fetch::{fetch_options, open};
pub use import_oci::contract::metadata::{LABEL_VERSION, version as version_for_config};
pub use import_oci::contract::{ImageReference, OstreeImageReference, SignatureSource, Transport};
