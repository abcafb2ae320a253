//! What an incident begins with: who may open one, the root as it is named, and the rest still empty.

use super::{News, Tenant, flaps};
use crate::confidence;
use events::{Evidence, Incident, IncidentClass, IncidentId, IncidentState, NodeId, RootCause, Urgency};

impl Tenant {
    /// Whether a node may open incidents by itself, by the map of now.
    pub(super) fn opens_incidents(&self, node: NodeId) -> bool {
        self.network.graph.index_of(node).is_some_and(|i| self.network.graph.opens_incidents(i))
    }

    /// A node as a root: broken itself, or with the sessions below it lost.
    pub(super) fn cause_of(&self, news: &News) -> Option<RootCause> {
        let index = self.network.graph.index_of(news.now.node)?;
        let node = self.network.graph.node(index)?;
        let lost = news.now.sessions_lost.as_deref();
        let evidence = lost.map_or_else(|| news.now.evidence.clone(), confidence::of_sessions);
        Some(RootCause {
            node: node.id,
            name: node.name.clone(),
            tier: node.tier,
            primary: true,
            down: true,
            since: lost.map_or(news.now.since, |lost| lost.since),
            quiet: node.maintenance.iter().any(|w| w.from <= news.now.since && news.now.since < w.until),
            confidence: Evidence::confidence(&evidence),
            evidence,
            // What is lost below it does not flap with it.
            flapping: lost.is_none() && flaps(&news.now),
            subscribers_below: lost.map(|lost| lost.of),
        })
    }

    /// A new incident at the place of its first root, which is still to be named in it.
    pub(super) fn fresh(&self, news: &News, cause: &RootCause) -> Incident {
        let graph = &self.network.graph;
        let site = graph.index_of(cause.node).and_then(|i| graph.place_of(i));
        let owner = graph.index_of(cause.node).and_then(|i| graph.node(i)).and_then(|n| n.owner.clone());
        Incident {
            id: IncidentId::of(news.event),
            state: IncidentState::Open,
            class: IncidentClass::Outage,
            title: String::new(),
            urgency: Urgency::Normal,
            tier: cause.tier,
            site: site.map(|s| s.id),
            site_name: site.map(|s| s.name.clone()),
            site_address: site.and_then(|s| s.address.clone()),
            roots: Vec::new(),
            impact: events::Impact::default(),
            opened_at: news.now.since,
            ended_at: None,
            ended_because: None,
            merged_into: None,
            blind: None,
            site_hypothesis: None,
            acknowledged_by: None,
            hold: 0,
            timeline: Vec::new(),
            owner,
        }
    }
}
