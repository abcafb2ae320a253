//! Several devices of one site go down together: perhaps the site did. It is said beside each of them, and changes nothing.

use crate::town::Town;
use events::*;
use proptest::prelude::*;
use std::sync::Arc;

const HILL: [&str; 3] = ["core-a", "core-b", "relay"];

/// A hill with `devices` that need nobody of one another, each with a sector elsewhere; and a valley with a router.
fn hill(devices: usize) -> Town {
    let mut town = Town::new();
    let site = |town: &Town, name: &str| Site {
        id: SiteId::of(town.tenant, name),
        file_id: name.into(),
        name: name.into(),
        address: None,
        latitude_udeg: None,
        longitude_udeg: None,
    };
    let (hill, valley) = (site(&town, "Mill Hill"), site(&town, "Valley"));
    let at = |mut node: Node, site: &Site| {
        node.site = Some(site.id);
        node
    };
    let mut nodes = vec![at(town.node("valley", Tier::Core, &[]), &valley)];
    for name in &HILL[..devices] {
        nodes.push(at(town.node(name, Tier::Core, &[]), &hill));
        nodes.push(at(town.node(&format!("{name}-sector"), Tier::Sector, &[name]), &valley));
    }
    for site in [hill, valley] {
        town.hear(Fact::Inventory(Inventory::Site(site)));
    }
    town.lay(nodes);
    town
}

fn said(town: &mut Town, name: &str, health: Health, later_s: i64) {
    town.now = town.now.plus_ms(later_s * 1_000);
    town.said(name, health);
    town.decide();
}

/// The open incidents, each with the confidence in its site's failing, in the order of their ids.
fn guesses(town: &Town) -> Vec<Option<u32>> {
    let last: std::collections::BTreeMap<IncidentId, Incident> =
        town.incidents().into_iter().map(|(_, incident)| (incident.id, incident)).collect();
    let open = last.into_values().filter(|incident| incident.state == IncidentState::Open);
    open.map(|incident| incident.site_hypothesis.map(|guess| guess.confidence)).collect()
}

#[test]
fn two_that_are_all_of_a_site_are_two_incidents_which_both_say_so() {
    let mut town = hill(2);
    said(&mut town, "core-a", Health::Down, 0);
    assert_eq!(guesses(&town), [None], "one router is that router");
    said(&mut town, "core-b", Health::Down, 3);
    assert_eq!(guesses(&town), [Some(65), Some(65)]);
    assert_eq!(town.notices().len(), 2, "each is told once, the guess is no news: {:?}", town.notices());
    let incident = town.incident();
    assert_eq!(incident.timeline.last().unwrap().what, "perhaps Mill Hill failed as a whole (65 %)");
    let text = domain::route::text_of(&incident);
    let why = "Perhaps: Mill Hill as a whole, its power for one; 2 devices there went down with nothing above to \
               explain it (20), in the same moment (15), none at work of the 2 devices there (30); confidence 65 %";
    assert!(text.contains(why), "{text}");
}

#[test]
fn while_anything_there_works_the_site_does() {
    let mut town = hill(3);
    said(&mut town, "core-a", Health::Down, 0);
    said(&mut town, "core-b", Health::Down, 3);
    assert_eq!(guesses(&town), [None, None]);
    said(&mut town, "relay", Health::Down, 3);
    assert_eq!(guesses(&town), [Some(80); 3]);
    assert_eq!(town.notices().len(), 3);
}

#[test]
fn what_went_down_earlier_or_elsewhere_or_is_worked_on_is_no_part_of_it() {
    let mut town = hill(2);
    said(&mut town, "core-a", Health::Down, 0);
    said(&mut town, "core-b", Health::Down, 121);
    said(&mut town, "valley", Health::Down, 0);
    assert_eq!(guesses(&town), [None; 3], "two minutes apart, and one that is at another place");

    let mut town = hill(2);
    let mut worked_on = town.node("core-b", Tier::Core, &[]);
    worked_on.site = Some(SiteId::of(town.tenant, "Mill Hill"));
    worked_on.maintenance =
        vec![Window { from: town.now, until: town.now.plus_ms(3_600_000), reason: String::new() }];
    town.revise(2, vec![Inventory::Node(Arc::new(worked_on))]);
    said(&mut town, "core-a", Health::Down, 1);
    said(&mut town, "core-b", Health::Down, 1);
    assert_eq!(guesses(&town), [None, None]);
    town.pass(3_600_000);
    assert_eq!(guesses(&town), [Some(65), Some(65)], "nobody works on it any more");
}

#[test]
fn a_router_with_all_that_hangs_below_it_is_a_router() {
    let mut town = hill(2);
    let mut below = town.node("core-b", Tier::Site, &["core-a"]);
    below.site = Some(SiteId::of(town.tenant, "Mill Hill"));
    town.revise(2, vec![Inventory::Node(Arc::new(below))]);
    said(&mut town, "core-b", Health::Down, 0);
    said(&mut town, "core-a", Health::Down, 1);
    assert!(
        guesses(&town).iter().all(Option::is_none),
        "core-a explains core-b, whatever was said of it before"
    );
    said(&mut town, "core-b", Health::Impacted, 0);
    assert_eq!(guesses(&town), [None], "core-a explains core-b");
}

#[test]
fn a_device_that_is_cut_off_from_elsewhere_is_none_that_works() {
    let mut town = hill(3);
    let mut fed = town.node("relay", Tier::Site, &["valley"]);
    fed.site = Some(SiteId::of(town.tenant, "Mill Hill"));
    town.revise(2, vec![Inventory::Node(Arc::new(fed))]);
    said(&mut town, "core-a", Health::Down, 0);
    said(&mut town, "core-b", Health::Down, 3);
    assert_eq!(guesses(&town), [None, None]);
    said(&mut town, "valley", Health::Down, 3);
    assert_eq!(guesses(&town).into_iter().flatten().collect::<Vec<_>>(), [65, 65]);
    said(&mut town, "valley", Health::Up, 3);
    assert_eq!(guesses(&town), [None, None], "and so it is when that is back");
}

#[test]
fn it_stands_until_something_there_is_back() {
    let mut town = hill(2);
    said(&mut town, "core-a", Health::Down, 0);
    said(&mut town, "core-b", Health::Down, 3);
    said(&mut town, "core-b", Health::Up, 60);
    assert_eq!(guesses(&town), [None], "the place has power");
    let lines = town.incidents().into_iter().flat_map(|(_, incident)| incident.timeline);
    assert!(lines.into_iter().any(|line| line.what == "Mill Hill as a whole is not suspected any more"));
    said(&mut town, "core-b", Health::Down, 1);
    said(&mut town, "core-a", Health::Up, 60);
    said(&mut town, "core-a", Health::Down, 1);
    assert_eq!(guesses(&town).len(), 2);
    assert_eq!(town.notices().len(), 2, "{:?}", town.notices());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever goes down and comes back when, also what feeds one of them from elsewhere: who is told of what does not depend on the guess, it is made of two at least
    /// that were said down within two minutes, and a decider that is loaded anew has nothing to add.
    #[test]
    fn it_is_a_guess_about_two_at_least(words in prop::collection::vec((0_usize..4, any::<bool>(), 0_i64..200), 1..40)) {
        let mut town = hill(3);
        let mut fed = town.node("relay", Tier::Site, &["valley"]);
        fed.site = Some(SiteId::of(town.tenant, "Mill Hill"));
        town.revise(2, vec![Inventory::Node(Arc::new(fed))]);
        let mut down_since = [None; 3];
        for (which, is_up, later_s) in words {
            let name = HILL.get(which).copied().unwrap_or("valley");
            said(&mut town, name, if is_up { Health::Up } else { Health::Down }, later_s);
            if let Some(down_since) = down_since.get_mut(which) {
                *down_since = if is_up { None } else { down_since.or(Some(town.now)) };
            }
            let incident = town.incidents().pop().map(|(_, incident)| incident);
            let guess = incident.as_ref().and_then(|incident| incident.site_hypothesis.as_ref());
            if let Some(guess) = guess.filter(|_| incident.as_ref().unwrap().state == IncidentState::Open) {
                let down: Vec<Time> = down_since.iter().flatten().copied().collect();
                let pairs = down.iter().any(|a| down.iter().filter(|b| a.ms_since(**b).abs() <= 120_000).count() > 1);
                prop_assert!(pairs, "{guess:?} {down:?}");
            }
            prop_assert!(town.correlation_anew().decide(town.now, 900).said.is_empty());
        }
        let opened = town.incidents().iter().filter(|(kind, _)| *kind == IncidentKind::Opened).count();
        let beginnings = town.notices().iter().filter(|title| title.starts_with("Opened: ")).count();
        prop_assert_eq!(opened, beginnings);
    }
}
