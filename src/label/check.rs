//! The labels of a whole tree, and how they are kept honest: libselinux is asked about a sample.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use anyhow::Result;

use super::{ContextId, Contexts, FileKind, Match, Policy, PolicyError, PolicyLine, lookup_path};
use crate::path::{ImagePath, escape};

/// How many nodes of a tree libselinux is asked about: 0.2 s for its releases up to 3.7, which
/// answer some 2,500 questions a second.
const SAMPLE: usize = 500;

/// Who is right by definition.
pub trait Reference {
    /// The context of a file of this kind at the absolute `path`; `None`: it has no label.
    fn lookup(&mut self, path: &[u8], kind: FileKind) -> Result<Option<String>>;
}

/// The labels of a list of nodes.
#[derive(Debug)]
pub struct Labels {
    /// The contexts they are of.
    pub contexts: Contexts,
    /// A label for each node, in the order they were given. `None`: no label.
    pub labels: Vec<Option<ContextId>>,
    /// How many of them libselinux was asked about.
    pub checked: usize,
    /// Why all of them are libselinux's, if they are.
    pub taken_over: Option<TakeOver>,
}

/// Why libselinux labelled a whole tree; it is slow, but it is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeOver {
    /// The policy cannot be compiled here.
    Unsupported(PolicyError),
    /// The answers differed.
    Disagreement(Vec<Disagreement>),
}

impl fmt::Display for TakeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(error) => write!(f, "labelled by libselinux: {error}"),
            Self::Disagreement(all) => {
                f.write_str("labelled by libselinux, which differs")?;
                if let Some(first) = all.first() {
                    write!(f, " on {} paths: {first}", all.len())?;
                }
                Ok(())
            }
        }
    }
}

/// A path for which libselinux gives another label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The path as it was looked up.
    pub path: Vec<u8>,
    /// Its kind.
    pub kind: FileKind,
    /// Our label.
    pub ours: Option<String>,
    /// The line that gave it.
    pub line: Option<PolicyLine>,
    /// libselinux's label.
    pub libselinux: Option<String>,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |label: &Option<String>| label.clone().unwrap_or_else(|| "no label".to_owned());
        write!(
            f,
            "{} ({:?}): libselinux says {}, not {}",
            escape(&self.path),
            self.kind,
            text(&self.libselinux),
            text(&self.ours)
        )?;
        match &self.line {
            Some(line) => write!(f, " of {line}"),
            None => Ok(()),
        }
    }
}

/// Labels `nodes` by `policy` and checks a [`sample`] of the answers with `reference`, which takes
/// over if one differs, or if the policy is one that only libselinux can read.
///
/// Fails if the policy is malformed or `reference` fails.
pub fn label_all(
    policy: Result<Policy, PolicyError>,
    reference: &mut dyn Reference,
    nodes: &[(ImagePath, FileKind)],
) -> Result<Labels> {
    let policy = match policy {
        Ok(policy) => policy,
        Err(error @ PolicyError::Malformed { .. }) => return Err(error.into()),
        Err(error) => return take_over(reference, nodes, TakeOver::Unsupported(error)),
    };
    let mut labeler = policy.labeler();
    let matches: Vec<_> = nodes
        .iter()
        .map(|(path, kind)| labeler.label(&lookup_path(path), *kind))
        .collect();
    let sample = sample(&matches, SAMPLE);
    let checked = sample.len();
    let disagreements = compare(&policy, reference, nodes, &matches, sample)?;
    if !disagreements.is_empty() {
        return take_over(reference, nodes, TakeOver::Disagreement(disagreements));
    }
    Ok(Labels {
        contexts: policy.contexts().clone(),
        labels: matches.iter().map(|m| m.and_then(|m| m.context)).collect(),
        checked,
        taken_over: None,
    })
}

/// The indices of up to `size` answers that stand for all of them: the first of every context, so
/// that no context is in use unchecked, and as many others as are left, evenly spread. The same
/// answers give the same sample.
pub fn sample(matches: &[Option<Match>], size: usize) -> BTreeSet<usize> {
    let mut seen = HashSet::new();
    let mut chosen: BTreeSet<usize> = (0..matches.len())
        .filter(|&n| seen.insert(matches[n].map(|m| m.context)))
        .take(size)
        .collect();
    let rest = size - chosen.len();
    if rest > 0 {
        chosen.extend((0..matches.len()).step_by(matches.len().div_ceil(rest).max(1)));
    }
    chosen
}

fn compare(
    policy: &Policy,
    reference: &mut dyn Reference,
    nodes: &[(ImagePath, FileKind)],
    matches: &[Option<Match>],
    sample: BTreeSet<usize>,
) -> Result<Vec<Disagreement>> {
    let mut disagreements = Vec::new();
    for n in sample {
        let (path, kind) = &nodes[n];
        let path = lookup_path(path);
        let found = matches[n];
        let ours = found.and_then(|m| m.context).map(|id| policy.context(id));
        let libselinux = reference.lookup(&path, *kind)?;
        if libselinux.as_deref() != ours {
            disagreements.push(Disagreement {
                path,
                kind: *kind,
                ours: ours.map(str::to_owned),
                line: found.map(|m| policy.line(m.spec).clone()),
                libselinux,
            });
        }
    }
    Ok(disagreements)
}

fn take_over(
    reference: &mut dyn Reference,
    nodes: &[(ImagePath, FileKind)],
    reason: TakeOver,
) -> Result<Labels> {
    let mut contexts = Contexts::default();
    let mut labels = Vec::with_capacity(nodes.len());
    for (path, kind) in nodes {
        let context = reference.lookup(&lookup_path(path), *kind)?;
        labels.push(context.map(|context| contexts.intern(&context)));
    }
    Ok(Labels {
        contexts,
        labels,
        checked: nodes.len(),
        taken_over: Some(reason),
    })
}
