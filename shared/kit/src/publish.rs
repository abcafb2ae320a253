//! Writing to the log: single facts, arrays, and what is conditional on a subject's last message.
//!
//! The message id of a fact is its event id, and it is the same however often the fact is sent. Facts without a
//! condition are stored together with those of other callers ([`group`]).

mod group;
mod remembered;
mod store;

use crate::{
    commit::{EXPECTED_LAST, EXPECTED_SUBJECT, Member, Outcome, known_among, one_by_one, write},
    log::{Connection, Log, LogConfig},
    message::{EncodeError, Encoded, HeaderPair, MESSAGE_ID, Outgoing},
};
use async_nats::jetstream::Context;
use events::EventId;
use group::{Job, Writer};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

/// The largest array that is stored all or nothing. Source: the server's limit of a batch.
pub const ARRAY_MAX: usize = 1_000;

/// What may wait to be published. At the bound the answer is [`PublishError::Busy`], at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishLimits {
    /// Messages that wait or are under way.
    pub messages_max: u32,
    /// Their KiB.
    pub kib_max: u32,
}

impl Default for PublishLimits {
    fn default() -> Self {
        Self { messages_max: 20_000, kib_max: 64 * 1024 }
    }
}

/// Where a fact is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the log.
    pub seq: u64,
    /// It had been stored before; this is the first one's place.
    pub duplicate: bool,
    /// Its id.
    pub id: EventId,
}

/// Why a fact did not reach the log.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A fault in our own code; trying again would not help.
    #[error("encoding an event")]
    Encode(#[from] EncodeError),
    /// An array larger than a commit.
    #[error("{0} events are more than the log takes at once ({ARRAY_MAX})")]
    TooMany(usize),
    /// Too much waits already. Nothing was stored.
    #[error("too many events wait to be stored")]
    Busy,
    /// No leader, no connection or no answer in time. It may have been stored: trying again with the
    /// same event is safe.
    #[error("the log cannot be reached: {0}")]
    Unavailable(String),
    /// The log's store is full. The first facts of an array may have been stored: trying again with the same
    /// events is safe, and stores the rest.
    #[error("the log's store is full: {0}")]
    StoreFull(String),
    /// The subject's last message is not the expected one: somebody else was faster. (Or, when an
    /// acknowledgement was lost, ours was stored and something else after it.) Read it again.
    #[error("`{subject}` has changed: its last message is {last_seq}")]
    Conflict {
        /// Which subject.
        subject: String,
        /// The place of its last message; 0 when there is none.
        last_seq: u64,
    },
    /// The server does not want it.
    #[error("the log refuses it: {text} ({code})")]
    Refused {
        /// JetStream's error code.
        code: u64,
        /// What it says.
        text: String,
    },
}

/// What group commit has done since the start.
#[derive(Debug, Default)]
pub struct PublishStats {
    /// Messages stored for the first time.
    pub stored: AtomicU64,
    /// Messages answered with an earlier one's place.
    pub duplicates: AtomicU64,
    /// Writes that were acknowledged.
    pub commits: AtomicU64,
    /// Groups that were halved because the server knew a member and we did not.
    pub halved: AtomicU64,
    /// Ids of an earlier process that were read back from the log.
    pub learned: AtomicU64,
    /// Publishes refused because too much waited.
    pub busy: AtomicU64,
    /// Writes without a known outcome, or that found nobody to ask.
    pub retries: AtomicU64,
}

pub(crate) struct Publisher {
    jobs: mpsc::UnboundedSender<Job>,
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    stats: Arc<PublishStats>,
}

struct Item {
    id: EventId,
    message: Encoded,
}

impl Publisher {
    pub(crate) fn start(connection: Connection, context: Context, config: &LogConfig) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let stats = Arc::new(PublishStats::default());
        let writer = Writer::new(connection, context, config, queue, stats.clone());
        tokio::spawn(writer.run());
        Self {
            jobs,
            messages: Arc::new(Semaphore::new(config.limits.messages_max as usize)),
            kib: Arc::new(Semaphore::new(config.limits.kib_max as usize)),
            stats,
        }
    }

    fn room_for(&self, items: &[Item]) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let bytes: usize = items.iter().map(|item| item.message.bytes()).sum();
        let count = u32::try_from(items.len()).ok()?;
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        let messages = self.messages.clone().try_acquire_many_owned(count).ok()?;
        Some((messages, self.kib.clone().try_acquire_many_owned(kib).ok()?))
    }
}

impl Log {
    /// Stores one fact; the same fact again is answered with the first one's place.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; never [`PublishError::Conflict`].
    pub async fn publish(&self, out: Outgoing) -> Result<Stored, PublishError> {
        let stored = self.publish_all(vec![out]).await?;
        Ok(*stored.first().expect("one fact has one place"))
    }

    /// Stores an array of facts in one commit, all or nothing; answers in the same order.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; never [`PublishError::Conflict`].
    pub async fn publish_all(&self, outs: Vec<Outgoing>) -> Result<Vec<Stored>, PublishError> {
        if outs.is_empty() {
            return Ok(Vec::new());
        }
        if outs.len() > ARRAY_MAX {
            return Err(PublishError::TooMany(outs.len()));
        }
        let items = self.encode_all(&outs)?;
        let publisher = &self.inner.publisher;
        let Some(room) = publisher.room_for(&items) else {
            publisher.stats.busy.fetch_add(1, Ordering::Relaxed);
            return Err(PublishError::Busy);
        };
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + self.within;
        let gone = || PublishError::Unavailable("the writer has ended".into());
        publisher.jobs.send(Job { items, deadline, answer, _room: room }).map_err(|_| gone())?;
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => {
                let late = format!("not acknowledged within {:?}", self.within);
                let denial = self.inner.connection.denial(self.within);
                Err(PublishError::Unavailable(match denial {
                    Some(denial) => format!("{late}; the server says: {denial}"),
                    None => late,
                }))
            }
        }
    }

    /// Stores one fact if the last message of its subject is `last_seq` (0: there is none).
    ///
    /// Said again after a lost acknowledgement, the server would call it a conflict; so on a
    /// conflict the last message is read, and when it is this very fact, it was stored.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; [`PublishError::Conflict`] when somebody else was faster.
    pub async fn publish_if(&self, out: Outgoing, last_seq: u64) -> Result<Stored, PublishError> {
        let subject = out.encode(&self.inner.config.pop)?.subject;
        let stored = self.commit(vec![out], Some((&subject, last_seq))).await?;
        Ok(*stored.first().expect("one fact has one place"))
    }

    /// Stores facts in one commit, all or nothing, if the last message of the subject in `expect` is the
    /// given one (0: there is none). Without a condition it is [`Log::publish_all`].
    ///
    /// # Errors
    ///
    /// [`PublishError`]; [`PublishError::Conflict`] when somebody else was faster.
    pub async fn commit(
        &self,
        outs: Vec<Outgoing>,
        expect: Option<(&str, u64)>,
    ) -> Result<Vec<Stored>, PublishError> {
        let Some((subject, last_seq)) = expect else { return self.publish_all(outs).await };
        if outs.len() > ARRAY_MAX {
            return Err(PublishError::TooMany(outs.len()));
        }
        let items = self.encode_all(&outs)?;
        let Some(witness) =
            items.iter().position(|item| item.message.subject == subject).or(items.len().checked_sub(1))
        else {
            return Ok(Vec::new());
        };
        let deadline = Instant::now() + self.within;
        // What an attempt that ended half-way has left in the log, and where.
        let mut left: BTreeMap<usize, u64> = BTreeMap::new();
        let mut pause = Pause::default();
        loop {
            let inner = &self.inner;
            let (connection, timeout) = (&inner.connection, inner.config.ack_timeout);
            let which: Vec<usize> = (0..items.len()).filter(|i| !left.contains_key(i)).collect();
            let members = conditional(&items, &which, witness, subject, last_seq);
            let reason = match write(connection, timeout, &members).await {
                Outcome::Stored { seq, duplicate } => {
                    return Ok(places(&items, &which, &left, seq, duplicate));
                }
                outcome @ (Outcome::Conflict | Outcome::Known) => match self.last(subject).await {
                    Ok(last) => {
                        let now_seq = last.as_ref().map_or(0, |raw| raw.seq);
                        if outcome == Outcome::Conflict || now_seq != last_seq {
                            return settled(&items, &which, &left, witness, subject, last.as_ref());
                        }
                        left.extend(self.left_over(&items, &which).await);
                        "an earlier attempt has left something in the log".into()
                    }
                    Err(error) => error.to_string(),
                },
                Outcome::Full(text) => return Err(PublishError::StoreFull(text)),
                Outcome::Refused { code, text } => return Err(PublishError::Refused { code, text }),
                Outcome::Away(reason) | Outcome::Unknown(reason) => reason,
            };
            inner.publisher.stats.retries.fetch_add(1, Ordering::Relaxed);
            if !pause.before(deadline).await {
                return Err(PublishError::Unavailable(reason));
            }
        }
    }

    /// Which of `which` lie in the log although the whole does not, and where.
    async fn left_over(&self, items: &[Item], which: &[usize]) -> BTreeMap<usize, u64> {
        let (connection, timeout) = (&self.inner.connection, self.inner.config.ack_timeout);
        let messages: Vec<&Encoded> = which.iter().map(|i| &items[*i].message).collect();
        let known = known_among(connection, timeout, &messages).await;
        let again: Vec<&Encoded> = known.iter().map(|n| messages[*n]).collect();
        let outcomes = one_by_one(connection, timeout, &again).await;
        let place = |(n, outcome): (&usize, Outcome)| match outcome {
            Outcome::Stored { seq, .. } => Some((which[*n], seq)),
            Outcome::Conflict
            | Outcome::Known
            | Outcome::Full(_)
            | Outcome::Away(_)
            | Outcome::Unknown(_)
            | Outcome::Refused { .. } => None,
        };
        known.iter().zip(outcomes).filter_map(place).collect()
    }

    /// What group commit has done since the start.
    pub fn publish_stats(&self) -> &PublishStats {
        &self.inner.publisher.stats
    }

    fn encode_all(&self, outs: &[Outgoing]) -> Result<Vec<Item>, PublishError> {
        let pop = &self.inner.config.pop;
        let encode = |out: &Outgoing| {
            let mut message = out.encode(pop)?;
            // Without hyphens: the server holds it in memory for two minutes.
            message.headers.push((MESSAGE_ID, out.say.id.0.simple().to_string()));
            Ok(Item { id: out.say.id, message })
        };
        outs.iter().map(encode).collect()
    }
}

fn conditional<'a>(
    items: &'a [Item],
    which: &[usize],
    witness: usize,
    subject: &str,
    last_seq: u64,
) -> Vec<Member<'a>> {
    let condition = |item: &Item| {
        let mut more: Vec<HeaderPair> = vec![(EXPECTED_LAST, last_seq.to_string())];
        if item.message.subject != subject {
            more.push((EXPECTED_SUBJECT, subject.to_owned()));
        }
        more
    };
    let member = |i: &usize| Member {
        message: &items[*i].message,
        more: if *i == witness { condition(&items[*i]) } else { Vec::new() },
    };
    which.iter().map(member).collect()
}

/// What a conflict means: our own earlier attempt, or somebody else's message.
fn settled(
    items: &[Item],
    which: &[usize],
    left: &BTreeMap<usize, u64>,
    witness: usize,
    subject: &str,
    last: Option<&crate::message::Raw>,
) -> Result<Vec<Stored>, PublishError> {
    let last_seq = last.map_or(0, |raw| raw.seq);
    let ours = items[witness].message.subject == subject
        && last.and_then(|raw| raw.header(events::header::name::ID)) == Some(&items[witness].id.to_string());
    let after = which.iter().filter(|i| **i > witness).count() as u64;
    if ours && last_seq + after >= which.len() as u64 {
        return Ok(places(items, which, left, last_seq + after, true));
    }
    Err(PublishError::Conflict { subject: subject.to_owned(), last_seq })
}

/// Where everything lies, when `which` were stored together and end at `last_seq`.
fn places(
    items: &[Item],
    which: &[usize],
    left: &BTreeMap<usize, u64>,
    last_seq: u64,
    duplicate: bool,
) -> Vec<Stored> {
    let first_seq = last_seq + 1 - which.len() as u64;
    let together: BTreeMap<usize, u64> = which.iter().copied().zip(first_seq..).collect();
    let place = |(i, item): (usize, &Item)| {
        let again = left.get(&i).map(|seq| (*seq, true));
        let (seq, duplicate) = again.or_else(|| together.get(&i).map(|seq| (*seq, duplicate)))?;
        Some(Stored { seq, duplicate, id: item.id })
    };
    items.iter().enumerate().filter_map(place).collect()
}

/// Growing pauses between tries: 20 ms to 1 s.
#[derive(Default)]
pub(crate) struct Pause {
    tries: u32,
}

impl Pause {
    pub(crate) fn next(&mut self) -> Duration {
        self.tries = (self.tries + 1).min(6);
        Duration::from_millis(10 << self.tries)
            .min(Duration::from_secs(1))
            .mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Waits; false when `deadline` would pass meanwhile.
    pub(crate) async fn before(&mut self, deadline: Instant) -> bool {
        let wait = self.next();
        if Instant::now() + wait >= deadline {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }
}
