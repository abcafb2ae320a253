//! What people order about an incident: that it is theirs, or that it is wrong.

use super::{Out, Tenant};
use events::{EventId, IncidentId, IncidentKind, IncidentState, Time};
use serde::Serialize;

/// What a person ordered about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Given {
    pub(super) heard: Time,
    pub(super) event: EventId,
    pub(super) by: String,
    pub(super) wrong: bool,
}

impl Tenant {
    /// Does what was ordered, if the incident is not over.
    pub(super) fn obey(&mut self, id: IncidentId, given: &Given, out: &mut Out) {
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
}
