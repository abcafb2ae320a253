//! Signals through the front door, beside a handler that only stores.
//!
//! The limit is an axum handler that looks at nothing: it awaits one publish through the same log and so the
//! same group commit, and answers. Both are served here, in turns, to the same clients, by one
//! nats-server. Then arrays of signals, and the time to an answer at half of the most that went through.

use crate::{
    client::{Connection, post},
    limits::{
        self,
        Limit::{AtLeast, AtMost},
    },
    machine::{self, Cpu, quantile, round},
    progress,
};
use anyhow::{Context, bail};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing};
use clap::ValueEnum;
use embedded::{Durability, Nats};
use events::{
    About, Access, AccessSaid, Claim, EventId, Fact, Grant, NodeId, Say, Signal, SignalSource, TenantId,
    Time, Token,
};
use kit::{
    Log, LogConfig, Outgoing, Service,
    config::{Common, Secret},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use vault::{FreshToken, MasterKey, MasterKeys};

/// How many things are told of: each has its subject in the log.
const NODES: u64 = 10_000;
/// Connections that send single signals.
const SINGLE: u64 = 256;
/// Connections that send arrays.
const ARRAYS: u64 = 64;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// When the log writes through.
    #[arg(long, value_enum, default_value = "always")]
    sync: Sync,
    /// How long each turn lasts, seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    turn: u64,
    /// How many turns each has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    turns: u64,
    /// Signals in an array.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    array: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sync {
    Always,
    Interval,
}

/// What one load came to.
#[derive(Debug, Default)]
struct Load {
    signals: u64,
    took: Duration,
    latencies_us: Vec<u64>,
    cpu: Cpu,
    commits: u64,
}

impl Load {
    fn per_second(&self) -> f64 {
        self.signals as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn add(&mut self, other: Load) {
        self.signals += other.signals;
        self.took += other.took;
        self.latencies_us.extend(other.latencies_us);
        self.cpu.add(other.cpu);
        self.commits += other.commits;
    }

    fn figures(mut self) -> Value {
        self.latencies_us.sort_unstable();
        json!({
            "signals_per_second": self.per_second() as u64,
            "signals_per_commit": round(self.signals as f64 / self.commits.max(1) as f64),
            "answer_us_p50": quantile(&self.latencies_us, 0.5),
            "answer_us_p99": quantile(&self.latencies_us, 0.99),
            "cpu_us_per_signal_with_its_client": self.cpu.us_per(self.signals),
        })
    }
}

/// Which request is sent.
#[derive(Debug, Clone, Copy)]
enum What {
    /// One signal, as a script sends it.
    Single,
    /// An array of so many.
    Array(u64),
}

/// Runs it.
///
/// # Errors
///
/// When a server does not start or a signal is refused.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let durability = match args.sync {
        Sync::Always => Durability::Always,
        Sync::Interval => Durability::Interval,
    };
    let nats = Nats::start_temporary(|options| options.durability = durability).await?;
    let word = machine::durability(durability);
    let log =
        Log::connect(LogConfig { durability: word.into(), ..LogConfig::new([nats.url()], "ingest") }).await?;
    log.ensure().await?;
    let (token, ours, bare) = doors(&log).await?;
    let (turn, next) = (Duration::from_secs(args.turn), Arc::new(AtomicU64::new(1)));
    let before = log.state().await?.messages;
    let stored = Arc::new(AtomicU64::new(0));
    let send = async |what, to, connections, pace: Option<f64>| {
        let sender =
            Sender { to, token: token.clone(), what, next: Arc::clone(&next), stored: Arc::clone(&stored) };
        let commits = || log.publish_stats().commits.load(Ordering::Relaxed);
        let (cpu, before) = (Cpu::now(nats.pid()), commits());
        let load = sender.load(connections, turn, pace).await?;
        anyhow::Ok(Load { cpu: Cpu::now(nats.pid()).since(cpu), commits: commits() - before, ..load })
    };

    let (mut through, mut beside) = (Load::default(), Load::default());
    for n in 1..=args.turns {
        progress(format_args!("ingest: single signals, turn {n} of {}", args.turns));
        beside.add(send(What::Single, bare, SINGLE, None).await?);
        through.add(send(What::Single, ours, SINGLE, None).await?);
    }
    progress(format_args!("ingest: arrays of {}", args.array));
    let mut arrays = Load::default();
    for _ in 0..args.turns {
        arrays.add(send(What::Array(args.array), ours, ARRAYS, None).await?);
    }
    progress("ingest: half of the most");
    let half = through.per_second() / 2.0;
    let at_half = send(What::Single, ours, SINGLE, Some(half)).await?;
    let half_arrays = arrays.per_second() / args.array as f64 / 2.0;
    let arrays_at_half = send(What::Array(args.array), ours, ARRAYS, Some(half_arrays)).await?;

    let missing = stored.load(Ordering::Relaxed).abs_diff(log.state().await?.messages - before);
    let ratio = through.per_second() / beside.per_second();
    let mut line = json!({
        "bench": "ingest",
        "ok": missing == 0,
        "single": through.figures(),
        "bare_handler": beside.figures(),
        "ratio": round(ratio),
        "array": args.array,
        "arrays": arrays.figures(),
        "single_at_half_load": at_half.figures(),
        "arrays_at_half_load": arrays_at_half.figures(),
        "answered_but_not_stored": missing,
        "nats_version": log.server_version(),
        "durability": word,
    });
    // The least that one array a commit must bring (`always`, `interval`), and the most that 99 of 100 wait for at half load.
    let arrays_least = match args.sync {
        Sync::Always => 25_000.0,
        Sync::Interval => 40_000.0,
    };
    let limits = [
        ("ratio", AtLeast(0.85)),
        ("arrays.signals_per_second", AtLeast(arrays_least)),
        ("single_at_half_load.answer_us_p99", AtMost(50_000.0)),
    ];
    limits::hold(&mut line, &limits);
    machine::lay(&mut line, machine::facts(load));
    Ok(line)
}

/// Opens both doors: a token, ours, and the one that only stores.
async fn doors(log: &Log) -> anyhow::Result<(Arc<str>, SocketAddr, SocketAddr)> {
    let tenant = TenantId::of("bench");
    let (master, fresh) = (MasterKey::random(), FreshToken::random());
    let (_, wrapped) = MasterKeys::new(master.clone(), vec![]).new_tenant(tenant);
    let token = Token {
        prefix: fresh.prefix().into(),
        sha256: fresh.sha256(),
        grant: Grant::Router { router: NodeId::of(tenant, "core-1") },
        networks: vec!["127.0.0.0/8".into()],
        name: "bench".into(),
        revoked: false,
    };
    for now in [Access::Keys(wrapped), Access::Token(token)] {
        let fact = Fact::Access(AccessSaid { now, by: "bench".into() });
        let say = Say { id: EventId(uuid::Uuid::now_v7()), tenant, at: Time::EPOCH, cause: None, fact };
        log.publish(Outgoing::new(say, "console")).await?;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let ours = listener.local_addr()?;
    let config = ingest::Config {
        master_keys: Some(Secret::new(master.to_base64().as_str())),
        token_per_second: 1e9,
        token_burst: 1_000_000_000,
        tenant_per_second: 1e9,
        tenant_burst: 1_000_000_000,
        ..ingest::Config::default()
    };
    let service = Service::alone("ingest", Common::default(), log.clone());
    tokio::spawn(async move {
        if let Err(error) = ingest::run_on(listener, config, service).await {
            progress(format_args!("ingest: it ended: {error:#}"));
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let bare = listener.local_addr()?;
    let only = Only { log: log.clone(), tenant, next: Arc::default() };
    let routes =
        Router::new().route("/api/webhooks/mikrotik/device-status", routing::post(store)).with_state(only);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok((fresh.text().into(), ours, bare))
}

/// What the handler beside ours needs.
#[derive(Clone)]
struct Only {
    log: Log,
    tenant: TenantId,
    next: Arc<AtomicU64>,
}

/// Awaits one publish of such a fact as ours stores, about as many things, and looks at nothing.
async fn store(State(only): State<Only>, _: Bytes) -> (StatusCode, String) {
    let seq = only.next.fetch_add(1, Ordering::Relaxed);
    let node = NodeId::of(only.tenant, &format!("beside-{}", seq % NODES));
    let signal = Signal {
        about: About::Node(node),
        says: Claim::Down,
        source: SignalSource::Netwatch,
        sender: Some(node),
        boot: Some("beside".into()),
        seq: Some(seq),
        sealed_name: None,
        detail: None,
    };
    let id = EventId::numbered(node, "beside", seq);
    let at = Time::from_us(machine::now_us());
    let say = Say { id, tenant: only.tenant, at, cause: None, fact: Fact::Signal(signal) };
    match only.log.publish(Outgoing::new(say, "beside")).await {
        Ok(stored) => (StatusCode::ACCEPTED, format!(r#"{{"id":"{}"}}"#, stored.id)),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
    }
}

/// Sends signals that are all different.
#[derive(Clone)]
struct Sender {
    to: SocketAddr,
    token: Arc<str>,
    what: What,
    next: Arc<AtomicU64>,
    stored: Arc<AtomicU64>,
}

impl Sender {
    /// Over so many connections for so long: as fast as answers come, or `pace` requests a second whatever
    /// comes back; then the time counts from when a request was due. The connections are open before.
    async fn load(self, connections: u64, turn: Duration, pace: Option<f64>) -> anyhow::Result<Load> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::open(self.to).await?);
        }
        let began = Instant::now();
        let one =
            |(n, connection)| tokio::spawn(self.clone().one(connection, (n, connections), began, turn, pace));
        let all: Vec<_> = (0..).zip(open).map(one).collect();
        let mut load = Load::default();
        for one in all {
            let (signals, latencies_us) = one.await.context("a sender ended")??;
            load.signals += signals;
            load.latencies_us.extend(latencies_us);
        }
        load.took = began.elapsed();
        self.stored.fetch_add(load.signals, Ordering::Relaxed);
        Ok(load)
    }

    async fn one(
        self,
        mut connection: Connection,
        (n, of): (u64, u64),
        began: Instant,
        turn: Duration,
        pace: Option<f64>,
    ) -> anyhow::Result<(u64, Vec<u64>)> {
        let (mut signals, mut latencies_us) = (0, Vec::new());
        for round in 0_u64.. {
            let due = match pace {
                Some(per_second) => began + Duration::from_secs_f64((round * of + n) as f64 / per_second),
                None => Instant::now(),
            };
            if due >= began + turn || began.elapsed() >= turn * 2 {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            let (request, count) = self.request();
            let answer = connection.ask(&request).await?;
            if answer.status != 202 {
                bail!("a signal was refused: {} {}", answer.status, answer.body);
            }
            latencies_us.push(due.elapsed().as_micros() as u64);
            signals += count;
        }
        Ok((signals, latencies_us))
    }

    fn request(&self) -> (String, u64) {
        match self.what {
            What::Single => {
                let n = self.next.fetch_add(1, Ordering::Relaxed);
                let body = format!("id=sector-{}&status=down&boot=single&seq={n}", n % NODES);
                let path = "/api/webhooks/mikrotik/device-status";
                (post(path, &self.token, "application/x-www-form-urlencoded", &body), 1)
            }
            What::Array(count) => {
                let first = self.next.fetch_add(count, Ordering::Relaxed);
                let mut body = String::with_capacity(count as usize * 90);
                for n in first..first + count {
                    let before = if n == first { '[' } else { ',' };
                    let id = n % NODES;
                    write!(
                        body,
                        r#"{before}{{"id":"sector-{id}","says":"down","source":"netwatch","boot":"array","seq":{n}}}"#
                    )
                    .expect("a string takes everything");
                }
                body.push(']');
                (post("/api/v1/signals", &self.token, "application/json", &body), count)
            }
        }
    }
}
