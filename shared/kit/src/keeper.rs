//! Keepers: they hold what cannot be copied, such as sessions with routers.
//!
//! A point of presence spreads what it watches over 64 slots; each slot is leased to one replica, which alone
//! is asked to probe for it. All asks of the point of presence are read by one consumer per replica, from as
//! far back as an ask lives. Those of slots that are another replica's are kept until their deadline:
//! if it dies, they are answered here.
//!
//! A slot that was just taken over is quiet for one probe deadline, because its former holder may not know
//! yet. Two may still answer one ask: answers carry its id, and the first counts.

use crate::{
    lease::{LeaseConfig, Slots},
    log::{Log, LogError},
    message::Raw,
    read::From,
};
use events::{Ask, EventId, Fact, Noun, TenantId, Time, slot_of};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How a keeper runs.
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    /// This replica's name among the keepers of its point of presence.
    pub replica: String,
    /// After how long without a sign of life a replica's slots are taken over.
    pub expiry: Duration,
    /// How long a slot is quiet after it was taken over: the longest a probe takes.
    pub probe_deadline: Duration,
    /// How far back asks are read at a start.
    pub ask_lifetime: Duration,
    /// The most asks that wait for a slot of another replica, or for this one to take them.
    pub asks_max: usize,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        let LeaseConfig { replica, expiry, .. } = LeaseConfig::new("");
        Self {
            replica,
            expiry,
            probe_deadline: Duration::from_secs(2),
            ask_lifetime: Duration::from_secs(60),
            asks_max: 10_000,
        }
    }
}

/// One ask for a slot that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which slot.
    pub slot: u16,
    /// What is wanted.
    pub ask: Ask,
    /// The event that asked: the cause of the answer.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When it was asked.
    pub heard: Time,
    /// The first event of its chain.
    pub correlation: Option<EventId>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// What a keeper is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperEvent {
    /// The slot is this replica's, and its former holder has fallen silent.
    Gained(u16),
    /// The slot is another replica's: stop everything that belongs to it.
    Lost(u16),
    /// A probe is wanted.
    Asked(Box<Asked>),
}

/// What a keeper has done since the start: for metrics.
#[derive(Debug, Default)]
pub struct KeeperStats {
    /// Asks handed out.
    pub asked: AtomicU64,
    /// Asks whose deadline passed before anybody could take them.
    pub late: AtomicU64,
    /// Asks dropped because too many waited.
    pub dropped: AtomicU64,
    /// Messages put into the dead letters because they could not be read.
    pub undecodable: AtomicU64,
}

/// A replica's part in watching a point of presence.
#[derive(Debug)]
pub struct Keeper {
    events: mpsc::Receiver<KeeperEvent>,
    settled: watch::Receiver<Slots>,
    stats: Arc<KeeperStats>,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), LogError>>>,
}

/// Dropped, it ends at once; its slots are free when they expire.
impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Keeper {
    /// Takes part, as `service`, in watching the point of presence the log is configured for.
    pub fn start(log: &Log, service: &'static str, options: KeeperOptions) -> Keeper {
        let (told, events) = mpsc::channel(options.asks_max.clamp(1, 1_024));
        let (settling, settled) = watch::channel(Slots::NONE);
        let (stats, stop) = (Arc::new(KeeperStats::default()), CancellationToken::new());
        let desk = Desk {
            log: log.clone(),
            service,
            options,
            told,
            settling,
            stats: stats.clone(),
            held: Slots::NONE,
            quiet: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        let task = tokio::spawn(desk.run(stop.clone()));
        Keeper { events, settled, stats, stop, task: Some(task) }
    }

    /// What comes next; none when the keeper has ended. Can be dropped and asked again.
    pub async fn next(&mut self) -> Option<KeeperEvent> {
        self.events.recv().await
    }

    /// The slots this replica works on at this moment. Events may lag behind: ask this before a probe.
    pub fn slots(&self) -> watch::Receiver<Slots> {
        self.settled.clone()
    }

    /// What it has done, as it goes on.
    pub fn stats(&self) -> Arc<KeeperStats> {
        self.stats.clone()
    }

    /// Gives the slots back and ends.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the keeper had ended by itself because the log cannot be read.
    pub async fn stop(mut self) -> Result<(), LogError> {
        self.stop.cancel();
        self.events.close();
        let Some(task) = self.task.take() else { return Ok(()) };
        match task.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(()),
            },
        }
    }
}

struct Desk {
    log: Log,
    service: &'static str,
    options: KeeperOptions,
    told: mpsc::Sender<KeeperEvent>,
    settling: watch::Sender<Slots>,
    stats: Arc<KeeperStats>,
    held: Slots,
    /// Slots that were just taken over, and until when they are quiet.
    quiet: BTreeMap<u16, Instant>,
    /// Asks for slots that are not ours yet, in the order of the log.
    waiting: VecDeque<Asked>,
}

impl Desk {
    async fn run(mut self, stop: CancellationToken) -> Result<(), LogError> {
        let pop = self.log.config().pop.clone();
        let group = format!("{}.{pop}", self.service);
        let lease = self.log.lease(LeaseConfig {
            replica: self.options.replica.clone(),
            expiry: self.options.expiry,
            strict: true,
            ..LeaseConfig::new(group)
        });
        let mut held = lease.held();
        let since = now().plus_ms(-i64::try_from(self.options.ask_lifetime.as_millis()).unwrap_or(i64::MAX));
        let filter = format!("mw.*.*.{}.{pop}.>", Noun::Ask.token());
        let mut asks = self.log.read_subjects(vec![filter], From::Time(since), None);
        let outcome = loop {
            let settles = self.quiet.values().min().copied();
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                changed = held.changed() => {
                    if changed.is_err() {
                        break Ok(());
                    }
                    let now_held = *held.borrow_and_update();
                    self.hold(now_held).await;
                }
                () = at(settles) => self.settle().await,
                raw = asks.next() => match raw {
                    Ok(Some(raw)) => self.take_in(raw).await,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
            }
        };
        self.settling.send_replace(Slots::NONE);
        lease.release().await;
        outcome
    }

    async fn hold(&mut self, held: Slots) {
        let (lost, gained) = (self.held.without(held), held.without(self.held));
        self.held = held;
        let until = Instant::now() + self.options.probe_deadline;
        self.quiet.retain(|slot, _| held.has(*slot));
        let settled = *self.settling.borrow();
        self.settling.send_replace(settled.without(lost));
        for slot in lost.iter().filter(|slot| settled.has(*slot)) {
            self.tell(KeeperEvent::Lost(slot)).await;
        }
        for slot in gained.iter() {
            self.quiet.insert(slot, until);
        }
    }

    /// Begins to work on slots that have been quiet long enough.
    async fn settle(&mut self) {
        let now_is = Instant::now();
        let ripe: Vec<u16> =
            self.quiet.iter().filter(|(_, until)| **until <= now_is).map(|(slot, _)| *slot).collect();
        for slot in &ripe {
            self.quiet.remove(slot);
        }
        let settled = self.held.without(self.quiet.keys().copied().collect());
        self.settling.send_replace(settled);
        for slot in &ripe {
            self.tell(KeeperEvent::Gained(*slot)).await;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for asked in waiting {
            self.hand_out(asked).await;
        }
    }

    async fn take_in(&mut self, raw: Raw) {
        let heard = match raw.decode() {
            Ok(heard) => heard,
            Err(error) => {
                self.stats.undecodable.fetch_add(1, Ordering::Relaxed);
                self.log.bury(self.service, &raw, &crate::log::chain(&error)).await;
                return;
            }
        };
        let Fact::Ask(ask) = heard.fact else { return };
        self.hand_out(Asked {
            slot: slot_of(ask.via()),
            ask,
            id: heard.id,
            tenant: heard.tenant,
            heard: heard.heard,
            correlation: raw.correlation(),
            traceparent: raw.traceparent().map(str::to_owned),
        })
        .await;
    }

    /// Hands an ask out if its slot is ours, keeps it otherwise; late ones mean nothing.
    async fn hand_out(&mut self, asked: Asked) {
        if asked.ask.deadline < now() {
            self.stats.late.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.settling.borrow().has(asked.slot) {
            self.stats.asked.fetch_add(1, Ordering::Relaxed);
            self.tell(KeeperEvent::Asked(Box::new(asked))).await;
            return;
        }
        self.waiting.push_back(asked);
        let before = self.waiting.len();
        if before > self.options.asks_max {
            let at = now();
            self.waiting.retain(|asked| asked.ask.deadline >= at);
            self.stats.late.fetch_add((before - self.waiting.len()) as u64, Ordering::Relaxed);
            while self.waiting.len() > self.options.asks_max {
                self.waiting.pop_front();
                self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn tell(&self, event: KeeperEvent) {
        // A keeper that is being stopped does not listen any more.
        drop(self.told.send(event).await);
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// A keeper may look at the clock: what it does is no decision.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_us(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
