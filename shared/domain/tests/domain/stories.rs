//! Small outages told from beginning to end, through all three deciders.

use crate::town::{Town, branch, group, hear_alive, tree};
use events::*;

#[test]
fn what_is_seen_by_a_router_is_learned_by_one_roll_call() {
    let mut town = Town::new();
    tree(&mut town);
    assert_eq!(town.health("sub-124"), Some(Health::Up));
    assert_eq!(town.health("sector-00"), Some(Health::Up));
    assert!(town.notices().is_empty());
}

/// So many minutes, second by second; whatever is asked is answered, and every router heard of now and then.
fn minutes(town: &mut Town, count: usize) {
    for second in 0..count * 60 {
        town.pass(1_000);
        if second % 300 == 0 {
            ["core", "tower-0", "tower-1"].iter().for_each(|router| town.replied(router));
        }
        town.answer(&[]);
    }
}

/// A poller that has just begun, or a router on which nothing is installed yet, tells nothing of who is there: that must
/// not be the last time that it is asked. Found by a busy machine: of what is unknown nobody said anything more.
#[test]
fn a_router_whose_roll_call_is_not_answered_is_asked_again_until_all_it_sees_is_known() {
    let mut town = Town::new();
    town.answers_roll_calls = false;
    tree(&mut town);
    minutes(&mut town, 20);
    assert_ne!(town.health("sub-124"), Some(Health::Up));
    // Each of two towers at once, after 1, 3, 7 and 15 minutes, three times each.
    assert_eq!(town.roll_calls(), 2 * 5 * 3);
    town.answers_roll_calls = true;
    minutes(&mut town, 12);
    for name in ["sector-00", "sub-124", "sub-000"] {
        assert_eq!(town.health(name), Some(Health::Up), "{name}");
    }
    let asked = town.roll_calls();
    minutes(&mut town, 120);
    assert_eq!(town.roll_calls(), asked, "everything is known");
    assert!(town.notices().is_empty());
}

#[test]
fn a_router_that_has_nothing_to_tell_of_somebody_is_asked_ever_more_rarely() {
    let mut town = Town::new();
    town.roll_calls_tell = false;
    tree(&mut town);
    minutes(&mut town, 180);
    // Each of two towers at once, and after 1, 3, 7, 15, 31, 63 and 127 minutes.
    assert_eq!(town.roll_calls(), 2 * 8);
    assert_ne!(town.health("sub-124"), Some(Health::Up));
}

#[test]
fn whose_walk_ended_with_unknown_is_known_again_a_minute_later() {
    let mut town = Town::new();
    tree(&mut town);
    minutes(&mut town, 60);
    town.claim("sub-124", Claim::Down);
    for _ in 0..40 {
        // Nobody answers.
        town.pass(1_000);
        town.asks.clear();
    }
    assert_eq!(town.health("sub-124"), Some(Health::Unknown));
    minutes(&mut town, 2);
    assert_eq!(town.health("sub-124"), Some(Health::Up));
}

#[test]
fn a_dead_core_is_told_once_and_its_children_are_impacted() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    for t in 0..2 {
        for s in 0..3 {
            for c in 0..5 {
                town.claim(&format!("sub-{t}{s}{c}"), Claim::Down);
            }
        }
    }
    let dead = ["core", "tower-0", "tower-1"];
    town.answer(&dead);
    assert_eq!(town.health("core"), Some(Health::Down));
    assert_eq!(town.health("tower-0"), Some(Health::Impacted));
    assert_eq!(town.health("sub-124"), Some(Health::Impacted));
    assert_eq!(town.notices(), ["Opened: core is down: 0 sites, 30 subscribers"]);
}

#[test]
fn a_recovered_core_is_resolved_once_and_silent_children_are_asked_for() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    for c in 0..5 {
        town.claim(&format!("sub-00{c}"), Claim::Down);
    }
    town.answer(&["core", "tower-0", "tower-1"]);
    town.pass(120_000);
    town.answer(&["core", "tower-0", "tower-1"]);
    town.replied("core");
    town.answer(&[]);
    assert_eq!(town.health("core"), Some(Health::Up));
    assert_eq!(town.health("tower-0"), Some(Health::Up));
    assert_eq!(town.health("sub-124"), Some(Health::Up));
    town.pass(120_000);
    assert_eq!(
        town.notices(),
        [
            "Opened: core is down: 0 sites, 30 subscribers",
            "Resolved: Resolved: core is down: 0 sites, 30 subscribers"
        ]
    );
}

#[test]
fn a_child_is_down_itself_when_its_parents_answer() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    town.claim("sector-01", Claim::Down);
    town.answer(&["sector-01"]);
    assert_eq!(town.health("sector-01"), Some(Health::Down));
    assert_eq!(town.health("sub-010"), Some(Health::Impacted));
    assert_eq!(town.health("tower-0"), Some(Health::Up));
    assert_eq!(town.notices(), ["Opened: sector-01 is down: 0 sites, 5 subscribers"]);
}

#[test]
fn a_claim_that_a_look_refutes_says_nothing() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    town.claim("sub-000", Claim::Down);
    town.answer(&[]);
    assert_eq!(town.health("sub-000"), Some(Health::Up));
    assert!(town.notices().is_empty());
}

/// A core, two aggregation routers below it, an access sector that needs either, three subscribers.
fn two_uplinks(town: &mut Town) {
    let mut access = town.node("access", Tier::Sector, &["core"]);
    access.needs = vec![group(GroupMode::Any, &[town.id("agg-1"), town.id("agg-2")])];
    let mut nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("agg-1", Tier::Site, &["core"]),
        town.node("agg-2", Tier::Site, &["core"]),
        access,
    ];
    for c in 0..3 {
        let mut sub = town.node(&format!("sub-{c}"), Tier::Subscriber, &["access"]);
        sub.seen_by = Some(town.id("core"));
        nodes.push(sub);
    }
    town.lay(nodes);
    hear_alive(town, &["core", "agg-1", "agg-2"]);
    town.pass(60_000);
}

#[test]
fn a_lost_leg_is_a_loss_of_redundancy_and_an_access_failure_alerts_normally() {
    let mut town = Town::new();
    two_uplinks(&mut town);
    town.claim("agg-1", Claim::Down);
    town.answer(&["agg-1"]);
    assert_eq!(town.health("access"), Some(Health::Up));
    assert_eq!(
        town.notices(),
        ["Opened: agg-1 is down: nothing is cut off, 1 node would be by one more failure"]
    );
    town.claim("access", Claim::Down);
    town.answer(&["agg-1", "access"]);
    assert_eq!(town.health("access"), Some(Health::Down));
    assert_eq!(town.health("sub-0"), Some(Health::Impacted));
    assert_eq!(town.notices().last().unwrap(), "Opened: access is down: 0 sites, 3 subscribers");
}

#[test]
fn when_both_legs_are_lost_the_access_below_is_impacted_by_both() {
    let mut town = Town::new();
    two_uplinks(&mut town);
    town.claim("agg-1", Claim::Down);
    town.answer(&["agg-1"]);
    town.claim("agg-2", Claim::Down);
    town.answer(&["agg-1", "agg-2", "access"]);
    town.answer(&["agg-1", "agg-2", "access"]);
    assert_eq!(town.health("access"), Some(Health::Impacted));
    let incident = town.incident();
    assert_eq!(incident.roots.iter().filter(|r| r.down).count(), 2, "{incident:?}");
    assert!(incident.roots.iter().all(|r| r.primary), "either leg alone would restore it");
    assert_eq!(incident.class, IncidentClass::Outage);
    assert_eq!(incident.impact.subscribers, 3);
    assert!(incident.roots.iter().all(|r| !r.evidence.is_empty()));
    let told: Vec<String> = town.notices();
    assert_eq!(
        told.iter().filter(|n| n.starts_with("Opened")).count(),
        1,
        "one incident, told once: {told:?}"
    );
}

#[test]
fn two_things_that_are_both_needed_contribute_and_neither_is_primary() {
    let mut town = Town::new();
    let mut tower = town.node("tower", Tier::Site, &["core"]);
    tower.needs = vec![group(GroupMode::All, &[town.id("core"), town.id("upstream")])];
    let mut sector = town.node("sector", Tier::Sector, &["tower"]);
    sector.seen_by = Some(town.id("tower"));
    town.lay(vec![town.node("core", Tier::Core, &[]), town.node("upstream", Tier::Core, &[]), tower, sector]);
    hear_alive(&mut town, &["core", "upstream", "tower"]);
    town.pass(60_000);
    town.claim("core", Claim::Down);
    town.claim("upstream", Claim::Down);
    town.answer(&["core", "upstream", "tower"]);
    let incident = town.incident();
    assert_eq!(incident.roots.len(), 2);
    assert!(incident.roots.iter().all(|r| !r.primary), "repairing one alone restores nothing: {incident:?}");
    assert_eq!(town.health("sector"), Some(Health::Impacted));
}

#[test]
fn maintenance_is_quiet_and_does_not_hide_an_unrelated_failure_below_it() {
    let mut town = Town::new();
    let window =
        Window { from: Time::EPOCH, until: Time::from_ms(1_900_000_000_000), reason: "new mast".into() };
    let mut quiet = town.node("sector-a", Tier::Sector, &["core"]);
    quiet.maintenance = vec![window];
    let nodes =
        vec![town.node("core", Tier::Core, &[]), quiet, town.node("sector-b", Tier::Sector, &["core"])];
    town.lay(nodes);
    hear_alive(&mut town, &["core"]);
    town.pass(60_000);
    town.claim("sector-a", Claim::Down);
    town.answer(&["sector-a"]);
    assert_eq!(town.health("sector-a"), Some(Health::Down), "believed, and not hidden");
    assert!(town.notices().is_empty(), "nobody is told of what is being worked on");
    town.claim("sector-b", Claim::Down);
    town.answer(&["sector-a", "sector-b"]);
    assert_eq!(town.notices(), ["Opened: sector-b is down: nothing else is cut off"]);
}

#[test]
fn a_failure_five_levels_down_names_the_dead_node_at_level_two() {
    let mut town = Town::new();
    let names = ["l1", "l2", "l3", "l4", "l5"];
    let mut nodes = vec![town.node("l1", Tier::Core, &[])];
    for pair in names.windows(2) {
        nodes.push(town.node(pair[1], Tier::Site, &[pair[0]]));
    }
    town.lay(nodes);
    hear_alive(&mut town, &names);
    town.pass(60_000);
    let before = town.asked();
    town.claim("l5", Claim::Down);
    town.answer(&["l2", "l3", "l4", "l5"]);
    assert!(town.asked() - before <= names.len(), "at most as many probes as there are levels");
    assert_eq!(town.health("l1"), Some(Health::Up));
    assert_eq!(town.health("l2"), Some(Health::Down));
    for below in ["l3", "l4", "l5"] {
        assert_eq!(town.health(below), Some(Health::Impacted), "{below}");
    }
    assert_eq!(town.notices().len(), 1);
}

#[test]
fn a_claim_that_comes_late_revises_the_cause_and_the_story_keeps_both() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    town.claim("sector-00", Claim::Down);
    town.answer(&["sector-00"]);
    town.pass(10_000);
    town.claim("tower-0", Claim::Down);
    town.answer(&["tower-0", "sector-00"]);
    let opened = town.incidents().first().expect("an incident was opened").1.clone();
    let now = town.incident();
    assert!(opened.title.contains("sector-00"), "{}", opened.title);
    assert_eq!(now.id, opened.id, "its id comes from the first verdict and never changes");
    let roots: Vec<&str> = now.roots.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(roots, ["tower-0"]);
    let story: Vec<&str> = now.timeline.iter().map(|line| line.what.as_str()).collect();
    assert!(story.iter().any(|line| line.contains("tower-0 is down too")), "{story:?}");
    assert!(story.iter().any(|line| line.contains("sector-00: explained by a higher cause")), "{story:?}");
    let opened_notices = town.notices().iter().filter(|n| n.starts_with("Opened")).count();
    assert_eq!(opened_notices, 2, "technicians of the sector, engineers of the tower: {:?}", town.notices());
}

#[test]
fn what_is_said_again_before_it_expires_is_no_news_to_anybody() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    town.claim("sector-01", Claim::Down);
    town.answer(&["sector-01"]);
    let before = (town.notices(), town.incidents().len());
    let beliefs = |town: &Town| {
        let names = ["core", "tower-0", "sector-01", "sub-010", "sub-124"];
        names.map(|name| town.diagnosis.health_of(town.tenant, town.id(name)).cloned())
    };
    let believed = beliefs(&town);
    let said: Vec<Say> = town
        .log
        .iter()
        .filter(|heard| matches!(heard.fact, Fact::Health(_)))
        .map(|h| Say { id: h.id, tenant: h.tenant, at: h.at, cause: None, fact: h.fact.clone() })
        .collect();
    // The last word about each node, as the log has it.
    let mut last: std::collections::BTreeMap<NodeId, Say> = Default::default();
    for say in said {
        let Fact::Health(health) = &say.fact else { continue };
        last.insert(health.now.node, say.clone());
    }
    assert!(last.len() > 30);
    for say in last.into_values() {
        let fact = town.diagnosis.restate(&say).expect("it still holds");
        let again = Say { id: EventId::following(say.id, "diagnostician", "restated"), fact, ..say };
        town.diagnosis.apply(&again);
        let (seq, now) = (town.seq + 1, town.now);
        town.seq = seq;
        town.put(Heard {
            seq,
            id: again.id,
            tenant: again.tenant,
            heard: now,
            at: again.at,
            fact: again.fact,
        });
    }
    town.decide();
    assert_eq!(beliefs(&town), believed);
    town.pass(60_000);
    town.answer(&["sector-01"]);
    assert_eq!((town.notices(), town.incidents().len()), (before.0, before.1));
}

/// The core is seen alive when the silence of the tower begins and after its last try, and was away for what lies
/// between: that explains the tower, so both are looked at once more.
#[test]
fn what_was_silent_while_the_core_was_away_is_looked_at_once_more() {
    for (was_away, stays_silent, health) in
        [(false, true, Health::Down), (true, true, Health::Down), (true, false, Health::Up)]
    {
        let mut town = Town::new();
        branch(&mut town, vec![]);
        town.pass(60_000);
        town.claim("tower", Claim::Down);
        town.decide();
        let began = town.now;
        let answer = |town: &mut Town, name: &str, asked_after_ms: i64, outcome| {
            let asked_at = Some(began.plus_ms(asked_after_ms));
            let (ask, target) = (Some(AskId::of(EventId::default(), town.id(name), 0)), town.id(name));
            let via = Vantage::Direct;
            town.hear(Fact::Answer(Answer { ask, asked_at, target, via, outcome, pop: "main".into() }));
        };
        answer(&mut town, "core", 0, Outcome::Replied { rtt_us: 900 });
        town.decide();
        town.asks.clear();
        town.now = began.plus_ms(2_200);
        answer(&mut town, "tower", 0, Outcome::Silent { tries: 3, last: true });
        if was_away {
            answer(&mut town, "core", 100, Outcome::Silent { tries: 2, last: false });
        }
        answer(&mut town, "core", 2_100, Outcome::Replied { rtt_us: 900 });
        town.decide();
        let at_once = if was_away { Health::Up } else { Health::Down };
        assert_eq!(town.health("tower"), Some(at_once), "away {was_away}");
        town.answer(if stays_silent { &["tower"] } else { &[] });
        assert_eq!(town.health("tower"), Some(health), "away {was_away}, silent {stays_silent}");
        assert_eq!(town.health("core"), Some(Health::Up));
    }
}

/// What is found silent while nobody could look at what it needs is down at the bound; but what broke it is not known, and the
/// next look that would tell is named.
#[test]
fn where_nothing_could_be_looked_at_in_time_the_cause_is_undetermined_and_the_look_that_would_tell_is_named()
{
    let mut town = Town::new();
    branch(&mut town, vec![]);
    town.now = town.now.plus_ms(60_000);
    town.claim("tower", Claim::Down);
    for _ in 0..120 {
        town.decide();
        for ask in std::mem::take(&mut town.asks) {
            let outcome = if ask.target == town.id("tower") && matches!(ask.question, Question::Reach { .. })
            {
                Outcome::Silent { tries: 3, last: true }
            } else {
                Outcome::Unanswered { why: "nobody is there".into() }
            };
            let (target, via, pop) = (ask.target, Vantage::Direct, "main".to_owned());
            let (ask, asked_at) = (Some(ask.id), Some(ask.at));
            town.hear(Fact::Answer(Answer { ask, asked_at, target, via, outcome, pop }));
        }
        town.pass(1_000);
    }
    assert_eq!(town.health("tower"), Some(Health::Down));
    let incident = town.incident();
    assert_eq!((incident.roots.len(), incident.roots[0].confidence), (1, 0), "{incident:?}");
    let text = domain::route::text_of(&incident);
    let why = "the cause could not be determined; a look at core would settle it; undetermined";
    assert!(text.contains(why), "{text}");
}

/// What a heartbeat found silent is looked at once more; that look begins silent too and comes to nothing, for want of a place
/// at the poller. The heartbeat does not say it again: the suspicion must not end with that.
#[test]
fn a_look_that_has_begun_and_comes_to_nothing_does_not_clear_whom_a_heartbeat_found_silent() {
    let mut town = Town::new();
    branch(&mut town, vec![]);
    town.now = town.now.plus_ms(60_000);
    let (tower, via, pop) = (town.id("tower"), Vantage::Direct, "main".to_owned());
    let heartbeat = Outcome::Silent { tries: 3, last: true };
    let answer = Answer { ask: None, asked_at: None, target: tower, via, outcome: heartbeat, pop };
    town.hear(Fact::Answer(answer.clone()));
    let mut looks = 0;
    for _ in 0..40 {
        town.decide();
        for ask in std::mem::take(&mut town.asks) {
            let says = |town: &mut Town, outcome: Outcome| {
                let (ask, asked_at, target) = (Some(ask.id), Some(ask.at), ask.target);
                town.hear(Fact::Answer(Answer { ask, asked_at, target, outcome, ..answer.clone() }));
                town.decide();
            };
            if ask.target != tower {
                says(&mut town, Outcome::Replied { rtt_us: 900 });
                continue;
            }
            looks += 1;
            says(&mut town, Outcome::Silent { tries: 1, last: false });
            match looks {
                1 => says(&mut town, Outcome::Unanswered { why: "too many commands in flight".into() }),
                _ => says(&mut town, Outcome::Silent { tries: 3, last: true }),
            }
        }
        town.pass(1_000);
    }
    assert_eq!(town.health("tower"), Some(Health::Down), "after {looks} looks");
    assert_eq!(town.incidents().len(), 1);
}
