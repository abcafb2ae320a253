//! A session that comes back while it is still looked for: the answer of that look is older than the word that it is back.

use crate::town::{Town, hear_alive};
use events::*;

/// A core, a tower, and on it a sector with one subscriber who is known by his session.
fn town() -> Town {
    let mut town = Town::new();
    let mut subscriber = town.node("sub", Tier::Subscriber, &["sector"]);
    subscriber.seen_by = Some(town.id("tower"));
    subscriber.address = None;
    subscriber.claims = vec![ClaimKey(uuid::Uuid::from_u128(1))];
    let nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
        subscriber,
    ];
    town.lay(nodes);
    hear_alive(&mut town, &["core", "tower"]);
    town.pass(60_000);
    town.asks.clear();
    town
}

/// Its router's script says so, one word after the other.
fn says(town: &mut Town, says: Claim, seq: u64) {
    let signal = Signal {
        about: About::Session(ClaimKey(uuid::Uuid::from_u128(1))),
        says,
        source: SignalSource::Ppp,
        sender: Some(town.id("tower")),
        boot: Some("b".into()),
        seq: Some(seq),
        sealed_name: None,
        detail: None,
    };
    town.hear(Fact::Signal(signal));
    town.decide();
}

/// The router's table is read for the asks that wait.
fn table(town: &mut Town, state: SessionState) {
    let asks: Vec<Ask> = town.asks.drain(..).collect();
    for ask in asks {
        let (via, outcome) = match &ask.question {
            Question::Session { router, .. } => (Vantage::Through(*router), Outcome::Session { state }),
            Question::PingThrough { router } => (Vantage::Through(*router), Outcome::Replied { rtt_us: 900 }),
            Question::Reach { .. } | Question::RollCall { .. } => {
                (Vantage::Direct, Outcome::Replied { rtt_us: 900 })
            }
        };
        let (target, pop) = (ask.target, "main".to_owned());
        town.hear(Fact::Answer(Answer {
            ask: Some(ask.id),
            asked_at: Some(ask.at),
            target,
            via,
            outcome,
            pop,
        }));
    }
    town.decide();
}

#[test]
fn who_comes_back_before_the_answer_of_the_look_is_up_within_a_second() {
    for (first_ms, then_ms) in [(0, 0), (0, 5), (5, 0), (300, 300), (900, 5), (2_500, 5)] {
        let mut town = town();
        says(&mut town, Claim::Down, 1);
        assert!(!town.asks.is_empty(), "it is looked for");
        town.now = town.now.plus_ms(first_ms);
        says(&mut town, Claim::Up, 2);
        town.now = town.now.plus_ms(then_ms);
        table(&mut town, SessionState::Absent);
        for _ in 0..10 {
            town.pass(100);
            table(&mut town, SessionState::Present);
        }
        assert_eq!(
            town.health("sub"),
            Some(Health::Up),
            "{first_ms} and {then_ms} ms: {:#?}",
            town.diagnosis.health_of(town.tenant, town.id("sub"))
        );
    }
}
