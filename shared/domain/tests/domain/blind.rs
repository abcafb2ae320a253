//! A point of presence that sees nothing beyond itself is said to be blind, once, and nobody is down because of it.

use crate::town::{Town, branch};
use events::*;
use proptest::prelude::*;

fn view(town: &Town, sees: bool, slots: &[u16]) -> Fact {
    Fact::View(View { pop: "main".into(), sees, slots: slots.to_vec(), since: town.now, references: 3 })
}

fn all_slots() -> Vec<u16> {
    (0..SLOTS).collect()
}

/// The point of presence says how it sees, in these slots.
fn sees(town: &mut Town, sees: bool, slots: &[u16]) {
    let view = view(town, sees, slots);
    town.hear(view);
    town.decide();
}

fn kinds(town: &Town) -> Vec<IncidentKind> {
    town.incidents().iter().map(|(kind, _)| *kind).collect()
}

#[test]
fn one_is_told_when_it_is_blind_and_once_when_it_sees_again() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    sees(&mut town, false, &all_slots());
    let incident = town.incident();
    assert_eq!(
        (incident.class, incident.urgency, incident.tier),
        (IncidentClass::Blind, Urgency::Urgent, Tier::Core)
    );
    assert_eq!(incident.title, "Point of presence main sees nothing beyond itself: 2 devices not watched");
    assert_eq!(incident.blind.as_ref().unwrap().targets, 2, "the core and the tower are watched");
    assert_eq!(town.notices(), [format!("Opened: {}", incident.title)]);
    let text = domain::route::text_of(&incident);
    assert!(
        text.contains("none of its 3 references answers it (100)")
            && text.contains("Not known meanwhile: 2 devices"),
        "{text}"
    );

    // What it found out in vain meanwhile is evidence of nothing.
    for name in ["core", "tower"] {
        let (target, outcome) = (town.id(name), Outcome::Unanswered { why: "blind".into() });
        let pop = "main".to_owned();
        town.hear(Fact::Answer(Answer {
            ask: None,
            asked_at: None,
            target,
            via: Vantage::Direct,
            outcome,
            pop,
        }));
    }
    for _ in 0..4 {
        town.pass(60_000);
        sees(&mut town, false, &all_slots());
    }
    assert_eq!(kinds(&town), [IncidentKind::Opened], "said again every minute, it is no news");

    sees(&mut town, true, &all_slots());
    assert_eq!(town.incident().state, IncidentState::Recovering);
    town.pass(600_000);
    assert_eq!(town.incident().state, IncidentState::Resolved);
    assert_eq!(town.notices().len(), 2, "{:?}", town.notices());
    assert_ne!(town.health("core"), Some(Health::Down));
}

#[test]
fn it_is_one_incident_until_the_last_of_its_replicas_sees() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    let (low, high): (Vec<u16>, Vec<u16>) = all_slots().into_iter().partition(|slot| *slot < SLOTS / 2);
    sees(&mut town, false, &low);
    sees(&mut town, false, &high);
    sees(&mut town, true, &low);
    assert_eq!(town.incident().state, IncidentState::Open);
    assert_eq!(town.incident().blind.unwrap().slots, high);
    sees(&mut town, true, &high);
    // Within the hold it is blind again: the same incident.
    town.pass(10_000);
    sees(&mut town, false, &low);
    assert_eq!(kinds(&town).last(), Some(&IncidentKind::Relapsed));
    sees(&mut town, true, &low);
    town.pass(600_000);
    let ids: std::collections::BTreeSet<_> = town.incidents().iter().map(|(_, i)| i.id).collect();
    assert_eq!((ids.len(), town.incident().state), (1, IncidentState::Resolved));
    assert_eq!(town.notices().len(), 2, "{:?}", town.notices());
}

#[test]
fn beside_it_what_is_known_to_be_broken_is_an_incident_of_its_own() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    let slot = slot_of(town.id("core"));
    sees(&mut town, false, &[slot]);
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    let open: Vec<IncidentClass> = town.incidents().iter().map(|(_, i)| i.class).collect();
    assert!(open.contains(&IncidentClass::Blind) && open.contains(&IncidentClass::Outage), "{open:?}");
    assert_eq!(town.health("sector"), Some(Health::Down));
}

#[test]
fn closed_by_a_person_it_is_not_opened_again_by_the_same_blindness() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    sees(&mut town, false, &all_slots());
    let order = Order::CloseAsWrong { incident: town.incident().id };
    town.hear(Fact::Order(OrderSaid { id: OrderId::default(), order, by: "somebody".into() }));
    town.decide();
    town.pass(60_000);
    sees(&mut town, false, &all_slots());
    assert_eq!(kinds(&town), [IncidentKind::Opened, IncidentKind::Closed]);
    sees(&mut town, true, &all_slots());
    town.pass(600_000);
    sees(&mut town, false, &all_slots());
    assert_eq!(
        kinds(&town).iter().filter(|kind| **kind == IncidentKind::Opened).count(),
        2,
        "this is another one"
    );
}

#[test]
fn a_point_of_presence_of_which_nothing_is_heard_is_told_of_once_until_it_is_heard_of() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    for _ in 0..4 {
        sees(&mut town, true, &all_slots());
        town.pass(SEEN_AGAIN_MS as i64);
    }
    assert_eq!(kinds(&town), [], "said every five minutes, it is there");
    town.pass(7 * 60_000);
    assert_eq!(kinds(&town), [], "twelve minutes may be two words that were lost");
    town.pass(60_000);
    let incident = town.incident();
    assert_eq!((incident.class, incident.urgency), (IncidentClass::Blind, Urgency::Urgent));
    assert_eq!(incident.title, "Point of presence main is not heard of any more: 2 devices not watched");
    let text = domain::route::text_of(&incident);
    assert!(text.contains("nothing was heard of who works there for 12 minutes (100)"), "{text}");
    // Who is loaded anew says the same of it, had it not been said.
    let mut anew = domain::Correlation::default();
    let none_said = town.log.iter().filter(|heard| heard.fact.noun() != Noun::Incident);
    none_said.for_each(|heard| events::Decide::recall(&mut anew, heard));
    let said = events::Decide::decide(&mut anew, town.now, 900).said;
    assert!(matches!(&said[0].fact, Fact::Incident(again) if again.now.id == incident.id), "{said:?}");
    for _ in 0..5 {
        town.pass(10 * 60_000);
    }
    assert_eq!(kinds(&town), [IncidentKind::Opened]);
    sees(&mut town, true, &all_slots());
    assert_eq!(town.incident().state, IncidentState::Recovering);
    sees(&mut town, true, &all_slots());
    town.pass(600_000);
    assert_eq!(town.incident().state, IncidentState::Resolved);
    let told =
        town.notices().iter().map(|title| title.split(':').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(told, ["Opened", "Escalated", "Resolved"], "nobody took it within the hour");
}

#[test]
fn of_a_slot_in_which_nothing_is_watched_or_that_another_works_on_nothing_need_be_heard() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    let watched = [slot_of(town.id("core")), slot_of(town.id("tower"))];
    let idle: Vec<u16> = all_slots().into_iter().filter(|slot| !watched.contains(slot)).collect();
    sees(&mut town, true, &idle);
    sees(&mut town, true, &watched);
    town.pass(SEEN_AGAIN_MS as i64);
    let north =
        View { pop: "north".into(), sees: true, slots: watched.to_vec(), since: town.now, references: 0 };
    for _ in 0..4 {
        town.hear(Fact::View(north.clone()));
        town.decide();
        town.pass(SEEN_AGAIN_MS as i64);
    }
    assert_eq!(kinds(&town), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is said in whatever order: it is open exactly while a slot was last said to be blind, and a decider that
    /// is loaded anew believes the same.
    #[test]
    fn it_stands_open_while_any_slot_is_blind(words in prop::collection::vec((any::<bool>(), 0_u16..8, 0_i64..400), 1..40)) {
        let mut town = Town::new();
        branch(&mut town, vec![]);
        let mut blind = std::collections::BTreeSet::new();
        for (now_sees, slot, later_s) in words {
            town.pass(later_s * 1_000);
            sees(&mut town, now_sees, &[slot]);
            if now_sees { blind.remove(&slot); } else { blind.insert(slot); }
            let state = town.incidents().pop().map(|(_, i)| (i.state, i.blind.unwrap().slots));
            match state {
                Some((IncidentState::Open, slots)) => {
                    prop_assert_eq!(slots, blind.iter().copied().collect::<Vec<_>>());
                    prop_assert!(!blind.is_empty());
                }
                Some((IncidentState::Recovering | IncidentState::Resolved, _)) | None => prop_assert!(blind.is_empty()),
                Some(other) => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(town.correlation_anew().decide(town.now, 900).said.is_empty(), "nothing is said twice after a restart");
        }
    }
}
