//! Who may be back: what was cut off when its root is there again, and what is down when it is looked at again.
//!
//! Routers are asked about all they see rather than each of those by itself.

use super::{
    NETWATCH_LAG_MS,
    asking::{ROLL_CALL_MS, Want},
};
use crate::{
    diagnosis::{Out, Tenant},
    graph::Index,
};
use events::{Fact, Flag, Health, HealthKind, HealthSaid, Node, Question, Tier, Time};
use std::{collections::BTreeSet, sync::Arc};

/// Who comes back with its root within so long takes no word of its own for that it recovers.
const RECOVERING_AFTER_MS: i64 = 10_000;
/// What a router may take to give up a session that an outage broke, and the word of it to come in; or its
/// subscriber to dial in again.
const SESSION_LAG_MS: i64 = 120_000;
/// What is down or unknown is looked at again after so long, and then twice, four times, … as long, at most 64 times.
const LOOK_AGAIN_MS: i64 = 60_000;

/// When what has been so `since` was last due to be looked at again, if it was, and when it will be.
fn look_times(since: Time, now: Time) -> (Option<Time>, Time) {
    let (mut due, mut step) = (None, LOOK_AGAIN_MS);
    let mut next = since.plus_ms(step);
    while next <= now {
        due = Some(next);
        step = (step * 2).min(LOOK_AGAIN_MS * 64);
        next = next.plus_ms(step);
    }
    (due, next)
}

impl Tenant {
    /// A router that is up and sees nodes of which nothing is known, or that are back, is asked about them.
    pub(super) fn call_the_roll(&mut self, router: Index, node: &Arc<Node>, out: &mut Out) {
        if !self.tells_of_others(router, node) {
            return;
        }
        let is_missing = |i: &Index| match self.believed(*i) {
            None | Some(Health::Unknown) => true,
            Some(Health::Impacted) => !self.supply.of(*i).fails(),
            Some(Health::Up | Health::Down | Health::Degraded) => false,
        };
        if self.network.graph.sees(router).iter().any(is_missing) {
            self.ask_for_the_roll(router, self.since(router).max(self.network.revised_at), out);
        }
    }

    /// A router that is up and sees nodes of which nothing is known still is asked about them again, ever more rarely: that
    /// it did not answer, or had nothing of them to tell, must not be the last that is heard of them.
    pub(super) fn call_the_roll_again(&mut self, router: Index, node: &Arc<Node>, out: &mut Out) {
        if !self.tells_of_others(router, node) {
            return;
        }
        let is_unknown = |i: &&Index| matches!(self.believed(**i), None | Some(Health::Unknown));
        let newest = self.network.graph.sees(router).iter().filter(is_unknown).map(|i| self.since(*i)).max();
        let Some(newest) = newest else { return };
        let since = newest.max(self.since(router)).max(self.network.revised_at);
        let (due, next) = look_times(since, out.now);
        self.wakes.insert((next, router));
        if let Some(due) = due {
            self.ask_for_the_roll(router, due, out);
        }
    }

    fn tells_of_others(&self, router: Index, node: &Node) -> bool {
        node.login.is_some() && !self.network.graph.sees(router).is_empty() && self.supply_is_usable(router)
    }

    /// Asks a router about all it sees, if that was not answered after `since`. What has not been answered is asked again
    /// soon after or not at all: how it ended is not remembered for ever.
    fn ask_for_the_roll(&mut self, router: Index, since: Time, out: &mut Out) {
        let asked_lately = self
            .in_flight
            .get(&(router, true))
            .is_some_and(|asked| out.now < asked.at.plus_ms(2 * ROLL_CALL_MS));
        match self.want(router, true, since, out.now) {
            Want::Ask(round) if round == 0 || asked_lately => {
                self.check(router, Question::RollCall { whole: true }, round, out);
            }
            Want::Wait(at) => {
                self.wakes.insert((at, router));
            }
            Want::Ask(_) | Want::Done | Want::GivenUp => {}
        }
    }

    /// Its root is back. Nothing is said of it until it is heard of, claimed to be down anew, or the hold is over;
    /// then it is walked again.
    pub(super) fn judge_recovering(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        let supply = self.supply.of(index);
        if !node.is_observable() {
            if supply.holds() {
                let cause = self.standing[index as usize].health.as_ref().map(|(_, e)| *e);
                self.say_up(index, node, cause.unwrap_or_else(|| self.origin(node)), out);
            }
            return;
        }
        if !supply.holds() {
            return;
        }
        let back_at = self.back_at(index);
        let all_back = self.all_back_at(index).max(back_at);
        // What is between it and its root may be back much later. What only now and then is one of several does not
        // put it off.
        let held_from = if self.network.graph.is_redundant(index) { back_at } else { all_back };
        let over = held_from.plus_ms(i64::from(self.network.policy.recover_hold_ms));
        let from = self.claimed_anew(index, node, all_back).map_or(over, |at| at.min(over));
        if out.now >= from {
            self.walk(index, node, Some(from), out);
            return;
        }
        self.wakes.insert((from, index));
        if self.note_recovering(index, all_back.plus_ms(RECOVERING_AFTER_MS), out) {
            return;
        }
        if node.tier > Tier::Sector {
            // What is back a moment after its root is seen by the second roll call that follows from that.
            let is_late = held_from > back_at.plus_ms(NETWATCH_LAG_MS);
            self.call_the_roll_for(index, node, if is_late { held_from } else { back_at }, over, out);
            return;
        }
        if let Some((question, target)) = self.question(index, node, back_at) {
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want(target, roll_call, back_at, out.now) {
                Want::Ask(round) => {
                    self.await_look(target, index);
                    self.check_for(index, target, question, round, out);
                }
                Want::Wait(at) => {
                    self.await_look(target, index);
                    self.wakes.insert((at, index));
                }
                Want::Done | Want::GivenUp => {}
            }
        }
    }

    /// From when on a claim that it is down, heard when all it needs was back, is no word of the outage any more.
    fn claimed_anew(&self, index: Index, node: &Node, all_back: Time) -> Option<Time> {
        let words = self.words(index, node.tier, node.watch.is_some());
        let claimed = words.claimed_down().map(|claim| claim.heard).filter(|heard| *heard > all_back);
        let lag_ms = if node.claims.is_empty() { NETWATCH_LAG_MS } else { SESSION_LAG_MS };
        let claimed = claimed.map(|heard| heard.max(all_back.plus_ms(lag_ms)));
        // What is being checked is checked to its end, although what was heard has passed the claim by.
        claimed.or_else(|| self.standing[index as usize].suspicion.as_ref().map(|open| open.since))
    }

    /// Says from `from` on that it recovers: nothing cuts it off any more, and it has not been heard of. Returns
    /// whether it said that just now.
    pub(super) fn note_recovering(&mut self, index: Index, from: Time, out: &mut Out) -> bool {
        if out.now < from {
            self.wakes.insert((from, index));
            return false;
        }
        let standing = &self.standing[index as usize];
        let Some((now, cause)) = standing.health.as_ref() else { return false };
        // While it is being checked no word of its health is said: that would end the check.
        if now.flags.contains(&Flag::Recovering) || standing.suspicion.is_some() {
            return false;
        }
        let (mut now, cause) = (now.clone(), *cause);
        now.flags.insert(0, Flag::Recovering);
        let what = format!("recovering {} {:x}", now.node, crate::digest::digest_of(&now));
        let say = out.say(cause, &what, out.now, Fact::Health(HealthSaid { kind: HealthKind::Noted, now }));
        self.apply(&say);
        self.soil(index);
        true
    }

    /// Whoever is cut off no longer and has not been heard of since may have been back before its router
    /// noticed that it was away, or its word was lost. Its router is asked about all it sees: at once, and
    /// once more when it has had the time to see who came back, if anything is missing still.
    pub(super) fn call_the_roll_for(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        back_at: Time,
        over: Time,
        out: &mut Out,
    ) {
        let Some(router) = self.router_of(node).filter(|router| self.supply_is_usable(*router)) else {
            return;
        };
        if self.network.graph.node(router).is_none_or(|n| n.login.is_none()) {
            return;
        }
        let back_at = back_at.max(self.since(router));
        let blind_ms = i64::from(self.network.policy.blind_after_boot_ms);
        let booted = self.recent.of(router).and_then(|r| r.booted);
        let sees_from =
            booted.map(|(at, told)| (at.plus_ms(blind_ms), told)).filter(|(from, told)| told < from);
        let ripe_at = back_at.plus_ms(NETWATCH_LAG_MS).max(sees_from.map_or(back_at, |(from, _)| from));
        if out.now < ripe_at && ripe_at < over {
            self.wakes.insert((ripe_at, index));
        }
        let since = if out.now < ripe_at { back_at } else { ripe_at };
        match self.want(router, true, since, out.now) {
            Want::Ask(round) => {
                self.await_look(router, index);
                self.check(router, Question::RollCall { whole: true }, round, out);
            }
            Want::Wait(at) => {
                self.await_look(router, index);
                self.wakes.insert((at, index));
            }
            Want::Done | Want::GivenUp => {}
        }
    }

    /// Since when those that cut it off are back.
    pub(super) fn back_at(&self, index: Index) -> Time {
        let Some((now, _)) = &self.standing[index as usize].health else { return Time::EPOCH };
        let roots = now.roots.iter().filter_map(|id| self.network.graph.index_of(*id));
        roots.map(|r| self.since(r)).max().unwrap_or(now.since).max(now.since)
    }

    /// When the last of those that a node cannot do without came back, however far above.
    fn all_back_at(&self, index: Index) -> Time {
        let graph = &self.network.graph;
        let (mut at, mut seen, mut edge) = (Time::EPOCH, BTreeSet::new(), vec![index]);
        while let Some(below) = edge.pop() {
            if graph.is_redundant(below) {
                continue;
            }
            for need in graph.above(below) {
                at = at.max(self.since(*need));
                if seen.insert(*need) {
                    edge.push(*need);
                }
            }
        }
        at
    }

    /// What is down or unknown and cannot say itself that it is back is looked at again, ever more rarely.
    pub(super) fn look_again(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        if !node.is_observable() {
            return;
        }
        let (due, next) = look_times(self.since(index), out.now);
        if node.tier > Tier::Sector {
            // Its router is asked about all it sees.
            if let Some(router) =
                self.router_of(node).filter(|_| self.believed(index) == Some(Health::Unknown))
            {
                self.wakes.insert((next, router));
            }
            return;
        }
        self.wakes.insert((next, index));
        let Some(due) = due else { return };
        let Some((question, target)) = self.question(index, node, due) else { return };
        let roll_call = matches!(question, Question::RollCall { .. });
        if let Want::Ask(round) = self.want(target, roll_call, due, out.now)
            && round == 0
        {
            self.check_for(index, target, question, round, out);
        }
    }
}
