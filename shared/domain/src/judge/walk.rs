//! The walk: from a suspect up through everything it needs.

use super::{AGAIN_MS, MOST_ASKS, REUSE_MS, ROLL_CALL_FROM, asking::Want, asking::still_asked, words::Words};
use crate::{
    confidence::THRESHOLD,
    diagnosis::{Out, Tenant},
    graph::Index,
    recent::{NodeRecent, Seen},
};
use events::{
    Ask, Asked, EventId, Evidence, EvidenceKind, Fact, Health, Node, Question, Say, SignalSource, Suspicion,
    SuspicionKind, SuspicionSaid, Tier, Time,
};
use std::{collections::BTreeSet, sync::Arc};

/// After this a suspicion is settled with what is known.
const BOUND_MS: i64 = 30_000;
/// Looks asked for within so long of each other tell of one moment.
const SAME_MOMENT_MS: i64 = 500;
/// So many looks through one router are under way at once; the rest waits.
const MOST_THROUGH: usize = 16;

impl Tenant {
    /// The walk: from a suspect up through everything it needs.
    ///
    /// `from`: it is suspected because nobody has heard of it until then, not because of a claim.
    pub(super) fn walk(&mut self, index: Index, node: &Arc<Node>, from: Option<Time>, out: &mut Out) {
        let words = self.words(index, node.tier, node.watch.is_some());
        let case = self.case(index, &words);
        let claim = words.accusation();
        let silence = words.silence.filter(|l| l.seen != Seen::NetwatchDown || case.router.is_some());
        let doubt_from = match (&claim, from) {
            (Some(c), None) => c.heard,
            (_, Some(from)) => from,
            (None, None) => silence.map_or(out.now, |s| s.asked_at),
        };
        // A silence nobody asked for began at an unknown moment, perhaps before what it needs came back.
        let stands_alone = self.network.graph.above(index).is_empty();
        let reuse_ms = if from.is_some() { 0 } else { REUSE_MS };
        // What was asked a moment before somebody told the same unasked is not asked again: it is what counts.
        let asked_for = self
            .recent
            .of(index)
            .and_then(|r| r.asked_silence(doubt_from.plus_ms(-reuse_ms)))
            .copied()
            .filter(|_| silence.is_some());
        let usable = silence
            .filter(|s| s.asked || stands_alone)
            .or(asked_for)
            .filter(|s| s.asked_at >= doubt_from.plus_ms(-reuse_ms) && case.weight(node.tier) >= THRESHOLD);
        // What it needs must have been seen alive in the moment its own silence began: neither before the
        // doubt arose, when it may have been another matter, nor later, when it may have just come back.
        let since = usable
            .map_or(doubt_from, |s| s.asked_at.plus_ms(-SAME_MOMENT_MS).max(doubt_from.min(s.asked_at)));
        let supply = self.supply_seen(index, since, usable.map(|s| s.asked_at));
        // What it needs may have been away for less time than that, and seen alive before and after.
        let lasted = usable.filter(|_| supply.holds()).and_then(|s| Some((s.asked_at, s.unanswered_at()?)));
        let supply = lasted.map_or(supply, |lasted| self.supply_throughout(index, since, lasted));
        let confirmed = usable.is_some();
        // A router's table tells of sessions anew each time; of a netwatch entry it need not be asked twice.
        let own_question =
            self.question(index, node, if node.claims.is_empty() { doubt_from } else { since });
        // What was there when the silence began may have died while it lasted: it is looked at once more.
        let last_try_at = usable.filter(|_| supply.holds()).and_then(|s| s.unanswered_at());
        let still = last_try_at.map_or(supply, |at| self.supply_seen(index, at, None));
        // When the looks at both are in and lie too far apart, both are looked at again, together: but for what was
        // looked at in this moment anyway. Where something it needs is silent, that is looked at first.
        let again = confirmed && !supply.holds() && !self.awaits_any(index, since, out.now);
        let together = again && !supply.fails();
        let ask_since = match (again, together) {
            (_, true) => out.now.plus_ms(-SAME_MOMENT_MS),
            (true, false) => out.now,
            (false, false) => last_try_at.unwrap_or(since),
        };
        let unaskable = own_question.is_none() && !self.waits_for_router(node) && claim.is_some();
        let cause = silence.map(|s| s.event).or(claim.as_ref().map(|c| c.event));
        let cause = cause.or(self.standing[index as usize].health.as_ref().map(|(_, e)| *e));
        let cause = cause.unwrap_or_else(|| self.origin(node));
        if supply.holds() && still.holds() && (confirmed || unaskable) {
            let evidence = case.evidence(node.tier, true);
            self.say_down(index, cause, claim.as_ref().map(|c| c.at), evidence, out);
            return;
        }
        let open = self.standing[index as usize].suspicion.clone();
        let held_until = match &open {
            Some(open) => open.held_until,
            None => self.turn_of(node, out.now),
        };
        let fresh = Suspicion {
            node: node.id,
            since: out.now,
            source: claim.as_ref().map_or(SignalSource::Heartbeat, |c| c.source),
            sender: claim.as_ref().and_then(|c| c.sender),
            claim: cause,
            asked: Vec::new(),
            held_until,
        };
        if let Some(until) = held_until.filter(|until| *until > out.now) {
            self.wakes.insert((until, index));
            if open.is_none() {
                let at = claim.as_ref().map(|c| c.at);
                let say = say_suspicion(SuspicionKind::Raised, fresh, at, cause, out);
                self.apply(&say);
                self.dirty.remove(&(self.network.graph.rank(index), index));
            }
            return;
        }
        let began = open.as_ref().map_or(out.now, |s| s.walks_from());
        if out.now >= began.plus_ms(BOUND_MS) {
            if confirmed {
                let mut evidence = case.evidence(node.tier, false);
                let graph = &self.network.graph;
                // The nearest of what may explain it.
                let unproven = self.unproven_above(index, since);
                let nearest = unproven.into_iter().max_by_key(|above| (graph.rank(*above), *above));
                let settled_by = nearest.and_then(|above| graph.node(above)).map(|n| n.name.clone());
                evidence
                    .push(Evidence { settled_by, ..Evidence::of(EvidenceKind::Undetermined, 1, 0, None) });
                self.say_down(index, cause, claim.as_ref().map(|c| c.at), evidence, out);
            } else {
                self.say_health(index, Health::Unknown, cause, out, |now| {
                    now.at = claim.as_ref().map(|c| c.at);
                });
            }
            return;
        }
        // What is cut off as far as was seen is not asked whether it is broken too.
        let itself = !confirmed && !supply.fails();
        let (asks, again) =
            self.asks_of_walk(index, node, ask_since, (itself || again, together), own_question, out);
        self.wakes.insert((again.unwrap_or(began.plus_ms(BOUND_MS)).min(began.plus_ms(BOUND_MS)), index));
        let raised = open.is_none();
        if !raised && asks.is_empty() {
            return;
        }
        let mut now = open.map_or(fresh, |open| *open);
        let newly = asks.iter().map(|(_, asked)| asked.clone()).collect();
        now.asked = still_asked(&now.asked, newly, now.since);
        let kind = if raised { SuspicionKind::Raised } else { SuspicionKind::Pursued };
        let say = say_suspicion(kind, now, claim.as_ref().map(|c| c.at), cause, out);
        for (ask, _) in asks {
            out.say(cause, &format!("ask {}", ask.id), out.now, Fact::Ask(ask));
        }
        self.apply(&say);
        self.dirty.remove(&(self.network.graph.rank(index), index));
    }

    /// Until when a new suspicion has to wait for its walk: the tenant's quota. What the server watches itself,
    /// and what much hangs on, never waits.
    pub(super) fn turn_of(&self, node: &Node, now: Time) -> Option<Time> {
        if node.watch.is_some() || node.tier <= Tier::Site {
            return None;
        }
        let turn = self.walks.next(now, self.network.policy.walks_per_hour);
        (turn > now).then_some(turn)
    }

    /// The turn of a suspicion that had to wait, when nothing was heard since that settles it. The claim itself
    /// may be forgotten by then.
    pub(super) fn turn_that_came(&self, index: Index, words: &Words<'_>) -> Option<Time> {
        let turn = self.standing[index as usize].suspicion.as_ref()?.held_until?;
        let is_seen = words.alive.is_some_and(|(at, _)| at >= turn);
        (!is_seen && words.praise().is_none()).then_some(turn)
    }

    /// What to ask for a suspect: the whole way up at once, each node once, and then itself; or all of
    /// them together.
    pub(super) fn asks_of_walk(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        since: Time,
        (itself, together): (bool, bool),
        own: Option<(Question, Index)>,
        out: &mut Out,
    ) -> (Vec<(Ask, Asked)>, Option<Time>) {
        let mut wanted: Vec<(Index, Question, Index)> = Vec::new();
        let mut again = None::<Time>;
        for above in self.unproven_above(index, since) {
            let Some(n) = self.network.graph.node(above).cloned() else { continue };
            if let Some((question, target)) = self.question(above, &n, since) {
                wanted.push((above, question, target));
            }
        }
        if let Some(router) = self.router_of(node)
            && !wanted.iter().any(|(i, ..)| *i == router)
            && self.recent.of(router).and_then(NodeRecent::alive_at).is_none_or(|(at, _)| at < since)
            && let Some(n) = self.network.graph.node(router).cloned()
            && let Some((question, target)) = self.question(router, &n, since)
        {
            wanted.push((router, question, target));
        }
        // As long as anything above may explain it, the suspect itself is not asked.
        let open = |(_, question, target): &(Index, Question, Index)| {
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want(*target, roll_call, since, out.now) {
                Want::Ask(_) | Want::Wait(_) => true,
                Want::Done | Want::GivenUp => false,
            }
        };
        let itself = itself && (together || !wanted.iter().any(open));
        let crowded = itself
            && matches!(own, Some((Question::PingThrough { .. } | Question::Session { .. }, _)))
            && self.router_of(node).is_some_and(|router| self.is_crowded(router, out.now));
        if crowded {
            again = Some(out.now.plus_ms(AGAIN_MS));
        } else if itself && let Some((question, target)) = own {
            wanted.push((index, question, target));
        }
        if together && let Some(at) = again.max(self.all_askable_at(index, &wanted, since, out.now)) {
            for &(about, _, target) in &wanted {
                self.await_look(about, index);
                self.await_look(target, index);
            }
            return (Vec::new(), Some(at));
        }
        let mut asks = Vec::new();
        for (about, question, target) in wanted {
            let roll_call = matches!(question, Question::RollCall { .. });
            if roll_call
                && asks.iter().any(|(_, a): &(Ask, Asked)| a.roll_call && Some(a.target) == self.id(target))
            {
                continue;
            }
            match self.want_of_walk(target, roll_call, since, out.now, together && about == index) {
                Want::Ask(round) => {
                    if asks.len() >= MOST_ASKS || asks.len() + 2 > out.left() {
                        again = Some(out.now);
                        self.soil_later(index);
                        break;
                    }
                    let (ask, asked) = self.ask(target, question, round, self.origin(node), out.now);
                    again = Some(again.map_or(asked.deadline, |a| a.min(asked.deadline)));
                    asks.push((ask, asked));
                    self.await_look(about, index);
                    self.await_look(target, index);
                }
                Want::Wait(at) => {
                    again = Some(again.map_or(at, |a| a.min(at)));
                    self.await_look(about, index);
                    self.await_look(target, index);
                }
                Want::Done | Want::GivenUp => {}
            }
        }
        (asks, again)
    }

    /// When a suspect and what it needs may all be asked in one moment, if that is not now: of what was asked a
    /// while ago, and not lately enough to tell of this moment, the last to be askable again.
    ///
    /// Asked each as soon as it may be, they would tell of different moments for ever.
    fn all_askable_at(
        &self,
        index: Index,
        wanted: &[(Index, Question, Index)],
        since: Time,
        now: Time,
    ) -> Option<Time> {
        let waits = wanted.iter().filter_map(|(about, question, target)| {
            let roll_call = matches!(question, Question::RollCall { .. });
            let asked_at = self.in_flight.get(&(*target, roll_call)).map(|asked| asked.at);
            match self.want_of_walk(*target, roll_call, since, now, *about == index) {
                Want::Wait(at) if asked_at.is_none_or(|asked| asked < since) => Some(at),
                Want::Wait(_) | Want::Ask(_) | Want::Done | Want::GivenUp => None,
            }
        });
        waits.max()
    }

    /// Whether to ask that target again; `anew`: an earlier silence tells nothing.
    fn want_of_walk(&self, target: Index, roll_call: bool, since: Time, now: Time, anew: bool) -> Want {
        match anew {
            true => self.want_after(target, roll_call, since, now),
            false => self.want(target, roll_call, since, now),
        }
    }

    /// Whether a look at anything it needs is still under way.
    pub(super) fn awaits_any(&self, index: Index, since: Time, now: Time) -> bool {
        self.unproven_above(index, since).into_iter().any(|a| {
            [false, true].into_iter().any(|roll_call| {
                self.in_flight.get(&(a, roll_call)).is_some_and(|asked| {
                    let ended = self.recent.of(a).and_then(|r| r.ended_since(asked.at, roll_call));
                    asked.at >= since && now < asked.deadline && ended.is_none()
                })
            })
        })
    }

    /// Whether as many looks as it may have go through a router already.
    pub(super) fn is_crowded(&self, router: Index, now: Time) -> bool {
        let under_way = |i: &&Index| {
            let Some(asked) = self.in_flight.get(&(**i, false)) else { return false };
            now < asked.deadline
                && self.recent.of(**i).is_none_or(|r| r.ended_since(asked.at, false).is_none())
        };
        let many = self.suspects_seen[router as usize] >= ROLL_CALL_FROM;
        many && self.network.graph.sees(router).iter().filter(under_way).nth(MOST_THROUGH - 1).is_some()
    }

    /// The observable nodes above that are not proven alive since then, as far as it still matters.
    pub(super) fn unproven_above(&self, index: Index, since: Time) -> BTreeSet<Index> {
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<Index> = self.network.graph.above(index).to_vec();
        while let Some(i) = open.pop() {
            if i == index
                || !seen.insert(i)
                || self.is_alive_since(i, since)
                || self.believed(i) == Some(Health::Down)
            {
                continue;
            }
            if self.network.graph.node(i).is_some_and(|n| n.is_observable()) {
                found.insert(i);
            }
            open.extend(self.network.graph.above(i));
        }
        found
    }
}

/// Says that a node is suspected; what is asked because of it is said after it.
pub(super) fn say_suspicion(
    kind: SuspicionKind,
    now: Suspicion,
    at: Option<Time>,
    cause: EventId,
    out: &mut Out,
) -> Say {
    let what = format!("suspicion {} {:x}", now.node, crate::digest::digest_of(&now));
    out.say(cause, &what, at.unwrap_or(out.now), Fact::Suspicion(SuspicionSaid { kind, now }))
}
