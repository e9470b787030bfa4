//! The labels of a merged tree, by the policy that lies in it.

use anyhow::{Context as _, Result};

use super::check::{Earlier, label_news};
use super::known::{KnownLabels, kind_of_special};
use super::{FileKind, Labels, NoPolicy, Oracle, Policy, find_policy, lookup_path};
use crate::bodies::Bodies;
use crate::digest::Digest;
use crate::metadata::LABEL_XATTR;
use crate::path::ImagePath;
use crate::policy::{Host, policies, selinux_directory};
use crate::report::{Action, Report};
use crate::tree::{Content, Tree};

/// The labels of every path of a tree.
#[derive(Debug)]
pub struct TreeLabels {
    /// The name of the policy (`targeted`) and its labels in the order of [`Tree::walk`], those of
    /// other trees after those of the first; or why nothing has a label.
    pub policy: Result<(String, Labels), NoPolicy>,
    /// The digest of the policy, if libselinux agreed with what it says of all paths it was asked
    /// about.
    pub checked_policy: Option<Digest>,
    /// The number of paths of each tree.
    paths: Vec<usize>,
}

impl TreeLabels {
    /// The context of each path, in the order of [`Tree::walk`].
    pub fn of_paths(&self) -> Vec<Option<&str>> {
        self.of_tree(0)
    }

    /// The same for another tree: 0 is the one whose policy it is, those that were labelled along
    /// with it follow.
    pub fn of_tree(&self, tree: usize) -> Vec<Option<&str>> {
        let paths = self.paths[tree];
        match &self.policy {
            Err(_) => vec![None; paths],
            Ok((_, labels)) => {
                let start = self.paths[..tree].iter().sum();
                let of_tree = labels.labels[start..].iter().take(paths);
                of_tree
                    .map(|id| id.map(|id| labels.contexts.get(id)))
                    .collect()
            }
        }
    }
}

/// Labels `tree` by its own policy. What has no label, and a policy that libselinux had to read,
/// are noted in `report`.
///
/// # Errors
/// A policy that libselinux would refuse too, or libselinux itself failing.
pub fn label_tree(tree: &Tree, bodies: &Bodies, report: &mut Report) -> Result<TreeLabels> {
    label_trees(tree, &[], None, bodies, report)
}

/// [`label_tree`], and by the same policy its `layers`, about which nothing is noted. Labels that are
/// `known` of this policy are taken as they are; then libselinux is asked about the layers, and a
/// little about the tree, most of which it was asked about at the earlier import.
///
/// # Errors
/// As there.
pub fn label_trees(
    tree: &Tree,
    layers: &[&Tree],
    known: Option<&KnownLabels<'_>>,
    bodies: &Bodies,
    report: &mut Report,
) -> Result<TreeLabels> {
    let trees = || [tree].into_iter().chain(layers.iter().copied());
    let paths: Vec<_> = trees().map(|tree| tree.ids().count()).collect();
    let (name, files) = match find_policy(tree, bodies)? {
        Ok(found) => found,
        Err(reason) => {
            note_unused(tree, &reason, report)?;
            return Ok(TreeLabels {
                policy: Err(reason),
                checked_policy: None,
                paths,
            });
        }
    };
    let nodes = || {
        trees().flat_map(|tree| {
            tree.walk()
                .map(|(path, id)| (path, kind(&tree.inode(id).content)))
        })
    };
    let digest = files.digest();
    let known = known.filter(|known| known.policy == digest);
    let earlier = Earlier {
        labelled: if known.is_some() { paths[0] } else { 0 },
        known,
    };
    let unknown = nodes().filter(|node| earlier.label(node).is_none());
    let policy = Policy::for_paths(&files, unknown.map(|(path, _)| lookup_path(&path)));
    let labels = label_news(policy, || Oracle::new(&files), nodes, &earlier)
        .with_context(|| format!("labelling with the policy {name} of the image"))?;
    if let Some(reason) = &labels.taken_over {
        report.note(
            "label",
            Action::Warning,
            &ImagePath::root(),
            reason.to_string(),
        );
    }
    let of_tree = &labels.labels[..paths[0]];
    // Nearly every tree has a label for each path, and walking it takes as long as labelling it.
    if of_tree.contains(&None) {
        for ((path, _), _) in tree
            .walk()
            .zip(of_tree)
            .filter(|(_, label)| label.is_none())
        {
            let detail = format!(
                "the policy gives no {}",
                String::from_utf8_lossy(LABEL_XATTR)
            );
            report.note("label", Action::Warning, &path, detail);
        }
    }
    Ok(TreeLabels {
        checked_policy: labels.taken_over.is_none().then_some(digest),
        paths,
        policy: Ok((name, labels)),
    })
}

/// An image without a policy is as it should be; one that has a policy, or selects one, and goes
/// without labels may not be.
fn note_unused(tree: &Tree, reason: &NoPolicy, report: &mut Report) -> Result<()> {
    let host = Host::of(tree);
    let directory = selinux_directory(&host)?;
    let unused = policies(&host, &directory)?;
    let mut detail = format!("nothing is labelled: {reason}");
    if !unused.is_empty() {
        detail += &format!("; not used: the policy {}", unused.join(", "));
    } else if !matches!(reason, NoPolicy::MissingFiles { .. }) {
        return Ok(());
    }
    let directory = host.in_tree(&directory);
    report.note("label", Action::Warning, &directory, detail);
    Ok(())
}

/// The type that the policy's lines tell apart.
pub fn kind(content: &Content) -> FileKind {
    match content {
        Content::Directory(_) => FileKind::Directory,
        Content::File { .. } => FileKind::Regular,
        Content::Symlink(_) => FileKind::Symlink,
        Content::Special(special) => kind_of_special(special),
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
    fn other_trees_have_the_same_policy() {
        let (tree, bodies) = image("SELINUX=permissive\nSELINUXTYPE=p\n").merge();
        let (layer, _) = Layers::new()
            .file("usr/etc/shadow", "")
            .file("z", "")
            .merge();
        let mut report = Report::default();
        let labels = label_trees(&tree, &[&layer, &tree], None, &bodies, &mut report).unwrap();
        let default = Some("u:r:default_t");
        let shadow = Some("u:r:shadow_t");
        assert_eq!(
            labels.of_tree(1),
            [default, default, default, shadow, default]
        );
        assert_eq!(labels.of_tree(2), labels.of_paths());
        assert_eq!(
            report.notes().len(),
            1,
            "only the first tree's paths are told"
        );
        let known = labels.checked_policy.map(KnownLabels::new);
        let known = known.as_ref();
        let unlabelled = label_trees(&layer, &[&tree], known, &bodies, &mut report).unwrap();
        assert_eq!(unlabelled.of_tree(1), vec![None; tree.walk().count()]);
        assert_eq!(unlabelled.checked_policy, None);

        // Whoever is asked about it, the labels are the same.
        let again = label_trees(&tree, &[&layer, &tree], known, &bodies, &mut report).unwrap();
        assert!(known.is_some() && again.checked_policy == labels.checked_policy);
        assert_eq!(again.of_paths(), labels.of_paths());
    }

    #[test]
    fn no_policy_no_labels() {
        for (config, note) in [
            (
                "SELINUX=disabled\nSELINUXTYPE=p\n",
                "nothing is labelled: /etc/selinux/config says neither SELINUX=enforcing nor \
                 SELINUX=permissive; not used: the policy p",
            ),
            (
                "SELINUX=enforcing\nSELINUXTYPE=other\n",
                "nothing is labelled: /etc/selinux/config selects the policy other, of which the \
                 image has no file_contexts; not used: the policy p",
            ),
        ] {
            let (tree, bodies) = image(config).merge();
            let mut report = Report::default();
            let labels = label_tree(&tree, &bodies, &mut report).unwrap();
            assert_eq!(labels.of_paths(), vec![None; tree.walk().count()]);
            let [only] = report.notes() else {
                panic!("{:?}", report.notes());
            };
            let only = (only.path.to_string(), &*only.detail);
            assert_eq!(only, ("/usr/etc/selinux".to_owned(), note));
        }
        for nothing_unused in [
            Layers::new().file("usr/etc/shadow", ""),
            Layers::new().file("usr/etc/selinux/semanage.conf", ""),
            Layers::new().file("usr/etc/selinux/config", "SELINUX=disabled\n"),
        ] {
            assert_eq!(labels(nothing_unused), (Vec::new(), 0));
        }
    }
}
