//! `mastwatch import`: lays a network file down.

use crate::{api::Api, show};
use anyhow::{Context, bail};
use reqwest::Method;
use std::path::PathBuf;

/// What `mastwatch import` can be told.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The network file.
    pub file: PathBuf,
    /// Only show what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads and checks the file here, where its secrets can be looked up, and sends it whole.
///
/// # Errors
///
/// When the file is wrong (every fault with its place), or the console refuses.
pub async fn run(args: &ImportArgs, api: &Api, json: bool) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("reading {name}"))?;
    let base = args.file.parent().map(PathBuf::from).unwrap_or_default();
    let network = match network_file::parse(&name, &text, &network_file::SecretsHere { base }) {
        Ok(network) => network,
        Err(problems) => bail!("{name} cannot be imported:\n{problems}"),
    };
    let path = format!("/api/v1/import?dry_run={}", args.dry_run);
    let bar = indicatif::ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar.set_message(format!(
        "importing {} devices and {} subscribers",
        network.nodes.len(),
        network.subscribers.len()
    ));
    let answer = api.call(Method::POST, &path, Some(network.to_yaml().into_bytes())).await;
    bar.finish_and_clear();
    let answer = answer?;
    if json {
        show::json(&answer);
        return Ok(());
    }
    let n = |key: &str| answer[key].as_u64().unwrap_or_default();
    let did = match (args.dry_run, answer["committed"].as_bool()) {
        (true, _) => "would be imported",
        (false, Some(true)) => "imported",
        (false, _) => "is in force already",
    };
    show::line(format!(
        "{name} {did}: {} new, {} changed, {} removed, {} as before; revision {}",
        n("created"),
        n("changed"),
        n("removed"),
        n("unchanged"),
        n("revision")
    ));
    Ok(())
}
