//! Many subscribers below one living node that lose their sessions together are an incident of their own.

use crate::town::{Town, group, hear_alive, tree};
use events::*;
use std::collections::BTreeSet;

const MINUTE_MS: i64 = 60_000;

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("sub-{n}")).collect()
}

/// A core, a tower, and on it a sector with so many subscribers and a second one with twenty more.
fn town(subscribers: usize) -> Town {
    let mut town = Town::new();
    let mut nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
        town.node("other", Tier::Sector, &["tower"]),
    ];
    let below = names(0..subscribers).into_iter().map(|name| (name, "sector"));
    let others = (0..20).map(|n| (format!("other-{n}"), "other"));
    for (name, sector) in below.chain(others) {
        let mut subscriber = town.node(&name, Tier::Subscriber, &[sector]);
        subscriber.seen_by = Some(town.id("tower"));
        nodes.push(subscriber);
    }
    town.lay(nodes);
    hear_alive(&mut town, &["core", "tower"]);
    wait(&mut town, 2 * MINUTE_MS, &[]);
    town
}

fn dead(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Time goes on in steps; what is asked meanwhile is answered.
fn wait(town: &mut Town, ms: i64, dead: &[&str]) {
    let until = town.now.plus_ms(ms);
    while town.now < until {
        town.pass(until.ms_since(town.now).min(10_000));
        town.answer(dead);
    }
}

/// These lose their sessions at once; `gone` are away already.
fn lose(town: &mut Town, these: &[String], gone: &[&str]) {
    these.iter().for_each(|name| town.claim(name, Claim::Down));
    let mut all = dead(these);
    all.extend(gone);
    town.answer(&all);
}

fn come_back(town: &mut Town, these: &[String], gone: &[&str]) {
    these.iter().for_each(|name| town.claim(name, Claim::Up));
    town.answer(gone);
}

fn of_sessions(town: &Town) -> Vec<(IncidentKind, Incident)> {
    let incidents = town.incidents().into_iter();
    incidents.filter(|(_, i)| i.class == IncidentClass::SessionsLost).collect()
}

fn phases(town: &Town) -> Vec<(Phase, Audience)> {
    let said = town.log.iter().filter_map(|heard| match &heard.fact {
        Fact::Notice(said) if said.kind == NoticeKind::Addressed => Some((said.now.phase, said.now.audience)),
        _ => None,
    });
    said.collect()
}

/// Who is named as having lost a session below a node, in the last word of it.
fn named(town: &Town, node: &str) -> Vec<NodeId> {
    let lost = town.log.iter().rev().find_map(|heard| match &heard.fact {
        Fact::Health(said) if said.now.node == town.id(node) => Some(said.now.sessions_lost.clone()),
        _ => None,
    });
    lost.flatten().map(|lost| lost.who).unwrap_or_default()
}

#[test]
fn who_lost_a_session_is_named_and_of_many_a_hundred() {
    for (all, lost, expected) in [(20, 7, 7), (300, 130, 100)] {
        let mut town = town(all);
        lose(&mut town, &names(0..lost), &[]);
        let named = named(&town, "sector");
        let ids: BTreeSet<NodeId> = names(0..lost).iter().map(|name| town.id(name)).collect();
        assert!(named.iter().all(|node| ids.contains(node)), "{named:?}");
        assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), expected);
        assert!(town.incident().impact.subscribers as usize >= expected);
    }
}

#[test]
fn five_of_twenty_are_an_incident_and_four_are_none() {
    let mut few = town(20);
    lose(&mut few, &names(0..4), &[]);
    wait(&mut few, 5 * MINUTE_MS, &dead(&names(0..4)));
    assert!(names(0..4).iter().all(|name| few.health(name) == Some(Health::Down)));
    assert_eq!((few.incidents().len(), few.notices().len()), (0, 0));

    let mut many = town(20);
    lose(&mut many, &names(0..5), &[]);
    wait(&mut many, 5 * MINUTE_MS, &dead(&names(0..5)));
    assert_eq!(
        many.notices(),
        ["Opened: 5 of 20 subscribers below sector lost their sessions; sector itself answers"]
    );
    assert_eq!(phases(&many), [(Phase::Opened, Audience::Technicians)]);
    assert_eq!(many.health("sector"), Some(Health::Up));
    let incident = many.incident();
    let [root] = incident.roots.as_slice() else { panic!("{:?}", incident.roots) };
    assert_eq!((root.node, root.down, root.subscribers_below), (many.id("sector"), true, Some(20)));
    assert_eq!(
        (root.confidence, root.evidence[0].kind, root.evidence[0].count),
        (100, EvidenceKind::SessionLost, 5)
    );
    assert_eq!((incident.impact.subscribers, incident.impact.observed), (5, 5));
    let told = many.log.iter().find_map(|heard| match &heard.fact {
        Fact::Notice(said) => Some(said.now.text.clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert!(
        told.contains("Lost their sessions: 5 subscribers\nBelow: sector: 5 subscribers below it"),
        "{told}"
    );
}

#[test]
fn of_a_hundred_it_takes_twenty() {
    let mut few = town(100);
    lose(&mut few, &names(0..19), &[]);
    wait(&mut few, 5 * MINUTE_MS, &dead(&names(0..19)));
    assert_eq!(few.incidents().len(), 0);

    let mut many = town(100);
    lose(&mut many, &names(0..20), &[]);
    assert_eq!(
        many.incident().title,
        "20 of 100 subscribers below sector lost their sessions; sector itself answers"
    );
}

#[test]
fn those_who_fall_further_apart_than_two_minutes_are_no_incident() {
    for (apart_ms, opened) in [(25_000, 1), (40_000, 0)] {
        let mut town = town(20);
        let began = town.now;
        for n in 0..5 {
            let due = began.plus_ms(n as i64 * apart_ms).ms_since(town.now);
            wait(&mut town, due, &dead(&names(0..n)));
            lose(&mut town, &names(n..n + 1), &dead(&names(0..n)));
        }
        assert!(names(0..5).iter().all(|name| town.health(name) == Some(Health::Down)));
        assert_eq!(of_sessions(&town).len(), opened, "{apart_ms} ms apart");
    }
}

#[test]
fn below_a_dead_parent_there_is_one_outage_instead() {
    let mut town = town(20);
    let mut gone = vec!["sector"];
    let below = names(0..20);
    gone.extend(dead(&below));
    below.iter().for_each(|name| town.claim(name, Claim::Down));
    town.answer(&gone);
    wait(&mut town, 5 * MINUTE_MS, &gone);
    assert_eq!(of_sessions(&town).len(), 0);
    assert_eq!(town.notices().len(), 1);
    assert!(town.notices()[0].starts_with("Opened: sector is down"), "{:?}", town.notices());
}

#[test]
fn it_is_told_once_grows_quietly_and_is_resolved_once_when_they_are_back_for_the_hold() {
    let mut town = town(20);
    for n in 0..12 {
        lose(&mut town, &names(n..n + 1), &dead(&names(0..n)));
        town.pass(3_000);
    }
    assert_eq!(town.incident().impact.subscribers, 10, "it is said again when they are twice as many");
    wait(&mut town, 5 * MINUTE_MS, &dead(&names(0..12)));
    come_back(&mut town, &names(0..7), &dead(&names(7..12)));
    assert_eq!(town.incident().state, IncidentState::Open, "five are still gone");
    come_back(&mut town, &names(7..8), &dead(&names(8..12)));
    assert_eq!(town.incident().state, IncidentState::Recovering);
    wait(&mut town, 5 * MINUTE_MS, &dead(&names(8..12)));
    assert_eq!(town.incident().state, IncidentState::Resolved);
    let (technicians, opened) = (Audience::Technicians, of_sessions(&town).remove(0).1);
    assert_eq!(phases(&town), [(Phase::Opened, technicians), (Phase::Resolved, technicians)]);
    assert!(of_sessions(&town).iter().all(|(_, i)| i.id == opened.id));
}

#[test]
fn a_crowd_of_two_sectors_is_an_incident_of_what_both_need() {
    let mut town = town(5);
    let these: Vec<String> = names(0..3).into_iter().chain((0..2).map(|n| format!("other-{n}"))).collect();
    lose(&mut town, &these, &[]);
    assert_eq!(
        town.notices(),
        ["Opened: 5 of 25 subscribers below tower lost their sessions; tower itself answers"]
    );
    assert_eq!(phases(&town), [(Phase::Opened, Audience::Engineers)]);
    // What was said first stays: the sector alone would have enough now.
    lose(&mut town, &names(3..5), &dead(&these));
    wait(&mut town, MINUTE_MS, &dead(&[these, names(3..5)].concat()));
    assert_eq!(town.notices().len(), 1);
}

#[test]
fn when_the_parent_turns_out_dead_the_incident_becomes_that_outage() {
    let mut town = town(20);
    lose(&mut town, &names(0..6), &[]);
    let id = town.incident().id;
    let below = names(0..20);
    let mut gone = vec!["sector"];
    gone.extend(dead(&below));
    wait(&mut town, 30_000, &dead(&below[..6]));
    town.claim("sector", Claim::Down);
    town.answer(&gone);
    let incident = town.incident();
    assert_eq!((incident.id, incident.class, incident.impact.subscribers), (id, IncidentClass::Outage, 20));
    wait(&mut town, 3 * MINUTE_MS, &gone);
    town.claim("sector", Claim::Up);
    come_back(&mut town, &below, &[]);
    wait(&mut town, 10 * MINUTE_MS, &[]);
    let told: Vec<Phase> = phases(&town).into_iter().map(|(phase, _)| phase).collect();
    assert_eq!(told, [Phase::Opened, Phase::Changed, Phase::Resolved]);
    assert!(town.notices()[1].contains("sector is down"), "{:?}", town.notices());
}

#[test]
fn when_something_above_turns_out_dead_it_is_part_of_that() {
    let mut town = town(20);
    lose(&mut town, &names(0..6), &[]);
    let id = town.incident().id;
    let below = names(0..20);
    let mut gone = vec!["tower"];
    gone.extend(dead(&below[..6]));
    wait(&mut town, 30_000, &dead(&below[..6]));
    town.claim("sector", Claim::Down);
    town.answer(&gone);
    let merged = of_sessions(&town).pop().unwrap();
    assert_eq!((merged.0, merged.1.id, merged.1.state), (IncidentKind::Merged, id, IncidentState::Merged));
    town.pass(MINUTE_MS);
    town.replied("tower");
    town.answer(&[]);
    come_back(&mut town, &below, &[]);
    wait(&mut town, 10 * MINUTE_MS, &[]);
    let told = phases(&town);
    let count = |phase| told.iter().filter(|(p, _)| *p == phase).count();
    assert_eq!(count(Phase::Opened), 2, "the sessions to technicians, the tower to engineers: {told:?}");
    assert!(!town.incidents().iter().any(|(kind, i)| *kind == IncidentKind::Resolved && i.id == id));
}

#[test]
fn when_something_between_turns_out_dead_it_is_part_of_that() {
    let mut town = town(5);
    let these: Vec<String> = names(0..3).into_iter().chain((0..2).map(|n| format!("other-{n}"))).collect();
    lose(&mut town, &these, &[]);
    assert_eq!(town.incident().roots[0].node, town.id("tower"));
    wait(&mut town, 30_000, &dead(&these));
    let mut gone = vec!["sector"];
    gone.extend(dead(&these));
    town.claim("sector", Claim::Down);
    town.answer(&gone);
    let merged = of_sessions(&town).pop().unwrap().1;
    let outage = town.incidents().into_iter().find(|(_, i)| i.class == IncidentClass::Outage).unwrap().1;
    assert_eq!((merged.state, merged.merged_into), (IncidentState::Merged, Some(outage.id)));
}

/// Those who are always away are found so after every outage.
#[test]
fn whoever_was_gone_before_an_outage_is_not_lost_after_it() {
    let mut town = town(20);
    let away = names(0..8);
    for n in 0..8 {
        lose(&mut town, &names(n..n + 1), &dead(&names(0..n)));
        wait(&mut town, 2 * MINUTE_MS, &dead(&names(0..n + 1)));
    }
    assert_eq!(town.incidents().len(), 0);
    let mut gone = vec!["sector"];
    gone.extend(dead(&away));
    town.claim("sector", Claim::Down);
    town.answer(&gone);
    assert!(away.iter().all(|name| town.health(name) == Some(Health::Impacted)));
    wait(&mut town, 3 * MINUTE_MS, &gone);
    town.claim("sector", Claim::Up);
    town.answer(&dead(&away));
    wait(&mut town, 20 * MINUTE_MS, &dead(&away));
    assert!(away.iter().all(|name| town.health(name) == Some(Health::Down)));
    assert_eq!(of_sessions(&town).len(), 0);
}

/// A round of the poller's own finds it silent to the end, and the look that follows finds it alive.
fn away_for_seconds(town: &mut Town, name: &str) {
    is_silent(town, name, 3);
    wait(town, 5_000, &[]);
    assert_eq!(town.health(name), Some(Health::Up));
}

/// So many tries of the poller's own round, of three, go unanswered.
fn is_silent(town: &mut Town, name: &str, tries: u8) {
    let (target, outcome) = (town.id(name), Outcome::Silent { tries, last: tries == 3 });
    let answer =
        Answer { ask: None, asked_at: None, target, via: Vantage::Direct, outcome, pop: "main".into() };
    town.hear(Fact::Answer(answer));
}

/// One try may be lost of what was there; of two in turn the second says that it was away.
#[test]
fn sessions_that_went_with_what_missed_two_tries_are_no_incident_and_with_one_they_are() {
    for (tries, opened) in [(1, 1), (2, 0)] {
        let mut town = town(20);
        is_silent(&mut town, "tower", tries);
        town.replied("tower");
        town.decide();
        lose(&mut town, &names(0..8), &[]);
        wait(&mut town, 5 * MINUTE_MS, &dead(&names(0..8)));
        assert_eq!(town.health("tower"), Some(Health::Up));
        assert_eq!(of_sessions(&town).len(), opened, "{tries} tries");
    }
}

/// A tower that is away for seconds leaves a table without sessions behind: nobody knows of an outage that took them.
#[test]
fn sessions_that_went_with_what_was_away_for_seconds_are_no_incident_and_later_ones_are() {
    for (away, after_ms, opened) in [
        ("tower", 10_000, 0),
        ("tower", 100_000, 0),
        ("sector", 10_000, 0),
        ("other", 10_000, 1),
        ("tower", 180_000, 1),
    ] {
        let mut town = town(20);
        away_for_seconds(&mut town, away);
        wait(&mut town, after_ms, &[]);
        lose(&mut town, &names(0..8), &[]);
        wait(&mut town, 5 * MINUTE_MS, &dead(&names(0..8)));
        assert!(names(0..8).iter().all(|name| town.health(name) == Some(Health::Down)));
        assert_eq!(of_sessions(&town).len(), opened, "{away}, {after_ms} ms before");
    }
}

/// What was away while another did its work took nobody's session.
#[test]
fn what_was_away_beside_another_way_up_excuses_nothing() {
    for (both, opened) in [(false, 1), (true, 0)] {
        let mut town = Town::new();
        let mut nodes = vec![town.node("core", Tier::Core, &[])];
        nodes.extend(["link-0", "link-1"].map(|name| town.node(name, Tier::Sector, &["core"])));
        let mut sector = town.node("sector", Tier::Sector, &["core"]);
        sector.needs = vec![group(GroupMode::Any, &[town.id("link-0"), town.id("link-1")])];
        nodes.push(sector);
        for name in names(0..20) {
            let mut subscriber = town.node(&name, Tier::Subscriber, &["sector"]);
            subscriber.seen_by = Some(town.id("core"));
            nodes.push(subscriber);
        }
        town.lay(nodes);
        hear_alive(&mut town, &["core"]);
        wait(&mut town, 2 * MINUTE_MS, &[]);
        away_for_seconds(&mut town, "link-0");
        if both {
            away_for_seconds(&mut town, "link-1");
        }
        lose(&mut town, &names(0..8), &[]);
        wait(&mut town, 5 * MINUTE_MS, &dead(&names(0..8)));
        assert_eq!(of_sessions(&town).len(), opened, "both away: {both}");
    }
}

#[test]
fn a_storm_in_any_order_below_a_dead_core_is_one_outage() {
    for turn in 0..7 {
        let mut town = Town::new();
        tree(&mut town);
        wait(&mut town, 2 * MINUTE_MS, &[]);
        let mut subscribers: Vec<String> =
            (0..30).map(|n| format!("sub-{}{}{}", n / 15, n / 5 % 3, n % 5)).collect();
        subscribers.rotate_left(turn * 4);
        let mut gone = vec!["core", "tower-0", "tower-1"];
        gone.extend(dead(&subscribers));
        for piece in subscribers.chunks(turn + 1) {
            piece.iter().for_each(|name| town.claim(name, Claim::Down));
            town.answer(&gone);
        }
        wait(&mut town, 5 * MINUTE_MS, &gone);
        assert_eq!(of_sessions(&town).len(), 0);
        assert_eq!(town.notices().len(), 1, "{:?}", town.notices());
    }
}

/// Closed by a person, it does not begin again while they are gone.
#[test]
fn closed_as_wrong_it_stays_closed() {
    let mut town = town(20);
    lose(&mut town, &names(0..6), &[]);
    let order = Order::CloseAsWrong { incident: town.incident().id };
    town.hear(Fact::Order(OrderSaid { id: OrderId::default(), order, by: "somebody".into() }));
    town.decide();
    assert_eq!(town.incident().state, IncidentState::Closed);
    lose(&mut town, &names(6..12), &dead(&names(0..6)));
    wait(&mut town, 20 * MINUTE_MS, &dead(&names(0..12)));
    come_back(&mut town, &names(0..12), &[]);
    wait(&mut town, 5 * MINUTE_MS, &[]);
    let opened = of_sessions(&town).into_iter().filter(|(kind, _)| *kind == IncidentKind::Opened);
    assert_eq!(opened.count(), 1);
    assert_eq!(phases(&town).len(), 2);
}

/// A decider that starts now, from what was said and what was heard lately.
fn started<D: Decide + Default>(town: &Town) -> D {
    let mut loaded = D::default();
    for heard in &town.log {
        if matches!(heard.fact.noun(), Noun::Inventory | Noun::Part | Noun::Revision) {
            loaded.recall(heard);
        }
    }
    for heard in town.log.iter().filter(|heard| D::SAYS.contains(&heard.fact.noun())) {
        let Heard { id, tenant, at, fact, .. } = heard.clone();
        loaded.apply(&Say { id, tenant, at, cause: None, fact });
    }
    for heard in &town.log {
        if heard.heard > town.now.plus_ms(-RECALL_MS) && D::HEARS.contains(&heard.fact.noun()) {
            loaded.recall(heard);
        }
    }
    loaded
}

#[test]
fn a_start_in_the_middle_tells_the_same() {
    let told = |starts: bool| {
        let mut town = town(20);
        let again = |town: &mut Town| {
            if starts {
                town.diagnosis = started(town);
                town.correlation = started(town);
                town.announcing = started(town);
            }
        };
        for n in 0..7 {
            lose(&mut town, &names(n..n + 1), &dead(&names(0..n)));
            again(&mut town);
            wait(&mut town, 10_000, &dead(&names(0..n + 1)));
        }
        wait(&mut town, 20 * MINUTE_MS, &dead(&names(0..7)));
        again(&mut town);
        wait(&mut town, 20 * MINUTE_MS, &dead(&names(0..7)));
        for n in 0..7 {
            come_back(&mut town, &names(n..n + 1), &dead(&names(n + 1..7)));
            again(&mut town);
        }
        wait(&mut town, 5 * MINUTE_MS, &[]);
        (town.notices(), town.incident().state, of_sessions(&town).len())
    };
    let (notices, state, said) = told(true);
    assert_eq!((notices.len(), state), (2, IncidentState::Resolved));
    assert_eq!((notices, state, said), told(false));
}
