//! Static subscribers: no session and no script tells of them, so each is pinged through the router that sees it.
//!
//! The router sends the echo, not this host: private ranges overlap, and an address means something only to the router
//! that it is behind. Each subscriber has a moment of its own within the interval. A ping is three tries; what it
//! finds is claimed when it has changed, and said again every few minutes.
//!
//! A router that does not answer says nothing of those behind it: they are left alone for a while, and of each what is
//! found first after that is said, whatever it is. Nothing is believed because it is said here: a claim is
//! looked into like any other.

mod doors;
mod look;

use self::{
    doors::Doors,
    look::{After, Found, Look},
};
use crate::{
    heartbeats::attest_after,
    known::{self, Static},
    reach::Reach,
    schedule::{next_ms, now_ms, offset_ms, until},
    voice::Voice,
};
use events::{Claim, NodeId, slot_of};
use kit::{Slots, admin::Metrics};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// For how long those behind a router that was silent are left alone.
const REST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    /// `replied`, `silent`, `router_silent`, `too_early`, `no_address`, `refused`, `not_tried`.
    outcome: &'static str,
}

/// What is counted of static subscribers.
#[derive(Debug, Clone)]
struct Counted {
    subscribers: Gauge,
    waiting: Gauge,
    ended: Family<Ended, Counter>,
    skipped: Counter,
    lateness: Histogram,
}

impl Counted {
    fn new(metrics: &Metrics) -> Self {
        Self {
            subscribers: metrics.gauge(
                "static_subscribers",
                "Subscribers without a session that may be pinged through a router",
            ),
            waiting: metrics.gauge("static_pings_waiting", "Static subscribers that wait for their router"),
            ended: metrics.counters("static_pings", "Pings of static subscribers that have ended"),
            skipped: metrics.counter(
                "static_pings_skipped",
                "Pings left out because the one before still went on, or the router was silent a moment ago",
            ),
            lateness: metrics.seconds("static_ping_lateness", "How long after its moment a ping begins"),
        }
    }
}

/// When a subscriber is pinged, and what was said of it.
#[derive(Debug)]
struct Turn {
    one: Static,
    last_ms: Option<u64>,
    /// It waits or is being pinged.
    is_busy: bool,
    said: Option<(Claim, Instant)>,
}

/// A ping that has ended.
struct Done {
    one: Static,
    found: Found,
    after: After,
}

/// How static subscribers are pinged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How often each is.
    pub(crate) every: Duration,
    /// How often what was said of it is said again.
    pub(crate) attest_every: Duration,
    /// Pings that are under way at once.
    pub(crate) at_once: usize,
    /// The same at one router.
    pub(crate) at_once_each: usize,
}

/// Pings static subscribers.
pub(crate) struct Statics {
    reach: Reach,
    voice: Voice,
    counted: Counted,
    slots: watch::Receiver<Slots>,
    pace: Pace,
    every_ms: u64,
    turns: HashMap<NodeId, Turn>,
    due: BinaryHeap<Reverse<(u64, NodeId)>>,
    doors: Doors,
    /// Until when those behind a router are left alone.
    rests: HashMap<NodeId, Instant>,
    tasks: TaskTracker,
}

impl Statics {
    /// Everybody behind routers in the slots that are ours.
    pub(crate) fn new(
        reach: Reach,
        voice: Voice,
        metrics: &Metrics,
        slots: watch::Receiver<Slots>,
        pace: Pace,
    ) -> Self {
        Self {
            reach,
            voice,
            counted: Counted::new(metrics),
            slots,
            pace,
            every_ms: u64::try_from(pace.every.as_millis()).unwrap_or(u64::MAX).max(1),
            turns: HashMap::new(),
            due: BinaryHeap::new(),
            doors: Doors::new(pace.at_once, pace.at_once_each),
            rests: HashMap::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Pings until `stop`; what is under way then is given up.
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
                Some(done) = ended.recv() => self.note(&done),
                () = until(next_ms) => self.take_due(),
            }
            self.begin(&stop, &done);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Works out who is pinged and when.
    fn plan(&mut self) {
        let slots = *self.slots.borrow_and_update();
        let wanted = known::statics(&self.reach.roster, slots);
        let ids: HashSet<NodeId> = wanted.iter().map(|one| one.subscriber).collect();
        self.turns.retain(|subscriber, _| ids.contains(subscriber));
        for one in wanted {
            let turn = self.turns.entry(one.subscriber).or_insert(Turn {
                one,
                last_ms: None,
                is_busy: false,
                said: None,
            });
            if turn.one != one {
                // What was said was said of it behind another router. What goes on there ends unheard.
                *turn = Turn { one, last_ms: turn.last_ms, is_busy: false, said: None };
            }
        }
        self.counted.subscribers.set(as_i64(self.turns.len()));
        self.rests.retain(|_, until| *until > Instant::now());
        let now = now_ms();
        let next = |(subscriber, turn): (&NodeId, &Turn)| {
            let offset = offset_ms(*subscriber, self.every_ms);
            Reverse((next_ms(now, turn.last_ms, offset, self.every_ms), *subscriber))
        };
        self.due = self.turns.iter().map(next).collect();
    }

    /// Has those whose moment has come wait at their routers.
    fn take_due(&mut self) {
        let now = now_ms();
        while let Some(Reverse((due_ms, subscriber))) = self.due.peek().copied() {
            if due_ms > now {
                break;
            }
            self.due.pop();
            let Some(turn) = self.turns.get_mut(&subscriber) else { continue };
            turn.last_ms = Some(due_ms);
            let offset = offset_ms(subscriber, self.every_ms);
            self.due.push(Reverse((next_ms(now, turn.last_ms, offset, self.every_ms), subscriber)));
            let router = turn.one.router;
            if !self.slots.borrow().has(slot_of(router)) {
                continue; // Lost a moment ago; the plan follows.
            }
            let rests = self.rests.get(&router).is_some_and(|until| *until > Instant::now());
            if turn.is_busy || rests {
                self.counted.skipped.inc();
                continue;
            }
            turn.is_busy = true;
            self.doors.wait(router, subscriber);
        }
    }

    /// Begins as many pings as there is room for.
    fn begin(&mut self, stop: &CancellationToken, done: &mpsc::UnboundedSender<Done>) {
        while let Some((router, subscriber)) = self.doors.next() {
            let turn = self.turns.get(&subscriber).filter(|turn| turn.one.router == router);
            let Some(turn) = turn else {
                self.doors.left(router); // Gone, or behind another router now.
                continue;
            };
            let late_ms = now_ms().saturating_sub(turn.last_ms.unwrap_or(u64::MAX));
            self.counted.lateness.observe(Duration::from_millis(late_ms).as_secs_f64());
            let restate_after = attest_after(subscriber, self.pace.attest_every);
            let look = Look {
                reach: self.reach.clone(),
                voice: self.voice.clone(),
                tenant: turn.one.tenant,
                router,
                subscriber,
                said: turn.said.map(|(claim, _)| claim),
                is_due: turn.said.is_none_or(|(_, at)| at.elapsed() >= restate_after),
            };
            let (one, stop, done) = (turn.one, stop.clone(), done.clone());
            self.tasks.spawn(async move {
                if let Some((found, after)) = stop.run_until_cancelled(look.run()).await {
                    // Nobody listens any more when the keeper ends.
                    let _listening = done.send(Done { one, found, after });
                }
            });
        }
        self.counted.waiting.set(as_i64(self.doors.waiting()));
    }

    fn note(&mut self, done: &Done) {
        let Static { router, subscriber, .. } = done.one;
        self.counted.ended.get_or_create(&Ended { outcome: done.found.name() }).inc();
        self.doors.left(router);
        if let Some(turn) = self.turns.get_mut(&subscriber).filter(|turn| turn.one == done.one) {
            turn.is_busy = false;
            match done.after {
                After::AsBefore => {}
                After::Said(claim) => turn.said = Some((claim, Instant::now())),
                After::Unsure => turn.said = None,
            }
        }
        if done.found == Found::RouterSilent {
            self.leave_alone(router);
        }
    }

    /// A router is silent: those who wait there are sent away, and what was said of anybody behind it holds no more.
    fn leave_alone(&mut self, router: NodeId) {
        self.rests.insert(router, Instant::now() + REST);
        for sent_away in self.doors.clear(router) {
            self.counted.skipped.inc();
            if let Some(turn) = self.turns.get_mut(&sent_away).filter(|turn| turn.one.router == router) {
                turn.is_busy = false;
            }
        }
        self.turns.values_mut().filter(|turn| turn.one.router == router).for_each(|turn| turn.said = None);
    }
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
