//! An initramfs made anew by the image's own dracut, in a sandbox.
//!
//! Not a fixup, because it runs a program. The result depends on the image alone: no host, clock,
//! network, or owner of files gets in, so the same image gives the same initramfs everywhere. It is
//! known from what it was made of ([`inputs`]) whether one that an earlier import made would be
//! the same; then dracut does not run.

mod checkout;
pub mod inputs;
mod sandbox;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::bodies::{Bodies, BodyId};
use crate::digest::{Digest, HashingReader};
use crate::fixup::{initramfs_path, lacks};
use crate::initramfs;
use crate::metadata::Metadata;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, Tree};
use inputs::Inputs;

/// An initramfs that was made before.
pub trait Made {
    /// What it was made of.
    fn inputs(&self) -> Digest;

    /// Reads it.
    fn open(&self) -> Result<Box<dyn Read + '_>>;
}

/// Who did it, in the report.
const BY: &str = "initramfs";

/// Puts an initramfs for the kernel `version` into `tree`: one of `made`, if what it was made of is
/// unchanged, else a new one. Returns what it was made of.
///
/// The image is laid out in a directory of its own in `scratch` for that, which must not be mounted
/// `noexec`.
///
/// # Errors
/// The image has no dracut, it fails, or what it makes finds no deployment.
pub fn regenerate(
    tree: &mut Tree,
    bodies: &mut Bodies,
    version: &str,
    made: &[impl Made],
    scratch: &Path,
    report: &mut Report,
) -> Result<Digest> {
    let path = initramfs_path(version);
    let mut of_tree = Inputs::new(tree, bodies, version)?;
    for made in made {
        // One that cannot be read is none.
        let Ok(contents) = made.open().map(initramfs::inspect)? else {
            continue;
        };
        if of_tree.digest(&contents.paths)? == made.inputs() {
            put(
                tree,
                bodies,
                &path,
                &mut *made.open()?,
                scratch,
                "that of an earlier import, made of the same",
                report,
            )?;
            return Ok(made.inputs());
        }
    }
    ensure_dracut(tree)?;
    let directory = tempfile::Builder::new()
        .prefix("import-oci-root-")
        .tempdir_in(scratch)
        .with_context(|| format!("making a directory in {}", scratch.display()))?;
    let (root, output) = (
        directory.path().join("root"),
        directory.path().join("output"),
    );
    checkout::write(tree, bodies, &path, &root).context("laying out the image for dracut")?;
    std::fs::create_dir(&output).with_context(|| output.display().to_string())?;
    tracing::debug!("laid out for dracut");
    sandbox::run(&root, &output, version)?;
    tracing::debug!("dracut is done");

    let file = output.join(sandbox::OUTPUT);
    let open = || File::open(&file).context("dracut made no initramfs");
    let contents = initramfs::inspect(open()?).context("reading what dracut made")?;
    let missing = contents.missing();
    if !missing.is_empty() {
        bail!(
            "dracut made an initramfs, but {}; install its ostree module (ostree-boot on Debian, ostree on Fedora) in the image",
            lacks(&missing)
        );
    }
    let inputs = of_tree.digest(&contents.paths)?;
    put(
        tree,
        bodies,
        &path,
        &mut open()?,
        scratch,
        "made by the image's dracut",
        report,
    )?;
    Ok(inputs)
}

/// Puts what `content` reads to `path`, if it is not there already.
fn put(
    tree: &mut Tree,
    bodies: &mut Bodies,
    path: &ImagePath,
    content: &mut dyn Read,
    scratch: &Path,
    detail: &str,
    report: &mut Report,
) -> Result<()> {
    let mut hashing = HashingReader::new(content);
    let body = bodies.spool(scratch, &mut hashing)?;
    let (digest, size) = hashing.finish();
    let inode = Inode {
        metadata: Metadata {
            mode: 0o644,
            ..Metadata::default()
        },
        content: Content::File { body, size },
    };
    let there = tree.lookup(path).map(|id| &tree.inode(id).content);
    let action = match there {
        Some(&Content::File { body, .. }) if digest_of(bodies, body)? == digest => return Ok(()),
        Some(_) => Action::Changed,
        None => Action::Added,
    };
    tree.insert(path, inode)?;
    report.note(BY, action, path, detail);
    Ok(())
}

fn digest_of(bodies: &Bodies, body: BodyId) -> Result<Digest> {
    let mut reader = HashingReader::new(bodies.reader(body));
    io::copy(&mut reader, &mut io::sink())?;
    Ok(reader.finish().0)
}

/// Is there a dracut to run?
fn ensure_dracut(tree: &Tree) -> Result<()> {
    let has = |path: &str| {
        let path = ImagePath::parse(path.as_bytes()).expect("a path of ours");
        matches!(tree.resolve(&path), Ok(Some(_)))
    };
    if has(inputs::DRACUT) {
        return Ok(());
    }
    let other = [
        "usr/sbin/mkinitramfs",
        "usr/bin/mkinitcpio",
        "usr/bin/booster",
    ]
    .into_iter()
    .find(|path| has(path));
    let instead = other.map_or_else(String::new, |path| {
        format!("; its /{path} makes none that finds a deployment")
    });
    bail!(
        "--initramfs=regenerate runs the image's dracut, which the image lacks{instead}: install dracut and its ostree module, or let the image bring an initramfs with ostree-prepare-root and import it with --initramfs=check"
    )
}
