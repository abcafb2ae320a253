//! `mastwatch convert`: an export of an older system as a network file.

use crate::show;
use anyhow::Context;
use network_file::Legacy;
use std::path::PathBuf;

/// What `mastwatch convert` can be told.
#[derive(Debug, clap::Args)]
pub struct ConvertArgs {
    /// The export: a table with the columns `id` and `location`, perhaps `name`, `class`, `tier`, `parent` and
    /// `address`, parted by commas.
    export: PathBuf,
    /// The tenant's id.
    #[arg(long)]
    tenant: String,
    /// Where to write the network file; standard output by default.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

/// Writes the network file, and tells of every row whose location was rewritten: to people on standard error, with
/// `json` an object a row.
///
/// # Errors
///
/// When the export cannot be read, or the file cannot be written.
pub fn run(args: &ConvertArgs, json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.export)
        .with_context(|| format!("reading {}", args.export.display()))?;
    let legacy = Legacy::read(&text).with_context(|| format!("reading {}", args.export.display()))?;
    let yaml = legacy.to_yaml(&args.tenant);
    if let Some(path) = &args.output {
        std::fs::write(path, &yaml).with_context(|| format!("writing {}", path.display()))?;
    } else if !json {
        show::line(yaml.trim_end());
    }
    for row in &legacy.rewritten {
        if json {
            show::json(row);
        } else {
            let after = row.after.as_deref().map_or("nothing".to_owned(), |after| format!("`{after}`"));
            show::note(format!("row {}, {}: `{}` is now {after}", row.row, row.id, row.before));
        }
    }
    let (devices, sites, rewritten) = (legacy.device_count(), legacy.sites.len(), legacy.rewritten.len());
    if json {
        let text = args.output.is_none().then_some(yaml);
        show::json(&serde_json::json!({
            "path": args.output, "devices": devices, "sites": sites, "rewritten": rewritten, "text": text,
        }));
    } else {
        show::note(format!("{devices} devices at {sites} sites; {rewritten} locations were rewritten"));
    }
    Ok(())
}
