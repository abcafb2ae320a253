//! The live check: every hop from root to leaf, looked at now.

use crate::ground::hillside::{SLUG, hillside, node, tenant};
use crate::ground::{Ground, Sse, ground, network, read};
use events::{Answer, AskId, Fact, NodeId, Noun, Order, Outcome, Question, SessionState, Vantage};
use kit::{Filter, From};
use network_file::Shape;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Answers asks, the last one first: what is told must not depend on who answers first.
async fn play_poller(g: &Ground, asks: usize, silent: NodeId) {
    let mut reader = g.log.read(&[Filter::noun(Noun::Ask).tenant(tenant())], From::Start, None);
    let mut heard = vec![];
    while heard.len() < asks {
        let Fact::Ask(ask) = reader.next().await.unwrap().unwrap().decode().unwrap().fact else { continue };
        heard.push(ask);
    }
    heard.reverse();
    for ask in heard {
        let via = match &ask.question {
            Question::PingThrough { router } | Question::Session { router, .. } => Vantage::Through(*router),
            Question::Reach { .. } | Question::RollCall { .. } => Vantage::Direct,
        };
        let outcome = match &ask.question {
            _ if ask.target == silent => Outcome::Silent { tries: 3, last: true },
            Question::Session { .. } => Outcome::Session { state: SessionState::Absent },
            Question::Reach { .. } | Question::PingThrough { .. } | Question::RollCall { .. } => {
                Outcome::Replied { rtt_us: 1_500 }
            }
        };
        let answer = Answer {
            ask: Some(ask.id),
            asked_at: Some(ask.at),
            target: ask.target,
            via,
            outcome,
            pop: "main".into(),
        };
        // Another's answer about the same node says nothing here.
        let stranger =
            Answer { ask: Some(AskId::of(events::EventId(ask.id.0), ask.target, 9)), ..answer.clone() };
        for answer in [stranger, answer] {
            g.say(tenant(), "poller", None, Fact::Answer(answer)).await;
        }
    }
}

async fn hops(events: &mut Sse) -> (Value, Vec<Value>, Value) {
    let order = events.next().await.unwrap();
    assert_eq!(order.name, "order");
    let mut hops = vec![];
    loop {
        let event = events.next().await.unwrap();
        match event.name.as_str() {
            "hop" => hops.push(event.data),
            "end" => break (order.data, hops, event.data),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_check_shows_every_hop_from_root_to_leaf_and_is_on_record() {
    let (g, token) = hillside().await;
    let began = Instant::now();
    let mut events = Sse::open(g.post(&token, "/api/v1/nodes/c-000001/live-check")).await;
    let (_, (order, hops, end)) =
        tokio::join!(play_poller(&g, 4, node("tower-1-sector-1")), hops(&mut events));
    let shown: Vec<_> = hops
        .iter()
        .map(|hop| {
            let text = |key: &str| hop[key].as_str().unwrap().to_owned();
            (text("file_id"), text("how"), text("state"))
        })
        .collect();
    let expected = [
        ("core-1", "router_os", "up"),
        ("tower-1", "ping_through", "up"),
        ("tower-1-sector-1", "ping_through", "down"),
        ("c-000001", "session", "down"),
    ];
    assert_eq!(shown, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())), "{hops:#?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?} for four hops", began.elapsed());
    assert_eq!(hops[0]["rtt_us"], 1_500);
    assert_eq!((end["up"].as_u64(), end["down"].as_u64()), (Some(2), Some(2)));
    assert!(events.next().await.is_none(), "it ends");

    g.settled(tenant()).await;
    let raw = g.log.at(order["seq"].as_u64().unwrap()).await.unwrap().unwrap();
    let Fact::Order(said) = raw.decode().unwrap().fact else { panic!("the order is where it says") };
    let Order::LiveCheck { hops, .. } = said.order else { panic!("it is a live check") };
    assert_eq!((hops.len(), said.by.as_str()), (4, "noc of hillside"));
    assert_eq!(read(g.post(&token, "/api/v1/nodes/core-9/live-check")).await.0, 404);
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_check_that_nobody_answers_ends_in_time_and_accuses_nobody() {
    let g = ground().await;
    let shape = Shape { dual_uplinks: true, stations: true, ..Shape::default() };
    g.imported(&network(SLUG, shape).to_yaml()).await;
    let token = g.token(SLUG).await;
    let began = Instant::now();
    let mut events = Sse::open(g.post(&token, "/api/v1/nodes/c-000001/live-check")).await;
    let (_, hops, end) = hops(&mut events).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(hops.len() >= 6, "both ways up: {hops:#?}");
    assert_eq!(end["down"], 0, "{end}");
    g.end().await;
}
