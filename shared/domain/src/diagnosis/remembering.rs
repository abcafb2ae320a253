//! What was said, remembered: who is a suspect, what is believed, and who is to be judged again because of it.

use super::{InFlight, Standing, Tenant};
use crate::{
    graph::Index,
    recent::{NodeRecent, Seen},
};
use events::{
    Asked, EventId, Fact, Flag, Health, HealthKind, HealthSaid, Say, Suspicion, SuspicionKind, SuspicionSaid,
};
use std::collections::BTreeSet;

impl Tenant {
    /// Remembers one thing said. The same said again changes nothing.
    pub(crate) fn apply(&mut self, said: &Say) {
        self.refresh();
        match &said.fact {
            Fact::Suspicion(s) => self.apply_suspicion(s),
            Fact::Health(h) => self.apply_health(h, said.id),
            Fact::Inventory(_)
            | Fact::Part(_)
            | Fact::Revision(_)
            | Fact::Access(_)
            | Fact::Order(_)
            | Fact::Signal(_)
            | Fact::Answer(_)
            | Fact::Ask(_)
            | Fact::Incident(_)
            | Fact::Notice(_)
            | Fact::Delivery(_)
            | Fact::Due(_)
            | Fact::Repair(_)
            | Fact::Plan(_)
            | Fact::Entitlement(_)
            | Fact::Enforcement(_)
            | Fact::Sighting(_)
            | Fact::Refusal(_)
            | Fact::View(_)
            | Fact::Cut(_) => {}
        }
    }

    fn apply_suspicion(&mut self, said: &SuspicionSaid) {
        let open = match said.kind {
            SuspicionKind::Raised | SuspicionKind::Pursued => Some(Box::new(said.now.clone())),
            SuspicionKind::Settled => None,
        };
        let Some(index) = self.network.graph.index_of(said.now.node) else {
            let stray = self.strays.entry(said.now.node).or_default();
            stray.suspicion = open;
            if *stray == Standing::default() {
                self.strays.remove(&said.now.node);
            }
            return;
        };
        self.walks.note(said.now.node, said.now.walks_from());
        self.set_suspicion(index, open);
    }

    fn set_suspicion(&mut self, index: Index, open: Option<Box<Suspicion>>) {
        if self.standing[index as usize].suspicion == open {
            return;
        }
        let claimed = |s: &Option<Box<Suspicion>>| s.as_ref().map(|s| s.sender.is_some());
        let (before, after) = (claimed(&self.standing[index as usize].suspicion), claimed(&open));
        self.standing[index as usize].suspicion = open;
        if before != after {
            if let Some(claimed) = before {
                self.count_suspect(index, false, claimed);
            }
            if let Some(claimed) = after {
                self.count_suspect(index, true, claimed);
            }
        }
        if after.is_some() {
            self.note_asked(index);
        }
        self.weigh_later(index);
        self.soil(index);
    }

    pub(super) fn count_suspects(&mut self) {
        let n = self.network.graph.len();
        self.suspects_below = vec![0; n];
        self.suspects_seen = vec![0; n];
        for i in 0..n as Index {
            if let Some(suspicion) = &self.standing[i as usize].suspicion {
                let claimed = suspicion.sender.is_some();
                self.count_suspect(i, true, claimed);
            }
        }
    }

    /// Counts a suspect, or no longer, with the router that sees it and, if somebody claimed it, with
    /// everything it needs: what is only suspected because nobody has heard of it accuses nobody.
    fn count_suspect(&mut self, index: Index, more: bool, claimed: bool) {
        let Some(node) = self.network.graph.node(index) else { return };
        let router = node.seen_by.and_then(|id| self.network.graph.index_of(id));
        let step = |count: &mut u32| *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if let Some(router) = router {
            step(&mut self.suspects_seen[router as usize]);
        }
        let accused = if claimed { self.network.graph.all_above(index) } else { Default::default() };
        for above in accused {
            step(&mut self.suspects_below[above as usize]);
            let half_silent = more
                && self
                    .recent
                    .of(above)
                    .and_then(NodeRecent::silence)
                    .is_some_and(|l| matches!(l.seen, Seen::Silent(..)));
            if half_silent {
                self.soil(above);
            }
        }
    }

    fn apply_health(&mut self, said: &HealthSaid, id: EventId) {
        let node = said.now.node;
        let Some(index) = self.network.graph.index_of(node) else {
            match said.kind {
                HealthKind::Retired => self.strays.remove(&node),
                HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => self
                    .strays
                    .insert(node, Standing { health: Some((said.now.clone(), id)), suspicion: None }),
            };
            return;
        };
        if self.standing[index as usize].health.as_ref().is_some_and(|(_, last)| *last == id) {
            // Heard of already; but a suspicion said before it may just have been applied again.
            if let Some(ended) = self.standing[index as usize].suspicion.take() {
                self.count_suspect(index, false, ended.sender.is_some());
                self.weigh_later(index);
            }
            return;
        }
        let was_down = self.believed(index) == Some(Health::Down);
        self.set_suspicion(index, None);
        self.standing[index as usize].health = match said.kind {
            HealthKind::Retired => None,
            HealthKind::Changed | HealthKind::Noted | HealthKind::Restated => Some((said.now.clone(), id)),
        };
        self.note_asked(index);
        self.supply.set(&self.network.graph, index, self.own_of(index));
        let mut touched = Vec::new();
        self.supply.settle(&self.network.graph, &mut |i, changed| touched.push((i, changed)));
        for (i, changed) in touched {
            if changed || self.network.graph.is_redundant(i) {
                self.soil(i);
            }
            if changed {
                self.note_fallen(i);
            }
        }
        self.note_fallen(index);
        if was_down != (self.believed(index) == Some(Health::Down)) {
            self.soil_impacted_below(index);
        }
    }

    /// Whether a node is believed to work although the map says that it cannot.
    fn disagrees(&self, index: Index) -> bool {
        let health = self.standing[index as usize].health.as_ref();
        health.is_some_and(|(now, _)| now.flags.contains(&Flag::MapDisagrees))
    }

    /// Those cut off below a node whose being down has changed may have other roots now, and those that
    /// work in spite of the old ones may not work in spite of this one.
    fn soil_impacted_below(&mut self, index: Index) {
        let (mut seen, mut open) = (BTreeSet::new(), vec![index]);
        while let Some(i) = open.pop() {
            for &b in self.network.graph.below(i) {
                if seen.insert(b) {
                    open.push(b);
                    if self.believed(b) == Some(Health::Impacted) || self.disagrees(b) {
                        self.dirty.insert((self.network.graph.rank(b), b));
                    }
                }
            }
        }
    }

    /// Takes what a standing says was asked into the table of asks under way.
    pub(super) fn note_asked(&mut self, index: Index) {
        let standing = &self.standing[index as usize];
        let of_health = standing.health.iter().flat_map(|(now, _)| now.asked.iter());
        let of_suspicion = standing.suspicion.iter().flat_map(|s| s.asked.iter());
        let asked: Vec<Asked> = of_health.chain(of_suspicion).cloned().collect();
        for Asked { target, at, deadline, round, roll_call, .. } in asked {
            let Some(target) = self.network.graph.index_of(target) else { continue };
            let known = self.in_flight.entry((target, roll_call)).or_insert(InFlight { at, deadline, round });
            if known.at < at {
                *known = InFlight { at, deadline, round };
            }
        }
    }
}
