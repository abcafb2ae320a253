//! What becomes of those that a root had cut off, when the word that they are back never comes.

use crate::town::{Town, branch};
use events::*;

/// The longest that a router may take over a roll call, and the way to its being asked.
const ROLL_CALL_MS: i64 = 20_000;
/// What a netwatch entry of 30 s may take to notice a change.
const NETWATCH_MS: i64 = 60_000;

/// A branch with a station on its sector too, and a subscriber who is known by a session.
fn one_of_each(town: &mut Town) {
    let mut subscriber = town.node("subscriber", Tier::Subscriber, &["sector"]);
    subscriber.seen_by = Some(town.id("tower"));
    subscriber.address = None;
    subscriber.claims = vec![ClaimKey(uuid::Uuid::from_u128(7))];
    let mut station = town.node("station", Tier::Station, &["sector"]);
    station.seen_by = Some(town.id("tower"));
    branch(town, vec![subscriber, station]);
    town.pass(60_000);
}

/// Time goes on second by second until a child is up; what is asked meanwhile is answered at once.
fn waits_ms(town: &mut Town, child: &str, most_ms: i64) -> i64 {
    let from = town.now;
    while town.health(child) != Some(Health::Up) && town.now.ms_since(from) <= most_ms {
        town.pass(1_000);
        town.answer(&[]);
    }
    town.now.ms_since(from)
}

#[test]
fn a_child_below_a_recovered_sector_whose_word_was_lost_is_settled_by_a_roll_call() {
    for child in ["subscriber", "station"] {
        let mut town = Town::new();
        one_of_each(&mut town);
        town.claim("sector", Claim::Down);
        town.answer(&["sector"]);
        assert_eq!(town.health(child), Some(Health::Impacted));
        town.pass(300_000);
        town.answer(&["sector"]);
        town.pass(10_000);
        let before = town.roll_calls();
        town.claim("sector", Claim::Up);
        town.answer(&[]);
        let waited = waits_ms(&mut town, child, 400_000);
        assert!(waited <= ROLL_CALL_MS, "{child} waited {waited} ms");
        assert_eq!(town.roll_calls() - before, 1, "{child}");
    }
}

#[test]
fn a_child_that_comes_back_later_than_its_sector_is_settled_by_a_second_roll_call() {
    let mut town = Town::new();
    one_of_each(&mut town);
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    town.pass(300_000);
    town.answer(&["sector", "station"]);
    town.pass(10_000);
    let before = town.roll_calls();
    town.claim("sector", Claim::Up);
    town.answer(&["station"]);
    assert_eq!(town.health("station"), Some(Health::Impacted), "its router has not seen it yet");
    let waited = waits_ms(&mut town, "station", 400_000);
    assert!(waited <= NETWATCH_MS + ROLL_CALL_MS, "{waited}");
    assert_eq!(
        town.roll_calls() - before,
        2,
        "one at once and one when its router has had the time to see it"
    );
}

#[test]
fn a_child_that_stays_away_is_asked_for_twice_and_then_walked_when_the_hold_is_over() {
    let mut town = Town::new();
    one_of_each(&mut town);
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    town.pass(300_000);
    town.answer(&["sector", "station"]);
    town.pass(10_000);
    let before = town.roll_calls();
    town.claim("sector", Claim::Up);
    for _ in 0..280 {
        town.answer(&["station"]);
        town.pass(1_000);
    }
    assert_eq!(town.health("station"), Some(Health::Impacted));
    assert_eq!(town.roll_calls() - before, 2);
    for _ in 0..60 {
        town.pass(1_000);
        town.answer(&["station"]);
    }
    assert_eq!(town.health("station"), Some(Health::Down));
}

/// A claim of a moment when the outage was over is news; one from before may tell of nothing else than that.
#[test]
fn a_claim_ends_the_waiting_of_whoever_recovers_when_it_can_be_no_word_of_the_outage() {
    for (child, lag_ms) in [("station", NETWATCH_MS), ("subscriber", 2 * NETWATCH_MS)] {
        for claimed_ms in [5_000, lag_ms + 30_000] {
            for dead in [true, false] {
                let mut town = Town::new();
                one_of_each(&mut town);
                town.claim("sector", Claim::Down);
                town.answer(&["sector"]);
                town.pass(300_000);
                town.answer(&["sector", child]);
                town.claim("sector", Claim::Up);
                town.answer(&[child]);
                let back = town.now;
                let passes = |town: &mut Town, until_ms: i64, dead: &[&str]| {
                    while town.now < back.plus_ms(until_ms) {
                        town.pass(1_000);
                        town.answer(dead);
                    }
                };
                passes(&mut town, claimed_ms, &[child]);
                town.claim(child, Claim::Down);
                passes(&mut town, lag_ms.max(claimed_ms) - 4_000, &[child]);
                assert_eq!(town.health(child), Some(Health::Impacted), "{child} {claimed_ms}: too early");
                let silent: &[&str] = if dead { &[child] } else { &[] };
                passes(&mut town, lag_ms.max(claimed_ms) + 20_000, silent);
                let expected = if dead { Health::Down } else { Health::Up };
                assert_eq!(town.health(child), Some(expected), "{child} {claimed_ms}");
            }
        }
    }
}

#[test]
fn children_of_a_router_below_the_root_are_settled_by_one_roll_call() {
    let mut town = Town::new();
    one_of_each(&mut town);
    town.claim("tower", Claim::Down);
    town.answer(&["core", "tower"]);
    assert_eq!(town.health("core"), Some(Health::Down));
    assert_eq!(town.health("station"), Some(Health::Impacted));
    town.pass(300_000);
    town.answer(&["core", "tower"]);
    let before = town.roll_calls();
    town.replied("core");
    town.answer(&[]);
    town.replied("tower");
    town.answer(&[]);
    for child in ["subscriber", "station"] {
        let waited = waits_ms(&mut town, child, 400_000);
        assert!(waited <= ROLL_CALL_MS, "{child} waited {waited} ms");
    }
    assert!(town.roll_calls() - before <= 2);
}

#[test]
fn what_comes_back_long_after_the_root_has_a_hold_of_its_own_for_those_below_it() {
    let mut town = Town::new();
    one_of_each(&mut town);
    town.claim("tower", Claim::Down);
    town.answer(&["core", "tower"]);
    town.pass(300_000);
    town.answer(&["core", "tower"]);
    town.replied("core");
    town.answer(&["tower", "subscriber"]);
    let passes = |town: &mut Town, seconds: i64, dead: &[&str]| {
        for _ in 0..seconds {
            town.pass(1_000);
            town.answer(dead);
        }
    };
    passes(&mut town, 270, &["tower", "subscriber"]);
    assert_eq!((town.health("core"), town.health("tower")), (Some(Health::Up), Some(Health::Impacted)));
    town.replied("tower");
    town.answer(&["subscriber"]);
    passes(&mut town, 90, &["subscriber"]);
    assert_eq!((town.health("tower"), town.health("subscriber")), (Some(Health::Up), Some(Health::Impacted)));
    passes(&mut town, 230, &["subscriber"]);
    assert_eq!(town.health("subscriber"), Some(Health::Down));
}

#[test]
fn a_router_that_has_just_booted_is_asked_again_when_it_is_no_longer_blind() {
    let mut town = Town::new();
    let policy = Policy { blind_after_boot_ms: 120_000, recover_hold_ms: 600_000, ..Policy::default() };
    town.hear(Fact::Inventory(Inventory::Policy(policy)));
    one_of_each(&mut town);
    town.claim("tower", Claim::Down);
    town.answer(&["tower"]);
    assert_eq!(town.health("station"), Some(Health::Impacted));
    town.pass(300_000);
    town.answer(&["tower"]);
    let before = town.roll_calls();
    town.uptime_ms = 20_000;
    town.replied("tower");
    let booted = town.now.plus_ms(-20_000);
    // It has not begun to look: what it is asked about it does not know.
    town.answer(&["subscriber", "station"]);
    for _ in 0..200 {
        town.uptime_ms = town.now.ms_since(booted) as u64;
        let blind = town.uptime_ms < 120_000;
        town.pass(1_000);
        town.answer(if blind { &["subscriber", "station"] } else { &[] });
    }
    assert_eq!((town.health("subscriber"), town.health("station")), (Some(Health::Up), Some(Health::Up)));
    assert_eq!(town.roll_calls() - before, 2);
}

#[test]
fn a_report_that_it_works_is_not_believed_because_of_a_look_from_just_before_it() {
    let mut town = Town::new();
    one_of_each(&mut town);
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    // It is looked at again, in vain; a moment later somebody says that it works, who is wrong.
    town.pass(300_000);
    town.answer(&["sector"]);
    town.now = town.now.plus_ms(1_000);
    let before = town.log.len();
    town.claim("sector", Claim::Up);
    for _ in 0..10 {
        town.answer(&["sector"]);
        town.pass(1_000);
    }
    let said = town.log[before..].iter().filter(|heard| match &heard.fact {
        Fact::Health(said) => said.now.node == town.id("sector") && said.kind == HealthKind::Changed,
        _ => false,
    });
    assert_eq!(said.count(), 0, "it was down and is");
    assert_eq!(town.health("sector"), Some(Health::Down));
    town.claim("sector", Claim::Up);
    for _ in 0..5 {
        town.answer(&[]);
        town.pass(1_000);
    }
    assert_eq!(town.health("sector"), Some(Health::Up));
}

#[test]
fn whoever_is_not_back_with_its_root_is_said_to_recover_until_it_is_heard_of() {
    let mut town = Town::new();
    one_of_each(&mut town);
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    town.pass(300_000);
    town.answer(&["sector", "station"]);
    let stands = |town: &Town, name: &str| (town.health(name), town.flags(name).to_vec());
    assert_eq!(stands(&town, "station"), (Some(Health::Impacted), vec![]));
    town.claim("sector", Claim::Up);
    for _ in 0..20 {
        town.answer(&["station"]);
        town.pass(1_000);
    }
    assert_eq!(stands(&town, "station"), (Some(Health::Impacted), vec![Flag::Recovering]));
    assert_eq!(stands(&town, "subscriber"), (Some(Health::Up), vec![]), "it came back with its root");
    let noted = town.log.iter().filter(|heard| match &heard.fact {
        Fact::Health(said) => said.now.flags.contains(&Flag::Recovering) && said.now.asked.is_empty(),
        _ => false,
    });
    assert_eq!(noted.count(), 1, "it is said once");
    town.claim("sector", Claim::Down);
    town.answer(&["sector", "station"]);
    assert_eq!(stands(&town, "station"), (Some(Health::Impacted), vec![]), "it is cut off again");
    town.pass(60_000);
    town.answer(&["sector", "station"]);
    town.claim("sector", Claim::Up);
    let waited = waits_ms(&mut town, "station", 400_000);
    assert!(waited <= ROLL_CALL_MS, "{waited}");
    assert_eq!(stands(&town, "station"), (Some(Health::Up), vec![]));
}

/// A look of six seconds that was answered after its router had been found silent had to wait for its turn, and tells of
/// the router after that. What is heard later than it can have waited was late on its way.
#[test]
fn an_answer_that_is_later_than_it_can_have_waited_proves_no_later_moment() {
    for (asked_before_ms, health) in [(5_500, Health::Up), (9_000, Health::Down)] {
        let mut town = Town::new();
        branch(&mut town, vec![]);
        town.pass(60_000);
        town.claim("tower", Claim::Down);
        town.answer(&["tower", "sector", "subscriber"]);
        assert_eq!(town.health("tower"), Some(Health::Down));
        let answer = |town: &mut Town, name: &str, via, asked_before_ms: i64, outcome| {
            let asked_at = Some(town.now.plus_ms(-asked_before_ms));
            let (ask, target) = (Some(AskId::of(EventId::default(), town.id(name), 0)), town.id(name));
            town.hear(Fact::Answer(Answer { ask, asked_at, target, via, outcome, pop: "main".into() }));
            town.decide();
        };
        town.pass(4_000);
        answer(&mut town, "tower", Vantage::Direct, 2_000, Outcome::Silent { tries: 3, last: true });
        town.pass(500);
        let through = Vantage::Through(town.id("tower"));
        answer(&mut town, "sector", through, asked_before_ms, Outcome::Replied { rtt_us: 900 });
        assert_eq!(town.health("tower"), Some(health), "asked {asked_before_ms} ms before");
    }
}
