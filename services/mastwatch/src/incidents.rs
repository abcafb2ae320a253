//! `mastwatch incidents` and `mastwatch explain`.

use crate::{
    api::{Api, Cursor},
    show::{self, clock},
};
use anyhow::bail;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    let path = format!("/api/v1/incidents?state={state}&limit=1000");
    api.list(&path, usize::MAX, "the list of incidents").await
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
        let sure = match cause["confidence_percent"].as_u64() {
            Some(0) | None => "undetermined".to_owned(),
            Some(percent) => format!("{percent} %"),
        };
        show::line(format!("  {role}: {} ({sure})", text(cause, "name")));
        evidence(cause);
    }
    let guess = &incident["site_hypothesis"];
    if guess.is_object() {
        show::line(format!("  perhaps: {} as a whole ({} %)", text(guess, "name"), guess["confidence"]));
        evidence(guess);
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

/// Prints the chain of evidence of an incident, then who lost its session below a root that works, then everybody
/// who was cut off with the verdict that justified the silence, then the counts: last, because the list may be long.
///
/// # Errors
///
/// When the console is not reached or knows no such incident.
pub async fn explain(start: &str, api: &Api, json: bool) -> anyhow::Result<()> {
    let id = find(start, api).await?;
    let (path, mut cursor) = (format!("/api/v1/incidents/{id}/explain?limit=1000"), Cursor::default());
    let Some(mut told) = api.page(&path, &mut cursor).await? else { return Ok(()) };
    if json {
        let mut everybody = told["suppressed"].take();
        while let Some(mut page) = api.page(&path, &mut cursor).await? {
            if let (Value::Array(all), Value::Array(more)) = (&mut everybody, page["suppressed"].take()) {
                all.extend(more);
            }
            told = page;
        }
        told["suppressed"] = everybody;
        show::json(&told);
        return Ok(());
    }
    for link in told["chain"].as_array().into_iter().flatten() {
        let gone = if link["complete"].as_bool() == Some(false) { "  (its cause has expired)" } else { "" };
        show::line(format!(
            "{}  {:<10} {}{gone}",
            clock(&text(link, "heard")),
            text(link, "noun"),
            text(link, "what")
        ));
    }
    let mut names = Names::default();
    let lost = told["lost"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.learn(lost, api).await?;
    lost.iter().for_each(|one| show::line(lost_its_session(one, &names)));
    let unnamed = told["lost_count"].as_u64().unwrap_or_default().saturating_sub(lost.len() as u64);
    if unnamed > 0 {
        show::line(format!("… and {unnamed} more who lost their sessions"));
    }
    loop {
        let page = told["suppressed"].as_array().map(Vec::as_slice).unwrap_or_default();
        names.learn(page, api).await?;
        page.iter().for_each(|one| show::line(suppressed(one, &names)));
        // While an incident goes on, the later page counts what the earlier did not know of.
        match api.page(&path, &mut cursor).await? {
            Some(next) => told = next,
            None => break,
        }
    }
    let lost = match told["lost_count"].as_u64() {
        None | Some(0) => String::new(),
        Some(lost) => format!("{lost} lost their sessions, "),
    };
    show::line(format!(
        "{} sent, {lost}{} suppressed, {} unexplained; {} more to the same people as it went on",
        told["sent_count"], told["suppressed_count"], told["unexplained_count"], told["followed_up_count"]
    ));
    Ok(())
}

/// Who lost its session, and the verdict that says so.
fn lost_its_session(one: &Value, names: &Names) -> String {
    format!(
        "{}  lost its session {}: {}, event {}",
        clock(&text(one, "heard")),
        names.name_and_kind(one["node"].as_str().unwrap_or_default()),
        text(one, "what"),
        text(one, "event"),
    )
}

/// Of whom nobody was told, and the event that justifies it.
fn suppressed(one: &Value, names: &Names) -> String {
    let roots: Vec<&str> = ids(&one["roots"]).map(|root| names.name(root)).collect();
    let node = one["node"].as_str().unwrap_or_default();
    let unproven =
        if one["explained"].as_bool() == Some(true) { "" } else { "  (unexplained: its cause has expired)" };
    format!(
        "{}  suppressed {}: cut off by {}, event {}{unproven}",
        clock(&text(one, "heard")),
        names.name_and_kind(node),
        roots.join(" and "),
        text(one, "event"),
    )
}

fn ids(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What people call nodes, and what they are.
#[derive(Debug, Default)]
struct Names {
    /// The name and the kind, by id; none of what the inventory has no more.
    known: BTreeMap<String, Option<(String, String)>>,
}

impl Names {
    /// So many are asked for one by one; for more the whole inventory is read.
    const FEW: usize = 50;

    /// Looks up who is on a page of those who were cut off, and their roots.
    async fn learn(&mut self, page: &[Value], api: &Api) -> anyhow::Result<()> {
        let all = page.iter().flat_map(|one| one["node"].as_str().into_iter().chain(ids(&one["roots"])));
        let strangers: BTreeSet<&str> = all.filter(|id| !self.known.contains_key(*id)).collect();
        if strangers.len() <= Self::FEW {
            for id in strangers {
                let node = api.find(&format!("/api/v1/inventory/nodes/{id}")).await?;
                self.known.insert(id.to_owned(), node.as_ref().map(Self::of));
            }
            return Ok(());
        }
        let mut cursor = Cursor::default();
        while let Some(page) = api.page("/api/v1/inventory/nodes?limit=1000", &mut cursor).await? {
            for node in page["items"].as_array().into_iter().flatten() {
                self.known.insert(text(node, "id"), Some(Self::of(node)));
            }
        }
        for id in strangers {
            self.known.entry(id.to_owned()).or_default();
        }
        Ok(())
    }

    fn of(node: &Value) -> (String, String) {
        (text(node, "name"), format!("{} {}", text(node, "tier"), text(node, "file_id")))
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.known.get(id).and_then(Option::as_ref).map_or(id, |(name, _)| name)
    }

    fn name_and_kind(&self, id: &str) -> String {
        match self.known.get(id).and_then(Option::as_ref) {
            Some((name, kind)) => format!("{name} ({kind})"),
            None => format!("{id} (not in the inventory any more)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> Names {
        let node = |name: &str, tier: &str, id: &str| json!({"name": name, "tier": tier, "file_id": id});
        let known = [
            ("a", Some(Names::of(&node("Core 1", "core", "core-1")))),
            ("b", Some(Names::of(&node("Ann", "subscriber", "ann")))),
            ("c", None),
        ];
        Names { known: known.map(|(id, of)| (id.to_owned(), of)).into() }
    }

    #[test]
    fn a_silence_is_shown_with_who_what_when_and_the_event_that_justifies_it() {
        let one = json!({
            "node": "b", "roots": ["a"], "event": "e", "heard": "2026-01-02T03:04:05Z", "explained": true
        });
        let line = suppressed(&one, &names());
        assert_eq!(line, "03:04:05 UTC  suppressed Ann (subscriber ann): cut off by Core 1, event e");
    }

    #[test]
    fn who_lost_a_session_is_shown_with_the_verdict_that_says_so() {
        let one =
            json!({"node": "b", "event": "e", "heard": "2026-01-02T03:04:05Z", "what": "verdict: down"});
        let line = lost_its_session(&one, &names());
        assert_eq!(line, "03:04:05 UTC  lost its session Ann (subscriber ann): verdict: down, event e");
    }

    #[test]
    fn what_is_not_proven_and_what_is_no_more_is_said_to_be_so() {
        let one = json!({"node": "c", "roots": ["c"], "event": "e", "heard": "", "explained": false});
        let line = suppressed(&one, &names());
        assert!(line.contains("c (not in the inventory any more): cut off by c"), "{line}");
        assert!(line.ends_with("(unexplained: its cause has expired)"), "{line}");
    }
}
