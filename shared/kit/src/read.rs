//! Reading the log in its order.
//!
//! A reader remembers how far it came; when its consumer is lost (a server died, a heartbeat was
//! missed) it makes another one from there. So what it hands out is complete and in order, and each message
//! comes once.
//!
//! A bounded reader ends at a place in the log and has then handed out everything up to there that was
//! stored. In a cluster its consumer may live on a server that lags; so before it ends it asks the
//! stream's leader whether anything is missing.
//!
//! With much before it a reader takes *everything* and lets its filters pass here. A server that looks for
//! the next message under a filter intersects the filter with all subjects of a block, for every message anew:
//! 1,300 messages/s with five filters over 10,000 subjects (2.15.1, tried), where a consumer without a filter
//! gets hundreds of thousands. Near the end of the log the server scans instead, and filters cost nothing.
//!
//! Where many services live in one process, endless readers share one reading of the log's end
//! ([`tap`]).

mod filter;
mod tap;

pub use filter::Filter;
pub(crate) use tap::Tap;
pub use tap::TapStats;

use crate::log::{Log, LogError, chain};
use crate::message::{Raw, time_of};
use async_nats::jetstream::{
    Context,
    consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull},
};
use events::Time;
pub(crate) use filter::lets_pass;
use filter::whole_partition;
use futures::{FutureExt, StreamExt};
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};
use tap::{Seat, Taken};
use tokio::sync::watch;

/// How many messages a reader asks for at once.
const BATCH: usize = 1_000;
/// How many while it takes everything: so many that the server need not wait for the next request.
const BULK_BATCH: usize = 4_000;
/// A consumer that says nothing for twice this long is lost.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// After how long the server forgets a consumer nobody reads by.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// With so many messages under its filters before it, a reader thinks about taking everything.
const BULK_FROM: u64 = 1_000;
/// It does so if at least one message in so many is for it: a message for nobody costs about 3 µs here.
const BULK_ONE_IN: u64 = 16;
/// With so few messages before it, it leaves filtering to the server again.
const BULK_UNTIL: u64 = 64;
/// How far it reads before it thinks about it again.
const BULK_AGAIN: u64 = 10_000;

/// How long an endless reader hears nothing before it asks whether it should have.
const SILENCE: Duration = Duration::from_secs(5);

/// How long to let messages that are on their way gather, each time that some came.
const GATHER: Duration = Duration::from_millis(1);
/// How often at most.
const GATHERINGS: usize = 8;

/// How many messages are taken from a seat at once by whoever wants one after the other.
const SEAT_TAKES: usize = 256;

/// How long a bounded reader waits for the next message before it asks whether there is one.
const DOUBT_AFTER: Duration = Duration::from_millis(300);

/// How long what a consumer has sent may be on its way, the first time and at most: over a long way, or from a server
/// that has much to do, it takes longer than a doubt does. Whoever begins anew too early has the server do everything anew.
const ON_ITS_WAY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the first message there is.
    Start,
    /// At this place or the next one after it.
    Seq(u64),
    /// At the first message that was stored at this time or later.
    Time(Time),
    /// With what is stored from now on.
    New,
    /// The last message of each subject as of now, in order; then what follows.
    LastPerSubject,
}

/// Hands out messages in the order of the log.
pub struct Reader {
    context: Context,
    log: Log,
    /// Changes when the connection breaks.
    breaks: watch::Receiver<u64>,
    stream: String,
    /// None: everything.
    filters: Vec<String>,
    from: From,
    to: Option<u64>,
    headers_only: bool,
    consumer: Option<Consumer>,
    /// How long what has been sent is waited for; twice as long after each time that it did not come.
    on_its_way: Duration,
    /// Where taking everything was last found not to pay.
    bulk_refused: Option<u64>,
    /// Everything up to here has been handed out, or is not for this reader.
    last_seq: u64,
    pending: u64,
    ended: bool,
    /// What was taken and not handed out yet: it survives that whoever waits for it stops waiting.
    held: VecDeque<Raw>,
    /// Its part in the reading of the whole process.
    seat: Option<Seat>,
    /// It reads by its own consumer to its end, whatever the others do.
    is_alone: bool,
}

struct Consumer {
    name: String,
    messages: pull::Stream,
    /// How many messages it brought.
    brought: u64,
    /// Nothing at or below this place is for it.
    floor: u64,
    /// How many messages were there for it when it was made.
    found: u64,
    /// It has sent more than has come, and nothing has come since that was noticed.
    owes: bool,
    /// It brings everything; filters are applied here.
    is_bulk: bool,
    /// It lives in a cluster, perhaps on a server that lags behind the leader.
    in_cluster: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("filters", &self.filters)
            .field("last_seq", &self.last_seq)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Reads what `filters` let through, from `from` to the place `to` (included), or without end.
    /// Filters must not overlap.
    pub fn read(&self, filters: &[Filter], from: From, to: Option<u64>) -> Reader {
        self.read_subjects(filters.iter().map(ToString::to_string).collect(), from, to)
    }

    /// Reads the last message of each subject as of now, up to the end of the log as it is now.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`] when the log does not say where it ends.
    pub async fn last_per_subject(&self, filters: &[Filter]) -> Result<Reader, LogError> {
        let end = self.state().await?.last_seq;
        Ok(self.read(filters, From::LastPerSubject, Some(end)))
    }

    /// Reads what is stored from now on, without end.
    pub fn tail(&self, filters: &[Filter]) -> Reader {
        self.read(filters, From::New, None)
    }

    pub(crate) fn read_subjects(&self, filters: Vec<String>, from: From, to: Option<u64>) -> Reader {
        self.read_stream(&self.inner.config.stream, filters, from, to)
    }

    pub(crate) fn read_stream(
        &self,
        stream: &str,
        filters: Vec<String>,
        from: From,
        to: Option<u64>,
    ) -> Reader {
        let last_seq = match from {
            From::Seq(seq) => seq.saturating_sub(1),
            From::Start | From::Time(_) | From::New | From::LastPerSubject => 0,
        };
        Reader {
            context: self.inner.context.clone(),
            log: self.clone(),
            breaks: self.inner.connection.breaks(),
            stream: stream.to_owned(),
            filters,
            from,
            to,
            headers_only: false,
            consumer: None,
            on_its_way: ON_ITS_WAY.0,
            bulk_refused: None,
            last_seq,
            pending: 0,
            ended: to.is_some_and(|to| to <= last_seq),
            held: VecDeque::new(),
            seat: None,
            is_alone: to.is_some() || stream != self.inner.config.stream || !self.inner.config.reads_together,
        }
    }
}

impl Reader {
    /// The headers alone; bodies come empty.
    pub(crate) fn headers_only(mut self) -> Self {
        self.headers_only = true;
        self
    }

    /// How many messages were still before it when the last one was handed out.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Makes its consumer, so that [`Reader::next_chunk`] has something to look at.
    pub(crate) async fn prepare(&mut self) -> Result<(), LogError> {
        if self.ended || self.consumer.is_some() || self.is_seated() {
            Ok(())
        } else if self.seat.is_none() && !self.is_alone {
            self.join().await
        } else {
            self.consume().await
        }
    }

    /// Whether everything before its seat has been read, and the seat has the rest.
    fn is_seated(&self) -> bool {
        self.seat.is_some() && self.to.is_none()
    }

    /// Takes part in the reading of the whole process; reads alone up to where that stands.
    async fn join(&mut self) -> Result<(), LogError> {
        let tap = Arc::clone(&self.log.inner.tap);
        let seat = tap.join(&self.log, &self.filters).await?;
        if self.from == From::New && self.last_seq == 0 {
            // "From now on" begins where the log ends now, wherever the others are.
            self.last_seq = self.log.state().await?.last_seq;
        }
        self.to = Some(seat.from).filter(|from| *from > self.last_seq);
        self.seat = Some(seat);
        Ok(())
    }

    /// What the seat has, or the wait for it.
    async fn take_from_seat(&mut self) {
        let Some(seat) = &self.seat else { return };
        let (taken, left) = seat.take(&mut self.held, &mut self.last_seq, SEAT_TAKES);
        self.pending = left;
        match taken {
            Taken::Some => {}
            Taken::Nothing => seat.arrived().await,
            Taken::Lost => self.seat = None,
        }
    }

    /// The next message; none at the end of a bounded reader. Can be dropped and asked again.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`]: the stream does not exist, or a filter is none. Everything else is waited for.
    pub async fn next(&mut self) -> Result<Option<Raw>, LogError> {
        self.fill().await?;
        Ok(self.held.pop_front())
    }

    /// Waits until something is held, or the end is reached.
    async fn fill(&mut self) -> Result<(), LogError> {
        while self.held.is_empty() {
            if self.ended {
                self.release();
                if self.seat.is_none() {
                    return Ok(());
                }
                // Everything before the seat has been read.
                self.last_seq = self.to.take().map_or(self.last_seq, |to| self.last_seq.max(to));
                self.ended = false;
            }
            if self.is_seated() {
                self.take_from_seat().await;
                continue;
            }
            if self.consumer.is_none() {
                self.prepare().await?;
                continue;
            }
            self.step().await;
        }
        Ok(())
    }

    /// The next message and what is there behind it without waiting, at most `max`; empty at the end.
    /// Can be dropped and asked again.
    ///
    /// # Errors
    ///
    /// As [`Reader::next`].
    pub async fn next_chunk(&mut self, max: usize) -> Result<Vec<Raw>, LogError> {
        // What was left by somebody who stopped waiting has waited long enough.
        let is_left = !self.held.is_empty();
        self.fill().await?;
        self.gather(max);
        for _ in 0..GATHERINGS {
            let before = self.held.len();
            if is_left || before == 0 || before >= max / 2 || self.pending == 0 || self.ended {
                break;
            }
            // More is on its way: to be woken once for all of it is cheaper than for each.
            tokio::time::sleep(GATHER).await;
            self.gather(max);
            if self.held.len() == before {
                break;
            }
        }
        Ok(self.held.drain(..max.min(self.held.len())).collect())
    }

    /// Takes what is there.
    fn gather(&mut self, max: usize) {
        if let Some(seat) = self.seat.as_ref().filter(|_| self.to.is_none()) {
            (_, self.pending) = seat.take(&mut self.held, &mut self.last_seq, max);
            return;
        }
        while self.held.len() < max && !self.ended {
            if self.breaks.has_changed().unwrap_or(false) {
                return;
            }
            let Some(consumer) = &mut self.consumer else { return };
            // Without the runtime's budget, which would make a full queue look empty after 128 messages.
            match tokio::task::unconstrained(consumer.messages.next()).now_or_never() {
                Some(Some(Ok(message))) => {
                    self.take(message);
                    self.reconsider();
                }
                Some(Some(Err(_)) | None) => return self.release(),
                None => return,
            }
        }
    }

    /// Takes one message from the consumer, or finds out why none comes.
    async fn step(&mut self) {
        let Some(consumer) = self.consumer.as_mut() else { return };
        let patience = match self.to {
            _ if consumer.owes => self.on_its_way,
            Some(_) => DOUBT_AFTER,
            None => SILENCE,
        };
        let next = tokio::select! {
            biased;
            changed = self.breaks.changed() => {
                // What was on its way is lost, and the server will not send it again.
                drop(changed);
                return self.release();
            }
            next = tokio::time::timeout(patience, consumer.messages.next()) => next,
        };
        match next {
            Ok(Some(Ok(message))) => {
                self.take(message);
                self.reconsider();
                if self.pending == 0 && self.to.is_some() && !self.ended && self.consumer.is_some() {
                    self.finish().await;
                }
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a reader lost its consumer, reading on from {}", self.last_seq);
                self.release();
            }
            Ok(None) => self.release(),
            Err(_silence) => self.doubt().await,
        }
    }

    /// Holds a message, unless it is none of ours.
    fn take(&mut self, message: async_nats::jetstream::Message) {
        let Some(consumer) = self.consumer.as_mut() else { return };
        consumer.brought += 1;
        consumer.owes = false;
        let (seq, pending, nth, heard) = {
            let Ok(info) = message.info() else { return };
            (info.stream_sequence, info.pending, info.consumer_sequence, time_of(info.published))
        };
        if nth != consumer.brought {
            tracing::debug!(nth, "messages were lost with a connection, reading on from {}", self.last_seq);
            return self.release();
        }
        if seq <= self.last_seq {
            return;
        }
        if self.to.is_some_and(|to| seq > to) {
            self.ended = true;
            return;
        }
        self.last_seq = seq;
        self.on_its_way = ON_ITS_WAY.0;
        self.pending = pending;
        if self.to == Some(seq) {
            self.ended = true;
        }
        let is_ours = !consumer.is_bulk
            || self.filters.is_empty()
            || self.filters.iter().any(|filter| lets_pass(filter, &message.subject));
        if is_ours {
            self.held.push_back(Raw::from_stream(message.message, seq, pending, heard));
        }
    }

    /// Whether to change between taking everything and leaving filters to the server.
    fn reconsider(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let long_ago = self.bulk_refused.is_none_or(|at| self.last_seq > at + BULK_AGAIN);
        let change = if self.filters.is_empty() {
            false
        } else if consumer.is_bulk {
            self.to.is_none() && self.pending <= BULK_UNTIL
        } else {
            self.may_be_bulk() && self.pending >= 2 * BULK_FROM && long_ago
        };
        if change {
            self.release();
        }
    }

    fn may_be_bulk(&self) -> bool {
        self.from != From::LastPerSubject && self.last_seq > 0
            || matches!(self.from, From::Start | From::Time(_) | From::Seq(_))
    }

    /// Nothing came for a while. Something may have been lost on its way, or has expired meanwhile.
    async fn doubt(&mut self) {
        let Some(consumer) = &mut self.consumer else { return };
        if consumer.owes {
            tracing::debug!("what was sent did not come, reading on from {}", self.last_seq);
            self.on_its_way = (self.on_its_way * 2).min(ON_ITS_WAY.1);
            return self.release();
        }
        let found =
            self.context.get_consumer_from_stream::<pull::Config, _, _>(&consumer.name, &self.stream).await;
        let info = match &found {
            Ok(found) => found.cached_info(),
            Err(error) => {
                tracing::debug!(%error, "a reader's consumer is gone");
                return self.release();
            }
        };
        if info.delivered.consumer_sequence > consumer.brought {
            consumer.owes = true;
        } else if info.num_pending == 0 && self.to.is_some() {
            self.finish().await;
        }
    }

    /// The consumer has nothing more. Is that all there is? The leader knows.
    async fn finish(&mut self) {
        let in_cluster = self.consumer.as_ref().is_none_or(|consumer| consumer.in_cluster);
        let Some(to) = self.to.filter(|_| in_cluster) else {
            self.ended = true;
            return;
        };
        let floor = self.consumer.as_ref().map_or(0, |consumer| consumer.floor).max(self.last_seq);
        for filter in &self.filters {
            let next = loop {
                match self.log.next_at(&self.stream, filter, floor + 1).await {
                    Ok(next) => break next,
                    Err(error) => {
                        tracing::debug!(%error, "asking whether a reader is complete");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            };
            if next.is_some_and(|seq| seq <= to) {
                // Its server lags behind the leader: read on by another consumer.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.release();
                return;
            }
        }
        self.ended = true;
    }

    async fn consume(&mut self) -> Result<(), LogError> {
        if self.has_nothing_before_it().await {
            self.ended = true;
            return Ok(());
        }
        let mut wait = Duration::from_millis(20);
        loop {
            self.breaks.mark_unchanged();
            match self.best().await {
                Ok(consumer) => {
                    let is_empty = consumer.found == 0;
                    self.consumer = Some(consumer);
                    if is_empty && self.to.is_some() {
                        self.finish().await;
                    }
                    return Ok(());
                }
                Err(reason) if is_final(&reason) => {
                    return Err(LogError::Read { what: format!("{:?}", self.filters), reason });
                }
                Err(reason) => tracing::debug!(reason, "no consumer yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether a bounded reader's whole partition has nothing for it. To ask that is cheap; a consumer with
    /// filters costs the server a look at all subjects, and most partitions of a small log are empty.
    async fn has_nothing_before_it(&self) -> bool {
        let (Some(to), Some(whole)) = (self.to, whole_partition(&self.filters)) else { return false };
        match self.log.next_at(&self.stream, &whole, self.last_seq + 1).await {
            Ok(next) => next.is_none_or(|seq| seq > to),
            Err(error) => {
                tracing::debug!(%error, "asking whether a partition has anything");
                false
            }
        }
    }

    /// A consumer with the filters, or one that brings everything when that is faster.
    async fn best(&mut self) -> Result<Consumer, String> {
        if self.filters.is_empty() {
            return self.make(Vec::new()).await;
        }
        let filtered = self.make(self.filters.clone()).await?;
        if !self.may_be_bulk() || filtered.found < BULK_FROM {
            return Ok(filtered);
        }
        let bulk = self.make(Vec::new()).await?;
        let (better, other) = if filtered.found.saturating_mul(BULK_ONE_IN) >= bulk.found {
            (bulk, filtered)
        } else {
            self.bulk_refused = Some(self.last_seq);
            (filtered, bulk)
        };
        self.forget(other);
        Ok(better)
    }

    async fn make(&mut self, filters: Vec<String>) -> Result<Consumer, String> {
        let is_bulk = filters.is_empty();
        let config = pull::Config {
            deliver_policy: self.policy(),
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            filter_subjects: filters,
            headers_only: self.headers_only,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            ..Default::default()
        };
        let consumer = self.context.create_consumer_on_stream(config, &self.stream).await.map_err(chain)?;
        let info = consumer.cached_info();
        let (name, found, floor) = (info.name.clone(), info.num_pending, info.delivered.stream_sequence);
        let in_cluster = info.cluster.is_some();
        if self.from == From::New && self.last_seq == 0 {
            // From here on "new" has a place, so that a lost consumer loses nothing.
            self.last_seq = floor;
        }
        let messages = consumer
            .stream()
            .max_messages_per_batch(if is_bulk { BULK_BATCH } else { BATCH })
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(chain)?;
        Ok(Consumer { name, messages, brought: 0, floor, found, owes: false, is_bulk, in_cluster })
    }

    fn policy(&self) -> DeliverPolicy {
        match self.from {
            // The last of each subject comes in order too, so it can be begun again; what
            // came already is skipped.
            From::LastPerSubject => DeliverPolicy::LastPerSubject,
            _ if self.last_seq > 0 => DeliverPolicy::ByStartSequence { start_sequence: self.last_seq + 1 },
            From::Start | From::Seq(_) => DeliverPolicy::All,
            From::New => DeliverPolicy::New,
            From::Time(time) => match async_nats::datetime::from_nanos(i128::from(time.us()) * 1_000) {
                Ok(start_time) => DeliverPolicy::ByStartTime { start_time },
                Err(_) => DeliverPolicy::All,
            },
        }
    }

    /// Lets the server forget the consumer at once instead of after a while.
    fn release(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            self.forget(consumer);
        }
    }

    fn forget(&self, consumer: Consumer) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (context, stream) = (self.context.clone(), self.stream.clone());
        runtime.spawn(async move {
            let name = consumer.name.clone();
            drop(consumer);
            drop(context.delete_consumer_from_stream(name, stream).await);
        });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.release();
    }
}

fn is_final(reason: &str) -> bool {
    // Stream not found, no valid filter, filters overlap.
    ["10059", "10093", "10136", "10138"].iter().any(|code| reason.contains(code))
}
