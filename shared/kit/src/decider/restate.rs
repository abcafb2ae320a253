//! What still holds is said again before the log forgets it.
//!
//! A decider remembers what it said by the last message of each subject, and most messages are kept for a time
//! only. Once a day, and at every start, it is asked to say again what would expire within a tenth of its
//! retention. What is older than its retention is not loaded, whether the server has come to
//! deleting it or not: so memory follows from what the log says and not from when it is tidied.

use super::{
    Common,
    memory::Memory,
    partition::{Broken, Partition, READ_MAX, ROOM},
    said_by,
};
use crate::{log::LogError, message::said_again, read::From};
use events::{Decide, Decision, EventId, Noun, Retention, Say, Time};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most standings that are held to be said again; the rest is looked for a little later.
const OLD_MAX: usize = 10_000;

/// After how long the rest is looked for.
const SOON: Duration = Duration::from_secs(60);

/// How long the last message of a noun counts, when nothing else is said.
pub(super) fn retention(noun: Noun) -> Option<Duration> {
    match noun.retention() {
        Retention::Forever => None,
        Retention::Seconds(seconds) => Some(Duration::from_secs(seconds)),
    }
}

/// How near its end a standing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It stays for a while.
    Young,
    /// Less than a tenth of its time is left.
    Old,
    /// Its time is over.
    Over,
}

/// The age, at `now`, of what was said at `heard` and is kept for `kept`.
pub(super) fn age(heard: Time, kept: Option<Duration>, now: Time) -> Age {
    let Some(kept) = kept else { return Age::Young };
    let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    match now.ms_since(heard) {
        age if age > kept_ms => Age::Over,
        age if age >= kept_ms - kept_ms / 10 => Age::Old,
        _ => Age::Young,
    }
}

/// Keeps an old standing until it is said again.
pub(super) fn note<D>(memory: &mut Memory<D>, said: &Say) {
    if memory.old.len() < OLD_MAX {
        memory.old.push(said.clone());
    } else {
        memory.restate_at = Instant::now() + SOON;
    }
}

impl<D: Decide> Partition<D> {
    /// Looks which standings the log is about to forget, and says them again.
    pub(super) async fn look_for_old(
        &mut self,
        memory: &mut Memory<D>,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        memory.restate_at = Instant::now() + self.common.options.restate_every;
        note_old(&self.common, self.part, memory).await.map_err(|e| Broken::Later(crate::log::chain(e)))?;
        self.say_again(memory, stop).await
    }

    /// Says again what was noted as old.
    ///
    /// Nothing was said since they were read: each is the last of its subject, or the fence fails.
    pub(super) async fn say_again(
        &mut self,
        memory: &mut Memory<D>,
        stop: &CancellationToken,
    ) -> Result<(), Broken> {
        let old = std::mem::take(&mut memory.old);
        for some in old.chunks(ROOM) {
            let said: Vec<Say> = some.iter().filter_map(|said| again(&memory.decider, said)).collect();
            if said.is_empty() {
                continue;
            }
            let count = said.len() as u64;
            let decision = Decision { said, timers: Vec::new(), owed: memory.owed };
            self.commit(memory, decision, stop).await?;
            self.common.stats.restated.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn again<D: Decide>(decider: &D, said: &Say) -> Option<Say> {
    let fact = decider.restate(said)?;
    let id = EventId::following(said.id, D::NAME, "restated");
    Some(Say { id, tenant: said.tenant, at: said.at, cause: Some(said.id), fact })
}

async fn note_old<D: Decide>(common: &Common<D>, part: u16, memory: &mut Memory<D>) -> Result<(), LogError> {
    // Of what is kept for ever nothing grows old.
    let filters = said_by::<D>(part);
    if D::SAYS.iter().all(|noun| (common.options.retention)(*noun).is_none()) {
        return Ok(());
    }
    let end = common.log.state().await?.last_seq;
    let mut said = common.log.read(&filters, From::LastPerSubject, Some(end));
    loop {
        let chunk = said.next_chunk(READ_MAX).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        for raw in chunk {
            // What cannot be read was put into the dead letters when it was loaded.
            let Ok(heard) = raw.decode() else { continue };
            let kept = (common.options.retention)(heard.fact.noun());
            if age(raw.heard, kept, memory.now) == Age::Old {
                let said = said_again(heard, raw.cause());
                if memory.decider.restate(&said).is_some() {
                    note(memory, &said);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_old_and_what_is_for_ever_never_is() {
        let kept = Some(Duration::from_secs(100));
        let at = |s: i64| age(Time::from_ms(1_000), kept, Time::from_ms(1_000 + s * 1_000));
        assert_eq!([at(0), at(89), at(90), at(100), at(101)], {
            use Age::{Old, Over, Young};
            [Young, Young, Old, Old, Over]
        });
        assert_eq!(age(Time::EPOCH, None, Time::from_ms(i64::MAX / 2_000)), Age::Young);
        assert_eq!(age(Time::from_ms(5), kept, Time::EPOCH), Age::Young, "before anything was heard");
    }
}
