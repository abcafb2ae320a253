//! `mastwatch subscriber` and `mastwatch cutting`: what subscribers are entitled to, how far routers show it, and the
//! switch that stops all cutting off.

use crate::{
    api::{Api, path_below},
    show::{self, clock},
};
use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// What `mastwatch subscriber` can be told.
#[derive(Debug, clap::Args)]
pub struct SubscriberArgs {
    #[command(subcommand)]
    command: SubscriberCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SubscriberCommand {
    /// Show what a subscriber is entitled to, and how far its routers show it. Exit code 3: not all of them do.
    Show {
        /// The account in the network file.
        account: String,
    },
    /// Cut a subscriber off, until it is resumed.
    Suspend {
        /// The account in the network file.
        account: String,
    },
    /// Serve a subscriber again.
    Resume {
        /// The account in the network file.
        account: String,
    },
    /// List subscribers whose routers do not show what they are entitled to.
    List {
        /// Only those that stand so: waiting, begun, in_force, partly, held or failed.
        #[arg(long)]
        state: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

/// What `mastwatch cutting` can be told.
#[derive(Debug, clap::Args)]
pub struct CuttingArgs {
    #[command(subcommand)]
    command: CuttingCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CuttingCommand {
    /// Show whether all cutting off is halted. Exit code 3: it is.
    Show,
    /// Cut nobody off from now on. Who is to be served again is.
    Halt {
        /// Why, for people.
        #[arg(long)]
        why: Option<String>,
    },
    /// Let cutting off go on.
    Allow,
    /// Show how a router stands, and whom it holds back. Exit code 3: it does not show all that it should.
    Router {
        /// The router's id in the network file.
        router: String,
    },
    /// Say yes to cutting off those who are held back at a router because they are too many.
    Confirm {
        /// The router's id in the network file.
        router: String,
        /// What `cutting router` names: yes to these, and to no others.
        plan: String,
    },
}

/// Does what was asked of a subscriber.
///
/// # Errors
///
/// When the console is not reached, knows no such subscriber or refuses.
pub async fn run(args: &SubscriberArgs, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        SubscriberCommand::Show { account } => {
            let found = api.find(&path_below("subscribers", &[account, "service"])?).await?;
            let found =
                found.with_context(|| format!("nothing was said of what `{account}` is entitled to"))?;
            Ok(shown(&found, json))
        }
        SubscriberCommand::Suspend { account } => set(account, "suspend", api, json).await,
        SubscriberCommand::Resume { account } => set(account, "resume", api, json).await,
        SubscriberCommand::List { state, limit } => {
            let mut path = format!("/api/v1/enforcement?limit={}", (*limit).clamp(1, 1_000));
            if let Some(state) = state {
                if !state.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                    bail!("`{state}` is no state");
                }
                path.push_str(&format!("&state={state}"));
            }
            let found = api.list(&path, *limit, "how subscribers stand").await?;
            if json {
                found.iter().for_each(show::json);
            } else if found.is_empty() {
                show::line("There are none.");
            } else {
                found.iter().for_each(|standing| show::line(sentence(standing, true)));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Does what was asked of the switch.
///
/// # Errors
///
/// When the console is not reached, knows no such router or refuses.
pub async fn cutting(args: &CuttingArgs, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        CuttingCommand::Show => {
            let found = api.get("/api/v1/cutting").await?;
            let is_halted = found["is_halted"] == true;
            if json {
                show::json(&found);
            } else if is_halted {
                let why = found["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
                let by = found["set_by"].as_str().unwrap_or_default();
                show::line(format!("Nobody is cut off, says {by}{why}."));
            } else {
                show::line("Subscribers are cut off as they should be.");
            }
            Ok(if is_halted { ExitCode::from(3) } else { ExitCode::SUCCESS })
        }
        CuttingCommand::Halt { why } => switch(json!({ "halted": true, "why": why }), api, json).await,
        CuttingCommand::Allow => switch(json!({ "halted": false }), api, json).await,
        CuttingCommand::Router { router } => {
            let found = api.find(&path_below("routers", &[router, "enforcement"])?).await?;
            let found = found.with_context(|| format!("nothing is enforced at a router `{router}` yet"))?;
            if json {
                show::json(&found);
            } else {
                let text = |key: &str| found[key].as_str().unwrap_or_default();
                show::line(format!(
                    "{router}: {} since {}; {} entitled, {} active, {} held back",
                    text("state"),
                    clock(text("since")),
                    found["entitled_count"],
                    found["active_count"],
                    found["held_count"]
                ));
                if let Some(error) = found["error"].as_str() {
                    show::line(format!("  ! {error}"));
                }
                if let Some(plan) = found["held_plan"].as_str() {
                    show::line(format!("  to cut them off: mastwatch cutting confirm {router} {plan}"));
                }
            }
            Ok(if found["state"] == "in_force" { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        CuttingCommand::Confirm { router, plan } => {
            let path = path_below("routers", &[router, "cut-held"])?;
            let stored = api.say(Method::POST, &path, &json!({ "plan": plan })).await;
            let stored = stored.with_context(|| format!("confirming what is held back at `{router}`"))?;
            said(&stored, json, "Said; if nothing else was said since, they are cut off.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn set(account: &str, what: &str, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let path = path_below("subscribers", &[account, what])?;
    let stored = api.call(Method::POST, &path, None).await;
    let stored = stored.with_context(|| format!("saying {what} of `{account}`"))?;
    said(&stored, json, if stored["changed"] == true { "Said." } else { "It was so already." });
    Ok(ExitCode::SUCCESS)
}

async fn switch(to: Value, api: &Api, json: bool) -> anyhow::Result<ExitCode> {
    let stored = api.say(Method::PUT, "/api/v1/cutting", &to).await;
    said(&stored.context("saying whether subscribers are cut off")?, json, "Said.");
    Ok(ExitCode::SUCCESS)
}

fn said(stored: &Value, json: bool, sentence: &str) {
    if json { show::json(stored) } else { show::line(sentence) }
}

fn shown(found: &Value, json: bool) -> ExitCode {
    let standings = found["at_routers"].as_array().cloned().unwrap_or_default();
    let is_done = |standing: &Value| standing["state"] == "in_force" && standing["is_current"] == true;
    let all_done = !standings.is_empty() && standings.iter().all(is_done);
    if json {
        show::json(found);
    } else {
        let text = |key: &str| found[key].as_str().unwrap_or_default();
        let profile =
            found["profile"].as_str().map(|profile| format!(", profile {profile}")).unwrap_or_default();
        let by = text("set_by");
        show::line(format!(
            "{}: {}{profile}, said by {by} at {}",
            text("account"),
            text("state"),
            clock(text("heard_at"))
        ));
        if found["cutting_halted"] == true {
            show::line("  ! all cutting off is halted");
        }
        standings.iter().for_each(|standing| show::line(format!("  {}", sentence(standing, false))));
        if standings.is_empty() {
            show::line(
                "  nothing is enforced: `enforce: on` in its router's `login`, and import; or nobody has looked yet",
            );
        }
    }
    if all_done { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// How a subscriber stands at a router.
fn sentence(standing: &Value, names_subscriber: bool) -> String {
    let text = |key: &str| standing[key].as_str();
    let router = text("router_file_id").or(text("router")).unwrap_or_default();
    let who = text("account").or(text("node")).filter(|_| names_subscriber);
    let who = who.map(|who| format!("{who} at ")).unwrap_or_default();
    let since = clock(text("since").unwrap_or_default());
    let older = if standing["is_current"] == true { "" } else { " (of what was said before)" };
    let why =
        ["error", "not_ours"].into_iter().filter_map(text).map(|why| format!(": {why}")).collect::<String>();
    format!("{who}{router}: {} since {since}{older}{why}", text("state").unwrap_or_default())
}
