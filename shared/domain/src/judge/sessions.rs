//! Whether many subscribers below one living node lost their sessions together.
//!
//! A subscriber that goes down is nobody's incident. Many of them within two minutes are one, and its place is the
//! living node with the fewest subscribers below it that so many of them hang on: a sector before the core.
//!
//! Only who worked until then counts: whom an outage cut off, and who is then found to be missing, was not lost
//! now. That outage may have been over before anybody was found down: a tower that was away for seconds leaves a
//! table without sessions behind, and lives. So nobody counts who needs something that was silent lately.
//!
//! The word that a session is back may be lost. So the routers' tables are read before anybody is told (`table`).
//!
//! Who is accounted for by one node is not counted for another, so that nobody is told of the same twice; what
//! was said first stays.

use crate::{
    diagnosis::{Out, Tenant},
    graph::Index,
    impact::tally,
    supply::Own,
};
use events::{
    EventId, EvidenceKind, Fact, Health, HealthKind, HealthSaid, Impact, NodeHealth, NodeId, Say,
    SessionsLost, Tier, Time,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// So many at least lose their sessions together …
const LEAST: usize = 5;
/// … and one of so many of all below the node …
const ONE_OF: usize = 5;
/// … within so long.
const WITHIN_MS: i64 = 120_000;
/// It is known at the latest so long after the first of them fell: while a walk is under way it waits for that. What
/// is left of a larger crowd, when that is over, is no news.
const NEWS_MS: i64 = WITHIN_MS + 60_000;
/// What was silent so long before somebody said that a session is gone, or later, may have taken it: a router gives
/// one up after a minute at most, and its word may be under way for another.
const AWAY_MS: i64 = 120_000;
/// What explains it names at most so many.
const MOST_ROOTS: usize = 16;
/// So many of those who lost their sessions are named (`events::SessionsLost::who`).
const MOST_NAMED: usize = 100;

/// How many of so many subscribers below a node make an incident.
fn enough(of: u32) -> usize {
    LEAST.max((of as usize).div_ceil(ONE_OF))
}

/// Who lost a session and is down still, and below whom.
#[derive(Debug, Default)]
pub(crate) struct Fallen {
    /// How many subscribers hang below each node.
    subscribers: Vec<u32>,
    /// When each of them fell.
    fell: BTreeMap<Index, Time>,
    /// Those below each node.
    below: BTreeMap<Index, BTreeSet<(Time, Index)>>,
    /// The nodes of which it is said that sessions were lost below them.
    said: BTreeSet<Index>,
    /// The nodes to be weighed (again).
    open: BTreeSet<Index>,
    /// The nodes to be weighed again when the tables of those who fell below them have been read.
    unread: BTreeSet<Index>,
}

impl Tenant {
    /// Counts anew, after the network has changed.
    pub(crate) fn count_fallen(&mut self) {
        let graph = &self.network.graph;
        let mut subscribers = vec![0; graph.len()];
        for index in graph.indexes() {
            if graph.node(index).is_some_and(|n| n.tier == Tier::Subscriber) {
                graph.all_above(index).into_iter().for_each(|above| subscribers[above as usize] += 1);
            }
        }
        self.fallen = Fallen { subscribers, ..Fallen::default() };
        for index in self.network.graph.indexes().collect::<Vec<_>>() {
            self.note_fallen(index);
        }
    }

    /// Takes in what is believed of a node by now: who fell below whom, and who is to be weighed because of it.
    pub(crate) fn note_fallen(&mut self, index: Index) {
        let graph = &self.network.graph;
        let Some(node) = graph.node(index) else { return };
        if node.tier != Tier::Subscriber {
            let health = self.standing[index as usize].health.as_ref();
            if health.is_some_and(|(now, _)| now.sessions_lost.is_some()) {
                self.fallen.said.insert(index);
            } else if self.fallen.said.remove(&index) {
                // Those it accounted for may be accounted for by another.
                let left = self.fallen.below.get(&index).into_iter().flatten();
                let above: BTreeSet<Index> = left.flat_map(|(_, i)| graph.all_above(*i)).collect();
                self.fallen.open.extend(above);
            }
            self.weigh_later(index);
            return;
        }
        let health = self.standing[index as usize].health.as_ref();
        let lost = |now: &&NodeHealth| now.health == Health::Down && now.session_lost;
        let now = health.map(|(now, _)| now).filter(lost).map(|now| now.since);
        let before = self.fallen.fell.get(&index).copied();
        if now.is_none() && before.is_none() {
            return;
        }
        for above in graph.all_above(index) {
            if now != before {
                let below = self.fallen.below.entry(above).or_default();
                before.map(|at| below.remove(&(at, index)));
                now.map(|at| below.insert((at, index)));
                if below.is_empty() {
                    self.fallen.below.remove(&above);
                }
            }
            self.fallen.open.insert(above);
        }
        match now {
            Some(at) => self.fallen.fell.insert(index, at),
            None => self.fallen.fell.remove(&index),
        };
    }

    /// Has a node weighed if there is anything to weigh.
    pub(crate) fn weigh_later(&mut self, index: Index) {
        if self.fallen.said.contains(&index) || self.fallen.below.contains_key(&index) {
            self.fallen.open.insert(index);
        }
    }

    /// Has a node weighed that waits for a table, when that may be there.
    pub(super) fn weigh_awaited(&mut self, index: Index) {
        if self.fallen.unread.remove(&index) {
            self.fallen.open.insert(index);
        }
    }

    /// Whether sessions were lost, once everything else is judged. Returns whether there was room for all of it.
    pub(crate) fn weigh_sessions(&mut self, out: &mut Out) -> bool {
        while !self.fallen.open.is_empty() {
            let open = std::mem::take(&mut self.fallen.open);
            let mut open: Vec<Index> = open.into_iter().collect();
            open.sort_by_key(|i| self.reach(*i));
            for (n, index) in open.iter().enumerate() {
                if out.left() < 2 {
                    self.fallen.open.extend(&open[n..]);
                    return false;
                }
                self.weigh(*index, out);
            }
        }
        true
    }

    /// The order in which nodes are held accountable: whom few hang on first, of those the lowest.
    fn reach(&self, index: Index) -> (u32, Reverse<u32>, Index) {
        (self.fallen.subscribers[index as usize], Reverse(self.network.graph.rank(index)), index)
    }

    fn weigh(&mut self, index: Index, out: &mut Out) {
        let Some(id) = self.network.graph.node(index).map(|n| n.id) else { return };
        let standing = &self.standing[index as usize];
        // While it is being checked no word of its health is said: that would end the check.
        if standing.suspicion.is_some() {
            return;
        }
        let said = standing.health.as_ref().and_then(|(now, _)| now.sessions_lost.clone());
        let enough = enough(self.fallen.subscribers[index as usize]);
        let all = self.fallen.below.get(&index).map_or(0, BTreeSet::len);
        match said {
            None if all < enough || !self.lives(index) => {}
            None => {
                let free = self.accountable_to(index, None);
                let from = out.now.plus_ms(-NEWS_MS);
                let sure = |(at, i): &&(Time, Index)| *at >= from && self.supply.of(*i).holds();
                let fallen: Vec<(Time, Index)> = free.iter().filter(sure).copied().collect();
                let Some(crowd) = crowd(&fallen, enough) else { return };
                if self.tables_are_read(index, crowd.who.iter().map(|(_, i)| *i), crowd.enough_at, out) {
                    self.say_lost(index, id, crowd.who[0].0, &fallen, out);
                } else {
                    self.fallen.unread.insert(index);
                }
            }
            // Nothing is known of it: nor whether it is over.
            Some(_) if !self.lives(index) => {}
            Some(said) => {
                let mine = self.accountable_to(index, Some(index));
                if crowd(&mine, enough).is_none() {
                    self.say_over(index, id, &mine, enough, out);
                } else {
                    let now = mine.iter().filter(|(at, _)| *at >= said.since).count();
                    if now >= 2 * said.impact.subscribers as usize {
                        self.say_lost(index, id, said.since, &mine, out);
                    }
                }
            }
        }
    }

    /// Whether what was away lately, and is not down by now, may have cut a subscriber off: nobody knows then what
    /// took the session. What was away while others did its work cut nobody off.
    pub(super) fn was_cut_off_lately(&self, index: Index, now: Time) -> bool {
        let doubted = self.standing[index as usize].suspicion.as_ref().map_or(now, |s| s.since);
        let from = doubted.plus_ms(-AWAY_MS);
        let was_away = |i: Index| self.recent.of(i).is_some_and(|r| r.was_silent_since(from));
        if self.network.graph.node(index).and_then(|node| self.router_of(node)).is_some_and(was_away) {
            return true;
        }
        let own = |i: Index| match self.supply.own(i) {
            _ if was_away(i) => Own::Broken,
            Own::Doubtful => Own::Follows,
            own @ (Own::Follows | Own::Proven | Own::Broken) => own,
        };
        self.network.graph.all_above(index).into_iter().any(was_away) && self.supply_if(index, own).fails()
    }

    /// Whether a node works, as far as is known.
    fn lives(&self, index: Index) -> bool {
        match self.believed(index) {
            Some(Health::Up | Health::Degraded) => true,
            Some(Health::Down | Health::Impacted | Health::Unknown) => false,
            None => {
                let observable = self.network.graph.node(index).is_some_and(|n| n.is_observable());
                !observable && self.supply.of(index).holds()
            }
        }
    }

    /// Those below a node that fell and are accounted for by `by`, or by nobody so far.
    fn accountable_to(&self, index: Index, by: Option<Index>) -> Vec<(Time, Index)> {
        let below = self.fallen.below.get(&index).into_iter().flatten();
        below.filter(|(_, fallen)| self.account_of(*fallen) == by).copied().collect()
    }

    /// The node of which it is said that this one's session was lost below it.
    fn account_of(&self, fallen: Index) -> Option<Index> {
        let above = self.network.graph.all_above(fallen).into_iter();
        above.filter(|above| self.fallen.said.contains(above)).min_by_key(|above| self.reach(*above))
    }

    fn say_lost(&mut self, index: Index, id: NodeId, since: Time, fallen: &[(Time, Index)], out: &mut Out) {
        let graph = &self.network.graph;
        let since_then = || fallen.iter().filter(|(at, _)| *at >= since).map(|(_, i)| *i);
        let lost: BTreeSet<Index> = since_then().collect();
        let who = since_then().filter_map(|i| self.id(i)).take(MOST_NAMED).collect();
        let last = fallen.iter().max().and_then(|(_, i)| self.standing[*i as usize].health.as_ref());
        let Some(event) = last.map(|(_, event)| *event) else { return };
        let mut impact = Impact { observed: lost.len() as u32, ..Impact::default() };
        tally(graph, &lost, &mut impact);
        let of = self.fallen.subscribers[index as usize];
        let lost = Some(Box::new(SessionsLost { of, since, event, impact, who }));
        self.say_of_sessions(index, id, event, out, |now| now.sessions_lost = lost);
    }

    /// Fewer of them are down by themselves. Those who are cut off now may be so by what had taken their sessions.
    fn say_over(&mut self, index: Index, id: NodeId, left: &[(Time, Index)], enough: usize, out: &mut Out) {
        let graph = &self.network.graph;
        let (mut roots, mut cut_off) = (BTreeSet::new(), 0);
        let (mut seen, mut edge) = (BTreeSet::new(), vec![index]);
        while let Some(at) = edge.pop() {
            for &below in graph.below(at).iter().filter(|b| seen.insert(**b)) {
                edge.push(below);
                let Some((now, _)) = &self.standing[below as usize].health else { continue };
                if now.session_lost && now.health == Health::Impacted {
                    cut_off += 1;
                    roots.extend(now.roots.iter().copied());
                }
            }
        }
        let explained = cut_off > 0 && left.len() + cut_off >= enough;
        let roots = roots.into_iter().filter(|_| explained).take(MOST_ROOTS).collect();
        let cause = self.standing[index as usize].health.as_ref().map(|(_, event)| *event);
        let Some(cause) = cause else { return };
        self.say_of_sessions(index, id, cause, out, |now| {
            now.sessions_lost = None;
            now.roots = roots;
        });
    }

    fn say_of_sessions(
        &mut self,
        index: Index,
        id: NodeId,
        cause: EventId,
        out: &mut Out,
        with: impl FnOnce(&mut NodeHealth),
    ) {
        let before = self.standing[index as usize].health.as_ref().map(|(now, _)| now.clone());
        let kind = if before.is_some() { HealthKind::Noted } else { HealthKind::Changed };
        let mut now = before.unwrap_or_else(|| NodeHealth::of(id, Health::Up, out.now));
        with(&mut now);
        let what = format!("sessions {id} {:x}", crate::digest::digest_of(&now));
        let say: Say = out.say(cause, &what, out.now, Fact::Health(HealthSaid { kind, now }));
        self.apply(&say);
    }
}

/// Those who fell together, in order of time.
struct Crowd<'a> {
    who: &'a [(Time, Index)],
    /// When the first crowd was large enough: whoever falls later makes it no later.
    enough_at: Time,
}

/// Those of so many at least who fell together; nothing when they did not. The largest crowd counts, of those the
/// earliest. `fallen`: in order of time.
fn crowd(fallen: &[(Time, Index)], enough: usize) -> Option<Crowd<'_>> {
    let (mut first, mut most) = (0, None::<Crowd<'_>>);
    for (last, (at, _)) in fallen.iter().enumerate() {
        while at.ms_since(fallen[first].0) > WITHIN_MS {
            first += 1;
        }
        let who = &fallen[first..=last];
        if who.len() >= enough && most.as_ref().is_none_or(|before| who.len() > before.who.len()) {
            let enough_at = most.map_or(*at, |before| before.enough_at);
            most = Some(Crowd { who, enough_at });
        }
    }
    most
}

/// Whether this is evidence that is not decisive.
pub(super) fn is_undetermined(now: &NodeHealth) -> bool {
    now.evidence.iter().any(|e| e.kind == EvidenceKind::Undetermined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_falls_later_makes_a_crowd_larger_and_not_later() {
        let at = |s: i64| Time::from_ms(1_800_000_000_000).plus_ms(s * 1_000);
        let fallen = |seconds: &[i64]| seconds.iter().zip(0..).map(|(s, i)| (at(*s), i)).collect::<Vec<_>>();
        let mut seconds = vec![0, 30, 60, 90];
        assert!(crowd(&fallen(&seconds), 5).is_none());
        for later in [121, 149, 150, 150, 151] {
            seconds.push(later);
            if let Some(crowd) = crowd(&fallen(&seconds), 5) {
                assert_eq!(crowd.enough_at, at(149), "{seconds:?}");
                assert!(crowd.who[crowd.who.len() - 1].0.ms_since(crowd.who[0].0) <= WITHIN_MS);
            }
        }
        let largest = crowd(&fallen(&seconds), 5).map(|crowd| (crowd.who[0].0, crowd.who.len()));
        assert_eq!(largest, Some((at(30), 7)));
    }
}
