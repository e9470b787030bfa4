//! Which image of an index: by operating system, architecture and variant.

use std::fmt;

use anyhow::{Result, bail, ensure};
use oci_spec::image::{Descriptor, ImageConfiguration};

use super::Platform;

/// buildx marks provenance and SBOMs, which lie in the index beside the images, by this annotation.
const ATTESTATION: &str = "vnd.docker.reference.type";

impl Platform {
    /// The platform of this program, in Go's words; without a variant.
    pub fn host() -> Self {
        let little = cfg!(target_endian = "little");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if little => "mips64le",
            "mips" if little => "mipsle",
            other => other,
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }

    /// Picks the image for this platform.
    ///
    /// Operating system and architecture must be equal. Of several variants the wanted one is
    /// taken; where it is absent, the most capable that still runs on it, or else the entry
    /// without a variant. Without a wish it is the entry without a variant, or else the only
    /// entry, or else the most capable variant of arm and arm64, as skopeo has it. Of equal
    /// entries the first is taken. Where no entry fits, the only entry without a platform is.
    ///
    /// # Errors
    ///
    /// Nothing fits, or several variants do and none is preferred; both list what there is.
    pub(super) fn choose<'a>(&self, entries: &[&'a Descriptor]) -> Result<&'a Descriptor> {
        let images: Vec<_> = entries.iter().copied().filter(|e| is_image(e)).collect();
        let fitting: Vec<_> = images
            .iter()
            .copied()
            .filter(|entry| {
                entry.platform().as_ref().is_some_and(|platform| {
                    platform.os().to_string() == self.os
                        && platform.architecture().to_string() == self.architecture
                })
            })
            .collect();
        let variants = self.runnable_variants();
        let preferred = variants
            .iter()
            .find_map(|variant| fitting.iter().find(|entry| variant_of(entry) == *variant));
        match (preferred, &self.variant, &fitting[..]) {
            (Some(entry), ..) => return Ok(entry),
            (None, None, [only]) => return Ok(only),
            (None, None, [_, _, ..]) => bail!(
                "which variant for {self} is meant cannot be told; there are {}; \
                 name one with --variant",
                list(&images)
            ),
            _ => {}
        }
        let unnamed: Vec<_> = images.iter().filter(|e| e.platform().is_none()).collect();
        match unnamed[..] {
            [only] => Ok(only),
            _ => bail!(
                "no image for {self}; there are {}; choose with --arch, --os and --variant",
                list(&images)
            ),
        }
    }

    /// Checks that an image was made for this platform.
    pub(super) fn check(&self, config: &ImageConfiguration) -> Result<()> {
        let made_for = Self {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config.variant().clone().filter(|v| !v.is_empty()),
        };
        // Some builders leave these fields empty.
        let fits = |want: &str, have: &str| have.is_empty() || want == have;
        let variant_fits = match (&self.variant, &made_for.variant) {
            (Some(_), Some(have)) => self.runnable_variants().contains(&Some(have)),
            _ => true,
        };
        ensure!(
            fits(&self.os, &made_for.os)
                && fits(&self.architecture, &made_for.architecture)
                && variant_fits,
            "the image is for {made_for}, wanted is {self}; if it is the right one, say so: --os \
             {} --arch {}{}",
            made_for.os,
            made_for.architecture,
            made_for
                .variant
                .as_ref()
                .map(|variant| format!(" --variant {variant}"))
                .unwrap_or_default()
        );
        Ok(())
    }

    /// The variants that run on this platform, the preferred first; `None` is an entry without.
    fn runnable_variants(&self) -> Vec<Option<&str>> {
        let known: &[&str] = match self.architecture.as_str() {
            "arm" => &["v8", "v7", "v6", "v5"],
            "arm64" => &["v8"],
            "amd64" => &["v4", "v3", "v2", "v1"],
            _ => &[],
        };
        let known = known.iter().map(|variant| Some(*variant));
        match self.variant.as_deref() {
            Some(wanted) => {
                let mut runnable: Vec<_> = known.skip_while(|v| *v != Some(wanted)).collect();
                if runnable.is_empty() {
                    runnable.push(Some(wanted));
                }
                runnable.push(None);
                runnable
            }
            // What an amd64 host can run is not known here: only arm has a variant by default.
            None if self.architecture == "amd64" => vec![None, Some("v1")],
            None => std::iter::once(None).chain(known).collect(),
        }
    }
}

impl fmt::Display for Platform {
    /// `linux/arm64/v8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Is this entry of an index an image, not an attestation or artifact about one?
pub(super) fn is_image(entry: &Descriptor) -> bool {
    let attests = entry
        .annotations()
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(ATTESTATION));
    let unknown = entry.platform().as_ref().is_some_and(|platform| {
        platform.os().to_string() == "unknown" && platform.architecture().to_string() == "unknown"
    });
    !attests && !unknown && entry.artifact_type().is_none()
}

fn variant_of(entry: &Descriptor) -> Option<&str> {
    let variant = entry.platform().as_ref()?.variant().as_deref();
    variant.filter(|variant| !variant.is_empty())
}

fn list(entries: &[&Descriptor]) -> String {
    let mut platforms: Vec<_> = entries
        .iter()
        .map(|entry| match entry.platform() {
            Some(platform) => Platform {
                os: platform.os().to_string(),
                architecture: platform.architecture().to_string(),
                variant: variant_of(entry).map(str::to_owned),
            }
            .to_string(),
            None => "one without a platform".to_owned(),
        })
        .collect();
    platforms.dedup();
    match platforms.is_empty() {
        true => "no images at all".to_owned(),
        false => platforms.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::digest::Digest;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
        }
    }

    /// `-` is an entry without a platform, `+` an attestation, `*` an artifact.
    fn entry(text: &str) -> Descriptor {
        let mut entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(text.as_bytes()),
            "size": 1,
        });
        match text {
            "-" => {}
            "+" => {
                entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
                entry["annotations"] = json!({ATTESTATION: "attestation-manifest"});
            }
            "*" => entry["artifactType"] = json!("application/spdx+json"),
            text => {
                let platform = platform(text);
                entry["platform"] = json!({
                    "os": platform.os,
                    "architecture": platform.architecture,
                    "variant": platform.variant,
                });
            }
        }
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn chooses() {
        for (wanted, entries, want) in [
            ("linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"),
            (
                "linux/amd64",
                "+ unknown/unknown linux/amd64",
                "linux/amd64",
            ),
            ("linux/amd64", "windows/amd64 linux/amd64", "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v6 linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v7 linux/arm/v6", "linux/arm/v6"),
            ("linux/arm/v7", "linux/arm/v8 linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64", "linux/amd64/v2 linux/amd64", "linux/amd64"),
            ("linux/amd64", "linux/amd64/v2", "linux/amd64/v2"),
            (
                "linux/amd64/v3",
                "linux/amd64/v4 linux/amd64/v2",
                "linux/amd64/v2",
            ),
            ("linux/amd64", "linux/arm64 -", "-"),
            // Bad wishes.
            (
                "linux/amd64",
                "linux/amd64/v2 linux/amd64/v3",
                "which variant",
            ),
            (
                "linux/arm/v5",
                "linux/arm/v6 linux/arm/v7",
                "no image for linux/arm/v5",
            ),
            (
                "linux/s390x",
                "linux/amd64 linux/arm64/v8 + *",
                "there are linux/amd64, linux/arm64/v8;",
            ),
            ("linux/s390x", "- -", "no image for linux/s390x"),
            ("linux/amd64", "+ unknown/unknown", "no images at all"),
        ] {
            let entries: Vec<_> = entries.split(' ').map(|e| (e, entry(e))).collect();
            let descriptors: Vec<_> = entries.iter().map(|(_, entry)| entry).collect();
            let got = match platform(wanted).choose(&descriptors) {
                Ok(chosen) => entries
                    .iter()
                    .find(|(_, entry)| std::ptr::eq(entry, chosen))
                    .map(|(text, _)| (*text).to_owned())
                    .unwrap(),
                Err(error) => format!("{error:#}"),
            };
            assert!(got.contains(want), "{wanted}: wanted {want}, got {got}");
        }
    }

    #[test]
    fn checks_configurations() {
        for (wanted, made_for, fits) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/amd64", "/", true),
        ] {
            let Platform {
                os,
                architecture,
                variant,
            } = platform(made_for);
            let config = serde_json::from_value(json!({
                "os": os, "architecture": architecture, "variant": variant,
                "rootfs": {"type": "layers", "diff_ids": []},
            }))
            .unwrap();
            let result = platform(wanted).check(&config);
            assert_eq!(result.is_ok(), fits, "{wanted} {made_for}");
            if let Err(error) = result {
                assert!(error.to_string().contains("--arch"), "{error}");
            }
        }
    }

    #[test]
    fn host_speaks_go() {
        let host = Platform::host();
        assert_eq!(host.os, "linux");
        assert!(
            oci_spec::image::Arch::from(host.architecture.as_str())
                == oci_spec::image::Arch::default(),
            "{host}"
        );
    }
}
