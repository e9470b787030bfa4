//! The cases, by name.

mod bookworm;
mod composefs;
mod debian;
mod derived;
mod life;
mod no_policy;
mod owner;
mod trixie;
mod wrecked;

use anyhow::Result;

use crate::lab::Lab;

/// A case: its name, and what it does.
type Case = (&'static str, fn(&Lab) -> Result<()>);

/// All cases. `make test` runs those of trixie, `make vm-test` all.
pub const CASES: &[Case] = &[
    ("trixie_enforcing_cold", trixie::enforcing_cold),
    ("trixie_after_update", trixie::after_update),
    ("var_kept", trixie::var_kept),
    ("no_policy", no_policy::cold),
    ("no_policy_var_kept", no_policy::var_kept),
    ("systemd_boot", no_policy::systemd_boot),
    ("rpm_database", wrecked::rpm),
    ("wrecked", wrecked::wrecked),
    ("derived", derived::derived),
    ("composefs", composefs::composefs),
    ("composefs_var_kept", composefs::var_kept),
    ("bookworm", bookworm::bookworm),
    ("update_inside", life::update_inside),
    ("power_cut", life::power_cut),
    ("rebase_inside", life::rebase_inside),
];
