//! By whom a change is first spoken of: a push, a look of our own, the reconciler.

use crate::town::{Town, tree};
use events::{About, Claim, Fact, Health, Learned, Outcome, Signal, SignalSource, Tier, Vantage};

/// Says that a node works or not, as a claim of this kind.
fn claimed(town: &mut Town, name: &str, says: Claim, source: SignalSource) {
    let about = About::Node(town.id(name));
    let claim =
        Signal { about, says, source, sender: None, boot: None, seq: None, sealed_name: None, detail: None };
    town.hear(Fact::Signal(claim));
}

fn learned(town: &Town, name: &str) -> (Option<Health>, Option<Learned>) {
    let health = town.diagnosis.health_of(town.tenant, town.id(name));
    (health.map(|h| h.health), health.and_then(|h| h.learned))
}

#[test]
fn a_change_is_learned_by_whoever_speaks_of_it_first() {
    let mut town = Town::new();
    tree(&mut town);
    town.pass(60_000);
    for (source, by) in [
        (SignalSource::Netwatch, Learned::Push),
        (SignalSource::Reconcile, Learned::Reconcile),
        (SignalSource::ProxyPing, Learned::Poll),
    ] {
        claimed(&mut town, "sector-00", Claim::Down, source);
        town.answer(&["sector-00"]);
        assert_eq!(learned(&town, "sector-00"), (Some(Health::Down), Some(by)), "{source:?}");
        // Who is cut off by it: that follows, nobody told of it.
        assert_eq!(learned(&town, "sub-000"), (Some(Health::Impacted), None));
        town.pass(5_000);
        town.answer(&["sector-00"]);
        // The same said again by somebody else changes nothing.
        claimed(&mut town, "sector-00", Claim::Down, SignalSource::Person);
        town.answer(&["sector-00"]);
        assert_eq!(learned(&town, "sector-00").1, Some(by), "{source:?}");
        claimed(&mut town, "sector-00", Claim::Up, source);
        town.answer(&[]);
        assert_eq!(learned(&town, "sector-00"), (Some(Health::Up), Some(by)), "{source:?}");
        town.pass(400_000);
        town.answer(&[]);
    }
}

#[test]
fn what_only_a_look_of_our_own_found_is_learned_by_looking() {
    let mut town = Town::new();
    let mut core = town.node("core", Tier::Core, &[]);
    core.watch = Some(events::Watch { probe: events::Probe::Icmp, every_s: 5 });
    town.lay(vec![core]);
    town.replied("core");
    town.answer(&[]);
    town.pass(60_000);
    let silent = events::Answer {
        ask: None,
        asked_at: None,
        target: town.id("core"),
        via: Vantage::Direct,
        outcome: Outcome::Silent { tries: 3, last: true },
        pop: "main".into(),
    };
    town.hear(Fact::Answer(silent));
    town.answer(&["core"]);
    assert_eq!(learned(&town, "core"), (Some(Health::Down), Some(Learned::Poll)));
    town.pass(5_000);
    town.replied("core");
    town.answer(&[]);
    assert_eq!(learned(&town, "core"), (Some(Health::Up), Some(Learned::Poll)));
}
