//! One reading of the log's end for everybody in a process.
//!
//! Where many services live in one process, each message would come as often as there are services
//! that hear it, and be taken apart as often. Here it comes once: one consumer without a filter, whose
//! messages go into the queues of those that asked for them. A queue has a bound; whoever falls behind it
//! loses its seat, reads on by a consumer of its own, and takes a seat again when it has come to the end.
//!
//! Nothing is missed between the two: a seat is taken *first*, then everything up to the place where
//! the tap stood at that moment is read alone, and then what the queue holds beyond it.

use super::{From, Reader};
use crate::{
    log::{Log, LogError},
    message::Raw,
};
use events::Noun;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, watch};

/// Messages that may wait for one reader.
const QUEUE_MAX: usize = 8_192;
/// Bytes of bodies that may wait for one reader.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages taken from the server at once.
const CHUNK: usize = 1_000;

/// What the one reading of a process has done since the start: for metrics.
#[derive(Debug, Default)]
pub struct TapStats {
    /// Messages that came.
    pub messages: AtomicU64,
    /// Readers that take part.
    pub seats: AtomicU64,
    /// Times a reader was too slow and had to read alone.
    pub lost_seats: AtomicU64,
}

/// The one reading of a process. It runs as long as somebody takes part.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    state: Mutex<State>,
    stats: TapStats,
}

#[derive(Debug, Default)]
struct State {
    seats: BTreeMap<u64, Place>,
    next_seat: u64,
    /// Becomes true when the reading stands. None: nobody reads.
    reads_from: Option<watch::Receiver<bool>>,
    /// Everything up to here has gone to the queues.
    read_up_to: u64,
}

/// Who waits for what.
#[derive(Debug)]
struct Place {
    wanted: Wanted,
    queue: VecDeque<Raw>,
    bytes: usize,
    /// There was no room: what came since is not here.
    is_lost: bool,
    arrived: Arc<Notify>,
}

/// Filters, by noun: a look at a noun is cheaper than at a filter.
#[derive(Debug)]
struct Wanted {
    /// Nouns of which everything is wanted, one bit each.
    whole: u32,
    /// Nouns of which something is.
    parts: u32,
    filters: Vec<String>,
}

impl Wanted {
    fn of(filters: &[String]) -> Self {
        let mut wanted = Self { whole: 0, parts: 0, filters: Vec::new() };
        for filter in filters {
            let noun = noun_of(filter);
            match (filter.strip_prefix("mw.*.*."), noun) {
                (Some(rest), Some(noun)) if rest.strip_prefix(noun.token()) == Some(".>") => {
                    wanted.whole |= bit(Some(noun));
                }
                (_, Some(noun)) => {
                    wanted.parts |= bit(Some(noun));
                    wanted.filters.push(filter.clone());
                }
                (_, None) => {
                    wanted.parts = u32::MAX;
                    wanted.filters.push(filter.clone());
                }
            }
        }
        wanted
    }

    fn lets_pass(&self, subject: &str, bit: u32) -> bool {
        self.whole & bit != 0
            || (self.parts & bit != 0
                && self.filters.iter().any(|filter| super::filter::lets_pass(filter, subject)))
    }
}

fn noun_of(subject: &str) -> Option<Noun> {
    Noun::from_token(subject.split('.').nth(3)?)
}

/// A noun's bit; what has none that we know has the last.
fn bit(noun: Option<Noun>) -> u32 {
    noun.map_or(1 << 31, |noun| 1 << noun as u32)
}

/// A reader's part in the reading. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    tap: Arc<Tap>,
    id: u64,
    arrived: Arc<Notify>,
    /// Everything up to here went by before the seat was taken.
    pub(super) from: u64,
}

/// What a seat has.
pub(super) enum Taken {
    /// Something was added to what is held.
    Some,
    /// Nothing yet.
    Nothing,
    /// There was no room for more: what comes next has to be read alone.
    Lost,
}

impl Tap {
    pub(crate) fn stats(&self) -> &TapStats {
        &self.stats
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-done by a panic while this is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part from now on. Waits until somebody reads.
    ///
    /// # Errors
    ///
    /// [`LogError::Read`] when the stream cannot be read at all.
    pub(super) async fn join(self: &Arc<Self>, log: &Log, filters: &[String]) -> Result<Seat, LogError> {
        loop {
            let mut stands = self.reading(log);
            if stands.wait_for(|stands| *stands).await.is_err() {
                // It ended before it began: why, the one who begins it anew finds out.
                let mut reader = Reader::everything(log);
                reader.consume().await?;
                continue;
            }
            let mut state = self.state();
            // It may have ended since, and another may not stand yet.
            if !state.reads_from.as_ref().is_some_and(|stands| *stands.borrow()) {
                continue;
            }
            let (id, arrived, from) = (state.next_seat, Arc::new(Notify::new()), state.read_up_to);
            state.next_seat += 1;
            let place = Place {
                wanted: Wanted::of(filters),
                queue: VecDeque::new(),
                bytes: 0,
                is_lost: false,
                arrived: Arc::clone(&arrived),
            };
            state.seats.insert(id, place);
            self.stats.seats.store(state.seats.len() as u64, Ordering::Relaxed);
            return Ok(Seat { tap: Arc::clone(self), id, arrived, from });
        }
    }

    /// Tells from where on somebody reads; begins to read when nobody does.
    fn reading(self: &Arc<Self>, log: &Log) -> watch::Receiver<bool> {
        let mut state = self.state();
        if let Some(stands) = &state.reads_from {
            return stands.clone();
        }
        let (stand, stands) = watch::channel(false);
        state.reads_from = Some(stands.clone());
        tokio::spawn(Arc::clone(self).read(Reader::everything(log), stand));
        stands
    }

    async fn read(self: Arc<Self>, mut reader: Reader, stand: watch::Sender<bool>) {
        if let Err(error) = reader.consume().await {
            tracing::warn!(%error, "the log cannot be read");
            self.state().reads_from = None;
            return;
        }
        self.state().read_up_to = reader.last_seq;
        stand.send_replace(true);
        loop {
            let chunk = match reader.next_chunk(CHUNK).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    tracing::warn!(%error, "the log cannot be read");
                    Vec::new()
                }
            };
            if chunk.is_empty() || !self.hand_out(chunk) {
                // Whoever still has a seat finds it lost, and begins anew.
                let mut state = self.state();
                state.reads_from = None;
                for place in state.seats.values_mut() {
                    place.is_lost = true;
                    place.arrived.notify_one();
                }
                return;
            }
        }
    }

    /// Puts a chunk into the queues; false when nobody takes part any more.
    fn hand_out(&self, chunk: Vec<Raw>) -> bool {
        self.stats.messages.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        let mut state = self.state();
        let state = &mut *state;
        for raw in chunk {
            let raw = raw.shared();
            state.read_up_to = raw.seq;
            let bit = bit(noun_of(&raw.subject));
            for place in state.seats.values_mut() {
                if place.is_lost || !place.wanted.lets_pass(&raw.subject, bit) {
                    continue;
                }
                if place.queue.len() >= QUEUE_MAX || place.bytes >= QUEUE_BYTES_MAX {
                    place.is_lost = true;
                    self.stats.lost_seats.fetch_add(1, Ordering::Relaxed);
                } else {
                    place.bytes += raw.body.len();
                    place.queue.push_back(raw.clone());
                }
            }
        }
        for place in state.seats.values() {
            if place.is_lost || !place.queue.is_empty() {
                place.arrived.notify_one();
            }
        }
        !state.seats.is_empty()
    }
}

impl Seat {
    /// Adds to `held` what came after `last_seq`, up to `max` messages in all; says how many still wait.
    pub(super) fn take(&self, held: &mut VecDeque<Raw>, last_seq: &mut u64, max: usize) -> (Taken, u64) {
        let mut state = self.tap.state();
        let Some(place) = state.seats.get_mut(&self.id) else { return (Taken::Lost, 0) };
        let before = held.len();
        while held.len() < max
            && let Some(raw) = place.queue.pop_front()
        {
            place.bytes -= raw.body.len();
            if raw.seq > *last_seq {
                *last_seq = raw.seq;
                held.push_back(raw);
            }
        }
        let taken = if held.len() > before {
            Taken::Some
        } else if place.is_lost && place.queue.is_empty() {
            Taken::Lost
        } else {
            Taken::Nothing
        };
        (taken, place.queue.len() as u64)
    }

    /// Resolves when something may have arrived.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.tap.state();
        state.seats.remove(&self.id);
        self.tap.stats.seats.store(state.seats.len() as u64, Ordering::Relaxed);
    }
}

impl Reader {
    /// Reads everything from now on, by a consumer of its own.
    fn everything(log: &Log) -> Self {
        let mut reader = log.read_subjects(Vec::new(), From::New, None);
        reader.is_alone = true;
        reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_what_the_filters_let_pass() {
        let filters = ["mw.*.*.health.>", "mw.3.*.due.toy.>", "mw.3.all.cut.toy"].map(str::to_owned);
        let wanted = Wanted::of(&filters);
        for subject in [
            "mw.3.t.health.x",
            "mw.9.t.health.x.y",
            "mw.3.t.due.toy.a",
            "mw.4.t.due.toy.a",
            "mw.3.t.due.other.a",
            "mw.3.all.cut.toy",
            "mw.3.all.cut.other",
            "mw.3.t.signal.x",
        ] {
            let bit = bit(noun_of(subject));
            let passes = filters.iter().any(|filter| super::super::filter::lets_pass(filter, subject));
            assert_eq!(wanted.lets_pass(subject, bit), passes, "{subject}");
        }
    }
}
