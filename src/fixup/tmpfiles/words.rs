//! The words of a line: quotes, C escapes and specifiers, as systemd's `extract-word.c` and
//! `specifier.c` read them.

use std::fmt::Write as _;

use crate::path::ImagePath;

/// A path as a word that every systemd reads alike: to version 252 a word has quotes and
/// backslashes, but no C escapes; 257 knows both. Only the end of a line cannot be written without one.
pub fn escape_path(path: &ImagePath) -> Vec<u8> {
    quote(&path.to_absolute())
}

/// [`escape_path`] for types whose path is a pattern: what is special in one stands for itself.
pub fn escape_glob(path: &ImagePath) -> Vec<u8> {
    let mut pattern = Vec::new();
    for byte in path.to_absolute() {
        // systemd asks glob(3) for braces, too.
        if b"*?[]{}\\".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    quote(&pattern)
}

fn quote(bytes: &[u8]) -> Vec<u8> {
    let mut word = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\n' => word.extend_from_slice(br"\n"),
            b'\r' => word.extend_from_slice(br"\r"),
            b'%' => word.extend_from_slice(b"%%"),
            b'\\' | b'"' | b'\'' => word.extend_from_slice(&[b'\\', byte]),
            byte => word.push(byte),
        }
    }
    match word.iter().any(u8::is_ascii_whitespace) {
        true => [b"\"", &*word, b"\""].concat(),
        false => word,
    }
}

/// The argument of a line, in which all versions know C escapes; a lone `-` would say that there is none.
pub fn escape_argument(argument: &[u8]) -> String {
    if argument == b"-" {
        return r"\x2d".to_owned();
    }
    let mut text = String::with_capacity(argument.len());
    for &byte in argument {
        match byte {
            b'\\' => text.push_str(r"\\"),
            b'%' => text.push_str("%%"),
            b'!' | b'#'..=b'&' | b'('..=b'~' => text.push(char::from(byte)),
            _ => write!(text, r"\x{byte:02x}").expect("a string takes all"),
        }
    }
    text
}

/// The first words of a line.
#[derive(Debug)]
pub struct Words<'a> {
    /// Them, without quotes and escapes.
    pub first: Vec<Vec<u8>>,
    /// What follows them, as it is.
    pub rest: &'a [u8],
}

/// Splits off the first `count` words of a line. `None`: a quote is not closed, or an escape is none.
pub fn words(line: &[u8], count: usize) -> Option<Words<'_>> {
    let mut first = Vec::new();
    let mut rest = line.trim_ascii_start();
    while first.len() < count && !rest.is_empty() {
        let (word, after) = word(rest)?;
        first.push(word);
        rest = after.trim_ascii_start();
    }
    Some(Words { first, rest })
}

fn word(mut text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut quote = None;
    while let Some((&byte, after)) = text.split_first() {
        match (byte, quote) {
            (b'\\', _) => {
                text = unescape_one(after, &mut word)?;
                continue;
            }
            (byte, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, None) if byte.is_ascii_whitespace() => return Some((word, text)),
            (byte, _) => word.push(byte),
        }
        text = after;
    }
    quote.is_none().then_some((word, text))
}

/// Resolves C escapes; `None` where one is none.
pub fn unescape(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    while let Some((&byte, after)) = text.split_first() {
        text = match byte {
            b'\\' => unescape_one(after, &mut bytes)?,
            byte => {
                bytes.push(byte);
                after
            }
        };
    }
    Some(bytes)
}

/// Resolves the escape whose backslash stands before `text`; what follows it is returned.
fn unescape_one<'a>(text: &'a [u8], into: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&letter, rest) = text.split_first()?;
    let simple = match letter {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b's' => b' ',
        b'\\' | b'"' | b'\'' => letter,
        b'x' => return number(rest, 2, 16, into),
        b'0'..=b'7' => return number(text, 3, 8, into),
        b'u' => return character(rest, 4, into),
        b'U' => return character(rest, 8, into),
        _ => return None,
    };
    into.push(simple);
    Some(rest)
}

fn number<'a>(text: &'a [u8], digits: usize, radix: u32, into: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (value, rest) = value(text, digits, radix)?;
    into.push(u8::try_from(value).ok().filter(|&byte| byte != 0)?);
    Some(rest)
}

fn character<'a>(text: &'a [u8], digits: usize, into: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (value, rest) = value(text, digits, 16)?;
    let character = char::from_u32(value).filter(|&c| c != '\0')?;
    into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn value(text: &[u8], digits: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let mut value = 0_u32;
    for &digit in number {
        value = value.checked_mul(radix)? + char::from(digit).to_digit(radix)?;
    }
    Some((value, rest))
}

/// Replaces specifiers. `None`: one is the host's (`%m`) or the boot's (`%b`), so that nothing is
/// known of the text here.
pub fn expand(text: &[u8]) -> Option<Vec<u8>> {
    let mut expanded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' => expanded.extend_from_slice(match bytes.next()? {
                b'%' => b"%",
                b'C' => b"/var/cache",
                b'L' => b"/var/log",
                b'S' => b"/var/lib",
                b'T' => b"/tmp",
                b'V' => b"/var/tmp",
                b't' => b"/run",
                b'h' => b"/root",
                b'u' | b'g' => b"root",
                b'U' | b'G' => b"0",
                _ => return None,
            }),
            byte => expanded.push(byte),
        }
    }
    Some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_the_rest() {
        let split = |line: &str| {
            let words = words(line.as_bytes(), 2)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let first: Vec<_> = words.first.iter().map(|word| text(word)).collect();
            Some((first.join("|"), text(words.rest)))
        };
        for (line, want) in [
            ("a  b c  d ", Some(("a|b", "c  d "))),
            ("a", Some(("a", ""))),
            ("'a b'\"c d\" e", Some(("a bc d|e", ""))),
            (r"a\x20b\tc\\ \101\u00e9", Some(("a b\tc\\|Aé", ""))),
            ("'' b", Some(("|b", ""))),
            ("'a", None),
            (r"a\", None),
            (r"a\q", None),
            (r"a\x2", None),
            (r"a\x00", None),
            (r"a\777", None),
        ] {
            let want = want.map(|(first, rest)| (first.to_owned(), rest.to_owned()));
            assert_eq!(split(line), want, "{line}");
        }
    }

    #[test]
    fn specifiers() {
        assert_eq!(expand(b"%S/x%%").as_deref(), Some(&b"/var/lib/x%"[..]));
        for hosts in ["%m", "%b/x", "x%"] {
            assert_eq!(expand(hosts.as_bytes()), None, "{hosts}");
        }
    }
}
