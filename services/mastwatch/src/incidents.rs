//! `mastwatch incidents` and `mastwatch explain`.

use crate::{
    api::Api,
    show::{self, clock},
};
use anyhow::{Context, bail};
use serde_json::Value;

/// What `mastwatch incidents` can be told.
#[derive(Debug, clap::Args)]
pub struct IncidentsArgs {
    /// Show this one: its id, or the beginning of it.
    pub incident: Option<String>,
    /// Those that are over too.
    #[arg(long)]
    pub all: bool,
}

/// Lists incidents, or shows one.
///
/// # Errors
///
/// When the console is not reached or knows no such incident.
pub async fn run(args: &IncidentsArgs, api: &Api, json: bool) -> anyhow::Result<()> {
    match &args.incident {
        None => list(args.all, api, json).await,
        Some(start) => one(&find(start, api).await?, api, json).await,
    }
}

async fn list(all: bool, api: &Api, json: bool) -> anyhow::Result<()> {
    let mut next: Option<String> = None;
    let mut rows = Vec::new();
    loop {
        let state = if all { "all" } else { "open" };
        let after = next.map(|n| format!("&cursor={n}")).unwrap_or_default();
        let page = api.get(&format!("/api/v1/incidents?state={state}{after}")).await?;
        for incident in page["items"].as_array().into_iter().flatten() {
            if json {
                show::json(incident);
            } else {
                rows.push(vec![
                    text(incident, "id").chars().take(8).collect(),
                    text(incident, "state"),
                    clock(&text(incident, "opened_at")),
                    text(incident, "urgency"),
                    text(incident, "title"),
                ]);
            }
        }
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    if !json && rows.is_empty() {
        show::line(if all { "No incident yet." } else { "Nothing is open." });
    } else if !json {
        show::table(&["ID", "STATE", "SINCE", "URGENCY", "WHAT"], &rows);
    }
    Ok(())
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// The whole id of the incident that begins with `start`.
///
/// # Errors
///
/// When none or several do.
pub async fn find(start: &str, api: &Api) -> anyhow::Result<String> {
    if start.len() == 36 {
        return Ok(start.to_owned());
    }
    let mut found = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let after = next.map(|n| format!("&cursor={n}")).unwrap_or_default();
        let page = api.get(&format!("/api/v1/incidents?state=all{after}")).await?;
        let items = page["items"].as_array().context("reading the list of incidents")?;
        found.extend(
            items
                .iter()
                .filter_map(|i| i["id"].as_str())
                .filter(|id| id.starts_with(start))
                .map(str::to_owned),
        );
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("no incident's id begins with `{start}`"),
        several => bail!("`{start}` could be any of: {}", several.join(", ")),
    }
}

async fn one(id: &str, api: &Api, json: bool) -> anyhow::Result<()> {
    let incident = api.get(&format!("/api/v1/incidents/{id}")).await?;
    if json {
        show::json(&incident);
        return Ok(());
    }
    show::line(text(&incident, "title"));
    show::line(format!(
        "{} · {} · since {}",
        text(&incident, "state"),
        text(&incident, "class"),
        clock(&text(&incident, "opened_at"))
    ));
    for cause in incident["causes"].as_array().into_iter().flatten() {
        let role = if cause["is_primary"].as_bool() == Some(true) { "cause" } else { "contributing" };
        show::line(format!("  {role}: {} ({} %)", text(cause, "name"), cause["confidence_percent"]));
        evidence(cause);
    }
    for entry in incident["timeline"].as_array().into_iter().flatten() {
        let what = entry["what"].as_str().or(entry["title"].as_str()).unwrap_or_default();
        show::line(format!("  {}  {what}", clock(&text(entry, "heard_at"))));
    }
    for notice in incident["notices"].as_array().into_iter().flatten() {
        show::line(format!(
            "  told {} by {}: {} ({})",
            text(notice, "audience"),
            text(notice, "channel_name"),
            text(notice, "phase"),
            notice["delivery"].as_str().unwrap_or("waiting")
        ));
    }
    Ok(())
}

fn evidence(cause: &Value) {
    for e in cause["evidence"].as_array().into_iter().flatten() {
        let kind = text(e, "kind").replace('_', " ");
        show::line(format!("    {:>3}  {kind} × {}", e["weight"], e["count"]));
    }
}

/// Prints the chain of evidence of an incident.
///
/// # Errors
///
/// When the console is not reached or knows no such incident.
pub async fn explain(start: &str, api: &Api, json: bool) -> anyhow::Result<()> {
    let id = find(start, api).await?;
    let mut next: Option<String> = None;
    let mut first = true;
    loop {
        let after = next.map(|n| format!("?cursor={n}")).unwrap_or_default();
        let page = api.get(&format!("/api/v1/incidents/{id}/explain{after}")).await?;
        if json {
            show::json(&page);
        } else if first {
            for link in page["chain"].as_array().into_iter().flatten() {
                let gone =
                    if link["complete"].as_bool() == Some(false) { "  (its cause has expired)" } else { "" };
                show::line(format!(
                    "{}  {:<10} {}{gone}",
                    clock(&text(link, "heard")),
                    text(link, "noun"),
                    text(link, "what")
                ));
            }
        }
        if !json && first {
            show::line(format!(
                "{} sent, {} suppressed, {} unexplained; {} more to the same people as it went on",
                page["sent_count"],
                page["suppressed_count"],
                page["unexplained_count"],
                page["followed_up_count"]
            ));
        }
        first = false;
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    Ok(())
}
