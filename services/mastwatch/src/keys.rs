//! `mastwatch rotate-keys`: a new master key, without anything being started anew.

use crate::{
    api::{Api, Server},
    show,
};
use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use vault::MasterKeys;

/// What `mastwatch rotate-keys` can be told.
#[derive(Debug, clap::Args)]
pub struct RotateKeysArgs {
    /// The file of master keys that every service was given. By default the one in the data directory.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The file is kept elsewhere, a secret of Kubernetes for example, and holds the new key in front of the old
    /// one already: only wrap every tenant's keys under it.
    #[arg(long, conflicts_with_all = ["file", "keep_old"])]
    rewrap_only: bool,
    /// Leave the old key in the file, to be dropped by another run.
    #[arg(long)]
    keep_old: bool,
}

/// The file the master keys of a one-box installation are kept in, below the data directory.
pub fn key_file(data: &Path) -> PathBuf {
    data.join("master.key")
}

/// Puts a new key in front, has every tenant's keys wrapped under it, and drops the old one.
///
/// # Errors
///
/// When the file cannot be written, the console is not reached, or a tenant's keys cannot be opened; then the
/// old key is left where it is.
pub async fn rotate(args: &RotateKeysArgs, server: &Server, json: bool) -> anyhow::Result<()> {
    let api = server.api()?;
    if args.rewrap_only {
        let said = rewrapped(&api).await?;
        return tell(&json!({"rewrapped": said["rewrapped"], "already": said["already"]}), json);
    }
    let file = args.file.clone().unwrap_or_else(|| key_file(&server.data));
    // Before anything is written: a token that may not do this leaves the file as it was.
    rewrapped(&api).await?;
    let key = MasterKeys::add_to_file(&file).context("adding a master key")?;
    let said = rewrapped(&api).await?;
    let dropped = if args.keep_old {
        0
    } else {
        MasterKeys::drop_older_in_file(&file).context("dropping the old master key")?
    };
    let (rewrapped, already) = (&said["rewrapped"], &said["already"]);
    let told = json!({
        "key": key, "file": file, "rewrapped": rewrapped, "already": already, "dropped": dropped,
    });
    tell(&told, json)
}

async fn rewrapped(api: &Api) -> anyhow::Result<Value> {
    let said = api.call(Method::POST, "/api/v1/keys/rewrap", None).await?;
    let unopened = said["unopened"].as_array().map_or(0, Vec::len);
    if unopened > 0 {
        bail!(
            "the keys of {unopened} tenants are wrapped under a master key that the console does not have: put it into \
             the file of master keys (the newest first) and try again; no key was dropped"
        );
    }
    Ok(said)
}

fn tell(told: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        show::json(told);
        return Ok(());
    }
    if let Some(key) = told["key"].as_str() {
        show::note(format!("new master key {key} in {}", told["file"].as_str().unwrap_or_default()));
    }
    show::note(format!(
        "tenants' keys: {} wrapped again, {} were already",
        told["rewrapped"], told["already"]
    ));
    match told["dropped"].as_u64() {
        Some(0) => show::note("The old key is still in the file; run this again to drop it."),
        Some(n) => show::note(format!("old keys dropped: {n}; copies of the file still hold them")),
        None => show::note("Now drop the old key where it is kept."),
    }
    Ok(())
}
