//! What to ask, and whether it is worth while once more.

use super::{AGAIN_MS, MOST_ASKS, REUSE_MS, ROLL_CALL_FROM};
use crate::{
    diagnosis::{InFlight, Out, Tenant},
    graph::Index,
    recent::{ClaimHeard, Seen},
};
use events::{
    Ask, AskId, Asked, EventId, Fact, Health, HealthKind, HealthSaid, Node, NodeHealth, NodeId, Question,
    SignalSource, Suspicion, SuspicionKind, SuspicionSaid, Time,
};

/// How long a poller may take over a look: three tries within 2 s, and a queue before it.
pub(crate) const LOOK_MS: i64 = 6_000;
/// How long a poller may take over a roll call of a large router.
pub(super) const ROLL_CALL_MS: i64 = 20_000;
/// So often something is asked before it is left alone.
const ROUNDS: u32 = 3;

/// Whether an ask is worth while.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// Yes, as so many in this matter came before it.
    Ask(u32),
    /// It is under way or must wait a little.
    Wait(Time),
    /// It has been answered.
    Done,
    /// Nobody answered often enough.
    GivenUp,
}

impl Tenant {
    /// Whether its router is to be seen alive first, before it is asked about all it sees.
    pub(super) fn waits_for_router(&self, node: &Node) -> bool {
        self.router_of(node).is_some()
    }

    /// How to look at a node, and whom that asks.
    pub(super) fn question(&self, index: Index, node: &Node, since: Time) -> Option<(Question, Index)> {
        if let Some(watch) = node.watch {
            return Some((Question::Reach { probe: watch.probe }, index));
        }
        let router = self.router_of(node)?;
        let told = self.recent.of(router).is_some_and(|r| r.ended_since(since, true) == Some(Seen::Told));
        // What others need is proven alive in this moment, and a netwatch entry tells of an earlier one.
        let suspect = !node.claims.is_empty() || self.standing[index as usize].suspicion.is_some();
        if suspect && self.suspects_seen[router as usize] >= ROLL_CALL_FROM && !told {
            return self
                .is_alive_since(router, since)
                .then_some((Question::RollCall { whole: true }, router));
        }
        let id = self.id(router)?;
        if node.address.is_some() || self.is_pinged_through(index, node, id) {
            Some((Question::PingThrough { router: id }, index))
        } else if !node.claims.is_empty() {
            Some((Question::Session { router: id, keys: node.claims.clone() }, index))
        } else {
            (!told).then_some((Question::RollCall { whole: true }, router))
        }
    }

    /// Whether a poller was lately heard to ping a node through its router: then it knows where that answers, although
    /// the inventory does not say. A static address names a person.
    fn is_pinged_through(&self, index: Index, node: &Node, router: NodeId) -> bool {
        let by_ping =
            |claim: &ClaimHeard| claim.source == SignalSource::ProxyPing && claim.sender == Some(router);
        node.claims.is_empty()
            && self.recent.of(index).is_some_and(|recent| recent.claims.iter().any(by_ping))
    }

    /// Whether to ask that target again in a matter that arose at `since`.
    pub(super) fn want(&self, target: Index, roll_call: bool, since: Time, now: Time) -> Want {
        let Some(&InFlight { at, deadline, round }) = self.in_flight.get(&(target, roll_call)) else {
            return Want::Ask(0);
        };
        let ended = self.recent.of(target).and_then(|r| r.ended_since(at, roll_call));
        // Whoever answers at once is not asked as fast as it answers.
        let anew = if now < at.plus_ms(AGAIN_MS) { Want::Wait(at.plus_ms(AGAIN_MS)) } else { Want::Ask(0) };
        let next = |round: u32| match at >= since {
            false => anew,
            true if round + 1 >= ROUNDS => Want::GivenUp,
            true if now < at.plus_ms(AGAIN_MS) => Want::Wait(at.plus_ms(AGAIN_MS)),
            true => Want::Ask(round + 1),
        };
        match ended {
            None if now < deadline => Want::Wait(deadline),
            None | Some(Seen::Nothing) => next(round),
            Some(Seen::Up | Seen::Told) if at >= since => Want::Done,
            Some(Seen::Silent(..) | Seen::RouterSaysDown | Seen::NetwatchDown)
                if at >= since.plus_ms(-REUSE_MS) =>
            {
                Want::Done
            }
            Some(
                Seen::Up
                | Seen::NetwatchUp
                | Seen::Told
                | Seen::Silent(..)
                | Seen::RouterSaysDown
                | Seen::NetwatchDown,
            ) => anew,
        }
    }

    /// Whether to ask that target in a matter that arose at `since`, about which an earlier silence tells nothing.
    pub(super) fn want_after(&self, target: Index, roll_call: bool, since: Time, now: Time) -> Want {
        let asked_at = self.in_flight.get(&(target, roll_call)).map_or(since, |asked| asked.at);
        match self.want(target, roll_call, since, now) {
            Want::Done if asked_at < since => match asked_at.plus_ms(AGAIN_MS) {
                again if now < again => Want::Wait(again),
                _ => Want::Ask(0),
            },
            want => want,
        }
    }

    pub(super) fn ask(
        &self,
        target: Index,
        question: Question,
        round: u32,
        cause: EventId,
        now: Time,
    ) -> (Ask, Asked) {
        let node = self.network.graph.node(target).expect("what is asked about exists");
        let roll_call = matches!(question, Question::RollCall { .. });
        let deadline = now.plus_ms(if roll_call { ROLL_CALL_MS } else { LOOK_MS });
        let id =
            AskId::of(EventId::following(cause, "ask", &now.us().to_string()), node.id, u32::from(roll_call));
        let asked = Asked { id, target: node.id, at: now, deadline, round, roll_call };
        (Ask { id, target: node.id, target_kind: node.kind, question, at: now, deadline }, asked)
    }

    /// Asks about a node itself, and notes that with its health.
    pub(super) fn check(&mut self, index: Index, question: Question, round: u32, out: &mut Out) {
        self.check_for(index, index, question, round, out);
    }

    pub(super) fn check_for(
        &mut self,
        index: Index,
        target: Index,
        question: Question,
        round: u32,
        out: &mut Out,
    ) {
        if out.left() < 2 {
            self.soil_later(index);
            return;
        }
        let Some(node) = self.network.graph.node(index).cloned() else { return };
        let (ask, asked) = self.ask(target, question, round, self.origin(&node), out.now);
        // The ask or its answer may be lost.
        self.wakes.insert((asked.deadline, index));
        // While it is being checked, what is asked belongs to the suspicion: word of its health would end that.
        if let Some(open) = self.standing[index as usize].suspicion.clone() {
            let (claim, at) = (open.claim, open.since);
            let asked = still_asked(&open.asked, vec![asked], at);
            let said = SuspicionSaid { kind: SuspicionKind::Pursued, now: Suspicion { asked, ..*open } };
            let what = format!("suspicion {} {:x}", node.id, crate::digest::digest_of(&said.now));
            let say = out.say(claim, &what, at, Fact::Suspicion(said));
            out.say(claim, &format!("ask {}", ask.id), out.now, Fact::Ask(ask));
            self.apply(&say);
            return;
        }
        let standing = self.standing[index as usize].health.clone();
        let (mut now, cause) = standing
            .unwrap_or_else(|| (NodeHealth::of(node.id, Health::Unknown, out.now), self.origin(&node)));
        now.asked = still_asked(&now.asked, vec![asked], out.now);
        let said = HealthSaid { kind: HealthKind::Noted, now };
        let what = format!("asked {} {:x}", node.id, crate::digest::digest_of(&said.now));
        let say = out.say(cause, &what, out.now, Fact::Health(said));
        out.say(cause, &format!("ask {}", ask.id), out.now, Fact::Ask(ask));
        self.apply(&say);
    }
}

/// What is remembered as asked: what was asked just now, and what was before it and ends after `from`.
///
/// Of each target and kind the newest, [`MOST_ASKS`] at most.
pub(super) fn still_asked(before: &[Asked], mut newly: Vec<Asked>, from: Time) -> Vec<Asked> {
    for asked in before.iter().filter(|a| a.deadline > from) {
        let again = newly.iter().any(|a| a.target == asked.target && a.roll_call == asked.roll_call);
        if !again && newly.len() < MOST_ASKS {
            newly.push(asked.clone());
        }
    }
    newly
}
