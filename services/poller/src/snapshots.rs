//! Snapshots: every router of ours read on its schedule, and what it showed laid into `METRICS`.
//!
//! Each reading has a deadline of its own and there is room for many at once, so that a router that is slow or
//! dead delays nobody. A reading that would begin while the one before still goes on is left out.

use crate::{
    reach::Reach,
    room::Room,
    schedule::{next_ms, now_ms, offset_ms, until},
    snapshot::{self, Taken},
    voice::now,
};
use events::{NodeId, SampleSource, Samples, TenantId, Time, slot_of};
use kit::{Log, Slots, admin::Metrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long one reading may take.
const WITHIN: Duration = Duration::from_secs(120);

/// For how long storing a reading is tried.
const SAY_WITHIN: Duration = Duration::from_secs(60);

/// What begins so much after its moment is late.
const LATE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    /// `complete`, `partial` or `failed`.
    outcome: &'static str,
}

/// What is counted of snapshots.
#[derive(Debug, Clone)]
struct Counted {
    ended: Family<Ended, Counter>,
    late: Counter,
    skipped: Counter,
    lateness: Histogram,
    lasted: Histogram,
    said: Counter,
    lost: Counter,
    routers: Gauge,
}

impl Counted {
    fn new(metrics: &Metrics) -> Self {
        Self {
            ended: metrics.counters("snapshots", "Snapshots of routers that have ended"),
            late: metrics.counter("snapshots_late", "Snapshots that began more than 5 s after their moment"),
            skipped: metrics
                .counter("snapshots_skipped", "Snapshots left out because the one before still went on"),
            lateness: metrics.seconds("snapshot_lateness", "How long after its moment a snapshot begins"),
            lasted: metrics.seconds("snapshot", "How long a snapshot takes"),
            said: metrics.counter("samples_said", "Samples that were stored"),
            lost: metrics.counter("samples_lost", "Samples that could not be stored in time"),
            routers: metrics.gauge("snapshot_routers", "Routers that are read on a schedule"),
        }
    }
}

/// When a router is read.
#[derive(Debug, Default)]
struct Turn {
    tenant: TenantId,
    last_ms: Option<u64>,
    is_running: bool,
}

/// Takes snapshots.
pub(crate) struct Snapshots {
    reach: Reach,
    log: Log,
    counted: Counted,
    slots: watch::Receiver<Slots>,
    at_once: Arc<Room>,
    every_ms: u64,
    turns: HashMap<NodeId, Turn>,
    due: BinaryHeap<Reverse<(u64, NodeId)>>,
    tasks: TaskTracker,
}

impl Snapshots {
    /// Of every router in the slots that are ours, `at_once` at a time.
    pub(crate) fn new(
        reach: Reach,
        log: Log,
        metrics: &Metrics,
        slots: watch::Receiver<Slots>,
        at_once: usize,
        every: Duration,
    ) -> Self {
        Self {
            reach,
            log,
            counted: Counted::new(metrics),
            slots,
            at_once: Arc::new(Room::new(at_once)),
            every_ms: u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1),
            turns: HashMap::new(),
            due: BinaryHeap::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Reads until `stop`; what is being read then is given up.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut version = self.reach.roster.version();
        let (done, mut ended) = mpsc::unbounded_channel();
        self.plan();
        loop {
            let next_ms = self.due.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.slots.changed() => match changed {
                    Ok(()) => self.plan(),
                    Err(_) => break,
                },
                changed = version.changed() => match changed {
                    Ok(()) => self.plan(),
                    Err(_) => break,
                },
                Some(router) = ended.recv() => {
                    if let Some(turn) = self.turns.get_mut(&router) {
                        turn.is_running = false;
                    }
                }
                () = until(next_ms) => self.begin_due(&stop, &done),
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Works out which routers are read and when.
    fn plan(&mut self) {
        let slots = *self.slots.borrow_and_update();
        let wanted = self.reach.roster.routers(slots);
        self.turns.retain(|router, _| wanted.contains_key(router));
        for (router, tenant) in wanted {
            self.turns.entry(router).or_default().tenant = tenant;
        }
        self.counted.routers.set(i64::try_from(self.turns.len()).unwrap_or(i64::MAX));
        let now = now_ms();
        let next = |(router, turn): (&NodeId, &Turn)| {
            Reverse((next_ms(now, turn.last_ms, offset_ms(*router, self.every_ms), self.every_ms), *router))
        };
        self.due = self.turns.iter().map(next).collect();
    }

    fn begin_due(&mut self, stop: &CancellationToken, done: &mpsc::UnboundedSender<NodeId>) {
        let now = now_ms();
        while let Some(Reverse((due_ms, router))) = self.due.peek().copied() {
            if due_ms > now {
                break;
            }
            self.due.pop();
            let Some(turn) = self.turns.get_mut(&router) else { continue };
            turn.last_ms = Some(due_ms);
            let next = next_ms(now, turn.last_ms, offset_ms(router, self.every_ms), self.every_ms);
            self.due.push(Reverse((next, router)));
            if !self.slots.borrow().has(slot_of(router)) {
                continue; // Lost a moment ago; the plan follows.
            }
            if std::mem::replace(&mut turn.is_running, true) {
                self.counted.skipped.inc();
                continue;
            }
            let one = One {
                reach: self.reach.clone(),
                log: self.log.clone(),
                counted: self.counted.clone(),
                at_once: Arc::clone(&self.at_once),
                tenant: turn.tenant,
                router,
                due_ms,
            };
            let (stop, done) = (stop.clone(), done.clone());
            self.tasks.spawn(async move {
                stop.run_until_cancelled(one.run()).await;
                // Nobody listens any more when the keeper ends.
                let _listening = done.send(router);
            });
        }
    }
}

/// One router's turn.
struct One {
    reach: Reach,
    log: Log,
    counted: Counted,
    at_once: Arc<Room>,
    tenant: TenantId,
    router: NodeId,
    due_ms: u64,
}

impl One {
    async fn run(self) {
        let _place = self.at_once.place().await;
        let (at, begun) = (now(), Instant::now());
        let late = Duration::from_millis(now_ms().saturating_sub(self.due_ms));
        self.counted.lateness.observe(late.as_secs_f64());
        self.counted.late.inc_by(u64::from(late > LATE));
        let taken = match self.reach.line(self.tenant, self.router) {
            Ok(line) if line.is_resting() => {
                Err("the last attempts to log in failed, and the next one is not due".into())
            }
            Ok(line) => {
                snapshot::take(&self.reach.roster, (self.tenant, self.router), &line, begun + WITHIN).await
            }
            Err(why) => Err(why),
        };
        self.counted.lasted.observe(begun.elapsed().as_secs_f64());
        let outcome = match &taken {
            Ok(Taken { missing: None, .. }) => "complete",
            Ok(Taken { missing: Some(why), .. }) => {
                tracing::debug!(router = %self.router, why, "a snapshot is not complete");
                "partial"
            }
            Err(why) => {
                tracing::debug!(router = %self.router, why, "no snapshot");
                "failed"
            }
        };
        self.counted.ended.get_or_create(&Ended { outcome }).inc();
        if let Ok(taken) = taken {
            self.say(&taken, at).await;
        }
    }

    async fn say(&self, taken: &Taken, at: Time) {
        let due = Time::from_ms(i64::try_from(self.due_ms).unwrap_or(i64::MAX));
        let log = self.log.within(SAY_WITHIN);
        let source = format!("poller/{}", self.log.config().pop);
        for message in Samples::of_reading(self.router, (due, at), SampleSource::Routeros, &taken.samples) {
            let count = message.samples.len() as u64;
            match log.publish_samples(self.tenant, &source, &message).await {
                Ok(()) => self.counted.said.inc_by(count),
                Err(error) => {
                    tracing::warn!(router = %self.router, %error, "samples were not stored");
                    self.counted.lost.inc_by(count)
                }
            };
        }
    }
}
