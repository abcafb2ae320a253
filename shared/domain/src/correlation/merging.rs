//! Which incidents are one: they share somebody whom they cut off, or one explains the other.
//!
//! What was merged is remembered as long as whoever carries it in the end is open: a root that it named is no news.

use super::{News, Out, Tenant};
use crate::{graph::Index, impact::blast};
use events::{EventId, Incident, IncidentId, IncidentKind, IncidentState, RootCause, Time};
use std::collections::BTreeSet;

impl Tenant {
    /// The open incidents with a root that cuts off somebody whom `index` cuts off too.
    pub(super) fn connected_with(&self, index: Index) -> Vec<IncidentId> {
        let graph = &self.network.graph;
        let mine = blast(graph, &self.supply, index);
        if mine.is_empty() {
            return Vec::new();
        }
        let shares = |root: &RootCause| {
            root.down
                && graph
                    .index_of(root.node)
                    .is_some_and(|r| r != index && !blast(graph, &self.supply, r).is_disjoint(&mine))
        };
        let by_outage = |i: &Incident| i.class.breaks_the_map();
        let live = self.open.iter().filter(|(_, (i, _))| i.state != IncidentState::Closed && by_outage(i));
        live.filter(|(_, (incident, _))| incident.roots.iter().any(shares)).map(|(id, _)| *id).collect()
    }

    /// Incidents that share somebody they cut off, as the inventory is now, become the oldest of them.
    pub(super) fn gather(&mut self, together: BTreeSet<IncidentId>, event: EventId, out: &mut Out) {
        let mut together: Vec<IncidentId> = together.into_iter().collect();
        together.sort_by_key(|id| (self.open[id].0.opened_at, *id));
        let Some((oldest, lower)) = together.split_first() else { return };
        let mut moved = Vec::new();
        for id in lower {
            moved.extend(self.open[id].0.roots.clone());
            self.merge(*id, *oldest, event, out);
        }
        let mut incident = self.open[oldest].0.clone();
        incident.roots.extend(moved);
        incident.state = IncidentState::Open;
        self.say(IncidentKind::Changed, incident, event, "others are part of this", out);
    }

    /// Ends an incident as part of another, which carries it from here on.
    pub(super) fn merge(&mut self, lower: IncidentId, upper: IncidentId, event: EventId, out: &mut Out) {
        let mut incident = self.open[&lower].0.clone();
        incident.state = IncidentState::Merged;
        incident.merged_into = Some(upper);
        incident.ended_at = Some(out.now);
        let line = format!("part of: {}", self.open[&upper].0.title);
        self.say(IncidentKind::Merged, incident, event, &line, out);
    }

    /// Whether a root is part of an incident that names as many as it can: one it came into with another.
    pub(super) fn is_carried(&self, news: &News) -> bool {
        let since = |(since, _): &&(Time, IncidentId)| *since == news.now.since;
        let known = self.carried.get(&news.now.node).filter(since);
        known.is_some() || self.merged.contains_key(&IncidentId::of(news.event))
    }

    /// The incident that carries another in the end.
    pub(super) fn carrier_of(&self, id: IncidentId) -> IncidentId {
        let mut carrier = id;
        // Each was merged into one that was open then, so there is no way round; as many steps lead to the end.
        for _ in 0..self.merged.len() {
            match self.merged.get(&carrier) {
                Some((upper, _)) => carrier = *upper,
                None => break,
            }
        }
        carrier
    }

    /// Forgets what was merged before `from` into what is over.
    pub(super) fn forget_merged(&mut self, from: Time) {
        let over = |id: &IncidentId, at: &Time| *at < from && !self.open.contains_key(&self.carrier_of(*id));
        let over: Vec<IncidentId> =
            self.merged.iter().filter(|(id, (_, at))| over(id, at)).map(|(id, _)| *id).collect();
        for id in over {
            self.merged.remove(&id);
        }
        self.carried.retain(|_, (_, id)| self.merged.contains_key(id));
    }
}
