//! The labels of a merged tree, by the policy that lies in it.

use anyhow::{Context as _, Result};

use super::{FileKind, Labels, Oracle, Policy, PolicyFile, PolicyFiles, XATTR, label_all, locate};
use crate::bodies::Bodies;
use crate::metadata::Special;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::{Content, Tree};

/// The labels of every path of a tree.
#[derive(Debug)]
pub struct TreeLabels {
    /// The name of the policy (`targeted`) and its labels in the order of [`Tree::walk`]; `None`:
    /// the image has none, and nothing has a label.
    pub policy: Option<(String, Labels)>,
    paths: usize,
}

impl TreeLabels {
    /// The context of each path, in the order of [`Tree::walk`].
    pub fn of_paths(&self) -> Vec<Option<&str>> {
        match &self.policy {
            None => vec![None; self.paths],
            Some((_, labels)) => labels
                .labels
                .iter()
                .map(|id| id.map(|id| labels.contexts.get(id)))
                .collect(),
        }
    }
}

/// Labels `tree` by its own policy. What has no label, and a policy that libselinux had to read,
/// are noted in `report`.
///
/// # Errors
/// A policy that libselinux would refuse too, or libselinux itself failing.
pub fn label_tree(tree: &Tree, bodies: &Bodies, report: &mut Report) -> Result<TreeLabels> {
    let nodes: Vec<_> = tree
        .walk()
        .map(|(path, id)| (path, kind(&tree.inode(id).content)))
        .collect();
    let unlabelled = TreeLabels {
        policy: None,
        paths: nodes.len(),
    };
    let Some((name, files)) = find_policy(tree, bodies, report)? else {
        return Ok(unlabelled);
    };
    let mut libselinux = Oracle::new(&files).context("opening the policy with libselinux")?;
    let labels = label_all(Policy::parse(&files), &mut libselinux, &nodes)
        .with_context(|| format!("labelling with the policy {name} of the image"))?;
    if let Some(reason) = &labels.taken_over {
        report.note(
            "label",
            Action::Warning,
            &ImagePath::root(),
            reason.to_string(),
        );
    }
    for ((path, _), label) in nodes.iter().zip(&labels.labels) {
        if label.is_none() {
            let detail = format!("the policy gives no {}", String::from_utf8_lossy(XATTR));
            report.note("label", Action::Warning, path, detail);
        }
    }
    Ok(TreeLabels {
        policy: Some((name, labels)),
        ..unlabelled
    })
}

/// The policy that the image selects: its name and text files.
///
/// # Errors
/// A file of it that is not readable.
pub fn find_policy(
    tree: &Tree,
    bodies: &Bodies,
    report: &mut Report,
) -> Result<Option<(String, PolicyFiles)>> {
    let Some(config) = read(tree, bodies, "selinux/config")? else {
        return Ok(None);
    };
    let Some(name) = locate(&config) else {
        return Ok(None);
    };
    let file = |file: PolicyFile| {
        let path = format!("selinux/{name}/contexts/files/{}", file.name());
        read(tree, bodies, &path)
    };
    let Some(file_contexts) = file(PolicyFile::FileContexts)? else {
        let detail =
            format!("selects the policy {name}, which the image lacks: nothing is labelled");
        let config = ImagePath::parse(b"etc/selinux/config")?;
        report.note("label", Action::Warning, &config, detail);
        return Ok(None);
    };
    let files = PolicyFiles {
        file_contexts,
        homedirs: file(PolicyFile::Homedirs)?,
        local: file(PolicyFile::Local)?,
        subs: file(PolicyFile::Subs)?,
        subs_dist: file(PolicyFile::SubsDist)?,
    };
    Ok(Some((name, files)))
}

/// No file of a policy is nearly as large.
const LARGEST_POLICY_FILE: u64 = 64 << 20;

/// The content of a file of `/etc`, wherever that lies in this tree.
fn read(tree: &Tree, bodies: &Bodies, path: &str) -> Result<Option<Vec<u8>>> {
    for etc in ["usr/etc", "etc"] {
        let path = ImagePath::parse(format!("{etc}/{path}").as_bytes())?;
        if let Some((_, id)) = tree.resolve(&path)?
            && let Content::File { body, .. } = tree.inode(id).content
        {
            let content = bodies.read(body, LARGEST_POLICY_FILE);
            return content.map(Some).with_context(|| format!("reading {path}"));
        }
    }
    Ok(None)
}

/// The type that the policy's lines tell apart.
pub fn kind(content: &Content) -> FileKind {
    match content {
        Content::Directory(_) => FileKind::Directory,
        Content::File { .. } => FileKind::Regular,
        Content::Symlink(_) => FileKind::Symlink,
        Content::Special(Special::CharDevice { .. }) => FileKind::CharDevice,
        Content::Special(Special::BlockDevice { .. }) => FileKind::BlockDevice,
        Content::Special(Special::Fifo) => FileKind::Fifo,
        Content::Special(Special::Socket) => FileKind::Socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    const CONTEXTS: &str =
        "/.* u:r:default_t\n/etc/shadow -- u:r:shadow_t\n/mnt -d u:r:mnt_t\n/var/x <<none>>\n";

    fn image(config: &str) -> Layers {
        Layers::new()
            .file("usr/etc/selinux/config", config)
            .file("usr/etc/selinux/p/contexts/files/file_contexts", CONTEXTS)
            .file("usr/etc/shadow", "")
            .dir("proc", 0o755)
            .file("var/x", "")
    }

    fn labels(layers: Layers) -> (Vec<(String, String)>, usize) {
        let (tree, bodies) = layers.merge();
        let mut report = Report::default();
        let labels = label_tree(&tree, &bodies, &mut report).unwrap();
        let of_paths = tree
            .walk()
            .zip(labels.of_paths())
            .filter_map(|((path, _), label)| Some((path.to_string(), label?.to_owned())))
            .collect();
        (of_paths, report.notes().len())
    }

    #[test]
    fn the_policy_of_the_tree_decides() {
        let (labels, notes) = labels(image("SELINUX=permissive\nSELINUXTYPE=p\n"));
        let of = |path: &str| labels.iter().find(|(p, _)| p == path).map(|(_, l)| &**l);
        assert_eq!(of("/usr/etc/shadow"), Some("u:r:shadow_t"));
        assert_eq!(of("/proc"), Some("u:r:mnt_t"));
        assert_eq!(of("/usr"), Some("u:r:default_t"));
        assert_eq!(of("/var/x"), None);
        assert_eq!(notes, 1, "the path without a label is told");
    }

    #[test]
    fn no_policy_no_labels() {
        for (config, notes) in [
            ("SELINUX=disabled\nSELINUXTYPE=p\n", 0),
            ("SELINUX=enforcing\nSELINUXTYPE=other\n", 1),
        ] {
            assert_eq!(labels(image(config)), (Vec::new(), notes), "{config}");
        }
        assert_eq!(
            labels(Layers::new().file("etc/shadow", "")),
            (Vec::new(), 0)
        );
    }
}
