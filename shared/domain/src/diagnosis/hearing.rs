//! What a claim or an answer tells, and of whom.
//!
//! An answer tells of the router that it came through too; a roll call of everybody that the router sees. Who was told
//! of is to be judged again, and so is who waited for that look.

use super::Tenant;
use crate::{
    graph::Index,
    judge::LOOK_MS,
    recent::{ClaimHeard, Look, NodeRecent, Seen, UNASKED_SLACK_MS, try_sent_at},
};
use events::{About, Answer, Heard, NodeId, Outcome, RollCall, SessionState, Signal, Time, Vantage};
use std::collections::BTreeSet;

/// The chunks of one roll call come within so long of each other; others are of another one.
const CHUNKS_WITHIN_MS: i64 = 20_000;
/// A netwatch entry of 30 s (R9) that says up was right so long ago at the latest; its probe's way counted in.
const NETWATCH_UP_LAG_MS: i64 = 35_000;

/// The chunks of a roll call that have come in.
#[derive(Debug, Default)]
pub(super) struct RollSoFar {
    asked_at: Time,
    /// When the last of them was heard.
    heard: Option<Time>,
    chunks: BTreeSet<u32>,
    told: BTreeSet<Index>,
}

impl Tenant {
    pub(super) fn hear_signal(&mut self, heard: &Heard, signal: &Signal) {
        self.refresh();
        let boot = signal.sender.zip(signal.boot.as_deref());
        let boot = boot.map(|(sender, boot)| self.recent.boot(sender, boot, heard.heard));
        let index = match signal.about {
            About::Node(id) => self.network.graph.index_of(id),
            About::Session(key) => self.network.graph.index_of_claim(key),
        };
        let counts = |index: &Index| self.network.counts_claim(*index, signal.about, heard.seq);
        let Some(index) = index.filter(counts) else { return };
        let session = match signal.about {
            About::Node(_) => None,
            About::Session(key) => Some(key),
        };
        let claim = ClaimHeard {
            heard: heard.heard,
            at: heard.at,
            says: signal.says,
            source: signal.source,
            session,
            sender: signal.sender,
            boot,
            seq: signal.seq,
            event: heard.id,
        };
        self.recent.claim(index, claim);
        self.soil(index);
    }

    /// What was asked through a router tells of the router too, whatever has become of whom it was asked about.
    pub(super) fn hear_answer(&mut self, heard: &Heard, answer: &Answer) {
        self.refresh();
        let known =
            |id| self.network.graph.index_of(id).filter(|index| self.network.counts(*index, heard.seq));
        let target = known(answer.target);
        let router = match answer.via {
            Vantage::Through(router) => known(router),
            Vantage::Direct => None,
        };
        let asked = answer.asked_at.is_some();
        // A silence nobody asked for lasts until it is heard; a sign of life was there before that.
        let silent_at = answer.asked_at.unwrap_or(heard.heard);
        let look = |asked_at, seen| Look { heard: heard.heard, asked_at, asked, seen, event: heard.id };
        // Of a ping through a router only the router's part of the way was measured.
        let rtt_us = match (&answer.outcome, answer.via) {
            (Outcome::Replied { rtt_us }, Vantage::Direct) => Some(*rtt_us),
            _ => None,
        };
        let answered_from = |of: Option<Index>, at: Time| {
            of.and_then(|index| self.recent.of(index)).map_or(at, |r| r.answered_from(at, rtt_us))
        };
        let unasked_at = heard.heard.plus_ms(-UNASKED_SLACK_MS);
        // A router that was found silent meanwhile answered after that: the probe had to wait for its turn, but for no
        // longer than it had. What is heard later than that was late itself.
        let silent = router.and_then(|index| self.recent.of(index)).and_then(NodeRecent::silent_at);
        let in_time = |at: Time| heard.heard <= at.plus_ms(LOOK_MS);
        let silent = silent.filter(|_| answer.asked_at.is_some_and(in_time));
        let router_at =
            answer.asked_at.map_or(unasked_at, |at| answered_from(router, at).max(silent.unwrap_or(at)));
        let alive_at = answer.asked_at.map_or(unasked_at, |at| answered_from(target, at).max(router_at));
        if let Some(target) = target {
            match &answer.outcome {
                Outcome::Replied { .. } => self.look(target, look(alive_at, Seen::Up)),
                Outcome::Silent { tries, last } => {
                    self.look(target, look(silent_at, Seen::Silent(*tries, *last)));
                }
                Outcome::RouterSilent { last: true, .. } | Outcome::Unanswered { .. } => {
                    self.look(target, look(silent_at, Seen::Nothing));
                }
                Outcome::RouterSilent { last: false, .. } => {}
                Outcome::Session { state: SessionState::Present } => {
                    self.look(target, look(alive_at, Seen::Up));
                }
                Outcome::Session { state: SessionState::Absent } => {
                    self.look(target, look(silent_at, Seen::RouterSaysDown));
                }
                Outcome::RollCall(_) => {}
            }
        }
        // What a router told of others counts, however it is looked at itself by now.
        if let Outcome::RollCall(roll) = &answer.outcome
            && let Some(target) = self.network.graph.index_of(answer.target)
        {
            self.hear_roll(target, roll, (heard, alive_at, silent_at), asked, &look);
        }
        if let Some(router) = router {
            match &answer.outcome {
                Outcome::Replied { .. } | Outcome::Session { .. } => {
                    self.look(router, look(router_at, Seen::Up));
                }
                // It was there from the first try that it tells of to the last.
                Outcome::Silent { tries, .. } => {
                    self.look(router, look(router_at, Seen::Up));
                    let last = if asked { try_sent_at(silent_at, *tries) } else { router_at };
                    if last > router_at {
                        self.look(router, look(last, Seen::Up));
                    }
                }
                Outcome::RouterSilent { tries, last } => {
                    self.look(router, look(silent_at, Seen::Silent(*tries, *last)));
                }
                Outcome::Unanswered { .. } | Outcome::RollCall(_) => {}
            }
        }
    }

    /// A router that was just booted knows nothing yet of those it does not see: it is blind, they are not down.
    fn hear_roll(
        &mut self,
        router: Index,
        roll: &RollCall,
        (heard, alive_at, silent_at): (&Heard, Time, Time),
        asked: bool,
        look: &impl Fn(Time, Seen) -> Look,
    ) {
        let blind = roll.uptime_ms < u64::from(self.network.policy.blind_after_boot_ms);
        let (heard, seq) = (heard.heard, heard.seq);
        let uptime_ms = i64::try_from(roll.uptime_ms).unwrap_or(i64::MAX).min(heard.ms_since(Time::EPOCH));
        let itself = self.network.counts(router, seq);
        if itself {
            self.recent.booted(router, heard.plus_ms(-uptime_ms), heard);
        }
        let network = &self.network;
        let counts = |index: &Index| network.counts(*index, seq);
        let nodes = |ids: &[NodeId]| {
            ids.iter().filter_map(|id| network.graph.index_of(*id)).filter(counts).collect::<Vec<_>>()
        };
        let sessions = |keys: &[events::ClaimKey]| {
            keys.iter().filter_map(|k| network.graph.index_of_claim(*k)).filter(counts).collect::<Vec<_>>()
        };
        let (works, present) = (nodes(&roll.up), sessions(&roll.present));
        let (dead, gone) = (nodes(&roll.down), sessions(&roll.gone));
        // An entry says what its last test found: what it calls up may have died since.
        for &i in &works {
            self.look(i, look(alive_at.plus_ms(-NETWATCH_UP_LAG_MS), Seen::NetwatchUp));
        }
        for &i in &present {
            self.look(i, look(alive_at, Seen::Up));
        }
        if !blind {
            for &i in &dead {
                self.look(i, look(silent_at, Seen::NetwatchDown));
            }
            for &i in &gone {
                self.look(i, look(silent_at, Seen::RouterSaysDown));
            }
        }
        let so_far = self.rolls.entry(router).or_default();
        // Chunks nobody asked for come each at its own time: a chunk that is there already begins anew.
        let again = if asked { so_far.asked_at != silent_at } else { so_far.chunks.contains(&roll.chunk) };
        let late = so_far.heard.is_some_and(|last| heard.ms_since(last) > CHUNKS_WITHIN_MS);
        if again || late {
            *so_far = RollSoFar { asked_at: silent_at, ..RollSoFar::default() };
        }
        so_far.heard = Some(heard);
        so_far.chunks.insert(roll.chunk);
        so_far.told.extend(works);
        so_far.told.extend(present);
        so_far.told.extend(dead);
        so_far.told.extend(gone);
        if so_far.chunks.len() < roll.chunks as usize {
            if itself {
                self.look(router, look(alive_at, Seen::Up));
            }
            return;
        }
        let told = self.rolls.remove(&router).map(|so_far| so_far.told).unwrap_or_default();
        if roll.whole && !blind {
            let absent = |i: &Index| {
                !told.contains(i)
                    && self.network.counts(*i, seq)
                    && self.network.graph.node(*i).is_some_and(|n| !n.claims.is_empty())
            };
            let missing: Vec<Index> =
                self.network.graph.sees(router).iter().copied().filter(absent).collect();
            for i in missing {
                self.look(i, look(silent_at, Seen::RouterSaysDown));
            }
        }
        if itself {
            self.look(router, look(alive_at, Seen::Told));
        }
    }

    fn look(&mut self, index: Index, look: Look) {
        self.recent.look(index, look);
        self.soil(index);
        let settles = match look.seen {
            Seen::Up | Seen::NetwatchUp | Seen::Nothing | Seen::Told | Seen::Silent(_, true) => true,
            Seen::Silent(_, false) | Seen::RouterSaysDown | Seen::NetwatchDown => false,
        };
        if settles && let Some(waiting) = self.waiting.remove(&index) {
            for suspect in waiting {
                self.soil(suspect);
            }
        }
    }
}
