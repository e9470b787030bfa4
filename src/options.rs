//! Which options make another tree of an image.

use clap::ValueEnum;

use crate::digest::Digest;
use crate::fixup::FixupOptions;
use crate::packages::AccountDatabase;
use crate::tree::merge::MergeOptions;

/// The options that make another commit of the same image than the defaults do, as one would type
/// them, in a fixed order; `None` where there are none.
///
/// What is imported with one such text is not what another stands for. An option that is forgotten
/// here does not compile.
pub fn shaping(merge: &MergeOptions, fixups: &FixupOptions, squash: bool) -> Option<String> {
    let MergeOptions {
        symlink_parent,
        directory_metadata,
        // An image's never are anything else.
        whiteouts: _,
    } = merge;
    let FixupOptions {
        repair,
        users,
        earlier_accounts,
        kernel,
        no_kernel,
        allow_no_initramfs,
        initramfs,
        var,
        rpm_ostree_compat,
        layout,
        etc_conflict,
        skip,
    } = fixups;
    let mut skip = skip.clone();
    skip.sort_unstable();
    skip.dedup();
    let flag = |name: &str, set: bool| set.then(|| name.to_owned());
    let text = |name: &str, value: &String| format!("{name}={value}");
    let parts = [
        choice("--repair", *repair),
        choice("--users", *users),
        earlier_accounts
            .as_ref()
            .map(|accounts| format!("--ids-from={}", digest(accounts))),
        kernel.as_ref().map(|version| text("--kernel", version)),
        flag("--no-kernel", *no_kernel),
        flag("--allow-no-initramfs", *allow_no_initramfs),
        choice("--initramfs", *initramfs),
        choice("--var", *var),
        flag("--rpm-ostree-compat", *rpm_ostree_compat),
        choice("--layout", *layout),
        choice("--etc-conflict", *etc_conflict),
        choice("--dir-metadata", *directory_metadata),
        choice("--symlink-parent", *symlink_parent),
        flag("--squash", squash),
    ];
    let skip = skip.iter().map(|name| text("--skip-fixup", name));
    let parts: Vec<_> = parts.into_iter().flatten().chain(skip).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn choice<T: ValueEnum + Default + PartialEq>(name: &str, value: T) -> Option<String> {
    let chosen = value.to_possible_value()?;
    (value != T::default()).then(|| format!("{name}={}", chosen.get_name()))
}

/// A digest of the ids that accounts give to names.
fn digest(accounts: &AccountDatabase) -> Digest {
    let users = accounts
        .users()
        .iter()
        .map(|user| format!("user {} {} {}\n", user.name, user.uid, user.gid));
    let groups = accounts
        .groups()
        .iter()
        .map(|group| format!("group {} {}\n", group.name, group.gid));
    Digest::of(users.chain(groups).collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixup::{Initramfs, Var};
    use crate::tree::merge::DirectoryMetadata;

    #[test]
    fn only_what_differs_counts() {
        let (merge, fixups) = (MergeOptions::default(), FixupOptions::default());
        assert_eq!(shaping(&merge, &fixups, false), None);
        let merge = MergeOptions {
            directory_metadata: DirectoryMetadata::First,
            ..merge
        };
        let fixups = FixupOptions {
            kernel: Some("6.1".to_owned()),
            initramfs: Initramfs::Keep,
            var: Var::Drop,
            skip: ["var", "etc", "var"].map(str::to_owned).into(),
            ..fixups
        };
        let text = "--kernel=6.1 --initramfs=keep --var=drop --dir-metadata=first --squash \
                    --skip-fixup=etc --skip-fixup=var";
        assert_eq!(shaping(&merge, &fixups, true).as_deref(), Some(text));
    }

    #[test]
    fn earlier_accounts_count_by_what_they_say() {
        let fixups = FixupOptions {
            earlier_accounts: Some(AccountDatabase::default()),
            ..FixupOptions::default()
        };
        let text = shaping(&MergeOptions::default(), &fixups, false).unwrap();
        assert!(text.starts_with("--ids-from=sha256:e3b0c442"), "{text}");
    }
}
