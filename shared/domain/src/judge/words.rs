//! What speaks for and against a node, of what was heard of it lately.

use super::NETWATCH_LAG_MS;
use crate::{
    confidence::Case,
    diagnosis::Tenant,
    graph::Index,
    recent::{ClaimHeard, Look, NodeRecent, Seen},
};
use events::{Claim, EventId, Health, NodeId, SignalSource, Tier, Time};

/// A claim that contradicts what was seen so lately is checked before it is believed.
const CONTRADICTION_MS: i64 = 60_000;

/// What speaks for and against a node.
pub(super) struct Words<'a> {
    pub(super) alive: Option<(Time, EventId)>,
    /// When the newest sign of life was heard that nobody had asked for.
    pub(super) unasked: Option<(Time, EventId)>,
    pub(super) claim: Option<&'a ClaimHeard>,
    pub(super) silence: Option<Look>,
}

/// Somebody's word that a node is down, which is to be checked.
#[derive(Clone, Copy)]
pub(super) struct Accusation {
    /// From when on a sign of life answers it.
    pub(super) heard: Time,
    /// Since when it is said to be so.
    pub(super) at: Time,
    pub(super) source: SignalSource,
    pub(super) sender: Option<NodeId>,
    pub(super) event: EventId,
}

impl Words<'_> {
    /// A down claim that no look has answered.
    pub(super) fn claimed_down(&self) -> Option<&ClaimHeard> {
        let claim = self.claim.filter(|c| c.says == Claim::Down)?;
        self.alive.is_none_or(|(at, _)| at < claim.heard).then_some(claim)
    }

    /// A down claim, or a netwatch entry's state, that no look has answered.
    pub(super) fn accusation(&self) -> Option<Accusation> {
        let claimed = self.claimed_down().map(|c| Accusation {
            heard: c.heard,
            at: c.at,
            source: c.source,
            sender: c.sender,
            event: c.event,
        });
        claimed.or_else(|| {
            let look = self.silence.filter(|l| l.seen == Seen::NetwatchDown)?;
            Some(Accusation {
                heard: look.asked_at,
                at: look.asked_at,
                source: SignalSource::RollCall,
                sender: None,
                event: look.event,
            })
        })
    }

    /// A look that was asked for, has found it silent so far, and has not ended.
    pub(super) fn begun(&self) -> Option<&Look> {
        self.silence.as_ref().filter(|look| look.asked && matches!(look.seen, Seen::Silent(_, false)))
    }

    /// A claim that it works, well or badly.
    pub(super) fn praise(&self) -> Option<&ClaimHeard> {
        self.claim.filter(|c| match c.says {
            Claim::Up | Claim::Degraded => true,
            Claim::Down => false,
        })
    }
}

impl Tenant {
    pub(super) fn words(&self, index: Index, tier: Tier, watched: bool) -> Words<'_> {
        let recent = self.recent.of(index);
        let claim = self.recent.standing_claim(index);
        let mut words = Words {
            alive: recent.and_then(NodeRecent::alive_at),
            unasked: recent.and_then(|r| {
                r.looks.iter().rev().find(|l| !l.asked && l.seen == Seen::Up).map(|l| (l.heard, l.event))
            }),
            claim,
            silence: recent.and_then(NodeRecent::silence),
        };
        // What a probe of our own found silent is not talked away; a router's old word about a session is.
        let infrastructure = watched || tier <= Tier::Sector;
        if let (Some(silence), Some(praise)) = (words.silence, words.praise())
            && !infrastructure
            && praise.heard > silence.heard.plus_ms(CONTRADICTION_MS)
        {
            words.silence = None;
        }
        // A router's word that a netwatch entry turned up is newer than the table it showed before.
        if let (Some(silence), Some(praise)) = (words.silence, words.praise())
            && silence.seen == Seen::NetwatchDown
            && praise.source == SignalSource::Netwatch
            && praise.heard > silence.heard
        {
            words.silence = None;
        }
        words
    }

    pub(super) fn case(&self, index: Index, words: &Words<'_>) -> Case {
        let mut case = Case { claims_below: self.claims_against(index), ..Case::default() };
        match words.silence.map(|l| (l.seen, l.event)) {
            Some((Seen::Silent(tries, _), event)) => case.tries = Some((tries, event)),
            Some((Seen::RouterSaysDown, event)) => case.router = Some(event),
            Some((Seen::NetwatchDown, event)) => {
                case.router = Some(event).filter(|_| self.netwatch_is_fresh(index, words));
            }
            Some((Seen::Up | Seen::NetwatchUp | Seen::Nothing | Seen::Told, _)) | None => {}
        }
        case.claimed = words.claimed_down().map(|c| c.event);
        case
    }

    /// Whether a netwatch entry cannot be telling of an outage that is over: nothing above the node has
    /// changed, and itself was not seen alive, for longer than an entry takes to notice.
    pub(super) fn netwatch_is_fresh(&self, index: Index, words: &Words<'_>) -> bool {
        let Some(look) = words.silence else { return false };
        let before = look.asked_at.plus_ms(-NETWATCH_LAG_MS);
        let seen_alive = words.alive.is_some_and(|(at, _)| at > before);
        let claimed = words.claim.is_some_and(|c| c.heard > before);
        let settled = |a: &Index| match &self.standing[*a as usize].health {
            Some((now, _)) => now.health == Health::Up && now.since <= before,
            None => !self.network.graph.node(*a).is_some_and(|n| n.is_observable()),
        };
        !seen_alive && !claimed && self.network.graph.all_above(index).iter().all(settled)
    }

    /// How many claims below a node speak against it: those of other branches than the one with most of
    /// them, which may be explained by something in that branch.
    pub(super) fn claims_against(&self, index: Index) -> u32 {
        let all = self.suspects_below[index as usize];
        if all == 0 {
            return 0;
        }
        let of_branch = |b: &Index| {
            let itself = self.standing[*b as usize].suspicion.as_ref().is_some_and(|s| s.sender.is_some());
            self.suspects_below[*b as usize] + u32::from(itself)
        };
        all.saturating_sub(self.network.graph.below(index).iter().map(of_branch).max().unwrap_or(0))
    }
}
