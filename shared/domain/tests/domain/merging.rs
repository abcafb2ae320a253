//! What people are told of an incident that turns out to be part of another.

use crate::town::{Town, tree};
use events::*;

/// What was said last of the notice of a phase about an incident.
fn last_word(town: &Town, incident: IncidentId, phase: Phase) -> Option<(NoticeKind, NoticeId)> {
    let said = town.log.iter().rev().find_map(|heard| match &heard.fact {
        Fact::Notice(said) if said.now.incident == incident && said.now.phase == phase => Some(said),
        _ => None,
    })?;
    Some((said.kind, said.now.id))
}

fn left(town: &mut Town, notice: NoticeId) {
    let now = Delivery { notice, attempts: 1, answer: None, possibly_repeated: false };
    for kind in [DeliveryKind::Attempted, DeliveryKind::Delivered] {
        town.hear(Fact::Delivery(DeliverySaid { kind, now: now.clone() }));
    }
}

/// One tower is down and told of, and the sayer of notices has not heard that it left when the core turns out to be
/// down: what was withdrawn too late was a beginning all the same, and what follows is an update.
#[test]
fn whoever_was_told_in_the_moment_of_the_withdrawal_is_told_of_no_second_beginning() {
    for has_left in [false, true] {
        let mut town = Town::new();
        tree(&mut town);
        town.pass(60_000);
        for tower in ["tower-1", "tower-0"] {
            town.claim(tower, Claim::Down);
            town.answer(&["tower-0", "tower-1"]);
        }
        let lower = town.incident().id;
        let (_, opened) = last_word(&town, lower, Phase::Opened).expect("it was told");
        let upper = IncidentId::of(EventId::default());
        let is_part = Incident { state: IncidentState::Merged, merged_into: Some(upper), ..town.incident() };
        let carrier = Incident { id: upper, ..town.incident() };
        town.hear(Fact::Incident(IncidentSaid { kind: IncidentKind::Merged, now: is_part }));
        town.decide();
        let (kind, _) = last_word(&town, lower, Phase::Opened).expect("it was withdrawn");
        assert_eq!(kind, NoticeKind::Withdrawn);
        if has_left {
            left(&mut town, opened);
        }
        town.hear(Fact::Incident(IncidentSaid { kind: IncidentKind::Opened, now: carrier }));
        town.decide();
        let told = |phase| last_word(&town, upper, phase).is_some();
        assert_eq!((told(Phase::Opened), told(Phase::Changed)), (!has_left, has_left));
    }
}

#[test]
fn what_is_said_once_more_of_a_merged_incident_is_withdrawn_if_it_has_not_left() {
    for has_left in [false, true] {
        let mut town = Town::new();
        tree(&mut town);
        town.pass(60_000);
        town.claim("tower-1", Claim::Down);
        town.answer(&["tower-1"]);
        let upper = town.incident().id;
        town.claim("tower-0", Claim::Down);
        town.answer(&["tower-0", "tower-1"]);
        let lower = town.incident().id;
        let (_, opened) = last_word(&town, lower, Phase::Opened).expect("it was told");
        left(&mut town, opened);
        for _ in 0..16 {
            town.pass(60_000);
            town.answer(&["tower-0", "tower-1"]);
        }
        let (kind, escalated) = last_word(&town, lower, Phase::Escalated).expect("nobody has taken it");
        assert_eq!(kind, NoticeKind::Addressed);
        if has_left {
            left(&mut town, escalated);
        }
        // The core that both towers need is found to be down: they are one incident.
        let now = NodeHealth {
            health: Health::Down,
            since: town.now,
            ..town.diagnosis.health_of(town.tenant, town.id("core")).expect("it was up").clone()
        };
        town.hear(Fact::Health(HealthSaid { kind: HealthKind::Changed, now }));
        town.decide();
        let merged = town.incidents().into_iter().filter(|(kind, _)| *kind == IncidentKind::Merged);
        let merged: Vec<_> = merged.map(|(_, i)| (i.id, i.merged_into)).collect();
        assert_eq!(merged, [(lower, Some(upper))]);
        let (kind, id) = last_word(&town, lower, Phase::Escalated).expect("it was said once more");
        let expected = if has_left { NoticeKind::Addressed } else { NoticeKind::Withdrawn };
        assert_eq!((kind, id), (expected, escalated));
    }
}
