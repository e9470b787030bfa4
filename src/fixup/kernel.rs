//! The kernel and its initramfs, where ostree looks for them.

mod boot;
mod find;
#[cfg(test)]
mod tests;

use std::io;

use anyhow::{Context as _, Result};

use super::{Fixup, Image, Initramfs};
use crate::digest::{Digest, HashingReader};
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, InodeId};
use find::{BootFile, Role, Survey};

pub use find::find_kernel;

/// The kernel and its initramfs, where ostree looks for them.
#[derive(Debug)]
pub struct Kernel;

impl Fixup for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn summary(&self) -> &'static str {
        "move the kernel and its initramfs to /usr/lib/modules/VERSION, and empty /boot"
    }

    fn reason(&self) -> &'static str {
        "ostree boots what lies in /usr/lib/modules; what an image has in /boot is never seen."
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "--kernel=VERSION chooses one of several",
            "--no-kernel",
            "--allow-no-initramfs",
        ]
    }

    fn after(&self) -> &'static [&'static str] {
        &["special-files", "permissions"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let survey = find::survey(&image.tree, &image.bodies)?;
        let chosen = match (image.options.no_kernel, choose(image, &survey)) {
            (true, _) => None,
            (false, Ok(version)) => Some(version),
            (false, Err((reason, fix))) => {
                report.fatal(self.name(), &find::modules(), reason, fix);
                return Ok(());
            }
        };
        if let Some(version) = &chosen {
            let of_chosen = |file: &&BootFile| file.version == *version;
            for file in survey.files.iter().filter(of_chosen) {
                self.place(image, &file.path, version, file.role, report)?;
            }
            self.settle_initramfs(image, version, report)?;
            self.drop_others(image, &survey, version, report);
        }
        self.empty_boot(image, &survey, chosen.as_deref(), report)
    }
}

/// The kernel to keep; else why there is none and what to do.
fn choose(image: &Image, survey: &Survey) -> Result<String, (String, String)> {
    let kernels: Vec<_> = survey.kernels().into_iter().collect();
    let list = kernels.join(", ");
    match (&image.options.kernel, &kernels[..]) {
        (_, []) => Err((
            format!("no kernel{}", what_else(image, survey)),
            "install a kernel in the image; --no-kernel imports one that does not boot".to_owned(),
        )),
        (Some(wanted), _) if kernels.contains(&wanted.as_str()) => Ok(wanted.clone()),
        (Some(wanted), _) => Err((
            format!("no kernel {wanted}; found {list}"),
            format!("--kernel with one of {list}"),
        )),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err((
            format!("{} kernels: {list}", kernels.len()),
            format!(
                "--kernel={}, or remove all but one from the image",
                kernels.join(" or --kernel=")
            ),
        )),
    }
}

/// What was found where there is no kernel.
fn what_else(image: &Image, survey: &Survey) -> String {
    let mut text = " in /boot nor in /usr/lib/modules/VERSION/vmlinuz".to_owned();
    if !survey.modules.is_empty() {
        let versions: Vec<_> = survey.modules.keys().map(String::as_str).collect();
        text += &format!("; there are modules of {}", versions.join(", "));
    }
    let lib = ImagePath::root().join(b"lib").join(b"modules");
    if find::children(&image.tree, &lib).next().is_some() {
        text += &format!("; {lib} is not looked at, because /lib is no link to usr/lib");
    }
    for (path, why) in &survey.spare {
        if path
            .file_name()
            .is_some_and(|name| name.starts_with(b"vmlinu"))
        {
            text += &format!("; {path} is {why}");
        }
    }
    text
}

impl Kernel {
    /// Moves `from` to the place beside the modules of `version` that it has by `role`; what is
    /// there already stays.
    fn place(
        &self,
        image: &mut Image,
        from: &ImagePath,
        version: &str,
        role: Role,
        report: &mut Report,
    ) -> Result<()> {
        let to = find::modules()
            .join(version.as_bytes())
            .join(role.name().as_bytes());
        let id = image.tree.lookup(from).expect("it was found");
        let there = image.tree.lookup(&to);
        let there =
            there.filter(|&id| !matches!(image.tree.inode(id).content, Content::Symlink(_)));
        match there {
            None => {
                image.tree.link(&to, id)?;
                report.note(self.name(), Action::Moved, from, format!("to {to}"));
            }
            Some(there) => {
                let detail = match same_content(image, id, there)? {
                    true => format!("{to} is the same"),
                    false => format!("{to} is there already, and another"),
                };
                report.note(self.name(), Action::Dropped, from, detail);
            }
        }
        self.remove(image, from, report);
        Ok(())
    }

    /// Removes `path` and the directories that are empty for that, but for those at the top.
    fn remove(&self, image: &mut Image, path: &ImagePath, report: &mut Report) {
        image.tree.remove(path);
        let mut above = path.parent();
        while let Some(directory) = above
            && !find::boot_directories().contains(&directory)
            && find::children(&image.tree, &directory).next().is_none()
        {
            image.tree.remove(&directory);
            report.note(self.name(), Action::Dropped, &directory, "empty now");
            above = directory.parent();
        }
    }

    /// Gives the initramfs its name, mode and owner.
    fn settle_initramfs(
        &self,
        image: &mut Image,
        version: &str,
        report: &mut Report,
    ) -> Result<()> {
        let directory = find::modules().join(version.as_bytes());
        let path = directory.join(Role::Initramfs.name().as_bytes());
        // The names that libostree and kernel-install(8) know besides.
        for name in [&b"initramfs"[..], b"initrd"] {
            let other = directory.join(name);
            if image.tree.lookup(&other).is_some() {
                self.place(image, &other, version, Role::Initramfs, report)?;
            }
        }
        let Some(id) = image.tree.lookup(&path) else {
            let options = &image.options;
            if !options.allow_no_initramfs && options.initramfs != Initramfs::Regenerate {
                report.fatal(
                    self.name(),
                    &path,
                    format!("the kernel {version} has no initramfs"),
                    "--initramfs=regenerate makes one; --allow-no-initramfs imports the image without",
                );
            }
            return Ok(());
        };
        let metadata = &mut image.tree.inode_mut(id).metadata;
        if (metadata.mode, metadata.uid, metadata.gid) != (0o644, 0, 0) {
            (metadata.mode, metadata.uid, metadata.gid) = (0o644, 0, 0);
            report.note(
                self.name(),
                Action::Changed,
                &path,
                "mode 0644, owned by root",
            );
        }
        Ok(())
    }

    /// Drops the kernels that are not `chosen` from beside their modules, which stay.
    fn drop_others(&self, image: &mut Image, survey: &Survey, chosen: &str, report: &mut Report) {
        for version in survey.modules.keys().filter(|&version| version != chosen) {
            for role in [Role::Kernel, Role::Initramfs] {
                let directory = find::modules().join(version.as_bytes());
                let path = directory.join(role.name().as_bytes());
                if image.tree.remove(&path).is_some() {
                    let detail = format!("the kernel is {chosen}");
                    report.note(self.name(), Action::Dropped, &path, detail);
                }
            }
        }
    }
}

/// Are both regular files with the same content?
fn same_content(image: &Image, a: InodeId, b: InodeId) -> Result<bool> {
    if a == b {
        return Ok(true);
    }
    let digest = |id| match image.tree.inode(id).content {
        Content::File { body, .. } => {
            let mut reader = HashingReader::new(image.bodies.reader(body));
            io::copy(&mut reader, &mut io::sink()).context("comparing kernels")?;
            anyhow::Ok(Some(reader.finish()))
        }
        _ => Ok(None),
    };
    let (a, b): (Option<(Digest, u64)>, _) = (digest(a)?, digest(b)?);
    Ok(a.is_some() && a == b)
}
