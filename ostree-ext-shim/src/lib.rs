//! The shape of ostree-ext's API on top of `import-oci`.
//!
//! A program written against [ostree-ext](https://docs.rs/ostree-ext) falls back to `import-oci` by
//! one line of its `Cargo.toml`:
//!
//! ```toml
//! ostree-ext = { package = "ostree-ext-shim", version = "0.1" }
//! ```
//!
//! Names and signatures are ostree-ext's; what they do is `import-oci`'s, and nothing is done here.
//! Errors are typed where ostree-ext's are `anyhow::Error`, into which `?` turns them.

pub mod container {
    //! Images and how they are named.

    pub use import_oci::contract::metadata::{LABEL_VERSION, version as version_for_config};
    pub use import_oci::contract::{
        ImageReference, OstreeImageReference, SignatureSource, Transport,
    };
}

pub mod refescape {
    //! Any text as part of a ref name.

    pub use import_oci::contract::ref_escape::{
        escape_with_prefix as prefix_escape_for_ref, unescape_with_prefix as unprefix_unescape_ref,
    };
}

#[cfg(test)]
mod tests {
    use crate::container::{ImageReference, OstreeImageReference, SignatureSource, Transport};
    use crate::refescape::{prefix_escape_for_ref, unprefix_unescape_ref};

    /// Written as its users write it.
    #[test]
    fn reads_like_ostree_ext() {
        let imgref = OstreeImageReference {
            sigverify: SignatureSource::OstreeRemote("fedora".to_owned()),
            imgref: ImageReference {
                transport: Transport::try_from("registry").unwrap(),
                name: "quay.io/fedora/fedora-bootc:latest".to_owned(),
            },
        };
        let short = "ostree-remote-registry:fedora:quay.io/fedora/fedora-bootc:latest";
        assert_eq!(OstreeImageReference::try_from(short).unwrap(), imgref);
        assert_eq!(short.parse::<OstreeImageReference>().unwrap(), imgref);

        let prefix = "ostree/container/image";
        let name = prefix_escape_for_ref(prefix, &imgref.imgref.to_string()).unwrap();
        let image = unprefix_unescape_ref(prefix, &name).unwrap();
        assert_eq!(
            ImageReference::try_from(image.as_str()).unwrap(),
            imgref.imgref
        );
    }
}
