//! Who is told of an incident, and in what words.

use crate::impact::counted;
use events::{Audience, Evidence, EvidenceKind, Incident, IncidentClass, IncidentState, RootCause, Tier};
use std::fmt::Write;

/// Who is told: engineers of core and site, technicians of sectors and shared stations, nobody of a
/// single subscriber (support sees it on its dashboard).
pub const fn audience_of(tier: Tier) -> Option<Audience> {
    match tier {
        Tier::Core | Tier::Site => Some(Audience::Engineers),
        Tier::Sector | Tier::Station => Some(Audience::Technicians),
        Tier::Subscriber => None,
    }
}

/// Whether anybody is to be told at all: not while every root is in maintenance.
pub fn is_loud(incident: &Incident) -> bool {
    incident.roots.iter().any(|r| !r.quiet)
}

fn clock(time: events::Time) -> String {
    let text = time.to_string();
    text.get(11..19).map_or(text.clone(), |t| format!("{t} UTC"))
}

fn why(root: &RootCause) -> String {
    let sure = match root.confidence {
        0 => "undetermined".to_owned(),
        percent => format!("confidence {percent} %"),
    };
    format!("{}: {}; {sure}", root.name, reasons(&root.evidence))
}

fn reasons(evidence: &[Evidence]) -> String {
    let mut reasons = Vec::new();
    for e in evidence {
        let reason = match e.kind {
            EvidenceKind::SilentTry => format!("{} unanswered", counted(e.count, "probe")),
            EvidenceKind::DownClaim => format!("{} below it say they are down", counted(e.count, "node")),
            EvidenceKind::ClaimedDown => "it was reported down".to_owned(),
            EvidenceKind::RouterSaysDown => "its router sees it down".to_owned(),
            EvidenceKind::SupplyAlive => "everything it needs answers".to_owned(),
            EvidenceKind::SessionLost => {
                format!("{} below it lost their sessions", counted(e.count, "subscriber"))
            }
            EvidenceKind::ReferencesSilent if e.count == 1 => {
                "its only reference does not answer it".to_owned()
            }
            EvidenceKind::ReferencesSilent => format!("none of its {} references answers it", e.count),
            EvidenceKind::PollerSilent => {
                format!("nothing was heard of who works there for {}", counted(e.count, "minute"))
            }
            EvidenceKind::SiteDevicesDown => {
                format!("{} there went down with nothing above to explain it", counted(e.count, "device"))
            }
            EvidenceKind::SameMoment => "in the same moment".to_owned(),
            EvidenceKind::SiteSilent => format!("none at work of the {} there", counted(e.count, "device")),
            EvidenceKind::Undetermined => {
                let by = e.settled_by.as_ref().map(|name| format!("; a look at {name} would settle it"));
                format!("the cause could not be determined{}", by.unwrap_or_default())
            }
        };
        // What weighs nothing is no reason for being sure.
        reasons.push(if e.weight == 0 { reason } else { format!("{reason} ({})", e.weight) });
    }
    reasons.join(", ")
}

/// The text under the title: where, who is cut off, why we think so.
pub fn text_of(incident: &Incident) -> String {
    let mut text = String::new();
    let mut line = |s: &str| {
        text.push_str(s);
        text.push('\n');
    };
    if let Some(site) = &incident.site_name {
        let address = incident.site_address.as_ref().map(|a| format!(", {a}")).unwrap_or_default();
        line(&format!("Where: {site}{address}"));
    }
    line(&format!("Since: {}", clock(incident.opened_at)));
    match incident.state {
        IncidentState::Resolved => {
            let end = incident.ended_at.map(clock).unwrap_or_default();
            line(&format!(
                "Over: {end}{}",
                incident.ended_because.as_ref().map(|b| format!(" ({b})")).unwrap_or_default()
            ));
        }
        IncidentState::Closed => line(incident.ended_because.as_deref().unwrap_or("Closed")),
        IncidentState::Open | IncidentState::Recovering | IncidentState::Merged => {}
    }
    let impact = &incident.impact;
    let mut tiers = String::new();
    for (tier, n) in &impact.by_tier {
        let name = match tier {
            Tier::Core => "core router",
            Tier::Site => "site router",
            Tier::Sector => "sector",
            Tier::Station => "station",
            Tier::Subscriber => "subscriber",
        };
        let _ = write!(tiers, "{}{}", if tiers.is_empty() { "" } else { ", " }, counted(*n, name));
    }
    let effect =
        if incident.class == IncidentClass::SessionsLost { "Lost their sessions" } else { "Cut off" };
    match &incident.blind {
        Some(blind) => line(&format!(
            "Not known meanwhile: {}, which it watches; none of them is said to be down because it is silent",
            counted(blind.targets, "device")
        )),
        None => line(&format!("{effect}: {}", if tiers.is_empty() { "nothing" } else { &tiers })),
    }
    let largest = impact.largest_sites.iter().take(5);
    let sites: Vec<String> =
        largest.map(|s| format!("{} ({})", s.name, counted(s.subscribers, "subscriber"))).collect();
    if !sites.is_empty() {
        line(&format!("Most at: {}", sites.join(", ")));
    }
    for root in incident.roots.iter().take(5) {
        let role = match (root.subscribers_below, root.primary) {
            (Some(_), _) => "Below",
            (None, true) => "Cause",
            (None, false) => "Contributing",
        };
        let quiet = if root.quiet { " [in maintenance]" } else { "" };
        line(&format!("{role}{quiet}: {}", why(root)));
    }
    if let Some(guess) = &incident.site_hypothesis {
        let (site, why) = (&guess.name, reasons(&guess.evidence));
        line(&format!(
            "Perhaps: {site} as a whole, its power for one; {why}; confidence {} %",
            guess.confidence
        ));
    }
    for root in incident.roots.iter().filter(|r| r.flapping).take(5) {
        line(&format!(
            "Flapping: {} goes down again and again; no more is said until it is steady",
            root.name
        ));
    }
    if let Some(owner) = &incident.owner {
        let ticket = owner.ticket_url.as_ref().map(|t| format!(", {t}")).unwrap_or_default();
        line(&format!("Account: {}{ticket}", owner.account));
    }
    text
}
