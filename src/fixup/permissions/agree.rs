//! One declaration from those of several packages.

use crate::packages::{DeclaredFile, FileKind};

/// What packages agree on for one path.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed<'f> {
    /// The declaration that counts; `None`: they do not agree.
    pub file: Option<&'f DeclaredFile>,
    /// Who declares otherwise, in words.
    pub dissent: Option<String>,
}

/// The package that the layout of a system belongs to, on Fedora and Arch alike: where packages that
/// only put files into a directory declare it otherwise, it is right.
const LAYOUT: &str = "filesystem";

/// What counts for a path of this kind; `None` where nothing is declared. Who only claims a path
/// (`%ghost`) has no say beside one who ships it.
pub fn agree<'f>(files: &[&'f DeclaredFile], kind: FileKind) -> Option<Agreed<'f>> {
    let shipped: Vec<_> = files.iter().filter(|file| !file.ghost).copied().collect();
    let files = if shipped.is_empty() { files } else { &shipped };
    let (&first, others) = files.split_first()?;
    let Some(other) = others.iter().find(|other| !same(first, other)) else {
        return Some(Agreed {
            file: Some(first),
            dissent: None,
        });
    };
    let is_layout = |file: &&&DeclaredFile| kind == FileKind::Directory && &*file.package == LAYOUT;
    let layout = files.iter().find(is_layout).copied();
    let dissent = match layout {
        Some(layout) => {
            let other = files.iter().find(|file| !same(layout, file));
            let other = other.map_or(&*first.package, |other| &*other.package);
            format!("package {other} declares it otherwise than {LAYOUT}, which counts")
        }
        None => format!(
            "packages {} and {} declare it differently, so that it was left as it is",
            first.package, other.package
        ),
    };
    Some(Agreed {
        file: layout,
        dissent: Some(dissent),
    })
}

/// Do they ask for the same?
fn same(a: &DeclaredFile, b: &DeclaredFile) -> bool {
    a.mode == b.mode && a.user == b.user && a.group == b.group && a.capabilities == b.capabilities
}
