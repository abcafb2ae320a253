//! Subscribers of whom the inventory does not say where they answer, and whom a poller pings through their router.

use crate::town::{Town, branch};
use events::{About, Claim, Fact, Health, Learned, Node, NodeId, Question, Signal, SignalSource, Tier};

/// One whom the tower sees, and of whose address and sessions nothing is known here.
fn pinged(town: &Town) -> Node {
    Node {
        address: None,
        seen_by: Some(town.id("tower")),
        ..town.node("pinged", Tier::Subscriber, &["sector"])
    }
}

/// A poller's ping through a router claims it.
fn claim(town: &mut Town, router: &str, says: Claim) {
    let (about, sender) = (About::Node(town.id("pinged")), Some(town.id(router)));
    let source = SignalSource::ProxyPing;
    let claim =
        Signal { about, says, source, sender, boot: None, seq: None, sealed_name: None, detail: None };
    town.hear(Fact::Signal(claim));
}

fn asked_through(town: &Town) -> Vec<(NodeId, NodeId)> {
    let asks = town.log.iter().filter_map(|heard| match &heard.fact {
        Fact::Ask(ask) => match ask.question {
            Question::PingThrough { router } => Some((ask.target, router)),
            Question::Reach { .. } | Question::Session { .. } | Question::RollCall { .. } => None,
        },
        _ => None,
    });
    asks.collect()
}

fn settled() -> Town {
    let mut town = Town::new();
    let subscriber = pinged(&town);
    branch(&mut town, vec![subscriber]);
    town.replied("tower");
    town.answer(&[]);
    claim(&mut town, "tower", Claim::Up);
    town.answer(&[]);
    assert_eq!(town.health("pinged"), Some(Health::Up));
    town.pass(60_000);
    town
}

#[test]
fn what_a_ping_through_its_router_claims_is_looked_into_by_another_and_believed_then() {
    let mut town = settled();
    let so_far = asked_through(&town).len();
    claim(&mut town, "tower", Claim::Down);
    town.decide();
    assert_eq!(town.health("pinged"), Some(Health::Up), "nobody is down on hearsay");
    town.answer(&["pinged"]);
    assert_eq!(town.health("pinged"), Some(Health::Down));
    let health = town.diagnosis.health_of(town.tenant, town.id("pinged")).unwrap();
    assert_eq!(health.learned, Some(Learned::Poll));
    let asked = asked_through(&town).split_off(so_far);
    assert!(asked.contains(&(town.id("pinged"), town.id("tower"))), "{asked:?}");
    town.pass(60_000);
    claim(&mut town, "tower", Claim::Up);
    town.answer(&[]);
    assert_eq!(town.health("pinged"), Some(Health::Up));
    assert_eq!(town.notices(), Vec::<String>::new(), "one subscriber is nobody's notice");
}

#[test]
fn it_is_not_down_when_it_answers_and_cut_off_when_what_it_hangs_on_is_down() {
    let mut town = settled();
    claim(&mut town, "tower", Claim::Down);
    town.answer(&[]);
    assert_eq!(town.health("pinged"), Some(Health::Up));
    town.pass(60_000);
    claim(&mut town, "tower", Claim::Down);
    town.answer(&["sector", "pinged"]);
    assert_eq!(
        (town.health("sector"), town.health("pinged")),
        (Some(Health::Down), Some(Health::Impacted)),
        "it is not broken itself"
    );
}

#[test]
fn whoever_is_not_known_to_be_pinged_is_asked_about_by_roll_call() {
    let mut town = Town::new();
    let subscriber = pinged(&town);
    branch(&mut town, vec![subscriber]);
    town.claim("pinged", Claim::Down);
    town.answer(&["pinged"]);
    // Another router's ping proves nothing of where it answers behind its own.
    claim(&mut town, "core", Claim::Down);
    town.answer(&["pinged"]);
    assert!(asked_through(&town).iter().all(|(target, _)| *target != town.id("pinged")));
}
