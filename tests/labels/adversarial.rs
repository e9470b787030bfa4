//! Paths that the lines of a policy match, and paths that they nearly match.

use std::collections::BTreeSet;

use import_oci::label::PolicyFiles;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::{KINDS, Question, full};

/// Paths that each line matches, and paths that it nearly matches, with several kinds of file.
pub fn adversarial(files: &PolicyFiles) -> Vec<Question> {
    let fields = |content: &Option<Vec<u8>>| -> Vec<Vec<String>> {
        String::from_utf8_lossy(content.as_deref().unwrap_or_default())
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter(|fields| fields.len() > 1)
            .collect()
    };
    let main = Some(files.file_contexts.clone());
    let mut paths = BTreeSet::new();
    for line in [&main, &files.homedirs, &files.local]
        .into_iter()
        .flat_map(fields)
    {
        paths.extend(near(&line[0]));
    }
    for alias in [&files.subs, &files.subs_dist].into_iter().flat_map(fields) {
        let (from, to) = (alias[0].as_bytes(), alias[1].as_bytes());
        let below: Vec<Vec<u8>> = paths
            .iter()
            .filter_map(|path| path.strip_prefix(to))
            .map(|rest| [from, rest].concat())
            .collect();
        paths.extend(below.into_iter().step_by(7));
        paths.extend([from.to_vec(), [from, b"x"].concat(), [from, b"/"].concat()]);
    }
    paths
        .into_iter()
        .enumerate()
        .flat_map(|(n, path)| {
            let kinds = if full() { KINDS.len() } else { 2 };
            let kinds = KINDS.into_iter().cycle().skip(n % KINDS.len()).take(kinds);
            kinds
                .map(move |kind| (path.clone(), kind))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Paths that `regex` matches and paths that it nearly matches.
pub fn near(regex: &str) -> Vec<Vec<u8>> {
    let hir = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .build()
        .parse(regex)
        .unwrap();
    let matching = expand(&hir).into_iter().take(6);
    matching
        .flat_map(|path| mutations(&path).into_iter().chain([path]))
        .filter(|path| path.first() == Some(&b'/') && !path.contains(&0))
        .collect()
}

/// Some strings that `hir` matches: each part in several shapes, the others in their first.
fn expand(hir: &Hir) -> Vec<Vec<u8>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Class(class) => {
            let class = match class {
                Class::Bytes(class) => class.clone(),
                Class::Unicode(class) => class.to_byte_class().expect("a class of bytes"),
            };
            let ranges = class.ranges();
            let has = |byte: u8| ranges.iter().any(|r| (r.start()..=r.end()).contains(&byte));
            let mut members: Vec<u8> = b"aA5/\n\xff".iter().copied().filter(|b| has(*b)).collect();
            members.extend(ranges.first().map(|r| r.start()));
            members.extend(ranges.last().map(|r| r.end()));
            members.into_iter().map(|byte| vec![byte]).collect()
        }
        HirKind::Capture(capture) => expand(&capture.sub),
        HirKind::Alternation(parts) => parts.iter().flat_map(expand).collect(),
        HirKind::Repetition(repetition) => {
            let once = expand(&repetition.sub);
            let mut all = Vec::new();
            for count in [1, 0, 3] {
                if count >= repetition.min && repetition.max.is_none_or(|max| count <= max) {
                    let pick = |n| once[n as usize % once.len()].clone();
                    all.push((0..count).flat_map(pick).collect());
                }
            }
            if all.is_empty() {
                all.push(once[0].repeat(repetition.min as usize));
            }
            all.extend(once.into_iter().skip(1).filter(|_| repetition.min <= 1));
            all
        }
        HirKind::Concat(parts) => {
            let parts: Vec<Vec<Vec<u8>>> = parts.iter().map(expand).collect();
            let first: Vec<&[u8]> = parts.iter().map(|shapes| &*shapes[0]).collect();
            let mut all = vec![first.concat()];
            for (n, shapes) in parts.iter().enumerate() {
                for shape in &shapes[1..] {
                    let mut varied = first.clone();
                    varied[n] = shape;
                    all.push(varied.concat());
                }
            }
            all
        }
    }
}

/// Paths that differ a little from `path`.
fn mutations(path: &[u8]) -> Vec<Vec<u8>> {
    let middle = path.len() / 2;
    let with = |at: usize, byte: u8| {
        let mut path = path.to_vec();
        path[at] = byte;
        path
    };
    let mut all = vec![
        [path, b"x"].concat(),
        [path, b"/x"].concat(),
        [path, b"/"].concat(),
        [path, b"\n"].concat(),
        [path, b"\n\n"].concat(),
        [b"/x", path].concat(),
        [b"/", path].concat(),
        [&path[..middle], b"//", &path[middle..]].concat(),
        path[..path.len().saturating_sub(1)].to_vec(),
    ];
    if path.len() > 1 {
        all.push(with(middle, 0xff));
        all.push(with(path.len() - 1, b'\n'));
    }
    for byte in [b'.', b'/'] {
        if let Some(at) = path.iter().skip(1).rposition(|&b| b == byte) {
            all.push(with(at + 1, b'x'));
        }
        if let Some(at) = path.iter().skip(1).position(|&b| b == byte) {
            all.push(with(at + 1, b'X'));
        }
    }
    all
}
