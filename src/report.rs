//! What an import changed, dropped or noticed: one line each, nothing silent.

use std::fmt;

use serde::Serialize;

use crate::path::ImagePath;

/// What a [`Note`] says of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Something that the image did not hold was added.
    Added,
    /// Content or metadata differ from the image's.
    Changed,
    /// It lies at another path now.
    Moved,
    /// The image holds it, the commit does not.
    Dropped,
    /// Nothing was changed, but the reader should know.
    Warning,
    /// What lies there keeps the system from booting, or cannot be decided without the user.
    Fatal,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Dropped => "dropped",
            Self::Warning => "warning",
            Self::Fatal => "fatal",
        })
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Who did it: a stage (`layer`, `merge`, `label`) or the name of a fixup.
    pub by: &'static str,
    /// What was done.
    pub action: Action,
    /// Where: for layers, the merge and fixups a path of the image at that moment, for labels one of
    /// the commit (`/usr/etc/…`).
    pub path: ImagePath,
    /// What and why, in words.
    pub detail: String,
    /// What to do about it, in words, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Every note of an import, in the order they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    notes: Vec<Note>,
}

impl Report {
    /// Adds a line.
    pub fn note(
        &mut self,
        by: &'static str,
        action: Action,
        path: &ImagePath,
        detail: impl Into<String>,
    ) {
        self.notes.push(Note {
            by,
            action,
            path: path.clone(),
            detail: detail.into(),
            fix: None,
        });
    }

    /// Adds a [`Action::Warning`] that says what to do.
    pub fn advise(
        &mut self,
        by: &'static str,
        path: &ImagePath,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.note(by, Action::Warning, path, detail);
        self.give_fix(fix);
    }

    /// Adds an [`Action::Fatal`]: the image becomes no commit unless its author or an option does
    /// what `fix` says.
    pub fn fatal(
        &mut self,
        by: &'static str,
        path: &ImagePath,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.note(by, Action::Fatal, path, reason);
        self.give_fix(fix);
    }

    fn give_fix(&mut self, fix: impl Into<String>) {
        let note = self.notes.last_mut().expect("a note was just added");
        note.fix = Some(fix.into());
    }

    /// Everything that keeps the image from becoming a commit, as one error.
    ///
    /// # Errors
    /// There is a [`Action::Fatal`] line.
    pub fn refuse_fatal(&self) -> Result<(), Unbootable> {
        let fatal = |note: &&Note| note.action == Action::Fatal;
        let faults: Vec<_> = self.notes.iter().filter(fatal).cloned().collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Unbootable { faults }),
        }
    }

    /// The lines.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Takes over the lines of `other`.
    pub fn append(&mut self, mut other: Self) {
        self.notes.append(&mut other.notes);
    }
}

/// The image cannot become a commit that boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbootable {
    /// Why: the [`Action::Fatal`] lines.
    pub faults: Vec<Note>,
}

impl fmt::Display for Unbootable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let Note { path, detail, .. } = fault;
            write!(f, "{separator}{path}: {detail}")?;
            if let Some(fix) = &fault.fix {
                write!(f, " ({fix})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Unbootable {}
