//! Lines of `tmpfiles.d(5)`: how a commit tells the host's systemd-tmpfiles what to make in `/var`.

mod declared;
mod words;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use super::Image;
use crate::metadata::Metadata;
use crate::packages::{AccountDatabase, fragments};
use crate::path::{ImagePath, escape};
use crate::report::{Action, Report};
use crate::tree::{Content, Inode};

pub use declared::Declared;
use words::{escape_argument, escape_glob, escape_path, expand, unescape, words};

/// More is no file of lines.
const FILE_LIMIT: u64 = 4 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The letter of its type: `d` a directory, `L` a link, `C` a copy, `z` mode and owner of what is there.
    pub kind: u8,
    /// What follows the letter: `!` (at boot only), `+`, `^` (the argument is a credential), ….
    pub modifiers: String,
    /// What it is about.
    pub path: ImagePath,
    /// Permission bits; `None`: as it comes.
    pub mode: Option<u32>,
    /// Name or number of the owner; `None`: as it comes.
    pub user: Option<String>,
    /// Name or number of the group; `None`: as it comes.
    pub group: Option<String>,
    /// The target of a link, the source of a copy, the content of a file.
    pub argument: Option<Vec<u8>>,
}

impl Line {
    /// A line that says nothing of mode and owner.
    pub fn new(kind: u8, path: ImagePath) -> Self {
        Self {
            kind,
            modifiers: String::new(),
            path,
            mode: None,
            user: None,
            group: None,
            argument: None,
        }
    }

    /// The same with the owner of `metadata`, by the names that the image has for it: the host may
    /// have other numbers.
    pub fn owner(mut self, metadata: &Metadata, accounts: &AccountDatabase) -> Self {
        let user = accounts.user_name(metadata.uid).map(str::to_owned);
        let group = accounts.group_name(metadata.gid).map(str::to_owned);
        self.user = Some(user.unwrap_or_else(|| well_known(metadata.uid)));
        self.group = Some(group.unwrap_or_else(|| well_known(metadata.gid)));
        self
    }

    /// The same with the mode of `metadata`.
    pub fn mode(mut self, metadata: &Metadata) -> Self {
        self.mode = Some(metadata.mode);
        self
    }

    /// The same with an argument.
    pub fn argument(mut self, argument: &[u8]) -> Self {
        self.argument = Some(argument.into());
        self
    }

    /// Reads a line. `None`: it is empty, a comment, no line systemd-tmpfiles would accept, or its path
    /// is known on the host only (`%m`, `%b`, …).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        if text.is_empty() || text[0] == b'#' {
            return None;
        }
        let words = words(text, 6)?;
        let field = |index: usize| {
            let field = words.first.get(index).map(Vec::as_slice);
            field.filter(|field| !field.is_empty() && *field != b"-")
        };
        let (&kind, modifiers) = field(0)?.split_first()?;
        let path = expand(field(1)?)?;
        if path.first() != Some(&b'/') {
            return None;
        }
        let value = |index| field(index).map(without_condition);
        let text = |bytes: &[u8]| String::from_utf8(bytes.into()).ok();
        Some(Self {
            kind,
            modifiers: text(modifiers)?,
            path: ImagePath::parse(&path).ok()?,
            mode: match value(2) {
                Some(mode) => Some(u32::from_str_radix(&text(mode)?, 8).ok()?),
                None => None,
            },
            user: value(3).and_then(text),
            group: value(4).and_then(text),
            argument: match words.rest {
                b"" | b"-" => None,
                argument => Some(expand(&unescape(argument)?)?),
            },
        })
    }

    /// Does it say what lies at its path, so that no other line may?
    pub fn makes(&self) -> bool {
        b"fFdDvqQpLcbC".contains(&self.kind)
    }
}

/// What stands before a mode or an owner says when it counts: `:` for new files only, `~` within
/// limits.
fn without_condition(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| !b":~".contains(byte));
    &field[end.unwrap_or(field.len())..]
}

/// The account whose name no image must state.
fn well_known(id: u32) -> String {
    match id {
        0 => "root".to_owned(),
        id => id.to_string(),
    }
}

impl Line {
    /// The line as a file has it, without its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let path = match self.kind {
            b'z' | b'Z' | b'a' | b'A' | b't' | b'T' | b'h' | b'H' => escape_glob(&self.path),
            _ => escape_path(&self.path),
        };
        let mode = self.mode.map(|mode| format!("{mode:04o}"));
        let [mode, user, group] =
            [&mode, &self.user, &self.group].map(|field| field.as_deref().unwrap_or("-"));
        let mut line = vec![self.kind];
        line.extend_from_slice(self.modifiers.as_bytes());
        line.push(b' ');
        line.extend_from_slice(&path);
        line.extend_from_slice(format!(" {mode} {user} {group} -").as_bytes());
        if let Some(argument) = &self.argument {
            line.push(b' ');
            line.extend_from_slice(escape_argument(argument).as_bytes());
        }
        line
    }
}

/// For messages.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.to_bytes()))
    }
}

/// Adds `lines` to the file `name` of the image's own `tmpfiles.d`. Lines that are there already stay, unless one of the
/// new says the same of the same path; so an image made from a commit of ours keeps those of the commit.
pub fn add(
    image: &mut Image,
    name: &str,
    new: Vec<Line>,
    by: &'static str,
    report: &mut Report,
) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    let path = own(name);
    let found = image.tree.lookup(&path).map(|id| image.tree.inode(id));
    let before = match found.map(|inode| &inode.content) {
        Some(&Content::File { body, .. }) => Some(image.bodies.read(body, FILE_LIMIT)?),
        _ => None,
    };
    let old = fragments::lines(before.as_deref().unwrap_or_default());
    let mut lines: BTreeMap<_, Line> = BTreeMap::new();
    for line in old.filter_map(Line::parse).chain(new) {
        let subject = (line.path.clone(), (!line.makes()).then_some(line.kind));
        // The copy of a directory makes it, too.
        let is_made = |old: &Line| old.kind == b'C' && line.kind == b'd';
        if !lines.get(&subject).is_some_and(is_made) {
            lines.insert(subject, line);
        }
    }
    let mut text = HEADER.as_bytes().to_vec();
    for line in lines.values() {
        text.extend(line.to_bytes());
        text.push(b'\n');
    }
    if before.as_deref() == Some(&*text) {
        return Ok(());
    }
    let action = match found {
        Some(_) => Action::Changed,
        None => Action::Added,
    };
    let inode = Inode {
        metadata: Metadata {
            mode: 0o644,
            ..Metadata::default()
        },
        content: Content::File {
            body: image.bodies.add(&text),
            size: text.len() as u64,
        },
    };
    image.tree.insert(&path, inode)?;
    let detail = format!("{} lines for systemd-tmpfiles", lines.len());
    report.note(by, action, &path, detail);
    Ok(())
}

/// What a file of ours begins with.
const HEADER: &str = "# Made by import-oci, see tmpfiles.d(5).\n";

/// The path of a file of ours.
fn own(name: &str) -> ImagePath {
    let directory = ImagePath::parse(b"usr/lib/tmpfiles.d").expect("no `..` in it");
    directory.join(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::FixupOptions;
    use super::*;
    use crate::packages::Packages;
    use crate::testing::{Layers, image_path, list};

    #[track_caller]
    fn check(line: &Line, text: &str) {
        assert_eq!(String::from_utf8(line.to_bytes()).unwrap(), text);
        assert_eq!(Line::parse(text.as_bytes()).as_ref(), Some(line), "{text}");
    }

    #[test]
    fn writes_and_reads() {
        let metadata = |mode| Metadata {
            mode,
            uid: 0,
            gid: 7,
            ..Metadata::default()
        };
        let accounts = AccountDatabase::default();
        check(
            &Line::new(b'd', image_path("var/log"))
                .mode(&metadata(0o2750))
                .owner(&metadata(0), &accounts),
            "d /var/log 2750 root 7 -",
        );
        check(
            &Line::new(b'd', image_path("var/a b\t\"c\" 'd' \\ %m # é\n")).mode(&metadata(0)),
            "d \"/var/a b\t\\\"c\\\" \\'d\\' \\\\ %%m # é\\n\" 0000 - - -",
        );
        check(
            &Line::new(b'L', image_path("var/run")).argument(b"../run"),
            "L /var/run - - - - ../run",
        );
        check(
            &Line::new(b'L', image_path("var/x")).argument(b" a\\b %"),
            r"L /var/x - - - - \x20a\\b\x20%%",
        );
        check(
            &Line::new(b'L', image_path("var/x")).argument(b"-"),
            r"L /var/x - - - - \x2d",
        );
    }

    #[test]
    fn paths_of_globs_are_names() {
        let line = Line::new(b'z', image_path("var/a*b[c]{d,e}?\\"));
        let text = r"z /var/a\\*b\\[c\\]\\{d,e\\}\\?\\\\ - - - -";
        assert_eq!(line.to_bytes(), text.as_bytes());
    }

    #[test]
    fn reads_what_packages_write() {
        let read = |text: &str| Line::parse(text.as_bytes());
        for nothing in [
            "",
            "  # d /x",
            "d",
            "d relative",
            "d /var/log/journal/%m",
            "d '/open",
            "d /x 9",
        ] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        let line = read("q\t/var/tmp  1777 root root 30d").unwrap();
        assert_eq!(
            (line.kind, line.path.to_string(), line.mode),
            (b'q', "/var/tmp".into(), Some(0o1777))
        );
        let line = read(r#"d$- "%S/my dir/" :~0700 :me - 1d"#).unwrap();
        assert_eq!(line.path, image_path("var/lib/my dir"));
        assert_eq!(
            (
                line.mode,
                line.user.as_deref(),
                line.group,
                &*line.modifiers
            ),
            (Some(0o700), Some("me"), None, "$-")
        );
        let line = read(r"f+ /var/x - - - - two words\n%%").unwrap();
        assert_eq!(line.argument.as_deref(), Some(&b"two words\n%"[..]));
        let line = read("L /var/x - - - - -").unwrap();
        assert_eq!(line.argument, None);
    }

    #[test]
    fn a_file_of_ours_grows() {
        let (tree, bodies) = Layers::new().merge();
        let mut image = Image {
            tree,
            bodies,
            packages: Packages::default(),
            options: FixupOptions::default(),
        };
        let line = |path| Line::new(b'd', image_path(path));
        let mut actions = Vec::new();
        let mut add = |lines| {
            let mut report = Report::default();
            add(&mut image, "ours.conf", lines, "test", &mut report).unwrap();
            actions.extend(report.notes().iter().map(|note| note.action.to_string()));
        };
        add(Vec::new());
        add(vec![line("var/c"), line("var/a")]);
        add(vec![line("var/c")]);
        let root = Metadata::implicit_directory();
        add(vec![line("var/b"), line("var/c").mode(&root)]);
        assert_eq!(actions, ["added", "changed"]);
        let text = format!("{HEADER}d /var/a - - - -\nd /var/b - - - -\nd /var/c 0755 - - -\n");
        assert_eq!(
            list(&image.tree, &image.bodies).last().unwrap(),
            &format!(
                "/usr/lib/tmpfiles.d/ours.conf 644 {:?}",
                crate::path::escape(text.as_bytes())
            )
        );
    }
}
