//! The merge against the public suites of other tools that lay OCI layers on each other.
//!
//! Their tables are ported, in our own words, to `tests/data/merge/*.txt` (see [`format`] for the
//! language), one file a suite. Where a tool expects something else than we do the case says so
//! and why; what is not about merging is listed at the end of its file.
//!
//! Two oracles judge beyond the tables: `umoci` unpacks the cases and random images ([`umoci`]),
//! and a second implementation, as naive as can be, merges random images ([`oracle`]).

mod format;
mod listing;
mod oracle;
mod random;
mod umoci;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use format::{Case, Step, Suite};
use listing::{Merged, difference, list_expected};

#[test]
fn suite_umoci() {
    run_suite("umoci");
}

#[test]
fn suite_containers_storage() {
    run_suite("containers-storage");
}

#[test]
fn suite_composefs_rs() {
    run_suite("composefs-rs");
}

#[test]
fn suite_containerd() {
    run_suite("containerd");
}

#[test]
fn suite_go_archive() {
    run_suite("go-archive");
}

#[test]
fn suite_rules() {
    run_suite("rules");
}

#[test]
fn every_data_file_is_run() {
    let files = std::fs::read_dir(data_directory()).unwrap();
    let found: BTreeSet<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let run = SUITES.map(|name| format!("{name}.txt"));
    assert_eq!(found, BTreeSet::from(run));
}

/// Every suite, by the name of its data file.
const SUITES: [&str; 6] = [
    "composefs-rs",
    "containerd",
    "containers-storage",
    "go-archive",
    "rules",
    "umoci",
];

fn data_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/merge")
}

fn read_suite(name: &str) -> Suite {
    let path = data_directory().join(name).with_extension("txt");
    Suite::read(&path).unwrap_or_else(|error| panic!("{error:#}"))
}

#[track_caller]
fn run_suite(name: &str) {
    let suite = read_suite(name);
    let failures: Vec<_> = suite
        .cases
        .iter()
        .filter_map(|case| {
            let failure = run_case(case).err()?;
            let differs = case.differs.as_deref().unwrap_or("as there");
            let Case { name, from, .. } = case;
            Some(format!("case {name} ({from}: {differs})\n{failure}"))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} cases of {name} failed\n\n{}",
        failures.len(),
        suite.cases.len(),
        failures.join("\n")
    );
}

fn run_case(case: &Case) -> Result<(), String> {
    let mut merged = Merged::new();
    let mut error = None;
    for step in &case.steps {
        match step {
            Step::Layer(_) | Step::Expect(_) if error.is_some() => break,
            Step::Layer(nodes) => error = merged.apply(nodes, &case.options).err(),
            Step::Expect(nodes) => {
                let expected = list_expected(nodes).map_err(|error| format!("{error:#}"))?;
                if let Some(difference) = difference(&expected, &merged.list()) {
                    return Err(difference);
                }
            }
            Step::Error(expected) => {
                let found = error.take();
                if found.as_ref() != Some(expected) {
                    return Err(format!("    - error {expected}\n    + {found:?}\n"));
                }
            }
        }
    }
    if let Some(error) = error {
        return Err(format!("    + error {error}\n"));
    }
    check_report(case, &merged)
}

/// Compares the report where the merge succeeded.
fn check_report(case: &Case, merged: &Merged) -> Result<(), String> {
    let notes = merged.report.notes();
    let found: BTreeSet<_> = notes
        .iter()
        .map(|note| format!("{} {}", note.action, note.path))
        .collect();
    let failed = matches!(case.steps.last(), Some(Step::Error(_)));
    if failed || found == case.report {
        return Ok(());
    }
    let missing = case.report.difference(&found);
    let excess = found.difference(&case.report);
    Err(missing
        .map(|note| format!("    - report {note}\n"))
        .chain(excess.map(|note| format!("    + report {note}\n")))
        .collect())
}

#[test]
fn umoci_agrees_on_the_cases() {
    if let Some(why) = umoci::missing() {
        eprintln!("not run: {why}");
        return;
    }
    let mut compared = 0;
    let mut failures = Vec::new();
    for name in SUITES {
        for case in &read_suite(name).cases {
            let layers: Vec<_> = case.layers().map(<[_]>::to_vec).collect();
            let Some(Step::Expect(nodes)) = case.steps.last() else {
                continue;
            };
            if case.umoci.is_some() || !umoci::can_hold(&layers) {
                continue;
            }
            let expected = list_expected(nodes).unwrap();
            let disagreement = match umoci::unpack(&layers) {
                Ok(found) => difference(&expected, &found),
                Err(error) => Some(format!("    + {error:#}\n")),
            };
            compared += 1;
            if let Some(text) = disagreement {
                failures.push(format!("{name} case {}\n{text}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 100, "only {compared} cases were compared");
}
