//! Equivalences of the SELinux policy for where ostree puts directories.
//!
//! `restorecon` looks a file up by its real path. Policies know `/etc`, `/root` and `/home`, not
//! `/usr/etc`, `/var/roothome` and `/var/home`, unless `file_contexts.subs_dist` says that the two
//! are the same. libselinux replaces the start of a path at most once by that file, the last line
//! that fits winning, so an equivalence of a directory also needs copies of the policy's own ones
//! below it: `/etc/systemd/system /usr/lib/systemd/system` does nothing for `/usr/etc/systemd/system`.
//!
//! Only text is added, which libselinux on the host reads as it is; neither the compiled
//! `file_contexts.bin` nor the binary policy holds aliases.

#[cfg(test)]
mod tests;

use anyhow::Result;

use super::{Fixup, Image};
use crate::metadata::Metadata;
use crate::path::{ImagePath, escape};
use crate::policy::{
    Aliases, Host, MalformedLine, PolicyFile, PolicyFiles, Specification, files_of, find_policy,
};
use crate::report::{Action, Report};
use crate::tree::{Content, Inode, Tree};

/// Appends the equivalences that an ostree system needs to the policy of the image.
#[derive(Debug)]
pub struct SelinuxSubs;

/// Above the lines that are added.
const MARKER: &str = "# Added by import-oci: where an ostree system has what this policy knows";

/// What libselinux reads of a line of an alias file at once.
const LONGEST_LINE: usize = 1022;

impl Fixup for SelinuxSubs {
    fn name(&self) -> &'static str {
        "selinux-subs"
    }

    fn summary(&self) -> &'static str {
        "teach the SELinux policy where ostree keeps /etc, /home, /root and /opt"
    }

    fn reason(&self) -> &'static str {
        "restorecon on the host must agree with the labels of the commit, and /var/home is /home."
    }

    fn after(&self) -> &'static [&'static str] {
        &["ostree-base", "toplevel", "etc"]
    }

    fn apply(&self, image: &mut Image, report: &mut Report) -> Result<()> {
        let Ok((name, mut files)) = find_policy(&image.tree, &image.bodies)? else {
            return Ok(());
        };
        let exists = files.subs_dist.is_some();
        let added = add_missing(&mut files, &links_into_var(&image.tree))?;
        if added.is_empty() {
            return Ok(());
        }
        let path = self.write(image, &name, &files.subs_dist.unwrap_or_default())?;
        for equivalence in added {
            let action = if exists {
                Action::Changed
            } else {
                Action::Added
            };
            let detail = format!("line `{}`: {}", equivalence.line(), equivalence.why);
            report.note(self.name(), action, &path, detail);
        }
        Ok(())
    }
}

impl SelinuxSubs {
    /// Puts `content` into the file of aliases of the policy `name`. Another name of the old file
    /// keeps the old content. Returns where it lies in the tree.
    fn write(&self, image: &mut Image, name: &str, content: &[u8]) -> Result<ImagePath> {
        let host = Host::of(&image.tree);
        let (file, directory) = (PolicyFile::SubsDist.name(), files_of(&host, name)?);
        let (path, old) = match host.resolve(&directory.join(file.as_bytes()))? {
            Some((path, id)) => (path, Some(id)),
            None => host.locate(&directory.join(file.as_bytes()))?,
        };
        let path = host.in_tree(&path);
        let metadata = match old {
            Some(id) => image.tree.inode(id).metadata.clone(),
            None => Metadata {
                mode: 0o644,
                ..Metadata::default()
            },
        };
        let content = Content::File {
            body: image.bodies.add(content),
            size: content.len() as u64,
        };
        image.tree.insert(&path, Inode { metadata, content })?;
        Ok(path)
    }
}

/// Paths at and below `from` are labelled like those at and below `to`.
#[derive(Debug, PartialEq, Eq)]
struct Equivalence {
    from: Vec<u8>,
    to: Vec<u8>,
    why: String,
}

impl Equivalence {
    fn line(&self) -> String {
        format!("{} {}", escape(&self.from), escape(&self.to))
    }
}

/// A link and where it leads, both absolute.
type Link = (Vec<u8>, Vec<u8>);

/// Adds to `files.subs_dist` what it lacks, and returns that in the order of its lines.
fn add_missing(files: &mut PolicyFiles, links: &[Link]) -> Result<Vec<Equivalence>, MalformedLine> {
    let specifications = files.specifications()?;
    let known = links
        .iter()
        .map(|(link, target)| known_name(&specifications, link, target));
    let known: Vec<_> = known.collect();
    let mut lines = Lines {
        original: Aliases::parse(files)?,
        now: Aliases::parse(files)?,
        files,
        added: Vec::new(),
    };
    lines.add(b"/usr/etc", b"/etc", "the defaults of /etc lie there")?;
    if lines.is_unknown(b"/usr/lib/opt") && lines.is_unknown(b"/opt") {
        lines.add(b"/usr/lib/opt", b"/opt", "rpm-ostree keeps /opt there")?;
    }
    for ((link, target), known) in links.iter().zip(known) {
        let why = format!("{} leads there", escape(link));
        match known {
            _ if !lines.is_unknown(link) || !lines.is_unknown(target) => {}
            Some(Known::Link) => lines.add(target, link, &why)?,
            Some(Known::Target) => lines.add(link, target, "homes are known there")?,
            None => {}
        }
    }
    Ok(lines.added)
}

/// Aliases under way.
struct Lines<'f> {
    files: &'f mut PolicyFiles,
    /// Those of the image.
    original: Aliases,
    /// Those of the image and the new ones.
    now: Aliases,
    added: Vec<Equivalence>,
}

impl Lines<'_> {
    /// Does no alias lead from `path` elsewhere?
    fn is_unknown(&self, path: &[u8]) -> bool {
        *self.now.resolve(path).0 == *path
    }

    /// Makes `from` the same as `to`, with what the image's aliases say of paths below `to`.
    ///
    /// Of the lines that fit a path the last one decides, but with libselinux 3.8 the first
    /// (SELinuxProject/selinux b1802386). So what is said of paths below stands on either side.
    fn add(&mut self, from: &[u8], to: &[u8], why: &str) -> Result<(), MalformedLine> {
        // What decides first comes last: the administrator's lines, and of each file its last.
        let original = self.original.subs_dist.iter().rev();
        let original = original.chain(self.original.subs.iter().rev());
        let below: Vec<_> = original
            .filter_map(|alias| {
                let rest = alias.from.strip_prefix(to)?;
                // No path that is looked up ends with a slash.
                (rest.starts_with(b"/") && !rest.ends_with(b"/"))
                    .then(|| (alias.from.clone(), rest.to_vec()))
            })
            .collect();
        let append_below = |lines: &mut Self, (known, rest): &(Vec<u8>, Vec<u8>)| {
            let why = format!("as {}", escape(known));
            lines.append(&[from, rest].concat(), known, &why)
        };
        for alias in below.iter().rev() {
            append_below(self, alias)?;
        }
        self.append(from, to, why)?;
        for alias in &below {
            append_below(self, alias)?;
        }
        Ok(())
    }

    /// Appends the line that makes `from` what `known` is to the policy, if there is need.
    fn append(&mut self, from: &[u8], known: &[u8], why: &str) -> Result<(), MalformedLine> {
        let to = self.original.resolve(known).0.into_owned();
        if *self.now.resolve(from).0 == to || !fits(from, &to) {
            return Ok(());
        }
        let content = self.files.subs_dist.get_or_insert_default();
        if !content.is_empty() && !content.ends_with(b"\n") {
            content.push(b'\n');
        }
        if self.added.is_empty() {
            content.extend_from_slice(MARKER.as_bytes());
            content.push(b'\n');
        }
        content.extend_from_slice(&[from, b" ", &to, b"\n"].concat());
        self.now = Aliases::parse(self.files)?;
        self.added.push(Equivalence {
            from: from.to_vec(),
            to,
            why: why.to_owned(),
        });
        Ok(())
    }
}

/// Can the line hold these paths? Its fields end at a space.
fn fits(from: &[u8], to: &[u8]) -> bool {
    let plain = |path: &[u8]| path.iter().all(u8::is_ascii_graphic);
    plain(from) && plain(to) && from.len() + 1 + to.len() <= LONGEST_LINE
}

/// Which of the names of a directory the policy has lines for.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    Link,
    Target,
}

/// By which name the policy knows a directory; `None`: by both.
///
/// Where homes are, genhomedircon has written: its lines say `/home/[^/]+/…` for the parent of the
/// homes of the image's users, and nothing of the other name.
fn known_name(lines: &[Specification<'_>], link: &[u8], target: &[u8]) -> Option<Known> {
    let has_homes = |parent| lines.iter().any(|line| has_homes_in(line, parent));
    match (has_homes(link), has_homes(target)) {
        (true, true) => None,
        (true, false) => Some(Known::Link),
        (false, true) => Some(Known::Target),
        (false, false) => {
            let target_itself = lines.iter().any(|line| names(line, target));
            (!target_itself).then_some(Known::Link)
        }
    }
}

/// Is it for what lies in any directory below `parent`?
fn has_homes_in(line: &Specification<'_>, parent: &[u8]) -> bool {
    let rest = line.regex.as_bytes().strip_prefix(parent);
    rest.is_some_and(|rest| rest.starts_with(b"/[^/]"))
}

/// Is it for `directory` itself?
fn names(line: &Specification<'_>, directory: &[u8]) -> bool {
    let rest = line.regex.as_bytes().strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"("))
}

/// The links at the top, and `/usr/local`, that lead below `/var`.
fn links_into_var(tree: &Tree) -> Vec<Link> {
    let top = tree.children(tree.root()).into_iter().flatten();
    let top = top.map(|(name, _)| ImagePath::root().join(name));
    let local = ImagePath::root().join(b"usr").join(b"local");
    let var = ImagePath::root().join(b"var");
    top.chain([local])
        .filter_map(|link| {
            let Content::Symlink(target) = &tree.inode(tree.lookup(&link)?).content else {
                return None;
            };
            let target = leads_to(&link, target)?;
            (target != var && target.starts_with(&var))
                .then(|| (link.to_absolute(), target.to_absolute()))
        })
        .collect()
}

/// Where a link leads if there are no other links on the way. What it leads to need not be in the
/// tree: `/var` is filled on the host.
fn leads_to(link: &ImagePath, target: &[u8]) -> Option<ImagePath> {
    let absolute = target.starts_with(b"/");
    let mut path = if absolute {
        ImagePath::root()
    } else {
        link.parent()?
    };
    for name in target.split(|&byte| byte == b'/') {
        path = match name {
            b"" | b"." => path,
            b".." => path.parent().unwrap_or_default(),
            name => path.join(name),
        };
    }
    Some(path)
}
