//! The store of the SELinux policy's modules, from which libsemanage links the policy.
//!
//! libostree runs `semodule` in a new deployment when the host has changed the policy, and then `/var` is that of
//! another. So the store belongs where the policy lies: in `/etc`, merged with it.

use anyhow::Result;

use super::{BY, fixed, write};
use crate::fixup::{Image, drop_subtree};
use crate::host::etc;
use crate::path::ImagePath;
use crate::report::{Action, Report};
use crate::tree::Content;

/// Where Debian and Fedora have it.
const STORE: &str = "var/lib/selinux";
/// The line of `semanage.conf(5)` that says where it is.
const STORE_ROOT: &[u8] = b"store-root";
/// Larger is no configuration.
const CONFIGURATION_LIMIT: u64 = 1 << 20;

/// Moves the store to `/etc/selinux` and tells libsemanage.
pub fn settle(image: &mut Image, report: &mut Report) -> Result<()> {
    let store = fixed(STORE);
    let policies = image
        .tree
        .lookup(&store)
        .and_then(|id| image.tree.children(id));
    let Some(policies) = policies.filter(|policies| !policies.is_empty()) else {
        return Ok(());
    };
    let policies: Vec<_> = policies.keys().cloned().collect();
    let target = etc(&image.tree).join(b"selinux");
    let configuration = target.join(b"semanage.conf");
    let found = image.tree.lookup(&configuration);
    let text = match found.map(|id| &image.tree.inode(id).content) {
        Some(&Content::File { body, .. }) => image.bodies.read(body, CONFIGURATION_LIMIT)?,
        _ => Vec::new(),
    };
    if store_root(&text).is_some_and(|root| *root != *fixed(STORE).to_absolute()) {
        // Nobody reads the one in /var.
        return Ok(());
    }
    for policy in policies {
        merge(image, &store.join(&policy), &target.join(&policy), report)?;
    }
    image.tree.remove(&store);
    report.note(BY, Action::Moved, &store, "to /etc/selinux");
    write(image, &configuration, &with_store_root(&text), report)
}

/// Moves a policy's part of the store into the directory of the policy. What both have is that of the
/// store: it is the one in use.
fn merge(image: &mut Image, from: &ImagePath, to: &ImagePath, report: &mut Report) -> Result<()> {
    let Some(id) = image.tree.lookup(from) else {
        return Ok(());
    };
    let into_directory = image
        .tree
        .lookup(to)
        .is_some_and(|id| image.tree.children(id).is_some());
    let names: Vec<_> = match image.tree.children(id) {
        Some(children) if into_directory => children.keys().cloned().collect(),
        _ => {
            drop_subtree(&mut image.tree, to, BY, "not the store in use", report);
            image.tree.link(to, id)?;
            return Ok(());
        }
    };
    let detail = format!("into {to}, whose mode and owner stay");
    report.note(BY, Action::Moved, from, detail);
    for name in names {
        let (part, place) = (from.join(&name), to.join(&name));
        drop_subtree(&mut image.tree, &place, BY, "not the store in use", report);
        if let Some(id) = image.tree.lookup(&part) {
            image.tree.link(&place, id)?;
        }
    }
    Ok(())
}

/// Where the configuration says that the store is; the last line of several counts.
fn store_root(text: &[u8]) -> Option<&[u8]> {
    text.split(|&b| b == b'\n').rev().find_map(value)
}

/// The configuration with the store in `/etc/selinux` and nowhere else.
fn with_store_root(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|&b| b == b'\n');
    let others = lines.filter(|line| value(line).is_none());
    let mut new: Vec<u8> = others.flatten().copied().collect();
    if new.last().is_some_and(|&byte| byte != b'\n') {
        new.push(b'\n');
    }
    new.extend_from_slice(STORE_ROOT);
    new.extend_from_slice(b"=/etc/selinux\n");
    new
}

/// What a line sets the place of the store to, if it does.
fn value(line: &[u8]) -> Option<&[u8]> {
    let after = line.trim_ascii().strip_prefix(STORE_ROOT)?;
    Some(after.trim_ascii_start().strip_prefix(b"=")?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::super::MoveVar;
    use super::*;
    use crate::fixup::FixupOptions;
    use crate::fixup::testing::run;
    use crate::testing::Layers;

    #[test]
    fn the_configuration_names_one_store() {
        for (before, after) in [
            ("", "store-root=/etc/selinux\n"),
            ("a = b", "a = b\nstore-root=/etc/selinux\n"),
            (
                "store-root = /x\nstore-rooted=1\n# store-root=y\nstore-root=/var/lib/selinux\n",
                "store-rooted=1\n# store-root=y\nstore-root=/etc/selinux\n",
            ),
        ] {
            let text = with_store_root(before.as_bytes());
            assert_eq!(String::from_utf8_lossy(&text), after, "{before}");
            assert_eq!(with_store_root(&text), text);
        }
        assert_eq!(
            store_root(b"store-root=/a\nstore-root = /b \n"),
            Some(&b"/b"[..])
        );
    }

    fn store() -> Layers {
        Layers::new()
            .dir("var/lib/selinux/p/active", 0o700)
            .file("var/lib/selinux/p/active/commit_num", "1")
            .dir("var/lib/selinux/final", 0o700)
    }

    fn moved(etc: &str, layers: Layers) -> (Vec<String>, Vec<String>) {
        let (mut tree, notes) = run(&MoveVar, layers, FixupOptions::default()).unwrap();
        tree.retain(|line| {
            line.starts_with(&format!("/{etc}/selinux/")) && !line.ends_with("/ 755")
        });
        (tree, notes)
    }

    #[test]
    fn the_store_moves_into_etc() {
        for etc in ["etc", "usr/etc"] {
            let layers = store()
                .file(&format!("{etc}/selinux/p/seusers"), "s")
                .file(&format!("{etc}/selinux/p/active/commit_num"), "stale")
                .file(
                    &format!("{etc}/selinux/semanage.conf"),
                    "module-store = direct\n",
                );
            let (tree, notes) = moved(etc, layers);
            let want = [
                "/final/ 700",
                "/p/active/ 700",
                "/p/active/commit_num 644 \"1\"",
                "/p/seusers 644 \"s\"",
                "/semanage.conf 644 \"module-store = direct\\\\nstore-root=/etc/selinux\\\\n\"",
            ];
            assert_eq!(tree, want.map(|line| format!("/{etc}/selinux{line}")));
            assert_eq!(
                notes[..5],
                [
                    "moved /var/lib/selinux/p".to_owned(),
                    format!("dropped /{etc}/selinux/p/active"),
                    format!("dropped /{etc}/selinux/p/active/commit_num"),
                    "moved /var/lib/selinux".to_owned(),
                    format!("changed /{etc}/selinux/semanage.conf"),
                ]
            );
        }
    }

    #[test]
    fn a_store_that_nobody_reads_is_content_of_var() {
        let layers = store().file("etc/selinux/semanage.conf", "store-root=/etc/selinux\n");
        let (tree, notes) = moved("etc", layers);
        assert_eq!(tree.len(), 1, "{tree:?}");
        assert!(
            notes.contains(&"moved /var/lib/selinux/p/active".to_owned()),
            "{notes:?}"
        );
    }
}
