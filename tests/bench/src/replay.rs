//! The log through the diagnostician's decider, beside a bare ordered read.
//!
//! First it decides: claims lie in the log, each of which changes what is believed of one node, and every
//! change is committed with the place read up to. Then that very log is read again from its beginning,
//! once bare and once into a new memory, which must find nothing left to say.

use crate::{
    limits::{self, Limit::AtLeast},
    machine::{self, Cpu, round},
    progress,
};
use anyhow::{Context, bail};
use domain::Diagnosis;
use embedded::Nats;
use events::{
    About, Claim, Decide, EventId, Fact, Inventory, NodeId, Noun, Part, Revision, RevisionSource, Say,
    Signal, SignalSource, TenantId, Time,
};
use kit::{
    ARRAY_MAX, Decider, DeciderOptions, DeciderStats, Filter, From, Leasing, Log, LogConfig, Observe,
    Outgoing, Then,
};
use network_file::{NetworkFile, SeenBy, Shape, generate};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vault::{MasterKey, MasterKeys};

/// What a part of an import may hold: far below the largest event.
const PART_THINGS: usize = 60;
/// How long deciding may take without a step forward.
const STUCK: Duration = Duration::from_secs(60);
/// What is read at once.
const CHUNK: usize = 500;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Claims in the log.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=2_000_000))]
    claims: u64,
    /// Towers of the network, each with 10 sectors of 100 clients.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    towers: u32,
}

/// Runs it.
///
/// # Errors
///
/// When a server does not start, or nothing is decided.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let nats = Nats::start_temporary(|_| {}).await?;
    let log = Log::connect(LogConfig::new([nats.url()], "bench")).await?;
    log.ensure().await?;
    let network = network(args.towers)?;
    lay_down(&log, &network).await?;
    progress(format_args!("replay: storing {} claims", args.claims));
    claim(&log, &network, args.claims).await?;

    progress("replay: deciding");
    let cpu = || Cpu::now(nats.pid());
    let decided = decide(&log, args.claims, cpu).await?;
    progress("replay: reading again");
    let end = log.state().await?.last_seq;
    let bare = read(&log, end, None, cpu).await?;
    let mut memory = Diagnosis::default();
    let replayed = read(&log, end, Some(&mut memory), cpu).await?;
    let now = Time::from_us(machine::now_us());
    let left = memory.decide(now, ARRAY_MAX).said.len();
    progress("replay: starting again");
    let start = start_again(&log).await?;

    let mut line = json!({
        "bench": "replay",
        "ok": left == 0,
        "nodes": network.nodes.len() + network.subscribers.len(),
        "events": bare.events,
        "bare_read_events_per_second": bare.per_second(),
        "replay_events_per_second": replayed.per_second(),
        "ratio": round(bare.took.as_secs_f64() / replayed.took.as_secs_f64()),
        "left_to_say_after_replay": left,
        "decided_per_second": decided.per_second(),
        "decided": decided.events,
        "commits": decided.commits,
        "cpu_us_per_event_bare": bare.cpu.us_per(bare.events),
        "cpu_us_per_event_replayed": replayed.cpu.us_per(replayed.events),
        "cpu_us_per_decided": decided.cpu.us_per(decided.events),
        "start_again_ms": start.as_millis() as u64,
        "nats_version": log.server_version(),
        "durability": machine::durability(nats.durability()),
    });
    let limits =
        [("replay_events_per_second", AtLeast(100_000.0)), ("decided_per_second", AtLeast(25_000.0))];
    limits::hold(&mut line, &limits);
    machine::lay(&mut line, machine::facts(load));
    Ok(line)
}

/// How many events in which time.
#[derive(Debug, Default)]
struct Pace {
    events: u64,
    commits: u64,
    took: Duration,
    cpu: Cpu,
}

impl Pace {
    fn per_second(&self) -> u64 {
        (self.events as f64 / self.took.as_secs_f64().max(1e-9)) as u64
    }
}

/// A network whose routers cannot be logged in to: claims alone move its subscribers, and nothing is asked.
fn network(towers: u32) -> anyhow::Result<NetworkFile> {
    let mut network = generate(&Shape { towers, sectors: 10, clients: 100, ..Shape::default() })?;
    for node in &mut network.nodes {
        (node.address, node.watch, node.login, node.seen_by) = (None, None, None, SeenBy::Nobody);
    }
    Ok(network)
}

fn say(tenant: TenantId, id: EventId, fact: Fact) -> Outgoing {
    Outgoing::new(Say { id, tenant, at: Time::from_us(machine::now_us()), cause: None, fact }, "bench")
}

/// Lays the inventory down as an import does: parts, then the revision that names them.
async fn lay_down(log: &Log, network: &NetworkFile) -> anyhow::Result<()> {
    let tenant = network.tenant_id();
    let (keys, _) = MasterKeys::new(MasterKey::random(), vec![]).new_tenant(tenant);
    let things: Vec<Inventory> = network.to_inventory(&keys)?.things;
    let (digest, fresh) = ("b".repeat(64), || EventId(uuid::Uuid::now_v7()));
    let mut count = 0;
    for (n, things) in (0_u32..).zip(things.chunks(PART_THINGS)) {
        let part = Part { digest: digest.clone(), n, things: things.to_vec() };
        log.publish(say(tenant, fresh(), Fact::Part(part))).await?;
        count = n + 1;
    }
    let source = RevisionSource::Parts { digest, count };
    let revision = Revision { number: 1, source, file_digest: None, by: "bench".into() };
    log.publish(say(tenant, fresh(), Fact::Revision(revision))).await?;
    Ok(())
}

/// Stores claims, each of which says something else of its subscriber than the one before.
async fn claim(log: &Log, network: &NetworkFile, count: u64) -> anyhow::Result<()> {
    let tenant = network.tenant_id();
    let sender = NodeId::of(tenant, "tower-1");
    let nodes: Vec<NodeId> =
        network.subscribers.iter().map(|one| NodeId::of_account(tenant, &one.account)).collect();
    let numbers: Vec<u64> = (0..count).collect();
    for chunk in numbers.chunks(ARRAY_MAX) {
        let outs = chunk.iter().map(|n| {
            let round = n / nodes.len() as u64;
            let signal = Signal {
                about: About::Node(nodes[(n % nodes.len() as u64) as usize]),
                says: if round.is_multiple_of(2) { Claim::Degraded } else { Claim::Up },
                source: SignalSource::Api,
                sender: Some(sender),
                boot: Some("replay".into()),
                seq: Some(*n),
                sealed_name: None,
                detail: None,
            };
            say(tenant, EventId::numbered(sender, "replay", *n), Fact::Signal(signal))
        });
        log.publish_all(outs.collect()).await?;
    }
    Ok(())
}

/// A running decider, and how to end it.
struct Running {
    stats: Arc<DeciderStats>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), kit::DeciderError>>,
}

impl Running {
    fn start(decider: Decider<Diagnosis>) -> Self {
        let (stats, stop) = (decider.stats(), CancellationToken::new());
        let task = tokio::spawn(decider.run(stop.clone()));
        Self { stats, stop, task }
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        Ok(self.task.await.context("the decider ended")??)
    }
}

fn decider(log: &Log) -> Decider<Diagnosis> {
    let options = DeciderOptions { leasing: Leasing::Alone, ..DeciderOptions::default() };
    Decider::new(log.clone(), |_| Diagnosis::default()).with(options)
}

/// Decides on everything; the time runs from the first commit, so without the start.
async fn decide(log: &Log, inputs: u64, cpu: impl Fn() -> Cpu) -> anyhow::Result<Pace> {
    let running = Running::start(decider(log));
    let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let (mut began, mut last, mut moved) = (None, 0, Instant::now());
    loop {
        let (said, commits) = (read(&running.stats.said), read(&running.stats.commits));
        if said > 0 && began.is_none() {
            began = Some((Instant::now(), cpu(), said, commits));
        }
        if said != last {
            (last, moved) = (said, Instant::now());
        }
        if said >= inputs {
            let (at, spent, said_before, commits_before) = began.context("something was said")?;
            let pace = Pace {
                events: said - said_before,
                commits: commits - commits_before,
                took: at.elapsed(),
                cpu: cpu().since(spent),
            };
            running.end().await?;
            return Ok(pace);
        }
        if moved.elapsed() > STUCK {
            bail!("deciding stands still: {said} said of {inputs}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads everything the decider hears and says, bare or into `memory`.
async fn read(
    log: &Log,
    end: u64,
    mut memory: Option<&mut Diagnosis>,
    cpu: impl Fn() -> Cpu,
) -> anyhow::Result<Pace> {
    let spent = cpu();
    let inventory = [Noun::Inventory, Noun::Part, Noun::Revision];
    let nouns = inventory.iter().chain(Diagnosis::HEARS).chain(Diagnosis::SAYS);
    let filters: Vec<Filter> = nouns.map(|noun| Filter::noun(*noun)).collect();
    let (began, mut reader, mut events) = (Instant::now(), log.read(&filters, From::Start, Some(end)), 0);
    loop {
        let chunk = reader.next_chunk(CHUNK).await?;
        if chunk.is_empty() {
            return Ok(Pace { events, commits: 0, took: began.elapsed(), cpu: cpu().since(spent) });
        }
        events += chunk.len() as u64;
        let Some(memory) = memory.as_deref_mut() else { continue };
        for raw in chunk {
            let heard = raw.decode()?;
            if Diagnosis::SAYS.contains(&heard.fact.noun()) {
                let cause = raw.cause();
                memory.apply(&Say {
                    id: heard.id,
                    tenant: heard.tenant,
                    at: heard.at,
                    cause,
                    fact: heard.fact,
                });
            } else {
                memory.recall(&heard);
            }
        }
    }
}

/// Tells when a memory has been loaded.
struct Loaded(Arc<Notify>);

impl Observe for Loaded {
    fn loaded(&self, _: u16, _: u64, _: u64) {
        self.0.notify_one();
    }

    fn committed(&self, _: u16, _: u64, _: u64) -> Then {
        Then::GoOn
    }
}

/// How long a decider that is started again takes until its memory stands.
async fn start_again(log: &Log) -> anyhow::Result<Duration> {
    let (began, loaded) = (Instant::now(), Arc::new(Notify::new()));
    let running = Running::start(decider(log).observed(Arc::new(Loaded(Arc::clone(&loaded)))));
    tokio::time::timeout(STUCK, loaded.notified()).await.context("no memory was loaded")?;
    let took = began.elapsed();
    running.end().await?;
    Ok(took)
}
