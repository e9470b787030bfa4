//! What `import-oci check` says of an image, as data.

use std::fmt;

use serde::Serialize;

use crate::path::ImagePath;
use crate::report::{Action, Note, Report};

/// The version of the JSON form of [`Checked`]. It grows when a field goes or changes its
/// meaning, not when one is added.
pub const JSON_VERSION: u32 = 1;

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The image becomes no commit, or one that does not boot.
    Fatal,
    /// The image's author should know; an import changes nothing about it.
    Warning,
    /// An import puts it right.
    Repaired,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fatal => "fatal",
            Self::Warning => "warning",
            Self::Repaired => "repaired",
        })
    }
}

/// One thing that keeps an image from booting, would be changed, or should be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Who found it: a stage, or the name of a fixup.
    pub by: &'static str,
    /// Where, as [`Note::path`].
    pub path: ImagePath,
    /// What is wrong, in words.
    pub reason: String,
    /// What to do about it: for a repaired one what an import does, for others what the user can do.
    pub fix: Option<String>,
}

/// The answer to "would this image boot?".
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// [`JSON_VERSION`].
    pub version: u32,
    /// The source, with its transport.
    pub source: String,
    /// Is no finding fatal?
    pub bootable: bool,
    /// Everything that was found: the worst first, else in the order in which it was found.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Turns the report of an import that was only prepared into findings.
    pub fn new(source: String, report: &Report) -> Self {
        let mut findings: Vec<_> = report.notes().iter().map(Finding::of).collect();
        findings.sort_by_key(|finding| finding.severity);
        Self {
            version: JSON_VERSION,
            source,
            bootable: report.refuse_fatal().is_ok(),
            findings,
        }
    }

    /// How many findings matter this much.
    pub fn count(&self, severity: Severity) -> usize {
        let same = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(same).count()
    }
}

impl Finding {
    fn of(note: &Note) -> Self {
        let severity = match note.action {
            Action::Fatal => Severity::Fatal,
            Action::Warning => Severity::Warning,
            Action::Added | Action::Changed | Action::Moved | Action::Dropped => Severity::Repaired,
        };
        let repair = (severity == Severity::Repaired).then(|| note.action.to_string());
        Self {
            severity,
            by: note.by,
            path: note.path.clone(),
            reason: note.detail.clone(),
            fix: note.fix.clone().or(repair),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::image_path;

    #[test]
    fn the_worst_first() {
        let mut report = Report::default();
        report.note("etc", Action::Moved, &image_path("etc"), "to /usr/etc");
        report.advise("accounts", &image_path("usr/x"), "id 7", "give it a name");
        assert!(Checked::new(String::new(), &report).bootable);
        report.fatal("kernel", &image_path("boot"), "two kernels", "--kernel");
        report.note("label", Action::Warning, &image_path("y"), "no label");
        let checked = Checked::new("oci:x".to_owned(), &report);
        let told: Vec<_> = checked
            .findings
            .iter()
            .map(|f| format!("{} {} {} {:?}", f.severity, f.by, f.path, f.fix))
            .collect();
        assert_eq!(
            told,
            [
                "fatal kernel /boot Some(\"--kernel\")",
                "warning accounts /usr/x Some(\"give it a name\")",
                "warning label /y None",
                "repaired etc /etc Some(\"moved\")",
            ]
        );
        assert!(!checked.bootable);
        assert_eq!(checked.count(Severity::Warning), 2);
    }
}
