//! What follows from the health of one possible root: it came, is back, is down again, is none any more.

use super::{News, Out, Tenant, flaps};
use crate::supply::Own;
use events::{Health, IncidentClass, IncidentId, IncidentKind, IncidentState, NodeId, RootCause};
use std::collections::BTreeSet;

impl Tenant {
    /// What follows from the health of one possible root. Returns whether there was room for all of it.
    pub(super) fn hear_of_outage(&mut self, news: &News, out: &mut Out) -> bool {
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
}
