//! `import-oci inspect IMAGE`: what is known of an image of a repo?

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use indicatif::HumanBytes;

use super::repo::SystemArgs;
use super::table::{answer, date, short};
use crate::images::answer::Inspected;
use crate::images::find;
use crate::repo::Repo;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The image, as `import-oci list` names it.
    image: String,

    #[command(flatten)]
    system: SystemArgs,

    /// Print one JSON object with everything, the manifest and the configuration too.
    #[arg(long)]
    json: bool,

    /// Print the manifest as the commit has it.
    #[arg(long, conflicts_with_all = ["json", "config"])]
    manifest: bool,

    /// Print the configuration as the commit has it.
    #[arg(long, conflicts_with = "json")]
    config: bool,
}

pub fn run(args: &InspectArgs) -> Result<()> {
    let (repo, sysroot) = args.system.open(Repo::open_for_reading)?;
    let (image, state) = find(&repo, &args.image)?;
    let verbatim = match (args.manifest, args.config) {
        (true, _) => Some(&state.manifest_json),
        (_, true) => Some(&state.config_json),
        _ => None,
    };
    if let Some(text) = verbatim {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        return Ok(stdout.flush()?);
    }
    let inspected = Inspected::of(&repo, sysroot.as_ref(), &image, &state)?;
    answer(&inspected, args.json, print)
}

fn print(inspected: &Inspected, out: &mut impl Write) -> io::Result<()> {
    let made_by = match (inspected.format, &inspected.importer) {
        (Some(format), _) => format!("import-oci, format {format}"),
        (None, importer) => importer.clone().unwrap_or_default(),
    };
    let cached_update = inspected.cached_update.as_ref().map(|update| {
        let version = update.image_version.as_deref().unwrap_or_default();
        format!("{} {version}", update.manifest_digest)
    });
    let size = inspected.layers.iter().map(|layer| layer.size).sum();
    let layers = format!("{}, {}", inspected.layers.len(), HumanBytes(size));
    let deployed = if inspected.deployed { "yes" } else { "no" };
    let lines = [
        ("image", Some(&inspected.image)),
        ("commit", Some(&inspected.commit)),
        ("base", inspected.base_commit.as_ref()),
        ("deployed", Some(&deployed.to_owned())),
        ("manifest", Some(&inspected.manifest_digest)),
        ("config", Some(&inspected.config_digest)),
        ("version", inspected.image_version.as_ref()),
        ("created", Some(&date(inspected.timestamp))),
        ("kernel", inspected.kernel.as_ref()),
        ("policy", inspected.policy.as_ref()),
        ("made by", Some(&made_by)),
        ("options", inspected.options.as_ref()),
        ("update", cached_update.as_ref()),
        ("layers", Some(&layers)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            writeln!(out, "{name:9} {}", super::one_line(value))?;
        }
    }
    for layer in &inspected.layers {
        let commit = layer.commit.as_deref().map_or("not in the repo", short);
        writeln!(out, "{:9} {}  {commit}", "", layer.digest)?;
    }
    for (index, name) in inspected.refs.iter().enumerate() {
        writeln!(out, "{:9} {name}", if index == 0 { "refs" } else { "" })?;
    }
    Ok(())
}
