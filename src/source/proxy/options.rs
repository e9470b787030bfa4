//! What a user can choose about fetching, and where it is looked up otherwise.

use std::ffi::OsString;
use std::path::PathBuf;

/// How skopeo reaches an image for us. The default is what the host is set up for.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// File with credentials, after containers-auth.json(5).
    pub authfile: Option<PathBuf>,
    /// Use no credentials at all.
    pub anonymous: bool,
    /// Directory with certificates, after containers-certs.d(5).
    pub certificates: Option<PathBuf>,
    /// Accept registries without TLS or with any certificate.
    pub skip_tls_verification: bool,
    /// File with the trust put in images, after containers-policy.json(5).
    pub signature_policy: Option<PathBuf>,
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nowhere.
    Anonymous,
    /// From this file.
    File(PathBuf),
    /// From where `podman login` and `docker login` put them: skopeo knows.
    Containers,
}

/// The process's surroundings, as far as files are looked up by them.
pub(super) struct Surroundings<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) is_root: bool,
    pub(super) exists: &'a dyn Fn(&PathBuf) -> bool,
}

impl Surroundings<'_> {
    /// Calls `look` with those of this process.
    pub(super) fn of_process<T>(look: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        look(&Surroundings {
            variable: &|name| std::env::var_os(name),
            is_root: rustix::process::geteuid().is_root(),
            exists: &|path| path.exists(),
        })
    }

    fn path(&self, variable: &str) -> Option<PathBuf> {
        let value = (self.variable)(variable).filter(|value| !value.is_empty())?;
        Some(value.into())
    }

    /// The user's directory for configurations, after the XDG base directory specification.
    fn config_home(&self) -> Option<PathBuf> {
        let home = || Some(self.path("HOME")?.join(".config"));
        self.path("XDG_CONFIG_HOME").or_else(home)
    }
}

impl FetchOptions {
    /// Where credentials come from. ostree's own files go before those of `podman login`, as
    /// ostree-ext looks them up.
    pub(super) fn credentials(&self, around: &Surroundings<'_>) -> Credentials {
        if self.anonymous {
            return Credentials::Anonymous;
        }
        let named = self.authfile.clone();
        if let Some(file) = named.or_else(|| around.path("REGISTRY_AUTH_FILE")) {
            return Credentials::File(file);
        }
        let directories = match around.is_root {
            true => ["/run", "/etc", "/usr/lib"].map(|path| Some(path.into())),
            false => [around.path("XDG_RUNTIME_DIR"), around.config_home(), None],
        };
        directories
            .into_iter()
            .flatten()
            .map(|directory| directory.join("ostree/auth.json"))
            .find(|file| (around.exists)(file))
            .map_or(Credentials::Containers, Credentials::File)
    }

    /// The file with the trust put in images; `None` where there is none. skopeo is told which it
    /// is, so that no two versions of it differ on where it lies.
    pub(super) fn policy_file(&self, around: &Surroundings<'_>) -> Option<PathBuf> {
        let named = self.signature_policy.clone();
        if let Some(file) = named.or_else(|| around.path("CONTAINERS_POLICY_JSON")) {
            return Some(file);
        }
        around
            .config_home()
            .into_iter()
            .chain(["/etc", "/usr/share"].map(PathBuf::from))
            .map(|directory| directory.join("containers/policy.json"))
            .find(|file| (around.exists)(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks with these `variables` (`NAME=VALUE`) set and these `files` there.
    fn around<T>(
        variables: &str,
        files: &str,
        is_root: bool,
        look: impl FnOnce(&Surroundings<'_>) -> T,
    ) -> T {
        let value = |name: &str| {
            let mut pairs = variables.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then(|| value.into()))
        };
        let exists = |path: &PathBuf| files.split(' ').any(|file| path.as_os_str() == file);
        look(&Surroundings {
            variable: &value,
            is_root,
            exists: &exists,
        })
    }

    #[test]
    fn credentials() {
        let user = "HOME=/home/u XDG_RUNTIME_DIR=/run/user/1";
        for (options, variables, files, is_root, want) in [
            ("", "", "", true, "containers"),
            ("anonymous", "REGISTRY_AUTH_FILE=/r", "", true, "anonymous"),
            ("/a", "REGISTRY_AUTH_FILE=/r", "", true, "/a"),
            (
                "",
                "REGISTRY_AUTH_FILE=/r",
                "/run/ostree/auth.json",
                true,
                "/r",
            ),
            (
                "",
                "REGISTRY_AUTH_FILE=",
                "/run/ostree/auth.json /etc/ostree/auth.json",
                true,
                "/run/ostree/auth.json",
            ),
            (
                "",
                "",
                "/etc/ostree/auth.json /usr/lib/ostree/auth.json",
                true,
                "/etc/ostree/auth.json",
            ),
            (
                "",
                "",
                "/usr/lib/ostree/auth.json",
                true,
                "/usr/lib/ostree/auth.json",
            ),
            ("", user, "/etc/ostree/auth.json", false, "containers"),
            (
                "",
                user,
                "/run/user/1/ostree/auth.json /home/u/.config/ostree/auth.json",
                false,
                "/run/user/1/ostree/auth.json",
            ),
            (
                "",
                user,
                "/home/u/.config/ostree/auth.json",
                false,
                "/home/u/.config/ostree/auth.json",
            ),
            (
                "",
                "XDG_CONFIG_HOME=/c HOME=/home/u",
                "/c/ostree/auth.json",
                false,
                "/c/ostree/auth.json",
            ),
        ] {
            let options = FetchOptions {
                anonymous: options == "anonymous",
                authfile: Some(options.into()).filter(|_| options.starts_with('/')),
                ..FetchOptions::default()
            };
            let got = around(variables, files, is_root, |a| options.credentials(a));
            let want = match want {
                "containers" => Credentials::Containers,
                "anonymous" => Credentials::Anonymous,
                file => Credentials::File(file.into()),
            };
            assert_eq!(got, want, "{options:?} {variables} {files}");
        }
    }

    #[test]
    fn policy_files() {
        let system = "/etc/containers/policy.json /usr/share/containers/policy.json";
        for (option, variables, files, want) in [
            ("", "HOME=/root", "", ""),
            ("", "HOME=/root", system, "/etc/containers/policy.json"),
            (
                "",
                "HOME=/root",
                "/root/.config/containers/policy.json /etc/containers/policy.json",
                "/root/.config/containers/policy.json",
            ),
            (
                "",
                "HOME=/root XDG_CONFIG_HOME=/c",
                "/root/.config/containers/policy.json /c/containers/policy.json",
                "/c/containers/policy.json",
            ),
            ("", "CONTAINERS_POLICY_JSON=/p", system, "/p"),
            ("/o", "CONTAINERS_POLICY_JSON=/p", system, "/o"),
        ] {
            let options = FetchOptions {
                signature_policy: Some(option.into()).filter(|_| !option.is_empty()),
                ..FetchOptions::default()
            };
            let got = around(variables, files, true, |a| options.policy_file(a));
            let want = Some(PathBuf::from(want)).filter(|_| !want.is_empty());
            assert_eq!(got, want, "{option} {variables} {files}");
        }
    }
}
