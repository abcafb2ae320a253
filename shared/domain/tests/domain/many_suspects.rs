//! Many who fall at once below one router that lives: its roll call, and still a verdict.

use crate::town::{Town, hear_alive};
use events::*;

/// A core, a tower, and on it a sector with twenty subscribers; of them these are claimed down, and are.
fn after(dead: &[&str]) -> Town {
    let mut town = Town::new();
    let mut nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
    ];
    for n in 0..20 {
        let mut subscriber = town.node(&format!("sub-{n}"), Tier::Subscriber, &["sector"]);
        subscriber.seen_by = Some(town.id("tower"));
        nodes.push(subscriber);
    }
    town.lay(nodes);
    hear_alive(&mut town, &["core", "tower"]);
    town.pass(120_000);
    town.answer(&[]);
    (0..20).for_each(|n| assert_eq!(town.health(&format!("sub-{n}")), Some(Health::Up)));
    dead.iter().for_each(|name| town.claim(name, Claim::Down));
    for _ in 0..6 {
        town.answer(dead);
        town.pass(10_000);
    }
    town
}

#[test]
fn below_a_living_sector_they_are_found_to_be_down_however_many_they_are() {
    let names: Vec<String> = (0..20).map(|n| format!("sub-{n}")).collect();
    for many in [1, 4, 5, 8, 16, 20] {
        let dead: Vec<&str> = names[..many].iter().map(String::as_str).collect();
        let town = after(&dead);
        let found = dead.iter().filter(|name| town.health(name) == Some(Health::Down)).count();
        assert_eq!((found, town.health("sector")), (many, Some(Health::Up)));
        // A crowd of five is told as lost sessions; the sector itself is not.
        let crowd = "of 20 subscribers below sector lost their sessions; sector itself answers";
        assert_eq!(town.notices().len(), usize::from(many >= 5));
        assert!(town.notices().iter().all(|told| told.starts_with("Opened: ") && told.ends_with(crowd)));
    }
}
