//! Which outages there are: the decider behind correlator.
//!
//! Hears the inventory, health, orders and its own timers; says incidents. An incident is opened by a
//! root cause, never by a child, and its impact is read off the graph at that moment. Roots that share
//! somebody they cut off are one incident. When a higher cause is found, the lower one's incident is
//! merged into the higher one's. It is resolved when every root has been up for the hold time, and what
//! was flapping is steady.
//!
//! Sessions lost below a living node are an incident of their own, which breaks nothing in the map. When the node
//! itself turns out to be down the incident becomes that outage; when something else explains it, it is part of that.

use crate::{
    confidence,
    graph::Index,
    impact::{blast, counted, grouped, impact_of, primary_of},
    network::Network,
    supply::{Own, Supply},
};
use events::{
    Decide, Decision, EventId, Fact, Flag, Health, HealthKind, Heard, Incident, IncidentClass, IncidentId,
    IncidentKind, IncidentSaid, IncidentState, NodeHealth, NodeId, Noun, Order, RECALL_MS, RootCause, Say,
    SessionsLost, TenantId, Tier, Time, TimelineEntry, Timer, Urgency,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The key of the one timer a tenant has here.
const WAKE: &str = "wake";
/// What follows from a root's going down is heard within so long after it, unless it is very much.
const WORD_MS: i64 = 5_000;
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
    const HEARS: &'static [Noun] = &[Noun::Health, Noun::Order, Noun::Due];
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
                Order::LiveCheck { .. } | Order::DrawPlan { .. } | Order::Repair { .. } => {}
            },
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
            .map(|(id, t)| (id, t.network.revision, &t.open, t.news_that_matters(), &t.orders));
        crate::digest::digest_of(&tenants.collect::<Vec<_>>())
    }
}

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

/// What a person ordered about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Given {
    heard: Time,
    event: EventId,
    by: String,
    wrong: bool,
}

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
    }

    fn decide(&mut self, out: &mut Out) -> bool {
        self.refresh();
        let from = out.now.plus_ms(-RECALL_MS);
        self.news.retain(|_, n| n.heard >= from);
        self.forget_merged(from);
        self.orders.retain(|_, o| o.heard >= from);
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
        let measured = self.measure_again(out);
        // What a word still to be weighed makes of an incident comes before its hold runs out.
        let put_off = !self.dirty.is_empty() || !self.sessions_dirty.is_empty() || !self.ordered.is_empty();
        put_off || !measured || !self.look_at_holds(out)
    }

    /// What follows from the health of one possible root. Returns whether there was room for all of it.
    fn hear_of_outage(&mut self, news: &News, out: &mut Out) -> bool {
        let node = news.now.node;
        let mine = self.root_of.get(&node).copied();
        if news.gone {
            if let Some(id) = mine {
                self.drop_root(id, node, news, "removed", out);
            }
            return true;
        }
        match (news.now.health, mine) {
            (Health::Down, Some(id)) => {
                let relapsed = self.open[&id].0.roots.iter().any(|r| r.node == node && !r.down);
                if relapsed {
                    return self.relapse(id, news, out);
                }
                self.root_is_steady(id, news, out);
            }
            (Health::Down, None) if self.is_carried(news) => {}
            (Health::Down, None) if self.opens_incidents(node) => return self.root_came(None, news, out),
            (Health::Up | Health::Degraded, Some(id)) => self.root_is_back(id, news, out),
            (Health::Impacted, Some(id)) => {
                self.drop_root(id, node, news, "explained by a higher cause", out);
            }
            // Missing word is no recovery: the hold must not run out on it.
            (Health::Unknown, Some(id)) => {
                if self.open[&id].0.roots.iter().any(|r| r.node == node && !r.down) {
                    return self.relapse(id, news, out);
                }
                self.root_is_steady(id, news, out);
            }
            (Health::Up | Health::Degraded | Health::Down | Health::Impacted | Health::Unknown, None) => {}
        }
        true
    }

    /// What follows for the sessions lost below a node.
    fn hear_of_sessions(&mut self, news: &News, out: &mut Out) {
        let mine = self.sessions_of.get(&news.now.node).copied();
        let lost = news.now.sessions_lost.as_deref();
        match (news.now.health, mine, lost) {
            (_, Some(id), _) if news.gone => self.end_sessions(id, news, "removed", out),
            (Health::Down | Health::Impacted, Some(id), _) => {
                self.end_sessions(id, news, "explained by a higher cause", out);
            }
            (Health::Up | Health::Degraded, Some(id), Some(lost)) => {
                self.sessions_changed(id, news, lost, out);
            }
            (Health::Up | Health::Degraded, None, Some(lost)) => self.sessions_were_lost(news, lost, out),
            (Health::Up | Health::Degraded, Some(id), None) => self.sessions_are_back(id, news, out),
            // Missing word is no recovery.
            (Health::Unknown, _, _) | (_, None, _) => {}
        }
    }

    fn sessions_were_lost(&mut self, news: &News, lost: &SessionsLost, out: &mut Out) {
        let Some(cause) = self.cause_of(news) else { return };
        let mut incident = self.fresh(news, &cause);
        incident.class = IncidentClass::SessionsLost;
        incident.opened_at = lost.since;
        incident.impact = lost.impact.clone();
        incident.roots = vec![cause];
        self.say(IncidentKind::Opened, incident, news.event, "", out);
    }

    /// More of them are lost, or many once more within the hold.
    fn sessions_changed(&mut self, id: IncidentId, news: &News, lost: &SessionsLost, out: &mut Out) {
        let Some(cause) = self.cause_of(news) else { return };
        let mut incident = self.open[&id].0.clone();
        let again = incident.roots.iter().any(|r| !r.down);
        if !again && incident.impact == lost.impact {
            return;
        }
        incident.impact = lost.impact.clone();
        incident.roots = vec![cause];
        let (kind, line) = match incident.state {
            IncidentState::Recovering => {
                incident.state = IncidentState::Open;
                (IncidentKind::Relapsed, "sessions were lost again".to_owned())
            }
            IncidentState::Open | IncidentState::Resolved | IncidentState::Merged | IncidentState::Closed => {
                let lost = counted(lost.impact.subscribers, "subscriber");
                (IncidentKind::Changed, format!("by now {lost} lost their sessions"))
            }
        };
        self.say(kind, incident, news.event, &line, out);
    }

    /// Fewer of them are lost than make an incident: they are back, or something explains it.
    fn sessions_are_back(&mut self, id: IncidentId, news: &News, out: &mut Out) {
        let mut incident = self.open[&id].0.clone();
        if !incident.roots.iter().any(|r| r.down) {
            return;
        }
        if !news.now.roots.is_empty() && incident.state != IncidentState::Closed {
            self.end_sessions(id, news, "explained by another cause", out);
            return;
        }
        for root in &mut incident.roots {
            root.down = false;
            root.since = news.heard;
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
        self.say(kind, incident, news.event, "sessions are back", out);
    }

    /// Sessions are no incident of their own any more: the one of what explains it carries it, if there is one.
    fn end_sessions(&mut self, id: IncidentId, news: &News, why: &str, out: &mut Out) {
        let mut incident = self.open[&id].0.clone();
        for root in &mut incident.roots {
            root.down = false;
            root.since = out.now;
        }
        if incident.state == IncidentState::Closed {
            self.say(IncidentKind::Changed, incident, news.event, why, out);
            return;
        }
        let carried = self.carried.get(&news.now.node).map(|(_, id)| self.carrier_of(*id));
        let itself = self.root_of.get(&news.now.node).copied();
        let roots = news.now.roots.iter().filter_map(|root| self.root_of.get(root)).copied();
        let carries = |u: &IncidentId| {
            let upper = self.open.get(u);
            upper.is_some_and(|(upper, _)| upper.state != IncidentState::Closed)
        };
        let upper = roots.chain(itself).chain(carried).find(carries);
        match upper.filter(|_| !news.gone) {
            Some(upper) => self.merge(id, upper, news.event, out),
            None => {
                incident.state = IncidentState::Resolved;
                incident.ended_at = Some(out.now);
                incident.ended_because = Some(why.to_owned());
                self.say(IncidentKind::Resolved, incident, news.event, why, out);
            }
        }
    }

    /// Whether a root is part of an incident that names as many as it can: one it came into with another.
    fn is_carried(&self, news: &News) -> bool {
        let since = |(since, _): &&(Time, IncidentId)| *since == news.now.since;
        let known = self.carried.get(&news.now.node).filter(since);
        known.is_some() || self.merged.contains_key(&IncidentId::of(news.event))
    }

    /// The incident that carries another in the end.
    fn carrier_of(&self, id: IncidentId) -> IncidentId {
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
    fn forget_merged(&mut self, from: Time) {
        let over = |id: &IncidentId, at: &Time| *at < from && !self.open.contains_key(&self.carrier_of(*id));
        let over: Vec<IncidentId> =
            self.merged.iter().filter(|(id, (_, at))| over(id, at)).map(|(id, _)| *id).collect();
        for id in over {
            self.merged.remove(&id);
        }
        self.carried.retain(|_, (_, id)| self.merged.contains_key(id));
    }

    fn opens_incidents(&self, node: NodeId) -> bool {
        self.network.graph.index_of(node).is_some_and(|i| self.network.graph.opens_incidents(i))
    }

    fn cause_of(&self, news: &News) -> Option<RootCause> {
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
            confidence: evidence.iter().map(|e| e.weight).sum::<u32>().min(100),
            evidence,
            // What is lost below it does not flap with it.
            flapping: lost.is_none() && flaps(&news.now),
            subscribers_below: lost.map(|lost| lost.of),
        })
    }

    /// A root that no open incident has as down: it joins those it shares somebody with, in the oldest of
    /// them, or opens one of its own. `mine`: the incident that knew it, when it is down again.
    ///
    /// The others are merged first; what there is no room for waits for the next decision.
    fn root_came(&mut self, mine: Option<IncidentId>, news: &News, out: &mut Out) -> bool {
        let Some(cause) = self.cause_of(news) else { return true };
        let Some(index) = self.network.graph.index_of(cause.node) else { return true };
        self.supply.set(&self.network.graph, index, Own::Broken);
        self.supply.settle(&self.network.graph, &mut |_, _| {});
        let mut together: BTreeSet<IncidentId> = self.connected_with(index).into_iter().collect();
        together.extend(mine);
        // Sessions that were lost below it are explained by it.
        let sessions = self.sessions_of.get(&cause.node).copied();
        together.extend(sessions.filter(|id| self.open[id].0.state != IncidentState::Closed));
        let mut together: Vec<IncidentId> = together.into_iter().collect();
        together.sort_by_key(|id| (self.open[id].0.opened_at, *id));
        let Some(oldest) = together.first().copied() else {
            let mut incident = self.fresh(news, &cause);
            incident.roots = vec![cause];
            self.say(IncidentKind::Opened, incident, news.event, "", out);
            return true;
        };
        let lower: Vec<IncidentId> = together.into_iter().skip(1).collect();
        if out.left() < 2 && !lower.is_empty() {
            return false;
        }
        let now_merged = &lower[..lower.len().min(out.left() - 1)];
        let mut moved = Vec::new();
        for id in now_merged {
            moved.extend(self.open[id].0.roots.iter().filter(|r| r.subscribers_below.is_none()).cloned());
            self.merge(*id, oldest, news.event, out);
        }
        let mut incident = self.open[&oldest].0.clone();
        incident.roots.extend(moved);
        if now_merged.len() < lower.len() {
            self.say(IncidentKind::Changed, incident, news.event, "others are part of this", out);
            return false;
        }
        let again = mine == Some(oldest);
        let only_sessions = incident.class == IncidentClass::SessionsLost;
        let flapped = incident.roots.iter().any(|r| r.node == cause.node && r.flapping);
        let line = match (again, cause.flapping) {
            (true, true) if flapped => String::new(), // It stands there already.
            (true, true) => format!("{} is flapping", cause.name),
            (true, false) => format!("{} is down again", cause.name),
            (false, _) if only_sessions => format!("{} itself is down", cause.name),
            (false, _) if mine.is_some() => format!("{} is down again", cause.name),
            (false, _) => format!("{} is down too", cause.name),
        };
        incident.roots.retain(|r| r.node != cause.node);
        incident.roots.push(cause);
        incident.class = IncidentClass::Outage;
        incident.state = IncidentState::Open;
        let kind = if again { IncidentKind::Relapsed } else { IncidentKind::Changed };
        self.say(kind, incident, news.event, &line, out);
        true
    }

    /// Incidents that share somebody they cut off, as the inventory is now, become the oldest of them.
    fn gather(&mut self, together: BTreeSet<IncidentId>, event: EventId, out: &mut Out) {
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

    /// The open incidents with a root that cuts off somebody whom `index` cuts off too.
    fn connected_with(&self, index: Index) -> Vec<IncidentId> {
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
        let by_outage = |i: &Incident| i.class != IncidentClass::SessionsLost;
        let live = self.open.iter().filter(|(_, (i, _))| i.state != IncidentState::Closed && by_outage(i));
        live.filter(|(_, (incident, _))| incident.roots.iter().any(shares)).map(|(id, _)| *id).collect()
    }

    fn fresh(&self, news: &News, cause: &RootCause) -> Incident {
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
            acknowledged_by: None,
            hold: 0,
            timeline: Vec::new(),
            owner,
        }
    }

    /// A root that was back is down again, or not known to be up any more.
    fn relapse(&mut self, id: IncidentId, news: &News, out: &mut Out) -> bool {
        if self.open[&id].0.state != IncidentState::Closed {
            return self.root_came(Some(id), news, out);
        }
        let Some(cause) = self.cause_of(news) else { return true };
        let mut incident = self.open[&id].0.clone();
        let line = format!("{} is down again", cause.name);
        for root in incident.roots.iter_mut().filter(|r| r.node == cause.node) {
            *root = cause.clone();
        }
        self.say(IncidentKind::Changed, incident, news.event, &line, out);
        true
    }

    fn root_is_back(&mut self, id: IncidentId, news: &News, out: &mut Out) {
        let mut incident = self.open[&id].0.clone();
        let Some(root) = incident.roots.iter_mut().find(|r| r.node == news.now.node && r.down) else {
            self.root_is_steady(id, news, out);
            return;
        };
        let line = if root.flapping { String::new() } else { format!("{} is back", root.name) };
        root.down = false;
        root.flapping = flaps(&news.now);
        root.since = news.heard;
        let all_back = incident.roots.iter().all(|r| !r.down);
        let kind = match incident.state {
            IncidentState::Open if all_back => {
                incident.state = IncidentState::Recovering;
                incident.hold += 1;
                IncidentKind::Recovering
            }
            IncidentState::Open
            | IncidentState::Recovering
            | IncidentState::Resolved
            | IncidentState::Merged
            | IncidentState::Closed => IncidentKind::Changed,
        };
        self.say(kind, incident, news.event, &line, out);
    }

    /// A root that flapped is flapping no longer: from here on the hold counts.
    fn root_is_steady(&mut self, id: IncidentId, news: &News, out: &mut Out) {
        let mut incident = self.open[&id].0.clone();
        let is_it = |r: &&mut RootCause| r.node == news.now.node && r.flapping;
        let Some(root) = incident.roots.iter_mut().find(is_it).filter(|_| !flaps(&news.now)) else { return };
        root.flapping = false;
        let line = format!("{} is steady", root.name);
        self.say(IncidentKind::Changed, incident, news.event, &line, out);
    }

    /// A root that is none any more: something higher explains it, or it left the inventory.
    fn drop_root(&mut self, id: IncidentId, node: NodeId, news: &News, why: &str, out: &mut Out) {
        let mut incident = self.open[&id].0.clone();
        let Some(at) = incident.roots.iter().position(|r| r.node == node) else { return };
        let dropped = incident.roots.remove(at);
        if !incident.roots.is_empty() {
            let line = format!("{}: {why}", dropped.name);
            if incident.state == IncidentState::Open && incident.roots.iter().all(|r| !r.down) {
                incident.state = IncidentState::Recovering;
                incident.hold += 1;
            }
            self.say(IncidentKind::Changed, incident, news.event, &line, out);
            return;
        }
        if incident.state == IncidentState::Closed {
            incident.roots.push(RootCause { down: false, since: out.now, ..dropped });
            self.say(IncidentKind::Changed, incident, news.event, why, out);
            return;
        }
        let carries = |u: &IncidentId| *u != id && self.open[u].0.state != IncidentState::Closed;
        let upper = news.now.roots.iter().filter_map(|root| self.root_of.get(root)).copied().find(carries);
        match upper.filter(|_| !news.gone) {
            Some(upper) => self.merge(id, upper, news.event, out),
            None => {
                incident.roots.push(RootCause { down: false, since: out.now, ..dropped });
                incident.state = IncidentState::Resolved;
                incident.ended_at = Some(out.now);
                incident.ended_because = Some(why.to_owned());
                self.say(IncidentKind::Resolved, incident, news.event, why, out);
            }
        }
    }

    fn merge(&mut self, lower: IncidentId, upper: IncidentId, event: EventId, out: &mut Out) {
        let mut incident = self.open[&lower].0.clone();
        incident.state = IncidentState::Merged;
        incident.merged_into = Some(upper);
        incident.ended_at = Some(out.now);
        let line = format!("part of: {}", self.open[&upper].0.title);
        self.say(IncidentKind::Merged, incident, event, &line, out);
    }

    fn obey(&mut self, id: IncidentId, given: &Given, out: &mut Out) {
        let Some((incident, _)) = self.open.get(&id) else { return };
        let mut incident = incident.clone();
        match incident.state {
            IncidentState::Open | IncidentState::Recovering => {}
            IncidentState::Resolved | IncidentState::Merged | IncidentState::Closed => return,
        }
        if given.wrong {
            incident.state = IncidentState::Closed;
            incident.ended_at = Some(out.now);
            incident.ended_because = Some(format!("closed as wrong by {}", given.by));
            self.say(
                IncidentKind::Closed,
                incident,
                given.event,
                &format!("closed as wrong by {}", given.by),
                out,
            );
        } else if incident.acknowledged_by.is_none() {
            incident.acknowledged_by = Some(given.by.clone());
            self.say(
                IncidentKind::Acknowledged,
                incident,
                given.event,
                &format!("acknowledged by {}", given.by),
                out,
            );
        }
    }

    /// After a revision the roots may cut off others than before. Returns whether there was room for all of it.
    fn measure_again(&mut self, out: &mut Out) -> bool {
        let revised_at = self.network.revised_at;
        let earlier: Vec<IncidentId> =
            self.measured_at.iter().filter(|(_, at)| **at < revised_at).map(|(id, _)| *id).collect();
        for id in earlier {
            if out.left() < 1 {
                return false;
            }
            self.measured_at.insert(id, revised_at);
            let Some((incident, event)) = self.open.get(&id).cloned() else { continue };
            if incident.state != IncidentState::Open || incident.class == IncidentClass::SessionsLost {
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

    /// When an incident may be resolved: its roots have been up for the hold time.
    ///
    /// Roots that are cut off by now, as the map says, may be known to be so a moment later: word of what
    /// cuts them off comes first.
    fn hold_ends(&self, incident: &Incident) -> Option<Time> {
        // What flaps will be down again: word that it is steady comes first.
        if incident.state != IncidentState::Recovering || incident.roots.iter().any(|r| r.flapping) {
            return None;
        }
        let last = incident.roots.iter().map(|r| r.since).max()?;
        let end = last.plus_ms(i64::from(self.network.policy.resolve_hold_ms));
        if incident.class == IncidentClass::SessionsLost {
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

    /// The next moment at which a root's maintenance begins or ends.
    fn window_turns(&self, incident: &Incident, now: Time) -> Option<Time> {
        let graph = &self.network.graph;
        let nodes =
            incident.roots.iter().filter(|r| r.down).filter_map(|r| graph.node(graph.index_of(r.node)?));
        nodes.flat_map(|n| n.maintenance.iter().flat_map(|w| [w.from, w.until])).filter(|t| *t > now).min()
    }

    /// Resolves what has held. Returns whether there was room for all of it.
    fn look_at_holds(&mut self, out: &mut Out) -> bool {
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

    fn quiet_now(&self, node: NodeId, now: Time) -> bool {
        let graph = &self.network.graph;
        let found = graph.index_of(node).and_then(|i| graph.node(i));
        found.is_some_and(|n| n.maintenance.iter().any(|w| w.from <= now && now < w.until))
    }

    fn is_quiet_otherwise(&self, incident: &Incident, now: Time) -> bool {
        incident.roots.iter().any(|r| r.down && r.quiet != self.quiet_now(r.node, now))
    }

    fn wake(&mut self, now: Time) -> Option<Timer> {
        let ends = self.open.values().flat_map(|(i, _)| [self.hold_ends(i), self.window_turns(i, now)]);
        let at = ends.flatten().filter(|at| *at > now).min()?;
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

    fn measure(&self, incident: &mut Incident) {
        if incident.class != IncidentClass::SessionsLost {
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

    fn title_of(&self, incident: &Incident) -> String {
        let found = incident.roots.iter().find_map(|r| Some((r, r.subscribers_below?)));
        let Some((root, of)) = found.filter(|_| incident.class == IncidentClass::SessionsLost) else {
            return title_of(incident);
        };
        let node = self.network.graph.index_of(root.node).and_then(|i| self.network.graph.node(i));
        let lives = if node.is_some_and(|n| n.is_observable()) {
            format!("{} itself answers", root.name)
        } else {
            "everything above answers".to_owned()
        };
        let lost = grouped(incident.impact.subscribers);
        let (of, below) = (counted(of, "subscriber"), format!("{}{}", root.name, place_of(incident, root)));
        format!("{lost} of {of} below {below} lost their sessions; {lives}")
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
}

/// Whether a root keeps what hangs below it from working: the sessions below a living node it does not.
fn breaks(root: &RootCause) -> bool {
    root.down && root.subscribers_below.is_none()
}

fn flaps(now: &NodeHealth) -> bool {
    now.flags.contains(&Flag::Flapping)
}

/// " at Mill Hill", unless the name says it.
fn place_of(incident: &Incident, root: &RootCause) -> String {
    let named = |site: &&String| !root.name.contains(site.as_str());
    incident.site_name.as_ref().filter(named).map(|s| format!(" at {s}")).unwrap_or_default()
}

/// "Core-3 at Mill Hill is down: 10 sites, 3,150 subscribers".
fn title_of(incident: &Incident) -> String {
    let down: Vec<&RootCause> = incident.roots.iter().filter(|r| r.down).collect();
    let place = down.first().map(|root| place_of(incident, root)).unwrap_or_default();
    let who = match down.as_slice() {
        [] => "Something".to_owned(),
        [one] => format!("{}{place}", one.name),
        [one, other] => format!("{}{place} and {}", one.name, other.name),
        [one, others @ ..] => format!("{}{place} and {} more", one.name, others.len()),
    };
    let is = match down.as_slice() {
        [one] if one.flapping => "is flapping",
        [] | [_] => "is down",
        [_, _, ..] => "are down",
    };
    let impact = &incident.impact;
    let cut_off = impact.by_tier.values().sum::<u32>();
    let effect = if cut_off == 0 && impact.at_risk > 0 {
        format!("nothing is cut off, {} would be by one more failure", counted(impact.at_risk, "node"))
    } else if impact.subscribers > 0 {
        format!("{}, {}", counted(impact.sites, "site"), counted(impact.subscribers, "subscriber"))
    } else if cut_off > 0 {
        format!("{} cut off, no subscribers", counted(cut_off, "node"))
    } else {
        "nothing else is cut off".to_owned()
    };
    format!("{who} {is}: {effect}")
}
