//! What follows when a point of presence sees none of its references: it is blind, in some or all of its slots.
//!
//! Such an incident names the point of presence itself as its cause. It begins when the first of its slots is blind, ends
//! when none is any more and the hold has passed, and is one however many replicas work there.

use super::{Out, Tenant};
use events::{
    BlindPop, EventId, Evidence, EvidenceKind, Heard, Incident, IncidentClass, IncidentId, IncidentKind,
    IncidentState, NodeId, RootCause, TenantId, Tier, Time, Urgency, View, slot_of,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How one slot was last said to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Seen {
    heard: Time,
    event: EventId,
    sees: bool,
    since: Time,
    references: u32,
}

/// What was said lately of how points of presence see.
#[derive(Debug, Default, Serialize)]
pub(super) struct Views {
    slots: BTreeMap<String, BTreeMap<u16, Seen>>,
    /// Of which something is still to be weighed.
    dirty: BTreeSet<String>,
}

impl Views {
    /// Forgets what was heard before `from`: what it led to stands in an incident.
    pub(super) fn forget(&mut self, from: Time) {
        for slots in self.slots.values_mut() {
            slots.retain(|_, seen| seen.heard >= from);
        }
        self.slots.retain(|_, slots| !slots.is_empty());
    }

    /// The last word about any slot of `pop`.
    fn latest(&self, pop: &str) -> Option<Seen> {
        self.slots.get(pop)?.values().copied().max_by_key(|seen| (seen.heard, seen.event))
    }

    /// Which slots of `pop` are blind, and since when, if those of `before` were and nothing was heard of them since.
    fn blind(&self, pop: &str, before: Option<&BlindPop>) -> BTreeMap<u16, Time> {
        let mut blind: BTreeMap<u16, Time> = before.map(slots_of).unwrap_or_default();
        for (slot, seen) in self.slots.get(pop).into_iter().flatten() {
            if seen.sees {
                blind.remove(slot);
            } else {
                blind.entry(*slot).or_insert(seen.since);
            }
        }
        blind
    }
}

impl Tenant {
    pub(super) fn hear_view(&mut self, heard: &Heard, view: &View) {
        let slots = self.views.slots.entry(view.pop.clone()).or_default();
        for slot in &view.slots {
            let seen = Seen {
                heard: heard.heard,
                event: heard.id,
                sees: view.sees,
                since: view.since,
                references: view.references,
            };
            slots.insert(*slot, seen);
        }
        self.views.dirty.insert(view.pop.clone());
    }

    /// Weighs what was heard. Returns whether there was room for all of it.
    pub(super) fn look_at_views(&mut self, out: &mut Out) -> bool {
        while out.left() >= 1 {
            let Some(pop) = self.views.dirty.pop_first() else { return true };
            self.look_at_view(&pop, out);
        }
        self.views.dirty.is_empty()
    }

    fn look_at_view(&mut self, pop: &str, out: &mut Out) {
        let Some(seen) = self.views.latest(pop) else { return };
        let is_it = |incident: &Incident| incident.blind.as_ref().is_some_and(|blind| blind.pop == pop);
        let open = self.open.values().map(|(incident, _)| incident).find(|incident| is_it(incident)).cloned();
        let before = open.as_ref().and_then(|incident| incident.blind.clone());
        let (slots, since): (Vec<u16>, Vec<Time>) =
            self.views.blind(pop, before.as_deref()).into_iter().unzip();
        let now = BlindPop { pop: pop.to_owned(), targets: self.watched_in(&slots), slots, since };
        match open {
            None if now.slots.is_empty() => {}
            None => self.went_blind(now, &seen, out),
            Some(incident) if now.slots.is_empty() => self.sees_again(incident, now, &seen, out),
            Some(incident) => self.is_blind_still(incident, now, &seen, out),
        }
    }

    /// How many nodes are watched in these slots.
    fn watched_in(&self, slots: &[u16]) -> u32 {
        let graph = &self.network.graph;
        let nodes = graph.indexes().filter_map(|index| graph.node(index));
        let watched = nodes.filter(|node| node.watch.is_some() && slots.contains(&slot_of(node.id)));
        u32::try_from(watched.count()).unwrap_or(u32::MAX)
    }

    fn went_blind(&mut self, blind: BlindPop, seen: &Seen, out: &mut Out) {
        let incident = Incident {
            id: IncidentId::of(seen.event),
            state: IncidentState::Open,
            class: IncidentClass::Blind,
            title: String::new(),
            urgency: Urgency::Urgent,
            tier: Tier::Core,
            site: None,
            site_name: None,
            site_address: None,
            roots: vec![cause_of(out.tenant, &blind.pop, seen)],
            blind: Some(Box::new(blind)),
            site_hypothesis: None,
            impact: events::Impact::default(),
            opened_at: seen.since,
            ended_at: None,
            ended_because: None,
            merged_into: None,
            acknowledged_by: None,
            hold: 0,
            timeline: Vec::new(),
            owner: None,
        };
        self.say(IncidentKind::Opened, incident, seen.event, "", out);
    }

    /// More or fewer of its slots are blind, or some are again within the hold.
    fn is_blind_still(&mut self, mut incident: Incident, now: BlindPop, seen: &Seen, out: &mut Out) {
        let again = incident.roots.iter().all(|root| !root.down);
        let is_same = incident.blind.as_ref().is_some_and(|before| before.slots == now.slots);
        // Of one that a person has closed nothing more is said until it sees.
        if !again && (is_same || incident.state == IncidentState::Closed) {
            return;
        }
        if again {
            incident.roots = vec![cause_of(out.tenant, &now.pop, seen)];
        }
        incident.blind = Some(Box::new(now));
        let (kind, line) = match incident.state {
            IncidentState::Recovering => {
                incident.state = IncidentState::Open;
                (IncidentKind::Relapsed, "none of its references answers it again")
            }
            IncidentState::Open | IncidentState::Resolved | IncidentState::Merged | IncidentState::Closed => {
                (IncidentKind::Changed, "other replicas there are blind, or see again")
            }
        };
        self.say(kind, incident, seen.event, line, out);
    }

    fn sees_again(&mut self, mut incident: Incident, now: BlindPop, seen: &Seen, out: &mut Out) {
        if incident.roots.iter().all(|root| !root.down) {
            return;
        }
        for root in &mut incident.roots {
            root.down = false;
            root.since = seen.heard;
        }
        // How many were not watched is told with its end as well.
        if let Some(blind) = &mut incident.blind {
            (blind.slots, blind.since) = (now.slots, now.since);
        }
        let kind = match incident.state {
            IncidentState::Open => {
                incident.state = IncidentState::Recovering;
                incident.hold += 1;
                IncidentKind::Recovering
            }
            IncidentState::Recovering
            | IncidentState::Resolved
            | IncidentState::Merged
            | IncidentState::Closed => IncidentKind::Changed,
        };
        self.say(kind, incident, seen.event, "a reference answers it again", out);
    }
}

/// The slots that are blind, each with since when; at the latest since it was said.
fn slots_of(blind: &BlindPop) -> BTreeMap<u16, Time> {
    let since = blind.since.iter().copied().chain(std::iter::repeat(Time::EPOCH));
    blind.slots.iter().copied().zip(since).collect()
}

/// The point of presence itself, as what is wrong.
fn cause_of(tenant: TenantId, pop: &str, seen: &Seen) -> RootCause {
    let evidence = Evidence {
        kind: EvidenceKind::ReferencesSilent,
        count: seen.references,
        weight: 100,
        event: Some(seen.event),
    };
    RootCause {
        node: NodeId::of_pop(tenant, pop),
        name: format!("Point of presence {pop}"),
        tier: Tier::Core,
        primary: true,
        down: true,
        since: seen.since,
        quiet: false,
        flapping: false,
        confidence: 100,
        evidence: vec![evidence],
        subscribers_below: None,
    }
}
