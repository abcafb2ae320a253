//! Facts of many callers, stored together: group commit.
//!
//! A server that writes through to the disk before every acknowledgement stores a batch as fast as a single
//! message. So whatever arrives while one commit is under way becomes the next commit. There
//! is no timer: one that waits alone goes at once, as a plain message. When much waits, further groups leave
//! while the first is being stored, so that the server never waits for us.
//!
//! Ids that are under way or were stored in the last two minutes are not sent again but answered with
//! the place of the first. What the server knows and we do not makes it refuse the whole group. The first
//! time, an earlier process of ours has stored it, and what it stored is read back; later it was somebody else,
//! and the group is halved until the known ones are alone ([`store`](super::store)). An array is
//! stored all or nothing even then: what is new of it goes in one commit.

use super::{
    Item, PublishError, PublishStats, Stored,
    remembered::Remembered,
    store::{End, Settled, Store, Unit},
};
use crate::{
    commit::COMMIT_MESSAGES_MAX,
    log::{Connection, LogConfig},
};
use async_nats::jetstream::Context;
use events::EventId;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

/// The bytes of a group, beside which it holds at most [`COMMIT_MESSAGES_MAX`] messages.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What waits to be stored, or what a group holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    messages: usize,
    bytes: usize,
}

impl Size {
    /// As much as a group holds.
    const FULL: Size = Size { messages: COMMIT_MESSAGES_MAX, bytes: GROUP_BYTES_MAX };

    fn of<'a>(items: impl Iterator<Item = &'a Item>) -> Self {
        items.fold(Self::default(), |sum, item| sum.with(Size { messages: 1, bytes: item.message.bytes() }))
    }

    fn with(self, other: Size) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }

    fn without(self, other: Size) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }

    fn fits(self) -> bool {
        self.messages <= Self::FULL.messages && self.bytes <= Self::FULL.bytes
    }

    /// Whether with this waiting one more group leaves while `under_way` are on their way. The second leaves when half as
    /// much waits as fills one, so that the server finds it when it has stored the first; any further one when as
    /// much waits as fills one: each costs the server a few syncs, however much it holds.
    fn leaves_beside(self, under_way: usize) -> bool {
        let reaches = |part: usize| {
            self.messages >= Self::FULL.messages / part || self.bytes >= Self::FULL.bytes / part
        };
        match under_way {
            0 => true,
            1 => reaches(2),
            _ => reaches(1),
        }
    }
}

/// What one caller wants stored, all or nothing.
pub(super) struct Job {
    pub(super) items: Vec<Item>,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Vec<Stored>, PublishError>>,
    pub(super) _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// Forms groups, has them stored and answers their callers.
pub(super) struct Writer {
    store: Store,
    queue: mpsc::UnboundedReceiver<Job>,
    waiting: VecDeque<Job>,
    waiting_size: Size,
    /// Jobs that hold a fact which is under way in another job.
    leaning: Vec<Job>,
    /// Facts that are being stored.
    under_way: HashSet<EventId>,
    remembered: Remembered,
    /// So many groups may be on their way at once.
    groups_max: usize,
    /// What an earlier process stored has been read back, or was never asked for.
    has_learned: bool,
    stats: Arc<PublishStats>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        context: Context,
        config: &LogConfig,
        queue: mpsc::UnboundedReceiver<Job>,
        stats: Arc<PublishStats>,
    ) -> Self {
        let store = Store {
            connection,
            context,
            stream: config.stream.clone(),
            ack_timeout: config.ack_timeout,
            stats: stats.clone(),
        };
        Self {
            store,
            queue,
            waiting: VecDeque::new(),
            waiting_size: Size::default(),
            leaning: Vec::new(),
            under_way: HashSet::new(),
            remembered: Remembered::default(),
            groups_max: config.groups_max,
            has_learned: false,
            stats,
        }
    }

    /// Ends when the last clone of the log is dropped and everything is settled.
    pub(super) async fn run(mut self) {
        let mut groups: FuturesUnordered<BoxFuture<'static, Vec<Settled>>> = FuturesUnordered::new();
        loop {
            while let Ok(job) = self.queue.try_recv() {
                self.wait(job);
            }
            while groups.len() < self.groups_max && self.waiting_size.leaves_beside(groups.len()) {
                let group = self.group();
                if group.is_empty() {
                    break;
                }
                groups.push(Box::pin(self.store.clone().store(group, self.has_learned)));
            }
            tokio::select! {
                biased;
                Some(settled) = groups.next() => self.settle(settled).await,
                job = self.queue.recv() => match job {
                    Some(job) => self.wait(job),
                    None if groups.is_empty() => return,
                    None => {
                        if let Some(settled) = groups.next().await {
                            self.settle(settled).await;
                        }
                    }
                },
            }
        }
    }

    fn wait(&mut self, job: Job) {
        self.waiting_size = self.waiting_size.with(Size::of(job.items.iter()));
        self.waiting.push_back(job);
    }

    /// Before everybody else: it has waited once already.
    fn wait_first(&mut self, job: Job) {
        self.waiting_size = self.waiting_size.with(Size::of(job.items.iter()));
        self.waiting.push_front(job);
    }

    /// What goes into the next commit. Answers on the way what is known already.
    fn group(&mut self) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut held = Size::default();
        while let Some(job) = self.waiting.pop_front() {
            self.waiting_size = self.waiting_size.without(Size::of(job.items.iter()));
            if job.answer.is_closed() {
                continue; // Nobody waits for it any more; its sender repeats it if it matters.
            }
            if job.items.iter().any(|item| self.under_way.contains(&item.id)) {
                self.leaning.push(job);
                continue;
            }
            let mut own: HashSet<EventId> = HashSet::new();
            let is_new = |item: &Item| self.remembered.place(item.id).is_none();
            let new: Vec<usize> = (0..job.items.len())
                .filter(|i| is_new(&job.items[*i]) && own.insert(job.items[*i].id))
                .collect();
            if new.is_empty() {
                self.stats.duplicates.fetch_add(job.items.len() as u64, Ordering::Relaxed);
                self.answer(job, &HashSet::new());
                continue;
            }
            let with_it = held.with(Size::of(new.iter().map(|i| &job.items[*i])));
            if !units.is_empty() && !with_it.fits() {
                self.wait_first(job);
                break;
            }
            held = with_it;
            self.under_way.extend(own);
            units.push(Unit::new(job, new));
        }
        units
    }

    /// Answers what a group's callers wait for.
    async fn settle(&mut self, settled: Vec<Settled>) {
        let mut repeated = Vec::new();
        for Settled { unit, end } in settled {
            for item in &unit.job.items {
                self.under_way.remove(&item.id);
            }
            let mut fresh = HashSet::new();
            for place in &unit.places {
                self.remembered.insert(unit.job.items[place.index].id, place.seq);
                let counter = if place.duplicate { &self.stats.duplicates } else { &self.stats.stored };
                counter.fetch_add(1, Ordering::Relaxed);
                if !place.duplicate {
                    fresh.insert(place.index);
                }
            }
            match end {
                End::Stored => self.answer(unit.job, &fresh),
                End::Failed(error) => drop(unit.job.answer.send(Err(error))),
                End::Repeated => repeated.push(unit.job),
            }
        }
        if !repeated.is_empty() && !self.has_learned {
            self.has_learned = true;
            let store = &self.store;
            let learned = self.remembered.learn(&store.context, &store.stream, store.ack_timeout).await;
            self.stats.learned.fetch_add(learned, Ordering::Relaxed);
        }
        let leaning = std::mem::take(&mut self.leaning);
        for job in repeated.into_iter().chain(leaning).rev() {
            self.wait_first(job);
        }
        self.remembered.forget_old();
    }

    /// Answers a job all of whose ids are remembered; others come again.
    fn answer(&mut self, job: Job, fresh: &HashSet<usize>) {
        let place = |(i, item): (usize, &Item)| {
            let seq = self.remembered.place(item.id)?;
            Some(Stored { seq, duplicate: !fresh.contains(&i), id: item.id })
        };
        let places: Option<Vec<Stored>> = job.items.iter().enumerate().map(place).collect();
        match places {
            // Whoever stopped waiting repeats with the same ids.
            Some(places) => drop(job.answer.send(Ok(places))),
            None => self.wait_first(job),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_leaves_at_once_the_second_half_full_and_others_full() {
        let half = Size { messages: COMMIT_MESSAGES_MAX / 2, bytes: 0 };
        let heavy = Size { messages: 9, bytes: GROUP_BYTES_MAX / 2 };
        let [full, full_of_bytes] =
            [Size { messages: COMMIT_MESSAGES_MAX, bytes: 0 }, Size { messages: 9, bytes: GROUP_BYTES_MAX }];
        let one = Size { messages: 1, bytes: 900 };
        let table = [
            (one, [true, false, false, false]),
            (Size { messages: half.messages - 1, bytes: heavy.bytes - 1 }, [true, false, false, false]),
            (half, [true, true, false, false]),
            (heavy, [true, true, false, false]),
            (
                Size { messages: full.messages - 1, bytes: full_of_bytes.bytes - 1 },
                [true, true, false, false],
            ),
            (full, [true; 4]),
            (full_of_bytes, [true; 4]),
        ];
        for (waiting, leaves) in table {
            let found = [0, 1, 2, 3].map(|under_way| waiting.leaves_beside(under_way));
            assert_eq!(found, leaves, "{waiting:?}");
        }
    }
}
