//! Directories like `sysusers.d` and `tmpfiles.d`: which of their files count, and the words of
//! their lines.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::bodies::Bodies;
use crate::host::Host;
use crate::path::ImagePath;
use crate::tree::{Content, InodeId, Tree};

/// Larger files hold no accounts that a person or a package wrote.
const LIMIT: u64 = 16 << 20;

/// Where such directories lie, by falling precedence: of two files of one name only the first
/// counts. A commit has `/usr/etc` for `/etc`; `/run` is of no image.
const PARENTS: &[&str] = &["etc", "usr/etc", "usr/local/lib", "usr/lib"];

/// The files `*.conf` of the directories `name` (`sysusers.d`), in the order in which systemd reads
/// them: that of their names.
pub fn read(tree: &Tree, bodies: &Bodies, name: &str) -> Result<Vec<(ImagePath, Vec<u8>)>> {
    let mut files = BTreeMap::new();
    for parent in PARENTS {
        let Some((directory, id)) = tree
            .resolve(&path(&format!("{parent}/{name}")))
            .ok()
            .flatten()
        else {
            continue;
        };
        for name in tree.children(id).into_iter().flat_map(|c| c.keys()) {
            if name.ends_with(b".conf") {
                files.entry(name.clone()).or_insert(directory.join(name));
            }
        }
    }
    let mut contents = Vec::new();
    for path in files.into_values() {
        // A link to /dev/null, which is no file, masks those of its name.
        if let Some(text) = read_file(tree, bodies, &path)? {
            contents.push((path, text));
        }
    }
    Ok(contents)
}

/// The content of the file to which `path` leads. `None`: it leads to none.
pub fn read_file(tree: &Tree, bodies: &Bodies, path: &ImagePath) -> Result<Option<Vec<u8>>> {
    match resolve(tree, path).map(|id| &tree.inode(id).content) {
        Some(&Content::File { body, .. }) => {
            let text = bodies.read(body, LIMIT);
            text.map(Some).with_context(|| path.to_string())
        }
        _ => Ok(None),
    }
}

/// What lies at `path` on the host of `tree`. Links that do not end lead to nothing.
pub fn resolve(tree: &Tree, path: &ImagePath) -> Option<InodeId> {
    let found = Host::of(tree).resolve(path);
    found.ok().flatten().map(|(_, id)| id)
}

/// The path that a constant spells.
pub(super) fn path(text: &str) -> ImagePath {
    ImagePath::parse(text.as_bytes()).expect("a constant without `..`")
}

/// The lines of a file that are neither empty nor comments.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && line[0] != b'#')
}

/// The first words of a line, `count` at most, with their quotes taken off as `extract-word.c` of
/// systemd does. `None`: a quote is not closed.
pub fn words(line: &[u8], count: usize) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    while words.len() < count {
        while bytes.next_if(u8::is_ascii_whitespace).is_some() {}
        if bytes.peek().is_none() {
            break;
        }
        let (mut word, mut quote) = (Vec::new(), None);
        loop {
            match (bytes.next(), quote) {
                (None, None) => break,
                (None, Some(_)) => return None,
                (Some(b'\\'), _) => word.push(bytes.next()?),
                (Some(byte), Some(open)) if byte == open => quote = None,
                (Some(byte @ (b'"' | b'\'')), None) => quote = Some(byte),
                (Some(byte), None) if byte.is_ascii_whitespace() => break,
                (Some(byte), _) => word.push(byte),
            }
        }
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn words_are_unquoted() {
        for (line, count, want) in [
            ("u  name\t-", 9, Some(vec!["u", "name", "-"])),
            (
                r#"u n 1 "a 'b' c" '' x"#,
                9,
                Some(vec!["u", "n", "1", "a 'b' c", "", "x"]),
            ),
            (r#"a"b c"d \"e"#, 9, Some(vec!["ab cd", "\"e"])),
            ("a b c 'open", 3, Some(vec!["a", "b", "c"])),
            ("a 'open", 9, None),
            ("a b\\", 9, None),
            ("", 9, Some(vec![])),
        ] {
            let want = want.map(|words| words.into_iter().map(|w| w.as_bytes().to_vec()).collect());
            assert_eq!(words(line.as_bytes(), count), want, "{line}");
        }
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let (tree, bodies) = Layers::new()
            .file("usr/lib/x.d/b.conf", "masked")
            .file("usr/lib/x.d/a.conf", "a")
            .file("usr/lib/x.d/off.conf", "off")
            .file("usr/lib/x.d/README", "")
            .file("usr/local/lib/x.d/c.conf", "c")
            .symlink("etc/x.d/off.conf", "/dev/null")
            .symlink("etc/x.d/b.conf", "../../elsewhere")
            .symlink("etc/x.d/loop.conf", "loop.conf")
            .file("elsewhere", "b")
            .merge();
        let found = read(&tree, &bodies, "x.d").unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(path, text)| (path.to_string(), std::str::from_utf8(text).unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("/usr/lib/x.d/a.conf".to_owned(), "a"),
                ("/etc/x.d/b.conf".to_owned(), "b"),
                ("/usr/local/lib/x.d/c.conf".to_owned(), "c"),
            ]
        );
    }
}
