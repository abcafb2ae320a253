//! One group on its way into the log, until each of its callers can be answered.

use super::{Pause, PublishError, PublishStats, group::Job};
use crate::{
    commit::{BATCH_ID, Member, Outcome, batch_id, known_among, one_by_one, write_as},
    log::Connection,
    message::Encoded,
};
use async_nats::jetstream::Context;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Where a member of a unit lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which of the job's items.
    pub(super) index: usize,
    pub(super) seq: u64,
    /// It had been stored before.
    pub(super) duplicate: bool,
}

/// One job in a group.
pub(super) struct Unit {
    pub(super) job: Job,
    /// What of it is still to be stored, by index.
    new: Vec<usize>,
    /// What of it has been stored or found.
    pub(super) places: Vec<Place>,
}

impl Unit {
    pub(super) fn new(job: Job, new: Vec<usize>) -> Self {
        Self { job, new, places: Vec::new() }
    }

    fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.new.iter().map(|i| Member { message: &self.job.items[*i].message, more: Vec::new() })
    }

    /// Everything new of it lies from `first` on.
    fn stored_from(&mut self, first: u64, duplicate: bool) {
        let place = |(index, seq)| Place { index, seq, duplicate };
        self.places.extend(self.new.drain(..).zip(first..).map(place));
    }

    fn ended(self, end: End) -> Settled {
        Settled { unit: self, end }
    }
}

/// What became of a unit.
pub(super) struct Settled {
    pub(super) unit: Unit,
    pub(super) end: End,
}

/// How a unit ended.
pub(super) enum End {
    /// Everything of it has a place.
    Stored,
    /// Its caller hears why not.
    Failed(PublishError),
    /// The server knows something of its group, perhaps of an earlier process of ours.
    Repeated,
}

/// What storing needs.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) context: Context,
    pub(super) stream: String,
    pub(super) ack_timeout: Duration,
    pub(super) stats: Arc<PublishStats>,
}

impl Store {
    /// Stores a group in one commit; in several when the server refuses it whole. With `tells_apart` a
    /// group of which the server knows a member is halved until that is alone, without it comes back.
    pub(super) async fn store(self, group: Vec<Unit>, tells_apart: bool) -> Vec<Settled> {
        let mut settled = Vec::with_capacity(group.len());
        let mut stack = vec![(group, Vec::new())];
        let mut pause = Pause::default();
        while let Some((mut units, mut tried)) = stack.pop() {
            let members: Vec<Member<'_>> = units.iter().flat_map(Unit::members).collect();
            let Some(last) = members.last() else { continue };
            let n = members.len() as u64;
            let id = batch_id();
            let mut outcome = write_as(&id, &self.connection, self.ack_timeout, &members).await;
            if outcome == Outcome::Known
                && let Some(seq) = self.stored_by(&tried, &last.message.subject).await
            {
                outcome = Outcome::Stored { seq, duplicate: false };
            }
            drop(members);
            match outcome {
                Outcome::Stored { seq, duplicate } => {
                    self.stats.commits.fetch_add(1, Ordering::Relaxed);
                    let mut next = seq + 1 - n;
                    for mut unit in units {
                        let first = next;
                        next += unit.new.len() as u64;
                        unit.stored_from(first, duplicate);
                        settled.push(unit.ended(End::Stored));
                    }
                }
                Outcome::Known if !tells_apart => {
                    settled.extend(units.into_iter().map(|unit| unit.ended(End::Repeated)));
                }
                Outcome::Known if units.len() == 1 => {
                    let unit = units.pop().expect("a group of one has one");
                    match self.tell_apart(unit).await {
                        Told::Ended(end) => settled.push(end),
                        Told::Left(unit) => stack.push((vec![unit], Vec::new())),
                    }
                }
                Outcome::Known | Outcome::Refused { .. } if units.len() > 1 => {
                    self.stats.halved.fetch_add(1, Ordering::Relaxed);
                    let upper = units.split_off(units.len() / 2);
                    stack.push((upper, Vec::new()));
                    stack.push((units, Vec::new()));
                }
                Outcome::Full(text) => {
                    settled.extend(failed(units, || PublishError::StoreFull(text.clone())));
                }
                Outcome::Refused { code, text } => {
                    settled.extend(failed(units, || PublishError::Refused { code, text: text.clone() }));
                }
                // Without a condition there is no conflict; the server's word for it is taken as a refusal.
                Outcome::Conflict | Outcome::Known => {
                    let text = || "an unexpected conflict".to_owned();
                    settled.extend(failed(units, || PublishError::Refused { code: 10_071, text: text() }));
                }
                Outcome::Away(reason) | Outcome::Unknown(reason) => {
                    self.stats.retries.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(pause.next()).await;
                    let now = Instant::now();
                    let (late, still): (Vec<_>, Vec<_>) =
                        units.into_iter().partition(|unit| unit.job.deadline <= now);
                    if late.is_empty() {
                        tried.push(id);
                    } else {
                        tried.clear(); // What is tried next is not what was tried.
                    }
                    settled.extend(failed(late, || PublishError::Unavailable(reason.clone())));
                    stack.push((still, tried));
                }
            }
        }
        settled
    }

    /// Where the last member of this very group lies, if one of the batches `tried` stored it: a lost
    /// acknowledgement, the usual reason why a whole group is known.
    async fn stored_by(&self, tried: &[String], subject: &str) -> Option<u64> {
        if tried.is_empty() {
            return None;
        }
        let stream = self.context.get_stream_no_info(&self.stream).await.ok()?;
        let last = stream.get_last_raw_message_by_subject(subject).await.ok()?;
        let batch = last.headers.get(BATCH_ID)?;
        tried.iter().any(|id| id == batch.as_str()).then_some(last.sequence)
    }

    /// The server knows a member of this unit, and refused it whole. Finds out which, and what is left to store.
    async fn tell_apart(&self, mut unit: Unit) -> Told {
        let mut known = unit.new.clone();
        if unit.new.len() > 1 {
            let new: Vec<&Encoded> = unit.new.iter().map(|i| &unit.job.items[*i].message).collect();
            let among = known_among(&self.connection, self.ack_timeout, &new).await;
            if !among.is_empty() {
                known = among.into_iter().map(|n| unit.new[n]).collect();
            }
        }
        // The server answers a known id with the first one's place and stores nothing.
        let messages: Vec<&Encoded> = known.iter().map(|i| &unit.job.items[*i].message).collect();
        let outcomes = one_by_one(&self.connection, self.ack_timeout, &messages).await;
        for (index, outcome) in known.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Stored { seq, duplicate } => {
                    unit.places.push(Place { index, seq, duplicate });
                    unit.new.retain(|new| *new != index);
                }
                Outcome::Full(text) => {
                    return Told::Ended(unit.ended(End::Failed(PublishError::StoreFull(text))));
                }
                Outcome::Refused { code, text } => {
                    return Told::Ended(unit.ended(End::Failed(PublishError::Refused { code, text })));
                }
                Outcome::Conflict | Outcome::Known | Outcome::Away(_) | Outcome::Unknown(_) => {
                    if unit.job.deadline <= Instant::now() {
                        let why = PublishError::Unavailable("telling repeated events apart".into());
                        return Told::Ended(unit.ended(End::Failed(why)));
                    }
                }
            }
        }
        if unit.new.is_empty() { Told::Ended(unit.ended(End::Stored)) } else { Told::Left(unit) }
    }
}

/// What telling apart came to.
enum Told {
    Ended(Settled),
    /// This is new.
    Left(Unit),
}

fn failed(units: Vec<Unit>, why: impl Fn() -> PublishError) -> impl Iterator<Item = Settled> {
    units.into_iter().map(move |unit| unit.ended(End::Failed(why())))
}
