//! Which stateroot a deployment is of.

/// The name of the only stateroot where nobody cares.
const DEFAULT: &str = "default";

/// A stateroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stateroot {
    /// Its name.
    pub name: String,
    /// Is it yet to be made?
    pub is_new: bool,
}

/// Why a deployment has no stateroot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaterootError {
    /// There is no such stateroot, and none shall be made.
    #[error(
        "the system has no stateroot {name}{}; --init makes it, as `ostree admin os-init {name}` \
         does", others(.existing)
    )]
    Missing {
        /// Its name.
        name: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// There are several, none of which runs.
    #[error("the system has several stateroots, {}: --stateroot names one", .0.join(", "))]
    Several(Vec<String>),
    /// It cannot be a directory.
    #[error("{0:?} cannot be a stateroot: its name is that of a directory")]
    Name(String),
}

fn others(existing: &[String]) -> String {
    match existing {
        [] => String::new(),
        names => format!(" but {}", names.join(", ")),
    }
}

/// The stateroot that was asked for, else that of what runs, else the only one, else `default`. One
/// that does not exist is made if `init`.
pub fn choose(
    asked_for: Option<&str>,
    booted: Option<&str>,
    existing: &[String],
    init: bool,
) -> Result<Stateroot, StaterootError> {
    let name = match (asked_for.or(booted), existing) {
        (Some(name), _) => name,
        (None, []) => DEFAULT,
        (None, [only]) => only,
        (None, several) => return Err(StaterootError::Several(several.to_vec())),
    };
    if matches!(name, "" | "." | "..") || name.contains(|c: char| c == '/' || c.is_control()) {
        return Err(StaterootError::Name(name.to_owned()));
    }
    let is_new = !existing.iter().any(|other| other == name);
    if is_new && !init {
        return Err(StaterootError::Missing {
            name: name.to_owned(),
            existing: existing.to_vec(),
        });
    }
    Ok(Stateroot {
        name: name.to_owned(),
        is_new,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(
        asked_for: Option<&str>,
        booted: Option<&str>,
        existing: &[&str],
        init: bool,
    ) -> Result<(String, bool), String> {
        let existing: Vec<_> = existing.iter().map(ToString::to_string).collect();
        choose(asked_for, booted, &existing, init)
            .map(|stateroot| (stateroot.name, stateroot.is_new))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn choices() {
        let (a, b) = (Some("a"), Some("b"));
        for (asked_for, booted, existing, init, name, is_new) in [
            (a, b, &["a", "b"][..], false, "a", false),
            (None, b, &["a", "b"], false, "b", false),
            (None, None, &["a"], false, "a", false),
            (None, None, &["a"], true, "a", false),
            (a, b, &["b"], true, "a", true),
            (None, None, &[], true, "default", true),
        ] {
            let expected = Ok((name.to_owned(), is_new));
            assert_eq!(
                chosen(asked_for, booted, existing, init),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn what_cannot_be_chosen() {
        for (asked_for, existing, init, says) in [
            (
                Some("a"),
                &["b", "c"][..],
                false,
                "no stateroot a but b, c; --init makes it",
            ),
            (
                None,
                &[],
                false,
                "no stateroot default; --init makes it, as `ostree admin os-init",
            ),
            (
                None,
                &["a", "b"],
                true,
                "several stateroots, a, b: --stateroot names one",
            ),
            (Some("../a"), &[], true, "\"../a\" cannot be a stateroot"),
            (Some(".."), &[], true, "\"..\" cannot be"),
            (Some(""), &[], true, "\"\" cannot be"),
            (Some("a\nb"), &[], true, "\"a\\nb\" cannot be"),
        ] {
            let error = chosen(asked_for, None, existing, init).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
