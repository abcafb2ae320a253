//! Which outages there are: the decider behind correlator.
//!
//! Hears the inventory, health, how points of presence see, orders and its own timers; says incidents. An incident is opened by a
//! root cause, never by a child, and its impact is read off the graph at that moment. Roots that share
//! somebody they cut off are one incident. When a higher cause is found, the lower one's incident is
//! merged into the higher one's. It is resolved when every root has been up for the hold time, and what
//! was flapping is steady.
//!
//! Sessions lost below a living node are an incident of their own, which breaks nothing in the map. When the node
//! itself turns out to be down the incident becomes that outage; when something else explains it, it is part of that.
//!
//! A point of presence that is blind is an incident that names no node of the network and breaks nothing in the map.
//!
//! Here stands what is remembered, in which order it is weighed, and how an incident is said. What follows from one
//! kind of word stands in a file of its own.

mod blind;
mod holds;
mod measuring;
mod merging;
mod opening;
mod orders;
mod outages;
mod sessions;
mod site;
mod title;

use self::{blind::Views, orders::Given};
use crate::{
    graph::Index,
    network::Network,
    supply::{Own, Supply},
};
use events::{
    Decide, Decision, EventId, Fact, Flag, HealthKind, Heard, Incident, IncidentId, IncidentKind,
    IncidentSaid, IncidentState, NodeHealth, NodeId, Noun, Order, RECALL_MS, RootCause, Say, SiteId,
    TenantId, Tier, Time, TimelineEntry, Timer,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The key of the one timer a tenant has here.
const WAKE: &str = "wake";
/// Roots an incident names.
const MOST_ROOTS: usize = 64;
/// Lines a timeline keeps.
const MOST_LINES: usize = 50;

/// The decider behind correlator.
#[derive(Default)]
pub struct Correlation {
    tenants: BTreeMap<TenantId, Tenant>,
}

impl Decide for Correlation {
    const NAME: &'static str = "correlator";
    const HEARS: &'static [Noun] = &[Noun::Health, Noun::Order, Noun::View, Noun::Due];
    const SAYS: &'static [Noun] = &[Noun::Incident];

    fn recall(&mut self, heard: &Heard) {
        let tenant = self.tenants.entry(heard.tenant).or_default();
        match &heard.fact {
            Fact::Inventory(_) | Fact::Part(_) | Fact::Revision(_) => tenant.network.hear(heard),
            Fact::Health(said) => tenant.hear_health(heard, &said.now, said.kind),
            Fact::Order(said) => match &said.order {
                Order::Acknowledge { incident } | Order::CloseAsWrong { incident } => {
                    let wrong = matches!(said.order, Order::CloseAsWrong { .. });
                    let given = Given { heard: heard.heard, event: heard.id, by: said.by.clone(), wrong };
                    tenant.orders.insert(*incident, given);
                    tenant.ordered.insert(*incident);
                }
                Order::LiveCheck { .. }
                | Order::DrawPlan { .. }
                | Order::Repair { .. }
                | Order::CutHeld { .. }
                | Order::Scan { .. }
                | Order::AddSighting { .. }
                | Order::RejectSighting { .. }
                | Order::OpenSightings { .. } => {}
            },
            Fact::View(view) => tenant.hear_view(heard, view),
            Fact::Due(due) if due.service == Self::NAME => tenant.armed = None,
            Fact::Due(_)
            | Fact::Access(_)
            | Fact::Signal(_)
            | Fact::Answer(_)
            | Fact::Ask(_)
            | Fact::Suspicion(_)
            | Fact::Incident(_)
            | Fact::Notice(_)
            | Fact::Delivery(_)
            | Fact::Repair(_)
            | Fact::Plan(_)
            | Fact::Entitlement(_)
            | Fact::Enforcement(_)
            | Fact::Sighting(_)
            | Fact::Refusal(_)
            | Fact::Cut(_) => {}
        }
    }

    fn apply(&mut self, said: &Say) {
        if let Fact::Incident(incident) = &said.fact {
            self.tenants.entry(said.tenant).or_default().apply(&incident.now, said);
        }
    }

    fn decide(&mut self, now: Time, room: usize) -> Decision {
        let mut decision = Decision::default();
        for (id, tenant) in &mut self.tenants {
            let left = room.saturating_sub(decision.said.len() + decision.timers.len());
            if left < 2 {
                decision.owed = true;
                break;
            }
            let mut out = Out { tenant: *id, now, room: left - 1, said: Vec::new() };
            decision.owed |= tenant.decide(&mut out);
            decision.said.append(&mut out.said);
            if let Some(timer) = tenant.wake(now) {
                decision.timers.push((*id, timer));
            }
        }
        decision
    }

    fn digest(&self) -> u64 {
        let tenants = self
            .tenants
            .iter()
            .map(|(id, t)| (id, t.network.revision, &t.open, t.news_that_matters(), &t.orders, &t.views));
        crate::digest::digest_of(&tenants.collect::<Vec<_>>())
    }
}

/// What one decision has said so far, and how much more it may say.
struct Out {
    tenant: TenantId,
    now: Time,
    room: usize,
    said: Vec<Say>,
}

impl Out {
    /// How many more messages there is room for.
    fn left(&self) -> usize {
        self.room.saturating_sub(self.said.len())
    }
}

/// What was heard last of a node that may be a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct News {
    heard: Time,
    event: EventId,
    gone: bool,
    now: NodeHealth,
}

/// One tenant's incidents, and what was heard lately that they follow from.
#[derive(Default)]
struct Tenant {
    network: Network,
    /// The supply of a graph in which nothing is broken but the roots of open incidents.
    supply: Supply,
    /// Incidents that are not over, and those closed by a person while a root is still down.
    open: BTreeMap<IncidentId, (Incident, EventId)>,
    /// When each of them was said last, or the revision heard for which it was measured again since.
    measured_at: BTreeMap<IncidentId, Time>,
    root_of: BTreeMap<NodeId, IncidentId>,
    /// Living nodes below which sessions were lost.
    sessions_of: BTreeMap<NodeId, IncidentId>,
    /// Roots of merged incidents: since when each is down, and in which of them it was. Whoever carries it may name
    /// too many already to name it too.
    carried: BTreeMap<NodeId, (Time, IncidentId)>,
    /// Which incident carries a merged one, and since when.
    merged: BTreeMap<IncidentId, (IncidentId, Time)>,
    news: BTreeMap<NodeId, News>,
    dirty: BTreeSet<NodeId>,
    /// Of whom word of lost sessions is weighed once all outages are known that may explain it.
    sessions_dirty: BTreeSet<NodeId>,
    orders: BTreeMap<IncidentId, Given>,
    ordered: BTreeSet<IncidentId>,
    views: Views,
    /// Devices that are looked at, by the site they are at.
    devices_at: BTreeMap<SiteId, Vec<Index>>,
    /// Whether it is still to be weighed which sites may have failed as a whole.
    sites_stale: bool,
    armed: Option<Time>,
    armed_version: u32,
}

impl Tenant {
    fn refresh(&mut self) {
        if self.network.refresh().is_none() {
            return;
        }
        let graph = &self.network.graph;
        let down: BTreeSet<Index> = self
            .open
            .values()
            .flat_map(|(incident, _)| incident.roots.iter().filter(|r| breaks(r)))
            .filter_map(|r| graph.index_of(r.node))
            .collect();
        self.devices_at = site::devices_at(graph);
        self.sites_stale = true;
        self.supply = Supply::with(graph, |i| if down.contains(&i) { Own::Broken } else { Own::Follows });
        // What was no root may be one now: a station that has come to serve several.
        self.dirty.extend(self.news.keys());
    }

    fn hear_health(&mut self, heard: &Heard, now: &NodeHealth, kind: HealthKind) {
        self.refresh();
        let gone = kind == HealthKind::Retired;
        if gone || self.may_matter(now.node) {
            self.news.insert(now.node, News { heard: heard.heard, event: heard.id, gone, now: now.clone() });
            self.dirty.insert(now.node);
        } else {
            // It left the inventory once and came back: what was heard of its leaving is overtaken, also for a
            // start that finds it gone once more.
            self.news.remove(&now.node);
        }
    }

    /// What was heard of those that the inventory has, or had.
    fn news_that_matters(&self) -> Vec<&News> {
        let has = |node: NodeId| self.network.graph.index_of(node).is_some();
        let matters = |n: &&News| n.gone || (has(n.now.node) && self.may_matter(n.now.node));
        self.news.values().filter(matters).collect()
    }

    /// Whether a node may come to open incidents, as far as the inventory of this moment tells: what is heard
    /// is remembered whatever the inventory becomes, and weighed with what it is then.
    fn may_matter(&self, node: NodeId) -> bool {
        let found = self.network.graph.index_of(node).and_then(|i| self.network.graph.node(i));
        found.is_none_or(|n| n.tier < Tier::Subscriber)
    }

    fn apply(&mut self, incident: &Incident, said: &Say) {
        self.refresh();
        let live = match incident.state {
            IncidentState::Open | IncidentState::Recovering => true,
            IncidentState::Closed => incident.roots.iter().any(|r| r.down),
            IncidentState::Resolved | IncidentState::Merged => false,
        };
        let before = self.open.remove(&incident.id).map(|(i, _)| i.roots).unwrap_or_default();
        for root in &before {
            for of in [&mut self.root_of, &mut self.sessions_of] {
                if of.get(&root.node) == Some(&incident.id) {
                    of.remove(&root.node);
                }
            }
        }
        if live {
            for root in &incident.roots {
                let lives = root.subscribers_below.is_some();
                let of = if lives { &mut self.sessions_of } else { &mut self.root_of };
                of.insert(root.node, incident.id);
            }
            self.open.insert(incident.id, (incident.clone(), said.id));
            self.measured_at.insert(incident.id, said.at);
        } else {
            self.measured_at.remove(&incident.id);
        }
        if let Some(upper) = incident.merged_into {
            self.merged.insert(incident.id, (upper, incident.ended_at.unwrap_or(said.at)));
            for root in incident.roots.iter().filter(|r| breaks(r)) {
                let known = self.carried.entry(root.node).or_insert((root.since, incident.id));
                *known = (*known).max((root.since, incident.id));
            }
        }
        for node in before.iter().chain(&incident.roots).map(|r| r.node).collect::<BTreeSet<_>>() {
            let down = self
                .root_of
                .get(&node)
                .and_then(|id| self.open.get(id))
                .is_some_and(|(incident, _)| incident.roots.iter().any(|r| r.node == node && breaks(r)));
            if let Some(index) = self.network.graph.index_of(node) {
                self.supply.set(&self.network.graph, index, if down { Own::Broken } else { Own::Follows });
            }
        }
        self.supply.settle(&self.network.graph, &mut |_, _| {});
        self.sites_stale = true;
    }

    fn decide(&mut self, out: &mut Out) -> bool {
        self.refresh();
        let from = out.now.plus_ms(-RECALL_MS);
        self.news.retain(|_, n| n.heard >= from);
        self.forget_merged(from);
        self.orders.retain(|_, o| o.heard >= from);
        self.views.forget(from);
        let graph = &self.network.graph;
        let rank = |id: &NodeId| graph.index_of(*id).map_or(0, |i| graph.rank(i));
        let mut nodes: Vec<NodeId> = std::mem::take(&mut self.dirty).into_iter().collect();
        nodes.sort_by_key(|id| (rank(id), *id));
        let mut nodes = nodes.into_iter();
        for node in nodes.by_ref() {
            let all_said = match self.news.get(&node).cloned() {
                Some(news) if out.left() >= 1 => self.hear_of_outage(&news, out),
                Some(_) => false,
                None => true,
            };
            if !all_said {
                self.dirty.insert(node);
                break;
            }
            self.sessions_dirty.insert(node);
        }
        self.dirty.extend(nodes);
        while self.dirty.is_empty()
            && out.left() >= 1
            && let Some(node) = self.sessions_dirty.pop_first()
        {
            if let Some(news) = self.news.get(&node).cloned() {
                self.hear_of_sessions(&news, out);
            }
        }
        while out.left() >= 1
            && let Some(id) = self.ordered.pop_first()
        {
            if let Some(given) = self.orders.get(&id).cloned() {
                self.obey(id, &given, out);
            }
        }
        let viewed = self.look_at_views(out);
        let measured = self.measure_again(out) && self.look_at_sites(out);
        // What a word still to be weighed makes of an incident comes before its hold runs out.
        let put_off = !self.dirty.is_empty() || !self.sessions_dirty.is_empty() || !self.ordered.is_empty();
        if put_off || !viewed || !measured {
            return true;
        }
        // A maintenance window that ended may say something of a site.
        !self.look_at_holds(out) || self.sites_stale
    }

    /// The timer to arm, when something ends earlier than one is armed for.
    fn wake(&mut self, now: Time) -> Option<Timer> {
        let ends = self.open.values().flat_map(|(i, _)| [self.hold_ends(i), self.window_turns(i, now)]);
        let at = ends.flatten().chain(self.views.next_silence(now)).filter(|at| *at > now).min()?;
        if self.armed.is_some_and(|armed| armed > now && armed <= at) {
            return None;
        }
        self.armed = Some(at);
        self.armed_version = self.armed_version.wrapping_add(1);
        Some(Timer { key: WAKE.into(), at: Some(at), version: self.armed_version })
    }

    /// Says an incident as it stands now: with class, impact, title and urgency worked out again.
    fn say(&mut self, kind: IncidentKind, mut incident: Incident, cause: EventId, line: &str, out: &mut Out) {
        let graph = &self.network.graph;
        // What came last of the least is not named: the highest cause always is.
        while incident.roots.len() > MOST_ROOTS
            && let Some(least) = incident.roots.iter().map(|r| r.tier).max()
            && let Some(at) = incident.roots.iter().rposition(|r| r.tier == least)
        {
            incident.roots.remove(at);
        }
        for root in &mut incident.roots {
            if root.down {
                root.quiet = graph
                    .index_of(root.node)
                    .and_then(|i| graph.node(i))
                    .is_some_and(|n| n.maintenance.iter().any(|w| w.from <= out.now && out.now < w.until));
            }
        }
        if incident.state == IncidentState::Open {
            self.measure(&mut incident);
        }
        if !line.is_empty() || incident.timeline.is_empty() {
            let what = if line.is_empty() { incident.title.clone() } else { line.to_owned() };
            incident.timeline.push(TimelineEntry { at: out.now, what });
            let surplus = incident.timeline.len().saturating_sub(MOST_LINES);
            incident.timeline.drain(..surplus);
        }
        let what = format!("{kind:?} {} {:x}", incident.id, crate::digest::digest_of(&incident));
        let id = EventId::following(cause, Correlation::NAME, &what);
        let fact = Fact::Incident(IncidentSaid { kind, now: incident });
        let say = Say { id, tenant: out.tenant, at: out.now, cause: Some(cause), fact };
        if let Fact::Incident(said) = &say.fact {
            self.apply(&said.now, &say);
        }
        out.said.push(say);
    }
}

/// Whether a root keeps what hangs below it from working: the sessions below a living node it does not.
fn breaks(root: &RootCause) -> bool {
    root.down && root.subscribers_below.is_none()
}

fn flaps(now: &NodeHealth) -> bool {
    now.flags.contains(&Flag::Flapping)
}
