//! What is promised of decisions, number by number (docs/reference/requirements.md).

use crate::town::{Town, group, hear_alive};
use events::*;

/// Numbers that follow from a seed. Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014 (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// The names in any order, one in ten missing and one in ten twice.
    fn as_they_come(&mut self, names: &[String]) -> Vec<String> {
        let mut come: Vec<String> = Vec::new();
        for name in names {
            match self.below(10) {
                0 => {}
                1 => come.extend([name.clone(), name.clone()]),
                _ => come.push(name.clone()),
            }
        }
        for n in (1..come.len()).rev() {
            come.swap(n, self.below(n + 1));
        }
        come
    }

    /// The same in pieces of any size up to `most`.
    fn pieces(&mut self, mut all: Vec<String>, most: usize) -> Vec<Vec<String>> {
        let mut pieces = vec![];
        while !all.is_empty() {
            let rest = all.split_off((1 + self.below(most)).min(all.len()));
            pieces.push(std::mem::replace(&mut all, rest));
        }
        pieces
    }
}

/// R14: the core dies with 500 things behind it; what is said of them comes in any order, some of it
/// never and some twice. People are told once that it is down and once that it is up again.
#[test]
fn one_alert_for_the_root_cause_instead_of_five_hundred() {
    const TOWERS: usize = 5;
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut town = Town::new();
        let towers: Vec<String> = (0..TOWERS).map(|t| format!("tower-{t}")).collect();
        let mut nodes = vec![town.node("core", Tier::Core, &[])];
        nodes.extend(towers.iter().map(|tower| town.node(tower, Tier::Site, &["core"])));
        let children: Vec<(String, String)> =
            (0..495).map(|n| (format!("station-{n}"), towers[n % TOWERS].clone())).collect();
        nodes.extend(children.iter().map(|(name, tower)| town.node(name, Tier::Station, &[tower])));
        assert_eq!(nodes.len(), 501);
        town.lay(nodes);
        let routers: Vec<&str> = std::iter::once("core").chain(towers.iter().map(String::as_str)).collect();
        hear_alive(&mut town, &routers);
        town.pass(60_000);

        let below: Vec<String> =
            towers.iter().cloned().chain(children.iter().map(|(name, _)| name.clone())).collect();
        let come = dice.as_they_come(&below);
        for piece in dice.pieces(come, 60) {
            for name in piece {
                town.claim(&name, Claim::Down);
            }
            town.answer(&routers);
        }
        let opened = town.notices();
        assert_eq!(opened.len(), 1, "seed {seed}: {opened:?}");
        assert!(opened[0].starts_with("Opened: core is down"), "seed {seed}: {opened:?}");
        assert!(below.iter().all(|name| town.health(name) == Some(Health::Impacted)), "seed {seed}");

        town.pass(30_000);
        town.replied("core");
        town.answer(&[]);
        let come = dice.as_they_come(&below);
        for piece in dice.pieces(come, 60) {
            for name in piece {
                town.claim(&name, Claim::Up);
            }
            town.answer(&[]);
        }
        town.pass(120_000);
        town.answer(&[]);
        town.pass(400_000);
        town.answer(&[]);
        let told = town.notices();
        assert_eq!(told.len(), 2, "seed {seed}: {told:?}");
        assert!(told[1].starts_with("Resolved"), "seed {seed}: {told:?}");
        assert!(below.iter().all(|name| town.health(name) == Some(Health::Up)), "seed {seed}");
    }
}

/// A core, and a sector behind each of two towers.
fn two_towers(town: &mut Town) {
    let nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
        town.node("station", Tier::Station, &["sector"]),
    ];
    town.lay(nodes);
    hear_alive(town, &["core", "tower"]);
    town.pass(60_000);
}

/// R26: a child is claimed down while its parent is dead: no alert for the child, the child is impacted, and
/// the parent is down with the failed look at it as evidence.
#[test]
fn a_childs_claim_has_its_parent_looked_at_first() {
    let mut town = Town::new();
    two_towers(&mut town);
    town.claim("sector", Claim::Down);
    town.answer(&["tower"]);
    assert_eq!(town.health("sector"), Some(Health::Impacted));
    let parent = town.diagnosis.health_of(town.tenant, town.id("tower")).unwrap();
    assert_eq!(parent.health, Health::Down);
    assert!(
        parent.evidence.iter().any(|e| e.kind == EvidenceKind::SilentTry && e.event.is_some()),
        "{parent:?}"
    );
    let told = town.notices();
    assert!(told.len() == 1 && told[0].contains("tower is down"), "{told:?}");

    // With the parent alive it is the child that is down.
    let mut town = Town::new();
    two_towers(&mut town);
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    assert_eq!((town.health("sector"), town.health("tower")), (Some(Health::Down), Some(Health::Up)));
    let told = town.notices();
    assert!(told.len() == 1 && told[0].contains("sector is down"), "{told:?}");
}

/// R31: the first try of a probe runs out and the second is answered: nobody is called down.
#[test]
fn a_first_try_that_runs_out_is_no_verdict() {
    let mut town = Town::new();
    two_towers(&mut town);
    town.claim("tower", Claim::Down);
    town.decide();
    let asks: Vec<Ask> = town.asks.drain(..).collect();
    assert!(!asks.is_empty());
    let answer = |town: &mut Town, ask: &Ask, outcome| {
        let (target, via) = (ask.target, Vantage::Direct);
        let (ask, asked_at) = (Some(ask.id), Some(ask.at));
        town.hear(Fact::Answer(Answer { ask, asked_at, target, via, outcome, pop: "main".into() }));
    };
    town.now = town.now.plus_ms(400);
    for ask in &asks {
        answer(&mut town, ask, Outcome::Silent { tries: 1, last: false });
    }
    town.decide();
    town.now = town.now.plus_ms(100);
    for ask in &asks {
        answer(&mut town, ask, Outcome::Replied { rtt_us: 900 });
    }
    town.answer(&[]);
    assert_eq!((town.health("tower"), town.health("core")), (Some(Health::Up), Some(Health::Up)));
    let was_down = |heard: &Heard| matches!(&heard.fact, Fact::Health(h) if h.now.health == Health::Down);
    assert!(!town.log.iter().any(was_down));
    assert!(town.notices().is_empty());
}

/// R62: a link and what stands beside it fail together; the incident lists both, each with its part in it and
/// with the events that say so.
#[test]
fn of_two_causes_each_has_its_part_and_the_events_it_rests_on() {
    let mut town = Town::new();
    let mut tower = town.node("tower", Tier::Site, &["core"]);
    tower.needs = vec![group(GroupMode::All, &[town.id("core"), town.id("upstream")])];
    let sector = town.node("sector", Tier::Sector, &["tower"]);
    town.lay(vec![town.node("core", Tier::Core, &[]), town.node("upstream", Tier::Core, &[]), tower, sector]);
    hear_alive(&mut town, &["core", "upstream", "tower"]);
    town.pass(60_000);
    town.claim("core", Claim::Down);
    town.claim("upstream", Claim::Down);
    town.answer(&["core", "upstream", "tower"]);
    let incident = town.incident();
    let mut causes: Vec<(&str, bool)> =
        incident.roots.iter().map(|root| (root.name.as_str(), root.primary)).collect();
    causes.sort_unstable();
    assert_eq!(causes, [("core", false), ("upstream", false)], "both are needed: each contributes");
    for root in &incident.roots {
        let ids: Vec<EventId> = root.evidence.iter().filter_map(|e| e.event).collect();
        assert!(!ids.is_empty(), "{root:?}");
        assert!(ids.iter().all(|id| town.log.iter().any(|heard| heard.id == *id)), "{root:?}");
        let sum: u32 = root.evidence.iter().map(|e| e.weight).sum();
        assert_eq!(root.confidence, sum.min(100), "the weights are the confidence");
    }
}

/// R65: one of two things that a sector needs is in maintenance, then the other fails: it is told of, the
/// first stays quiet, and the incident names both.
#[test]
fn a_failure_beside_maintenance_is_told_of_and_both_are_named() {
    let mut town = Town::new();
    let window =
        Window { from: Time::EPOCH, until: Time::from_ms(1_900_000_000_000), reason: "new mast".into() };
    let mut quiet = town.node("relay-a", Tier::Site, &["core"]);
    quiet.maintenance = vec![window];
    let mut sector = town.node("sector", Tier::Sector, &["core"]);
    sector.needs = vec![group(GroupMode::All, &[town.id("relay-a"), town.id("relay-b")])];
    let nodes =
        vec![town.node("core", Tier::Core, &[]), quiet, town.node("relay-b", Tier::Site, &["core"]), sector];
    town.lay(nodes);
    hear_alive(&mut town, &["core", "relay-a", "relay-b"]);
    town.pass(60_000);
    town.claim("relay-a", Claim::Down);
    town.answer(&["relay-a"]);
    assert_eq!(town.health("relay-a"), Some(Health::Down), "believed, and not hidden");
    assert_eq!(town.health("sector"), Some(Health::Impacted));
    assert!(town.notices().is_empty(), "nobody is told of what is being worked on");

    town.claim("relay-b", Claim::Down);
    town.answer(&["relay-a", "relay-b"]);
    let told = town.notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("relay-b"), "{told:?}");
    let incident = town.incident();
    let mut named: Vec<(&str, bool)> = incident.roots.iter().map(|r| (r.name.as_str(), r.quiet)).collect();
    named.sort_unstable();
    assert_eq!(named, [("relay-a", true), ("relay-b", false)]);
}

/// N8: a webhook that comes four minutes late changes the story and does not rewrite it.
#[test]
fn a_webhook_four_minutes_late_revises_the_cause_and_says_when() {
    let mut town = Town::new();
    two_towers(&mut town);
    let broke_at = town.now;
    town.claim("sector", Claim::Down);
    town.answer(&["sector"]);
    let opened = town.incidents().first().expect("an incident was opened").1.clone();
    assert_eq!(opened.roots.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["sector"]);

    town.pass(240_000);
    let revised_at = town.now;
    let signal = Signal {
        about: About::Node(town.id("tower")),
        says: Claim::Down,
        source: SignalSource::Netwatch,
        sender: Some(town.id("core")),
        boot: Some("b".into()),
        seq: Some(1),
        sealed_name: None,
        detail: None,
    };
    town.seq += 1;
    let late = Heard {
        seq: town.seq,
        id: EventId(uuid::Uuid::from_u128(u128::from(town.seq))),
        tenant: town.tenant,
        heard: revised_at,
        at: broke_at,
        fact: Fact::Signal(signal),
    };
    town.put(late);
    town.answer(&["tower", "sector"]);

    // What was known then still stands in the log, as it was said; what is known now stands after it.
    let said = town.incidents();
    assert_eq!(said[0].1, opened);
    let now = &said.last().unwrap().1;
    assert_eq!(now.id, opened.id);
    assert_eq!(now.roots.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["tower"]);
    let revision = now.timeline.iter().find(|line| line.what.contains("tower is down too"));
    let revision = revision.unwrap_or_else(|| panic!("{:?}", now.timeline));
    assert!(revision.at >= revised_at && opened.opened_at < revised_at, "{:?}", now.timeline);
    // And when it really was so, as its source says.
    let tower = town.diagnosis.health_of(town.tenant, town.id("tower")).unwrap();
    assert_eq!(tower.at, Some(broke_at));
    assert!(tower.since >= revised_at);
}

/// R34, the part that is the walk's: beyond the tenant's walks of an hour a suspicion waits, says until when, and
/// is looked into when its turn has come, though its claim is forgotten by then. What the server watches itself
/// never waits.
#[test]
fn beyond_the_quota_a_suspicion_waits_for_its_turn() {
    let mut town = Town::new();
    let policy = Policy { walks_per_hour: 3, ..Policy::default() };
    town.hear(Fact::Inventory(Inventory::Policy(policy)));
    let mut nodes = vec![town.node("core", Tier::Core, &[]), town.node("tower", Tier::Site, &["core"])];
    let names: Vec<String> = (0..6).map(|n| format!("sector-{n}")).collect();
    nodes.extend(names.iter().map(|name| town.node(name, Tier::Sector, &["core"])));
    town.lay(nodes);
    hear_alive(&mut town, &["core", "tower"]);
    town.pass(60_000);

    let begun = town.now;
    for name in &names {
        town.claim(name, Claim::Down);
        town.decide();
    }
    let dead = ["sector-0", "sector-1", "sector-2", "sector-3", "sector-4", "sector-5"];
    town.answer(&dead);
    let down = |town: &Town| names.iter().filter(|n| town.health(n) == Some(Health::Down)).count();
    assert_eq!(down(&town), 3, "so many walks were left");
    let waits: Vec<Time> = town
        .log
        .iter()
        .filter_map(|heard| match &heard.fact {
            Fact::Suspicion(said) => said.now.held_until,
            _ => None,
        })
        .collect();
    assert_eq!(waits.len(), 3);
    assert!(waits.iter().all(|until| until.ms_since(begun) >= 3_600_000), "{waits:?}");

    // A router that is watched is looked into at once.
    town.claim("tower", Claim::Down);
    town.answer(&[&dead[..], &["tower"]].concat());
    assert_eq!(town.health("tower"), Some(Health::Down));

    town.pass(30 * 60_000);
    town.answer(&dead);
    assert_eq!(down(&town), 3, "half an hour is not enough");
    let asked = town.asked();
    for _ in 0..6 {
        town.pass(20 * 60_000);
        town.answer(&dead);
    }
    assert!(town.asked() > asked, "their turn came");
    assert_eq!(down(&town), 6, "{:?}", names.iter().map(|n| town.health(n)).collect::<Vec<_>>());
}
