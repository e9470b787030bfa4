//! The policy that an image selects: where its files lie, or why there are none.

use anyhow::{Context as _, Result, bail};

use super::{Host, PolicyFile, PolicyFiles, locate};
use crate::bodies::Bodies;
use crate::path::{ImagePath, escape};
use crate::tree::{Content, Tree};

/// Why an image has no policy to be labelled with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPolicy {
    /// Nothing selects one.
    #[error("the image has no /etc/selinux/config")]
    NoConfig,
    /// The configuration wants none.
    #[error("/etc/selinux/config says neither SELINUX=enforcing nor SELINUX=permissive")]
    Disabled,
    /// The selected one is not there.
    #[error(
        "/etc/selinux/config selects the policy {name}, of which the image has no file_contexts"
    )]
    MissingFiles {
        /// Its name.
        name: String,
    },
}

/// The policy that the image selects, its name and text files, or why there is none.
///
/// # Errors
/// A file of it that is not readable, or a configuration that names no policy.
pub fn find_policy(
    tree: &Tree,
    bodies: &Bodies,
) -> Result<Result<(String, PolicyFiles), NoPolicy>> {
    let host = Host::of(tree);
    let directory = selinux_directory(&host)?;
    select_policy(&directory, |path| read(&host, bodies, path))
}

/// The policy that the configuration in `directory` selects, its name and text files, or why there
/// is none. `read` gives the content of a file, `None` where there is none.
///
/// # Errors
/// Those of `read`, or a configuration that names no policy.
pub fn select_policy(
    directory: &ImagePath,
    read: impl Fn(&ImagePath) -> Result<Option<Vec<u8>>>,
) -> Result<Result<(String, PolicyFiles), NoPolicy>> {
    let Some(config) = read(&directory.join(b"config"))? else {
        return Ok(Err(NoPolicy::NoConfig));
    };
    let Some(name) = locate(&config)? else {
        return Ok(Err(NoPolicy::Disabled));
    };
    let files = files_directory(directory, name.as_bytes());
    let file = |file: PolicyFile| read(&files.join(file.name().as_bytes()));
    let Some(file_contexts) = file(PolicyFile::FileContexts)? else {
        return Ok(Err(NoPolicy::MissingFiles { name }));
    };
    let files = PolicyFiles {
        file_contexts,
        homedirs: file(PolicyFile::Homedirs)?,
        local: file(PolicyFile::Local)?,
        subs: file(PolicyFile::Subs)?,
        subs_dist: file(PolicyFile::SubsDist)?,
    };
    Ok(Ok((name, files)))
}

/// `/etc/selinux`, or that of `/usr/etc` where only that is there.
///
/// # Errors
/// Links that do not end.
pub fn selinux_directory(host: &Host<'_>) -> Result<ImagePath> {
    let etc = ImagePath::parse(b"etc/selinux")?;
    let usr_etc = ImagePath::parse(b"usr/etc/selinux")?;
    let only_usr_etc = host.locate(&etc)?.1.is_none() && host.locate(&usr_etc)?.1.is_some();
    Ok(if only_usr_etc { usr_etc } else { etc })
}

/// The names of all policies in `directory` that have file contexts, for a message.
///
/// # Errors
/// Links that do not end.
pub fn policies(host: &Host<'_>, directory: &ImagePath) -> Result<Vec<String>> {
    let found = host.resolve(directory)?;
    let children = found.and_then(|(_, id)| host.tree().children(id));
    let has_file_contexts = |name: &&[u8]| {
        let files = files_directory(directory, name);
        let file_contexts = files.join(PolicyFile::FileContexts.name().as_bytes());
        matches!(host.resolve(&file_contexts), Ok(Some(_)))
    };
    let names = children.into_iter().flatten().map(|(name, _)| &**name);
    Ok(names.filter(has_file_contexts).map(escape).collect())
}

/// The directory on the host where the text files of the policy `name` lie.
///
/// # Errors
/// Links that do not end.
pub fn files_of(host: &Host<'_>, name: &str) -> Result<ImagePath> {
    let selinux = selinux_directory(host)?;
    Ok(files_directory(&selinux, name.as_bytes()))
}

fn files_directory(selinux: &ImagePath, policy: &[u8]) -> ImagePath {
    selinux.join(policy).join(b"contexts").join(b"files")
}

/// No file of a policy is nearly as large.
const LARGEST_POLICY_FILE: u64 = 64 << 20;

/// The content of the file that `path` leads to on the host; `None`: there is none.
fn read(host: &Host<'_>, bodies: &Bodies, path: &ImagePath) -> Result<Option<Vec<u8>>> {
    let Some((_, id)) = host.resolve(path)? else {
        if let Some(link) = host.dangling(path)? {
            bail!(
                "{link} is a link that leads nowhere in the image: put the file there, or no link"
            );
        }
        return Ok(None);
    };
    let Content::File { body, .. } = host.tree().inode(id).content else {
        bail!("{path} is no regular file");
    };
    let content = bodies.read(body, LARGEST_POLICY_FILE);
    content.map(Some).with_context(|| format!("reading {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Layers;

    const ENABLED: &str = "SELINUX=enforcing\nSELINUXTYPE=p\n";
    const CONFIG: &str = "usr/etc/selinux/config";
    const CONTEXTS: &str = "usr/etc/selinux/p/contexts/files/file_contexts";

    fn image(config: &str) -> Layers {
        Layers::new().file(CONFIG, config).file(CONTEXTS, "lines")
    }

    fn found(layers: Layers) -> Result<(String, PolicyFiles), NoPolicy> {
        let (tree, bodies) = layers.merge();
        find_policy(&tree, &bodies).unwrap()
    }

    #[test]
    fn policies_and_reasons() {
        let (name, files) = found(image(ENABLED)).unwrap();
        assert_eq!((&*name, &*files.file_contexts), ("p", &b"lines"[..]));
        let beside_etc = image(ENABLED).file("etc/passwd", "");
        assert_eq!(found(beside_etc).unwrap().0, "p");

        let missing = |name: &str| NoPolicy::MissingFiles { name: name.into() };
        for (layers, reason) in [
            (Layers::new(), NoPolicy::NoConfig),
            (Layers::new().file(CONTEXTS, ""), NoPolicy::NoConfig),
            (
                image("SELINUX=disabled\nSELINUXTYPE=p\n"),
                NoPolicy::Disabled,
            ),
            (
                image("SELINUX=disabled\nSELINUXTYPE=\n"),
                NoPolicy::Disabled,
            ),
            (image("SELINUX=enforcing\n"), missing("targeted")),
        ] {
            assert_eq!(found(layers).unwrap_err(), reason);
        }
    }

    #[test]
    fn policies_that_lie_there() {
        let layers = image("")
            .dir("usr/etc/selinux/empty", 0o755)
            .file("usr/etc/selinux/a/contexts/files/file_contexts", "");
        let (tree, _) = layers.merge();
        let host = Host::of(&tree);
        let directory = selinux_directory(&host).unwrap();
        assert_eq!(policies(&host, &directory).unwrap(), ["a", "p"]);
    }

    #[test]
    fn links_of_the_policy_are_those_of_the_host() {
        for (config, contexts) in [
            ("/etc/default/selinux", "/etc/default/contexts"),
            ("../default/selinux", "../../../../default/contexts"),
            ("../../usr/lib/selinux", "../../../../../usr/lib/contexts"),
        ] {
            let mut layers = Layers::new()
                .symlink(CONFIG, config)
                .symlink(CONTEXTS, contexts);
            for place in ["usr/etc/default", "usr/lib"] {
                layers = layers
                    .file(&format!("{place}/selinux"), ENABLED)
                    .file(&format!("{place}/contexts"), "lines");
            }
            assert_eq!(found(layers).unwrap().1.file_contexts, b"lines", "{config}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let image = || image(ENABLED).layer();
        for (layers, wrong) in [
            (
                image().symlink(CONFIG, "/etc/absent"),
                "/etc/selinux/config is a link",
            ),
            (
                image().symlink(CONFIG, "config"),
                "/etc/selinux/config: too many levels",
            ),
            (
                image().dir(CONFIG, 0o755),
                "/etc/selinux/config is no regular file",
            ),
            (
                image().symlink(CONTEXTS, "file_contexts.absent"),
                "/etc/selinux/p/contexts/files/file_contexts is a link",
            ),
            (
                image().symlink("usr/etc/selinux/p/contexts", "/var/absent"),
                "/etc/selinux/p/contexts is a link",
            ),
            (
                image().symlink(&format!("{CONTEXTS}.local"), "absent"),
                "/etc/selinux/p/contexts/files/file_contexts.local is a link",
            ),
        ] {
            let (tree, bodies) = layers.merge();
            let error = find_policy(&tree, &bodies).unwrap_err();
            assert!(error.to_string().starts_with(wrong), "{error:#}");
        }
    }
}
