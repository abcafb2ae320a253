//! What cannot be read harms itself only: it goes whole to the dead letters, and the rest flows on.

use async_nats::HeaderMap;
use events::{Noun, Subject, TenantId};
use network_file::Shape;
use stack::{
    Stack,
    fleet::Fleet,
    isp::Isp,
    ledger::{self, Letter},
    outage::Outage,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long each wait may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One message that is no fact.
struct Poison {
    what: String,
    subject: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Messages of every noun that cannot be read, each for another reason. Timers and positions are not among
/// them: they are the server's and the services' own, and nobody hears them.
fn poisons(tenant: TenantId) -> Vec<Poison> {
    let nouns = Noun::ALL.into_iter().filter(|noun| !matches!(noun, Noun::Timer | Noun::Cut));
    let mut all = Vec::new();
    for noun in nouns {
        let id = |n: u128| uuid::Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + n).to_string();
        let envelope = |n, tenant: TenantId, kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("ce-specversion", "1.0");
            headers.insert("ce-id", id(n).as_str());
            headers.insert("ce-type", kind);
            headers.insert("ce-source", "/mastwatch/nobody");
            headers.insert("ce-tenantid", tenant.to_string().as_str());
            headers.insert("ce-time", "2026-01-01T00:00:00.000000Z");
            headers
        };
        let kind = noun.event_type();
        let newer = format!("{}99", kind.trim_end_matches(|c: char| c.is_ascii_digit()));
        let other = TenantId::of("somebody-else");
        let bodies: [(&str, HeaderMap, &[u8]); 6] = [
            ("no JSON", envelope(1, tenant, &kind), b"\xff\xfe{not json"),
            ("other JSON", envelope(2, tenant, &kind), br#"{"surprise":[1,2,3]}"#),
            ("empty", envelope(3, tenant, &kind), b""),
            ("without an envelope", HeaderMap::new(), b"{}"),
            ("of another tenant", envelope(4, other, &kind), b"{}"),
            ("of a newer version", envelope(5, tenant, &newer), b"{}"),
        ];
        for (n, (what, headers, body)) in bodies.into_iter().enumerate() {
            let key = match noun {
                Noun::Ask => format!("main.{n}.poison"),
                Noun::Due => format!("correlator.poison-{n}"),
                _ => format!("poison-{n}"),
            };
            let subject = Subject::new(tenant, noun, key).expect("a key of letters").to_string();
            let what = format!("{} {what}", noun.token());
            all.push(Poison { what, subject, headers, body: body.to_vec() });
        }
    }
    all
}

/// The dead letters of a service that hold what was stored at `seq`.
fn letters_of<'a>(letters: &'a [Letter], service: &str, seq: u64) -> Vec<&'a Letter> {
    let of = format!("dead.{service}.");
    letters.iter().filter(|l| l.subject.starts_with(&of) && l.seq == seq.to_string()).collect()
}

/// Who must have put a message of this noun into the dead letters: those that decide by it, the one that sends
/// it, and the one that makes rows of it.
fn hearers(noun: &str) -> Vec<&'static str> {
    let deciders: &[&str] = match noun {
        "inventory" | "revision" => &["diagnostician", "correlator", "notifier"],
        "signal" | "answer" => &["diagnostician"],
        "order" | "health" | "due" => &["correlator"],
        "incident" | "delivery" => &["notifier"],
        "notice" => &["notifier-deliveries"],
        _ => &[],
    };
    let rows = LEAVES_ROWS.contains(&noun).then_some("projector-read_models");
    deciders.iter().copied().chain(rows).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_goes_whole_to_the_dead_letters_and_the_rest_flows_on() {
    let stack = Stack::start().await.unwrap();
    let mut fleet = Fleet::start(&stack).unwrap();
    let isp = Isp::open(&stack, "poisoned", 7, Shape { heartbeat_s: 5, ..Shape::default() }).await.unwrap();
    stack.settled(isp.slug(), PATIENCE).await.unwrap();

    let server = ledger::jetstream(&stack).await.unwrap();
    let mut stored = Vec::new();
    for poison in poisons(isp.tenant) {
        let ack = server
            .publish_with_headers(poison.subject.clone(), poison.headers.clone(), poison.body.clone().into())
            .await
            .unwrap()
            .await
            .unwrap();
        stored.push((ack.sequence, poison));
    }

    // Whoever hears it puts it there, once and whole, with a reason.
    let began = Instant::now();
    let missing = loop {
        let letters = ledger::dead(&stack).await.unwrap();
        let mut missing = Vec::new();
        for (seq, poison) in &stored {
            let noun = poison.subject.split('.').nth(3).unwrap();
            for service in hearers(noun) {
                match letters_of(&letters, service, *seq).as_slice() {
                    [one] => {
                        assert_eq!(one.body, poison.body, "{service}: {}", poison.what);
                        assert!(!one.reason.is_empty(), "{service}: {}", poison.what);
                    }
                    several => missing.push(format!("{service}: {} of {}", several.len(), poison.what)),
                }
            }
        }
        if missing.is_empty() || began.elapsed() > PATIENCE {
            break missing;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(missing.is_empty(), "not one dead letter each: {missing:#?}\n{}", fleet.said(&Fleet::SERVICES));

    // Everybody lives, starts again with all of it in the log, and an outage is told as ever.
    fleet.mind(&stack, &[]).unwrap();
    assert!(fleet.ended().is_empty());
    for service in Fleet::SERVICES {
        fleet.of(service).kill();
        fleet.start_again(&stack, service).unwrap();
    }
    // Who says a noun reads it again at its start, and only then finds what others put there.
    let (strikes, is_poisoned) = (vec![], true);
    let outage = Outage { stack: &stack, fleet: &mut fleet, isp: &isp, seed: 7, strikes, is_poisoned };
    let wrong = outage.run().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let letters = ledger::dead(&stack).await.unwrap();
    let places: BTreeSet<&str> = letters.iter().map(|letter| letter.subject.as_str()).collect();
    assert_eq!(places.len(), letters.len(), "nothing is buried twice");
    let poisoned = |letter: &&Letter| stored.iter().any(|(seq, _)| letter.seq == seq.to_string());
    let sound: Vec<&Letter> = letters.iter().filter(|letter| !poisoned(letter)).collect();
    assert!(sound.is_empty(), "buried though there was nothing wrong with it: {sound:?}");
    isp.lab.stop().await;
}

/// The nouns that leave rows.
const LEAVES_ROWS: [&str; 11] = [
    "inventory",
    "revision",
    "access",
    "order",
    "signal",
    "suspicion",
    "health",
    "downtime",
    "incident",
    "notice",
    "delivery",
];
