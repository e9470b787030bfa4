//! The initramfs must find the deployment: it holds `ostree-prepare-root` and its unit.

use anyhow::{Context as _, Result};

use super::{Fixup, Image, find_kernel};
use crate::initramfs::{CONFIGURATIONS, Contents, Settings, inspect};
use crate::path::ImagePath;
use crate::report::Report;
use crate::tree::Content;

/// What is asked of the initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Initramfs {
    /// It must be able to boot a deployment.
    #[default]
    Check,
    /// It is taken as it is.
    Keep,
    /// The image's own dracut makes it anew.
    Regenerate,
}

/// The initramfs must find the deployment: it holds `ostree-prepare-root` and its unit. Where it is
/// made anew the new one is checked instead.
#[derive(Debug)]
pub struct CheckInitramfs;

impl Fixup for CheckInitramfs {
    fn name(&self) -> &'static str {
        "initramfs"
    }

    fn summary(&self) -> &'static str {
        "check that the initramfs can boot a deployment"
    }

    fn reason(&self) -> &'static str {
        "Without ostree-prepare-root in it the system stops before it has found its root."
    }

    fn options(&self) -> &'static [&'static str] {
        &["--initramfs=check (default), keep or regenerate"]
    }

    fn after(&self) -> &'static [&'static str] {
        &["kernel"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        if image.options.no_kernel || image.options.initramfs != Initramfs::Check {
            return Ok(());
        }
        let Some(version) = find_kernel(&image.tree)? else {
            return Ok(());
        };
        let path = initramfs_path(&version);
        let Some(id) = image.tree.lookup(&path) else {
            return Ok(());
        };
        let Content::File { body, .. } = image.tree.inode(id).content else {
            report.fatal(self.name(), &path, "not a regular file", TO_MAKE_ANEW);
            return Ok(());
        };
        match inspect(image.bodies.reader(body)) {
            Ok(contents) => self.judge(image, &path, &contents, report),
            Err(error) => {
                let reason = format!("the initramfs cannot be read: {error}");
                let fix = format!("{TO_MAKE_ANEW}; --initramfs=keep takes it as it is");
                report.fatal(self.name(), &path, reason, fix);
                Ok(())
            }
        }
    }
}

const TO_MAKE_ANEW: &str = "--initramfs=regenerate makes it anew with the image's dracut";

impl CheckInitramfs {
    fn judge(
        &self,
        image: &Image,
        path: &ImagePath,
        contents: &Contents,
        report: &mut Report,
    ) -> Result<()> {
        let missing = contents.missing();
        if !missing.is_empty() {
            report.fatal(self.name(), path, lacks(&missing), how_to_add(image));
            return Ok(());
        }
        let of_tree = settings_of_tree(image)?;
        if contents.settings != of_tree {
            let says = |settings: &Option<Settings>| match settings {
                Some(settings) => format!("says {settings}"),
                None => "is missing".to_owned(),
            };
            let reason = format!(
                "prepare-root.conf in the initramfs {}, that of the image {}: the one decides at boot, the other when a deployment is made",
                says(&contents.settings),
                says(&of_tree)
            );
            report.advise(self.name(), path, reason, TO_MAKE_ANEW);
        }
        Ok(())
    }
}

/// Where the initramfs of a kernel lies.
pub fn initramfs_path(version: &str) -> ImagePath {
    ["usr", "lib", "modules", version, "initramfs.img"]
        .iter()
        .fold(ImagePath::root(), |path, name| path.join(name.as_bytes()))
}

/// What to say of an initramfs without what a deployment needs.
pub fn lacks(missing: &[&str]) -> String {
    format!(
        "the initramfs has no /{}: it finds no deployment",
        missing.join(" and no /")
    )
}

/// How such an initramfs gets it, in an image with this generator.
fn how_to_add(image: &Image) -> String {
    let has = |path: &str| {
        let path = ImagePath::parse(path.as_bytes()).expect("a path of ours");
        matches!(image.tree.resolve(&path), Ok(Some(_)))
    };
    match has("usr/bin/dracut") {
        true => format!(
            "in the image write add_dracutmodules+=\" ostree \" to /etc/dracut.conf.d/ostree.conf and run dracut; or {TO_MAKE_ANEW}"
        ),
        false => "install dracut and its ostree module (ostree-boot on Debian, ostree on Fedora) in place of the image's own generator; then --initramfs=regenerate makes it anew".to_owned(),
    }
}

/// What the tree's own `prepare-root.conf` says, the one in `/etc` before the other.
fn settings_of_tree(image: &Image) -> Result<Option<Settings>> {
    const LARGEST: u64 = 1 << 20;
    let [usr, etc] =
        CONFIGURATIONS.map(|p| ImagePath::parse(p.as_bytes()).expect("a path of ours"));
    let usr_etc = etc
        .components()
        .fold(ImagePath::root().join(b"usr"), |path, name| path.join(name));
    for path in [etc, usr_etc, usr] {
        if let Ok(Some((_, id))) = image.tree.resolve(&path)
            && let Content::File { body, .. } = image.tree.inode(id).content
        {
            let text = image
                .bodies
                .read(body, LARGEST)
                .with_context(|| path.to_string())?;
            return Ok(Some(Settings::parse(&text)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::FixupOptions;
    use super::super::testing::run;
    use super::*;
    use crate::packages::Packages;
    use crate::testing::Layers;

    /// A `newc` archive of these files.
    fn cpio(files: &[(&str, &str)]) -> String {
        let mut archive = String::new();
        for (name, content) in files.iter().chain([&("TRAILER!!!", "")]) {
            let numbers = [
                1,
                0o100644,
                0,
                0,
                1,
                0,
                content.len(),
                0,
                0,
                0,
                0,
                name.len() + 1,
                0,
            ];
            archive += "070701";
            archive.extend(numbers.map(|number| format!("{number:08x}")));
            archive += name;
            archive += "\0";
            archive += &"\0".repeat((4 - archive.len() % 4) % 4);
            archive += content;
            archive += &"\0".repeat((4 - archive.len() % 4) % 4);
        }
        archive
    }

    const PROGRAM: (&str, &str) = ("usr/lib/ostree/ostree-prepare-root", "ELF");
    const UNIT: (&str, &str) = (
        "usr/lib/systemd/system/ostree-prepare-root.service",
        "[Unit]",
    );
    const CONFIGURED: (&str, &str) = ("usr/lib/ostree/prepare-root.conf", COMPOSEFS);
    const COMPOSEFS: &str = "[composefs]\nenabled=yes\n";

    fn image(initramfs: &str) -> Layers {
        Layers::new()
            .file("usr/lib/modules/6.1/vmlinuz", "")
            .file("usr/lib/modules/6.1/initramfs.img", initramfs)
    }

    /// Reason and fix of the one note of an image, if there is any.
    fn note(layers: Layers, options: FixupOptions) -> Option<String> {
        let (tree, bodies) = layers.merge();
        let mut image = Image {
            tree,
            bodies,
            packages: Packages::default(),
            options,
        };
        let mut report = Report::default();
        CheckInitramfs.apply(&mut image, &mut report).unwrap();
        let [note] = report.notes() else {
            assert!(report.notes().is_empty());
            return None;
        };
        assert_eq!(note.path, initramfs_path("6.1"));
        Some(format!(
            "{}: {} ({})",
            note.action,
            note.detail,
            note.fix.as_ref()?
        ))
    }

    #[test]
    fn finds_what_boots_and_what_does_not() {
        let good = || image(&cpio(&[PROGRAM, UNIT]));
        let configured = || image(&cpio(&[PROGRAM, UNIT, CONFIGURED]));
        let conf = "usr/lib/ostree/prepare-root.conf";
        for (layers, want) in [
            (good(), &[][..]),
            (
                configured().file(conf, "# a comment\n[composefs]\nenabled = yes"),
                &[],
            ),
            (
                configured().file("etc/ostree/prepare-root.conf", COMPOSEFS),
                &[],
            ),
            (
                configured().file("usr/etc/ostree/prepare-root.conf", COMPOSEFS),
                &[],
            ),
            (Layers::new(), &[]),
            (Layers::new().file("usr/lib/modules/6.1/vmlinuz", ""), &[]),
            (
                image(&cpio(&[PROGRAM])),
                &[
                    "fatal: ",
                    "no /usr/lib/systemd/system/ostree-prepare-root.service",
                    "install dracut",
                ],
            ),
            (
                image(&cpio(&[UNIT, ("init", "")])).file("usr/bin/dracut", ""),
                &[
                    "fatal: ",
                    "no /usr/lib/ostree/ostree-prepare-root:",
                    "add_dracutmodules+=\" ostree \"",
                ],
            ),
            (
                image(""),
                &[
                    "fatal: ",
                    "cannot be read: it is empty",
                    "regenerate",
                    "keep",
                ],
            ),
            (
                image("BZh91AY&SY"),
                &["fatal: ", "compressed with bzip2", "keep"],
            ),
            (
                Layers::new()
                    .file("usr/lib/modules/6.1/vmlinuz", "")
                    .symlink("usr/lib/modules/6.1/initramfs.img", "nowhere"),
                &["fatal: ", "not a regular file"],
            ),
            (
                configured(),
                &[
                    "warning: ",
                    "initramfs says composefs.enabled=yes",
                    "image is missing",
                    "regenerate",
                ],
            ),
            (
                configured().file(conf, "[sysroot]\nreadonly=true"),
                &[
                    "warning: ",
                    "enabled=yes",
                    "image says sysroot.readonly=true",
                ],
            ),
            (
                good().file(conf, COMPOSEFS),
                &["warning: ", "initramfs is missing"],
            ),
        ] {
            let found = note(layers, FixupOptions::default());
            let text = found.as_deref().unwrap_or_default();
            let matches = found.is_none() == want.is_empty();
            assert!(
                matches && want.iter().all(|part| text.contains(part)),
                "{found:?}: {want:?}"
            );
        }
    }

    #[test]
    fn nothing_is_asked_where_nothing_is_wanted() {
        for (initramfs, no_kernel) in [
            (Initramfs::Keep, false),
            (Initramfs::Regenerate, false),
            (Initramfs::Check, true),
        ] {
            let options = FixupOptions {
                initramfs,
                no_kernel,
                ..FixupOptions::default()
            };
            assert_eq!(note(image(""), options), None);
        }
    }

    #[test]
    fn nothing_is_changed() {
        let (tree, notes) =
            run(&CheckInitramfs, image("no cpio"), FixupOptions::default()).unwrap();
        assert_eq!(
            tree[4],
            "/usr/lib/modules/6.1/initramfs.img 644 \"no cpio\""
        );
        assert_eq!(notes, ["fatal /usr/lib/modules/6.1/initramfs.img"]);
    }
}
