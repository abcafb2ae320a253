//! Rows made from the log, with the place they were made up to beside them.
//!
//! Each partition has a position of its own, moved in the transaction that writes the rows. A partition
//! first reads by itself from there to the end of the log as it was, then takes its part of the one
//! reading that all partitions share. One that cannot keep up leaves that reading and catches
//! up by itself; so a slow or huge tenant holds up nobody else.
//!
//! The log is the buffer: while Postgres is away nothing is read that could not be kept, and nothing is
//! lost. What a database refuses for good is narrowed down to the one event at fault, which goes to
//! the dead letters; the rest flows on.

use crate::{
    log::{Log, LogError},
    message::Raw,
    postgres::{self, Place, Trouble, move_position},
    read::{Filter, From},
    run::Service,
};
use events::{EventId, Heard, Noun, PARTITIONS, TenantId, Time};
use futures::FutureExt;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use sqlx::PgPool;
use std::{
    collections::{BTreeMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Events a partition may have waiting before it leaves the shared reading.
const QUEUE_MAX: usize = 4_000;

/// Bytes that all partitions together may have waiting.
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of events in one transaction.
const CHUNK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Events the reader hands over at once.
const READ_MAX: usize = 500;

/// Partitions that catch up by themselves at the same time.
const CATCHING_UP_MAX: usize = 8;

/// The pause after a failed write, growing up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A read model: which events it is made from, and how they become rows.
pub trait Project: Send + Sync + 'static {
    /// Its name: in positions, figures and dead letters.
    const MODEL: &'static str;
    /// What it is made from.
    const HEARS: &'static [Noun];

    /// Writes the rows of `chunk` and moves the position over it, in one transaction, or neither.
    ///
    /// `Ok(false)`: the position was not at `chunk.place.from` any more, and nothing was written.
    fn write(&self, pool: &PgPool, chunk: &Chunk) -> impl Future<Output = sqlx::Result<bool>> + Send;
}

/// A stretch of one partition, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it lies.
    pub place: Place,
    /// What was said, in the order of the log.
    pub told: Vec<Told>,
}

/// One event as a projection hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The event.
    pub heard: Arc<Heard>,
    /// The key of its subject.
    pub key: String,
    /// What it followed from.
    pub cause: Option<EventId>,
    /// The first of the chain it belongs to.
    pub correlation: Option<EventId>,
    /// When the log forgets it; `None`: never.
    pub kept_until: Option<Time>,
}

impl Chunk {
    /// What was said, by tenant, in the order of the log.
    pub fn by_tenant(&self) -> BTreeMap<TenantId, Vec<&Told>> {
        let mut tenants: BTreeMap<TenantId, Vec<&Told>> = BTreeMap::new();
        for told in &self.told {
            tenants.entry(told.heard.tenant).or_default().push(told);
        }
        tenants
    }

    /// Of each thing only what was said last, by tenant, in the order of noun and key: one statement cannot
    /// write the same row twice.
    pub fn last_per_tenant_and_key(&self) -> BTreeMap<TenantId, Vec<&Told>> {
        let mut last: BTreeMap<(TenantId, Noun, &str), &Told> = BTreeMap::new();
        for told in &self.told {
            last.insert((told.heard.tenant, told.heard.fact.noun(), &told.key), told);
        }
        let mut tenants: BTreeMap<TenantId, Vec<&Told>> = BTreeMap::new();
        for ((tenant, ..), told) in last {
            tenants.entry(tenant).or_default().push(told);
        }
        tenants
    }
}

/// Why a projection ended although nobody told it to.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The log cannot be read at all.
    #[error("reading the log for the read model `{model}`")]
    Log {
        /// Which model.
        model: &'static str,
        /// Why.
        source: LogError,
    },
    /// The rows were made from another log, or from one that has lost its end.
    #[error(
        "the read model `{model}` stands at {position} in partition {part}, but the log ends at {end}: \
         it was made from another log, and must be rebuilt"
    )]
    Ahead {
        /// Which model.
        model: &'static str,
        /// In which partition.
        part: u16,
        /// Where it stands.
        position: u64,
        /// Where the log ends.
        end: u64,
    },
}

/// How a read model is kept up with the log.
#[derive(Debug)]
pub struct Projection<P> {
    project: P,
    chunk_max: usize,
    linger: Duration,
}

impl<P: Project> Projection<P> {
    /// Keeps `project`: up to 2,000 events or 50 ms in one transaction.
    pub fn new(project: P) -> Self {
        Self { project, chunk_max: 2_000, linger: Duration::from_millis(50) }
    }

    /// At most `events` in one transaction.
    #[must_use]
    pub fn chunk_max(mut self, events: usize) -> Self {
        self.chunk_max = events.max(1);
        self
    }

    /// How long an event may wait for others to be written with.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Keeps the model up with the log until the service is told to stop.
    ///
    /// # Errors
    ///
    /// [`ProjectionError`]. Postgres or the log being away is none: it is waited for.
    pub async fn run(self, service: &Service, pool: PgPool) -> Result<(), ProjectionError> {
        let model = P::MODEL;
        let metrics = service.metrics.under(model);
        let caught_up = service.readiness.part(model);
        caught_up.not_ready("catching up with the log");
        let shared = Arc::new(Shared {
            project: self.project,
            pool,
            log: service.log.clone(),
            mourner: format!("{}-{model}", service.name),
            stop: service.stop.clone(),
            postgres: service.readiness.part(&format!("{model}/postgres")),
            chunk_max: self.chunk_max,
            linger: self.linger,
            table: Mutex::new(Table { read_up_to: 0, queues: BTreeMap::new() }),
            queued_bytes: AtomicUsize::new(0),
            catching_up: Semaphore::new(CATCHING_UP_MAX),
            away: AtomicUsize::new(0),
            stats: Stats {
                events: metrics.counter("events", "Events written"),
                chunks: metrics.counter("chunks", "Transactions that wrote them"),
                outrun: metrics.counter("outrun", "Transactions given up because somebody was faster"),
                retries: metrics.counter("retries", "Transactions that failed and were tried again"),
                dead: metrics
                    .counter("dead", "Events that could not be written and went to the dead letters"),
                alone: metrics.gauge("partitions_catching_up", "Partitions that read by themselves"),
                write: metrics.seconds("write", "Time to write one chunk"),
                behind: metrics.register(
                    "behind",
                    "Age of the event written last, when it was written",
                    Some(prometheus_client::registry::Unit::Seconds),
                    Gauge::<f64, AtomicU64>::default,
                ),
            },
        });
        let fail = |source| ProjectionError::Log { model, source };
        let Some(positions) =
            shared.insist(|pool| async move { postgres::positions(&pool, model).await }).await
        else {
            return Ok(());
        };
        let Some(end) = shared.end_of_log().await else { return Ok(()) };
        if let Some((part, position)) = positions.iter().find(|(_, position)| **position > end) {
            return Err(ProjectionError::Ahead { model, part: *part, position: *position, end });
        }
        shared.table().read_up_to = end;

        let mut tasks: JoinSet<Result<(), LogError>> = JoinSet::new();
        tasks.spawn(hand_out(Arc::clone(&shared), end));
        let (first_time, mut still_behind) = mpsc::channel::<()>(1);
        for part in 0..PARTITIONS {
            let position = positions.get(&part).copied().unwrap_or(0);
            let partition = Partition { shared: Arc::clone(&shared), part, position };
            tasks.spawn(partition.run(end, first_time.clone()));
        }
        drop(first_time);
        loop {
            tokio::select! {
                // Nothing is ever sent: it ends when the last partition has caught up for the first time.
                _ = still_behind.recv(), if !still_behind.is_closed() => {
                    still_behind.close();
                    if !service.stop.is_cancelled() {
                        caught_up.ready();
                    }
                }
                joined = tasks.join_next() => match joined {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(source))) => return Err(fail(source)),
                    Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Some(Err(_)) | None => return Ok(()),
                },
            }
        }
    }
}

struct Stats {
    events: Counter,
    chunks: Counter,
    outrun: Counter,
    retries: Counter,
    dead: Counter,
    alone: Gauge,
    write: Histogram,
    behind: Gauge<f64, AtomicU64>,
}

/// What the partitions of one projection have in common.
struct Shared<P> {
    project: P,
    pool: PgPool,
    log: Log,
    /// In whose name dead letters are kept.
    mourner: String,
    stop: CancellationToken,
    postgres: crate::admin::Readiness,
    chunk_max: usize,
    linger: Duration,
    table: Mutex<Table>,
    queued_bytes: AtomicUsize,
    catching_up: Semaphore,
    /// Partitions for which Postgres is away just now.
    away: AtomicUsize,
    stats: Stats,
}

/// Who takes part in the shared reading, and how far that came.
struct Table {
    read_up_to: u64,
    queues: BTreeMap<u16, mpsc::Sender<Raw>>,
}

impl<P: Project> Shared<P> {
    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere leaves nothing half-done in here.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filters(part: Option<u16>) -> Vec<Filter> {
        let of = |noun| match part {
            Some(part) => Filter::noun(noun).part(part),
            None => Filter::noun(noun),
        };
        P::HEARS.iter().copied().map(of).collect()
    }

    /// Asks Postgres until it answers; `None` when told to stop.
    async fn insist<T, Asked>(&self, ask: impl Fn(PgPool) -> Asked) -> Option<T>
    where
        Asked: Future<Output = sqlx::Result<T>>,
    {
        let mut pause = PAUSE.0;
        loop {
            let outcome = tokio::select! {
                () = self.stop.cancelled() => return None,
                outcome = ask(self.pool.clone()) => outcome,
            };
            match outcome {
                Ok(value) => {
                    if self.away.load(Ordering::SeqCst) == 0 {
                        self.postgres.ready();
                    }
                    return Some(value);
                }
                Err(error) => self.not_yet(&error, &mut pause).await,
            }
        }
    }

    async fn not_yet(&self, error: &sqlx::Error, pause: &mut Duration) {
        self.postgres.not_ready(format!("{error}"));
        self.stats.retries.inc();
        tracing::debug!(%error, model = P::MODEL, "Postgres is away, trying again");
        self.rest(pause).await;
    }

    /// Waits for a growing while, or until told to stop.
    async fn rest(&self, pause: &mut Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(*pause) => {}
        }
        *pause = (*pause * 2).min(PAUSE.1);
    }

    /// Where the log ends now; `None` when told to stop.
    async fn end_of_log(&self) -> Option<u64> {
        let mut pause = PAUSE.0;
        loop {
            let state = tokio::select! {
                () = self.stop.cancelled() => return None,
                state = self.log.state() => state,
            };
            match state {
                Ok(state) => return Some(state.last_seq),
                Err(error) => {
                    tracing::debug!(%error, "asking where the log ends");
                    self.rest(&mut pause).await;
                }
            }
        }
    }
}

/// Reads on from `end` for all partitions, and gives each its part.
async fn hand_out<P: Project>(shared: Arc<Shared<P>>, end: u64) -> Result<(), LogError> {
    let mut reader = shared.log.read(&Shared::<P>::filters(None), From::Seq(end + 1), None);
    loop {
        let chunk = tokio::select! {
            () = shared.stop.cancelled() => return Ok(()),
            chunk = reader.next_chunk(READ_MAX) => chunk?,
        };
        let mut table = shared.table();
        for raw in chunk {
            table.read_up_to = raw.seq;
            let Some(part) = raw.part() else { continue };
            let Some(queue) = table.queues.get(&part) else { continue };
            let bytes = raw.body.len();
            let fits = shared.queued_bytes.load(Ordering::Relaxed) + bytes <= QUEUED_BYTES_MAX;
            if fits && queue.try_send(raw).is_ok() {
                shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            } else {
                // It sees the end of its queue when it has written what is in it.
                table.queues.remove(&part);
            }
        }
    }
}

/// The part of a projection that writes one partition.
struct Partition<P> {
    shared: Arc<Shared<P>>,
    part: u16,
    position: u64,
}

/// How writing went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    /// Everything is written.
    On,
    /// Somebody set the position back: reading begins again there.
    Back,
    /// Told to stop.
    Stop,
}

/// What came, and whether it is a fact.
struct Item {
    raw: Raw,
    told: Result<Told, String>,
    /// It lies in the dead letters already.
    buried: bool,
}

impl<P: Project> Partition<P> {
    /// `_first_time` is dropped once the end of the log, as it was at the start, is reached.
    async fn run(mut self, end: u64, first_time: mpsc::Sender<()>) -> Result<(), LogError> {
        let mut first_time = Some(first_time);
        let mut end = end;
        loop {
            // To the end of the log as it was.
            if self.alone_to(end).await? == Went::Stop {
                return Ok(());
            }
            // From here on what is read for all is kept for us; the gap between is read alone.
            let (queue, mut waiting) = mpsc::channel(QUEUE_MAX);
            let joined_at = {
                let mut table = self.shared.table();
                table.queues.insert(self.part, queue);
                table.read_up_to
            };
            match self.alone_to(joined_at).await? {
                Went::Stop => return Ok(()),
                Went::On => {
                    first_time = None;
                    if self.queued(&mut waiting).await == Went::Stop {
                        return Ok(());
                    }
                }
                Went::Back => {}
            }
            self.leave(waiting);
            match self.shared.end_of_log().await {
                Some(now) => end = now,
                None => return Ok(()),
            }
            drop(first_time.take_if(|_| self.position >= end));
        }
    }

    /// What still waits is read again, alone.
    fn leave(&self, mut waiting: mpsc::Receiver<Raw>) {
        self.shared.table().queues.remove(&self.part);
        waiting.close();
        while let Ok(raw) = waiting.try_recv() {
            self.shared.queued_bytes.fetch_sub(raw.body.len(), Ordering::Relaxed);
        }
    }

    /// Reads and writes alone, up to `end`.
    async fn alone_to(&mut self, end: u64) -> Result<Went, LogError> {
        let shared = Arc::clone(&self.shared);
        while self.position < end {
            let _place = tokio::select! {
                () = shared.stop.cancelled() => return Ok(Went::Stop),
                place = shared.catching_up.acquire() => place.expect("this semaphore is never closed"),
            };
            let _counted = Counted::new(&shared.stats.alone);
            let filters = Shared::<P>::filters(Some(self.part));
            let mut reader = shared.log.read(&filters, From::Seq(self.position + 1), Some(end));
            loop {
                let mut raws = tokio::select! {
                    () = shared.stop.cancelled() => return Ok(Went::Stop),
                    raws = reader.next_chunk(READ_MAX.min(shared.chunk_max)) => raws?,
                };
                if raws.is_empty() {
                    return Ok(Went::On);
                }
                while raws.len() < shared.chunk_max && bytes_of(&raws) < CHUNK_BYTES_MAX {
                    let room = READ_MAX.min(shared.chunk_max - raws.len());
                    match tokio::time::timeout(shared.linger, reader.next_chunk(room)).await {
                        Ok(more) => {
                            let more = more?;
                            if more.is_empty() {
                                break;
                            }
                            raws.extend(more);
                        }
                        Err(_) => break,
                    }
                }
                match self.tell(raws).await {
                    Went::On => {}
                    Went::Back => break,
                    Went::Stop => return Ok(Went::Stop),
                }
            }
        }
        Ok(Went::On)
    }

    /// Writes what is read for all, until the queue ends because it overflowed.
    async fn queued(&mut self, waiting: &mut mpsc::Receiver<Raw>) -> Went {
        let shared = Arc::clone(&self.shared);
        let mut raws = Vec::new();
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return Went::Stop,
                taken = waiting.recv_many(&mut raws, shared.chunk_max) => if taken == 0 {
                    return Went::On;
                },
            }
            let deadline = Instant::now() + shared.linger;
            while raws.len() < shared.chunk_max && bytes_of(&raws) < CHUNK_BYTES_MAX {
                let room = shared.chunk_max - raws.len();
                match tokio::time::timeout_at(deadline, waiting.recv_many(&mut raws, room)).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            shared.queued_bytes.fetch_sub(bytes_of(&raws), Ordering::Relaxed);
            match self.tell(std::mem::take(&mut raws)).await {
                Went::On => {}
                went @ (Went::Back | Went::Stop) => return went,
            }
        }
    }

    /// Writes `raws`, in chunks as large as can be.
    async fn tell(&mut self, raws: Vec<Raw>) -> Went {
        let mut rest: VecDeque<Item> =
            raws.into_iter().filter(|raw| raw.seq > self.position).map(Item::of).collect();
        let mut most = self.shared.chunk_max;
        let mut pause = PAUSE.0;
        let mut away = None;
        while !rest.is_empty() {
            if self.shared.stop.is_cancelled() {
                return Went::Stop;
            }
            let count = most.min(rest.len());
            match self.write(rest.make_contiguous().get_mut(..count).unwrap_or_default()).await {
                Ok(true) => {
                    if let Some(last) = rest.get(count - 1) {
                        self.note_written(count, last);
                    }
                    rest.drain(..count);
                    most = (most * 2).min(self.shared.chunk_max);
                    pause = PAUSE.0;
                    drop(away.take());
                }
                Ok(false) => {
                    self.shared.stats.outrun.inc();
                    let part = self.part;
                    let ask = |pool: PgPool| async move { postgres::position(&pool, P::MODEL, part).await };
                    let Some(position) = self.shared.insist(ask).await else { return Went::Stop };
                    if position < self.position {
                        tracing::info!(
                            model = P::MODEL,
                            part,
                            position,
                            "set back, reading again from there"
                        );
                        self.position = position;
                        return Went::Back;
                    }
                    self.position = position;
                    rest.retain(|item| item.raw.seq > position);
                }
                Err(Failure { trouble: Trouble::Passing, text }) => {
                    self.shared.stats.retries.inc();
                    if away.is_none() {
                        tracing::warn!(
                            model = P::MODEL,
                            part = self.part,
                            error = text,
                            "writing a read model, trying again"
                        );
                    }
                    away.get_or_insert_with(|| Away::new(&self.shared)).says(&text);
                    self.shared.rest(&mut pause).await;
                }
                Err(Failure { trouble: Trouble::Lasting, .. }) if count > 1 => most = count / 2,
                Err(Failure { trouble: Trouble::Lasting, text }) => {
                    if let Some(item) = rest.front_mut() {
                        tracing::error!(
                            model = P::MODEL,
                            seq = item.raw.seq,
                            subject = &*item.raw.subject,
                            error = text,
                            "an event cannot be written and goes to the dead letters"
                        );
                        // Without a fact in it, it is buried and passed over like one that cannot be read.
                        item.told = Err(text);
                    }
                }
            }
        }
        Went::On
    }

    fn note_written(&mut self, count: usize, last: &Item) {
        let stats = &self.shared.stats;
        self.position = last.raw.seq;
        stats.events.inc_by(count as u64);
        stats.chunks.inc();
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        stats.behind.set((now_us - last.raw.heard.us()).max(0) as f64 / 1e6);
    }

    /// Writes one chunk, and buries what in it is no fact.
    async fn write(&self, items: &mut [Item]) -> Result<bool, Failure> {
        let Some(last) = items.last() else { return Ok(true) };
        let place = Place { part: self.part, from: self.position, to: last.raw.seq };
        let mut chunk = Chunk { place, told: Vec::with_capacity(items.len()) };
        for item in items {
            match &item.told {
                Ok(told) => chunk.told.push(told.clone()),
                Err(_) if item.buried => {}
                Err(reason) => {
                    self.bury(&item.raw, reason).await?;
                    item.buried = true;
                }
            }
        }
        let began = Instant::now();
        let shared = &self.shared;
        let outcome = if chunk.told.is_empty() {
            pass_over(&shared.pool, P::MODEL, &place).await
        } else {
            match AssertUnwindSafe(shared.project.write(&shared.pool, &chunk)).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(panic) => {
                    let text = format!("panicked: {}", crate::http::panic_text(&*panic));
                    return Err(Failure { trouble: Trouble::Lasting, text });
                }
            }
        };
        shared.stats.write.observe(began.elapsed().as_secs_f64());
        outcome
            .map_err(|error| Failure { trouble: postgres::trouble(&error), text: crate::log::chain(error) })
    }

    async fn bury(&self, raw: &Raw, reason: &str) -> Result<(), Failure> {
        let shared = &self.shared;
        tokio::select! {
            () = shared.stop.cancelled() => {
                return Err(Failure { trouble: Trouble::Passing, text: "told to stop".into() });
            }
            () = shared.log.bury(&shared.mourner, raw, reason) => {}
        }
        shared.stats.dead.inc();
        Ok(())
    }
}

/// When the log forgets a message: its lifetime in seconds, if it has one, is in this header.
fn kept_until(raw: &Raw) -> Option<Time> {
    let seconds: i64 = raw.header("Nats-TTL")?.parse().ok()?;
    Some(raw.heard.plus_ms(seconds.saturating_mul(1_000)))
}

/// Moves the position over what holds no rows.
async fn pass_over(pool: &PgPool, model: &str, place: &Place) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    if !move_position(&mut tx, model, place).await? {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

struct Failure {
    trouble: Trouble,
    text: String,
}

impl Item {
    fn of(raw: Raw) -> Self {
        let told = match raw.hear() {
            Ok(heard) => Ok(Told {
                key: raw.subject.splitn(5, '.').nth(4).unwrap_or_default().to_owned(),
                cause: raw.cause(),
                correlation: raw.correlation(),
                kept_until: kept_until(&raw),
                heard,
            }),
            Err(error) => Err(crate::log::chain(error)),
        };
        Self { raw, told, buried: false }
    }
}

fn bytes_of(raws: &[Raw]) -> usize {
    raws.iter().map(|raw| raw.body.len()).sum()
}

/// One more in a gauge for as long as this lives.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Postgres is away for one partition for as long as this lives.
struct Away<P>(Arc<Shared<P>>);

impl<P> Away<P> {
    fn new(shared: &Arc<Shared<P>>) -> Self {
        shared.away.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }

    fn says(&self, text: &str) {
        self.0.postgres.not_ready(text);
    }
}

impl<P> Drop for Away<P> {
    fn drop(&mut self) {
        if self.0.away.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.postgres.ready();
        }
    }
}
