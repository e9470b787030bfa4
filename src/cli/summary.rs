//! The report of an import for people.

use std::io::{self, Write};

use indicatif::{HumanBytes, HumanCount};

use crate::contract::RefName;
use crate::outcome::Imported;
use crate::report::Note;

/// How many lines each fixup gets unless all are asked for.
const LINES: usize = 8;

/// Prints what was done: the image, the tree, and what was changed, by whom. With `all`, every
/// line of the report.
pub fn print(imported: &Imported, all: bool, out: &mut impl Write) -> io::Result<()> {
    let count = |n: usize| HumanCount(n as u64);
    writeln!(out, "source    {}", imported.source)?;
    writeln!(out, "manifest  {}", imported.manifest_digest)?;
    for (index, layer) in imported.layers.iter().enumerate() {
        writeln!(
            out,
            "{:9} {}  {:>10} unpacked {:>10}  {:>7} entries{}",
            if index == 0 { "layers" } else { "" },
            &layer.digest.to_string()[..19],
            HumanBytes(layer.size).to_string(),
            HumanBytes(layer.uncompressed_size).to_string(),
            count(layer.entries),
            if layer.cached {
                ", in the repo already"
            } else {
                ""
            },
        )?;
    }
    let Some(tree) = &imported.tree else {
        let all = if imported.unchanged {
            " under all its refs"
        } else {
            ""
        };
        writeln!(out, "unchanged this very image is in the repo already{all}")?;
        return print_refs(imported, out);
    };
    writeln!(
        out,
        "tree      {} files, {} directories, {} links, {}",
        count(tree.files),
        count(tree.directories),
        count(tree.symlinks),
        HumanBytes(tree.bytes),
    )?;
    match &imported.selinux {
        None => writeln!(
            out,
            "selinux   nothing is labelled: {}",
            imported.selinux_reason.as_deref().unwrap_or_default(),
        )?,
        Some(selinux) => writeln!(
            out,
            "selinux   policy {}: {} labelled, {} without a label, {} checked with libselinux{}",
            selinux.policy,
            count(selinux.labelled),
            count(selinux.unlabelled),
            count(selinux.checked),
            if selinux.taken_over {
                ", which took over"
            } else {
                ""
            },
        )?,
    }
    let kernel = imported.kernel.as_deref();
    writeln!(
        out,
        "kernel    {}",
        kernel.unwrap_or("none in usr/lib/modules")
    )?;
    print_notes(imported.notes.notes(), all, out)?;
    let objects = &imported.objects;
    writeln!(
        out,
        "objects   {} new ({}), {} were there",
        count(objects.content_written + objects.metadata_written),
        HumanBytes(objects.content_bytes_written),
        count(objects.content_present + objects.metadata_present),
    )?;
    print_refs(imported, out)
}

/// Prints the commit that is signed, and the refs that moved, those of layers as a number.
fn print_refs(imported: &Imported, out: &mut impl Write) -> io::Result<()> {
    let is_layer = |name: &&String| name.starts_with(RefName::BLOB_PREFIX);
    let layers = imported.refs.iter().filter(is_layer).count();
    let others = imported.refs.iter().filter(|name| !is_layer(name));
    let layers = (layers > 0).then(|| format!("{layers} of layers"));
    if let Some(base) = &imported.base {
        writeln!(out, "signed    {base}")?;
    }
    for (index, line) in others.cloned().chain(layers).enumerate() {
        writeln!(out, "{:9} {line}", if index == 0 { "refs" } else { "" })?;
    }
    Ok(())
}

fn print_notes(notes: &[Note], all: bool, out: &mut impl Write) -> io::Result<()> {
    let mut authors: Vec<&str> = Vec::new();
    for note in notes {
        if !authors.contains(&note.by) {
            authors.push(note.by);
        }
    }
    for author in authors {
        let own: Vec<_> = notes.iter().filter(|note| note.by == author).collect();
        writeln!(out, "{author}: {}", own.len())?;
        let shown = if all { own.len() } else { LINES.min(own.len()) };
        for note in &own[..shown] {
            writeln!(out, "  {:7} {}: {}", note.action, note.path, note.detail)?;
        }
        if shown < own.len() {
            writeln!(
                out,
                "  … and {} more; -v or --json shows them",
                own.len() - shown
            )?;
        }
    }
    Ok(())
}
