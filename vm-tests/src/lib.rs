//! Boots what `import-oci` makes, in virtual machines.
//!
//! ```text
//! image ──► disk ──► machine ──► agent ──► expect ──► page
//! recipe    import,   QEMU        report    judge      keep what was said
//!           deploy
//! ```
//!
//! A case builds an image from a recipe ([`image`]), imports it into the repository of a blank disk and
//! deploys it there ([`disk`]), starts a machine with its kernel ([`machine`]), asks the agent inside
//! for a [`report`], and judges that ([`expect`]). What a judgement needs is decided on plain values,
//! so that unit tests need no machine.

pub mod checked;
pub mod command;
pub mod denial;
pub mod disk;
pub mod esp;
pub mod expect;
pub mod image;
pub mod machine;
pub mod medium;
pub mod page;
pub mod report;
