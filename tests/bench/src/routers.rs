//! Many routers: installed by the reconciler, then read every few minutes, some of them black-holed.
//!
//! Every router is played: its children's netwatch entries, its sessions, its tables. Poller and reconciler run as
//! processes of their own, so that their memory is theirs. First every router is made what it should be; then it is
//! looked whether every snapshot is there, whole and at its moment; then some routers answer nothing any more, and
//! it is looked whether the others' still are.

use crate::{
    limits::{
        self,
        Limit::{AtLeast, AtMost},
    },
    machine::{self, Groups, quantile, round},
    progress,
    storm::API_PORT,
};
use anyhow::{Context, bail};
use async_nats::jetstream::{self, consumer::DeliverPolicy};
use events::{Fact, NodeId, Noun, PlanState, Samples, Time};
use futures::StreamExt;
use kit::{Filter, From};
use network_file::{Concentrators, LabHints, NetworkFile, Shape, generate};
use serde_json::{Value, json};
use stack::{Running, Stack, free_port};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long every router may take to be what it should be; the limit is less.
const INSTALLED_WITHIN: Duration = Duration::from_secs(1_800);
/// A snapshot at most so far from its moment is on time.
const ON_TIME_MS: u64 = 5_000;
/// How long the last snapshot of a round may take to be stored.
const GRACE: Duration = Duration::from_secs(20);
/// How often it is looked how far everything is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Routers, besides the core.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    routers: u32,
    /// Children of each that netwatch looks at.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60))]
    children: u32,
    /// Sessions behind each child.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    sessions: u32,
    /// How many routers are black-holed in the second half.
    #[arg(long, default_value_t = 100)]
    black_holed: u32,
    /// How often each is read, seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    snapshot_every: u64,
    /// Rounds of snapshots that are looked at in each half.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// Runs it.
///
/// # Errors
///
/// When something does not start, or routers are not installed in time.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let stack = Stack::start().await?;
    let network = network(args, &stack)?;
    let routers: BTreeSet<NodeId> = network
        .nodes
        .iter()
        .filter(|node| node.login.is_some())
        .map(|node| NodeId::of(network.tenant_id(), &node.id))
        .collect();
    let (entries, sessions) = (args.routers * args.children, network.subscribers.len());
    progress(format_args!("routers: {} with {entries} entries and {sessions} sessions", routers.len()));
    let settings = lab::Settings { sessions_return_over: Duration::ZERO, ..lab::Settings::default() };
    let lab = lab::Lab::start(lab::network::Network::from_file(&network)?, settings).await?;
    let others = ["ingest", "diagnostician", "correlator", "notifier", "projector", "console"];
    let everything_else = stack.run(&others)?;
    stack.import(&network).await.with_context(|| format!("its log:\n{}", everything_else.said()))?;
    let admin = free_port()?.to_string();
    let every = args.snapshot_every.to_string();
    let poller = stack.run_as(&["poller"], None, &[("MASTWATCH_POLLER__SNAPSHOT_EVERY_S", &every)])?;
    let reconciler = stack.run_as(&["reconciler"], None, &[("MASTWATCH_ADMIN_ADDRESS", &admin)])?;
    let mut groups = Groups::default();
    groups.is("poller", Some(poller.pid()));
    groups.is("reconciler", Some(reconciler.pid()));

    let installed = installed(&stack, &routers, &admin, &mut groups, &reconciler).await?;
    progress(format_args!("routers: all as they should be after {:.1} s", installed.took.as_secs_f64()));
    let alive = rounds(args, &stack, &routers, &mut groups).await?;
    progress(format_args!("routers: {} of {} snapshots are there", alive.whole, alive.wanted));

    let dead: Vec<&str> = network
        .nodes
        .iter()
        .filter(|node| node.login.is_some() && node.id.starts_with("tower-"))
        .map(|node| node.id.as_str())
        .take(args.black_holed as usize)
        .collect();
    let places =
        dead.iter().map(|id| lab.network().find(id).with_context(|| format!("the lab has no `{id}`")));
    lab.set_broken(&places.collect::<anyhow::Result<Vec<_>>>()?, true);
    let gone: BTreeSet<NodeId> = dead.iter().map(|id| NodeId::of(network.tenant_id(), id)).collect();
    let left: BTreeSet<NodeId> = routers.difference(&gone).copied().collect();
    let beside_dead = rounds(args, &stack, &left, &mut groups).await?;
    progress(format_args!(
        "routers: beside {} dead ones {} of {}",
        gone.len(),
        beside_dead.whole,
        beside_dead.wanted
    ));

    let (_, of_each) = lab.counters();
    let is_left = |id: &&String| !dead.contains(&id.as_str());
    let logins = of_each.iter().filter(|(id, _)| is_left(id)).map(|(_, counted)| counted.logins);
    let pss = groups.pss_mb_max();
    let mut line = json!({
        "bench": "routers",
        "routers": routers.len(),
        "netwatch_entries": entries,
        "sessions": sessions,
        "installed_after_s": round(installed.took.as_secs_f64()),
        "looked_at_at_once_max": installed.at_once_max,
        "snapshot_every_s": args.snapshot_every,
        "alive": alive.shown(),
        "black_holed": gone.len(),
        "beside_black_holed": beside_dead.shown(),
        // One of the poller and one of the reconciler.
        "logins_per_router_max": logins.max().unwrap_or_default(),
        "pss_mb_max": pss,
        "durability": "always",
        "ok": alive.lost_samples == 0,
    });
    let limits = [
        ("installed_after_s", AtMost(600.0)),
        ("looked_at_at_once_max", AtMost(64.0)),
        ("alive.whole_and_on_time", AtLeast(0.999)),
        ("beside_black_holed.whole_and_on_time", AtLeast(0.999)),
        ("logins_per_router_max", AtMost(2.0)),
        ("pss_mb_max.all", AtMost(500.0)),
    ];
    limits::hold(&mut line, &limits);
    machine::lay(&mut line, machine::facts(load));
    // Routers that answer nobody end with this process.
    drop(lab);
    Ok(line)
}

/// A core and towers, each the concentrator of its own sectors' subscribers; nothing of ours is on them, and their
/// operator lets us change them.
fn network(args: &Args, stack: &Stack) -> anyhow::Result<NetworkFile> {
    let shape = Shape {
        towers: args.routers,
        sectors: args.children,
        clients: args.sessions,
        api_port: API_PORT,
        concentrators: Concentrators::Towers,
        ..Shape::default()
    };
    let mut network = generate(&shape)?;
    stack.tell_the_sink(&mut network);
    network.lab.defaults = LabHints {
        netwatch: Some(false),
        ppp_scripts: Some(false),
        lived_in: Some(true),
        session_timeout_ms: Some(0),
        boot_ms: Some(0),
        ..LabHints::default()
    };
    for node in &mut network.nodes {
        // Their tokens follow from the tenant's keys.
        node.webhook = None;
        if let Some(login) = &mut node.login {
            login.manage = true;
        }
    }
    Ok(network)
}

/// How every router came to be what it should be.
struct Installed {
    took: Duration,
    /// The most that were looked at at one time, as the reconciler says.
    at_once_max: f64,
}

async fn installed(
    stack: &Stack,
    routers: &BTreeSet<NodeId>,
    admin: &str,
    groups: &mut Groups,
    reconciler: &Running,
) -> anyhow::Result<Installed> {
    let (began, http) = (Instant::now(), reqwest::Client::new());
    let (mut at_once_max, mut right, mut seen) = (0.0_f64, BTreeSet::new(), 0);
    loop {
        let page = http.get(format!("http://{admin}/metrics")).send().await;
        if let Ok(page) = page {
            let text = page.text().await.unwrap_or_default();
            let running =
                text.lines().find_map(|line| line.strip_prefix("mastwatch_reconciler_visits_running "));
            at_once_max = at_once_max.max(running.and_then(|n| n.parse().ok()).unwrap_or_default());
        }
        let end = stack.log.state().await?.last_seq;
        if end > seen {
            let mut reader = stack.log.read(&[Filter::noun(Noun::Plan)], From::Seq(seen + 1), Some(end));
            while let Some(raw) = reader.next().await? {
                if let Fact::Plan(plan) = raw.decode()?.fact {
                    if plan.state == PlanState::AsDesired {
                        right.insert(plan.router);
                    } else {
                        right.remove(&plan.router);
                    }
                }
            }
            seen = end;
        }
        groups.look_at_memory();
        if right.len() >= routers.len() {
            return Ok(Installed { took: began.elapsed(), at_once_max });
        }
        if began.elapsed() > INSTALLED_WITHIN {
            bail!(
                "{} of {} routers are as they should be; {}",
                right.len(),
                routers.len(),
                reconciler.said()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What came of some rounds of snapshots.
#[derive(Debug, Default)]
struct Rounds {
    wanted: usize,
    /// Those of which every part is there.
    whole: usize,
    /// Whole, and begun at most 5 s from their moments.
    on_time: usize,
    /// How long after its moment each began, milliseconds, sorted.
    late_ms: Vec<u64>,
    samples: usize,
    /// Messages that hold no samples.
    lost_samples: usize,
}

impl Rounds {
    fn shown(&self) -> Value {
        json!({
            "snapshots_wanted": self.wanted,
            "whole": self.whole,
            "whole_and_on_time": round(self.on_time as f64 / self.wanted.max(1) as f64),
            "late_ms_p50": quantile(&self.late_ms, 0.5),
            "late_ms_p999": quantile(&self.late_ms, 0.999),
            "late_ms_max": self.late_ms.last(),
            "samples": self.samples,
        })
    }
}

/// Waits for whole rounds from now on, and reads what was stored of these routers.
async fn rounds(
    args: &Args,
    stack: &Stack,
    routers: &BTreeSet<NodeId>,
    groups: &mut Groups,
) -> anyhow::Result<Rounds> {
    let lasts = Duration::from_secs(args.snapshot_every) * args.rounds;
    let began_ms = machine::now_us() / 1_000;
    let ends_ms = began_ms + i64::try_from(lasts.as_millis())?;
    progress(format_args!("routers: {} s of snapshots", lasts.as_secs()));
    let waited = Instant::now();
    while waited.elapsed() < lasts + GRACE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        groups.look_at_memory();
    }
    let mut rounds = Rounds { wanted: routers.len() * args.rounds as usize, ..Rounds::default() };
    let mut parts: BTreeMap<(NodeId, Time), (u32, Time)> = BTreeMap::new();
    for samples in said(stack).await? {
        let Some(samples) = samples else {
            rounds.lost_samples += 1;
            continue;
        };
        if !routers.contains(&samples.router) || !(began_ms..ends_ms).contains(&samples.due.ms()) {
            continue;
        }
        rounds.samples += samples.samples.len();
        let (seen, at) = parts.entry((samples.router, samples.due)).or_insert((0, samples.at));
        *seen += 1;
        if *seen == samples.parts {
            rounds.whole += 1;
            let late_ms = at.ms().abs_diff(samples.due.ms());
            rounds.late_ms.push(late_ms);
            rounds.on_time += usize::from(late_ms <= ON_TIME_MS);
        }
    }
    rounds.late_ms.sort_unstable();
    Ok(rounds)
}

/// Everything that lies in the stream of samples; none for what cannot be read.
async fn said(stack: &Stack) -> anyhow::Result<Vec<Option<Samples>>> {
    let client = async_nats::connect(stack.nats.url()).await.context("connecting to the log's server")?;
    let stream =
        jetstream::new(client).get_stream(kit::samples::STREAM).await.context("finding the samples")?;
    let consumer =
        jetstream::consumer::pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let left = stream.get_info().await.context("asking how many samples there are")?.state.messages;
    let consumer = stream.create_consumer(consumer).await.context("reading the samples")?;
    let mut messages = consumer.messages().await.context("reading the samples")?;
    let mut all = Vec::new();
    while (all.len() as u64) < left {
        let message = messages.next().await.context("the samples ended early")?.context("reading samples")?;
        all.push(serde_json::from_slice(&message.payload).ok());
    }
    Ok(all)
}
