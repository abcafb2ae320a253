//! `mastwatch status`: how the network is, at a glance.

use crate::{
    api::{Api, Cursor},
    incidents, inventory, show,
};
use serde_json::Value;
use std::{collections::BTreeMap, process::ExitCode};

/// What `mastwatch status` can be told.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Only what is at this site: its id in the network file. Exit code 3 then: something there is down, cut off or
    /// unwatched.
    #[arg(long)]
    site: Option<String>,
}

/// Shows counts by tier and health and the open incidents. The exit code is 3 when something is down: a lost
/// redundancy alone cuts nobody off.
///
/// # Errors
///
/// When the console is not reached, or there is no such site.
pub async fn run(args: &StatusArgs, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(site) = &args.site {
        return at_site(site, api, json).await;
    }
    let incidents = incidents::of_state("open", api).await?;
    let counts = counts(None, api).await?;
    if json {
        show::json(&serde_json::json!({ "health": counts, "open_incidents": incidents }));
    } else {
        show_counts(&counts);
        if incidents.is_empty() {
            show::line("Nothing is open.");
        }
        for incident in &incidents {
            show::line(incident["title"].as_str().unwrap_or_default());
        }
    }
    Ok(if incidents.iter().any(is_outage) { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// The same of one site. Incidents are the network's: what is wrong here may have its cause elsewhere.
async fn at_site(site: &str, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    inventory::is_known(site, api).await?;
    let counts = counts(Some(site), api).await?;
    if json {
        show::json(&serde_json::json!({ "site": site, "health": counts }));
    } else {
        show_counts(&counts);
    }
    let is_ill =
        |of: &BTreeMap<String, u64>| ["down", "impacted", UNWATCHED].iter().any(|s| of.contains_key(*s));
    Ok(if counts.values().any(is_ill) { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// What nothing is known of because the point of presence that watches it is blind.
const UNWATCHED: &str = "unwatched";

/// Nodes by tier and by what is believed of them.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

fn show_counts(counts: &Counts) {
    let states = ["up", "degraded", "down", "impacted", "unknown", UNWATCHED];
    let rows: Vec<Vec<String>> = ["core", "site", "sector", "station", "subscriber"]
        .iter()
        .filter_map(|tier| {
            let of = counts.get(*tier)?;
            let cells = states.iter().map(|s| of.get(*s).copied().unwrap_or_default().to_string());
            Some(std::iter::once((*tier).to_owned()).chain(cells).collect())
        })
        .collect();
    show::table(&["TIER", "UP", "DEGRADED", "DOWN", "IMPACTED", "UNKNOWN", "UNWATCHED"], &rows);
}

/// Whether an open incident means that something is down.
fn is_outage(incident: &Value) -> bool {
    incident["class"].as_str() != Some("redundancy")
}

/// How many nodes there are, everywhere or at one site.
async fn counts(site: Option<&str>, api: &Api) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    let mut cursor = Cursor::default();
    let path = inventory::within("/api/v1/inventory/nodes?limit=1000", &[("site", site)]);
    while let Some(page) = api.page(&path, &mut cursor).await? {
        for node in page["items"].as_array().into_iter().flatten() {
            let of = |key: &str| node[key].as_str().unwrap_or("unknown").to_owned();
            let is_unwatched = node["is_unwatched"].as_bool() == Some(true);
            let health = if is_unwatched { UNWATCHED.to_owned() } else { of("health") };
            *counts.entry(of("tier")).or_default().entry(health).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Whether there is a network and nothing of it is unknown.
///
/// # Errors
///
/// When the console is not reached.
pub async fn is_settled(api: &Api) -> anyhow::Result<bool> {
    let counts = counts(None, api).await?;
    Ok(!counts.is_empty() && counts.values().all(|of| of.get("unknown").copied().unwrap_or_default() == 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lost_redundancy_alone_is_no_outage() {
        assert!(!is_outage(&json!({"class": "redundancy"})));
        for class in ["outage", "sessions_lost", "blind"] {
            assert!(is_outage(&json!({"class": class})), "{class}");
        }
    }
}
