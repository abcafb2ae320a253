//! What follows when a point of presence sees none of its references: it is blind, in some or all of its slots.
//!
//! And when nobody has been heard of who works there: a slot in which something is watched is said to be worked on every few
//! minutes, so a silence tells that nothing is known of it any more.
//!
//! Such an incident names the point of presence itself as its cause. It begins when the first of its slots is blind, ends
//! when none is any more and the hold has passed, and is one however many replicas work there.

use super::{Out, Tenant};
use events::{
    BlindPop, EventId, Evidence, EvidenceKind, Heard, Incident, IncidentClass, IncidentId, IncidentKind,
    IncidentState, NodeId, RootCause, SEEN_AGAIN_MS, TenantId, Tier, Time, Urgency, View, slot_of,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// When nothing was heard of a slot for so long nobody works on it: two and a half of the intervals at which that is said, as
/// for every observation (design, section 1). Less than what a start hears again.
const SILENT_AFTER_MS: i64 = SEEN_AGAIN_MS as i64 * 5 / 2;

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
    /// Of which something is still to be weighed. After a start that is all of them: it is no memory.
    #[serde(skip)]
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

    /// Whether another point of presence was heard of a slot later: it works on it now.
    fn is_taken_over(&self, pop: &str, slot: u16, heard: Time) -> bool {
        let others = self.slots.iter().filter(|(other, _)| *other != pop);
        others.filter_map(|(_, slots)| slots.get(&slot)).any(|seen| seen.heard > heard)
    }

    /// Slots of which nothing was heard for too long, by point of presence, and since when.
    fn silent(&self, watched: &BTreeSet<u16>, now: Time) -> BTreeMap<&str, BTreeMap<u16, Time>> {
        let mut silent: BTreeMap<&str, BTreeMap<u16, Time>> = BTreeMap::new();
        for (pop, slots) in &self.slots {
            let of_it = slots.iter().filter(|(slot, seen)| {
                seen.silent_at() <= now
                    && watched.contains(slot)
                    && !self.is_taken_over(pop, **slot, seen.heard)
            });
            for (slot, seen) in of_it {
                silent.entry(pop).or_default().insert(*slot, seen.heard);
            }
        }
        silent
    }

    /// When the next slot that is said to see has been silent for too long.
    pub(super) fn next_silence(&self, now: Time) -> Option<Time> {
        let seeing = self.slots.values().flat_map(BTreeMap::values).filter(|seen| seen.sees);
        seeing.map(Seen::silent_at).filter(|at| *at > now).min()
    }

    /// Which slots of `pop` are blind, and since when, if those of `before` were and nothing was heard of them since.
    fn blind(
        &self,
        pop: &str,
        before: Option<&BlindPop>,
        silent: &BTreeMap<u16, Time>,
    ) -> BTreeMap<u16, Time> {
        let mut blind: BTreeMap<u16, Time> = before.map(slots_of).unwrap_or_default();
        for (slot, seen) in self.slots.get(pop).into_iter().flatten() {
            match (seen.sees, silent.get(slot)) {
                (true, None) => drop(blind.remove(slot)),
                (true, Some(since)) => drop(blind.entry(*slot).or_insert(*since)),
                (false, _) => drop(blind.entry(*slot).or_insert(seen.since)),
            }
        }
        blind
    }
}

impl Seen {
    fn silent_at(&self) -> Time {
        self.heard.plus_ms(SILENT_AFTER_MS)
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
        let is_any_silent = self.views.slots.values().flat_map(BTreeMap::values);
        let mut silent: BTreeMap<String, BTreeMap<u16, Time>> = BTreeMap::new();
        if is_any_silent.into_iter().any(|seen| seen.silent_at() <= out.now) {
            for (pop, slots) in self.views.silent(&self.watched_slots(), out.now) {
                silent.insert(pop.to_owned(), slots);
            }
        }
        self.views.dirty.extend(silent.keys().cloned());
        while out.left() >= 1 {
            let Some(pop) = self.views.dirty.pop_first() else { return true };
            self.look_at_view(&pop, silent.get(&pop).unwrap_or(&BTreeMap::new()), out);
        }
        self.views.dirty.is_empty()
    }

    /// The slots in which something is watched.
    fn watched_slots(&self) -> BTreeSet<u16> {
        let graph = &self.network.graph;
        let nodes = graph.indexes().filter_map(|index| graph.node(index));
        nodes
            .filter(|node| node.watch.is_some() && node.address.is_some())
            .map(|node| slot_of(node.id))
            .collect()
    }

    fn look_at_view(&mut self, pop: &str, silent: &BTreeMap<u16, Time>, out: &mut Out) {
        let Some(seen) = self.views.latest(pop) else { return };
        let is_it = |incident: &Incident| incident.blind.as_ref().is_some_and(|blind| blind.pop == pop);
        let open = self.open.values().map(|(incident, _)| incident).find(|incident| is_it(incident)).cloned();
        let before = open.as_ref().and_then(|incident| incident.blind.clone());
        let (slots, since): (Vec<u16>, Vec<Time>) =
            self.views.blind(pop, before.as_deref(), silent).into_iter().unzip();
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
            roots: vec![cause_of(out.tenant, &blind, seen)],
            site_hypothesis: None,
            impact: events::Impact::default(),
            opened_at: if seen.sees { began(&blind, seen) } else { seen.since },
            blind: Some(Box::new(blind)),
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
            incident.roots = vec![cause_of(out.tenant, &now, seen)];
        }
        incident.blind = Some(Box::new(now));
        let (kind, line) = match incident.state {
            IncidentState::Recovering => {
                incident.state = IncidentState::Open;
                (
                    IncidentKind::Relapsed,
                    if seen.sees {
                        "nothing is heard of it again"
                    } else {
                        "none of its references answers it again"
                    },
                )
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
        self.say(kind, incident, seen.event, "it sees again", out);
    }
}

/// The slots that are blind, each with since when; at the latest since it was said.
fn slots_of(blind: &BlindPop) -> BTreeMap<u16, Time> {
    let since = blind.since.iter().copied().chain(std::iter::repeat(Time::EPOCH));
    blind.slots.iter().copied().zip(since).collect()
}

/// Since when the first of the slots is blind.
fn began(blind: &BlindPop, seen: &Seen) -> Time {
    blind.since.iter().copied().min().unwrap_or(seen.since)
}

/// The point of presence itself, as what is wrong: it sees nothing, or, where it was said to see, nothing is heard of it.
fn cause_of(tenant: TenantId, blind: &BlindPop, seen: &Seen) -> RootCause {
    let (kind, count, since) = if seen.sees {
        let minutes = u32::try_from(SILENT_AFTER_MS / 60_000).unwrap_or(u32::MAX);
        (EvidenceKind::PollerSilent, minutes, began(blind, seen))
    } else {
        (EvidenceKind::ReferencesSilent, seen.references, seen.since)
    };
    RootCause {
        node: NodeId::of_pop(tenant, &blind.pop),
        name: format!("Point of presence {}", blind.pop),
        tier: Tier::Core,
        primary: true,
        down: true,
        since,
        quiet: false,
        flapping: false,
        confidence: 100,
        evidence: vec![Evidence::of(kind, count, 100, Some(seen.event))],
        subscribers_below: None,
    }
}
