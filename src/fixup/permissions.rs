//! Modes, owners and capabilities that packages declare and that layers lost.
//!
//! A layer that a builder made describes the parents of whatever it changes anew, and tools that copy
//! files drop what they may not set. The image's own databases still know better. By default only
//! what was plainly lost is put right: what an author changed on purpose looks otherwise.

mod claims;
mod difference;

use std::io::Read as _;

use anyhow::{Context as _, Result};
use ostree::glib::{Checksum, ChecksumType};

use super::{Fixup, Image};
use crate::bodies::{Bodies, BodyId};
use crate::packages::{ContentDigest, DigestAlgorithm};
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, InodeId};
use claims::Claim;
use difference::Difference;

/// How far the declarations of packages are believed over what an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Repair {
    /// Nothing is repaired, all differences are told.
    Report,
    /// What was plainly lost is repaired, the rest is told.
    #[default]
    Missing,
    /// Every difference is repaired.
    Full,
}

/// Restores what packages declare. Plainly lost is
/// - the mode of a directory that is `0755` now, and set-ID and sticky bits of a file whose other bits
///   are as declared;
/// - an owner or a group other than root where root's is there now;
/// - capabilities where a file has none;
///
/// each of a file only if its content is what the package holds, or is configuration. A file with
/// another content is its author's.
#[derive(Debug)]
pub struct Permissions;

impl Fixup for Permissions {
    fn name(&self) -> &'static str {
        "permissions"
    }

    fn summary(&self) -> &'static str {
        "give files and directories the modes, owners and capabilities that their packages declare"
    }

    fn reason(&self) -> &'static str {
        "Builders reset directory modes, and copies strip file capabilities; programs then fail or secrets lie open."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--repair=missing (default), report or full"]
    }

    fn after(&self) -> &'static [&'static str] {
        &["ostree-base", "xattrs"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        self.tell_unread(image, report);
        let packages = std::mem::take(&mut image.packages.files);
        for claim in claims::of_paths(&image.tree, &packages) {
            self.restore(image, &claim, report)?;
        }
        image.packages.files = packages;
        Ok(())
    }
}

impl Permissions {
    fn tell_unread(&self, image: &Image, report: &mut Report) {
        if let Some((path, form)) = &image.packages.unread {
            let what = format!(
                "the database of RPM packages has the {form} form, which is not read: what \
                 layers lost is not restored"
            );
            let fix = "rpmdb --rebuilddb --define '_db_backend sqlite' in the image";
            report.advise(self.name(), path, what, fix);
        }
        for (path, what) in &image.packages.odd {
            report.note(self.name(), Action::Warning, path, what.clone());
        }
    }

    /// Restores, or tells, what differs at one path.
    fn restore(&self, image: &mut Image, claim: &Claim<'_>, report: &mut Report) -> Result<()> {
        let accounts = &image.packages.accounts;
        let inode = image.tree.inode(claim.inode);
        let found = difference::of(inode, claim, accounts);
        for unknown in &found.unknown {
            let what = format!(
                "package {} declares the {unknown}, which the image does not know",
                claim.package
            );
            let fix = "add the account to the image";
            report.advise(self.name(), &claim.path, what, fix);
        }
        if found.differences.is_empty() || self.is_the_authors(image, claim)? {
            return Ok(());
        }
        let wanted = |difference: &&Difference| match image.options.repair {
            Repair::Report => false,
            Repair::Missing => difference.is_loss,
            Repair::Full => true,
        };
        let (repaired, left): (Vec<_>, Vec<_>) = found
            .differences
            .iter()
            .partition(|difference| wanted(difference));
        let words = |differences: &[&Difference]| {
            let words: Vec<_> = differences.iter().map(ToString::to_string).collect();
            format!(
                "{}, as package {} declares",
                words.join(", "),
                claim.package
            )
        };
        if !repaired.is_empty() {
            report.note(self.name(), Action::Changed, &claim.path, words(&repaired));
        }
        if !left.is_empty() {
            let what = format!("not {}", words(&left));
            let fix = "--repair=full, or change it in the image";
            report.advise(self.name(), &claim.path, what, fix);
        }
        let metadata = &mut image.tree.inode_mut(claim.inode).metadata;
        for difference in repaired {
            difference.value.apply(metadata);
        }
        Ok(())
    }

    /// Has a regular file another content than its package gave it, and is not meant to?
    fn is_the_authors(&self, image: &Image, claim: &Claim<'_>) -> Result<bool> {
        let Content::File { body, .. } = image.tree.inode(claim.inode).content else {
            return Ok(false);
        };
        match claim.digest {
            Some(digest) if !claim.config => {
                let same = has_digest(&image.bodies, body, digest);
                let context = || format!("reading {}", claim.path);
                same.map(|same| !same).with_context(context)
            }
            _ => Ok(false),
        }
    }
}

/// Has a body this digest?
fn has_digest(bodies: &Bodies, body: BodyId, digest: &ContentDigest) -> Result<bool> {
    let algorithm = match digest.algorithm {
        DigestAlgorithm::Md5 => ChecksumType::Md5,
        DigestAlgorithm::Sha1 => ChecksumType::Sha1,
        DigestAlgorithm::Sha256 => ChecksumType::Sha256,
        DigestAlgorithm::Sha384 => ChecksumType::Sha384,
        DigestAlgorithm::Sha512 => ChecksumType::Sha512,
    };
    let mut checksum = Checksum::new(algorithm).context("GLib lacks the algorithm")?;
    let mut reader = bodies.reader(body);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            length => checksum.update(&buffer[..length]),
        }
    }
    Ok(checksum.string().is_some_and(|hex| *hex == *digest.hex))
}

#[cfg(test)]
mod tests;
