//! `mastwatch router scan | proposals | add | reject | remove`: what routers see around them.

use crate::{
    api::{Api, path_below, path_with},
    router::{Ordered, path_of, waited},
    show::{self, clock},
};
use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

/// Which proposals are shown.
#[derive(Debug, clap::Args)]
pub struct ProposalsArgs {
    /// Only what this router sees.
    router: Option<String>,
    /// Show what is known, rejected and gone too.
    #[arg(long)]
    all: bool,
    /// Show what boxes are called that may be customers'. That is on record.
    #[arg(long)]
    names: bool,
}

/// How a device comes into the inventory. What is not said is as proposed.
#[derive(Debug, Default, clap::Args)]
pub struct DeviceArgs {
    /// The id it gets, as in a network file.
    #[arg(long)]
    id: Option<String>,
    /// router, switch, `sector_ap`, backhaul, station, server or other.
    #[arg(long)]
    class: Option<String>,
    /// core, site, sector or station.
    #[arg(long)]
    tier: Option<String>,
}

impl DeviceArgs {
    /// As proposed, under this id.
    pub(crate) fn called(id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..Self::default() }
    }
}

/// Scans a router now, waits for it, and shows what it sees.
///
/// # Errors
///
/// When the console refuses, or nobody scans the router in time.
pub async fn scan(router: &str, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let order = api.call(Method::POST, &path_of(router, "scan")?, None).await;
    let since = order.with_context(|| format!("ordering a scan of `{router}`"))?["seq"].as_i64();
    let since = since.context("the console gave the order no place in the log")?;
    let scan = waited(router, Ordered { what: "scan", since }, api, |_| true).await?;
    if let Some(why) = scan["error"].as_str() {
        if json {
            show::json(&scan);
        } else {
            show::line(format!("{router} could not be scanned: {why}"));
        }
        return Ok(ExitCode::from(3));
    }
    let devices = devices(Some(router), false, api).await?;
    if json {
        show::json(&json!({ "scan": scan, "devices": devices }));
    } else {
        let n = |key: &str| scan[key].as_i64().unwrap_or_default();
        show::line(format!(
            "{router} sees {} devices: {} known, {} proposed, {} moved, {} rejected",
            n("device_count"),
            n("known_count"),
            n("proposed_count"),
            n("moved_count"),
            n("rejected_count")
        ));
        if n("left_out_count") > 0 {
            show::line(format!("  ! {} more are left out: there are too many", n("left_out_count")));
        }
        tree(&devices);
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what is proposed.
///
/// # Errors
///
/// When the console refuses.
pub async fn proposals(args: &ProposalsArgs, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let mut found = devices(args.router.as_deref(), args.names, api).await?;
    if !args.all {
        found.retain(|device| matches!(device["state"].as_str(), Some("proposed" | "moved")));
    }
    if json {
        found.iter().for_each(show::json);
    } else if found.is_empty() {
        show::line("Nothing is proposed.");
    } else {
        tree(&found);
        show::line(
            "Add one: `mastwatch router add <id>`. Not to see it again: `mastwatch router reject <id>`.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds a device that was seen, and waits until its router watches it.
///
/// # Errors
///
/// When there is no such device, or the console refuses.
pub async fn add(
    called: &str,
    args: &DeviceArgs,
    (name, parent): (Option<&str>, Option<&str>),
    api: &Api,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let id = sighting_called(called, api).await?;
    let wishes = [
        ("id", args.id.as_deref()),
        ("class", args.class.as_deref()),
        ("tier", args.tier.as_deref()),
        ("name", name),
        ("parent", parent),
    ];
    let body: BTreeMap<&str, &str> =
        wishes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let added = api.say(Method::POST, &format!("/api/v1/sightings/{id}/add"), &json!(body)).await?;
    let router = added["watched_by"].as_str();
    let plan = match (router, added["seq"].as_i64()) {
        (Some(router), Some(since)) => {
            Some(waited(router, Ordered { what: "plan", since }, api, |plan| plan["state"] != "begun").await?)
        }
        _ => None,
    };
    if json {
        show::json(&json!({ "added": added, "plan": plan }));
    } else {
        let file_id = added["file_id"].as_str().unwrap_or_default();
        let watched = match (&plan, added["is_managed"].as_bool()) {
            (None, _) => "it has no address at which a router could watch it".to_owned(),
            (Some(plan), Some(true)) if plan["state"] == "as_desired" => "its router watches it".to_owned(),
            (Some(plan), Some(true)) => {
                let why = plan["error"].as_str().unwrap_or("look at `mastwatch router plan`");
                format!("its router does not watch it yet: {why}")
            }
            (Some(_), _) => "its router may not be changed, so nothing was put there".to_owned(),
        };
        show::line(format!("`{file_id}` is in the inventory; {watched}."));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says no to a device.
///
/// # Errors
///
/// When there is no such device, or the console refuses.
pub async fn reject(called: &str, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let id = sighting_called(called, api).await?;
    let done = api.call(Method::POST, &format!("/api/v1/sightings/{id}/reject"), None).await?;
    if json {
        show::json(&done);
    } else {
        show::line("It is not proposed again as long as it is the same.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes out of the inventory what was added one by one.
///
/// # Errors
///
/// When the console refuses.
pub async fn remove(node: &str, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    api.call(Method::DELETE, &path_below("inventory/nodes", &[node])?, None).await?;
    if json {
        show::json(&json!({ "removed": node }));
    } else {
        show::line(format!("`{node}` is no more in the inventory."));
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that a router sees, or all routers see.
async fn devices(router: Option<&str>, names: bool, api: &Api) -> anyhow::Result<Vec<Value>> {
    let path = format!("/api/v1/sightings?limit=1000&names={names}");
    let path = router.map_or_else(|| path.clone(), |router| path_with(&path, "router", router));
    api.list(&path, usize::MAX, "what was seen").await
}

/// The device whose id is or begins with `called`.
async fn sighting_called(called: &str, api: &Api) -> anyhow::Result<String> {
    if uuid::Uuid::try_parse(called).is_ok() {
        return Ok(called.to_owned());
    }
    let all = devices(None, false, api).await?;
    let ids: Vec<&str> = all.iter().filter_map(|device| device["id"].as_str()).collect();
    let mut fit = ids.iter().filter(|id| !called.is_empty() && id.starts_with(called));
    match (fit.next(), fit.next()) {
        (Some(id), None) => Ok((*id).to_owned()),
        (Some(_), Some(_)) => bail!("several devices begin with `{called}`: give more of the id"),
        (None, _) => {
            bail!("no device that was seen begins with `{called}`; to add a router give --address and --user")
        }
    }
}

/// Prints devices below what they hang on.
fn tree(devices: &[Value]) {
    let text = |device: &Value, key: &str| device[key].as_str().unwrap_or_default().to_owned();
    // What stands for a device in its children's `parent_…`: its own id, or its node's.
    let mut below: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for device in devices {
        known.extend([text(device, "id"), text(device, "node")]);
    }
    let mut tops: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for device in devices {
        let parent = [text(device, "parent_sighting"), text(device, "parent_node")];
        match parent.iter().find(|parent| !parent.is_empty() && known.contains(*parent)) {
            Some(parent) => below.entry(parent.clone()).or_default().push(device),
            None => tops.entry(text(device, "parent_file_id")).or_default().push(device),
        }
    }
    let mut seen = BTreeSet::new();
    for (above, tops) in &tops {
        show::line(if above.is_empty() { "(nothing known above)" } else { above });
        for device in tops {
            branch(device, 1, &below, &mut seen);
        }
    }
}

fn branch(device: &Value, depth: usize, below: &BTreeMap<String, Vec<&Value>>, seen: &mut BTreeSet<String>) {
    let text = |key: &str| device[key].as_str().unwrap_or_default();
    // A ring in the drawing ends where it began.
    if !seen.insert(text("id").to_owned()) {
        return;
    }
    let spots = device["spots"].as_array().into_iter().flatten();
    let ports: Vec<&str> = spots.filter_map(|spot| spot["port"].as_str()).collect();
    let name = device["node_file_id"].as_str().or(device["name"].as_str()).unwrap_or("(name sealed)");
    let short = text("id").get(..8).unwrap_or_default();
    let at = if ports.is_empty() { String::new() } else { format!(" at {}", ports.join(", ")) };
    let address = device["address"].as_str().map(|address| format!(" {address}")).unwrap_or_default();
    show::line(format!(
        "{}{short}  {:<8} {:<9} {name}{address}{at}  {} {}",
        "  ".repeat(depth),
        text("state"),
        text("class"),
        text("platform"),
        text("board"),
    ));
    if text("state") == "moved" {
        let why =
            device["reasons"].as_array().and_then(|reasons| reasons.first()?.as_str()).unwrap_or_default();
        show::line(format!("{}  ! since {}: {why}", "  ".repeat(depth), clock(text("since"))));
    }
    for key in [text("id"), text("node")] {
        for child in below.get(key).into_iter().flatten() {
            branch(child, depth + 1, below, seen);
        }
    }
}
