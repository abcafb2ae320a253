//! Who is turned away at the front door is on record, in the log.

use crate::ground::{Ground, ground, id, kept, refused, until};
use events::{Fact, Grant, Heard, Noun, Refusal, RefusalReason, TenantId};
use kit::{Filter, From};
use std::net::{IpAddr, Ipv4Addr};
use vault::FreshToken;

const DEVICE: &str = "/api/webhooks/mikrotik/device-status";
const GOOD: &str = "id=a&status=up";

/// Every record of refusals in the log.
async fn records(g: &Ground) -> Vec<(Heard, Refusal)> {
    let end = g.log.state().await.unwrap().last_seq;
    let mut reader = g.log.read(&[Filter::noun(Noun::Refusal)], From::Start, Some(end));
    let mut found = vec![];
    while let Some(raw) = reader.next().await.unwrap() {
        let heard = raw.decode().unwrap();
        let Fact::Refusal(refusal) = heard.fact.clone() else { panic!("{heard:?}") };
        found.push((heard, refusal));
    }
    found
}

async fn recorded(g: &Ground, count: usize) -> Vec<(Heard, Refusal)> {
    until("they are on record", async || records(g).await.len() >= count).await;
    let found = records(g).await;
    assert_eq!(found.len(), count, "{found:?}");
    found
}

/// A token whose public part is `of`'s, and which opens nothing.
fn forged(of: &FreshToken) -> String {
    let mut text = of.text().to_owned();
    let last = if text.ends_with('a') { "b" } else { "a" };
    text.replace_range(text.len() - 1.., last);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_them_is_on_record_with_whose_token_it_was_and_from_where() {
    let mut g = ground().await;
    g.config.stale_after_s = 0;
    let token = g.router().await;
    let elsewhere = g.token(Grant::Router { router: g.core() }, &["192.0.2.0/24"]).await;
    let revoked = FreshToken::random();
    let mut gone = kept(&revoked, Grant::Signals, &[]);
    gone.revoked = true;
    g.grant(g.tenant, events::Access::Token(gone)).await;
    let unknown = FreshToken::random();
    let g = g.open().await;
    id(g.report(&token, "a", "down", 5_000).send().await.unwrap()).await;

    let bearing = |text: &str| g.client.post(g.url(DEVICE)).bearer_auth(text).body(GOOD);
    let (ours, operators) = (g.tenant, TenantId::operator());
    let prefix = |token: &FreshToken| Some(token.prefix().to_owned());
    let mut wanted = vec![];
    for (request, status, code, reason, tenant, shown) in [
        (g.client.post(g.url(DEVICE)).body(GOOD), 401, "unauthorized", "unauthorized", operators, None),
        (bearing(unknown.text()), 401, "unauthorized", "unauthorized", operators, None),
        (bearing(&forged(&token)), 401, "unauthorized", "unauthorized", ours, prefix(&token)),
        (bearing(revoked.text()), 401, "unauthorized", "unauthorized", ours, prefix(&revoked)),
        (bearing(elsewhere.text()), 403, "wrong_source", "wrong_source", ours, prefix(&elsewhere)),
        (g.report(&token, "a", "up", 1), 422, "stale", "stale", ours, prefix(&token)),
        (
            g.post(DEVICE, &token).body("x".repeat(20_000)),
            413,
            "too_large",
            "too_large",
            ours,
            prefix(&token),
        ),
    ] {
        let (got, got_code, _) = refused(request).await;
        assert_eq!((got, got_code.as_str()), (status, code));
        wanted.push((tenant, reason.to_owned(), shown));
    }
    assert_eq!(refused(g.post(DEVICE, &token).body("nonsense")).await.0, 400);
    // The second without a known token is like the first, and counted with it.
    wanted.remove(1);
    let g = g.reopened().await;
    let found = records(&g).await;
    let by_kind = |wanted: &(TenantId, String, Option<String>)| {
        let (tenant, reason, token) = wanted;
        let alike = |(heard, refusal): &&(Heard, Refusal)| {
            heard.tenant == *tenant && refusal.reason.name() == reason && refusal.token == *token
        };
        found.iter().filter(alike).map(|(_, refusal)| refusal.count).sum::<u64>()
    };
    let counts: Vec<u64> = wanted.iter().map(by_kind).collect();
    assert_eq!(counts, [2, 1, 1, 1, 1, 1], "{found:?}");
    let all: u64 = found.iter().map(|(_, refusal)| refusal.count).sum();
    assert_eq!(all, 7, "what is malformed is no matter of security");
    for (heard, refusal) in &found {
        assert_eq!(refusal.source, Some(IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(refusal.first <= refusal.last && heard.at == refusal.first);
        let said = serde_json::to_string(refusal).unwrap();
        for secret in [&token, &elsewhere, &revoked, &unknown].map(FreshToken::text) {
            assert!(!said.contains(secret), "{said}");
        }
    }
    let detail = |reason| {
        let (_, refusal) = found.iter().find(|(_, refusal)| refusal.reason == reason).unwrap();
        refusal.detail.clone().unwrap_or_default()
    };
    assert_eq!(detail(RefusalReason::Stale), "sequence 1 lies far below 5000");
    assert_eq!(detail(RefusalReason::TooLarge), "no body of this kind may exceed 16384 bytes");
    // What was accepted is no refusal, in either form.
    assert_eq!(
        g.client
            .get(g.url(&format!("/api/webhooks/device-status?{GOOD}&token={}", token.text())))
            .send()
            .await
            .unwrap()
            .status(),
        202
    );
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_a_few_records_in_which_every_one_is_counted() {
    let g = ground().await.open().await;
    let token = FreshToken::random();
    let knock = || g.post(DEVICE, &token).body(GOOD);
    assert_eq!(refused(knock()).await.0, 401);
    recorded(&g, 1).await;
    for _ in 0..200 {
        assert_eq!(refused(knock()).await.0, 401);
    }
    assert_eq!(records(&g).await.len(), 1, "it is counted, and said when a turn ends");
    // A door that closes says what it has not said yet.
    let g = g.reopened().await;
    let counts: Vec<u64> = records(&g).await.iter().map(|(_, refusal)| refusal.count).collect();
    assert_eq!(counts, [1, 200]);
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_away_it_is_counted_and_said_when_it_is_back() {
    let g = ground().await.open().await;
    g.nats.freeze().unwrap();
    let token = FreshToken::random();
    for _ in 0..3 {
        assert_eq!(refused(g.post(DEVICE, &token).body(GOOD)).await.0, 401, "who is refused needs no log");
    }
    until("the log did not take it", async || g.figure("mastwatch_ingest_refusals_unsaid_total") > 0.0).await;
    g.nats.thaw().unwrap();
    // The same door says it, by itself, and each of them once.
    let told = async || records(&g).await.iter().map(|(_, refusal)| refusal.count).sum::<u64>();
    until("the first is on record", async || told().await >= 1).await;
    let g = g.reopened().await;
    let told: u64 = records(&g).await.iter().map(|(_, refusal)| refusal.count).sum();
    assert_eq!(told, 3);
    g.close().await;
}
