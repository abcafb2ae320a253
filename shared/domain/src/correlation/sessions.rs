//! What follows for sessions that were lost below a living node.
//!
//! Such an incident names the node and breaks nothing in the map. It ends when something explains it, and is then
//! carried by the incident of that, if there is one.

use super::{News, Out, Tenant};
use crate::impact::counted;
use events::{Health, IncidentClass, IncidentId, IncidentKind, IncidentState, SessionsLost};

impl Tenant {
    /// What follows for the sessions lost below a node.
    pub(super) fn hear_of_sessions(&mut self, news: &News, out: &mut Out) {
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
}
