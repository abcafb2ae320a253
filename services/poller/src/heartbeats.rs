//! Heartbeats: the keeper's own watch over what cannot report its own death.
//!
//! Each watched node has a moment of its own within its interval, the same whoever watches it: two thirds of
//! it follow from its rank among all, one third from its name. So no second holds more than twice
//! the mean, and a node more or less moves the others by a hair.
//!
//! Only changes are said, and what was last said again every few minutes. That a node falls silent is
//! said try by try. A probe that says nothing about the network is not said at all; the next one comes soon.

use crate::{
    asks::outcome_of,
    figures::{Figures, kind_of_probe, name_of},
    known::{self, Watched},
    reach::{Purpose, Reach},
    sight::UNSEEN,
    tries::{Ended, STARTS},
    voice::{Chain, Voice, Word, now},
};
use events::{Answer, EventId, NodeId, Outcome, Vantage, slot_of};
use kit::Slots;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// For how long storing what a heartbeat found is tried. Later the next one says it.
const SAY_WITHIN: Duration = Duration::from_secs(20);

/// What was last said of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Alive,
    Silent,
}

/// One watched node.
#[derive(Debug)]
struct Beat {
    watched: Watched,
    offset_ms: u64,
    begun: Option<Instant>,
    is_running: bool,
    said: Option<(Said, Instant)>,
    rtt: Duration,
}

/// What one heartbeat has found out and said.
struct Done {
    watched: Watched,
    after: After,
    rtt: Option<Duration>,
}

/// What stands as said of a node after a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The same as before.
    AsBefore,
    /// This, just now.
    Said(Said),
    /// Nothing that can be relied upon: the next result is said whatever it is.
    Unsure,
}

/// Watches nodes.
pub(crate) struct Heartbeats {
    reach: Reach,
    voice: Voice,
    figures: Figures,
    slots: watch::Receiver<Slots>,
    at_once: Arc<Semaphore>,
    attest_every: Duration,
    beats: HashMap<NodeId, Beat>,
    due: BinaryHeap<Reverse<(Instant, NodeId)>>,
    tasks: TaskTracker,
}

impl Heartbeats {
    /// Watches everybody in the slots that are ours, `at_once` at a time.
    pub(crate) fn new(
        reach: Reach,
        voice: Voice,
        figures: Figures,
        slots: watch::Receiver<Slots>,
        at_once: usize,
        attest_every: Duration,
    ) -> Self {
        Self {
            reach,
            voice,
            figures,
            slots,
            at_once: Arc::new(Semaphore::new(at_once)),
            attest_every,
            beats: HashMap::new(),
            due: BinaryHeap::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Watches until `stop`, and ends when the last probe has.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut version = self.reach.roster.version();
        let (done, mut ended) = mpsc::unbounded_channel();
        self.plan();
        loop {
            let next = self.due.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.slots.changed() => match changed {
                    Ok(()) => self.plan(),
                    Err(_) => break,
                },
                changed = version.changed() => match changed {
                    Ok(()) => self.plan(),
                    Err(_) => break,
                },
                Some(done) = ended.recv() => self.note(&done),
                () = at(next) => self.begin_due(&done),
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Works out who is watched and when, and ends sessions with routers that are not ours any more.
    fn plan(&mut self) {
        let slots = *self.slots.borrow_and_update();
        let routers = self.reach.roster.routers(slots);
        self.reach.routers.retain(|router| routers.contains_key(&router));
        let mut by_interval: BTreeMap<u32, Vec<Watched>> = BTreeMap::new();
        for watched in known::watched(&self.reach.roster, slots) {
            by_interval.entry(watched.every_s).or_default().push(watched);
        }
        let mut wanted = HashSet::new();
        for (every_s, mut group) in by_interval {
            group.sort_by_key(|watched| watched.node);
            let every_ms = u64::from(every_s) * 1_000;
            for (rank, watched) in group.iter().enumerate() {
                wanted.insert(watched.node);
                self.put(*watched, offset_ms(watched.node, rank, group.len(), every_ms));
            }
        }
        self.beats.retain(|node, _| wanted.contains(node));
        self.figures.watched.set(i64::try_from(self.beats.len()).unwrap_or(i64::MAX));
        self.due = self.beats.iter().map(|(node, beat)| Reverse((beat.next(), *node))).collect();
    }

    fn put(&mut self, watched: Watched, offset_ms: u64) {
        let beat = self.beats.entry(watched.node).or_insert_with(|| Beat {
            watched,
            offset_ms,
            begun: None,
            is_running: false,
            said: None,
            rtt: Duration::ZERO,
        });
        beat.offset_ms = offset_ms;
        if beat.watched != watched {
            beat.watched = watched;
            // What was said was said of another address or another probe.
            beat.said = None;
        }
    }

    fn begin_due(&mut self, done: &mpsc::UnboundedSender<Done>) {
        let now = Instant::now();
        while let Some(Reverse((at, node))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            self.figures.heartbeat_lateness.observe((now - at).as_secs_f64());
            self.begin(node, now, done);
            if let Some(beat) = self.beats.get(&node) {
                self.due.push(Reverse((beat.next(), node)));
            }
        }
    }

    fn begin(&mut self, node: NodeId, now: Instant, done: &mpsc::UnboundedSender<Done>) {
        let Some(beat) = self.beats.get_mut(&node) else { return };
        beat.begun = Some(now);
        if !self.slots.borrow().has(slot_of(node)) {
            return; // Lost a moment ago; the plan follows.
        }
        let place = Arc::clone(&self.at_once).try_acquire_owned();
        let (Ok(place), false) = (place, beat.is_running) else {
            self.figures.heartbeats_skipped.inc();
            return;
        };
        beat.is_running = true;
        let look = Look {
            reach: self.reach.clone(),
            voice: self.voice.clone(),
            figures: self.figures.clone(),
            watched: beat.watched,
            said: beat.said.map(|(said, _)| said),
            // One that is known to answer later than a try lasts is not said to be silent in between.
            is_far: beat.rtt >= STARTS[1],
            is_due: beat.said.is_none_or(|(_, at)| at.elapsed() >= attest_after(node, self.attest_every)),
        };
        let done = done.clone();
        self.tasks.spawn(async move {
            let found = look.run().await;
            drop(place);
            // Nobody listens any more when the keeper ends.
            let _listening = done.send(found);
        });
    }

    fn note(&mut self, done: &Done) {
        let Some(beat) = self.beats.get_mut(&done.watched.node) else { return };
        beat.is_running = false;
        if beat.watched != done.watched {
            return;
        }
        beat.rtt = done.rtt.unwrap_or(beat.rtt);
        match done.after {
            After::AsBefore => {}
            After::Said(said) => beat.said = Some((said, Instant::now())),
            After::Unsure => beat.said = None,
        }
    }
}

impl Beat {
    /// When it is looked at next: at its own moment, and not sooner than half an interval after the last time.
    fn next(&self) -> Instant {
        let every = Duration::from_secs(u64::from(self.watched.every_s));
        let earliest = self.begun.map_or_else(Instant::now, |begun| begun + every / 2).max(Instant::now());
        let ahead_ms = i64::try_from(earliest.duration_since(Instant::now()).as_millis()).unwrap_or(i64::MAX);
        let earliest_ms = u64::try_from(now().ms().saturating_add(ahead_ms)).unwrap_or(0);
        let wait = until_next_ms(earliest_ms, self.offset_ms, u64::from(self.watched.every_s) * 1_000);
        earliest + Duration::from_millis(wait)
    }
}

/// The node's own moment within an interval of `every_ms`, when it is the `rank`th of `count` by its id.
///
/// With two thirds of it from the rank, a second holds at most one and a half times the mean, and one more.
fn offset_ms(node: NodeId, rank: usize, count: usize, every_ms: u64) -> u64 {
    let by_rank = every_ms.saturating_mul(rank as u64) / (count.max(1) as u64);
    let by_name = (u64::from(name_fraction(node)) * every_ms) >> 32;
    (2 * by_rank + by_name) / 3 % every_ms.max(1)
}

/// A fraction of 2^32 that follows from the id. Ids are hashes: their first bytes are spread evenly.
fn name_fraction(node: NodeId) -> u32 {
    let [a, b, c, d, ..] = *node.0.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// How long from `now_ms` to the next moment that lies `offset_ms` after a whole number of intervals.
fn until_next_ms(now_ms: u64, offset_ms: u64, every_ms: u64) -> u64 {
    let every_ms = every_ms.max(1);
    (offset_ms % every_ms + every_ms - now_ms % every_ms) % every_ms
}

/// After how long what was said of a node is said again: four fifths of the interval to all of it.
pub(crate) fn attest_after(node: NodeId, every: Duration) -> Duration {
    let jitter = f64::from(name_fraction(node).swap_bytes()) / f64::from(u32::MAX);
    every.mul_f64(0.8 + 0.2 * jitter)
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// One heartbeat.
struct Look {
    reach: Reach,
    voice: Voice,
    figures: Figures,
    watched: Watched,
    said: Option<Said>,
    is_far: bool,
    is_due: bool,
}

impl Look {
    async fn run(self) -> Done {
        let Watched { tenant, node, probe, .. } = self.watched;
        let (words, mut heard) = mpsc::unbounded_channel();
        let begun = Instant::now();
        let step_by_step = self.said != Some(Said::Silent) && !self.is_far;
        let probing = async {
            let mut was_doubted = false;
            let unanswered = |tries| {
                if step_by_step {
                    was_doubted = true;
                    // The one who listens goes on until this probe is over.
                    let _listening = words.send(Outcome::Silent { tries, last: false });
                }
            };
            let ended = self.reach.probe(tenant, node, probe, Purpose::Heartbeat, unanswered).await;
            // Where nobody is heard, silence is nobody's.
            let ended = match ended {
                Ended::Silent if !self.reach.sight.proves(begun).await => Ended::Unanswered(UNSEEN.into()),
                ended => ended,
            };
            let (found, rtt) = match ended {
                Ended::Replied(rtt) => (Some(Said::Alive), Some(rtt)),
                Ended::Silent => (Some(Said::Silent), None),
                Ended::Unanswered(_) => (None, None),
            };
            let is_news = found.is_some() && (found != self.said || was_doubted || self.is_due);
            let outcome = outcome_of(ended);
            self.figures.ended(kind_of_probe(probe), Purpose::Heartbeat.name(), name_of(&outcome));
            match &outcome {
                Outcome::Unanswered { why } => tracing::debug!(%node, why, "a heartbeat came to nothing"),
                _ if is_news => drop(words.send(outcome)),
                _ => {}
            }
            drop(words);
            (found, rtt, is_news, was_doubted)
        };
        let speaking = async {
            let mut all_stored = true;
            while let Some(outcome) = heard.recv().await {
                if !self.reach.sight.stands_behind(&outcome, Vantage::Direct, begun).await {
                    all_stored = false;
                    continue;
                }
                all_stored &= self.say(outcome).await;
            }
            all_stored
        };
        let ((found, rtt, is_news, was_doubted), all_stored) = tokio::join!(probing, speaking);
        let after = match found {
            Some(said) if is_news && all_stored => After::Said(said),
            Some(_) if !is_news => After::AsBefore,
            None if !was_doubted => After::AsBefore,
            Some(_) | None => After::Unsure,
        };
        Done { watched: self.watched, after, rtt }
    }

    async fn say(&self, outcome: Outcome) -> bool {
        let answer = Answer {
            ask: None,
            asked_at: None,
            target: self.watched.node,
            via: Vantage::Direct,
            outcome,
            pop: self.voice.pop().to_owned(),
        };
        let word = Word { id: EventId(Uuid::now_v7()), answer };
        self.voice.say(self.watched.tenant, vec![word], &Chain::default(), Instant::now() + SAY_WITHIN).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::TenantId;
    use std::collections::HashMap;

    fn nodes(count: usize) -> Vec<NodeId> {
        let tenant = TenantId::of("hillside");
        let mut nodes: Vec<NodeId> = (0..count).map(|n| NodeId::of(tenant, &format!("n-{n}"))).collect();
        nodes.sort();
        nodes
    }

    fn offsets(nodes: &[NodeId], every_ms: u64) -> Vec<u64> {
        nodes.iter().enumerate().map(|(rank, node)| offset_ms(*node, rank, nodes.len(), every_ms)).collect()
    }

    #[test]
    fn no_second_holds_more_than_twice_the_mean() {
        for (count, every_ms) in [(200, 60_000), (1_000, 60_000), (20_000, 60_000), (1_000, 5_000)] {
            let mut seconds: HashMap<u64, usize> = HashMap::new();
            for offset in offsets(&nodes(count), every_ms) {
                assert!(offset < every_ms);
                *seconds.entry(offset / 1_000).or_default() += 1;
            }
            let mean = count as f64 / (every_ms / 1_000) as f64;
            let most = seconds.values().copied().max().unwrap();
            assert!(most as f64 <= 2.0 * mean, "{count} nodes every {every_ms} ms: {most} in a second");
            assert!(seconds.len() as u64 >= every_ms / 1_000 * 9 / 10, "every second has its share");
        }
    }

    #[test]
    fn a_node_more_moves_the_others_by_a_hair() {
        let all = nodes(1_000);
        let (before, fewer) = (offsets(&all, 60_000), [&all[..500], &all[501..]].concat());
        for (node, after) in fewer.iter().zip(offsets(&fewer, 60_000)) {
            let rank = all.binary_search(node).unwrap();
            assert!(before[rank].abs_diff(after) <= 60, "{} became {after}", before[rank]);
        }
    }

    #[test]
    fn the_next_moment_lies_within_one_interval_and_at_the_offset() {
        for (now, offset) in [(0, 0), (59_999, 3), (123_456_789, 59_999), (60_000, 0), (1, 70_000)] {
            let wait = until_next_ms(now, offset, 60_000);
            assert!(wait < 60_000);
            assert_eq!((now + wait) % 60_000, offset % 60_000);
        }
    }

    #[test]
    fn what_was_said_is_said_again_within_the_interval_and_not_all_at_once() {
        let every = Duration::from_secs(300);
        let after: Vec<Duration> = nodes(100).into_iter().map(|node| attest_after(node, every)).collect();
        assert!(after.iter().all(|after| (every.mul_f64(0.8)..=every).contains(after)));
        assert!(after.iter().max().unwrap().abs_diff(*after.iter().min().unwrap()) > every / 10);
    }
}
