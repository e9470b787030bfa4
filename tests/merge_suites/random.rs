//! Random images of few names, so that everything meets everything, held against the oracles.

use std::cell::Cell;
use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use import_oci::tree::merge::MergeOptions;

use crate::format::{Node, NodeKind};
use crate::listing::{Listing, Merged, difference};
use crate::oracle::{self, Outcome};
use crate::umoci;

#[test]
fn random_images_merge_as_the_oracle_says() {
    let config = Config {
        cases: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    let clear = Cell::new(0);
    let result = TestRunner::new(config).run(&image(), |Image(layers)| {
        let expected = oracle::merge(&layers);
        let found = merge(&layers);
        clear.set(clear.get() + u32::from(!matches!(expected, Outcome::Unclear)));
        match (expected, found) {
            (Outcome::Unclear, _) | (Outcome::Refused, Err(_)) => {}
            (Outcome::Tree(expected), Ok(found)) => {
                let difference = difference(&expected, &found);
                prop_assert!(difference.is_none(), "\n{}", difference.unwrap_or_default());
            }
            (expected, found) => {
                prop_assert!(false, "expected {expected:#?}, found {found:#?}");
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(
        clear.get() > 10_000,
        "the oracle knew only {clear:?} images"
    );
}

#[test]
fn random_images_merge_as_umoci_unpacks_them() {
    if let Some(why) = umoci::missing() {
        eprintln!("not run: {why}");
        return;
    }
    let mut runner = TestRunner::deterministic();
    let mut compared = 0;
    for _ in 0..2000 {
        let image = image().new_tree(&mut runner).unwrap().current();
        if !umoci_has_our_rules(&image.0) {
            continue;
        }
        // Forward hardlinks and links to what the layer whites out it refuses.
        let Ok(theirs) = umoci::unpack(&image.0) else {
            continue;
        };
        let ours = merge(&image.0).unwrap();
        if let Some(text) = difference(&ours, &theirs) {
            panic!("- ours, + umoci's\n{text}\n{image:?}");
        }
        compared += 1;
        if compared == 50 {
            return;
        }
    }
    panic!("umoci unpacked only {compared} images");
}

/// No links or files as parents, no directory that only an opaque marker would make, and one mode
/// for all directories, as umoci keeps that of directories which it hides and makes again.
fn umoci_has_our_rules(layers: &[Vec<Node>]) -> bool {
    let mut merged = Merged::new();
    let usual = layers.iter().all(|layer| {
        let opaque = layer
            .iter()
            .filter_map(|node| node.path.strip_suffix(b"/.wh..wh..opq"));
        let is_made = |path: &[u8]| {
            layer
                .iter()
                .any(|node| node.path == path && node.kind == NodeKind::Directory)
        };
        merged.apply(layer, &MergeOptions::default()).is_ok() && opaque.clone().all(is_made)
    });
    usual
        && merged.report.notes().is_empty()
        && layers
            .iter()
            .flatten()
            .all(|node| node.metadata.mode != 0o700)
}

fn merge(layers: &[Vec<Node>]) -> Result<Listing, String> {
    let mut merged = Merged::new();
    for layer in layers {
        merged.apply(layer, &MergeOptions::default())?;
    }
    Ok(merged.list())
}

/// The layers of an image; printed as a data file has them, ready to become a case.
#[derive(Clone)]
struct Image(Vec<Vec<Node>>);

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for layer in &self.0 {
            f.write_str("\n  layer")?;
            for node in layer {
                write!(f, "\n    {node}")?;
            }
        }
        Ok(())
    }
}

fn image() -> impl Strategy<Value = Image> {
    vec(vec(node(), 0..7), 1..4).prop_map(|layers| Image(numbered(layers)))
}

fn node() -> impl Strategy<Value = Node> {
    let mode = prop_oneof![Just(0o755), Just(0o700)];
    prop_oneof![
        3 => (path(), mode).prop_map(|(path, mode)| {
            let mut node = Node::new(path, NodeKind::Directory);
            node.metadata.mode = mode;
            node
        }),
        4 => path().prop_map(|path| Node::new(path, NodeKind::File(Vec::new()))),
        1 => (path(), path()).prop_map(|(path, to)| {
            Node::new(path, NodeKind::Symlink(to.into_bytes()))
        }),
        2 => (path(), path()).prop_map(|(path, to)| {
            Node::new(path, NodeKind::Hardlink(to.into_bytes()))
        }),
        2 => path().prop_map(|path| Node::whiteout(path.as_bytes())),
        1 => path().prop_map(|path| Node::opaque(path.as_bytes())),
    ]
}

fn path() -> impl Strategy<Value = String> {
    vec(prop_oneof!["a", "b", "c"], 1..4).prop_map(|names| names.join("/"))
}

/// Gives every file a content of its own, so that it can be told from all others.
fn numbered(mut layers: Vec<Vec<Node>>) -> Vec<Vec<Node>> {
    for (layer, nodes) in layers.iter_mut().enumerate() {
        for (index, node) in nodes.iter_mut().enumerate() {
            let marker = node.path.windows(4).any(|bytes| bytes == b".wh.");
            if let NodeKind::File(content) = &mut node.kind
                && !marker
            {
                *content = format!("{layer}.{index}").into_bytes();
            }
        }
    }
    layers
}
