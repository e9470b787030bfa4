//! Who decides what a running system boots.

use crate::contract::{Origin, OriginError};

/// The program that decides what a system boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// bootc.
    Bootc,
    /// rpm-ostree.
    RpmOstree,
    /// Nobody but libostree.
    Ostree,
}

/// What is known of a system.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The origin of what runs.
    pub origin: &'a Origin,
    /// Is there a program `bootc`?
    pub bootc: bool,
    /// Is there a program `rpm-ostree`?
    pub rpm_ostree: bool,
}

/// Why a system has no owner.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// Whoever made it is gone.
    #[error(
        "the deployment that runs is changed by rpm-ostree, which is not here to keep the changes; \
         `import-oci deploy` deploys without them"
    )]
    ChangesWithoutRpmOstree,
    /// Its origin cannot be read.
    #[error("the origin of the deployment that runs: {0}")]
    Origin(#[from] OriginError),
}

/// The owner: bootc of an image that rpm-ostree did not change, as bootc leaves all else alone;
/// rpm-ostree of everything where it is; else nobody.
///
/// # Errors
/// Nobody can keep what makes the system more than an image.
pub fn owner(facts: &Facts<'_>) -> Result<Owner, OwnerError> {
    let changed = facts.origin.is_changed_by_rpm_ostree();
    let of_image = facts.origin.image_text()?.is_some();
    match (facts.bootc && of_image && !changed, facts.rpm_ostree) {
        (true, _) => Ok(Owner::Bootc),
        (false, true) => Ok(Owner::RpmOstree),
        (false, false) if changed => Err(OwnerError::ChangesWithoutRpmOstree),
        (false, false) => Ok(Owner::Ostree),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str =
        "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/x/y:z\n";
    const REF: &str = "[origin]\nrefspec=fedora:fedora/stable\n";

    #[test]
    fn owners() {
        let changed = format!("{IMAGE}[packages]\nrequested=vim;\n");
        for (origin, bootc, rpm_ostree, expected) in [
            (IMAGE, true, false, Ok(Owner::Bootc)),
            (IMAGE, true, true, Ok(Owner::Bootc)),
            (IMAGE, false, true, Ok(Owner::RpmOstree)),
            (IMAGE, false, false, Ok(Owner::Ostree)),
            (&changed, true, true, Ok(Owner::RpmOstree)),
            (
                &changed,
                true,
                false,
                Err(OwnerError::ChangesWithoutRpmOstree),
            ),
            (
                &changed,
                false,
                false,
                Err(OwnerError::ChangesWithoutRpmOstree),
            ),
            (REF, true, true, Ok(Owner::RpmOstree)),
            (REF, true, false, Ok(Owner::Ostree)),
            (REF, false, false, Ok(Owner::Ostree)),
        ] {
            let origin = &Origin::parse(origin).unwrap();
            let facts = Facts {
                origin,
                bootc,
                rpm_ostree,
            };
            assert_eq!(owner(&facts), expected, "{facts:?}");
        }
    }
}
