//! The labels of a whole tree, and how they are kept honest: libselinux is asked about a sample.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use anyhow::Result;

use super::{
    ContextId, Contexts, FileKind, KnownLabels, Match, Policy, PolicyError, PolicyLine, lookup_path,
};
use crate::path::{ImagePath, escape};

/// The size of each half of the [`sample`]. Real trees use some 300 lines of their policy, so
/// libselinux is asked some 650 questions, of which its releases up to 3.7 answer 2,500 a second.
const SAMPLE: usize = 350;

/// How many of the nodes are asked about that the same policy labelled before: the time that
/// libselinux takes is much of that of an update.
const FAMILIAR_SAMPLE: usize = 4;

/// Who is right by definition.
pub trait Reference {
    /// The context of a file of this kind at the absolute `path`; `None`: it has no label.
    fn lookup(&mut self, path: &[u8], kind: FileKind) -> Result<Option<String>>;
}

impl<R: Reference> Reference for &mut R {
    fn lookup(&mut self, path: &[u8], kind: FileKind) -> Result<Option<String>> {
        R::lookup(self, path, kind)
    }
}

/// A path of the committed tree and what lies there.
pub type Node = (ImagePath, FileKind);

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
                write!(f, "labelled by libselinux, which differs on {}", all.len())?;
                all.iter().take(3).try_for_each(|one| write!(f, "; {one}"))
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

/// Labels `nodes` by `policy` and checks a [`sample`] of the answers with the reference, which takes
/// over if one differs, or if the policy is one that only libselinux can read.
///
/// `nodes` gives the same nodes each time: they are walked again for the sample instead of kept,
/// because the paths of a deep tree can be far larger than the tree.
///
/// Fails if the policy is malformed (before `reference` is called) or the reference fails.
pub fn label_all<R: Reference, N: Iterator<Item = Node>>(
    policy: Result<Policy, PolicyError>,
    reference: impl FnOnce() -> Result<R>,
    nodes: impl Fn() -> N,
) -> Result<Labels> {
    label_news(policy, reference, nodes, &Earlier::default())
}

/// What the same policy said at an earlier import, which checked a sample of it.
#[derive(Debug, Default)]
pub(super) struct Earlier<'a> {
    /// So many of the first nodes were labelled then, nearly all of them.
    pub labelled: usize,
    /// Those whose labels are known.
    pub known: Option<&'a KnownLabels<'a>>,
}

impl<'a> Earlier<'a> {
    /// The label of a node, as far as it is known.
    pub fn label(&self, (path, kind): &Node) -> Option<&'a str> {
        self.known?.find(path, *kind)
    }
}

/// A label that is known, or what the policy says.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Known(ContextId),
    Found(Option<Match>),
}

impl Answer {
    fn context(self) -> Option<ContextId> {
        match self {
            Self::Known(context) => Some(context),
            Self::Found(found) => found.and_then(|found| found.context),
        }
    }

    fn line(self, policy: &Policy) -> Option<&PolicyLine> {
        match self {
            Self::Found(Some(found)) => Some(policy.line(found.spec)),
            _ => None,
        }
    }
}

/// [`label_all`] where some of it was labelled `earlier`. Of that only a few nodes are checked again,
/// and none whose label is known: it would be the same question.
pub(super) fn label_news<R: Reference, N: Iterator<Item = Node>>(
    policy: Result<Policy, PolicyError>,
    reference: impl FnOnce() -> Result<R>,
    nodes: impl Fn() -> N,
    earlier: &Earlier<'_>,
) -> Result<Labels> {
    let policy = match policy {
        Ok(policy) => policy,
        Err(error @ PolicyError::Malformed { .. }) => return Err(error.into()),
        Err(error) => return take_over(&mut reference()?, nodes(), TakeOver::Unsupported(error)),
    };
    let mut reference = reference()?;
    let mut labeler = policy.labeler();
    let mut contexts = policy.contexts().clone();
    let answers: Vec<_> = nodes()
        .map(|node| match (earlier.label(&node), node) {
            (Some(label), _) => Answer::Known(contexts.intern(label)),
            (None, (path, kind)) => Answer::Found(labeler.label(&lookup_path(&path), kind)),
        })
        .collect();
    let sample = sample_news(&answers, earlier.labelled);
    let checked = sample.len();
    let disagreements = compare(
        &policy,
        &contexts,
        &mut reference,
        nodes(),
        &answers,
        &sample,
    )?;
    if !disagreements.is_empty() {
        return take_over(
            &mut reference,
            nodes(),
            TakeOver::Disagreement(disagreements),
        );
    }
    Ok(Labels {
        contexts,
        labels: answers.into_iter().map(Answer::context).collect(),
        checked,
        taken_over: None,
    })
}

/// The indices of the answers that stand for all of them: the first of every context and of every
/// line that decided one, so that nothing in use goes unchecked, and others evenly spread; up to
/// `size` of both. The same answers give the same sample.
pub fn sample(matches: &[Option<Match>], size: usize) -> BTreeSet<usize> {
    let mut contexts = HashSet::new();
    let mut lines = HashSet::new();
    let all = 0..matches.len();
    let by_context = all
        .clone()
        .filter(|&n| contexts.insert(matches[n].map(|m| m.context)));
    let by_line = all
        .clone()
        .filter(|&n| lines.insert(matches[n].map(|m| m.spec)));
    let mut chosen = BTreeSet::new();
    for n in by_context.chain(by_line) {
        if chosen.len() == size {
            break;
        }
        chosen.insert(n);
    }
    let stride = matches.len().div_ceil(size.max(1)).max(1);
    chosen.extend(all.step_by(stride));
    chosen
}

/// A [`sample`] of the answers that are news, and a few of the first so many, which were labelled
/// earlier.
fn sample_news(answers: &[Answer], labelled_earlier: usize) -> BTreeSet<usize> {
    let mut familiar = Vec::new();
    let mut news = Vec::new();
    let mut matches = Vec::new();
    for (n, answer) in answers.iter().enumerate() {
        match *answer {
            Answer::Known(_) => {}
            Answer::Found(_) if n < labelled_earlier => familiar.push(n),
            Answer::Found(found) => {
                news.push(n);
                matches.push(found);
            }
        }
    }
    let of_news = sample(&matches, SAMPLE).into_iter().map(|n| news[n]);
    let stride = familiar.len().div_ceil(FAMILIAR_SAMPLE).max(1);
    of_news
        .chain(familiar.into_iter().step_by(stride))
        .collect()
}

fn compare(
    policy: &Policy,
    contexts: &Contexts,
    reference: &mut impl Reference,
    nodes: impl Iterator<Item = Node>,
    answers: &[Answer],
    sample: &BTreeSet<usize>,
) -> Result<Vec<Disagreement>> {
    let mut disagreements = Vec::new();
    let answered = nodes.zip(answers).enumerate();
    let sampled = answered.filter(|(n, _)| sample.contains(n));
    for (_, ((path, kind), &answer)) in sampled {
        let path = lookup_path(&path);
        let ours = answer.context().map(|id| contexts.get(id));
        let libselinux = reference.lookup(&path, kind)?;
        if libselinux.as_deref() != ours {
            disagreements.push(Disagreement {
                path,
                kind,
                ours: ours.map(str::to_owned),
                line: answer.line(policy).cloned(),
                libselinux,
            });
        }
    }
    Ok(disagreements)
}

fn take_over(
    reference: &mut impl Reference,
    nodes: impl Iterator<Item = Node>,
    reason: TakeOver,
) -> Result<Labels> {
    let mut contexts = Contexts::default();
    let mut labels = Vec::new();
    for (path, kind) in nodes {
        let context = reference.lookup(&lookup_path(&path), kind)?;
        labels.push(context.map(|context| contexts.intern(&context)));
    }
    Ok(Labels {
        contexts,
        checked: labels.len(),
        labels,
        taken_over: Some(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::label::PolicyFiles;
    use crate::testing::Layers;

    /// Answers by a table of lines of its own, and counts the questions.
    struct Table {
        policy: Policy,
        asked: usize,
    }

    impl Table {
        fn new(file_contexts: &str) -> Self {
            Self {
                policy: parse(file_contexts).unwrap(),
                asked: 0,
            }
        }
    }

    impl Reference for Table {
        fn lookup(&mut self, path: &[u8], kind: FileKind) -> Result<Option<String>> {
            self.asked += 1;
            let context = self
                .policy
                .labeler()
                .label(path, kind)
                .and_then(|m| m.context);
            Ok(context.map(|context| self.policy.context(context).to_owned()))
        }
    }

    const POLICY: &str =
        "/.* all\n/usr(/.*)? usr\n/usr/bin/.* bin\n/etc/.* etc\n/tmp/.* <<none>>\n";

    fn parse(file_contexts: &str) -> Result<Policy, PolicyError> {
        Policy::parse(&PolicyFiles {
            file_contexts: file_contexts.into(),
            ..PolicyFiles::default()
        })
    }

    /// Enough nodes for a thin sample, with one of a rare label far inside.
    fn nodes() -> Vec<Node> {
        let node = |path: String| {
            (
                ImagePath::parse(path.as_bytes()).unwrap(),
                FileKind::Regular,
            )
        };
        let mut nodes: Vec<_> = (0..5000).map(|n| node(format!("usr/{n}"))).collect();
        nodes.insert(3001, node("usr/bin/sh".to_owned()));
        nodes.insert(3002, node("usr/etc/passwd".to_owned()));
        nodes.insert(3003, node("tmp/x".to_owned()));
        nodes.insert(3004, node("proc".to_owned()));
        nodes
    }

    fn label(labels: &Labels, n: usize) -> Option<&str> {
        labels.labels[n].map(|context| labels.contexts.get(context))
    }

    #[test]
    fn an_agreeing_reference_is_asked_a_sample() {
        let mut reference = Table::new(POLICY);
        let labels =
            label_all(parse(POLICY), || Ok(&mut reference), || nodes().into_iter()).unwrap();
        assert_eq!(labels.taken_over, None);
        assert_eq!(labels.checked, reference.asked);
        assert!(labels.checked < 2 * SAMPLE, "{}", labels.checked);
        for (n, want) in [
            (0, Some("usr")),
            (3001, Some("bin")),
            (3002, Some("etc")),
            (3003, None),
            (3004, Some("all")),
        ] {
            assert_eq!(label(&labels, n), want, "{n}");
        }
    }

    #[test]
    fn of_what_is_familiar_little_is_asked() {
        let asked = |labelled| {
            let mut reference = Table::new(POLICY);
            let earlier = Earlier {
                labelled,
                known: None,
            };
            let nodes = || nodes().into_iter();
            let labels = label_news(parse(POLICY), || Ok(&mut reference), nodes, &earlier);
            assert_eq!(labels.unwrap().taken_over, None);
            reference.asked
        };
        let all = nodes().len();
        assert!(asked(0) > 300, "{}", asked(0));
        assert_eq!(asked(all), FAMILIAR_SAMPLE);
        assert_eq!(asked(all - 10), 10 + FAMILIAR_SAMPLE);
    }

    #[test]
    fn known_labels_are_taken_as_they_are() {
        let (layers, _) = Layers::new().file("usr/bin/sh", "").build();
        let of_layer = [Some("known".into())];
        let mut known = KnownLabels::new(Digest::of(b"policy"));
        known.add(&layers[0], &of_layer);
        let earlier = Earlier {
            labelled: 0,
            known: Some(&known),
        };
        let mut reference = Table::new(POLICY);
        let nodes = || nodes().into_iter();
        let labels = label_news(parse(POLICY), || Ok(&mut reference), nodes, &earlier).unwrap();
        assert_eq!(labels.taken_over, None);
        assert_eq!(label(&labels, 0), Some("usr"));
        assert_eq!(label(&labels, 3001), Some("known"));
    }

    #[test]
    fn a_single_disagreement_hands_over() {
        let mut reference = Table::new(&POLICY.replace(" bin", " sbin"));
        let labels =
            label_all(parse(POLICY), || Ok(&mut reference), || nodes().into_iter()).unwrap();
        let reason = labels.taken_over.as_ref().unwrap().to_string();
        assert_eq!(
            reason,
            "labelled by libselinux, which differs on 1; /usr/bin/sh (Regular): \
             libselinux says sbin, not bin of file_contexts:3: /usr/bin/.* bin"
        );
        assert_eq!(label(&labels, 3001), Some("sbin"));
        assert_eq!(label(&labels, 3003), None);
        assert_eq!(labels.checked, labels.labels.len());
    }

    #[test]
    fn a_policy_for_pcre_hands_over() {
        let mut reference = Table::new(POLICY);
        let policy = parse("/usr(?=/bin).* bin\n");
        let labels = label_all(policy, || Ok(&mut reference), || nodes().into_iter()).unwrap();
        assert!(matches!(labels.taken_over, Some(TakeOver::Unsupported(_))));
        assert_eq!(label(&labels, 3001), Some("bin"));
        assert_eq!(reference.asked, nodes().len());
    }

    #[test]
    fn a_malformed_policy_is_an_error() {
        let unreachable = || -> Result<Table> { panic!("nobody is to be asked") };
        let error = label_all(parse("/usr\n"), unreachable, || nodes().into_iter()).unwrap_err();
        let want = "the policy is malformed at file_contexts:1: /usr: no context";
        assert_eq!(error.to_string(), want);
    }

    #[test]
    fn samples_are_bounded_and_spread() {
        let policy = parse(POLICY).unwrap();
        let mut labeler = policy.labeler();
        let matches: Vec<_> = nodes()
            .iter()
            .map(|(path, kind)| labeler.label(&lookup_path(path), *kind))
            .collect();
        assert_eq!(sample(&matches, 10), sample(&matches, 10));
        let rare = sample(&matches, 10);
        assert!((3001..=3004).all(|n| rare.contains(&n)), "{rare:?}");
        assert_eq!(rare.range(..3000).count(), 6);
        assert_eq!(
            sample(&matches, 2).into_iter().collect::<Vec<_>>(),
            [0, 2502, 3001]
        );
        assert_eq!(sample(&matches, usize::MAX).len(), matches.len());
        assert!(sample(&[], 10).is_empty());
    }
}
