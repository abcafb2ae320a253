//! `mastwatch incidents` and `mastwatch explain`.

use crate::{
    api::{Api, Cursor},
    show::{self, clock},
};
use anyhow::bail;
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
    let incidents = of_state(if all { "all" } else { "open" }, api).await?;
    if json {
        incidents.iter().for_each(show::json);
    } else if incidents.is_empty() {
        show::line(if all { "No incident yet." } else { "Nothing is open." });
    } else {
        let cells = |incident| {
            vec![
                text(incident, "id").chars().take(8).collect(),
                text(incident, "state"),
                clock(&text(incident, "opened_at")),
                text(incident, "urgency"),
                text(incident, "title"),
            ]
        };
        let rows: Vec<Vec<String>> = incidents.iter().map(cells).collect();
        show::table(&["ID", "STATE", "SINCE", "URGENCY", "WHAT"], &rows);
    }
    Ok(())
}

/// Every incident in a state, as the console names states; the newest first.
///
/// # Errors
///
/// When the console is not reached.
pub async fn of_state(state: &str, api: &Api) -> anyhow::Result<Vec<Value>> {
    let (path, mut cursor) = (format!("/api/v1/incidents?state={state}&limit=1000"), Cursor::default());
    let mut found = Vec::new();
    while let Some(mut page) = api.page(&path, &mut cursor).await? {
        match page["items"].take() {
            Value::Array(items) => found.extend(items),
            _ => bail!("reading the list of incidents: the console sent none"),
        }
    }
    Ok(found)
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
    let all = of_state("all", api).await?;
    let ids = all.iter().filter_map(|incident| incident["id"].as_str());
    let found: Vec<&str> = ids.filter(|id| id.starts_with(start)).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => bail!("no incident's id begins with `{start}`: `mastwatch incidents --all` lists them"),
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
    let path = format!("/api/v1/incidents/{id}/explain");
    let mut cursor = Cursor::default();
    let mut first = true;
    while let Some(page) = api.page(&path, &mut cursor).await? {
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
    }
    Ok(())
}
