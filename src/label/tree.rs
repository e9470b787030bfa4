//! The labels of a merged tree, by the policy that lies in it.

use anyhow::{Context as _, Result, bail};

use super::{
    FileKind, Host, Labels, Oracle, Policy, PolicyFile, PolicyFiles, XATTR, label_all, locate,
};
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
    let labels = label_all(Policy::parse(&files), || Oracle::new(&files), &nodes)
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
    let host = Host::of(tree);
    let selinux = ImagePath::parse(b"etc/selinux")?;
    let config = selinux.join(b"config");
    let Some(content) = read(&host, bodies, &config)? else {
        return Ok(None);
    };
    let Some(name) = locate(&content) else {
        return Ok(None);
    };
    let directory = ImagePath::parse(format!("etc/selinux/{name}/contexts/files").as_bytes())?;
    let file = |file: PolicyFile| read(&host, bodies, &directory.join(file.name().as_bytes()));
    let Some(file_contexts) = file(PolicyFile::FileContexts)? else {
        let detail =
            format!("selects the policy {name}, which the image lacks: nothing is labelled");
        report.note("label", Action::Warning, &host.in_tree(&config), detail);
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

/// The content of the file that `path` leads to on the host; `None`: there is none.
fn read(host: &Host<'_>, bodies: &Bodies, path: &ImagePath) -> Result<Option<Vec<u8>>> {
    let Some((_, id)) = host.resolve(path)? else {
        if let Some(link) = host.dangling(path)? {
            bail!(
                "{link} is a link that leads nowhere in the image: put the file there, or no link"
            );
        }
        return Ok(None);
    };
    let Content::File { body, .. } = host.tree().inode(id).content else {
        bail!("{path} is no regular file");
    };
    let content = bodies.read(body, LARGEST_POLICY_FILE);
    content.map(Some).with_context(|| format!("reading {path}"))
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
    fn links_of_the_policy_are_those_of_the_host() {
        const CONFIG: &str = "SELINUX=enforcing\nSELINUXTYPE=p\n";
        const PLAIN: &str = "usr/etc/selinux/p/contexts/files/file_contexts";
        for (config, contexts) in [
            ("/etc/default/selinux", "/etc/default/contexts"),
            ("../default/selinux", "../../../../default/contexts"),
            ("../../usr/lib/selinux", "../../../../../usr/lib/contexts"),
        ] {
            let mut layers = Layers::new()
                .symlink("usr/etc/selinux/config", config)
                .symlink(PLAIN, contexts)
                .file("usr/etc/shadow", "");
            for place in ["usr/etc/default", "usr/lib"] {
                layers = layers
                    .file(&format!("{place}/selinux"), CONFIG)
                    .file(&format!("{place}/contexts"), CONTEXTS);
            }
            let (labels, notes) = labels(layers);
            let shadow = ("/usr/etc/shadow".to_owned(), "u:r:shadow_t".to_owned());
            assert!(labels.contains(&shadow), "{config}: {labels:?}");
            assert_eq!(notes, 0, "{config}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        const CONFIG: &str = "usr/etc/selinux/config";
        const CONTEXTS: &str = "usr/etc/selinux/p/contexts/files/file_contexts";
        let image = || image("SELINUX=enforcing\nSELINUXTYPE=p\n").layer();
        for (layers, wrong) in [
            (
                image().symlink(CONFIG, "/etc/absent"),
                "/etc/selinux/config is a link",
            ),
            (
                image().symlink(CONFIG, "config"),
                "/etc/selinux/config: too many levels",
            ),
            (
                image().dir(CONFIG, 0o755),
                "/etc/selinux/config is no regular file",
            ),
            (
                image().symlink(CONTEXTS, "file_contexts.absent"),
                "/etc/selinux/p/contexts/files/file_contexts is a link",
            ),
            (
                image().symlink("usr/etc/selinux/p/contexts", "/var/absent"),
                "/etc/selinux/p/contexts is a link",
            ),
            (
                image().symlink(&format!("{CONTEXTS}.local"), "absent"),
                "/etc/selinux/p/contexts/files/file_contexts.local is a link",
            ),
        ] {
            let (tree, bodies) = layers.merge();
            let error = label_tree(&tree, &bodies, &mut Report::default()).unwrap_err();
            assert!(error.to_string().starts_with(wrong), "{error:#}");
        }
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
