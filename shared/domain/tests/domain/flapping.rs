//! What goes down again and again is told once, until it is steady.

use crate::town::{Town, branch};
use events::*;
use proptest::{collection::vec, prelude::*};

const MINUTE_MS: i64 = 60_000;

fn town() -> Town {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    wait(&mut town, 60_000, &[]);
    town
}

/// Time goes on in steps; what is asked meanwhile is answered.
fn wait(town: &mut Town, ms: i64, dead: &[&str]) {
    let until = town.now.plus_ms(ms);
    while town.now < until {
        town.pass(until.ms_since(town.now).min(10_000));
        town.answer(dead);
    }
}

/// It goes down, and comes back after a while.
fn goes_down(town: &mut Town, name: &str, for_ms: i64) {
    town.claim(name, Claim::Down);
    town.answer(&[name]);
    assert_eq!(town.health(name), Some(Health::Down));
    wait(town, for_ms, &[name]);
    town.claim(name, Claim::Up);
    town.answer(&[]);
    assert_eq!(town.health(name), Some(Health::Up));
}

fn is_flapping(town: &Town, name: &str) -> bool {
    town.flags(name).contains(&Flag::Flapping)
}

fn phases(town: &Town) -> Vec<Phase> {
    let said = town.log.iter().filter_map(|heard| match &heard.fact {
        Fact::Notice(said) if said.kind == NoticeKind::Addressed => Some(said.now.phase),
        _ => None,
    });
    said.collect()
}

#[test]
fn what_goes_down_every_minute_is_told_to_flap_once_and_resolved_once_it_is_steady() {
    let mut town = town();
    for _ in 0..10 {
        goes_down(&mut town, "sector", 25_000);
        wait(&mut town, 25_000, &[]);
    }
    assert!(is_flapping(&town, "sector"));
    assert_eq!(phases(&town), [Phase::Opened, Phase::Changed]);
    let told = town.notices().pop().unwrap();
    assert!(told.contains("sector is flapping"), "{told}");
    let story = town.incident().timeline;
    assert_eq!(story.iter().filter(|line| line.what.contains("flap")).count(), 1, "{story:?}");
    assert!(story.len() < 10, "{story:?}");

    // The hold alone does not end it.
    wait(&mut town, 10 * MINUTE_MS, &[]);
    assert_eq!(phases(&town), [Phase::Opened, Phase::Changed]);
    assert_eq!(town.incident().state, IncidentState::Recovering);
    wait(&mut town, 55 * MINUTE_MS, &[]);
    assert!(!is_flapping(&town, "sector"));
    assert_eq!(phases(&town), [Phase::Opened, Phase::Changed, Phase::Resolved]);
    assert_eq!(town.incidents().iter().filter(|(kind, _)| *kind == IncidentKind::Opened).count(), 1);
}

#[test]
fn what_goes_down_twice_a_day_is_not_flapping() {
    let mut town = town();
    for _ in 0..6 {
        goes_down(&mut town, "sector", 3 * MINUTE_MS);
        assert!(!is_flapping(&town, "sector"));
        town.pass(12 * 60 * MINUTE_MS);
        town.answer(&[]);
    }
    assert_eq!(phases(&town), [Phase::Opened, Phase::Resolved].repeat(6));
}

#[test]
fn what_stays_down_is_flapping_no_longer_and_is_resolved_with_the_hold() {
    let mut town = town();
    for _ in 0..4 {
        goes_down(&mut town, "sector", 25_000);
        wait(&mut town, 25_000, &[]);
    }
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    assert!(is_flapping(&town, "sector"));
    wait(&mut town, 70 * MINUTE_MS, &["sector"]);
    assert!(!is_flapping(&town, "sector"));
    assert_eq!(town.health("sector"), Some(Health::Down));
    assert!(town.incident().roots.iter().all(|root| root.down && !root.flapping));
    town.claim("sector", Claim::Up);
    town.answer(&[]);
    wait(&mut town, 2 * MINUTE_MS, &[]);
    assert_eq!(phases(&town), [Phase::Opened, Phase::Changed, Phase::Resolved]);
}

#[test]
fn those_cut_off_by_what_flaps_are_not_flapping_themselves() {
    let mut town = town();
    for _ in 0..6 {
        goes_down(&mut town, "tower", 25_000);
        wait(&mut town, 25_000, &[]);
    }
    assert!(is_flapping(&town, "tower"));
    assert!(!is_flapping(&town, "sector"));
    let subscriber = town.diagnosis.health_of(town.tenant, town.id("subscriber")).unwrap();
    assert_eq!((subscriber.penalty, subscriber.flags.len()), (None, 0));
}

/// What is remembered of flapping is said: whoever reads only the last word about each node knows as much.
#[test]
fn a_start_knows_who_is_flapping_and_until_when() {
    let mut town = town();
    for _ in 0..4 {
        goes_down(&mut town, "sector", 25_000);
        wait(&mut town, 25_000, &[]);
    }
    let mut loaded = domain::Diagnosis::default();
    let inventory = |heard: &&Heard| matches!(heard.fact.noun(), Noun::Inventory | Noun::Revision);
    for heard in town.log.iter().filter(inventory) {
        loaded.recall(heard);
    }
    for heard in town.log.iter().filter(|heard| matches!(heard.fact, Fact::Health(_) | Fact::Suspicion(_))) {
        let Heard { id, tenant, at, fact, .. } = heard.clone();
        loaded.apply(&Say { id, tenant, at, cause: None, fact });
    }
    for heard in &town.log {
        let recent = heard.heard > town.now.plus_ms(-RECALL_MS);
        if recent && domain::Diagnosis::HEARS.contains(&heard.fact.noun()) {
            loaded.recall(heard);
        }
    }
    town.diagnosis = loaded;
    wait(&mut town, 70 * MINUTE_MS, &[]);
    assert!(!is_flapping(&town, "sector"));
    assert_eq!(phases(&town), [Phase::Opened, Phase::Changed, Phase::Resolved]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// However often it goes down, as long as it never stays up for the hold time: one incident.
    #[test]
    fn any_number_of_edges_within_the_hold_is_one_incident_told_at_most_three_times(
        edges in vec((5_000_i64..120_000, 1_000_i64..50_000), 1..30),
    ) {
        let mut town = town();
        for (down_ms, up_ms) in &edges {
            goes_down(&mut town, "sector", *down_ms);
            wait(&mut town, *up_ms, &[]);
        }
        wait(&mut town, 70 * MINUTE_MS, &[]);
        let told = phases(&town);
        let all = [Phase::Opened, Phase::Changed, Phase::Resolved];
        let few = [Phase::Opened, Phase::Resolved];
        prop_assert!(told == all || (told == few && edges.len() <= 3), "{told:?} of {} edges", edges.len());
    }

    /// And when it does stay up a little longer in between: at most two are told before it is known to flap.
    #[test]
    fn what_fails_every_few_minutes_is_known_to_flap_by_its_third_failure(
        edges in vec((5_000_i64..60_000, 1_000_i64..360_000), 3..20),
    ) {
        let mut town = town();
        for (down_ms, up_ms) in &edges {
            goes_down(&mut town, "sector", *down_ms);
            wait(&mut town, *up_ms, &[]);
        }
        wait(&mut town, 70 * MINUTE_MS, &[]);
        let told = phases(&town);
        let count = |phase| told.iter().filter(|p| **p == phase).count();
        prop_assert!(count(Phase::Opened) <= 3, "{told:?}");
        prop_assert!(count(Phase::Changed) <= 1, "{told:?}");
        prop_assert_eq!(count(Phase::Resolved), count(Phase::Opened));
    }
}
