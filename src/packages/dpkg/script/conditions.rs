//! The conditions whose outcome is known of a package that was configured.

use std::collections::HashMap;
use std::ops::Not;

use super::Word;

/// How certain it is that something runs, or that a command succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    Never,
    Uncertain,
    Certain,
}

impl Not for Certainty {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Never => Self::Certain,
            Self::Uncertain => Self::Uncertain,
            Self::Certain => Self::Never,
        }
    }
}

/// Does a command succeed?
///
/// The script was called to configure the package; `setcap` was there and worked, since files that
/// got something in its place are left out; and so are paths that have an override.
pub fn outcome(words: &[Word]) -> Certainty {
    let texts: Vec<&[u8]> = words.iter().map(|word| &*word.text).collect();
    let is_parameter = |index: usize| words.get(index).is_some_and(|word| word.expands);
    match &texts[..] {
        [b"[" | b"test", _, b"=" | b"==", b"configure", ..] if is_parameter(1) => {
            Certainty::Certain
        }
        [b"[" | b"test", _, b"!=", b"configure", ..] if is_parameter(1) => Certainty::Never,
        [b"[" | b"test", b"-x", program, ..] if names_setcap(program) => Certainty::Certain,
        [b"command", b"-v", b"setcap"] | [b"which" | b"type", b"setcap"] => Certainty::Certain,
        [b"setcap" | b"/sbin/setcap" | b"/usr/sbin/setcap", ..] => Certainty::Certain,
        [b"true" | b":"] => Certainty::Certain,
        [b"dpkg-statoverride", b"--list", ..] => Certainty::Never,
        _ => Certainty::Uncertain,
    }
}

fn names_setcap(program: &[u8]) -> bool {
    program.windows(6).any(|part| part == b"setcap")
}

/// Does an arm of `case` run whose subject is the first parameter of the script?
pub fn arm(subject: Option<&Word>, patterns: &[Word]) -> Certainty {
    let by_action = subject.is_some_and(|word| {
        matches!(&*word.text, b"$1" | b"${1}" | b"${1-}" | b"${1:-}") && word.expands
    });
    match by_action {
        false => Certainty::Uncertain,
        true if patterns.iter().any(|word| word.text == b"configure") => Certainty::Certain,
        true => Certainty::Never,
    }
}

/// A word with the value of the variable that it is in its place, where that is plain or the path
/// that `dpkg-divert --truename` would print without a diversion.
pub fn resolve(word: &Word, variables: &HashMap<Vec<u8>, Option<Word>>) -> Word {
    let name = word.text.strip_prefix(b"$").map(|name| {
        let braced = name.strip_prefix(b"{").and_then(|n| n.strip_suffix(b"}"));
        braced.unwrap_or(name)
    });
    let value = name
        .filter(|_| word.expands)
        .and_then(|name| variables.get(name)?.as_ref());
    let Some(value) = value else {
        return word.clone();
    };
    let diverted = value
        .text
        .strip_prefix(b"$(dpkg-divert --truename ")
        .and_then(|path| path.strip_suffix(b")"))
        .filter(|path| !path.iter().any(|b| b" $\"'`".contains(b)));
    diverted.map_or_else(|| value.clone(), Word::plain)
}
