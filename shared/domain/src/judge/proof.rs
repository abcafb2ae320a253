//! What of all that a node needs was seen alive, and when.

use super::REUSE_MS;
use crate::{
    confidence::THRESHOLD,
    diagnosis::Tenant,
    graph::Index,
    recent::NodeRecent,
    supply::{Own, Tri, all_met},
};
use events::{Health, Time};
use std::collections::BTreeMap;

impl Tenant {
    pub(super) fn is_alive_since(&self, index: Index, since: Time) -> bool {
        self.recent.of(index).and_then(NodeRecent::alive_at).is_some_and(|(at, _)| at >= since)
    }

    /// The supply of a suspect as far as it was seen after the doubt arose: an older sign of life is none,
    /// nor is one from after `until`.
    pub(super) fn supply_seen(&self, index: Index, since: Time, until: Option<Time>) -> Tri {
        self.supply_if(index, |i| self.own_seen(i, since, until))
    }

    /// The supply of a suspect as [`Tenant::supply_seen`] when its silence began, of what was not found silent itself
    /// for a while within `lasted`.
    pub(super) fn supply_throughout(&self, index: Index, since: Time, (from, until): (Time, Time)) -> Tri {
        let was_away = |i: Index| self.recent.of(i).is_some_and(|r| r.was_silent_between(from, until));
        self.supply_if(index, |i| match self.own_seen(i, since, Some(from)) {
            Own::Proven if was_away(i) => Own::Doubtful,
            own @ (Own::Proven | Own::Follows | Own::Broken | Own::Doubtful) => own,
        })
    }

    /// The supply of a node if what it needs were as `own` tells.
    pub(super) fn supply_if(&self, index: Index, own: impl Fn(Index) -> Own) -> Tri {
        let mut above: Vec<Index> = self.network.graph.all_above(index).into_iter().collect();
        above.sort_by_key(|i| (self.network.graph.rank(*i), *i));
        let own: BTreeMap<Index, Own> = above.iter().map(|i| (*i, own(*i))).collect();
        let mut has: BTreeMap<Index, Tri> = above.iter().map(|i| (*i, Tri::NO)).collect();
        loop {
            let mut moved = false;
            for &i in &above {
                let gives = |m: Index| own.get(&m).map_or(Tri::UNKNOWN, |o| o.given(has[&m]));
                let now = all_met(self.network.graph.needs(i), &gives);
                if has[&i] != now {
                    has.insert(i, now);
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        all_met(self.network.graph.needs(index), &|m| own.get(&m).map_or(Tri::UNKNOWN, |o| o.given(has[&m])))
    }

    pub(super) fn own_seen(&self, index: Index, since: Time, until: Option<Time>) -> Own {
        if self.believed(index) == Some(Health::Down) {
            return Own::Broken;
        }
        if self.recent.of(index).is_some_and(|r| r.is_alive_between(since, until)) {
            return Own::Proven;
        }
        let Some(node) = self.network.graph.node(index) else { return Own::Follows };
        if !node.is_observable() {
            return Own::Follows;
        }
        let words = self.words(index, node.tier, node.watch.is_some());
        let silent = words.silence.is_some_and(|s| s.asked_at >= since.plus_ms(-REUSE_MS));
        if silent && self.case(index, &words).weight(node.tier) >= THRESHOLD {
            Own::Broken
        } else {
            Own::Doubtful
        }
    }
}
