//! The lines of the policy files, read as libselinux reads them.

use std::borrow::Cow;

use super::{FileKind, MalformedLine, PolicyFile, PolicyFiles, PolicyLine};

/// What libselinux 3.4 reads of a line of an alias file at once: a 1023-byte buffer's worth.
const MAX_ALIAS_LINE: usize = 1022;

/// The context of a specification that leaves its paths without a label.
const NONE: &str = "<<none>>";

/// One line of `file_contexts`, `.homedirs` or `.local`.
#[derive(Debug, PartialEq, Eq)]
pub struct Specification<'a> {
    /// Where it stands.
    pub line: SourceLine<'a>,
    /// The whole path has to match it.
    pub regex: &'a str,
    /// The files it is for; `None`: every kind.
    pub kind: Option<FileKind>,
    /// The context that it gives; `None`: `<<none>>`.
    pub context: Option<&'a str>,
}

impl Specification<'_> {
    /// Has it no metacharacter, so that it names one path (libselinux's `hasMetaChars`)?
    pub fn is_literal(&self) -> bool {
        let mut bytes = self.regex.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => _ = bytes.next(),
                _ if is_metacharacter(byte) => return false,
                _ => {}
            }
        }
        true
    }

    /// The first directory of the paths that libselinux compares with it at all, with its leading
    /// slash (`get_stem_from_spec`). Its regular expression alone may match elsewhere: `/run/*.pid`
    /// matches `/runner.pid`, but has the stem `/run`.
    pub fn stem(&self) -> Option<&str> {
        let end = 1 + self.regex.get(1..)?.find('/')?;
        let stem = &self.regex[..end];
        (!stem.bytes().any(is_metacharacter)).then_some(stem)
    }

    /// What every path that matches it starts with. It may be shorter than what they have in common.
    pub fn prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        if has_open_alternation(self.regex) {
            return prefix;
        }
        let mut rest = self.regex.as_bytes();
        loop {
            let literal;
            (literal, rest) = match *rest {
                [b'\\', escaped, ref rest @ ..] if !escaped.is_ascii_alphanumeric() => {
                    (escaped, rest)
                }
                [b'\\', ..] | [] => return prefix,
                [byte, ..] if is_metacharacter(byte) => return prefix,
                [byte, ref rest @ ..] => (byte, rest),
            };
            if let [b'?' | b'*' | b'{', ..] = rest {
                return prefix;
            }
            prefix.push(literal);
        }
    }
}

/// May it be `a|b` as a whole? It is taken for one, too, where classes would have to be understood
/// to know.
fn has_open_alternation(regex: &str) -> bool {
    if !regex.contains('|') {
        return false;
    }
    if regex.contains('[') {
        return true;
    }
    let mut depth = 0;
    let mut bytes = regex.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'|' if depth <= 0 => return true,
            _ => {}
        }
    }
    false
}

/// An alias: paths at or below `from` are looked up as if they lay at `to`.
#[derive(Debug, PartialEq, Eq)]
pub struct Alias {
    /// Where it stands.
    pub line: PolicyLine,
    /// An absolute path.
    pub from: Vec<u8>,
    /// Another one.
    pub to: Vec<u8>,
}

impl Alias {
    /// The path to look up instead of `path`, if the alias fits it in whole components.
    pub fn apply(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = path.strip_prefix(&*self.from)?;
        let rest = match rest {
            [] => rest,
            [b'/', below @ ..] if self.to == b"/" => below,
            [b'/', ..] => rest,
            _ => return None,
        };
        Some([&*self.to, rest].concat())
    }
}

/// The aliases of a policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// The administrator's, in the order they are tried: the last line first.
    pub subs: Vec<Alias>,
    /// The distribution's, tried after them, in the same order.
    pub subs_dist: Vec<Alias>,
}

impl Aliases {
    /// Reads both files of aliases.
    ///
    /// # Errors
    /// A line that libselinux would read in pieces.
    pub fn parse(files: &PolicyFiles) -> Result<Self, MalformedLine> {
        let read =
            |file, content: &Option<Vec<u8>>| aliases(file, content.as_deref().unwrap_or_default());
        Ok(Self {
            subs: read(PolicyFile::Subs, &files.subs)?,
            subs_dist: read(PolicyFile::SubsDist, &files.subs_dist)?,
        })
    }

    /// The path to look up instead of the absolute `path`, without superfluous slashes, and the
    /// aliases that lead to it: at most one of each file.
    pub fn resolve<'p>(&self, path: &'p [u8]) -> (Cow<'p, [u8]>, [Option<&Alias>; 2]) {
        let mut path = without_superfluous_slashes(path);
        let mut applied = [None; 2];
        for (applied, aliases) in applied.iter_mut().zip([&self.subs, &self.subs_dist]) {
            let fitting = aliases
                .iter()
                .find_map(|alias| Some((alias, alias.apply(&path)?)));
            if let Some((alias, target)) = fitting {
                *applied = Some(alias);
                path = Cow::Owned(target);
            }
        }
        (path, applied)
    }
}

fn without_superfluous_slashes(path: &[u8]) -> Cow<'_, [u8]> {
    let mut path = Cow::Borrowed(path);
    if path.windows(2).any(|pair| pair == b"//") {
        path.to_mut().dedup_by(|a, b| (*a, *b) == (b'/', b'/'));
    }
    match path {
        Cow::Borrowed([head @ .., b'/']) if !head.is_empty() => Cow::Borrowed(head),
        Cow::Owned(mut path) => {
            if path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            Cow::Owned(path)
        }
        path => path,
    }
}

/// The specifications of `content`, in its order.
///
/// # Errors
/// A line that libselinux refuses.
pub fn specifications(
    file: PolicyFile,
    content: &[u8],
) -> Result<Vec<Specification<'_>>, MalformedLine> {
    let mut specifications = Vec::new();
    for line in lines(file, content) {
        let malformed = |reason: &str| line.malformed(reason);
        let mut fields = line.fields()?.take(3);
        let Some(regex) = fields.next() else {
            continue;
        };
        let rest: Vec<&[u8]> = fields.collect();
        if std::iter::once(&regex)
            .chain(&rest)
            .any(|field| !field.is_ascii())
        {
            return Err(malformed("bytes that are not ASCII"));
        }
        let text = |field| std::str::from_utf8(field).expect("ASCII is UTF-8");
        let (kind, context) = match *rest {
            [] => return Err(malformed("no context")),
            [context] => (None, context),
            [kind, context, ..] => match file_kind(kind) {
                Some(kind) => (Some(kind), context),
                None => {
                    let reason = format!("invalid file type `{}`", text(kind));
                    return Err(malformed(&reason));
                }
            },
        };
        let context = text(context);
        specifications.push(Specification {
            line,
            regex: text(regex),
            kind,
            context: (context != NONE).then_some(context),
        });
    }
    Ok(specifications)
}

/// The aliases of `content` in the order they are tried: the last line first.
fn aliases(file: PolicyFile, content: &[u8]) -> Result<Vec<Alias>, MalformedLine> {
    let mut aliases = Vec::new();
    for line in lines(file, content) {
        if line.bytes.len() > MAX_ALIAS_LINE {
            return Err(line.malformed("longer than libselinux reads in one piece"));
        }
        let mut fields = line.fields()?;
        if let (Some(from), Some(to)) = (fields.next(), fields.next()) {
            aliases.push(Alias {
                line: line.cite(),
                from: from.to_vec(),
                to: to.to_vec(),
            });
        }
    }
    aliases.reverse();
    Ok(aliases)
}

fn is_metacharacter(byte: u8) -> bool {
    b".^$?*+|[({".contains(&byte)
}

fn file_kind(field: &[u8]) -> Option<FileKind> {
    Some(match field {
        b"--" => FileKind::Regular,
        b"-d" => FileKind::Directory,
        b"-l" => FileKind::Symlink,
        b"-c" => FileKind::CharDevice,
        b"-b" => FileKind::BlockDevice,
        b"-p" => FileKind::Fifo,
        b"-s" => FileKind::Socket,
        _ => return None,
    })
}

/// A line of a policy file, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceLine<'a> {
    file: PolicyFile,
    number: usize,
    bytes: &'a [u8],
}

fn lines(file: PolicyFile, content: &[u8]) -> impl Iterator<Item = SourceLine<'_>> {
    (1..)
        .zip(content.split(|&b| b == b'\n'))
        .map(move |(number, bytes)| SourceLine {
            file,
            number,
            bytes,
        })
}

impl<'a> SourceLine<'a> {
    /// Its fields; none if it is blank or a comment.
    fn fields(&self) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, MalformedLine> {
        if self.bytes.contains(&0) {
            return Err(self.malformed("a NUL byte"));
        }
        let fields = self
            .bytes
            .split(|&b| is_space(b))
            .filter(|field| !field.is_empty());
        let comment = fields.clone().next().is_some_and(|f| f[0] == b'#');
        Ok(fields.take(if comment { 0 } else { usize::MAX }))
    }

    /// The line for a message.
    pub fn cite(&self) -> PolicyLine {
        let text = String::from_utf8_lossy(self.bytes);
        PolicyLine {
            file: self.file,
            number: self.number,
            text: text.trim().into(),
        }
    }

    fn malformed(&self, reason: &str) -> MalformedLine {
        MalformedLine {
            line: self.cite(),
            reason: reason.to_owned(),
        }
    }
}

/// C's `isspace`, which knows a vertical tab that `is_ascii_whitespace` does not.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specification(line: &str) -> Result<Vec<Specification<'_>>, MalformedLine> {
        specifications(PolicyFile::Local, line.as_bytes())
    }

    #[test]
    fn specification_lines() {
        use FileKind::*;
        for (line, regex, kind, context) in [
            ("/a u:r:t", "/a", None, Some("u:r:t")),
            ("  /a\t--\x0b u:r:t \r", "/a", Some(Regular), Some("u:r:t")),
            ("/a -d u:r:t", "/a", Some(Directory), Some("u:r:t")),
            ("/a -l u:r:t", "/a", Some(Symlink), Some("u:r:t")),
            ("/a -c u:r:t", "/a", Some(CharDevice), Some("u:r:t")),
            ("/a -b u:r:t", "/a", Some(BlockDevice), Some("u:r:t")),
            ("/a -p u:r:t", "/a", Some(Fifo), Some("u:r:t")),
            ("/a -s u:r:t", "/a", Some(Socket), Some("u:r:t")),
            (
                "/a -s u:r:t and more \u{e9}",
                "/a",
                Some(Socket),
                Some("u:r:t"),
            ),
            ("/a <<none>>", "/a", None, None),
            ("/a -- <<none>>", "/a", Some(Regular), None),
            ("/a#b u:r:t # x", "", None, None),
        ] {
            let got = specification(line);
            if regex.is_empty() {
                assert!(got.is_err(), "{line:?}: `#` is no type");
                continue;
            }
            let got = got.unwrap();
            assert_eq!(got.len(), 1, "{line:?}");
            let got = &got[0];
            assert_eq!(
                (got.regex, got.kind, got.context),
                (regex, kind, context),
                "{line:?}"
            );
        }
        for blank in ["", " \t", "#/a u:r:t", "  # \u{e9}"] {
            assert_eq!(specification(blank).unwrap(), [], "{blank:?}");
        }
    }

    #[test]
    fn malformed_lines_are_cited() {
        for (line, reason) in [
            ("/a", "no context"),
            ("/a -x u:r:t", "invalid file type `-x`"),
            ("/a --- u:r:t", "invalid file type `---`"),
            ("/a u:r:t trailing", "invalid file type `u:r:t`"),
            ("/\u{e9} u:r:t", "bytes that are not ASCII"),
            ("/a u:r:\u{e9}", "bytes that are not ASCII"),
            ("/a\0 u:r:t", "a NUL byte"),
        ] {
            let content = format!("# first\n\n {line}\n/b u:r:t\n");
            let error = specification(&content).unwrap_err();
            let want = MalformedLine {
                line: PolicyLine {
                    file: PolicyFile::Local,
                    number: 3,
                    text: line.into(),
                },
                reason: reason.to_owned(),
            };
            assert_eq!(error, want, "{line:?}");
        }
    }

    #[test]
    fn literals_and_stems() {
        for (regex, literal, stem) in [
            ("/", true, None),
            ("/usr", true, None),
            ("/usr/bin", true, Some("/usr")),
            ("/usr/bin/\\[", true, Some("/usr")),
            ("/usr/lib/a\\.so", true, Some("/usr")),
            ("/usr/bin(/.*)?", false, Some("/usr")),
            ("/usr(/.*)?", false, None),
            ("/run/*.pid", false, Some("/run")),
            ("/a\\.b/c", true, None),
            ("/a\\-b/c", true, Some("/a\\-b")),
            (".*/x", false, None),
            ("x/y", true, Some("x")),
        ] {
            let line = format!("{regex} u:r:t");
            let got = &specification(&line).unwrap()[0];
            assert_eq!(got.is_literal(), literal, "{regex}");
            assert_eq!(got.stem(), stem, "{regex}");
        }
    }

    #[test]
    fn prefixes() {
        for (regex, prefix) in [
            ("/", "/"),
            ("/usr/bin/\\[", "/usr/bin/["),
            ("/usr/lib/a\\.so", "/usr/lib/a.so"),
            ("/usr/bin(/.*)?", "/usr/bin"),
            ("/run/*.pid", "/run"),
            ("/ab+c", "/ab"),
            ("/ab?c", "/a"),
            ("/ab{0,2}c", "/a"),
            ("/a\\.?", "/a"),
            ("/a[bc]", "/a"),
            ("/a\\d", "/a"),
            ("/a\\", "/a"),
            ("/a(b|c)d", "/a"),
            ("/ab|/cd", ""),
            ("/a(b)|/c", ""),
            ("/a[(]|/c[)]", ""),
            ("/a(b|[c])", ""),
            ("/a)|/c", ""),
            ("/a\\|b", "/a|b"),
            (".*/x", ""),
            ("(?i)/x", ""),
        ] {
            let line = format!("{regex} u:r:t");
            let got = specification(&line).unwrap()[0].prefix();
            assert_eq!(String::from_utf8(got).unwrap(), prefix, "{regex}");
        }
    }

    #[test]
    fn alias_files() {
        let content = b"# comment\n/a /b\n\n /c\t/d more\n/lonely\n\xff /e";
        let got = aliases(PolicyFile::SubsDist, content).unwrap();
        let pairs: Vec<_> = got.iter().map(|a| (&*a.from, &*a.to)).collect();
        let want: [(&[u8], &[u8]); 3] = [(b"\xff", b"/e"), (b"/c", b"/d"), (b"/a", b"/b")];
        assert_eq!(pairs, want, "the last line is tried first");
        assert_eq!(got[2].line.to_string(), "file_contexts.subs_dist:2: /a /b");

        let long = format!("/{} /x\n", "a".repeat(MAX_ALIAS_LINE));
        assert!(aliases(PolicyFile::Subs, long.as_bytes()).is_err());
    }

    #[test]
    fn aliases_replace_whole_components() {
        for (from, to, path, want) in [
            ("/a", "/b", "/a", Some("/b")),
            ("/a", "/b", "/a/x", Some("/b/x")),
            ("/a", "/b", "/ab", None),
            ("/a", "/b", "/", None),
            ("/a", "/", "/a", Some("/")),
            ("/a", "/", "/a/x", Some("/x")),
            ("/a", "/b/", "/a/x", Some("/b//x")),
            ("/a/", "/b", "/a/x", None),
            ("/", "/b", "/", Some("/b")),
            ("/", "/b", "/a", None),
        ] {
            let line = format!("{from} {to}");
            let alias = &aliases(PolicyFile::Subs, line.as_bytes()).unwrap()[0];
            let got = alias.apply(path.as_bytes());
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{line}: {path}");
        }
    }
}
