//! `mastwatch rebuild`: the read models, told again from the log.

use crate::show;
use anyhow::{Context, bail};
use kit::{
    Log, LogConfig,
    config::{Secret, Settings},
};
use std::path::{Path, PathBuf};

/// What `mastwatch rebuild` can be told.
#[derive(Debug, clap::Args)]
pub struct RebuildArgs {
    /// A configuration file (TOML) with `nats_url` and `database_url`.
    #[arg(long, env = "MASTWATCH_CONFIG")]
    pub config: Option<PathBuf>,
    /// The servers' addresses as `mastwatch up` wrote them; by default `servers.json` of the data directory.
    #[arg(long)]
    pub servers: Option<PathBuf>,
}

/// The file the addresses of the private servers are kept in, below the data directory.
pub fn servers_file(data: &Path) -> PathBuf {
    data.join("servers.json")
}

/// Empties the read models and reads the log again, and holds the checksums against each other.
///
/// # Errors
///
/// When a server is not reached, or the rows are not the same as before.
pub async fn run(args: &RebuildArgs, data: &Path, json: bool) -> anyhow::Result<()> {
    kit::telemetry::use_ring();
    let mut settings = Settings::load(args.config.as_deref()).context("reading the configuration")?;
    let file = args.servers.clone().unwrap_or_else(|| servers_file(data));
    if let Ok(text) = std::fs::read_to_string(&file) {
        let known: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        for key in ["nats_url", "database_url", "database_owner_url"] {
            if let Some(value) = known[key].as_str() {
                settings = settings.with(key, value, "the running `mastwatch up`");
            }
        }
    }
    let common = settings.common()?;
    let url = common.database_url.clone().context("finding Postgres: `database_url` is not given")?;
    let owner: Secret = common.database_owner_url.clone().unwrap_or_else(|| url.clone());
    let log = Log::connect(LogConfig::of(&common, "rebuild")).await.context("connecting to the log")?;
    let pool = kit::postgres::pool(&url, "rebuild", 4)?;
    let before = projector::checksum(&pool).await.context("working out the checksum before")?;
    let service = kit::Service::alone("rebuild", common, log);
    let bar = indicatif::ProgressBar::new(0);
    bar.set_style(indicatif::ProgressStyle::with_template(
        "{bar:40} {pos}/{len} messages  {per_sec}  {eta}",
    )?);
    let after = projector::rebuild(&owner, &service, &pool, |progress| {
        bar.set_length(progress.of);
        bar.set_position(progress.written);
    })
    .await
    .context("reading the log again")?;
    bar.finish_and_clear();
    if json {
        show::json(&serde_json::json!({ "before": before, "after": after, "equal": before == after }));
    } else {
        show::line(format!("before  {before}\nafter   {after}"));
    }
    if before != after {
        bail!(
            "the rows are not the same as before. While facts are still being written this is no fault: \
             run it again when the network is quiet"
        );
    }
    Ok(())
}
