//! Answers: tables for people, one object of JSON for programs.

use std::io::{self, IsTerminal as _, Write};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::images::answer::Unreadable;

/// A table with these columns.
pub fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(columns);
    // Whoever reads it by lines wants a row on one.
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// Prints a table.
pub fn print_table(table: &Table, out: &mut impl Write) -> io::Result<()> {
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Answers on standard output: with `json` as one object, else by `print`.
pub fn answer<T: Serialize>(
    answer: &T,
    json: bool,
    print: impl FnOnce(&T, &mut io::StdoutLock<'static>) -> io::Result<()>,
) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match json {
        true => writeln!(stdout, "{}", serde_json::to_string(answer)?)?,
        false => print(answer, &mut stdout)?,
    }
    Ok(stdout.flush()?)
}

/// Prints what cannot be understood, a line each.
pub fn print_unreadable(unreadable: &[Unreadable], out: &mut impl Write) -> io::Result<()> {
    for Unreadable { name, reason } in unreadable {
        writeln!(
            out,
            "unreadable  {}",
            super::one_line(&format!("{name}: {reason}"))
        )?;
    }
    Ok(())
}

/// The date of a commit.
pub fn date(seconds: u64) -> String {
    let date = i64::try_from(seconds).map(jiff::Timestamp::from_second);
    match date {
        Ok(Ok(date)) => date.to_string(),
        _ => seconds.to_string(),
    }
}

/// As much of a digest or checksum as tells it from others.
pub fn short(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..20).unwrap_or(hex)
}
