//! The front door as its users see it, on a real log.

use crate::ground::{ground, ground_on, id, kept, refused, until};
use events::{About, Access, Claim, EventId, Grant, NodeId, SignalSource, TenantId};
use kit::PublishLimits;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use vault::{Field, FreshToken, SessionKind};

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_in_each_form_becomes_one_signal() {
    let g = ground().await.open().await;
    let token = g.router().await;
    let with_token = |path: &str| g.url(&format!("{path}token={}", token.text()));
    until("the token is known", async || g.figure("mastwatch_ingest_tokens") > 0.0).await;
    let requests = [
        // By header: form, JSON, query.
        g.post("/api/webhooks/mikrotik/ppp-status", &token).body("user=u%20one&status=offline&boot=b&seq=1"),
        g.post("/api/webhooks/mikrotik/device-status", &token)
            .json(&json!({"id": "sector-1", "status": "down", "boot": "b", "seq": 2, "detail": "timeout"})),
        g.post(
            "/api/webhooks/mikrotik/dhcp-status?mac=D4:CA:6D:00:00:01&address=10.0.0.9&status=bound",
            &token,
        ),
        // By parameter: short forms by GET and POST.
        g.client.get(with_token("/api/webhooks/ppp-status?user=u%20one&status=online&")),
        g.client.get(with_token("/api/webhooks/device-status?id=sector-1&status=up&")),
        g.client
            .post(g.url("/api/webhooks/device-status"))
            .body(format!("id=sector-2&status=up&token={}", token.text())),
        g.client
            .post(g.url("/api/webhooks/ppp-status"))
            .json(&json!({"user": "u one", "status": "offline", "token": token.text()})),
    ];
    let mut ids = vec![];
    for request in requests {
        ids.push(id(request.send().await.unwrap()).await);
    }
    let found = g.signals().await;
    assert_eq!(found.iter().map(|(heard, _)| heard.id).collect::<Vec<_>>(), ids);
    let session = About::Session(g.keys.look_up(g.core(), SessionKind::Ppp, "u one"));
    let lease = About::Session(g.keys.look_up(g.core(), SessionKind::Mac, "d4ca6d000001"));
    let sector = |n: u32| About::Node(NodeId::of(g.tenant, &format!("sector-{n}")));
    let (ppp, netwatch, dhcp) = (SignalSource::Ppp, SignalSource::Netwatch, SignalSource::Dhcp);
    let told: Vec<_> = found.iter().map(|(_, s)| (s.about, s.says, s.source)).collect();
    let (up, down) = (Claim::Up, Claim::Down);
    assert_eq!(
        told,
        [
            (session, down, ppp),
            (sector(1), down, netwatch),
            (lease, up, dhcp),
            (session, up, ppp),
            (sector(1), up, netwatch),
            (sector(2), up, netwatch),
            (session, down, ppp),
        ]
    );
    assert!(found.iter().all(|(heard, s)| heard.tenant == g.tenant && s.sender == Some(g.core())));
    assert_eq!(ids[0], EventId::numbered(g.core(), "b", 1));
    let About::Session(key) = session else { unreachable!() };
    let name = g.keys.open(Field::Session(key), found[0].1.sealed_name.as_ref().unwrap()).unwrap();
    assert_eq!(name.as_slice(), b"u one");
    assert_eq!(g.figure("mastwatch_ingest_signals_accepted_total"), 7.0);
    assert_eq!(g.figure("mastwatch_ingest_publish_seconds_count"), 7.0);
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_with_the_first_id_and_stored_once() {
    let g = ground().await;
    let token = g.router().await;
    let g = g.open().await;
    let first = id(g.report(&token, "a", "down", 1).send().await.unwrap()).await;
    assert_eq!(id(g.report(&token, "a", "down", 1).send().await.unwrap()).await, first);
    let keyed = |key: &str| {
        g.post("/api/webhooks/mikrotik/device-status", &token)
            .header("idempotency-key", key)
            .body("id=a&status=up")
    };
    let by_key = id(keyed("k 1").send().await.unwrap()).await;
    assert_eq!(id(keyed("k 1").send().await.unwrap()).await, by_key);
    assert_ne!(id(keyed("k 2").send().await.unwrap()).await, by_key);
    // Down, up, down within minutes is three facts, however alike two of them are.
    let plain = g.post("/api/webhooks/mikrotik/device-status", &token).body("id=a&status=down");
    let again = plain.try_clone().unwrap();
    assert_ne!(id(plain.send().await.unwrap()).await, id(again.send().await.unwrap()).await);
    assert_eq!(g.signals().await.len(), 5);
    assert_eq!(g.figure("mastwatch_ingest_signals_repeated_total"), 2.0);

    // A front door that was started again remembers nothing; the log does.
    let g = g.reopened().await;
    assert_eq!(id(g.report(&token, "a", "down", 1).send().await.unwrap()).await, first);
    assert_eq!(g.signals().await.len(), 5);
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_stored_whole_or_not_at_all() {
    let g = ground().await;
    let token = g.token(Grant::Signals, &[]).await;
    let g = g.open().await;
    let post = |body: &Value| g.post("/api/v1/signals", &token).json(body);
    let element = |n: u64| json!({"id": format!("n{n}"), "says": "down", "source": "zabbix"});
    let numbered = |n: u64| json!({"user": "u", "router": "core-1", "says": "up", "boot": "b", "seq": n});

    let thousand: Value = (0..500).map(element).chain((0..500).map(numbered)).collect();
    let response = post(&thousand).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let body: Value = response.json().await.unwrap();
    let ids: Vec<EventId> =
        body["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect();
    let found = g.signals().await;
    assert_eq!(found.iter().map(|(heard, _)| heard.id).collect::<Vec<_>>(), ids);
    assert_eq!(ids[777], EventId::numbered(g.core(), "b", 277));
    assert_eq!(found[0].1.source, SignalSource::Zabbix);

    let mut wrong: Vec<Value> = (0..10).map(element).collect();
    wrong[7] = json!({"id": "x", "says": "perhaps"});
    let refusal = post(&json!(wrong)).send().await.unwrap().text().await.unwrap();
    assert!(refusal.contains("signal 7: `says` must be"), "{refusal}");
    // Whatever it is refused for, the one that is wrong is named.
    let mut wrong: Vec<Value> = (0..10).map(element).collect();
    wrong[3] = json!({"user": "u", "says": "up", "source": "ppp"});
    let refusal = post(&json!(wrong)).send().await.unwrap();
    assert_eq!(refusal.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let problem: Value = refusal.json().await.unwrap();
    assert_eq!(problem["code"], "no_router", "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("signal 3: a session is known at its router only"), "{detail}");
    let many: Value = (0..1_001).map(element).collect();
    assert_eq!(refused(post(&many)).await.0, 413);
    assert_eq!(refused(post(&json!({"id": "x"}))).await.0, 400);
    assert_eq!(g.signals().await.len(), 1_000);

    // Half of it is known already: what is new is stored, and every id is answered.
    let overlap: Value = (450..550).map(numbered).collect();
    assert_eq!(post(&overlap).send().await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(g.signals().await.len(), 1_050);
    let keyed = || post(&json!([element(1), element(2)])).header("idempotency-key", "batch-1");
    let (a, b) = (keyed().send().await.unwrap(), keyed().send().await.unwrap());
    assert_eq!(a.text().await.unwrap(), b.text().await.unwrap());
    assert_eq!(g.signals().await.len(), 1_052);
    assert_eq!(post(&json!([])).send().await.unwrap().text().await.unwrap(), r#"{"ids":[]}"#);
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_form_and_its_figure() {
    let mut g = ground().await;
    g.config.stale_after_s = 0;
    (g.config.token_per_second, g.config.token_burst) = (0.1, 12);
    (g.config.tenant_per_second, g.config.tenant_burst) = (0.1, 40);
    let token = g.router().await;
    let elsewhere = g.token(Grant::Router { router: g.core() }, &["192.0.2.0/24"]).await;
    let console = g.token(Grant::Console, &[]).await;
    let other_tenant = FreshToken::random();
    let valley = TenantId::of("valley");
    let grant = Grant::Router { router: NodeId::of(valley, "r") };
    g.grant(valley, Access::Token(kept(&other_tenant, grant, &[]))).await;
    let g = g.open().await;
    let device = "/api/webhooks/mikrotik/device-status";
    let ppp = "/api/webhooks/mikrotik/ppp-status";
    let good = "id=a&status=up";
    let unknown = FreshToken::random();

    for (request, status, code) in [
        (g.client.post(g.url(device)).body(good), 401, "unauthorized"),
        (g.post(device, &unknown).body(good), 401, "unauthorized"),
        (g.client.post(g.url(device)).basic_auth("a", Some("b")).body(good), 401, "unauthorized"),
        (g.client.post(g.url("/api/v1/signals")).body("[]"), 401, "unauthorized"),
        (g.post(device, &elsewhere).body(good), 403, "wrong_source"),
        // Nobody is asked, so nobody is believed.
        (g.post(device, &elsewhere).header("x-forwarded-for", "192.0.2.1").body(good), 403, "wrong_source"),
        (g.post(device, &console).body(good), 403, "forbidden"),
        (g.post(device, &token).body("x".repeat(20_000)), 413, "too_large"),
        (g.post(device, &token).body("status=up"), 400, "malformed"),
        (g.post(device, &token).body("{"), 400, "malformed"),
        (g.post(device, &token).body("id=a&status=sideways"), 400, "malformed"),
        (g.post(device, &token).header("idempotency-key", "").body(good), 400, "malformed"),
        (g.post("/api/v1/signals", &token).body("nonsense"), 400, "malformed"),
        (g.post(ppp, &token).body("user=u&status=online&router=core-2"), 422, "other_router"),
        // The other tenant's keys were never granted.
        (g.post(ppp, &other_tenant).body("user=u&status=online"), 503, "unavailable"),
        (g.client.get(g.url(device)), 405, "method_not_allowed"),
        (g.client.get(g.url("/api/webhooks/nothing")), 404, "not_found"),
    ] {
        let (got, got_code, again) = refused(request).await;
        assert_eq!((got, got_code.as_str()), (status, code));
        assert_eq!(again.is_some(), status == 503);
    }
    // Before a byte of the body is sent: who declares too much is told at once.
    let answer = answer_to_head(g.address, device, 3 << 20).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("application/problem+json"), "{answer}");

    id(g.report(&token, "a", "down", 5_000).send().await.unwrap()).await;
    let (status, code, _) = refused(g.report(&token, "a", "up", 1)).await;
    assert_eq!((status, code.as_str()), (422, "stale"));

    let mut over = None;
    for seq in 5_001..5_020 {
        let response = g.report(&token, "a", "down", seq).send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            over = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().ok();
            break;
        }
    }
    assert!(over.unwrap() >= 1);
    for reason in [
        "unauthorized",
        "wrong_source",
        "other_grant",
        "too_large",
        "malformed",
        "stale",
        "over_quota",
        "no_keys",
    ] {
        let name = format!("mastwatch_ingest_refusals_total{{reason=\"{reason}\"}}");
        assert!(g.figure(&name) >= 1.0, "{name}");
    }
    let route = "mastwatch_ingest_http_answers_total{method=\"POST\",route=\"/api/webhooks/mikrotik/device-status\",status=\"401\"}";
    assert_eq!(g.figure(route), 3.0);
    g.close().await;
}

/// What is answered to a request that declares a body of `length` bytes and sends none of it.
async fn answer_to_head(address: SocketAddr, path: &str, length: usize) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..n]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_tenant_leaves_the_others_theirs() {
    let mut g = ground().await;
    (g.config.token_per_second, g.config.token_burst) = (1_000.0, 1_000);
    (g.config.tenant_per_second, g.config.tenant_burst) = (1.0, 100);
    let (a, b) = (g.token(Grant::Signals, &[]).await, g.token(Grant::Signals, &[]).await);
    let valley = TenantId::of("valley");
    let theirs = FreshToken::random();
    g.grant(valley, Access::Token(kept(&theirs, Grant::Signals, &[]))).await;
    let g = g.open().await;
    let post = |token: &FreshToken, n: u64| {
        let all: Value = (0..n).map(|n| json!({"id": n.to_string(), "says": "up"})).collect();
        g.post("/api/v1/signals", token).json(&all)
    };
    assert_eq!(post(&a, 90).send().await.unwrap().status(), StatusCode::ACCEPTED);
    // Another token of the same tenant: the tenant's quota is the same one.
    let (status, code, again) = refused(post(&b, 90)).await;
    assert_eq!((status, code.as_str()), (429, "over_quota"));
    assert!(again.unwrap() >= 70);
    assert_eq!(post(&theirs, 90).send().await.unwrap().status(), StatusCode::ACCEPTED);
    // More than the quota ever grants will not be granted later either.
    assert_eq!(refused(post(&a, 101)).await.0, 413);
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_from_when_it_is_granted_until_it_is_revoked() {
    let g = ground().await.open().await;
    let token = FreshToken::random();
    let grant = Grant::Router { router: g.core() };
    let send = async |n: u64| g.report(&token, "a", "up", n).send().await.unwrap().status().as_u16();
    assert_eq!(send(1).await, 401);
    g.grant(g.tenant, Access::Token(kept(&token, grant, &[]))).await;
    until("it is known", async || send(2).await == 202).await;
    let mut revoked = kept(&token, grant, &[]);
    revoked.revoked = true;
    g.grant(g.tenant, Access::Token(revoked)).await;
    until("it is not any more", async || send(3).await == 401).await;
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_its_networks_as_the_peer_or_a_known_proxy_says() {
    let mut g = ground().await;
    g.config.proxies = vec!["127.0.0.3/32".parse().unwrap()];
    g.config.proxy_header = "x-real-hop".into();
    let token = g.token(Grant::Router { router: g.core() }, &["127.0.0.2/32", "198.51.100.0/24"]).await;
    let g = g.open().await;
    let send = async |from: [u8; 4], hops: Option<&str>| {
        let client = Client::builder().local_address(std::net::IpAddr::from(from)).build().unwrap();
        let request = client.post(g.url("/api/webhooks/device-status")).bearer_auth(token.text());
        let request = hops.into_iter().fold(request, |r, hops| r.header("x-real-hop", hops));
        request.body("id=a&status=up").send().await.unwrap().status().as_u16()
    };
    assert_eq!(send([127, 0, 0, 2], None).await, 202);
    assert_eq!(send([127, 0, 0, 1], None).await, 403);
    assert_eq!(send([127, 0, 0, 1], Some("127.0.0.2")).await, 403);
    assert_eq!(send([127, 0, 0, 3], Some("203.0.113.1, 198.51.100.9")).await, 202);
    assert_eq!(send([127, 0, 0, 3], Some("198.51.100.9, 203.0.113.1")).await, 403);
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forms_by_get_can_be_switched_off() {
    let mut g = ground().await;
    g.config.get_forms = false;
    let token = g.router().await;
    let g = g.open().await;
    let url = g.url(&format!("/api/webhooks/device-status?id=a&status=up&token={}", token.text()));
    assert_eq!(refused(g.client.get(&url)).await.0, 405);
    id(g.client.post(&url).send().await.unwrap()).await;
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_away_senders_are_told_to_come_again_and_nothing_acknowledged_is_lost() {
    let mut g = ground().await;
    g.config.store_within_ms = 500;
    let token = g.router().await;
    let g = g.open().await;
    let mut acknowledged = BTreeSet::new();
    for seq in 0..20 {
        acknowledged.insert(id(g.report(&token, "a", "down", seq).send().await.unwrap()).await);
    }
    g.nats.kill();
    let (status, code, again) = refused(g.report(&token, "a", "up", 20)).await;
    assert_eq!((status, code.as_str()), (503, "unavailable"));
    assert!(again.is_some());
    g.nats.restart().await.unwrap();
    // The same report again, as routers do; also one that was acknowledged before.
    until("the log is back", async || {
        g.report(&token, "a", "up", 20).send().await.unwrap().status() == StatusCode::ACCEPTED
    })
    .await;
    acknowledged.insert(EventId::numbered(g.core(), "b1", 20));
    id(g.report(&token, "a", "down", 3).send().await.unwrap()).await;
    let stored: Vec<EventId> = g.signals().await.into_iter().map(|(heard, _)| heard.id).collect();
    assert_eq!(stored.len(), 21);
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), acknowledged);
    g.close().await;
}

const NOT_STORED: &str = "mastwatch_ingest_refusals_total{reason=\"not_stored\"}";

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_too_much_waits_is_told_so_at_once_and_nothing_is_lost() {
    let mut g = ground_on(|_| {}, PublishLimits { messages_max: 8, kib_max: 1_024 }).await;
    g.config.store_within_ms = 2_000;
    let token = g.router().await;
    let g = g.open().await;
    id(g.report(&token, "a", "down", 0).send().await.unwrap()).await;
    g.nats.freeze().unwrap();
    let waiting: Vec<_> =
        (1..=8).map(|seq| tokio::spawn(g.report(&token, "a", "down", seq).send())).collect();
    let mut nth = 9;
    // The queue is full when the first eight have come to it.
    until("somebody is turned away", async || {
        nth += 1;
        let began = std::time::Instant::now();
        let turned_away =
            refused(g.report(&token, "a", "down", nth)).await == (503, "unavailable".into(), Some(1));
        turned_away && began.elapsed() < std::time::Duration::from_millis(500)
    })
    .await;
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(g.figure(NOT_STORED) >= 9.0);
    g.nats.thaw().unwrap();
    until("the log is back", async || {
        g.report(&token, "a", "down", nth).send().await.unwrap().status() == StatusCode::ACCEPTED
    })
    .await;
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_is_said_to_the_sender_and_keeps_what_was_acknowledged() {
    let g = ground_on(|options| options.store_bytes_max = Some(256 * 1024), PublishLimits::default()).await;
    let token = g.router().await;
    let g = g.open().await;
    let mut acknowledged = BTreeSet::new();
    let (status, code, again) = loop {
        let array: Vec<Value> = (0..20)
            .map(|n| {
                json!({"id": "a", "says": "down", "source": "netwatch", "boot": "b1",
                "seq": acknowledged.len() + n, "detail": "x".repeat(400)})
            })
            .collect();
        let response = g.post("/api/v1/signals", &token).json(&array).send().await.unwrap();
        if response.status() != StatusCode::ACCEPTED {
            break refused(g.post("/api/v1/signals", &token).json(&array)).await;
        }
        let answer: Value = response.json().await.unwrap();
        let ids = answer["ids"].as_array().unwrap();
        acknowledged.extend(ids.iter().map(|id| id.as_str().unwrap().parse::<EventId>().unwrap()));
        assert!(acknowledged.len() < 10_000, "the store is never full");
    };
    assert_eq!((status, code.as_str(), again), (503, "unavailable", Some(30)));
    assert!(g.figure(NOT_STORED) >= 2.0);
    let stored: BTreeSet<EventId> = g.signals().await.into_iter().map(|(heard, _)| heard.id).collect();
    assert!(acknowledged.is_subset(&stored), "something acknowledged is gone");
    g.close().await;
}
