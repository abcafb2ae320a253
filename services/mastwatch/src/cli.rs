//! The command line.

use crate::{
    administrator, api, audit, compose, convert, doctor, generate, history, import, incidents, inventory,
    keys, live_check, nats_users, rebuild, router, settings, show, status, subscriber, up,
};
use anyhow::Context;
use clap::{Parser, Subcommand};
use kit::config::Settings;
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// Watches an ISP's network, finds out why something is down, and tells the right person once.
#[derive(Debug, Parser)]
#[command(name = "mastwatch", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    server: api::Server,
    /// One JSON object a line instead of text. An error is one on standard error: `error`, and its `causes`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system on this machine, private servers included. With --json it says its addresses once, when it
    /// is ready.
    Up(up::UpArgs),
    /// Run services against servers that are kept elsewhere. With --json the log is JSON.
    Run(RunArgs),
    /// Import a network file; the same file again changes nothing.
    Import(import::ImportArgs),
    /// Show counts by tier and health, and what is open. Exit code 3: something is down; what is open is more than
    /// a lost redundancy.
    Status(status::StatusArgs),
    /// List what there is, with its health and the site it is at.
    Inventory(inventory::InventoryArgs),
    /// List incidents, or show one.
    Incidents(incidents::IncidentsArgs),
    /// Show why people were told of an incident, down to the single probe.
    Explain {
        /// The incident's id, or the beginning of it.
        incident: String,
    },
    /// Look at every hop from root to leaf, now. Exit code 3: a hop is down; 1: it broke off before its end.
    LiveCheck {
        /// The device's id in the network file, or a subscriber's account.
        device: String,
    },
    /// Show what would be changed on a router or was, or have it done.
    Router(router::RouterArgs),
    /// Show what a subscriber is entitled to and how far routers show it, cut one off, or serve one again.
    Subscriber(subscriber::SubscriberArgs),
    /// Stop all cutting off of subscribers, let it go on, or say yes to those who are held back.
    Cutting(subscriber::CuttingArgs),
    /// Show how a node has been: latency, signal, traffic and whatever else is measured.
    History(history::HistoryArgs),
    /// Show who did what, and who was turned away.
    Audit(audit::AuditArgs),
    /// Empty the read models and read the log again; the checksums before and after must be equal.
    Rebuild(rebuild::RebuildArgs),
    /// Turn an export of an older system into a network file: buildings become sites, and a status that was written
    /// into a location is taken out.
    Convert(convert::ConvertArgs),
    /// Write a made-up network file.
    Generate(generate::GenerateArgs),
    /// The simulated ISP.
    Lab(lab::cli::LabArgs),
    /// Print a user of nats-server for each service, or for a process of several, with only the permissions it needs.
    NatsUsers(nats_users::NatsUsersArgs),
    /// Draw a new master key, wrap every tenant's keys under it, and drop the old one; nothing is started anew.
    RotateKeys(keys::RotateKeysArgs),
    /// Make the first administrator's token where there is no `mastwatch up`, and look after the others. Speaks to the log
    /// as the console does, not to the console.
    Administrator(administrator::AdministratorArgs),
    /// Declare the streams, where the services' users may not (`declare_streams = false`).
    Declare(nats_users::DeclareArgs),
    /// List what can be set, in a file or in the environment: what it is by itself, what it is set to, and what it means.
    Settings(settings::SettingsArgs),
    /// Look whether everything needed is there and works.
    Doctor,
}

/// What `mastwatch run` can be told.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The services, or `all`.
    #[arg(required = true)]
    services: Vec<String>,
    /// A configuration file (TOML).
    #[arg(long, env = "MASTWATCH_CONFIG")]
    config: Option<PathBuf>,
}

/// Reads the command line, and does what it says. 0: done; 1: it failed; 2: the command line was wrong; 3: something
/// is down (`status`, `live-check`).
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => done(cli),
        // Where the line was not understood, the flag is looked for in what was typed.
        Err(wrong) if wrong.use_stderr() && words.iter().any(|word| word == "--json") => {
            show::failure(&anyhow::Error::msg(wrong.to_string()), true);
            ExitCode::from(2)
        }
        Err(wrong) => wrong.exit(),
    }
}

fn done(cli: Cli) -> ExitCode {
    let json = cli.json;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(dispatch(cli)));
    outcome.unwrap_or_else(|error| {
        show::failure(&error, json);
        ExitCode::FAILURE
    })
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { server, json, command } = cli;
    match command {
        Command::Up(args) => up::run(&args, &server.data, json).await?,
        Command::Run(args) => run_services(&args, json).await?,
        Command::Import(args) => import::run(&args, &server.api()?, json).await?,
        Command::Status(args) => return status::run(&args, &server.api()?, json).await,
        Command::Inventory(args) => inventory::run(&args, &server.api()?, json).await?,
        Command::Incidents(args) => incidents::run(&args, &server.api()?, json).await?,
        Command::Explain { incident } => incidents::explain(&incident, &server.api()?, json).await?,
        Command::LiveCheck { device } => return live_check::run(&device, &server.api()?, json).await,
        Command::Router(args) => return router::run(&args, &server.api()?, json).await,
        Command::Subscriber(args) => return subscriber::run(&args, &server.api()?, json).await,
        Command::Cutting(args) => return subscriber::cutting(&args, &server.api()?, json).await,
        Command::History(args) => history::run(&args, &server.api()?, json).await?,
        Command::Audit(args) => audit::run(&args, &server.api()?, json).await?,
        Command::Rebuild(args) => rebuild::run(&args, &server.data, json).await?,
        Command::Convert(args) => convert::run(&args, json)?,
        Command::Generate(args) => generate::run(&args, json)?,
        Command::Lab(args) => args.run(interrupted()).await?,
        Command::NatsUsers(args) => nats_users::run(&args, json)?,
        Command::RotateKeys(args) => keys::rotate(&args, &server, json).await?,
        Command::Administrator(args) => administrator::run(&args, json).await?,
        Command::Declare(args) => nats_users::declare(&args, json).await?,
        Command::Settings(args) => settings::run(&args, json)?,
        Command::Doctor => return doctor::run(&server, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a signal to wait for it runs until it is killed.
        std::future::pending::<()>().await;
    }
}

async fn run_services(args: &RunArgs, json: bool) -> anyhow::Result<()> {
    let mut settings = Settings::load(args.config.as_deref()).context("reading the configuration")?;
    if json {
        settings = settings.with("log_format", "json", "--json");
    }
    let all = args.services.iter().any(|s| s == "all");
    let names: Vec<&str> =
        if all { compose::SERVICES.to_vec() } else { args.services.iter().map(String::as_str).collect() };
    compose::process(&settings, &names, false).await?.run().await?;
    Ok(())
}
