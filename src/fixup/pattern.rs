//! Names with `*` in them.

use crate::path::ImagePath;
use crate::tree::{InodeId, Tree};

/// What lies at `pattern`, a path of an image whose names are patterns. What it says
/// of `/etc` holds for the `/usr/etc` of a commit, too. No link is followed.
pub fn find(tree: &Tree, pattern: &str) -> Vec<(ImagePath, InodeId)> {
    let mut found = find_literally(tree, pattern);
    if pattern.starts_with("etc/") {
        found.append(&mut find_literally(tree, &format!("usr/{pattern}")));
    }
    found
}

fn find_literally(tree: &Tree, pattern: &str) -> Vec<(ImagePath, InodeId)> {
    let mut found = vec![(ImagePath::root(), tree.root())];
    for name in pattern.split('/') {
        let mut below = Vec::new();
        for (path, id) in found {
            if !name.contains(['*', '?', '[', '{']) {
                let child = tree.child(id, name.as_bytes());
                below.extend(child.map(|child| (path.join(name.as_bytes()), child)));
                continue;
            }
            for (child, &id) in tree.children(id).into_iter().flatten() {
                if matches(name.as_bytes(), child) {
                    below.push((path.join(child), id));
                }
            }
        }
        found = below;
    }
    found
}

/// Does `name`, one component of a path, match `pattern`? `*` stands for any bytes, `?` for one, `[…]`
/// for one, whichever it names, and `{…}` for any bytes, whichever it lists: what is taken for a
/// match too easily is left to whoever wrote the pattern.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let parts = parts(pattern);
    let (mut part, mut at) = (0, 0);
    // The last `*`, and the first byte that it does not stand for yet.
    let mut star = None;
    while let Some(byte) = name.get(at) {
        match parts.get(part) {
            Some(Part::Any) => {
                star = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (part, at) = (part + 1, at + 1),
            Some(Part::Byte(wanted)) if wanted == byte => (part, at) = (part + 1, at + 1),
            _ => {
                let Some((after_star, skipped)) = star.as_mut() else {
                    return false;
                };
                *skipped += 1;
                (part, at) = (*after_star + 1, *skipped);
            }
        }
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Byte(u8),
}

fn parts(mut pattern: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some((&first, mut rest)) = pattern.split_first() {
        let mut until = |close: u8| {
            let end = rest.iter().position(|&byte| byte == close);
            end.inspect(|end| rest = &rest[end + 1..]).is_some()
        };
        parts.push(match first {
            b'*' => Part::Any,
            b'?' => Part::One,
            b'{' if until(b'}') => Part::Any,
            b'[' if until(b']') => Part::One,
            byte => Part::Byte(byte),
        });
        pattern = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    #[test]
    fn names() {
        for (pattern, name, want) in [
            ("lock*", "lock", true),
            ("lock*", "lock-frontend", true),
            ("lock*", "a-lock", false),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.c.b", false),
            ("__db.*", "__db.001", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[0-9]c", "a1c", true),
            ("a[0", "a[0", true),
            ("a{b,bb}c", "abbc", true),
            ("x", "x", true),
            ("x", "xx", false),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, want, "{pattern} {name}");
        }
    }

    #[test]
    fn both_places_and_no_links() {
        let (tree, _) = Layers::new()
            .file("etc/selinux/a/x.LOCK", "")
            .file("etc/selinux/b/x.LOCK", "")
            .file("etc/selinux/b/y", "")
            .file("usr/etc/selinux/c/x.LOCK", "")
            .symlink("etc/selinux/d", "a")
            .merge();
        let found = find(&tree, "etc/selinux/*/*.LOCK");
        let found: Vec<_> = found.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(
            found,
            [
                "/etc/selinux/a/x.LOCK",
                "/etc/selinux/b/x.LOCK",
                "/usr/etc/selinux/c/x.LOCK"
            ]
        );
    }
}
