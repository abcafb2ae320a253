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
}

#[test]
fn who_comes_back_before_the_answer_of_the_look_is_weighed_is_up_and_was_never_down() {
    let moments = [(0, 0), (0, 5), (5, 0), (300, 300), (900, 5), (2_500, 5)];
    for (first_ms, then_ms) in moments {
        for (is_answered_first, decides_between) in [(false, true), (true, false), (false, false)] {
            let mut town = town();
            says(&mut town, Claim::Down, 1);
            town.decide();
            let looks_for_it = |ask: &Ask| matches!(ask.question, Question::Session { .. });
            for _ in 0..20 {
                if town.asks.iter().any(looks_for_it) {
                    break;
                }
                table(&mut town, SessionState::Absent);
                town.pass(100);
            }
            assert!(town.asks.iter().any(looks_for_it), "the session is looked for");
            town.now = town.now.plus_ms(first_ms);
            if is_answered_first {
                table(&mut town, SessionState::Absent);
                town.now = town.now.plus_ms(then_ms);
                says(&mut town, Claim::Up, 2);
            } else {
                says(&mut town, Claim::Up, 2);
                if decides_between {
                    town.decide();
                }
                town.now = town.now.plus_ms(then_ms);
                table(&mut town, SessionState::Absent);
            }
            town.decide();
            for _ in 0..10 {
                table(&mut town, SessionState::Present);
                town.pass(100);
            }
            let case = format!("{first_ms} and {then_ms} ms, {is_answered_first} {decides_between}");
            assert_eq!(town.health("sub"), Some(Health::Up), "{case}");
            let is_down =
                |heard: &&Heard| matches!(&heard.fact, Fact::Health(said) if said.now.health == Health::Down);
            let found = town.log.iter().find(is_down);
            assert!(
                found.is_none() || first_ms == 0 && then_ms == 0,
                "the look was older than the word: {case}"
            );
        }
    }
}

/// A crowd of which each one's session is looked for and not there, while a roll call is on its way that was asked for
/// because there are so many: those who are back by then are not in it, because it tells only what changed.
#[test]
fn who_is_back_is_not_said_to_be_down_again_because_of_the_look_before() {
    let mut town = Town::new();
    let key = |n: usize| ClaimKey(uuid::Uuid::from_u128(n as u128 + 1));
    let names: Vec<String> = (0..24).map(|n| format!("sub-{n}")).collect();
    let mut nodes = vec![
        town.node("core", Tier::Core, &[]),
        town.node("tower", Tier::Site, &["core"]),
        town.node("sector", Tier::Sector, &["tower"]),
    ];
    for (n, name) in names.iter().enumerate() {
        let mut subscriber = town.node(name, Tier::Subscriber, &["sector"]);
        subscriber.seen_by = Some(town.id("tower"));
        subscriber.address = None;
        subscriber.claims = vec![key(n)];
        nodes.push(subscriber);
    }
    town.lay(nodes);
    hear_alive(&mut town, &["core", "tower"]);
    town.pass(60_000);
    town.asks.clear();
    let says = |town: &mut Town, n: usize, says: Claim, seq: usize| {
        let signal = Signal {
            about: About::Session(key(n)),
            says,
            source: SignalSource::Ppp,
            sender: Some(town.id("tower")),
            boot: Some("b".into()),
            seq: Some(seq as u64),
            sealed_name: None,
            detail: None,
        };
        town.hear(Fact::Signal(signal));
        town.decide();
    };
    let answers = |town: &mut Town, state: SessionState| {
        let asks: Vec<Ask> = town.asks.drain(..).collect();
        for ask in asks {
            let table = Outcome::Session { state };
            let (via, outcome) = match &ask.question {
                Question::Session { router, .. } => (Vantage::Through(*router), table),
                Question::PingThrough { router } => {
                    (Vantage::Through(*router), Outcome::Replied { rtt_us: 900 })
                }
                Question::Reach { .. } => (Vantage::Direct, Outcome::Replied { rtt_us: 900 }),
                Question::RollCall { .. } => {
                    let nothing = RollCall {
                        chunk: 0,
                        chunks: 1,
                        whole: false,
                        uptime_ms: 86_400_000,
                        up: vec![],
                        down: vec![],
                        present: vec![],
                        gone: vec![],
                    };
                    (Vantage::Direct, Outcome::RollCall(nothing))
                }
            };
            let (target, pop) = (ask.target, "main".to_owned());
            let answer = Answer { ask: Some(ask.id), asked_at: Some(ask.at), target, via, outcome, pop };
            town.hear(Fact::Answer(answer));
        }
        town.decide();
    };
    let (first, others) = (0..12, 12..24);
    for n in first.clone() {
        says(&mut town, n, Claim::Down, n + 1);
    }
    for _ in 0..40 {
        town.pass(250);
        answers(&mut town, SessionState::Absent);
    }
    let down = names.iter().filter(|name| town.health(name) == Some(Health::Down)).count();
    assert_eq!(down, first.len());
    // While as many others are looked for, because of whom the router is asked about all at once, the first are back.
    for n in others {
        says(&mut town, n, Claim::Down, 100 + n);
    }
    for n in first.clone() {
        says(&mut town, n, Claim::Up, 200 + n);
    }
    for _ in 0..8 {
        town.pass(250);
        answers(&mut town, SessionState::Present);
    }
    let mut said = town.log.iter().filter_map(|heard| match &heard.fact {
        Fact::Health(said) if said.now.node == town.id("sub-0") => Some(said.now.health),
        _ => None,
    });
    let first_up =
        said.by_ref().skip_while(|health| *health != Health::Down).find(|health| *health == Health::Up);
    assert_eq!((first_up, said.next()), (Some(Health::Up), None), "up, and nothing after it");
    let late: Vec<&String> =
        names[first].iter().filter(|name| town.health(name) != Some(Health::Up)).collect();
    assert!(late.is_empty(), "{late:?}");
}
