//! Before sessions are said to have been lost together their router's table is read, and that once.

use crate::town::{Town, hear_alive};
use events::*;

/// A roll call is waited for so long.
const ROLL_CALL_MS: i64 = 20_000;
const SUBSCRIBERS: usize = 20;

/// A core, a tower, and on it a sector with twenty subscribers who are known by their sessions.
fn town() -> Town {
    let mut town = Town::new();
    let mut nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
    ];
    for n in 0..SUBSCRIBERS {
        let mut subscriber = town.node(&format!("sub-{n}"), Tier::Subscriber, &["sector"]);
        subscriber.seen_by = Some(town.id("tower"));
        subscriber.address = None;
        subscriber.claims = vec![ClaimKey(uuid::Uuid::from_u128(n as u128 + 1))];
        nodes.push(subscriber);
    }
    town.lay(nodes);
    hear_alive(&mut town, &["core", "tower"]);
    wait(&mut town, 60_000, &[]);
    town
}

fn wait(town: &mut Town, ms: i64, dead: &[&str]) {
    let until = town.now.plus_ms(ms);
    while town.now < until {
        town.pass(until.ms_since(town.now).min(1_000));
        town.answer(dead);
    }
}

/// One of them goes, and its router says so.
fn falls(town: &mut Town, name: &str, gone: &[&str]) {
    town.claim(name, Claim::Down);
    town.answer(gone);
    assert_eq!(town.health(name), Some(Health::Down));
    wait(town, 5_000, gone);
}

#[test]
fn who_is_back_and_was_not_heard_of_makes_no_crowd_with_those_who_are_gone() {
    let mut town = town();
    let before = town.roll_calls();
    for name in ["sub-0", "sub-1", "sub-2"] {
        falls(&mut town, name, &["sub-0", "sub-1", "sub-2"]);
    }
    // The word that two are back is lost.
    for name in ["sub-3", "sub-4"] {
        falls(&mut town, name, &["sub-0", "sub-3", "sub-4"]);
    }
    assert_eq!(town.notices(), [""; 0]);
    assert_eq!((town.health("sub-1"), town.health("sub-3")), (Some(Health::Up), Some(Health::Down)));
    assert_eq!(town.roll_calls() - before, 1);
    let gone = ["sub-0", "sub-3", "sub-4", "sub-5", "sub-6"];
    for name in ["sub-5", "sub-6"] {
        falls(&mut town, name, &gone);
    }
    assert_eq!(
        town.notices(),
        ["Opened: 5 of 20 subscribers below sector lost their sessions; sector itself answers"]
    );
    assert_eq!(town.roll_calls() - before, 2, "the second crowd is another suspicion");
}

#[test]
fn a_table_that_does_not_come_is_waited_for_until_the_deadline_of_the_question() {
    let mut town = town();
    town.answers_roll_calls = false;
    let before = town.roll_calls();
    let gone = ["sub-0", "sub-1", "sub-2", "sub-3", "sub-4"];
    for name in &gone[..4] {
        falls(&mut town, name, &gone);
    }
    town.claim("sub-4", Claim::Down);
    town.answer(&gone);
    let fell = town.now;
    while town.notices().is_empty() && town.now.ms_since(fell) < 10 * ROLL_CALL_MS {
        wait(&mut town, 1_000, &gone);
    }
    let waited = town.now.ms_since(fell);
    assert!((1_000..=ROLL_CALL_MS + 1_000).contains(&waited), "{waited} ms");
    wait(&mut town, 120_000, &gone);
    assert_eq!(town.notices().len(), 1);
    assert_eq!(town.roll_calls() - before, 1, "it is asked once");
}

#[test]
fn those_whom_one_roll_call_settled_are_not_looked_up_again() {
    let mut town = town();
    let before = town.roll_calls();
    let names: Vec<String> = (0..12).map(|n| format!("sub-{n}")).collect();
    let gone: Vec<&str> = names.iter().map(String::as_str).collect();
    gone.iter().for_each(|name| town.claim(name, Claim::Down));
    town.answer(&gone);
    let told = town.notices();
    assert_eq!(
        told,
        ["Opened: 12 of 20 subscribers below sector lost their sessions; sector itself answers"]
    );
    assert_eq!(town.roll_calls() - before, 1);
}
