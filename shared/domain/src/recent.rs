//! What was heard lately of each node: claims and looks of the last 14 minutes.
//!
//! Everything here is a function of the inputs of the last 15 minutes alone, never of what was decided:
//! of each node the newest few of each kind within the window. So a start that reads those inputs
//! again knows the same, even where one look is put together of several answers.
//!
//! `look` what looks at one node showed.

mod look;

pub(crate) use self::look::try_sent_at;
pub use self::look::{Look, Seen};

use crate::graph::Index;
use events::{Claim, ClaimKey, EventId, Learned, NodeId, RECALL_MS, SignalSource, Time};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

/// How many claims, and how many looks of each kind, are remembered of one node.
const MOST: usize = 16;
/// So long something is remembered, milliseconds: a minute less than what a start reads again, for
/// looks that are put together of answers which come within that minute.
const WINDOW_MS: i64 = RECALL_MS - 60_000;
/// How many words of one sender are remembered, to know which of its boots is the present one.
const MOST_BOOTS: usize = 64;
/// An answer nobody asked for tells of a moment before it was heard; by at most this, milliseconds:
/// the deadline of a probe and what the way into the log may take.
pub const UNASKED_SLACK_MS: i64 = 5_000;

/// A claim that was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClaimHeard {
    /// When.
    pub heard: Time,
    /// When it was so, as its source says.
    pub at: Time,
    /// What it says.
    pub says: Claim,
    /// What made it.
    pub source: SignalSource,
    /// The session it is about, if it named one and not the node.
    pub session: Option<ClaimKey>,
    /// Who sent it.
    pub sender: Option<NodeId>,
    /// The sender's boot.
    pub boot: Option<Arc<str>>,
    /// The sender's sequence.
    pub seq: Option<u64>,
    /// The event.
    pub event: EventId,
}

/// What was heard lately of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeRecent {
    /// The newest claims about it.
    pub claims: VecDeque<ClaimHeard>,
    /// The newest looks at it.
    pub looks: VecDeque<Look>,
    /// When it booted, as its newest roll call says, and when that was heard.
    pub booted: Option<(Time, Time)>,
}

/// What was heard lately.
#[derive(Debug, Default)]
pub struct Recent {
    nodes: BTreeMap<Index, NodeRecent>,
    boots: BTreeMap<NodeId, VecDeque<(Time, Arc<str>)>>,
    /// Where something may have to be forgotten, by the oldest thing remembered there.
    expiry: BTreeSet<(Time, What)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Node(Index),
    Sender(NodeId),
}

fn remember<T>(queue: &mut VecDeque<T>, most: usize, thing: T) {
    if queue.len() == most {
        queue.pop_front();
    }
    push(queue, thing);
}

/// Of most nodes one thing is remembered: room for one, then for two, four and so on.
fn push<T>(queue: &mut VecDeque<T>, thing: T) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact(queue.len().max(1));
    }
    queue.push_back(thing);
}

impl Recent {
    /// Remembers a claim.
    pub fn claim(&mut self, node: Index, claim: ClaimHeard) {
        let recent = self.node_mut(node, claim.heard);
        remember(&mut recent.claims, MOST, claim);
    }

    /// Remembers a sender's boot, whatever its word is about. What says the same again takes no memory of its own.
    pub fn boot(&mut self, sender: NodeId, boot: &str, heard: Time) -> Arc<str> {
        let boots = self.boots.entry(sender).or_default();
        if boots.is_empty() {
            self.expiry.insert((heard, What::Sender(sender)));
        }
        let known = boots.back().map(|(_, known)| known).filter(|known| ***known == *boot).cloned();
        let boot = known.unwrap_or_else(|| boot.into());
        remember(boots, MOST_BOOTS, (heard, boot.clone()));
        boot
    }

    /// Remembers a look. The same seen again of the same moment is remembered once, as heard last.
    pub fn look(&mut self, node: Index, look: Look) {
        let looks = &mut self.node_mut(node, look.heard).looks;
        let same = |l: &Look| (l.asked_at, l.asked, l.seen) == (look.asked_at, look.asked, look.seen);
        if let Some(at) = looks.iter().position(same) {
            looks.remove(at);
        }
        // Through a busy router hundreds of answers prove it alive: they must not push out that it was silent,
        // or what it told. Nor must hundreds of probes that have only begun push out one that ended in silence.
        let kind = |l: &Look| (mem::discriminant(&l.seen), l.asked, matches!(l.seen, Seen::Silent(_, true)));
        let mut of_kind = looks.iter().enumerate().filter(|(_, l)| kind(l) == kind(&look)).map(|(at, _)| at);
        if let Some(oldest) = of_kind.next()
            && of_kind.count() + 1 >= MOST
        {
            looks.remove(oldest);
        }
        push(looks, look);
    }

    /// Remembers when a router booted.
    pub fn booted(&mut self, router: Index, at: Time, heard: Time) {
        self.node_mut(router, heard).booted = Some((at, heard));
    }

    fn node_mut(&mut self, node: Index, heard: Time) -> &mut NodeRecent {
        self.nodes.entry(node).or_insert_with(|| {
            self.expiry.insert((heard, What::Node(node)));
            NodeRecent::default()
        })
    }

    /// Forgets what was heard longer ago than the window.
    pub fn forget(&mut self, now: Time) {
        let from = now.plus_ms(-WINDOW_MS);
        while let Some(&(oldest, what)) = self.expiry.first() {
            if oldest >= from {
                break;
            }
            self.expiry.pop_first();
            let left = match what {
                What::Node(index) => self.forget_node(index, from),
                What::Sender(sender) => self.forget_sender(sender, from),
            };
            if let Some(oldest) = left {
                self.expiry.insert((oldest, what));
            }
        }
    }

    fn forget_node(&mut self, index: Index, from: Time) -> Option<Time> {
        let node = self.nodes.get_mut(&index)?;
        node.claims.retain(|c| c.heard >= from);
        node.looks.retain(|l| l.heard >= from);
        node.booted = node.booted.filter(|(_, heard)| *heard >= from);
        let claimed = node.claims.front().map(|c| c.heard);
        let looked = node.looks.front().map(|l| l.heard);
        let oldest = claimed.into_iter().chain(looked).chain(node.booted.map(|(_, heard)| heard)).min();
        if oldest.is_none() {
            self.nodes.remove(&index);
        }
        oldest
    }

    fn forget_sender(&mut self, sender: NodeId, from: Time) -> Option<Time> {
        let boots = self.boots.get_mut(&sender)?;
        boots.retain(|(heard, _)| *heard >= from);
        let oldest = boots.front().map(|(heard, _)| *heard);
        if oldest.is_none() {
            self.boots.remove(&sender);
        }
        oldest
    }

    /// Forgets a node that is no more.
    pub fn drop_node(&mut self, node: Index) {
        self.nodes.remove(&node);
    }

    /// Forgets what looks at a node showed, and claims about sessions that are not its own any more (`keys`: those
    /// that are).
    pub fn forget_looks(&mut self, node: Index, keys: &[ClaimKey]) {
        let Some(recent) = self.nodes.get_mut(&node) else { return };
        recent.looks.clear();
        recent.booted = None;
        recent.claims.retain(|c| c.session.is_none_or(|key| keys.contains(&key)));
        if recent.claims.is_empty() {
            self.nodes.remove(&node);
        }
    }

    /// Everything remembered of a node.
    pub fn of(&self, node: Index) -> Option<&NodeRecent> {
        self.nodes.get(&node)
    }

    /// The nodes something is remembered of.
    pub fn known(&self) -> impl Iterator<Item = Index> + '_ {
        self.nodes.keys().copied()
    }

    /// The newest claim about a node that no newer word of the same sender about the same thing has overtaken.
    ///
    /// A word is overtaken by one with the same boot and a higher sequence, and by any word of a later boot.
    pub fn standing_claim(&self, node: Index) -> Option<&ClaimHeard> {
        let claims = &self.nodes.get(&node)?.claims;
        claims.iter().rev().find(|c| !claims.iter().any(|other| self.overtakes(other, c)))
    }

    fn overtakes(&self, other: &ClaimHeard, claim: &ClaimHeard) -> bool {
        if other.sender != claim.sender || other.source != claim.source || other.sender.is_none() {
            return false;
        }
        let (Some(sender), Some(boot), Some(seq)) = (claim.sender, &claim.boot, claim.seq) else {
            return false;
        };
        match (&other.boot, other.seq) {
            (Some(other_boot), Some(other_seq)) if other_boot == boot => other_seq > seq,
            (Some(other_boot), Some(_)) => self.boot_is_later(sender, other_boot, boot),
            _ => false,
        }
    }

    /// Whether a sender's boot `a` was first heard of after its boot `b`.
    fn boot_is_later(&self, sender: NodeId, a: &str, b: &str) -> bool {
        let Some(boots) = self.boots.get(&sender) else { return false };
        let first = |boot: &str| boots.iter().position(|(_, known)| **known == *boot);
        match (first(a), first(b)) {
            (Some(a), Some(b)) => a > b,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Who spoke first, after `since`, of a node's working or not working.
    pub fn learned(&self, node: Index, works: bool, since: Time) -> Option<Learned> {
        let recent = self.nodes.get(&node)?;
        let says_so = |claim: &&ClaimHeard| {
            claim.heard > since
                && match claim.says {
                    Claim::Up | Claim::Degraded => works,
                    Claim::Down => !works,
                }
        };
        let shows_so = |look: &&Look| {
            look.heard > since
                && match look.seen {
                    Seen::Up | Seen::NetwatchUp | Seen::Told => works,
                    Seen::Silent(..) | Seen::RouterSaysDown | Seen::NetwatchDown => !works,
                    Seen::Nothing => false,
                }
        };
        let claimed = recent.claims.iter().find(says_so).map(|claim| (claim.heard, claim.source.learned()));
        let looked = recent.looks.iter().filter(shows_so).map(|look| (look.heard, Learned::Poll)).min();
        claimed.into_iter().chain(looked).min_by_key(|(heard, _)| *heard).map(|(_, learned)| learned)
    }

    /// A digest of everything remembered.
    pub fn digest(&self) -> u64 {
        crate::digest::digest_of(&(&self.nodes, &self.boots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Time {
        Time::from_ms(1_800_000_000_000)
    }

    fn silent(after_ms: i64, tries: u8) -> Look {
        let (heard, asked_at) = (start().plus_ms(after_ms), start());
        Look { heard, asked_at, asked: true, seen: Seen::Silent(tries, false), event: EventId::default() }
    }

    #[test]
    fn a_late_answer_is_dated_to_the_try_that_can_have_caused_it() {
        let mut recent = Recent::default();
        let from_ms = |recent: &Recent, rtt_ms: Option<u32>| {
            let known = recent.of(0).cloned().unwrap_or_default();
            known.answered_from(start(), rtt_ms.map(|ms| ms * 1_000)).ms_since(start())
        };
        assert_eq!((from_ms(&recent, Some(30)), from_ms(&recent, None)), (0, 0));
        recent.look(0, silent(400, 1));
        assert_eq!((from_ms(&recent, Some(30)), from_ms(&recent, None)), (400, 400));
        assert_eq!(from_ms(&recent, Some(450)), 0, "it was under way before the second try left");
        recent.look(0, silent(800, 2));
        assert_eq!(from_ms(&recent, Some(30)), 1_000, "the second try would have been answered in its time");
        assert_eq!(from_ms(&recent, Some(450)), 400, "it may have come before the third try left");
        assert_eq!(from_ms(&recent, Some(850)), 0);
        assert_eq!(from_ms(&recent, None), 400);
    }

    #[test]
    fn probes_that_have_only_begun_do_not_push_out_one_that_ended_in_silence() {
        let mut recent = Recent::default();
        recent.look(0, Look { seen: Seen::Silent(3, true), ..silent(2_000, 3) });
        for n in 0..10 * MOST as i64 {
            let asked_at = start().plus_ms(3_000 + n);
            recent.look(0, Look { asked_at, ..silent(3_400 + n, 1) });
            recent.look(0, Look { asked_at, seen: Seen::Up, ..silent(3_500 + n, 0) });
        }
        let known = recent.of(0).cloned().unwrap_or_default();
        assert!(known.was_silent_since(start()));
        assert!(known.looks.len() <= 3 * MOST, "{}", known.looks.len());
    }

    #[test]
    fn a_look_that_has_only_begun_takes_nothing_from_one_that_ended_in_silence_beside_it() {
        let later = |ms| start().plus_ms(ms);
        let ended = Look { seen: Seen::Silent(3, true), ..silent(2_000, 3) };
        let begun = |asked_at_ms| Look {
            heard: later(asked_at_ms + 400),
            asked_at: later(asked_at_ms),
            ..silent(0, 1)
        };
        let mut recent = Recent::default();
        recent.look(0, ended);
        recent.look(0, begun(1_500));
        let silence = recent.of(0).and_then(NodeRecent::silence);
        assert_eq!(silence.map(|l| (l.seen, l.asked_at)), Some((Seen::Silent(3, true), later(1_500))));
        // One that began after it had ended says for itself how silent it is.
        recent.look(0, begun(2_100));
        assert_eq!(recent.of(0).and_then(NodeRecent::silence).map(|l| l.seen), Some(Seen::Silent(1, false)));
    }
}
