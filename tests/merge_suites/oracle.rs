//! The merge again, as naively as it can be written: maps from paths, one pass a layer into a
//! staging map, then one pass that lays the staging map onto the layers below. It shares no code
//! and no data structure with the merge under test.
//!
//! It knows the default options, no AUFS and no links as parents within one layer: there it says
//! [`Outcome::Unclear`], as it does where the rules leave a choice.

use std::collections::{BTreeMap, BTreeSet};

use import_oci::metadata::Metadata;
use import_oci::path::ImagePath;

use crate::format::{Node, NodeKind};
use crate::listing::{Listing, describe, list};

/// What the oracle makes of an image.
#[derive(Debug)]
pub enum Outcome {
    Tree(Listing),
    Refused,
    Unclear,
}

/// What a path names: a number in `inodes` or, for directories, metadata.
#[derive(Debug, Clone)]
enum Named {
    Directory(Metadata),
    Inode(usize),
}

/// What a layer puts at a path.
#[derive(Debug, Clone)]
enum Staged {
    /// A directory that entries below it imply.
    Implied,
    /// A directory with an entry of its own; `fresh`: it took the place of something else in
    /// the same layer, so that nothing of the lower layers shows in it.
    Directory {
        metadata: Metadata,
        fresh: bool,
    },
    Inode(usize),
    /// A hardlink to this path, which is not there yet.
    Pending(String),
}

type Lower = BTreeMap<String, Named>;
type Staging = BTreeMap<String, Staged>;

/// Merges an image; paths must be plain ASCII, relative and normalised.
pub fn merge(layers: &[Vec<Node>]) -> Outcome {
    let mut inodes = Vec::new();
    let mut lower = Lower::new();
    for layer in layers {
        match merge_layer(&lower, layer, &mut inodes) {
            Ok(merged) => lower = merged,
            Err(outcome) => return outcome,
        }
    }
    let root = describe(&NodeKind::Directory, &Metadata::implicit_directory());
    let mut names = vec![(ImagePath::root(), Err(String::new()), root)];
    for (path, named) in &lower {
        let at = ImagePath::parse(path.as_bytes()).expect("a path was parsed before");
        names.push(match named {
            Named::Directory(metadata) => {
                let line = describe(&NodeKind::Directory, metadata);
                (at, Err(path.clone()), line)
            }
            Named::Inode(id) => {
                let node: &Node = &inodes[*id];
                (at, Ok(*id), describe(&node.kind, &node.metadata))
            }
        });
    }
    Outcome::Tree(list(names))
}

fn merge_layer(lower: &Lower, layer: &[Node], inodes: &mut Vec<Node>) -> Result<Lower, Outcome> {
    let visible = hide(lower, layer);
    let mut staging = Staging::new();
    for node in layer {
        stage(node, &visible, &mut staging, inodes)?;
    }
    link_pending(lower, &visible, &mut staging, inodes)?;
    Ok(overlay(&visible, &staging))
}

/// The lower layers without what this one whites out.
fn hide(lower: &Lower, layer: &[Node]) -> Lower {
    let mut removed = BTreeSet::new();
    let mut emptied = BTreeSet::new();
    for node in layer {
        match marker(&text(&node.path)) {
            Some(Marker::Whiteout(path)) => removed.insert(path),
            Some(Marker::Opaque(path)) => emptied.insert(path),
            None => false,
        };
    }
    let hidden = |path: &str| {
        removed.contains(path)
            || ancestors(path).any(|a| removed.contains(a) || emptied.contains(a))
    };
    let shown = lower.iter().filter(|(path, _)| !hidden(path));
    shown.map(|(p, n)| (p.clone(), n.clone())).collect()
}

enum Marker {
    Whiteout(String),
    Opaque(String),
}

fn marker(path: &str) -> Option<Marker> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name == ".wh..wh..opq" {
        return Some(Marker::Opaque(parent.to_owned()));
    }
    let hidden = name.strip_prefix(".wh.")?;
    Some(Marker::Whiteout(match parent {
        "" => hidden.to_owned(),
        _ => format!("{parent}/{hidden}"),
    }))
}

fn stage(
    node: &Node,
    visible: &Lower,
    staging: &mut Staging,
    inodes: &mut Vec<Node>,
) -> Result<(), Outcome> {
    let path = text(&node.path);
    match marker(&path) {
        Some(Marker::Whiteout(_)) => return Ok(()),
        // The marker lies in its directory as an entry would.
        Some(Marker::Opaque(_)) => return imply_parents(&path, staging, inodes),
        None => {}
    }
    imply_parents(&path, staging, inodes)?;
    let staged = match &node.kind {
        NodeKind::Directory => {
            let fresh = match staging.get(&path) {
                None | Some(Staged::Implied) => false,
                Some(Staged::Directory { fresh, .. }) => *fresh,
                Some(Staged::Inode(_)) => true,
                Some(Staged::Pending(_)) => return Err(Outcome::Unclear),
            };
            let metadata = node.metadata.clone();
            Staged::Directory { metadata, fresh }
        }
        NodeKind::Hardlink(target) => {
            let target = text(target);
            match find(&target, visible, staging, inodes)? {
                Some(id) => Staged::Inode(id),
                None => Staged::Pending(target),
            }
        }
        _ => {
            inodes.push(node.clone());
            Staged::Inode(inodes.len() - 1)
        }
    };
    if let Some(Staged::Pending(_)) = staging.get(&path) {
        // Must the target of a link that another entry replaces exist?
        return Err(Outcome::Unclear);
    }
    let below = format!("{path}/");
    let occupied = staging.keys().any(|other| other.starts_with(&below));
    match staged {
        // What has the name until the link's target comes?
        Staged::Pending(_) if occupied || staging.contains_key(&path) => {
            return Err(Outcome::Unclear);
        }
        Staged::Inode(_) if occupied => return Err(Outcome::Refused),
        _ => {}
    }
    staging.insert(path, staged);
    Ok(())
}

fn imply_parents(path: &str, staging: &mut Staging, inodes: &[Node]) -> Result<(), Outcome> {
    let mut parents: Vec<_> = ancestors(path).filter(|a| !a.is_empty()).collect();
    parents.reverse();
    for parent in parents {
        match staging.get(parent) {
            Some(Staged::Implied | Staged::Directory { .. }) => {}
            Some(Staged::Inode(id)) if is_symlink(*id, inodes) => return Err(Outcome::Unclear),
            Some(Staged::Pending(_)) => return Err(Outcome::Unclear),
            Some(Staged::Inode(_)) => return Err(Outcome::Refused),
            None => {
                staging.insert(parent.to_owned(), Staged::Implied);
            }
        }
    }
    Ok(())
}

/// What a hardlink to `target` links to at this point of the layer.
fn find(
    target: &str,
    visible: &Lower,
    staging: &Staging,
    inodes: &[Node],
) -> Result<Option<usize>, Outcome> {
    match staging.get(target) {
        Some(Staged::Inode(id)) => return Ok(Some(*id)),
        Some(Staged::Implied | Staged::Directory { .. }) => return Err(Outcome::Refused),
        Some(Staged::Pending(_)) if visible.contains_key(target) => return Err(Outcome::Unclear),
        Some(Staged::Pending(_)) => return Ok(None),
        None => {}
    }
    if below_own_symlink(target, staging, inodes) || below_symlink(target, visible, inodes) {
        return Err(Outcome::Unclear);
    }
    if covered(target, staging) {
        return Ok(None);
    }
    match visible.get(target) {
        Some(Named::Inode(id)) => Ok(Some(*id)),
        Some(Named::Directory(_)) => Err(Outcome::Refused),
        None => Ok(None),
    }
}

/// Gives forward hardlinks their targets: in the layer, else as the lower layers had it.
fn link_pending(
    lower: &Lower,
    visible: &Lower,
    staging: &mut Staging,
    inodes: &[Node],
) -> Result<(), Outcome> {
    loop {
        let pending: Vec<_> = staging
            .iter()
            .filter_map(|(path, staged)| match staged {
                Staged::Pending(target) => Some((path.clone(), target.clone())),
                _ => None,
            })
            .collect();
        if pending.is_empty() {
            return Ok(());
        }
        let mut linked = Vec::new();
        for (path, target) in &pending {
            match staging.get(target) {
                Some(Staged::Inode(id)) => linked.push((path.clone(), *id)),
                Some(Staged::Implied | Staged::Directory { .. }) => return Err(Outcome::Refused),
                Some(Staged::Pending(_)) if lower.contains_key(target) => {
                    return Err(Outcome::Unclear);
                }
                Some(Staged::Pending(_)) => {}
                None if visible.contains_key(target) && !covered(target, staging) => {
                    return Err(Outcome::Unclear);
                }
                None if below_own_symlink(target, staging, inodes)
                    || below_symlink(target, lower, inodes) =>
                {
                    return Err(Outcome::Unclear);
                }
                None => match lower.get(target) {
                    Some(Named::Inode(id)) => linked.push((path.clone(), *id)),
                    Some(Named::Directory(_)) | None => return Err(Outcome::Refused),
                },
            }
        }
        if linked.is_empty() {
            return Err(Outcome::Refused);
        }
        for (path, id) in linked {
            staging.insert(path, Staged::Inode(id));
        }
    }
}

/// Does something the layer put above `path` hide what the lower layers have there?
fn covered(path: &str, staging: &Staging) -> bool {
    ancestors(path).any(|parent| {
        matches!(
            staging.get(parent),
            Some(Staged::Inode(_) | Staged::Pending(_) | Staged::Directory { fresh: true, .. })
        )
    })
}

/// Lays the staging map onto the lower layers.
fn overlay(visible: &Lower, staging: &Staging) -> Lower {
    let mut merged: Lower = visible
        .iter()
        .filter(|(path, _)| !covered(path, staging))
        .map(|(path, named)| (path.clone(), named.clone()))
        .collect();
    for (path, staged) in staging {
        let named = match (staged, merged.get(path)) {
            (Staged::Implied, Some(Named::Directory(_))) => continue,
            (Staged::Implied, _) => Named::Directory(Metadata::implicit_directory()),
            (Staged::Directory { metadata, .. }, _) => Named::Directory(metadata.clone()),
            (Staged::Inode(id), _) => Named::Inode(*id),
            (Staged::Pending(_), _) => unreachable!("every pending link was linked or refused"),
        };
        merged.insert(path.clone(), named);
    }
    merged
}

/// The directories above `path`, nearest first, the root (empty) last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/') {
        Some((parent, _)) => Some(parent),
        None => (!path.is_empty()).then_some(""),
    })
    .skip(1)
}

fn below_own_symlink(path: &str, staging: &Staging, inodes: &[Node]) -> bool {
    ancestors(path).any(
        |parent| matches!(staging.get(parent), Some(Staged::Inode(id)) if is_symlink(*id, inodes)),
    )
}

fn below_symlink(path: &str, lower: &Lower, inodes: &[Node]) -> bool {
    ancestors(path).any(
        |parent| matches!(lower.get(parent), Some(Named::Inode(id)) if is_symlink(*id, inodes)),
    )
}

fn is_symlink(id: usize, inodes: &[Node]) -> bool {
    matches!(inodes[id].kind, NodeKind::Symlink(_))
}

fn text(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).expect("the oracle is asked about plain names")
}
