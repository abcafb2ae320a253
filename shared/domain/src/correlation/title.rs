//! An incident in one line, as people read it first.

use super::Tenant;
use crate::impact::{counted, grouped};
use events::{EvidenceKind, Incident, IncidentClass, RootCause};

impl Tenant {
    /// The title of an incident as it stands.
    pub(super) fn title_of(&self, incident: &Incident) -> String {
        if let Some(blind) = &incident.blind {
            let devices = counted(blind.targets, "device");
            let is_silent =
                |root: &RootCause| root.evidence.iter().any(|e| e.kind == EvidenceKind::PollerSilent);
            let what = if incident.roots.iter().any(is_silent) {
                "is not heard of any more"
            } else {
                "sees nothing beyond itself"
            };
            return format!("Point of presence {} {what}: {devices} not watched", blind.pop);
        }
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

/// " at Mill Hill", unless the name says it.
fn place_of(incident: &Incident, root: &RootCause) -> String {
    let named = |site: &&String| !root.name.contains(site.as_str());
    incident.site_name.as_ref().filter(named).map(|s| format!(" at {s}")).unwrap_or_default()
}
