//! `mastwatch status`: how the network is, at a glance.

use crate::{
    api::{Api, Cursor},
    incidents, show,
};
use serde_json::Value;
use std::{collections::BTreeMap, process::ExitCode};

/// Shows counts by tier and health and the open incidents. The exit code is 3 when something is down: a lost
/// redundancy alone cuts nobody off.
///
/// # Errors
///
/// When the console is not reached.
pub async fn run(api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let incidents = incidents::of_state("open", api).await?;
    let counts = counts(api).await?;
    if json {
        show::json(&serde_json::json!({ "health": counts, "open_incidents": incidents }));
    } else {
        let states = ["up", "degraded", "down", "impacted", "unknown"];
        let rows: Vec<Vec<String>> = ["core", "site", "sector", "station", "subscriber"]
            .iter()
            .filter_map(|tier| {
                let of = counts.get(*tier)?;
                let cells = states.iter().map(|s| of.get(*s).copied().unwrap_or_default().to_string());
                Some(std::iter::once((*tier).to_owned()).chain(cells).collect())
            })
            .collect();
        show::table(&["TIER", "UP", "DEGRADED", "DOWN", "IMPACTED", "UNKNOWN"], &rows);
        if incidents.is_empty() {
            show::line("Nothing is open.");
        }
        for incident in &incidents {
            show::line(incident["title"].as_str().unwrap_or_default());
        }
    }
    Ok(if incidents.iter().any(is_outage) { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Whether an open incident means that something is down.
fn is_outage(incident: &Value) -> bool {
    incident["class"].as_str() != Some("redundancy")
}

/// How many nodes there are, by tier and by what is believed of them.
///
/// # Errors
///
/// When the console is not reached.
pub async fn counts(api: &Api) -> anyhow::Result<BTreeMap<String, BTreeMap<String, u64>>> {
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut cursor = Cursor::default();
    while let Some(page) = api.page("/api/v1/inventory/nodes?limit=1000", &mut cursor).await? {
        for node in page["items"].as_array().into_iter().flatten() {
            let of = |key: &str| node[key].as_str().unwrap_or("unknown").to_owned();
            *counts.entry(of("tier")).or_default().entry(of("health")).or_default() += 1;
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
    let counts = counts(api).await?;
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
