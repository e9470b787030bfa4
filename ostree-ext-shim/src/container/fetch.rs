//! How images are reached.

use anyhow::{Context as _, Result, ensure};
use containers_image_proxy::ImageProxyConfig;
use import_oci::source::{self, FetchOptions, Platform, ResolvedSource, Source, SourceReference};

use super::OstreeImageReference;
use crate::blocking;
use crate::oci_spec::image::{Digest, ImageConfiguration, ImageManifest};

/// What the configuration of a proxy says, as an import takes it.
///
/// # Errors
/// It says something that an import cannot do.
pub(crate) fn fetch_options(config: ImageProxyConfig) -> Result<FetchOptions> {
    let refused = [
        (
            config.auth_data.is_some(),
            "auth_data",
            "name the file in authfile",
        ),
        (
            config.decryption_keys.is_some(),
            "decryption_keys",
            "copy the image with skopeo first",
        ),
        (
            config.insecure_policy == Some(true),
            "insecure_policy",
            "policy.json is always honoured",
        ),
        (
            config.user_agent_prefix.is_some(),
            "user_agent_prefix",
            "it is skopeo's own",
        ),
        (
            config.skopeo_cmd.is_some(),
            "skopeo_cmd",
            "the skopeo in PATH is run as it is",
        ),
    ];
    for (set, field, instead) in refused {
        ensure!(
            !set,
            "ImageProxyConfig: {field} is not supported; {instead}"
        );
    }
    Ok(FetchOptions {
        authfile: config.authfile,
        anonymous: config.auth_anonymous,
        certificates: config.certificate_directory,
        skip_tls_verification: config.insecure_skip_tls_verification == Some(true),
        signature_policy: None,
    })
}

/// What an import does by itself: it looks up credentials where ostree and podman keep them.
///
/// # Errors
/// None. ostree-ext has some.
pub fn merge_default_container_proxy_opts(config: &mut ImageProxyConfig) -> Result<()> {
    merge_default_container_proxy_opts_with_isolation(config, None)
}

/// The same. skopeo runs as who imports, for all it reads is verified here, whatever user is named.
///
/// # Errors
/// None. ostree-ext has some.
pub fn merge_default_container_proxy_opts_with_isolation(
    _config: &mut ImageProxyConfig,
    _isolation_user: Option<&str>,
) -> Result<()> {
    Ok(())
}

/// Looks at an image for this machine.
///
/// # Errors
/// Those of [`source::open`] and of resolving the image.
pub(crate) fn open(
    image: &OstreeImageReference,
    options: &FetchOptions,
) -> Result<(SourceReference, ResolvedSource)> {
    let (reference, source) = source::open(&image.to_string(), options)?;
    match source {
        Source::Image(source) => {
            let resolved = ResolvedSource::new(source, &Platform::host());
            Ok((reference, resolved.with_context(|| image.to_string())?))
        }
        Source::Root(_) => anyhow::bail!("{image} is no image"),
    }
}

/// Fetches the manifest of an image, and its digest.
///
/// # Errors
/// It cannot be fetched, or is not what its digests say.
pub async fn fetch_manifest(image: &OstreeImageReference) -> Result<(ImageManifest, Digest)> {
    let (manifest, digest, _) = fetch_manifest_and_config(image).await?;
    Ok((manifest, digest))
}

/// Fetches manifest and configuration of an image, and the digest of the manifest.
///
/// # Errors
/// One cannot be fetched, or is not what its digests say.
pub async fn fetch_manifest_and_config(
    image: &OstreeImageReference,
) -> Result<(ImageManifest, Digest, ImageConfiguration)> {
    let image = image.clone();
    blocking::run(move || {
        let (_, source) = open(&image, &FetchOptions::default())?;
        let image = source.image();
        let digest = image.manifest_digest.to_string().parse()?;
        Ok((image.manifest.clone(), digest, image.config.clone()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_refused() {
        let mut config = ImageProxyConfig::default();
        config.authfile = Some("/a".into());
        config.certificate_directory = Some("/c".into());
        config.insecure_skip_tls_verification = Some(true);
        let options = fetch_options(config).unwrap();
        assert_eq!(options.authfile, Some("/a".into()));
        assert_eq!(options.certificates, Some("/c".into()));
        assert!(options.skip_tls_verification && !options.anonymous);

        let mut config = ImageProxyConfig::default();
        config.decryption_keys = Some(vec!["key".to_owned()]);
        let error = fetch_options(config).unwrap_err().to_string();
        assert!(
            error.contains("decryption_keys") && error.contains("skopeo"),
            "{error}"
        );
    }
}
