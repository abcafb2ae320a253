//! When an incident is over: its roots have been up for the hold time. And when its roots are in maintenance.

use super::{Out, Tenant, breaks};
use events::{Incident, IncidentId, IncidentKind, IncidentState, NodeId, RootCause, Time};

/// What follows from a root's going down is heard within so long after it, unless it is very much.
const WORD_MS: i64 = 5_000;

impl Tenant {
    /// When an incident may be resolved: its roots have been up for the hold time.
    ///
    /// Roots that are cut off by now, as the map says, may be known to be so a moment later: word of what
    /// cuts them off comes first.
    pub(super) fn hold_ends(&self, incident: &Incident) -> Option<Time> {
        // What flaps will be down again: word that it is steady comes first.
        if incident.state != IncidentState::Recovering || incident.roots.iter().any(|r| r.flapping) {
            return None;
        }
        let last = incident.roots.iter().map(|r| r.since).max()?;
        let end = last.plus_ms(i64::from(self.network.policy.resolve_hold_ms));
        if !incident.class.breaks_the_map() {
            return Some(end);
        }
        let cut_off = |root: &RootCause| {
            self.network.graph.index_of(root.node).is_some_and(|i| self.supply.of(i).fails())
        };
        if !incident.roots.iter().any(cut_off) {
            return Some(end);
        }
        let down = self.open.values().flat_map(|(i, _)| &i.roots).filter(|r| breaks(r));
        let heard = |root: &RootCause| self.news.get(&root.node).map_or(root.since, |n| n.heard);
        down.map(heard).max().map(|latest| end.max(latest.plus_ms(WORD_MS)))
    }

    /// Resolves what has held. Returns whether there was room for all of it.
    pub(super) fn look_at_holds(&mut self, out: &mut Out) -> bool {
        let ids: Vec<IncidentId> = self.open.keys().copied().collect();
        for id in ids {
            if out.left() < 1 {
                return false;
            }
            let (incident, event) = self.open[&id].clone();
            if self.hold_ends(&incident).is_some_and(|end| end <= out.now) {
                let mut over = incident;
                over.state = IncidentState::Resolved;
                over.ended_at = Some(out.now);
                self.say(IncidentKind::Resolved, over, event, "resolved", out);
            } else if incident.state == IncidentState::Open && self.is_quiet_otherwise(&incident, out.now) {
                self.say(IncidentKind::Changed, incident, event, "a maintenance window began or ended", out);
            }
        }
        true
    }

    /// The next moment at which a root's maintenance begins or ends.
    pub(super) fn window_turns(&self, incident: &Incident, now: Time) -> Option<Time> {
        let graph = &self.network.graph;
        let nodes =
            incident.roots.iter().filter(|r| r.down).filter_map(|r| graph.node(graph.index_of(r.node)?));
        nodes.flat_map(|n| n.maintenance.iter().flat_map(|w| [w.from, w.until])).filter(|t| *t > now).min()
    }

    /// Whether a node is in maintenance.
    fn quiet_now(&self, node: NodeId, now: Time) -> bool {
        let graph = &self.network.graph;
        let found = graph.index_of(node).and_then(|i| graph.node(i));
        found.is_some_and(|n| n.maintenance.iter().any(|w| w.from <= now && now < w.until))
    }

    fn is_quiet_otherwise(&self, incident: &Incident, now: Time) -> bool {
        incident.roots.iter().any(|r| r.down && r.quiet != self.quiet_now(r.node, now))
    }
}
