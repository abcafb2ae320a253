//! Leases: who of several replicas works on which of 64 slots.
//!
//! All replicas of a group share one table (replica → slots) that is changed by compare-and-set, and
//! each says once a second that it lives. Whoever has not said so for the time of expiry, by the clock of the
//! one who looks, loses its slots to the others. So a group costs one small write per replica and second,
//! however many slots there are. The bucket lies in memory: leases mean nothing after a restart.
//!
//! A lease is no lock: a frozen replica that wakes up still believes in its slots for a moment. For deciders it only
//! saves work, their commits are fenced. Keepers are *strict*: one that cannot say that it
//! lives stops by itself before the others take over.

use crate::log::{LEASES, Log, chain};
use async_nats::jetstream::kv;
use events::subject::SLOTS;
use futures::StreamExt;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A set of slots, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots(u64);

impl Slots {
    /// None of them.
    pub const NONE: Slots = Slots(0);
    /// All 64.
    pub const ALL: Slots = Slots(u64::MAX);

    /// Whether `slot` is one of them.
    pub const fn has(self, slot: u16) -> bool {
        slot < SLOTS && self.0 & (1 << slot) != 0
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The slots, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..SLOTS).filter(move |slot| self.has(*slot))
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Slots) -> Slots {
        Slots(self.0 & !other.0)
    }

    const fn and(self, other: Slots) -> Slots {
        Slots(self.0 | other.0)
    }

    /// The first `n` of them.
    fn first(self, n: u32) -> Slots {
        self.iter().take(n as usize).collect()
    }
}

impl FromIterator<u16> for Slots {
    fn from_iter<T: IntoIterator<Item = u16>>(slots: T) -> Self {
        slots.into_iter().filter(|slot| *slot < SLOTS).fold(Slots::NONE, |all, slot| Slots(all.0 | 1 << slot))
    }
}

/// How a replica takes part in sharing slots.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// Among whom: a service, or a service at a point of presence; tokens parted by dots.
    pub group: String,
    /// Who: unique among the replicas of the group.
    pub replica: String,
    /// After how long without a sign of life a replica's slots are free.
    pub expiry: Duration,
    /// Whether to give everything up when the sign of life cannot be given.
    pub strict: bool,
}

impl LeaseConfig {
    /// For `group`, with a replica name drawn for this process: 3 s, not strict.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            replica: Uuid::new_v4().simple().to_string(),
            expiry: Duration::from_secs(3),
            strict: false,
        }
    }
}

/// A replica's share of the slots; given back by [`Lease::release`], or lost after a while when dropped.
#[derive(Debug)]
pub struct Lease {
    held: watch::Receiver<Slots>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Lease {
    /// The slots held, as they change.
    pub fn held(&self) -> watch::Receiver<Slots> {
        self.held.clone()
    }

    /// Gives the slots back, so that others need not wait until they expire.
    pub async fn release(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // It ends by itself within a second; a panic there was reported when it happened.
            drop(task.await);
        }
    }
}

impl Log {
    /// Takes part in sharing the slots of a group.
    pub fn lease(&self, config: LeaseConfig) -> Lease {
        let (told, held) = watch::channel(Slots::NONE);
        let stop = CancellationToken::new();
        let task = tokio::spawn(Holder::new(self.clone(), config, told).run(stop.clone()));
        Lease { held, stop, task: Some(task) }
    }
}

type Table = BTreeMap<String, u64>;

struct Holder {
    log: Log,
    config: LeaseConfig,
    told: watch::Sender<Slots>,
    /// When each replica's sign of life last changed, by our clock.
    seen: HashMap<String, Instant>,
    table: Option<(Table, u64)>,
    alive_at: Instant,
    beats: u64,
}

impl Holder {
    fn new(log: Log, config: LeaseConfig, told: watch::Sender<Slots>) -> Self {
        let alive_at = Instant::now();
        Self { log, config, told, seen: HashMap::new(), table: None, alive_at, beats: 0 }
    }

    fn beat_every(&self) -> Duration {
        self.config.expiry / 3
    }

    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let reason = tokio::select! {
                reason = self.take_part() => reason,
                () = stop.cancelled() => break,
            };
            tracing::debug!(group = self.config.group, reason, "leases are not to be had now");
            self.give_up_when_strict();
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = stop.cancelled() => break,
            }
        }
        let _in_time = tokio::time::timeout(Duration::from_secs(1), self.leave()).await;
        self.told.send_replace(Slots::NONE);
    }

    /// Works until something goes wrong; says what.
    async fn take_part(&mut self) -> String {
        let within = self.beat_every();
        let set_up = async {
            let bucket = self.bucket().await?;
            let changes =
                bucket.watch_with_history(format!("{}.>", self.config.group)).await.map_err(chain)?;
            Ok::<_, String>((bucket, changes))
        };
        let (bucket, mut changes) = match tokio::time::timeout(within, set_up).await {
            Ok(Ok(made)) => made,
            Ok(Err(reason)) => return reason,
            Err(_) => return "no answer about the bucket of leases".into(),
        };
        self.table = None;
        let mut beat = tokio::time::interval(within);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(entry)) => self.see(&entry),
                    Some(Err(error)) => return chain(error),
                    None => return "the watch has ended".into(),
                },
                _ = beat.tick() => {
                    self.beats += 1;
                    let put = bucket.put(self.replica_key(&self.config.replica), self.beats.to_string().into());
                    match tokio::time::timeout(within, put).await {
                        Ok(Ok(_)) => self.alive_at = Instant::now(),
                        Ok(Err(error)) => return chain(error),
                        Err(_) => return "the sign of life is not acknowledged".into(),
                    }
                }
            }
            match tokio::time::timeout(within, self.settle(&bucket)).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => return reason,
                Err(_) => return "the table of leases is not acknowledged".into(),
            }
        }
    }

    async fn bucket(&self) -> Result<kv::Store, String> {
        let context = &self.log.inner.context;
        match context.get_key_value(LEASES).await {
            Ok(bucket) => Ok(bucket),
            Err(_) => {
                // It lay in memory, and the server has been restarted.
                self.log.declare_leases(self.log.inner.config.replicas).await.map_err(chain)?;
                context.get_key_value(LEASES).await.map_err(chain)
            }
        }
    }

    fn replica_key(&self, replica: &str) -> String {
        format!("{}.replica.{replica}", self.config.group)
    }

    fn table_key(&self) -> String {
        format!("{}.table", self.config.group)
    }

    fn see(&mut self, entry: &kv::Entry) {
        let gone = entry.operation != kv::Operation::Put;
        if entry.key == self.table_key() {
            let table = serde_json::from_slice(&entry.value).unwrap_or_default();
            self.table = if gone { None } else { Some((table, entry.revision)) };
            return;
        }
        let prefix = self.replica_key("");
        let Some(replica) = entry.key.strip_prefix(&prefix) else { return };
        if gone {
            self.seen.remove(replica);
        } else {
            self.seen.insert(replica.to_owned(), Instant::now());
        }
    }

    /// Brings the table to what it should be, as far as it concerns us, and tells what we hold.
    async fn settle(&mut self, bucket: &kv::Store) -> Result<(), String> {
        let me = self.config.replica.clone();
        if !self.seen.contains_key(&me) {
            return Ok(()); // Nobody can see us yet.
        }
        let now = Instant::now();
        for replica in self.table.iter().flat_map(|(table, _)| table.keys()) {
            self.seen.entry(replica.clone()).or_insert(now);
        }
        let expiry = self.config.expiry;
        self.seen.retain(|_, at| now.duration_since(*at) < expiry * 20);
        let live: Vec<String> = self
            .seen
            .iter()
            .filter(|(replica, at)| **replica == me || now.duration_since(**at) < expiry)
            .map(|(replica, _)| replica.clone())
            .collect();
        let current = self.table.as_ref().map(|(table, _)| table.clone());
        let wanted = match &current {
            Some(table) => share(table, &live, &me),
            None => share(&Table::from([(me.clone(), self.told.borrow().0)]), &live, &me),
        };
        if current.as_ref() != Some(&wanted) {
            let value = serde_json::to_vec(&wanted).map_err(chain)?;
            let key = self.table_key();
            let put = match &self.table {
                Some((_, revision)) => bucket.update(&key, value.into(), *revision).await.map_err(chain),
                None => bucket.create(&key, value.into()).await.map_err(chain),
            };
            match put {
                Ok(revision) => self.table = Some((wanted, revision)),
                Err(reason) => {
                    // Somebody else was faster; the watch brings theirs.
                    tracing::trace!(reason, "the table of leases has changed meanwhile");
                    return Ok(());
                }
            }
        }
        let mine = self.table.as_ref().and_then(|(table, _)| table.get(&me)).copied().unwrap_or(0);
        self.tell(Slots(mine));
        Ok(())
    }

    fn tell(&self, slots: Slots) {
        self.told.send_if_modified(|held| {
            let changed = *held != slots;
            *held = slots;
            changed
        });
    }

    fn give_up_when_strict(&self) {
        if self.config.strict && self.alive_at.elapsed() >= self.config.expiry / 2 {
            self.tell(Slots::NONE);
        }
    }

    async fn leave(&mut self) {
        let Ok(bucket) = self.log.inner.context.get_key_value(LEASES).await else { return };
        for _ in 0..5 {
            let Ok(Some(entry)) = bucket.entry(self.table_key()).await else { break };
            let Ok(mut table) = serde_json::from_slice::<Table>(&entry.value) else { break };
            if table.remove(&self.config.replica).is_none() {
                break;
            }
            let Ok(value) = serde_json::to_vec(&table) else { break };
            if bucket.update(self.table_key(), value.into(), entry.revision).await.is_ok() {
                break;
            }
        }
        drop(bucket.delete(self.replica_key(&self.config.replica)).await);
    }
}

/// The table as `me` would have it: without the dead, and with no more than a fair share for `me`.
fn share(table: &Table, live: &[String], me: &str) -> Table {
    let mut wanted: Table =
        table.iter().filter(|(replica, _)| live.contains(replica)).map(|(r, s)| (r.clone(), *s)).collect();
    let others = wanted
        .iter()
        .filter(|(replica, _)| replica.as_str() != me)
        .fold(Slots::NONE, |all, (_, slots)| all.and(Slots(*slots)));
    let mine = Slots(wanted.get(me).copied().unwrap_or(0)).without(others);
    let fair = u32::from(SLOTS).div_ceil(u32::try_from(live.len().max(1)).unwrap_or(u32::MAX));
    let mine = if mine.count() > fair {
        mine.first(fair)
    } else {
        mine.and(Slots::ALL.without(others).without(mine).first(fair - mine.count()))
    };
    wanted.insert(me.to_owned(), mine.0);
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("r{i}")).collect()
    }

    #[test]
    fn one_alone_holds_everything_and_two_share() {
        let both = names(2);
        let alone = share(&Table::new(), &both[..1], "r0");
        assert_eq!(alone["r0"], u64::MAX);
        let less = share(&alone, &both, "r0");
        let shared = share(&less, &both, "r1");
        assert_eq!((Slots(shared["r0"]).count(), Slots(shared["r1"]).count()), (32, 32));
        assert_eq!(shared["r0"] & shared["r1"], 0);
    }

    proptest! {
        /// Whoever looks and whenever: no slot has two holders, and in the end each has one.
        #[test]
        fn every_slot_ends_with_one_holder(n in 1_usize..6, turns in proptest::collection::vec(0_usize..6, 0..40), dead in 0_usize..6) {
            let all = names(n);
            let mut table = Table::new();
            for turn in turns {
                table = share(&table, &all, &all[turn % n]);
                let held: u32 = table.values().map(|s| s.count_ones()).sum();
                prop_assert_eq!(held, table.values().fold(0, |a, s| a | s).count_ones());
            }
            let live: Vec<String> = all.iter().enumerate().filter(|(i, _)| n == 1 || *i != dead).map(|(_, r)| r.clone()).collect();
            for _ in 0..2 {
                for one in &live {
                    table = share(&table, &live, one);
                }
            }
            prop_assert_eq!(table.values().fold(0, |a, s| a | s), u64::MAX);
            prop_assert_eq!(table.values().map(|s| s.count_ones()).sum::<u32>(), 64);
        }
    }
}
