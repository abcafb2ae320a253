//! How a belief is said.

use super::sessions::is_undetermined;
use crate::{
    diagnosis::{Out, Tenant},
    flapping,
    graph::Index,
};
use events::{
    EventId, Evidence, Fact, Flag, Health, HealthKind, HealthSaid, Learned, Node, NodeHealth, NodeId,
    Suspicion, SuspicionKind, SuspicionSaid, Tier, Time,
};
use std::sync::Arc;

impl Tenant {
    /// Ends what was being checked of a node, when nothing else is said of it.
    pub(super) fn settle_suspicion(&mut self, index: Index, out: &mut Out) {
        let Some(suspicion) = self.standing[index as usize].suspicion.clone() else { return };
        let said = SuspicionSaid {
            kind: SuspicionKind::Settled,
            now: Suspicion { asked: Vec::new(), ..*suspicion },
        };
        let (claim, node) = (said.now.claim, said.now.node);
        let say = out.say(claim, &format!("settled {node}"), out.now, Fact::Suspicion(said));
        self.apply(&say);
    }

    /// What a word about a node follows from when nothing else was heard: its place in the inventory.
    pub(super) fn origin(&self, node: &Node) -> EventId {
        EventId::following(EventId(node.id.0), "revision", &self.network.revision.to_string())
    }

    pub(super) fn say_up(&mut self, index: Index, node: &Arc<Node>, cause: EventId, out: &mut Out) {
        self.settle_living(index, node, Health::Up, Some(cause), out);
    }

    pub(super) fn say_down(
        &mut self,
        index: Index,
        cause: EventId,
        at: Option<Time>,
        evidence: Vec<Evidence>,
        out: &mut Out,
    ) {
        self.say_health(index, Health::Down, cause, out, |now| {
            now.at = at;
            now.evidence = evidence;
        });
    }

    pub(super) fn say_impacted(&mut self, index: Index, node: &Arc<Node>, roots: &[Index], out: &mut Out) {
        if roots.is_empty() {
            return;
        }
        let ids: Vec<NodeId> = roots.iter().filter_map(|r| self.id(*r)).collect();
        let before = self.standing[index as usize].health.as_ref();
        if let Some((now, _)) = before
            && now.health == Health::Impacted
            && now.roots == ids
            && !now.flags.contains(&Flag::Recovering)
        {
            self.settle_suspicion(index, out);
            return;
        }
        let cause = roots.iter().find_map(|r| self.standing[*r as usize].health.as_ref()).map(|(_, e)| *e);
        let cause = cause.unwrap_or_else(|| self.origin(node));
        self.say_health(index, Health::Impacted, cause, out, |now| now.roots = ids);
    }

    pub(super) fn say_health(
        &mut self,
        index: Index,
        health: Health,
        cause: EventId,
        out: &mut Out,
        with: impl FnOnce(&mut NodeHealth),
    ) {
        let Some(node) = self.id(index) else { return };
        let before = self.standing[index as usize].health.as_ref().map(|(now, _)| now);
        let same = before.is_some_and(|b| b.health == health);
        let since = before.filter(|_| same).map_or(out.now, |b| b.since);
        let worked = before.is_some_and(|b| matches!(b.health, Health::Up | Health::Degraded));
        let fell = health == Health::Down && worked && self.network.graph.opens_incidents(index);
        let penalty = before.and_then(|b| b.penalty);
        let penalty = match fell {
            true => Some(flapping::after_an_edge(penalty, out.now)),
            false => flapping::remembered(penalty, out.now),
        };
        let flapped = before.is_some_and(|b| b.flags.contains(&Flag::Flapping));
        let learned = match health {
            _ if same => before.and_then(|b| b.learned),
            Health::Up | Health::Degraded => self.learned(index, true, before),
            Health::Down => self.learned(index, false, before),
            Health::Impacted | Health::Unknown => None,
        };
        let mut now = NodeHealth {
            learned,
            opens_incident: health == Health::Down && self.network.graph.opens_incidents(index),
            penalty,
            session_lost: self.loses_session(index, health, worked, out.now),
            sessions_lost: before.filter(|_| is_no_verdict(health)).and_then(|b| b.sessions_lost.clone()),
            ..NodeHealth::of(node, health, since)
        };
        with(&mut now);
        now.session_lost &= !is_undetermined(&now);
        if flapping::is_flapping(penalty, flapped, out.now) && !now.flags.contains(&Flag::Flapping) {
            now.flags.insert(0, Flag::Flapping);
        }
        let kind = if same { HealthKind::Noted } else { HealthKind::Changed };
        let at = now.at.unwrap_or(out.now);
        let what = format!("health {node} {:x}", crate::digest::digest_of(&now));
        let say = out.say(cause, &what, at, Fact::Health(HealthSaid { kind, now }));
        self.apply(&say);
        self.soil(index);
    }

    /// Who spoke first of its having come to work or not, since it was last said to be something else.
    fn learned(&self, index: Index, works: bool, before: Option<&NodeHealth>) -> Option<Learned> {
        self.recent.learned(index, works, before.map_or(Time::EPOCH, |before| before.since))
    }

    /// Whether a subscriber lost its session; whom something comes to cut off after that, lost it still.
    fn loses_session(&self, index: Index, health: Health, worked: bool, now: Time) -> bool {
        let before = self.standing[index as usize].health.as_ref().map(|(now, _)| now);
        let lost = |was: Health| before.is_some_and(|b| b.health == was && b.session_lost);
        let is_subscriber = self.network.graph.node(index).is_some_and(|n| n.tier == Tier::Subscriber);
        match health {
            Health::Down if lost(Health::Down) => true,
            // What was silent when the doubt arose is asked when the doubt ends, although with no verdict: when there
            // is one, that may be long ago.
            Health::Down | Health::Unknown => {
                is_subscriber && (worked || lost(Health::Unknown)) && !self.was_cut_off_lately(index, now)
            }
            Health::Impacted => lost(Health::Down) || lost(Health::Impacted),
            Health::Up | Health::Degraded => false,
        }
    }
}

/// Whether what is believed of a node leaves open that sessions below it were lost by themselves.
fn is_no_verdict(health: Health) -> bool {
    match health {
        Health::Up | Health::Degraded | Health::Unknown => true,
        Health::Down | Health::Impacted => false,
    }
}
