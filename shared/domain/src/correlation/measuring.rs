//! Whom the roots of an incident cut off, and what follows of that: its class, its tier, its urgency.

use super::{Out, Tenant};
use crate::{
    graph::Index,
    impact::{impact_of, primary_of},
    supply::Own,
};
use events::{Incident, IncidentClass, IncidentId, IncidentKind, IncidentState, RootCause, Tier, Urgency};
use std::collections::BTreeSet;

impl Tenant {
    /// Works an open incident out again: whom it cuts off, whom it is for, how urgent it is, how it is called.
    pub(super) fn measure(&self, incident: &mut Incident) {
        if incident.class.breaks_the_map() {
            self.measure_outage(incident);
        }
        let loud: Vec<&RootCause> = incident.roots.iter().filter(|r| r.down && !r.quiet).collect();
        let tiers = |roots: &mut dyn Iterator<Item = &RootCause>| roots.map(|r| r.tier).min();
        incident.tier =
            tiers(&mut loud.iter().copied()).or(tiers(&mut incident.roots.iter())).unwrap_or(incident.tier);
        incident.urgency = match (incident.class, incident.tier) {
            _ if loud.is_empty() => Urgency::Low,
            (IncidentClass::Redundancy, _) => Urgency::Low,
            (_, Tier::Core | Tier::Site) => Urgency::Urgent,
            (_, Tier::Sector | Tier::Station | Tier::Subscriber) => Urgency::Normal,
        };
        incident.title = self.title_of(incident);
    }

    /// Works out whom the roots cut off, and so what kind of incident it is.
    fn measure_outage(&self, incident: &mut Incident) {
        let graph = &self.network.graph;
        let down: Vec<Index> =
            incident.roots.iter().filter(|r| r.down).filter_map(|r| graph.index_of(r.node)).collect();
        let mut supply = self.supply.clone();
        for root in &incident.roots {
            if let Some(i) = graph.index_of(root.node) {
                supply.set(graph, i, if root.down { Own::Broken } else { Own::Follows });
            }
        }
        supply.settle(graph, &mut |_, _| {});
        incident.impact = impact_of(graph, &supply, &down);
        let primary = primary_of(graph, &supply, &down);
        for root in &mut incident.roots {
            let at = graph.index_of(root.node).and_then(|i| down.iter().position(|d| *d == i));
            root.primary = at.is_some_and(|at| primary[at]);
        }
        let cut_off = incident.impact.by_tier.values().sum::<u32>();
        incident.class = match (cut_off, incident.impact.at_risk) {
            (0, 1..) => IncidentClass::Redundancy,
            (_, _) => IncidentClass::Outage,
        };
    }

    /// After a revision the roots may cut off others than before. Returns whether there was room for all of it.
    pub(super) fn measure_again(&mut self, out: &mut Out) -> bool {
        let revised_at = self.network.revised_at;
        let earlier: Vec<IncidentId> =
            self.measured_at.iter().filter(|(_, at)| **at < revised_at).map(|(id, _)| *id).collect();
        for id in earlier {
            if out.left() < 1 {
                return false;
            }
            self.measured_at.insert(id, revised_at);
            let Some((incident, event)) = self.open.get(&id).cloned() else { continue };
            if incident.state != IncidentState::Open || !incident.class.breaks_the_map() {
                continue;
            }
            let down = incident.roots.iter().filter(|r| r.down);
            let roots: Vec<Index> = down.filter_map(|r| self.network.graph.index_of(r.node)).collect();
            let mut together: BTreeSet<IncidentId> =
                roots.iter().flat_map(|root| self.connected_with(*root)).collect();
            together.insert(id);
            if together.len() > 1 {
                if out.left() < together.len() {
                    self.measured_at.insert(id, incident.opened_at);
                    return false;
                }
                self.gather(together, event, out);
                continue;
            }
            let mut measured = incident.clone();
            self.measure(&mut measured);
            let cut_off = |i: &Incident| (i.impact.by_tier.clone(), i.impact.by_plan.clone(), i.impact.sites);
            if cut_off(&measured) != cut_off(&incident) {
                self.say(IncidentKind::Changed, incident, event, "the inventory changed", out);
            }
        }
        true
    }
}
