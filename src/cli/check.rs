//! `import-oci check SOURCE`: would it boot, and what would an import change?

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::Row;

use super::progress::Bar;
use super::table::{answer, print_table, table};
use super::{OutputArgs, SourceArgs, TreeArgs, import_options};
use crate::bodies::temporary_directory;
use crate::findings::{Checked, Finding, Severity};
use crate::import;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Print one JSON object with every finding.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    tree: TreeArgs,
}

/// How many repairs of each fixup are shown unless all are asked for.
const REPAIRS: usize = 4;

pub fn run(args: &CheckArgs, output: OutputArgs) -> Result<ExitCode> {
    let (reference, source) = args.source.open()?;
    let options = import_options(&args.source, &args.tree)?;
    let bar = Bar::new(output.quiet);
    let report = import::check(source, &temporary_directory(), &options, &bar)
        .with_context(|| format!("checking {reference}"))?;
    let checked = Checked::new(reference.to_string(), &report);
    answer(&checked, args.json, |checked, out| {
        print(checked, output.verbose > 0, out)
    })?;
    Ok(match checked.bootable {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Prints the verdict, then a row for each finding. Unless `all`, each fixup shows only its first
/// repairs: what needs the user is never left out.
fn print(checked: &Checked, all: bool, out: &mut impl Write) -> io::Result<()> {
    let count = |severity| checked.count(severity);
    let verdict = match checked.bootable {
        true => "would boot",
        false => "would not boot",
    };
    write!(out, "{}: {verdict}", checked.source)?;
    if checked.findings.is_empty() {
        return writeln!(out, ", nothing to repair");
    }
    let [fatal, warnings, repaired] =
        [Severity::Fatal, Severity::Warning, Severity::Repaired].map(count);
    let plural = if warnings == 1 { "" } else { "s" };
    writeln!(
        out,
        ": {fatal} fatal, {warnings} warning{plural}, {repaired} repaired by an import"
    )?;

    let mut table = table(["", "found by", "path", "what", "fix"]);
    let mut left_out = 0;
    for (index, finding) in checked.findings.iter().enumerate() {
        if all || finding.severity != Severity::Repaired || is_among_first(checked, index) {
            table.add_row(row(finding));
        } else {
            left_out += 1;
        }
    }
    print_table(&table, out)?;
    if left_out > 0 {
        writeln!(
            out,
            "… and {left_out} more repairs; -v or --json shows them"
        )?;
    }
    Ok(())
}

/// Is the finding at `index` one of the first repairs of its fixup?
fn is_among_first(checked: &Checked, index: usize) -> bool {
    let finding = &checked.findings[index];
    let before = checked.findings[..index]
        .iter()
        .filter(|other| (other.severity, other.by) == (finding.severity, finding.by));
    before.take(REPAIRS).count() < REPAIRS
}

fn row(finding: &Finding) -> Row {
    let fix = finding.fix.as_deref().unwrap_or_default();
    let path = finding.path.to_string();
    Row::from([
        &*finding.severity.to_string(),
        finding.by,
        &path,
        &finding.reason,
        fix,
    ])
}
