//! How fast the kit is: group commit, reading, replaying and deciding, on one private server that writes
//! through before every acknowledgement. Prints one JSON line per figure; with a word as its argument only those
//! whose name has it in it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use embedded::{Nats, Temporary};
use events::{
    About, Claim, Decide, Decision, Delivery, DeliveryKind, DeliverySaid, EventId, Fact, Heard, NodeId,
    NoticeId, Noun, Say, Signal, SignalSource, TenantId, Time,
};
use kit::{Decider, DeciderOptions, Filter, From, Leasing, Log, LogConfig, Outgoing};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const MEASURED: Duration = Duration::from_secs(5);

fn claim(tenant: TenantId, n: u64) -> Outgoing {
    let node = NodeId::of(tenant, &format!("node-{}", n % 10_000));
    let signal = Signal {
        about: About::Node(node),
        says: Claim::Down,
        source: SignalSource::Netwatch,
        sender: Some(node),
        boot: Some("7f3a9c".into()),
        seq: Some(n),
        sealed_name: None,
        detail: None,
    };
    let id = EventId::numbered(node, "7f3a9c", n);
    let say =
        Say { id, tenant, at: Time::from_ms(1_795_000_000_000), cause: None, fact: Fact::Signal(signal) };
    Outgoing::new(say, "ingest")
}

/// Hears everything and says nothing, or one thing for each claim.
struct Echo {
    speaks: bool,
    heard: Vec<(TenantId, NoticeId, EventId, Time)>,
    counts: BTreeMap<NoticeId, u32>,
}

impl Decide for Echo {
    const NAME: &'static str = "echo";
    const HEARS: &'static [Noun] = &[Noun::Signal];
    const SAYS: &'static [Noun] = &[Noun::Delivery];

    fn recall(&mut self, heard: &Heard) {
        let Fact::Signal(signal) = &heard.fact else { return };
        let About::Node(node) = signal.about else { return };
        if self.speaks {
            self.heard.push((heard.tenant, NoticeId(node.0), heard.id, heard.at));
        }
    }

    fn apply(&mut self, said: &Say) {
        let Fact::Delivery(said) = &said.fact else { return };
        self.counts.insert(said.now.notice, said.now.attempts);
    }

    fn decide(&mut self, _now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        let n = self.heard.len().min(room);
        for (tenant, notice, cause, at) in self.heard.drain(..n) {
            let attempts = self.counts.get(&notice).copied().unwrap_or(0) + 1;
            let now = Delivery { notice, attempts, answer: None, possibly_repeated: false };
            decision.said.push(Say {
                id: EventId::following(cause, Self::NAME, "count"),
                tenant,
                at,
                cause: Some(cause),
                fact: Fact::Delivery(DeliverySaid { kind: DeliveryKind::Attempted, now }),
            });
        }
        decision.owed = !self.heard.is_empty();
        decision
    }

    fn digest(&self) -> u64 {
        self.counts.len() as u64
    }
}

async fn publishing(
    log: &Log,
    tenant: TenantId,
    array: u64,
    callers: u64,
    next: &Arc<AtomicU64>,
) -> (f64, u64) {
    let (begun, stored) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..callers {
        let (log, next, stored) = (log.clone(), next.clone(), stored.clone());
        tasks.push(tokio::spawn(async move {
            while begun.elapsed() < MEASURED {
                let first = next.fetch_add(array, Ordering::Relaxed);
                let outs = (first..first + array).map(|n| claim(tenant, n)).collect();
                log.publish_all(outs).await.unwrap();
                stored.fetch_add(array, Ordering::Relaxed);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let n = stored.load(Ordering::Relaxed);
    (n as f64 / begun.elapsed().as_secs_f64(), n)
}

async fn deciding(log: &Log, speaks: bool, inputs: u64) -> (f64, u64) {
    let make = move |_| Echo { speaks, heard: Vec::new(), counts: BTreeMap::new() };
    let options = DeciderOptions { leasing: Leasing::Alone, ..DeciderOptions::default() };
    let decider = Decider::new(log.clone(), make).with(options);
    let (stats, stop) = (decider.stats(), CancellationToken::new());
    let begun = Instant::now();
    let task = tokio::spawn(decider.run(stop.clone()));
    let done = || {
        let said = stats.said.load(Ordering::Relaxed);
        stats.inputs.load(Ordering::Relaxed) >= inputs && (!speaks || said >= inputs)
    };
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let per_s = inputs as f64 / begun.elapsed().as_secs_f64();
    stop.cancel();
    task.await.unwrap().unwrap();
    (per_s, inputs)
}

async fn reading(log: &Log, decode: bool) -> (f64, u64) {
    let end = log.state().await.unwrap().last_seq;
    let mut reader = log.read(&[Filter::noun(Noun::Signal)], From::Start, Some(end));
    let (begun, mut n) = (Instant::now(), 0_u64);
    loop {
        let chunk = reader.next_chunk(500).await.unwrap();
        if chunk.is_empty() {
            return (n as f64 / begun.elapsed().as_secs_f64(), n);
        }
        n += chunk.len() as u64;
        if decode {
            for raw in chunk {
                raw.decode().unwrap();
            }
        }
    }
}

/// Runs one measurement; tells its rate, and what a message costs our process and the server of CPU time.
async fn tell(what: &str, log: &Log, nats: &Nats, measured: impl Future<Output = (f64, u64)>) {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|word| !what.contains(&word)) {
        return;
    }
    let pids = [std::process::id(), nats.pid().unwrap()];
    let cpu = || pids.map(|pid| embedded::cpu_time_of_one(pid).unwrap());
    let before = cpu();
    let (per_s, n) = measured.await;
    let after = cpu();
    let [ours_us, servers_us] = [0, 1].map(|i| (after[i] - before[i]).as_micros() as f64 / n.max(1) as f64);
    println!(
        r#"{{"what":"{what}","per_s":{per_s:.0},"cpu_us_each":{ours_us:.1},"server_cpu_us_each":{servers_us:.1},"durability":"{}"}}"#,
        log.durability()
    );
}

async fn started() -> (Temporary<Nats>, Log) {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    let log = Log::connect(LogConfig::new([nats.url()], "pace")).await.unwrap();
    log.ensure().await.unwrap();
    (nats, log)
}

async fn measure() {
    let (nats, log) = started().await;
    let (tenant, next) = (TenantId::of("hillside"), Arc::new(AtomicU64::new(0)));
    tell("publish one by one, 1 caller", &log, &nats, publishing(&log, tenant, 1, 1, &next)).await;
    tell("publish one by one, 256 callers", &log, &nats, publishing(&log, tenant, 1, 256, &next)).await;
    tell("publish arrays of 64, 32 callers", &log, &nats, publishing(&log, tenant, 64, 32, &next)).await;
    // Enough to read, whatever was published.
    for first in (1 << 40..(1_u64 << 40) + 300_000).step_by(1_000) {
        log.publish_all((first..first + 1_000).map(|n| claim(tenant, n)).collect()).await.unwrap();
    }
    let inputs = log.state().await.unwrap().messages;
    tell("read", &log, &nats, reading(&log, false)).await;
    tell("read and decode", &log, &nats, reading(&log, true)).await;
    tell("replay through a decider that says nothing", &log, &nats, deciding(&log, false, inputs)).await;
    // The cut of the first is in the way: another log for the one that speaks.
    let (nats, log) = started().await;
    for first in (0..100_000).step_by(1_000) {
        log.publish_all((first..first + 1_000).map(|n| claim(tenant, n)).collect()).await.unwrap();
    }
    tell("decide, one said for each input", &log, &nats, deciding(&log, true, 100_000)).await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}
