//! Paths with `*` in their names.

use crate::path::ImagePath;
use crate::tree::{InodeId, Tree};

/// What lies at `pattern`: a path of an image in whose names `*` stands for any bytes. What it says
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
            if !name.contains('*') {
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

/// Does `name` have the parts between the `*` of `pattern`, in their order?
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((byte, rest)) => name
            .split_first()
            .is_some_and(|(first, name)| first == byte && matches(rest, name)),
    }
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
