//! The data files: layers and the trees they make, written so that people can read them.
//!
//! ```text
//! suite NAME                        first line: whose tables these are
//! cases 12                          how many follow; a case that got lost is a failure
//!
//! case NAME
//!   from TEXT                       the test it was ported from
//!   differs TEXT                    our expectation is not that tool's, and why (optional)
//!   umoci TEXT                      what keeps the `umoci` command from agreeing (optional)
//!   option symlink-parent follow    an option of the merge, `directory-metadata` too (optional)
//!   layer                           lowest first; entries in tar order
//!     dir PATH [MODE] [UID:GID] [XATTR="VALUE"…]
//!     file PATH ["CONTENT"] [MODE] …
//!     symlink PATH -> TARGET …
//!     hardlink PATH -> TARGET …
//!     fifo PATH …    socket PATH …    char PATH MAJOR:MINOR …    block PATH MAJOR:MINOR …
//!     whiteout PATH                 short for the file `.wh.NAME` beside it
//!     opaque PATH                   short for the file `.wh..wh..opq` in it
//!   expect                          after any layer: the whole tree, in any order
//!     …                             the same words
//!   report                          after the last `expect`: every path the merge took note of
//!     warning PATH                  (an action of the report)
//!   error KIND PATH                 instead of the last `expect`: what the layer above it meets
//! ```
//!
//! Modes are 0755 for directories, 0777 for links and 0644 otherwise, owners 0:0, contents empty
//! unless said otherwise, in layers as in expectations. Words with blanks stand in double quotes,
//! where `\"`, `\\`, `\n` and `\xNN` are escapes. Lines that start with `#` are comments. Unknown
//! words are failures.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use import_oci::metadata::{Metadata, Special};
use import_oci::path::escape;
use import_oci::tree::merge::{DirectoryMetadata, MergeOptions, SymlinkParent};

/// A data file.
#[derive(Debug)]
pub struct Suite {
    pub cases: Vec<Case>,
}

#[derive(Debug, Default)]
pub struct Case {
    pub name: String,
    pub from: String,
    /// Why the tool it comes from expects something else.
    pub differs: Option<String>,
    /// Why the `umoci` command does not make the expected tree of it.
    pub umoci: Option<String>,
    pub options: MergeOptions,
    pub steps: Vec<Step>,
    /// `ACTION PATH` of every note.
    pub report: BTreeSet<String>,
}

#[derive(Debug)]
pub enum Step {
    Layer(Vec<Node>),
    Expect(Vec<Node>),
    /// `KIND PATH`.
    Error(String),
}

/// An entry of a layer or a name in a tree; paths as written, not yet normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub path: Vec<u8>,
    pub kind: NodeKind,
    pub metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Special(Special),
}

impl Node {
    /// `kind` at `path` with the mode that the format gives it.
    pub fn new(path: impl Into<Vec<u8>>, kind: NodeKind) -> Self {
        let mode = match kind {
            NodeKind::Directory => 0o755,
            NodeKind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Self {
            path: path.into(),
            kind,
            metadata: Metadata {
                mode,
                ..Metadata::default()
            },
        }
    }

    /// The marker that hides `path` of the lower layers.
    pub fn whiteout(path: &[u8]) -> Self {
        let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(slash) => path.split_at(slash + 1),
            None => (&b""[..], path),
        };
        Self::new([parent, b".wh.", name].concat(), NodeKind::File(Vec::new()))
    }

    /// The marker that empties the lower layers' directory `path`.
    pub fn opaque(path: &[u8]) -> Self {
        let path = [path, b"/.wh..wh..opq"].concat();
        Self::new(path, NodeKind::File(Vec::new()))
    }
}

/// A line of a data file.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = escape(&self.path);
        match &self.kind {
            NodeKind::Directory => write!(f, "dir {path}"),
            NodeKind::File(content) => write!(f, "file {path} \"{}\"", escape(content)),
            NodeKind::Symlink(target) => write!(f, "symlink {path} -> {}", escape(target)),
            NodeKind::Hardlink(target) => write!(f, "hardlink {path} -> {}", escape(target)),
            NodeKind::Special(special) => write!(f, "{special} {path}"),
        }?;
        let Metadata { mode, uid, gid, .. } = self.metadata;
        write!(f, " {mode:04o} {uid}:{gid}")
    }
}

impl Suite {
    /// Reads a data file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut announced = None;
        let mut cases: Vec<Case> = Vec::new();
        let mut in_report = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let case = cases.last_mut();
            match (word, case) {
                ("suite", None) => Ok(()),
                ("cases", None) => rest
                    .parse()
                    .map(|n| announced = Some(n))
                    .map_err(Into::into),
                ("case", _) => {
                    in_report = false;
                    cases.push(Case {
                        name: rest.to_owned(),
                        ..Case::default()
                    });
                    Ok(())
                }
                ("report", Some(_)) => {
                    in_report = true;
                    Ok(())
                }
                (_, Some(case)) if in_report => {
                    case.report.insert(line.to_owned());
                    Ok(())
                }
                (_, Some(case)) => case.read_line(word, rest),
                (_, None) => Err(anyhow::anyhow!("{word:?} before the first case")),
            }
            .with_context(|| format!("line {}: {line}", index + 1))?;
        }
        for case in &cases {
            case.check()
                .with_context(|| format!("case {}", case.name))?;
        }
        let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
        ensure!(names.len() == cases.len(), "two cases have one name");
        ensure!(
            announced == Some(cases.len()),
            "{announced:?} cases announced, {} found",
            cases.len()
        );
        Ok(Self { cases })
    }
}

impl Case {
    fn read_line(&mut self, word: &str, rest: &str) -> Result<()> {
        match (word, rest) {
            ("from", _) => self.from = rest.to_owned(),
            ("differs", _) => self.differs = Some(rest.to_owned()),
            ("umoci", _) => self.umoci = Some(rest.to_owned()),
            ("option", "symlink-parent follow") => {
                self.options.symlink_parent = SymlinkParent::Follow;
            }
            ("option", "symlink-parent error") => {
                self.options.symlink_parent = SymlinkParent::Error;
            }
            ("option", "directory-metadata first") => {
                self.options.directory_metadata = DirectoryMetadata::First;
            }
            ("layer", "") => self.steps.push(Step::Layer(Vec::new())),
            ("expect", "") => self.steps.push(Step::Expect(Vec::new())),
            ("error", _) => self.steps.push(Step::Error(rest.to_owned())),
            _ => match self.steps.last_mut() {
                Some(Step::Layer(nodes)) => nodes.push(node(word, rest)?),
                Some(Step::Expect(_)) if matches!(word, "whiteout" | "opaque") => {
                    bail!("no tree holds whiteouts")
                }
                Some(Step::Expect(nodes)) => nodes.push(node(word, rest)?),
                Some(Step::Error(_)) | None => bail!("unknown word {word:?}"),
            },
        }
        Ok(())
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> impl Iterator<Item = &[Node]> {
        self.steps.iter().filter_map(|step| match step {
            Step::Layer(nodes) => Some(&nodes[..]),
            Step::Expect(_) | Step::Error(_) => None,
        })
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.from.is_empty(), "`from` is missing");
        ensure!(
            matches!(self.steps.first(), Some(Step::Layer(_))),
            "no layer"
        );
        ensure!(
            matches!(self.steps.last(), Some(Step::Expect(_) | Step::Error(_))),
            "nothing is expected"
        );
        Ok(())
    }
}

fn node(word: &str, rest: &str) -> Result<Node> {
    let mut words = words(rest)?.into_iter().peekable();
    let path = words.next().context("no path")?.bytes;
    let mut target = || -> Result<Vec<u8>> {
        let arrow = words.next().context("no target")?;
        ensure!(arrow.bytes == b"->", "`->` expected");
        Ok(words.next().context("no target")?.bytes)
    };
    let mut node = match word {
        "whiteout" => Node::whiteout(&path),
        "opaque" => Node::opaque(&path),
        "dir" => Node::new(path, NodeKind::Directory),
        "file" => {
            let content = words.next_if(|word| word.quoted);
            Node::new(
                path,
                NodeKind::File(content.map_or_else(Vec::new, |c| c.bytes)),
            )
        }
        "symlink" => Node::new(path, NodeKind::Symlink(target()?)),
        "hardlink" => Node::new(path, NodeKind::Hardlink(target()?)),
        "fifo" => Node::new(path, NodeKind::Special(Special::Fifo)),
        "socket" => Node::new(path, NodeKind::Special(Special::Socket)),
        "char" | "block" => {
            let numbers = words.next().context("no device numbers")?;
            let (major, minor) = pair(&numbers.text()?)?;
            Node::new(
                path,
                NodeKind::Special(match word {
                    "char" => Special::CharDevice { major, minor },
                    _ => Special::BlockDevice { major, minor },
                }),
            )
        }
        _ => bail!("unknown word {word:?}"),
    };
    for word in words {
        read_attribute(&word.text()?, &mut node.metadata)?;
    }
    Ok(node)
}

fn read_attribute(text: &str, metadata: &mut Metadata) -> Result<()> {
    if let Some((name, value)) = text.split_once('=') {
        let (name, value) = (name.as_bytes().into(), value.as_bytes().into());
        metadata.xattrs.insert(name, value);
    } else if text.contains(':') {
        (metadata.uid, metadata.gid) = pair(text)?;
    } else {
        ensure!(text.starts_with('0'), "mode {text:?} is not octal");
        metadata.mode = u32::from_str_radix(text, 8)?;
    }
    Ok(())
}

fn pair(text: &str) -> Result<(u32, u32)> {
    let (first, second) = text.split_once(':').context("NUMBER:NUMBER expected")?;
    Ok((first.parse()?, second.parse()?))
}

/// A word of a line; `quoted` if it starts with a quote.
struct Word {
    bytes: Vec<u8>,
    quoted: bool,
}

impl Word {
    fn text(self) -> Result<String> {
        Ok(String::from_utf8(self.bytes)?)
    }
}

fn words(line: &str) -> Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut bytes = line.bytes().peekable();
    loop {
        while bytes.next_if_eq(&b' ').is_some() {}
        let Some(&first) = bytes.peek() else {
            return Ok(words);
        };
        let mut word = Vec::new();
        let mut in_quotes = false;
        while let Some(byte) = bytes.next_if(|&b| in_quotes || b != b' ') {
            match byte {
                b'"' => in_quotes = !in_quotes,
                b'\\' if in_quotes => word.push(escaped(&mut bytes)?),
                _ => word.push(byte),
            }
        }
        ensure!(!in_quotes, "no closing quote");
        words.push(Word {
            bytes: word,
            quoted: first == b'"',
        });
    }
}

fn escaped(bytes: &mut impl Iterator<Item = u8>) -> Result<u8> {
    match bytes.next().context("nothing after \\")? {
        byte @ (b'"' | b'\\') => Ok(byte),
        b'n' => Ok(b'\n'),
        b'x' => {
            let digits: Vec<u8> = bytes.take(2).collect();
            Ok(u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?)
        }
        byte => bail!("unknown escape \\{}", byte as char),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_does_not_know() {
        let case = |body: &str| format!("suite x\ncases 1\ncase a\n  from here\n{body}");
        assert!(Suite::parse(&case("layer\nexpect\n")).is_ok());
        for body in [
            "",
            "layer\n",
            "expect\n",
            "layer\n dirr a\nexpect\n",
            "layer\n dir\nexpect\n",
            "layer\n dir a 755\nexpect\n",
            "layer\n symlink a b\nexpect\n",
            "layer\n file \"a\nexpect\n",
            "layer\n file a \"\\q\"\nexpect\n",
            "layer\nexpect\n whiteout a\n",
            "option symlink-parent maybe\nlayer\nexpect\n",
        ] {
            assert!(Suite::parse(&case(body)).is_err(), "{body:?}");
        }
        let fewer = case("layer\nexpect\n").replace("cases 1", "cases 2");
        assert!(Suite::parse(&fewer).is_err());
    }
}
