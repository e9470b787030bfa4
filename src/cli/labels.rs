//! `import-oci labels SOURCE PATH…`: why a file gets its label.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use super::progress::Bar;
use super::{OutputArgs, SourceArgs, TreeArgs, import_options};
use crate::import::{Prepared, prepare};
use crate::label::{self, FileKind, Labeler, Policy, lookup_path};
use crate::path::{ImagePath, escape};
use crate::report::Report;

/// Arguments of `labels`.
#[derive(Debug, Args)]
pub struct LabelsArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Absolute paths, as on the booted host (/etc/shadow) or as in the commit
    /// (/usr/etc/shadow). They need not exist: then a regular file is assumed.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,

    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    tree: TreeArgs,
}

/// The answer for one path.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    path: &'a str,
    /// Is it in the image?
    exists: bool,
    /// The context; none where the policy wants none.
    context: Option<&'a str>,
    /// The path that was looked up, after aliases.
    looked_up: String,
    /// The lines that applied: aliases, and the one that decided last.
    lines: Vec<String>,
}

pub fn run(args: &LabelsArgs, output: OutputArgs) -> Result<()> {
    let (reference, source) = args.source.open()?;
    let options = import_options(&args.source, &args.tree)?;
    let bar = Bar::new(output.quiet);
    let (spools, mut report) = (std::env::temp_dir(), Report::default());
    let prepared = prepare(source, &spools, &options, &bar, &mut report)
        .with_context(|| format!("reading {reference}"))?;
    let (name, files) = match label::find_policy(&prepared.tree, &prepared.bodies)? {
        Ok(found) => found,
        Err(reason) => bail!("nothing in {reference} is labelled: {reason}"),
    };
    let policy = Policy::parse(&files).with_context(|| format!("reading the policy {name}"))?;
    let mut labeler = policy.labeler();
    let mut stdout = io::stdout().lock();
    for path in &args.paths {
        let answer = answer(path, &prepared, &mut labeler)?;
        if args.json {
            writeln!(stdout, "{}", serde_json::to_string(&answer)?)?;
        } else {
            print(&answer, &mut stdout)?;
        }
    }
    Ok(stdout.flush()?)
}

fn answer<'a>(path: &'a str, prepared: &Prepared, labeler: &mut Labeler<'a>) -> Result<Answer<'a>> {
    let in_commit = in_commit(&ImagePath::parse(path.as_bytes())?);
    let node = prepared.tree.lookup(&in_commit);
    let kind = node.map_or(FileKind::Regular, |id| {
        label::kind(&prepared.tree.inode(id).content)
    });
    let explanation = labeler.explain(&lookup_path(&in_commit), kind);
    let lines = explanation.aliases.iter().chain(&explanation.line);
    Ok(Answer {
        path,
        exists: node.is_some(),
        context: explanation.context,
        looked_up: escape(&explanation.path),
        lines: lines.map(ToString::to_string).collect(),
    })
}

/// `/etc` of a booted host is `/usr/etc` of the commit.
fn in_commit(path: &ImagePath) -> ImagePath {
    let mut components = path.components();
    if components.next() != Some(b"etc") {
        return path.clone();
    }
    let usr_etc = ImagePath::root().join(b"usr").join(b"etc");
    components.fold(usr_etc, |path, name| path.join(name))
}

fn print(answer: &Answer<'_>, out: &mut impl io::Write) -> io::Result<()> {
    let context = answer.context.unwrap_or("<<none>>");
    let missing = if answer.exists {
        ""
    } else {
        "  (not in the image)"
    };
    writeln!(out, "{}  {context}{missing}", answer.path)?;
    for line in &answer.lines {
        writeln!(out, "    {line}")?;
    }
    if answer.lines.is_empty() {
        writeln!(
            out,
            "    no line of the policy matches {}",
            answer.looked_up
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etc_is_usr_etc() {
        for (path, expected) in [
            ("/etc/shadow", "/usr/etc/shadow"),
            ("/etc", "/usr/etc"),
            ("/usr/etc/shadow", "/usr/etc/shadow"),
            ("/etcetera", "/etcetera"),
            ("/", "/"),
        ] {
            let path = ImagePath::parse(path.as_bytes()).unwrap();
            assert_eq!(in_commit(&path).to_string(), expected);
        }
    }
}
