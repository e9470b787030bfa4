//! Moves what lies in a host's `/var` out of the tree: directories and links become lines of
//! tmpfiles.d, files wait in `/usr/share/factory` until systemd-tmpfiles copies them to a host that lacks
//! them.

use anyhow::Result;

use super::Image;
use super::tmpfiles::{Declared, Line};
use crate::metadata::{LABEL_XATTR, Metadata};
use crate::packages::AccountDatabase;
use crate::path::{ImagePath, escape};
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, InodeId, Tree};

/// A directory whose content has its place elsewhere on a host.
#[derive(Debug)]
pub struct Resettling<'a> {
    /// Where it lies in the image.
    pub from: &'a ImagePath,
    /// Where it lies on a host.
    pub to: &'a ImagePath,
    /// Is each directory in it somebody's own, so that a host is given it once and never again?
    pub homes: bool,
    /// What the image's lines say already.
    pub declared: &'a Declared,
    /// The names of owners.
    pub accounts: &'a AccountDatabase,
    /// The fixup that does it.
    pub by: &'static str,
}

/// In how many components a path ends that many programs share (`/var/lib`, `/var/roothome`): what lies
/// directly in such a directory is copied one by one. A directory below is one program's: it is copied as
/// a whole or, where the host has it, not at all, because files of two versions do not mix.
const SHARED_DEPTH: usize = 2;

impl Resettling<'_> {
    /// Empties `from`, and says by what lines a host makes its content anew. The directory itself stays.
    ///
    /// # Errors
    /// `/usr/share/factory` cannot be made because something on the way is no directory.
    pub fn apply(&self, image: &mut Image, report: &mut Report) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut pending = children(&image.tree, self.from);
        while let Some((path, id)) = pending.pop() {
            let inode = image.tree.inode(id).clone();
            if self.is_copied_whole(&image.tree, &path, id) {
                self.copy_whole(image, &path, id, &mut lines, report)?;
                continue;
            }
            self.tell_lost_xattrs(&path, &inode, report);
            match &inode.content {
                Content::Directory(_) => pending.extend(children(&image.tree, &path)),
                Content::File { .. } => self.keep(image, &path, id, report)?,
                Content::Symlink(_) => {}
                Content::Special(special) => {
                    let detail = format!("{special}: a commit cannot hold it");
                    report.note(self.by, Action::Dropped, &path, detail);
                    continue;
                }
            }
            if let Some((line, file)) = self.declared_at(&path) {
                let detail = self.compare(&inode, line, file);
                report.note(self.by, Action::Moved, &path, detail);
                continue;
            }
            report.note(self.by, Action::Moved, &path, self.fate(&path, &inode));
            lines.push(self.line(&path, &inode));
        }
        let emptied = image.tree.lookup(self.from);
        if let Some(directory) = emptied {
            image.tree.inode_mut(directory).content = Content::empty_directory();
        }
        Ok(lines)
    }

    /// The line that makes one directory, link or file.
    fn line(&self, path: &ImagePath, inode: &Inode) -> Line {
        let line = |kind| Line::new(kind, self.on_host(path));
        let owned = |line: Line| line.owner(&inode.metadata, self.accounts);
        match &inode.content {
            Content::Symlink(target) => line(b'L').argument(target),
            // Without an argument, the source is the same path in /usr/share/factory.
            Content::File { .. } => owned(line(b'C')).mode(&inode.metadata),
            Content::Directory(_) | Content::Special(_) => owned(line(b'd')).mode(&inode.metadata),
        }
    }

    /// What becomes of a path, in words.
    fn fate(&self, path: &ImagePath, inode: &Inode) -> String {
        let host = match self.from == self.to {
            true => String::new(),
            false => format!(" as {}", self.on_host(path)),
        };
        match inode.content {
            Content::File { .. } => format!(
                "to {}; copied{host} to hosts that lack it",
                self.in_factory(path)
            ),
            _ => format!("made on the host{host} by systemd-tmpfiles"),
        }
    }

    /// The line that packages have for a path: under its name on the host, or under that in the
    /// image, which leads there.
    fn declared_at(&self, path: &ImagePath) -> Option<(&Line, &ImagePath)> {
        let declared = self.declared.at(&self.on_host(path));
        declared.or_else(|| self.declared.at(path))
    }

    /// What is to say of a path for which the image has a line of its own. That line counts: every
    /// system that is started would have it.
    fn compare(&self, inode: &Inode, line: &Line, file: &ImagePath) -> String {
        let id = |name: &Option<String>, find: &dyn Fn(&str) -> Option<u32>| match name.as_deref() {
            None | Some("root") => Some(0),
            Some(name) => find(name).or_else(|| name.parse().ok()),
        };
        let metadata = &inode.metadata;
        let same = match &inode.content {
            Content::Directory(_) => {
                b"dDvqQ".contains(&line.kind)
                    && line.mode.unwrap_or(0o755) == metadata.mode
                    && id(&line.user, &|n| self.accounts.uid(n)) == Some(metadata.uid)
                    && id(&line.group, &|n| self.accounts.gid(n)) == Some(metadata.gid)
            }
            Content::Symlink(target) => {
                let parent = line.path.parent().unwrap_or_default();
                let leads_to = |target: &[u8]| absolute(&parent, target);
                line.kind == b'L'
                    && line.argument.as_deref().map(leads_to) == Some(leads_to(target))
            }
            Content::File { .. } | Content::Special(_) => line.kind == b'C',
        };
        match same {
            true => format!("made on the host by {file}"),
            false => format!(
                "made on the host by {file} as `{line}`, not as the image has it ({:04o} {}:{})",
                metadata.mode, metadata.uid, metadata.gid
            ),
        }
    }

    /// Is a directory copied with all that lies in it?
    fn is_copied_whole(&self, tree: &Tree, path: &ImagePath, id: InodeId) -> bool {
        let Some(children) = tree.children(id) else {
            return false;
        };
        if self.declared_at(path).is_some() || tree.lookup(&self.in_factory(path)).is_some() {
            return false;
        }
        if self.homes {
            return path.parent().as_ref() == Some(self.from);
        }
        let is_file = |&id: &InodeId| matches!(tree.inode(id).content, Content::File { .. });
        let depth = self.on_host(path).components().count();
        let holds_files = depth > SHARED_DEPTH && children.values().any(is_file);
        holds_files || (!children.is_empty() && is_handed_over(tree, path, id))
    }

    /// Moves a directory as it is, with lines for what a copy alone does not give: owners by name, and
    /// directories that a later version of the image adds.
    fn copy_whole(
        &self,
        image: &mut Image,
        top: &ImagePath,
        id: InodeId,
        lines: &mut Vec<Line>,
        report: &mut Report,
    ) -> Result<()> {
        lines.push(Line::new(b'C', self.on_host(top)));
        let mut beyond: Option<ImagePath> = None;
        for (path, id) in image.tree.walk_from(top) {
            let inode = image.tree.inode(id);
            self.tell_lost_xattrs(&path, inode, report);
            if self.homes
                || beyond
                    .as_ref()
                    .is_some_and(|b| path.starts_with(b) && path != *b)
            {
                continue;
            }
            if is_handed_over(&image.tree, &path, id) {
                beyond = Some(path.clone());
            }
            match &inode.content {
                Content::Directory(_) if path != *top => {
                    if self.declared_at(&path).is_none() {
                        lines.push(self.line(&path, inode));
                    }
                }
                _ => lines.extend(self.owner_by_name(&path, &inode.metadata)),
            }
        }
        self.keep(image, top, id, report)?;
        let target = self.in_factory(top);
        let detail = format!("with all in it to {target}; copied as a whole to hosts that lack it");
        report.note(self.by, Action::Moved, top, detail);
        Ok(())
    }

    /// A copy has the numbers of the image's owners; this gives it the host's.
    fn owner_by_name(&self, path: &ImagePath, metadata: &Metadata) -> Option<Line> {
        let named = |id, name: Option<&str>| id != 0 && name.is_some();
        let known = named(metadata.uid, self.accounts.user_name(metadata.uid))
            || named(metadata.gid, self.accounts.group_name(metadata.gid));
        known.then(|| Line::new(b'z', self.on_host(path)).owner(metadata, self.accounts))
    }

    /// Gives a file or directory its name in the factory. Directories on the way are as they are in the
    /// image: what nobody may read there, nobody may read here.
    fn keep(
        &self,
        image: &mut Image,
        path: &ImagePath,
        id: InodeId,
        report: &mut Report,
    ) -> Result<()> {
        let target = self.in_factory(path);
        let top = self.in_factory(self.from);
        let mut on_the_way = ImagePath::root();
        for name in target.parent().unwrap_or_default().components() {
            on_the_way = on_the_way.join(name);
            if image.tree.lookup(&on_the_way).is_some() {
                continue;
            }
            let below = on_the_way.starts_with(&top);
            let original = below.then(|| on_the_way.rebase(&top, self.from));
            let original = original.and_then(|path| image.tree.lookup(&path));
            let metadata = original.map(|id| image.tree.inode(id).metadata.clone());
            let directory = Inode {
                metadata: metadata.unwrap_or_else(Metadata::implicit_directory),
                content: Content::empty_directory(),
            };
            image.tree.insert(&on_the_way, directory)?;
        }
        if image.tree.lookup(&target).is_some() {
            let detail = format!("now what the image has at {path}");
            report.note(self.by, Action::Changed, &target, detail);
        }
        image.tree.link(&target, id)?;
        Ok(())
    }

    /// Of extended attributes, systemd-tmpfiles copies those of users, and lines as ours give none.
    fn tell_lost_xattrs(&self, path: &ImagePath, inode: &Inode, report: &mut Report) {
        let copied = matches!(inode.content, Content::File { .. });
        for name in inode.metadata.xattrs.keys() {
            let is_label = **name == *LABEL_XATTR;
            let is_restored = is_label || (copied && name.starts_with(b"user."));
            if !is_restored {
                let detail = format!("no line of ours restores {} on the host", escape(name));
                report.note(self.by, Action::Changed, path, detail);
            }
        }
    }

    fn on_host(&self, path: &ImagePath) -> ImagePath {
        path.rebase(self.from, self.to)
    }

    fn in_factory(&self, path: &ImagePath) -> ImagePath {
        let factory = ImagePath::parse(b"usr/share/factory").expect("no `..` in it");
        self.on_host(path).rebase(&ImagePath::root(), &factory)
    }
}

/// Does a directory belong to another than the directory it lies in, which is not root's?
/// systemd-tmpfiles goes no further than it: whoever owns the upper one could put another in its place.
fn is_handed_over(tree: &Tree, path: &ImagePath, id: InodeId) -> bool {
    let owner = |id| tree.inode(id).metadata.uid;
    let parent = path.parent().and_then(|parent| tree.lookup(&parent));
    parent.is_some_and(|parent| owner(parent) != 0 && owner(parent) != owner(id))
}

/// The entries of a directory, the last first.
fn children(tree: &Tree, directory: &ImagePath) -> Vec<(ImagePath, InodeId)> {
    let children = tree.lookup(directory).and_then(|id| tree.children(id));
    let entries = children.into_iter().flatten().rev();
    entries
        .map(|(name, &id)| (directory.join(name), id))
        .collect()
}

/// Where a link's target leads from `directory`, by its text.
fn absolute(directory: &ImagePath, target: &[u8]) -> Vec<Vec<u8>> {
    let mut components: Vec<Vec<u8>> = match target.first() {
        Some(b'/') => Vec::new(),
        _ => directory.components().map(<[u8]>::to_vec).collect(),
    };
    for name in target.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            name => components.push(name.to_vec()),
        }
    }
    components
}
