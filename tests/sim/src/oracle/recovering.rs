//! Whoever is cut off no longer and has not been heard of is said to recover, and nobody else is. Nobody who comes
//! back with what cut it off is said to be down.

use super::{GRACE_US, Judge};
use crate::world::Thing;
use events::{Fact, Flag, Health, NodeHealth, NodeId, SuspicionKind, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Who is still not heard of so long after all it needs is back is said to recover: what it takes to say so,
/// and a decider that was away meanwhile, milliseconds.
const SAID_WITHIN_MS: i64 = 90_000;

/// What has been said by now.
#[derive(Default)]
struct Said<'a> {
    /// Of each node its standing, and when its health came to be that.
    health: BTreeMap<NodeId, (&'a NodeHealth, Time)>,
    suspects: BTreeSet<NodeId>,
}

impl Said<'_> {
    /// Since when a node is said to work.
    fn works_since(&self, node: NodeId) -> Option<Time> {
        let (health, at) = self.health.get(&node)?;
        matches!(health.health, Health::Up | Health::Degraded).then_some(*at)
    }

    /// Whether everything that cut a node off is still said to be down, and nobody works in spite of the map.
    fn is_cut_off(&self, now: &NodeHealth) -> bool {
        let down = |root: &NodeId| self.health.get(root).is_some_and(|(r, _)| r.health == Health::Down);
        let disagrees = |(r, _): &(&NodeHealth, Time)| r.flags.contains(&Flag::MapDisagrees);
        now.roots.iter().all(down) && !self.health.values().any(disagrees)
    }
}

impl Judge<'_> {
    pub(super) fn recoveries(&mut self) {
        let mut said = Said::default();
        let mut wrong = vec![];
        for entry in self.bus.log.iter().filter(|e| e.heard.tenant == self.net.tenant) {
            match &entry.heard.fact {
                Fact::Suspicion(suspicion) => {
                    let open = suspicion.kind != SuspicionKind::Settled;
                    if open {
                        said.suspects.insert(suspicion.now.node);
                    } else {
                        said.suspects.remove(&suspicion.now.node);
                    }
                }
                Fact::Health(health) => {
                    let (now, at) = (&health.now, entry.heard.heard);
                    let flagged = now.flags.contains(&Flag::Recovering);
                    if flagged && now.health != Health::Impacted {
                        wrong.push((entry.heard.seq, now.node, "is not cut off and said to recover"));
                    }
                    let before = said.health.get(&now.node);
                    let was_cut_off = before.is_some_and(|(b, _)| b.health == Health::Impacted);
                    if was_cut_off
                        && now.health == Health::Down
                        && !self.broke_lately(now.node, at)
                        && !self.is_missed(now.node, at)
                    {
                        wrong.push((
                            entry.heard.seq,
                            now.node,
                            "was cut off, is not broken and is said to be down",
                        ));
                    }
                    let noted = before.is_some_and(|(b, _)| b.flags.contains(&Flag::Recovering));
                    if flagged && !noted && self.net.revision == 1 && said.is_cut_off(now) {
                        wrong.push((entry.heard.seq, now.node, "is said to recover while it is cut off"));
                    }
                    let ends = now.health != Health::Impacted && !noted;
                    let due = ends && self.was_to_recover(&said, now.node, at);
                    if due && !said.suspects.contains(&now.node) {
                        wrong.push((entry.heard.seq, now.node, "was never said to recover"));
                    }
                    let since = match before {
                        Some((b, since)) if b.health == now.health => *since,
                        Some(_) | None => at,
                    };
                    said.health.insert(now.node, (now, since));
                    said.suspects.remove(&now.node);
                }
                _ => {}
            }
        }
        for (seq, node, how) in wrong {
            let what = format!("seq {seq}: {} {how}", self.name_of(node));
            self.fail("recovering", what);
        }
    }

    /// Whether a node was broken itself a moment ago.
    fn broke_lately(&self, node: NodeId, at: Time) -> bool {
        let thing = self.net.by_id.get(&node).map(|t| *t as usize);
        self.net.revision != 1
            || thing.is_none_or(|t| Self::during(&self.net.broke, t, at.us() - GRACE_US, at.us()))
    }

    /// Whether a subscriber has not dialled in yet though the hold is over: he is looked for then, and not found.
    fn is_missed(&self, node: NodeId, at: Time) -> bool {
        let Some(thing) = self.net.by_id.get(&node).map(|t| *t as usize) else { return false };
        let hold_us = i64::from(self.net.world.policy.recover_hold_ms) * 1_000;
        let during = |spells, from_us| Self::during(spells, thing, from_us, at.us());
        during(&self.net.gone, at.us() - GRACE_US) && !during(&self.net.dark, at.us() - hold_us)
    }

    /// Whether a node has been cut off by nothing for long, as far as was said.
    fn was_to_recover(&self, said: &Said, node: NodeId, at: Time) -> bool {
        let Some((before, since)) = said.health.get(&node).filter(|(b, _)| b.health == Health::Impacted)
        else {
            return false;
        };
        let Some(thing) = self.net.by_id.get(&node).map(|t| &self.net.world.things[*t as usize]) else {
            return false;
        };
        let long = |since: Time| at.ms_since(since) >= SAID_WITHIN_MS;
        let needs = self.all_above(node);
        let is_seen = |n: &NodeId| {
            let thing = self.net.by_id.get(n).map(|t| &self.net.world.things[*t as usize]);
            thing.is_some_and(Thing::is_observable) || said.health.contains_key(n)
        };
        let mut seen = needs.iter().filter(|n| is_seen(n)).chain(&before.roots);
        let all_back = seen.all(|n| said.works_since(*n).is_some_and(long));
        self.net.revision == 1 && thing.is_observable() && long(*since) && !needs.is_empty() && all_back
    }

    /// Everything that a node may need, directly or not.
    fn all_above(&self, node: NodeId) -> BTreeSet<NodeId> {
        let (mut found, mut edge) = (BTreeSet::new(), vec![node]);
        while let Some(at) = edge.pop() {
            let Some(thing) = self.net.by_id.get(&at) else { continue };
            for need in &self.net.world.things[*thing as usize].needs {
                need.things(&mut |t| {
                    let id = self.net.ids[t as usize];
                    if found.insert(id) {
                        edge.push(id);
                    }
                });
            }
        }
        found
    }
}
