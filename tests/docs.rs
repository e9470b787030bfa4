//! docs/fixups.md says what the code says: its table is made from the fixups themselves.
//!
//! `make docs` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use import_oci::fixup::{FIXUPS, Fixup};

const BEGIN: &str = "<!-- begin: written by `make docs` -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_table_of_fixups() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fixups.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (table, after) = rest.split_once(END).expect("where the table ends");
    let wanted = wanted();
    if std::env::var_os("IMPORT_OCI_WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, BEGIN, &wanted, END, after].concat()).unwrap();
    } else {
        assert_eq!(table, wanted, "docs/fixups.md is old: `make docs`");
    }
}

fn wanted() -> String {
    let mut table = String::from(
        "| fixup | does | because | options | after | off |\n|---|---|---|---|---|---|\n",
    );
    for fixup in FIXUPS {
        writeln!(table, "{}", row(*fixup)).unwrap();
    }
    table
}

fn row(fixup: &dyn Fixup) -> String {
    let options: Vec<_> = fixup.options().iter().map(|o| option(o)).collect();
    format!(
        "| `{}` | {} | {} | {} | {} | `--skip-fixup {}` |",
        fixup.name(),
        fixup.summary(),
        fixup.reason(),
        options.join("; "),
        fixup.after().join(", "),
        fixup.name()
    )
}

/// The flag as code, what is said about it as it is.
fn option(text: &str) -> String {
    match text.split_once(' ') {
        Some((flag, words)) => format!("`{flag}` {words}"),
        None => format!("`{text}`"),
    }
}
