//! What an import changed, dropped or noticed: one line each, nothing silent.

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
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Dropped => "dropped",
            Self::Warning => "warning",
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
        });
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
