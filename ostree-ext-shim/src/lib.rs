//! The shape of ostree-ext's API on top of `import-oci`.
//!
//! A program written against [ostree-ext](https://docs.rs/ostree-ext) 0.15 falls back to `import-oci`
//! by one line of its `Cargo.toml`:
//!
//! ```toml
//! ostree-ext = { package = "ostree-ext-shim", version = "0.1" }
//! ```
//!
//! Names and signatures are ostree-ext's; what they do is `import-oci`'s, and nothing is done here.
//! So an image need not be derived from an encapsulated commit, its tree is repaired, every layer is
//! verified, and what cannot boot is refused, asked for or not.
//!
//! | covered | |
//! |---|---|
//! | [`container::store`] | pull, look up, list, copy, remove and clean up images |
//! | [`container::deploy`] | deploy an image, remove those that are not deployed |
//! | [`container`] | references, differences of manifests, fetching a manifest |
//! | [`sysroot`], [`keyfileext`], [`refescape`], [`prelude`] | what programs need around that |
//! | [`cli`] | `ostree container …` |
//! | [`ostree`], [`gio`], [`glib`], [`oci_spec`], [`containers_image_proxy`] | the crates whose types appear in it, in `import-oci`'s versions |
//!
//! Not covered is what makes images of commits (`encapsulate`, `export`, `chunking`, `tar`, detached metadata
//! of images), since `import-oci` goes the other way, and what has nothing to do with images
//! (`diff`, `ima`, `bootabletree`, `container_utils`, `repair`). `unencapsulate` is not covered
//! because the commit inside an image is not what is imported.
//!
//! Futures do their work on a thread of tokio's that may block. Who drops one does not stop it; it
//! ends in its own time.

mod blocking;
pub mod cli;
pub mod container;
pub mod keyfileext;
pub mod sysroot;

pub use containers_image_proxy;
pub use containers_image_proxy::oci_spec;
pub use ostree;
pub use ostree::gio;
pub use ostree::glib;

pub mod prelude {
    //! The traits of the bindings to libostree and GLib.

    pub use ostree::prelude::*;
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
