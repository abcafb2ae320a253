//! More is broken at once than one incident can name.

use crate::town::Town;
use events::*;
use std::sync::Arc;

const SECTORS: usize = 70;

fn sector(n: usize) -> String {
    format!("sector-{n}")
}

/// Many sectors fail one by one, each with a subscriber, and then the core that they all need.
fn sectors_then_the_core() -> Town {
    let mut town = Town::new();
    let mut nodes = vec![town.node("core", Tier::Core, &[])];
    for n in 0..SECTORS {
        nodes.push(town.node(&sector(n), Tier::Sector, &["core"]));
        let mut subscriber = town.node(&format!("subscriber-{n}"), Tier::Subscriber, &[&sector(n)]);
        subscriber.seen_by = Some(town.id("core"));
        nodes.push(subscriber);
    }
    town.lay(nodes);
    for n in 0..SECTORS {
        town.said(&sector(n), Health::Down);
    }
    town.decide();
    assert_eq!(count(&town, IncidentKind::Opened), SECTORS);
    town.now = town.now.plus_ms(1_000);
    town.said("core", Health::Down);
    town.decide();
    assert_eq!(count(&town, IncidentKind::Merged), SECTORS - 1);
    town
}

fn count(town: &Town, kind: IncidentKind) -> usize {
    town.incidents().iter().filter(|(said, _)| *said == kind).count()
}

#[test]
fn the_highest_cause_is_named_whatever_else_is() {
    let town = sectors_then_the_core();
    let incident = town.incident();
    let roots = &incident.roots;
    assert_eq!((incident.tier, roots.len()), (Tier::Core, 64));
    assert!(roots.iter().any(|root| root.name == "core"));
    assert_eq!(incident.impact.subscribers as usize, SECTORS);
}

#[test]
fn what_came_into_an_incident_that_names_no_more_does_not_begin_again() {
    let mut town = sectors_then_the_core();
    let before = town.incidents().len();
    // Everything heard lately is weighed again after a change, as it is after a start.
    let other = town.node("other", Tier::Core, &[]);
    town.revise(2, vec![Inventory::Node(Arc::new(other))]);
    assert_eq!(town.incidents().len(), before, "{:?}", town.incidents().last());
}
