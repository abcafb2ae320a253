//! The inventory changes while something is broken.

use crate::town::{Town, hear_alive, tree};
use events::*;
use std::sync::Arc;

fn broken(names: &[&str]) -> Town {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    for name in names {
        town.claim(name, Claim::Down);
    }
    town.answer(names);
    town
}

fn node(town: &Town, name: &str, tier: Tier, needs: &str) -> Node {
    town.node(name, tier, &[needs])
}

#[test]
fn a_root_that_leaves_the_inventory_is_retired_once_and_its_incident_is_over() {
    let mut town = broken(&["sector-00"]);
    let gone = ["sector-00", "sub-000", "sub-001", "sub-002", "sub-003", "sub-004"];
    let things = gone.iter().map(|name| Inventory::NodeRemoved { id: town.id(name) }).collect();
    town.pass(10_000);
    town.revise(2, things);
    for name in gone {
        let said = town.log.iter().filter(|heard| match &heard.fact {
            Fact::Health(said) => said.now.node == town.id(name) && said.kind == HealthKind::Retired,
            _ => false,
        });
        assert_eq!(said.count(), 1, "{name}");
    }
    let incident = town.incident();
    assert_eq!(incident.state, IncidentState::Resolved);
    assert_eq!(incident.ended_because.as_deref(), Some("removed"));
    town.pass(600_000);
    town.answer(&[]);
    assert_eq!(town.notices().len(), 2, "{:?}", town.notices());
}

#[test]
fn an_incident_counts_those_that_come_below_its_root_and_not_those_that_go() {
    let mut town = broken(&["sector-00"]);
    assert_eq!(town.incident().impact.subscribers, 5);
    town.pass(10_000);
    town.revise(2, vec![Inventory::NodeRemoved { id: town.id("sub-000") }]);
    assert_eq!(town.incident().impact.subscribers, 4);
    let mut more = Vec::new();
    for name in ["sub-005", "sub-006"] {
        let mut sub = node(&town, name, Tier::Subscriber, "sector-00");
        sub.seen_by = Some(town.id("tower-0"));
        more.push(Inventory::Node(Arc::new(sub)));
    }
    town.pass(10_000);
    town.revise(3, more);
    assert_eq!(town.incident().impact.subscribers, 6);
    assert_eq!(town.health("sub-006"), Some(Health::Impacted));
    assert_eq!(town.notices().len(), 1, "a corrected count is no news to people: {:?}", town.notices());
}

#[test]
fn what_hangs_on_another_parent_is_no_longer_cut_off_by_the_one_before() {
    let mut town = broken(&["tower-0"]);
    assert_eq!(town.health("sector-00"), Some(Health::Impacted));
    let mut things = vec![Inventory::Node(Arc::new(node(&town, "sector-00", Tier::Sector, "tower-1")))];
    for c in 0..5 {
        let mut sub = node(&town, &format!("sub-00{c}"), Tier::Subscriber, "sector-00");
        sub.seen_by = Some(town.id("tower-1"));
        things.push(Inventory::Node(Arc::new(sub)));
    }
    town.pass(10_000);
    town.revise(2, things);
    for _ in 0..40 {
        town.answer(&["tower-0"]);
        town.pass(10_000);
    }
    assert_eq!(town.health("sector-00"), Some(Health::Up));
    assert_eq!(town.health("sub-004"), Some(Health::Up));
    assert_eq!(town.health("sector-01"), Some(Health::Impacted));
    assert_eq!(town.incident().impact.subscribers, 10);
}

#[test]
fn an_incident_closed_as_wrong_stays_closed_when_a_higher_cause_explains_it() {
    let mut town = broken(&["sector-00"]);
    let incident = town.incident().id;
    let order = Order::CloseAsWrong { incident };
    let id = OrderId::of(EventId(uuid::Uuid::from_u128(7)));
    town.hear(Fact::Order(OrderSaid { id, order, by: "someone".into() }));
    town.decide();
    assert_eq!(town.incident().state, IncidentState::Closed);
    town.pass(10_000);
    town.claim("tower-0", Claim::Down);
    town.answer(&["tower-0", "sector-00"]);
    assert_eq!(town.health("sector-00"), Some(Health::Impacted));
    let states: Vec<IncidentState> =
        town.incidents().iter().filter(|(_, i)| i.id == incident).map(|(_, i)| i.state).collect();
    assert_eq!(states.last(), Some(&IncidentState::Closed), "{states:?}");
    assert_eq!(town.incidents().iter().filter(|(kind, _)| *kind == IncidentKind::Opened).count(), 2);
}

#[test]
fn a_claim_just_heard_is_judged_though_the_node_is_looked_at_otherwise_from_then_on() {
    let changes: [fn(&Town, &mut Node); 3] = [
        |town, node| node.seen_by = Some(town.id("core")),
        |_, node| node.claims = vec![ClaimKey(uuid::Uuid::from_u128(7))],
        |_, node| node.watch = Some(Watch { probe: Probe::Icmp, every_s: 60 }),
    ];
    for change in changes {
        let mut town = broken(&[]);
        town.claim("sector-00", Claim::Down);
        let mut sector = node(&town, "sector-00", Tier::Sector, "tower-0");
        change(&town, &mut sector);
        town.revise(2, vec![Inventory::Node(Arc::new(sector))]);
        town.answer(&["sector-00"]);
        assert_eq!(town.health("sector-00"), Some(Health::Down));
        assert_eq!(town.notices().len(), 1, "{:?}", town.notices());
    }
}

#[test]
fn a_station_that_comes_to_serve_several_while_it_is_down_is_an_incident_however_long_it_has_been() {
    for minutes in [1, 40] {
        let mut town = Town::new();
        let mut station = town.node("station", Tier::Station, &["tower"]);
        station.seen_by = Some(town.id("tower"));
        let subscriber = |town: &Town, name: &str| {
            let mut subscriber = town.node(name, Tier::Subscriber, &["station"]);
            subscriber.seen_by = Some(town.id("tower"));
            subscriber
        };
        let nodes = vec![
            town.node("core", Tier::Core, &[]),
            town.node("tower", Tier::Site, &["core"]),
            station,
            subscriber(&town, "first"),
        ];
        town.lay(nodes);
        hear_alive(&mut town, &["core", "tower"]);
        town.pass(60_000);
        town.claim("station", Claim::Down);
        town.answer(&["station"]);
        assert_eq!(town.health("station"), Some(Health::Down));
        for _ in 0..minutes {
            town.pass(60_000);
            town.answer(&["station"]);
        }
        assert!(town.incidents().is_empty());
        let second = subscriber(&town, "second");
        town.revise(2, vec![Inventory::Node(Arc::new(second))]);
        town.answer(&["station"]);
        let opened: Vec<String> = town.incidents().into_iter().map(|(_, i)| i.title).collect();
        assert_eq!(opened.len(), 1, "after {minutes} min: {opened:?}");
        assert!(opened[0].contains("2 subscribers"), "{opened:?}");
    }
}

#[test]
fn people_are_sent_to_where_the_cause_is_now() {
    let mut town = Town::new();
    tree(&mut town);
    let site = |file_id: &str, name: &str| Site {
        id: SiteId::of(town.tenant, file_id),
        file_id: file_id.into(),
        name: name.into(),
        address: None,
        latitude_udeg: None,
        longitude_udeg: None,
    };
    let (mill, church) = (site("mill", "The Old Mill"), site("church", "Church Tower"));
    let at = |town: &Town, site: &Site| {
        let sector = node(town, "sector-00", Tier::Sector, "tower-0");
        Inventory::Node(Arc::new(Node { site: Some(site.id), ..sector }))
    };
    let sites = [mill.clone(), church.clone()].map(Inventory::Site);
    let moved = at(&town, &mill);
    town.revise(2, sites.into_iter().chain([moved]).collect());
    for (number, site) in [(None, &mill), (Some(3), &church)] {
        if let Some(number) = number {
            let moved = at(&town, site);
            town.revise(number, vec![moved]);
        }
        town.pass(60_000);
        town.claim("sector-00", Claim::Down);
        town.answer(&["sector-00"]);
        assert_eq!(town.incident().site_name.as_deref(), Some(site.name.as_str()));
        let told = town.notices();
        assert!(told.last().is_some_and(|title| title.contains(&site.name)), "{told:?}");
        town.claim("sector-00", Claim::Up);
        town.answer(&[]);
        town.pass(600_000);
        town.answer(&[]);
    }
}
