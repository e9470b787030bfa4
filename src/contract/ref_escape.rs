//! Any text as part of a ref name, by the rule of ostree-ext.
//!
//! Refs are paths of letters, digits, `-`, `_` and `.`; image references hold more. ASCII letters,
//! digits and `-` stand for themselves, `_` becomes `__`, and `/` stays where it cannot make an
//! empty path component: after an ASCII letter or digit and not at the end. Every other character
//! becomes its code point in upper-case hexadecimal between underscores, `:` thus `_3A_`.
//!
//! The rule lets a component begin with `-`, which libostree refuses;
//! [`RefName`](super::RefName) tells that case.

use std::fmt::Write as _;
use std::num::ParseIntError;

/// Escapes `text`.
pub fn escape(text: &str) -> Result<String, EscapeError> {
    if text.is_empty() {
        return Err(EscapeError::Empty);
    }
    let mut escaped = String::with_capacity(text.len());
    let mut after_alphanumeric = false;
    for (index, c) in text.char_indices() {
        match c {
            '\0' => return Err(EscapeError::Nul),
            '-' => escaped.push(c),
            '_' => escaped.push_str("__"),
            '/' if after_alphanumeric && index + 1 < text.len() => escaped.push(c),
            _ if c.is_ascii_alphanumeric() => escaped.push(c),
            _ => write!(escaped, "_{:02X}_", u32::from(c)).expect("a String takes everything"),
        }
        after_alphanumeric = c.is_ascii_alphanumeric();
    }
    Ok(escaped)
}

/// `PREFIX/ESCAPED`.
pub fn escape_with_prefix(prefix: &str, text: &str) -> Result<String, EscapeError> {
    Ok(format!("{prefix}/{}", escape(text)?))
}

/// Undoes [`escape`]. Like ostree-ext it also takes what [`escape`] never makes: lower-case digits,
/// a code point whose closing `_` is missing at the end, a lone `_` there, an escaped NUL.
pub fn unescape(escaped: &str) -> Result<String, UnescapeError> {
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped.chars();
    while let Some(c) = rest.next() {
        match c {
            '-' | '/' => text.push(c),
            '_' => text.extend(code_point(&mut rest)?),
            _ if c.is_ascii_alphanumeric() => text.push(c),
            _ => return Err(UnescapeError::Character(c)),
        }
    }
    Ok(text)
}

/// Undoes [`escape_with_prefix`].
pub fn unescape_with_prefix(prefix: &str, name: &str) -> Result<String, UnescapeError> {
    let escaped = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| UnescapeError::Prefix {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })?;
    unescape(escaped)
}

/// Reads what follows a `_`, up to and with the closing one.
fn code_point(rest: &mut std::str::Chars<'_>) -> Result<Option<char>, UnescapeError> {
    let Some(first) = rest.next() else {
        return Ok(None);
    };
    if first == '_' {
        return Ok(Some('_'));
    }
    let mut digits = String::from(first);
    digits.extend(rest.take_while(|&c| c != '_'));
    match u32::from_str_radix(&digits, 16) {
        Ok(number) => match char::from_u32(number) {
            Some(c) => Ok(Some(c)),
            None => Err(UnescapeError::CodePoint(number)),
        },
        Err(source) => Err(UnescapeError::Number { digits, source }),
    }
}

/// Why a text cannot be escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    /// There is nothing to escape.
    #[error("an empty text cannot be part of a ref")]
    Empty,
    /// It has a NUL.
    #[error("a text with a NUL cannot be part of a ref")]
    Nul,
}

/// Why a ref is not one that [`escape_with_prefix`] made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnescapeError {
    /// It starts otherwise.
    #[error("ref {name:?} does not start with {prefix:?} and a slash")]
    Prefix {
        /// The ref.
        name: String,
        /// What it should start with.
        prefix: String,
    },
    /// A character that would have been escaped.
    #[error("unescaped character {0:?}")]
    Character(char),
    /// No number between underscores.
    #[error("{digits:?} between underscores is no hexadecimal number: {source}")]
    Number {
        /// What stands there.
        digits: String,
        /// What is wrong with it.
        source: ParseIntError,
    },
    /// A number that is no Unicode scalar value.
    #[error("U+{0:04X} is no character")]
    CodePoint(u32),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back(text in "[^\0]+") {
            let escaped = escape_with_prefix("some/prefix", &text).unwrap();
            prop_assert_eq!(unescape_with_prefix("some/prefix", &escaped).unwrap(), text);
        }

        /// The same with the characters that matter, which a random text seldom has.
        #[test]
        fn comes_back_from_the_corners(text in "[a0_/.:-]{1,12}") {
            let escaped = escape(&text).unwrap();
            prop_assert_eq!(unescape(&escaped).unwrap(), text);
            prop_assert!(!escaped.starts_with('/') && !escaped.ends_with('/'), "{}", escaped);
            prop_assert!(!escaped.contains("//"), "{}", escaped);
        }

        #[test]
        fn differs_for_different_texts(a in "[a_/:A3]{1,6}", b in "[a_/:A3]{1,6}") {
            prop_assert_eq!(a == b, escape(&a) == escape(&b));
        }

        #[test]
        fn takes_anything(escaped in any::<String>()) {
            let _ = unescape(&escaped);
        }
    }

    #[test]
    fn prefix_must_match_whole() {
        for name in ["", "prefix", "prefixed/x", "other/x", "/prefix/x"] {
            let error = unescape_with_prefix("prefix", name).unwrap_err();
            assert!(
                matches!(error, UnescapeError::Prefix { .. }),
                "{name}: {error}"
            );
        }
        assert_eq!(
            unescape_with_prefix("prefix", "prefix/x").as_deref(),
            Ok("x")
        );
    }
}
