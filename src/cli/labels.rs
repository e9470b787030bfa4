//! `import-oci labels SOURCE PATH…`: why a file gets its label.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use super::progress::Bar;
use super::{OutputArgs, SourceArgs, TreeArgs, import_options};
use crate::bodies::temporary_directory;
use crate::import::prepare;
use crate::label::{
    self, FileKind, Labeler, Oracle, Policy, PolicyError, PolicyFiles, Reference as _, lookup_path,
};
use crate::path::{ImagePath, escape};
use crate::policy::Host;
use crate::report::Report;
use crate::tree::Tree;

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
    /// Where links of its parents lead, unless that is the path itself.
    resolved: Option<String>,
    /// Is it in the image?
    exists: bool,
    /// The context; none where the policy wants none.
    context: Option<String>,
    /// The path that was looked up, after aliases.
    looked_up: String,
    /// The lines that applied: aliases, and the one that decided last.
    lines: Vec<String>,
    /// Why libselinux answered, which does not tell its lines; none where it did not.
    libselinux: Option<String>,
}

/// Who labels the image in an import.
#[derive(Debug)]
enum Judge<'p> {
    Labeler(Box<Labeler<'p>>),
    Libselinux(Oracle, &'p PolicyError),
}

pub fn run(args: &LabelsArgs, output: OutputArgs) -> Result<()> {
    let (reference, source) = args.source.open()?;
    let options = import_options(&args.source, &args.tree)?;
    let bar = Bar::new(output.quiet);
    let (spools, mut report) = (temporary_directory(), Report::default());
    let prepared = prepare(source, &spools, &options, &bar, &mut report)
        .with_context(|| format!("reading {reference}"))?;
    let (name, files) = match label::find_policy(&prepared.tree, &prepared.bodies)? {
        Ok(found) => found,
        Err(reason) => bail!("nothing in {reference} is labelled: {reason}"),
    };
    let policy = Policy::parse(&files);
    let mut judge = judge(&policy, &files).with_context(|| format!("reading the policy {name}"))?;
    let mut stdout = io::stdout().lock();
    for path in &args.paths {
        let answer = answer(path, &prepared.tree, &mut judge)?;
        if args.json {
            writeln!(stdout, "{}", serde_json::to_string(&answer)?)?;
        } else {
            print(&answer, &mut stdout)?;
        }
    }
    Ok(stdout.flush()?)
}

/// Decides as [`label::label_all`] does.
fn judge<'p>(policy: &'p Result<Policy, PolicyError>, files: &PolicyFiles) -> Result<Judge<'p>> {
    match policy {
        Ok(policy) => Ok(Judge::Labeler(Box::new(policy.labeler()))),
        Err(error @ PolicyError::Malformed { .. }) => Err(error.clone().into()),
        Err(error) => Ok(Judge::Libselinux(Oracle::new(files)?, error)),
    }
}

fn answer<'a>(path: &'a str, tree: &Tree, judge: &mut Judge<'_>) -> Result<Answer<'a>> {
    let asked = ImagePath::parse(path.as_bytes())?;
    let (resolved, node) = Host::of(tree).locate(&asked)?;
    let kind = node.map_or(FileKind::Regular, |id| label::kind(&tree.inode(id).content));
    let looked_up = lookup_path(&resolved);
    let unexplained = Answer {
        path,
        exists: node.is_some(),
        resolved: (resolved != asked).then(|| resolved.to_string()),
        context: None,
        looked_up: escape(&looked_up),
        lines: Vec::new(),
        libselinux: None,
    };
    Ok(match judge {
        Judge::Labeler(labeler) => {
            let explanation = labeler.explain(&looked_up, kind);
            let lines = explanation.aliases.iter().chain(&explanation.line);
            Answer {
                context: explanation.context.map(str::to_owned),
                looked_up: escape(&explanation.path),
                lines: lines.map(ToString::to_string).collect(),
                ..unexplained
            }
        }
        Judge::Libselinux(oracle, why) => Answer {
            context: oracle.lookup(&looked_up, kind)?,
            libselinux: Some(why.to_string()),
            ..unexplained
        },
    })
}

fn print(answer: &Answer<'_>, out: &mut impl io::Write) -> io::Result<()> {
    let context = answer.context.as_deref().unwrap_or("<<none>>");
    let missing = if answer.exists {
        ""
    } else {
        "  (not in the image)"
    };
    write!(out, "{}", answer.path)?;
    if let Some(resolved) = &answer.resolved {
        write!(out, " -> {resolved}")?;
    }
    writeln!(out, "  {context}{missing}")?;
    for line in &answer.lines {
        writeln!(out, "    {line}")?;
    }
    if let Some(why) = &answer.libselinux {
        writeln!(
            out,
            "    said by libselinux, the deciding line is not known: {why}"
        )?;
    } else if answer.lines.is_empty() {
        writeln!(
            out,
            "    no line of the policy matches {}",
            answer.looked_up
        )?;
    }
    Ok(())
}
