//! What an installation costs that has nothing to do: `mastwatch up` with its private servers, and a network
//! that works.
//!
//! The routers are played outside of what is measured. They are watched as always: heartbeats, roll calls.

use crate::{
    limits::{self, Limit::AtMost},
    machine::{self, Groups, round},
    progress,
    storm::API_PORT,
};
use anyhow::{Context, bail};
use mastwatch::api::Api;
use network_file::{NetworkFile, Shape, generate};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Until everything stands and every node is known.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// What the import and the first round set going may end first.
const SETTLE: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Towers below the core, each with 10 sectors of `--clients` clients.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    towers: u32,
    /// Clients of each sector.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    clients: u32,
    /// For how long it is watched, seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

/// Runs it.
///
/// # Errors
///
/// When it does not start, or does not come to rest.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let shape = Shape {
        towers: args.towers,
        sectors: 10,
        clients: args.clients,
        api_port: API_PORT,
        ..Shape::default()
    };
    let network = generate(&shape)?;
    let nodes = network.nodes.len() + network.subscribers.len();
    let lab = lab::Lab::start(lab::network::Network::from_file(&network)?, lab::Settings::default()).await?;
    let up = Up::start().await?;
    let mut groups = Groups::default();
    groups.is("all", Some(up.child.id()));
    progress(format_args!("rest: {nodes} nodes"));
    up.import(&network).await.with_context(|| format!("its log:\n{}", up.said()))?;
    tokio::time::sleep(SETTLE).await;

    progress(format_args!("rest: watching for {} s", args.seconds));
    let own = || embedded::cpu_time_of_one(up.child.id());
    let (before, own_before, began) = (groups.cpu()["all"], own()?, Instant::now());
    while began.elapsed() < Duration::from_secs(args.seconds) {
        groups.look_at_memory();
        let rest = Duration::from_secs(args.seconds).saturating_sub(began.elapsed());
        tokio::time::sleep(rest.min(Duration::from_secs(5))).await;
    }
    let took = began.elapsed().as_secs_f64();
    let percent = |spent: Duration| round(spent.as_secs_f64() / took * 100.0);
    let all = percent(groups.cpu()["all"].saturating_sub(before));
    let ours = percent(own()?.saturating_sub(own_before));
    let pss = groups.pss_mb_max()["all"];
    let mut line = json!({
        "bench": "rest",
        "nodes": nodes,
        "watched_s": round(took),
        "cpu_percent_of_one_core": all,
        "cpu_percent_mastwatch_alone": ours,
        "pss_mb_max": pss,
        "pss_mb_mastwatch_alone": embedded::pss_bytes_of_one(up.child.id())? / 1_000_000,
        "durability": "always",
    });
    limits::hold(&mut line, &[("cpu_percent_of_one_core", AtMost(5.0)), ("pss_mb_max", AtMost(400.0))]);
    machine::lay(&mut line, machine::facts(load));
    drop(up);
    lab.stop().await;
    Ok(line)
}

/// A whole installation in a directory of its own.
struct Up {
    dir: tempfile::TempDir,
    child: Child,
    console: String,
}

impl Up {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::TempDir::new().context("making a directory")?;
        let free = || -> anyhow::Result<String> {
            let listener = TcpListener::bind("127.0.0.1:0").context("finding a free port")?;
            Ok(listener.local_addr()?.to_string())
        };
        let console = free()?;
        let out = std::fs::File::create(dir.path().join("log")).context("making a log")?;
        let child = Command::new(stack::binary()?)
            .args(["up", "--data"])
            .arg(dir.path().join("data"))
            .env("MASTWATCH_CONSOLE__LISTEN", &console)
            .env("MASTWATCH_INGEST__LISTEN", free()?)
            .env("MASTWATCH_ADMIN_ADDRESS", free()?)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("starting mastwatch")?;
        Ok(Self { dir, child, console: format!("http://{console}") })
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Imports as soon as the console is there, and waits until every node is known.
    async fn import(&self, network: &NetworkFile) -> anyhow::Result<()> {
        let (began, file) = (Instant::now(), network.to_yaml().into_bytes());
        let api = loop {
            let outcome = match token(&self.data()) {
                Ok(token) => {
                    let api = Api::new(self.console.clone(), token, None);
                    api.call(Method::POST, "/api/v1/import", Some(file.clone())).await.map(|_| api)
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(api) => break api.as_tenant(&network.tenant.slug),
                Err(error) if began.elapsed() > SETTLED_WITHIN => return Err(error.context("importing")),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        while !matches!(mastwatch::status::is_settled(&api).await, Ok(true)) {
            if began.elapsed() > SETTLED_WITHIN {
                bail!("some nodes are still unknown after {} s", SETTLED_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        progress(format_args!("rest: everything known after {:.1} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn token(data: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(mastwatch::api::token_file(data)).context("reading the token")?;
    Ok(text.trim().to_owned())
}

impl Drop for Up {
    /// Its servers end when it does.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let ended_by = Instant::now() + Duration::from_secs(15);
        while asked.is_ok() && Instant::now() < ended_by {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
