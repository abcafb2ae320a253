//! The judging of one node: what it is believed to be, and what is asked to find out.
//!
//! Nodes are judged with whatever they need first, so a verdict about a root is there before anything
//! below it is looked at. Broken supply explains everything below it; what is alive was seen alive
//! *after* the doubt arose; and only what is observed down while everything it needs is proven alive
//! is broken itself.

mod asking;
mod proof;
mod recovery;
mod roots;
mod saying;
mod sessions;
mod table;
mod walk;
mod words;

pub(crate) use self::{asking::LOOK_MS, sessions::Fallen};

use self::{asking::Want, words::Words};
use crate::{
    confidence::THRESHOLD,
    diagnosis::{Out, Tenant},
    flapping,
    graph::Index,
    recent::ClaimHeard,
    supply::at_risk,
};
use events::{
    Claim, EventId, Fact, Flag, Health, HealthKind, HealthSaid, Node, NodeHealth, NodeId, Question, Tier,
    Time,
};
use std::sync::Arc;

/// After a look that told nothing, the next one waits so long.
const AGAIN_MS: i64 = 2_000;
/// An earlier silence may be used for so long (design: 5 s); an earlier sign of life never.
const REUSE_MS: i64 = 5_000;
/// What a netwatch entry of 30 s, with its probe's timeout, may take to notice a change.
const NETWATCH_LAG_MS: i64 = 60_000;
/// From so many suspects below one router on, the router is asked about all at once.
const ROLL_CALL_FROM: u32 = 5;
/// Probes asked for one suspicion at once.
const MOST_ASKS: usize = 200;

/// A claim that something works.
#[derive(Clone, Copy)]
struct Praise {
    heard: Time,
    event: EventId,
    /// Up or degraded.
    says: Claim,
}

impl Tenant {
    /// Judges one node: says what follows, asks what is needed.
    pub(crate) fn judge(&mut self, index: Index, out: &mut Out) {
        let Some(node) = self.network.graph.node(index).cloned() else { return };
        self.weigh_awaited(index);
        if self.calm(index, out) || self.is_a_cause_now(index, out) {
            return;
        }
        match self.believed(index) {
            Some(Health::Up | Health::Degraded) => self.judge_living(index, &node, out),
            None if !node.is_observable() => self.judge_living(index, &node, out),
            Some(Health::Down | Health::Impacted | Health::Unknown) | None => {
                self.judge_lost(index, &node, out);
            }
        }
    }

    /// Has what is flapping judged again when it will be steady. Returns whether it was said to be so just now,
    /// of a node that does not work: of one that works the judging itself says it.
    fn calm(&mut self, index: Index, out: &mut Out) -> bool {
        let standing = &self.standing[index as usize];
        let Some((now, cause)) =
            standing.health.as_ref().filter(|(now, _)| now.flags.contains(&Flag::Flapping))
        else {
            return false;
        };
        if let Some(steady) = now.penalty.map(flapping::steady_at).filter(|at| *at > out.now) {
            self.wakes.insert((steady, index));
            return false;
        }
        // While it is being checked no word of its health is said: that would end the check.
        if matches!(now.health, Health::Up | Health::Degraded) || standing.suspicion.is_some() {
            return false;
        }
        let (mut now, cause) = (now.clone(), *cause);
        now.flags.retain(|flag| *flag != Flag::Flapping);
        now.penalty = flapping::remembered(now.penalty, out.now);
        let what = format!("steady {} {:x}", now.node, crate::digest::digest_of(&now));
        let said = HealthSaid { kind: HealthKind::Noted, now };
        let say = out.say(cause, &what, out.now, Fact::Health(said));
        self.apply(&say);
        self.soil(index);
        true
    }

    /// Has what is down known for what it is by the map of now: a station may have come to serve several while
    /// nothing else was said of it. Returns whether that was said just now.
    fn is_a_cause_now(&mut self, index: Index, out: &mut Out) -> bool {
        let opens_incident = self.network.graph.opens_incidents(index);
        let standing = &self.standing[index as usize];
        let Some((now, cause)) = standing.health.as_ref() else { return false };
        // While it is being checked no word of its health is said: that would end the check.
        let otherwise = now.health == Health::Down && now.opens_incident != opens_incident;
        if !otherwise || standing.suspicion.is_some() {
            return false;
        }
        let (now, cause) = (NodeHealth { opens_incident, ..now.clone() }, *cause);
        let what = format!("a cause {} {:x}", now.node, crate::digest::digest_of(&now));
        let say = out.say(cause, &what, out.now, Fact::Health(HealthSaid { kind: HealthKind::Noted, now }));
        self.apply(&say);
        self.soil(index);
        true
    }

    /// Whether a node that was so far said to be flapping, or not, is flapping now.
    fn is_flapping(&self, index: Index, now: Time) -> bool {
        self.standing[index as usize].health.as_ref().is_some_and(|(before, _)| {
            flapping::is_flapping(before.penalty, before.flags.contains(&Flag::Flapping), now)
        })
    }

    fn since(&self, index: Index) -> Time {
        self.standing[index as usize].health.as_ref().map_or(Time::EPOCH, |(now, _)| now.since)
    }

    /// A node believed to work, or that nothing can look at and nothing was said of.
    fn judge_living(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        let words = self.words(index, node.tier, node.watch.is_some());
        let supply = self.supply.by_the_map(&self.network.graph, index);
        let alive = words.alive;
        if supply.fails() {
            let roots = self.roots_by_the_map(index);
            let broke_at = self.broke_at(index, &roots);
            let proven = alive.is_some_and(|(at, _)| at >= broke_at) && words.silence.is_none();
            if !proven {
                self.cut_off(index, node, &roots, out);
                return;
            }
        }
        // A silence from before it was believed to work was weighed when that was decided.
        let weighed = self.since(index).plus_ms(-REUSE_MS);
        let overtaken = self.overtaken_at(node, &words);
        let is_new = words.silence.is_some_and(|s| s.asked_at >= weighed) && overtaken.is_none();
        // A look that is older than the last word of it is taken once more; what it was believed to be because of that word
        // was weighed then.
        if let Some(heard) = overtaken.filter(|heard| self.since(index) < *heard)
            && self.is_looked_at_after(index, node, heard, out)
        {
            return;
        }
        let words = self.words(index, node.tier, node.watch.is_some());
        let accused = words.accusation().is_some()
            || (is_new && self.case(index, &words).weight(node.tier) >= THRESHOLD);
        if accused {
            self.walk(index, node, None, out);
            return;
        }
        if let Some(turn) = self.turn_that_came(index, &words) {
            self.walk(index, node, Some(turn), out);
            return;
        }
        let begun = words.begun().filter(|_| words.praise().is_none()).map(|look| look.asked_at);
        if let Some(asked_at) = begun
            && self.is_unsettled(index, asked_at, node, out)
        {
            return;
        }
        let words = self.words(index, node.tier, node.watch.is_some());
        let health = match words.praise().map(|c| c.says) {
            Some(Claim::Degraded) => Health::Degraded,
            Some(Claim::Up | Claim::Down) => Health::Up,
            None => self.believed(index).unwrap_or(Health::Up),
        };
        let cause = words.claim.map(|c| c.event).or(alive.map(|(_, e)| e));
        self.settle_living(index, node, health, cause, out);
    }

    /// A suspicion is not settled by a look that has only begun: it may come to nothing, and what was found silent before it
    /// is said no more. It is waited for, and where it came to nothing looked at again. Returns whether that is so.
    fn is_unsettled(&mut self, index: Index, asked_at: Time, node: &Arc<Node>, out: &mut Out) -> bool {
        let suspicion = self.standing[index as usize].suspicion.as_ref();
        if suspicion.is_none_or(|suspicion| asked_at < suspicion.walks_from()) {
            return false;
        }
        match self.in_flight.get(&(index, false)).map(|asked| asked.deadline).filter(|end| *end > out.now) {
            Some(deadline) => drop(self.wakes.insert((deadline, index))),
            None => self.walk(index, node, Some(asked_at), out),
        }
        true
    }

    /// When somebody said that it works, after it was looked at and found silent, and nobody has looked since. Of what we
    /// probe ourselves no word is enough.
    fn overtaken_at(&self, node: &Node, words: &Words<'_>) -> Option<Time> {
        let (silence, praise) = (words.silence?, words.praise()?);
        let is_probed = node.watch.is_some() || node.tier <= Tier::Sector;
        (!is_probed && praise.heard > silence.asked_at).then_some(praise.heard)
    }

    /// Has a node looked at that somebody says works. Returns whether that is under way.
    fn is_looked_at_after(&mut self, index: Index, node: &Arc<Node>, heard: Time, out: &mut Out) -> bool {
        let Some((question, target)) = self.question(index, node, heard) else { return false };
        let roll_call = matches!(question, Question::RollCall { .. });
        match self.want_after(target, roll_call, heard, out.now) {
            Want::Ask(round) => {
                self.await_look(target, index);
                self.check_for(index, target, question, round, out);
                true
            }
            Want::Wait(at) => {
                self.await_look(target, index);
                self.wakes.insert((at, index));
                true
            }
            // Nothing was found against it.
            Want::Done | Want::GivenUp => false,
        }
    }

    /// These roots cut a node off, unless one of them is back: what was found down before is looked at
    /// again before it is held to cut anybody off together with what fell only now.
    fn cut_off(&mut self, index: Index, node: &Arc<Node>, roots: &[Index], out: &mut Out) {
        if self.believed(index) != Some(Health::Impacted) {
            let broke_at = roots.iter().map(|r| self.since(*r)).max().unwrap_or(Time::EPOCH);
            let before = broke_at.plus_ms(-REUSE_MS);
            let old: Vec<Index> = roots.iter().copied().filter(|r| self.since(*r) < before).collect();
            if !self.are_seen_to(index, old, broke_at, out) {
                return;
            }
        }
        self.say_impacted(index, node, roots, out);
    }

    /// Says what is believed of a node that works, if that is news.
    fn settle_living(
        &mut self,
        index: Index,
        node: &Arc<Node>,
        health: Health,
        cause: Option<EventId>,
        out: &mut Out,
    ) {
        let mut flags = Vec::new();
        if self.is_flapping(index, out.now) {
            flags.push(Flag::Flapping);
        }
        if self.network.graph.is_redundant(index)
            && at_risk(self.network.graph.needs(index), &|i| self.supply.gives(i))
        {
            flags.push(Flag::AtRisk);
        }
        if self.supply.by_the_map(&self.network.graph, index).fails() {
            flags.push(Flag::MapDisagrees);
        }
        let before = self.standing[index as usize].health.as_ref();
        let news = match before {
            Some((now, _)) => now.health != health || now.flags != flags,
            None => node.is_observable() || !flags.is_empty(),
        };
        if news {
            let cause = cause.or(before.map(|(_, e)| *e)).unwrap_or_else(|| self.origin(node));
            self.say_health(index, health, cause, out, |now| now.flags = flags);
        } else {
            self.settle_suspicion(index, out);
        }
        self.call_the_roll(index, node, out);
        self.call_the_roll_again(index, node, out);
    }

    fn supply_is_usable(&self, router: Index) -> bool {
        !self.supply.of(router).fails() && self.believed(router) == Some(Health::Up)
    }

    /// A node believed not to work, or of which nothing is known.
    fn judge_lost(&mut self, index: Index, node: &Arc<Node>, out: &mut Out) {
        let (belief, since, supply) = (self.believed(index), self.since(index), self.supply.of(index));
        let words = self.words(index, node.tier, node.watch.is_some());
        let fresh =
            words.alive.filter(|(at, _)| *at >= since).or(words.unasked.filter(|(heard, _)| *heard > since));
        if let Some((at, event)) = fresh.filter(|_| words.silence.is_none()) {
            if !supply.fails() || self.roots_are_seen_to(index, at, out) {
                self.say_up(index, node, event, out);
            }
            return;
        }
        let praise = words.praise().filter(|c| c.heard > since);
        let void = |c: &&ClaimHeard| words.silence.is_some_and(|s| s.asked_at >= c.heard);
        let praise = praise.filter(|c| !void(c));
        if let Some(praise) = praise.map(|c| Praise { heard: c.heard, event: c.event, says: c.says }) {
            let unsure = words.claim.is_some_and(|c| c.seq.is_none()) || words.silence.is_some();
            let check = node.watch.is_some() || (node.tier <= Tier::Sector && node.is_observable()) || unsure;
            self.hear_praise(index, node, praise, check, out);
            return;
        }
        if supply.fails() {
            let roots = self.roots_of(index);
            self.cut_off(index, node, &roots, out);
            return;
        }
        match belief {
            Some(Health::Impacted) => self.judge_recovering(index, node, out),
            Some(Health::Down) => self.look_again(index, node, out),
            Some(Health::Unknown) | None => {
                let accused = words.accusation().is_some_and(|c| c.heard > since)
                    || (self.case(index, &words).weight(node.tier) >= THRESHOLD
                        && words.silence.is_some_and(|s| s.asked_at >= since));
                if accused {
                    self.walk(index, node, None, out);
                } else if let Some(turn) = self.turn_that_came(index, &words) {
                    self.walk(index, node, Some(turn), out);
                } else if belief == Some(Health::Unknown) {
                    self.look_again(index, node, out);
                } else if let Some(router) = self.router_of(node)
                    && self.believed(router) == Some(Health::Up)
                    && let Some(said) = self.network.graph.node(router).cloned()
                {
                    self.call_the_roll(router, &said, out);
                }
            }
            Some(Health::Up | Health::Degraded) => {}
        }
    }

    /// Somebody says that it works although it was believed not to.
    fn hear_praise(&mut self, index: Index, node: &Arc<Node>, praise: Praise, check: bool, out: &mut Out) {
        let Praise { heard, event, says } = praise;
        let supply = self.supply.of(index);
        if !supply.holds() {
            let seen_to = self.roots_are_seen_to(index, heard, out);
            if supply.fails() {
                let roots = self.roots_of(index);
                self.say_impacted(index, node, &roots, out);
                return;
            }
            if !seen_to {
                return;
            }
        }
        if check && self.is_looked_at_after(index, node, heard, out) {
            return;
        }
        if says == Claim::Degraded {
            self.say_health(index, Health::Degraded, event, out, |_| {});
        } else {
            self.say_up(index, node, event, out);
        }
    }

    /// Whether what keeps a node from being supplied was looked at after `since`; asks for it otherwise.
    fn roots_are_seen_to(&mut self, index: Index, since: Time, out: &mut Out) -> bool {
        let frontier = self.frontier_of(index);
        self.are_seen_to(index, frontier, since, out)
    }

    /// Whether these were looked at after `since`; asks for it otherwise, and has `index` judged again then.
    fn are_seen_to(
        &mut self,
        index: Index,
        these: impl IntoIterator<Item = Index>,
        since: Time,
        out: &mut Out,
    ) -> bool {
        let mut seen_to = true;
        for root in these {
            let Some(node) = self.network.graph.node(root).cloned() else { continue };
            let Some((question, target)) = self.question(root, &node, since) else { continue };
            let roll_call = matches!(question, Question::RollCall { .. });
            match self.want(target, roll_call, since, out.now) {
                Want::Ask(round) => {
                    seen_to = false;
                    self.await_look(target, index);
                    self.await_look(root, index);
                    self.check_for(root, target, question, round, out);
                    if let Some(asked) = self.in_flight.get(&(target, roll_call)) {
                        self.wakes.insert((asked.deadline, index));
                    }
                }
                Want::Wait(at) => {
                    seen_to = false;
                    self.await_look(target, index);
                    self.await_look(root, index);
                    self.wakes.insert((at, index));
                }
                Want::Done | Want::GivenUp => {}
            }
        }
        seen_to
    }

    fn soil_later(&mut self, index: Index) {
        self.wakes.insert((Time::EPOCH, index));
    }

    fn id(&self, index: Index) -> Option<NodeId> {
        self.network.graph.node(index).map(|n| n.id)
    }

    fn router_of(&self, node: &Node) -> Option<Index> {
        node.seen_by.and_then(|id| self.network.graph.index_of(id))
    }

    fn await_look(&mut self, at: Index, suspect: Index) {
        if at != suspect {
            self.waiting.entry(at).or_default().insert(suspect);
        }
    }
}
