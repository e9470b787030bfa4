//! What `import-oci check --json` says; see `docs/check-v1.schema.json`.

use serde::Deserialize;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Checked {
    /// Would the image boot?
    pub bootable: bool,
    /// Everything that was found.
    pub findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finding {
    /// `fatal`, `warning` or `repaired`.
    pub severity: String,
    /// Who found it.
    pub by: String,
    /// Where.
    pub path: String,
}

impl Checked {
    /// Those of `expected`, each a severity, who finds it and where, that were not found.
    pub fn missing<'a>(&self, expected: &[(&'a str, &'a str, &'a str)]) -> Vec<String> {
        let found = |&(severity, by, path): &(&str, &str, &str)| {
            self.findings.iter().any(|finding| {
                finding.severity == severity && finding.by == by && finding.path == path
            })
        };
        expected
            .iter()
            .filter(|wanted| !found(wanted))
            .map(|(severity, by, path)| format!("{severity} {by} {path}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_counts_only_with_all_that_is_expected_of_it() {
        let checked: Checked = serde_json::from_str(
            r#"{"version": 1, "source": "oci:x", "bootable": true, "findings": [
                {"severity": "repaired", "by": "etc", "path": "/etc", "reason": "", "fix": null}]}"#,
        )
        .unwrap();
        assert_eq!(
            checked.missing(&[
                ("repaired", "etc", "/etc"),
                ("fatal", "etc", "/etc"),
                ("repaired", "var", "/etc"),
                ("repaired", "etc", "/usr/etc"),
            ]),
            [
                "fatal etc /etc",
                "repaired var /etc",
                "repaired etc /usr/etc"
            ]
        );
    }
}
