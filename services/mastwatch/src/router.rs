//! `mastwatch router`: what would be changed on a router, what was, and having it done. What routers see around them is
//! in [`scout`], adding one in [`onboard`].

use crate::{
    api::{Api, path_below, path_with},
    onboard, scout,
    show::{self, clock},
};
use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::Value;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// How long a look at a router is waited for.
const WITHIN: Duration = Duration::from_secs(120);
/// How often it is asked whether it has ended.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How many changes of one look are shown at most.
const REPAIRS_SHOWN_MAX: usize = 1_000;

/// What `mastwatch router` can be told.
#[derive(Debug, clap::Args)]
pub struct RouterArgs {
    #[command(subcommand)]
    command: RouterCommand,
}

#[derive(Debug, clap::Subcommand)]
enum RouterCommand {
    /// Look at a router now, and show what would be changed on it, as it would be typed there. Nothing is written.
    /// Exit code 3: something would be.
    Plan {
        /// The router's id in the network file.
        router: String,
        /// Show what was found at the last look, without looking again.
        #[arg(long)]
        last: bool,
    },
    /// Look at a router now, and change what is not as it should be. Its `login` in the network file must say
    /// `manage: on`. Exit code 3: it is not as it should be even so.
    Repair {
        /// The router's id in the network file.
        router: String,
    },
    /// Ask a router now whom it sees around it, and show the tree. Nothing is written. Exit code 3: it could not be asked.
    Scan {
        /// The router's id in the network file.
        router: String,
    },
    /// Show which devices are proposed, or have moved, below what they hang on.
    Proposals(scout::ProposalsArgs),
    /// Add a router: with --address and --user. Or a device that was seen: what it hangs on, and that its router watches
    /// it, in one step.
    Add {
        /// The name of the router, or the id of the device or its beginning.
        name_or_id: String,
        #[command(flatten)]
        login: Box<onboard::RouterLogin>,
        #[command(flatten)]
        device: scout::DeviceArgs,
        /// What people read.
        #[arg(long)]
        name: Option<String>,
        /// The id of what it hangs on.
        #[arg(long)]
        parent: Option<String>,
    },
    /// Not to propose a device again as long as it is the same.
    Reject {
        /// Its id or the beginning of it.
        device: String,
    },
    /// Take a router or device out of the inventory that was added by `add`.
    Remove {
        /// Its id.
        node: String,
    },
    /// Show what was changed on a router, the newest first.
    Repairs {
        /// The router's id in the network file.
        router: String,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show by whom changes of what routers see were first spoken of: their scripts, we who looked, or only the
    /// reconciler.
    Trust {
        /// The router's id in the network file; all routers if absent.
        router: Option<String>,
        /// How many days are looked back.
        #[arg(long, default_value_t = 30)]
        days: u16,
    },
}

/// Does what was asked of a router.
///
/// # Errors
///
/// When the console is not reached, knows no such router or refuses, or when nobody looks at the router in time.
pub async fn run(args: &RouterArgs, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        RouterCommand::Plan { router, last: true } => {
            let path = path_of(router, "plan")?;
            let plan = api.find(&path).await?;
            let plan = plan.with_context(|| format!("nothing was said of a router `{router}` yet"))?;
            Ok(shown_plan(&plan, json))
        }
        RouterCommand::Scan { router } => scout::scan(router, api, json).await,
        RouterCommand::Proposals(args) => scout::proposals(args, api, json).await,
        RouterCommand::Add { name_or_id, login, device, name, parent } => {
            let named = (name.as_deref(), parent.as_deref());
            match login.address {
                Some(_) => onboard::add(name_or_id, login, named, api, json).await,
                None => scout::add(name_or_id, device, named, api, json).await,
            }
        }
        RouterCommand::Reject { device } => scout::reject(device, api, json).await,
        RouterCommand::Remove { node } => scout::remove(node, api, json).await,
        RouterCommand::Plan { router, last: false } => {
            Ok(shown_plan(&ordered(router, "plan", api).await?.0, json))
        }
        RouterCommand::Repair { router } => {
            let (plan, since) = ordered(router, "repair", api).await?;
            if !json {
                for repair in repairs(router, REPAIRS_SHOWN_MAX, api).await?.iter().rev() {
                    if repair["seq"].as_i64().is_some_and(|seq| seq > since) {
                        show_repair(repair);
                    }
                }
            }
            Ok(shown_plan(&plan, json))
        }
        RouterCommand::Trust { router, days } => {
            let found = trust(router.as_deref(), *days, api).await?;
            if json {
                found.iter().for_each(show::json);
            } else {
                show_trust(&found, *days);
            }
            Ok(ExitCode::SUCCESS)
        }
        RouterCommand::Repairs { router, limit } => {
            let found = repairs(router, *limit, api).await?;
            if json {
                found.iter().for_each(show::json);
            } else if found.is_empty() {
                show::line("Nothing was changed on it yet.");
            } else {
                found.iter().for_each(show_repair);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn trust(router: Option<&str>, days: u16, api: &Api) -> anyhow::Result<Vec<Value>> {
    let path = format!("/api/v1/trust?limit=1000&days={days}");
    let path = router.map_or_else(|| path.clone(), |router| path_with(&path, "router", router));
    api.list(&path, usize::MAX, "who spoke first").await
}

fn show_trust(found: &[Value], days: u16) {
    if found.is_empty() {
        return show::line(format!("Nothing that a router sees has changed within {days} days."));
    }
    let share = |row: &Value, name: &str| row[name].as_f64().unwrap_or_default() * 100.0;
    show::line(format!(
        "{:<24} {:>8} {:>8} {:>11} {:>8} {:>8}",
        "router", "pushed", "polled", "reconciled", "trust", "missed"
    ));
    for row in found {
        show::line(format!(
            "{:<24} {:>8} {:>8} {:>11} {:>7.1}% {:>7.1}%",
            row["file_id"].as_str().unwrap_or_default(),
            row["pushed"],
            row["polled"],
            row["reconciled"],
            share(row, "pushed_share"),
            share(row, "missed_push_rate"),
        ));
    }
}

/// Orders a look, and waits until it has ended: how the router stands then.
///
/// # Errors
///
/// When the console refuses, or nobody looks at the router in time.
pub(crate) async fn look(router: &str, what: &str, api: &Api) -> anyhow::Result<Value> {
    Ok(ordered(router, what, api).await?.0)
}

/// Orders a look, and waits until it has ended: how the router stands then, and the order's place in the log.
async fn ordered(router: &str, what: &str, api: &Api) -> anyhow::Result<(Value, i64)> {
    let order = api.call(Method::POST, &path_of(router, what)?, None).await;
    let order = order.with_context(|| format!("ordering a look at `{router}`"))?;
    let since = order["seq"].as_i64().context("the console gave the order no place in the log")?;
    // A look that began before a repair was ordered may end after it, and proposes what the repair will do.
    let goes_on = |state: &Value| state == "begun" || (what == "repair" && state == "proposed");
    let plan = waited(router, Ordered { what: "plan", since }, api, |plan| !goes_on(&plan["state"])).await?;
    Ok((plan, since))
}

/// What is waited for.
pub(crate) struct Ordered {
    /// What of the router is read: its `plan` or `scan`.
    pub(crate) what: &'static str,
    /// The place of the order in the log: what is said after it counts.
    pub(crate) since: i64,
}

/// Waits until something is said of a router that has ended.
///
/// # Errors
///
/// When the console refuses, or nobody looks at the router in time.
pub(crate) async fn waited(
    router: &str,
    ordered: Ordered,
    api: &Api,
    has_ended: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let (path, began) = (path_of(router, ordered.what)?, Instant::now());
    loop {
        if let Some(said) = api.find(&path).await?
            && said["seq"].as_i64().is_some_and(|seq| seq > ordered.since)
            && has_ended(&said)
        {
            return Ok(said);
        }
        if began.elapsed() > WITHIN {
            bail!(
                "nobody has looked at `{router}` within {} s: does the service `reconciler` run?",
                WITHIN.as_secs()
            );
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn shown_plan(plan: &Value, json: bool) -> ExitCode {
    if json {
        show::json(plan);
    } else {
        show_plan(plan);
        if plan["state"] == "proposed" && plan["is_managed"] == false {
            show::line(
                "Nothing was written. To have it done: `manage: on` in the router's `login`, and import; a router \
                 that was added by hand: `mastwatch router add` again with --yes.",
            );
        }
    }
    if plan["state"] == "as_desired" { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// How a router stands, and what would be changed there.
pub(crate) fn show_plan(plan: &Value) {
    let text = |key: &str| plan[key].as_str().unwrap_or_default();
    let count = plan["change_count"].as_i64().unwrap_or_default();
    let name = plan["name"].as_str().unwrap_or(text("router"));
    let version = plan["version"].as_str().map(|version| format!(" ({version})")).unwrap_or_default();
    // One that is left alone after several failures in a row stands so since the first of them.
    let since = if text("state") == "unreachable" {
        format!(" since {}", clock(text("since")))
    } else {
        String::new()
    };
    show::line(format!("{name}{version}: {}{since}", sentence(text("state"), count)));
    for said in ["findings", "obstacles"].iter().filter_map(|key| plan[*key].as_array()).flatten() {
        show::line(format!("  ! {}", said.as_str().unwrap_or_default()));
    }
    if let Some(error) = plan["error"].as_str() {
        show::line(format!("  ! {error}"));
    }
    let words: Vec<&str> = plan["words"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    words.iter().for_each(|line| show::line(format!("  {line}")));
    let more = count - i64::try_from(words.len()).unwrap_or(i64::MAX);
    if more > 0 {
        show::line(format!("  and {more} more"));
    }
}

/// How a router stands, for people.
fn sentence(state: &str, count: i64) -> String {
    match state {
        "as_desired" => "is as it should be".into(),
        "proposed" => format!("{count} changes would be made"),
        "begun" => format!("{count} changes are being made"),
        "incomplete" => format!("{count} changes could not be made"),
        "unfit" => "cannot push, and is polled".into(),
        "unreachable" => "cannot be looked at".into(),
        other => other.into(),
    }
}

/// What was changed on a router, the newest first.
async fn repairs(router: &str, limit: usize, api: &Api) -> anyhow::Result<Vec<Value>> {
    let path = format!("{}?limit={}", path_of(router, "repairs")?, limit.clamp(1, 1_000));
    api.list(&path, limit, "the repairs").await
}

fn show_repair(repair: &Value) {
    let text = |key: &str| repair[key].as_str().unwrap_or_default();
    let why = repair["error"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    show::line(format!("{}  {:<8} {}{why}", clock(text("heard_at")), text("outcome"), text("words")));
}

/// A path about a router: what the file calls a thing may hold anything.
pub(crate) fn path_of(router: &str, what: &str) -> anyhow::Result<String> {
    path_below("routers", &[router, what])
}
