//! Deciders: memory, no hands. They hear facts in the order of the log, decide, and say what follows.
//!
//! For each partition of the log a decider reads its nouns from its own position. What a chunk of inputs
//! leads to is written as one atomic batch: what is said, the timers armed, and the *cut* (the new
//! position), which is conditional on the cut before it. So a batch is stored once or not at all, and of
//! two replicas that both believe they are in charge only one can commit; the other one drops its memory
//! and loads it again. Leases only save that work.
//!
//! A chunk that leads to nothing need not be committed at once: the cut follows within a second
//! of input or after 2,000 inputs. Killed before that, those inputs are heard again, and lead to nothing again.
//!
//! What could not be said for lack of room in a commit is *owed*: the decider is asked again as soon as
//! the commit is stored, in turn with new inputs, until nothing is owed. A log that cannot store is waited for
//! without end. Anything else that goes wrong with a chunk (a panic, a refusal) halves it, until one input
//! is alone: that one goes to the dead letters, and the cut moves over it.
//!
//! A partition reads by a consumer of its own up to where the log ended when it began, and then joins the one
//! consumer that all partitions of this replica share. One that is too slow for it leaves again.
//! A partition nobody has said anything in costs nothing.

mod inbox;
mod memory;
mod partition;
mod restate;

use crate::{
    lease::{LeaseConfig, Slots},
    log::{Log, LogError},
    publish::Pause,
    read::{Filter, From},
};
use events::{Decide, Noun, PARTITIONS, Time};
use inbox::Inbox;
use partition::Partition;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How many partitions load their memory at once.
const LOADING_MAX: usize = 8;

/// How long an orderly end may wait for commits that are under way.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How the partitions are shared among replicas.
#[derive(Debug, Clone)]
pub enum Leasing {
    /// Not at all: this one takes all of them, whoever else does.
    Alone,
    /// With the other replicas of the service.
    Shared {
        /// This one's name among them.
        replica: String,
        /// After how long without a sign of life a replica's partitions are taken over.
        expiry: Duration,
    },
}

/// How a decider runs. The defaults are the design's.
#[derive(Debug, Clone)]
pub struct DeciderOptions {
    /// How the partitions are shared.
    pub leasing: Leasing,
    /// The most inputs decided upon at once.
    pub chunk_max: usize,
    /// From the beginning of one commit to that of the next, unless a whole chunk waits or something is
    /// owed. A batch costs the server a store of its own, however little is in it; so what comes one by one
    /// in quick succession is decided upon together. Who comes after a pause waits for nothing.
    pub pace: Duration,
    /// The most messages that wait for one partition; beyond it reads by a consumer of its own.
    pub queue_max: usize,
    /// How long inputs that lead to nothing may go without a cut.
    pub cut_every: Duration,
    /// How many inputs that lead to nothing may go without a cut.
    pub cut_every_inputs: usize,
    /// How often it is looked which standings the log is about to forget.
    pub restate_every: Duration,
    /// How long the last message of a subject counts; none: for ever.
    pub retention: fn(Noun) -> Option<Duration>,
}

impl Default for DeciderOptions {
    fn default() -> Self {
        let LeaseConfig { replica, expiry, .. } = LeaseConfig::new("");
        Self {
            leasing: Leasing::Shared { replica, expiry },
            chunk_max: 800,
            pace: Duration::from_millis(40),
            queue_max: 4_096,
            cut_every: Duration::from_secs(1),
            cut_every_inputs: 2_000,
            restate_every: Duration::from_secs(24 * 3_600),
            retention: restate::retention,
        }
    }
}

/// What deciders have done since the start: for metrics.
#[derive(Debug)]
pub struct DeciderStats {
    /// Inputs heard, those read again at a start not counted.
    pub inputs: AtomicU64,
    /// Facts said.
    pub said: AtomicU64,
    /// Timers armed or disarmed.
    pub timers: AtomicU64,
    /// Batches stored.
    pub commits: AtomicU64,
    /// Commits refused because another replica was faster.
    pub conflicts: AtomicU64,
    /// Commits whose outcome was not known.
    pub unknown: AtomicU64,
    /// Memories loaded.
    pub loads: AtomicU64,
    /// Inputs put into the dead letters because nothing could be decided with them (`fold_stuck`).
    pub stuck: AtomicU64,
    /// Messages put into the dead letters because they could not be read.
    pub undecodable: AtomicU64,
    /// Standings said again because the log was about to forget them.
    pub restated: AtomicU64,
    /// Standings that were too old to be loaded.
    pub expired: AtomicU64,
    /// Times a partition was too slow for the shared consumer.
    pub left: AtomicU64,
    /// The partitions that wait for the log to store again, one bit each.
    waiting: AtomicU64,
    /// Whether the shared consumer reads.
    reading: AtomicBool,
    /// What the shared consumer still has before it.
    shared_pending: AtomicU64,
    /// What each partition has before it by a consumer of its own or in its queue.
    own_pending: Vec<AtomicU64>,
}

impl DeciderStats {
    fn new() -> Self {
        let zero = AtomicU64::default;
        Self {
            inputs: zero(),
            said: zero(),
            timers: zero(),
            commits: zero(),
            conflicts: zero(),
            unknown: zero(),
            loads: zero(),
            stuck: zero(),
            undecodable: zero(),
            restated: zero(),
            expired: zero(),
            left: zero(),
            waiting: zero(),
            reading: AtomicBool::new(false),
            shared_pending: zero(),
            own_pending: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How many messages lie before it, as far as it knows.
    pub fn lag(&self) -> u64 {
        let own: u64 = self.own_pending.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        own + self.shared_pending.load(Ordering::Relaxed)
    }

    /// How many partitions wait for the log to store again.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed).count_ones()
    }

    /// Whether it can work: for `/readyz`.
    pub fn is_ready(&self) -> bool {
        self.reading.load(Ordering::Relaxed) && self.waiting() == 0
    }

    fn set_waiting(&self, part: u16, waits: bool) {
        let bit = 1_u64 << part;
        if waits {
            self.waiting.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.waiting.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// What is to happen after a commit that was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing special.
    GoOn,
    /// All memory of the partition is lost, as if killed here.
    Forget,
}

/// Watches a decider: for tests of its promises.
pub trait Observe: Send + Sync + 'static {
    /// The memory of a partition was loaded up to `position`.
    fn loaded(&self, part: u16, position: u64, digest: u64);
    /// A commit was stored and applied; the memory stands at `position`.
    fn committed(&self, part: u16, position: u64, digest: u64) -> Then;
}

/// Why a decider cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum DeciderError {
    /// The log cannot be read.
    #[error("reading the log")]
    Log(#[from] LogError),
    /// A cut was made in another stream: its position means nothing here. `mastwatch relay` translates cuts.
    #[error(
        "the cut of `{service}` in partition {part} was made in another stream, at {then}, this one is of {now}"
    )]
    ForeignCut {
        /// Whose cut.
        service: &'static str,
        /// Of which partition.
        part: u16,
        /// When the cut's stream was made.
        then: Time,
        /// When this stream was made.
        now: Time,
    },
}

/// One service that decides: a [`Decide`] for every partition that has anything in it.
pub struct Decider<D> {
    log: Log,
    make: Arc<Make<D>>,
    options: DeciderOptions,
    stats: Arc<DeciderStats>,
    observer: Option<Arc<dyn Observe>>,
}

type Make<D> = dyn Fn(u16) -> D + Send + Sync;

/// What all partitions of one decider share.
struct Common<D> {
    log: Log,
    make: Arc<Make<D>>,
    options: DeciderOptions,
    stats: Arc<DeciderStats>,
    observer: Option<Arc<dyn Observe>>,
    inboxes: Vec<Inbox>,
    /// Everything for us up to here has gone to the inboxes.
    frontier: AtomicU64,
    stream_made: Time,
    loading: Semaphore,
    /// Partitions that were asleep and have been spoken to.
    calls: mpsc::UnboundedSender<u16>,
}

impl<D: Decide> Decider<D> {
    /// A decider whose memory of a partition begins as `make` makes it.
    pub fn new(log: Log, make: impl Fn(u16) -> D + Send + Sync + 'static) -> Self {
        Self {
            log,
            make: Arc::new(make),
            options: DeciderOptions::default(),
            stats: Arc::new(DeciderStats::new()),
            observer: None,
        }
    }

    /// Running as `options` say.
    #[must_use]
    pub fn with(mut self, options: DeciderOptions) -> Self {
        self.options = options;
        self
    }

    /// Watched by `observer`: digests are worked out after every commit, which costs time.
    #[must_use]
    pub fn observed(mut self, observer: Arc<dyn Observe>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// What it has done, as it goes on.
    pub fn stats(&self) -> Arc<DeciderStats> {
        self.stats.clone()
    }

    /// Runs until `stop`; then finishes the commits that are under way and gives its partitions back.
    ///
    /// # Errors
    ///
    /// [`DeciderError`]: it cannot run on this log. A log that is away for a while is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DeciderError> {
        let state = loop {
            match self.log.state().await {
                Ok(state) => break state,
                Err(error) => tracing::info!(%error, service = D::NAME, "waiting for the log"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(250)) => {}
            }
        };
        let (calls, called) = mpsc::unbounded_channel();
        let queue_max = self.options.queue_max;
        let common = Arc::new(Common {
            log: self.log.clone(),
            make: self.make,
            stats: self.stats,
            observer: self.observer,
            inboxes: (0..PARTITIONS).map(|_| Inbox::new(queue_max)).collect(),
            frontier: AtomicU64::new(state.last_seq),
            stream_made: state.made,
            loading: Semaphore::new(LOADING_MAX),
            calls,
            options: self.options,
        });
        let lease = match &common.options.leasing {
            Leasing::Alone => None,
            Leasing::Shared { replica, expiry } => {
                let config =
                    LeaseConfig { replica: replica.clone(), expiry: *expiry, ..LeaseConfig::new(D::NAME) };
                Some(self.log.lease(config))
            }
        };
        let held = match &lease {
            Some(lease) => lease.held(),
            None => watch::channel(Slots::ALL).1,
        };
        let outcome = coordinate(common.clone(), held, called, stop).await;
        common.stats.reading.store(false, Ordering::Relaxed);
        if let Some(lease) = lease {
            lease.release().await;
        }
        outcome
    }
}

/// How a partition's task ended.
type Ended = (u16, Result<(), DeciderError>);

async fn coordinate<D: Decide>(
    common: Arc<Common<D>>,
    mut held: watch::Receiver<Slots>,
    mut called: mpsc::UnboundedReceiver<u16>,
    stop: CancellationToken,
) -> Result<(), DeciderError> {
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    let mut running: BTreeMap<u16, CancellationToken> = BTreeMap::new();
    let mut holds = Slots::NONE;
    let dispatching = dispatch(&common);
    tokio::pin!(dispatching);
    let mut outcome = Ok(());
    loop {
        let now_held = *held.borrow_and_update();
        for part in holds.without(now_held).iter() {
            common.inboxes[usize::from(part)].let_go();
            if let Some(stop) = running.get(&part) {
                stop.cancel();
            }
        }
        for part in now_held.without(holds).iter() {
            start(&common, part, &mut running, &mut tasks);
        }
        holds = now_held;
        tokio::select! {
            () = stop.cancelled() => break,
            error = &mut dispatching => {
                outcome = Err(error);
                break;
            }
            changed = held.changed(), if held.has_changed().is_ok() => drop(changed),
            Some(part) = called.recv() => {
                if holds.has(part) {
                    start(&common, part, &mut running, &mut tasks);
                }
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok((part, Ok(()))) => {
                    running.remove(&part);
                    // It fell asleep; it may have been spoken to, or given back and got again, meanwhile.
                    if holds.has(part) && !common.inboxes[usize::from(part)].is_asleep() {
                        start(&common, part, &mut running, &mut tasks);
                    }
                }
                Ok((_, Err(error))) => {
                    outcome = Err(error);
                    break;
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
        }
    }
    for stop in running.values() {
        stop.cancel();
    }
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(END_WITHIN, all_ended).await.is_err() {
        tracing::warn!(service = D::NAME, "ending without waiting for commits any longer");
    }
    outcome
}

fn start<D: Decide>(
    common: &Arc<Common<D>>,
    part: u16,
    running: &mut BTreeMap<u16, CancellationToken>,
    tasks: &mut JoinSet<Ended>,
) {
    if running.contains_key(&part) {
        return;
    }
    let stop = CancellationToken::new();
    running.insert(part, stop.clone());
    common.inboxes[usize::from(part)].wake();
    let partition = Partition::new(part, common.clone());
    tasks.spawn(async move { (part, partition.run(stop).await) });
}

/// Reads for all partitions and puts each message into its partition's inbox. Ends only by an error.
async fn dispatch<D: Decide>(common: &Arc<Common<D>>) -> DeciderError {
    let from = From::Seq(common.frontier.load(Ordering::Acquire) + 1);
    let mut reader = common.log.read(&heard_by::<D>(None), from, None);
    let mut pause = Pause::default();
    common.stats.reading.store(true, Ordering::Relaxed);
    loop {
        let chunk = match reader.next_chunk(common.options.chunk_max).await {
            Ok(chunk) => chunk,
            Err(error) => return error.into(),
        };
        if chunk.is_empty() {
            tokio::time::sleep(pause.next()).await;
        }
        for raw in chunk {
            let Some(part) = raw.part() else { continue };
            // First the frontier, then the inbox: who joins in between gets the message twice, not never.
            common.frontier.store(raw.seq, Ordering::Release);
            if common.inboxes[usize::from(part)].offer(raw) {
                let _receiver_lives_as_long_as_this = common.calls.send(part);
            }
        }
        common.stats.shared_pending.store(reader.pending(), Ordering::Relaxed);
    }
}

/// What every decider hears beside its own nouns: the inventory, its parts and revisions.
const INVENTORY: [Noun; 3] = [Noun::Inventory, Noun::Part, Noun::Revision];

fn inventory(part: Option<u16>) -> Vec<Filter> {
    INVENTORY.into_iter().map(|noun| of_part(Filter::noun(noun), part)).collect()
}

/// Everything `D` hears: the inventory, its nouns, and its own timers.
fn heard_by<D: Decide>(part: Option<u16>) -> Vec<Filter> {
    let mut filters = inventory(part);
    for noun in D::HEARS {
        if !INVENTORY.contains(noun) && *noun != Noun::Due {
            filters.push(of_part(Filter::noun(*noun), part));
        }
    }
    filters.push(of_part(Filter::noun(Noun::Due).below(D::NAME), part));
    filters
}

/// What `D` loads of what it said. An ask is no memory.
fn said_by<D: Decide>(part: u16) -> Vec<Filter> {
    D::SAYS.iter().filter(|noun| **noun != Noun::Ask).map(|noun| Filter::noun(*noun).part(part)).collect()
}

fn of_part(filter: Filter, part: Option<u16>) -> Filter {
    match part {
        Some(part) => filter.part(part),
        None => filter,
    }
}
