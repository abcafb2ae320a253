//! What no sender of ours would send: each reason for a refusal has its answer and its figure, and absurd values
//! harm nobody.

use crate::ground::{ground, id, kept, refused};
use events::{Claim, Grant, Heard, NodeId, TenantId};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use vault::FreshToken;

const DEVICE: &str = "/api/webhooks/mikrotik/device-status";
const PPP: &str = "/api/webhooks/mikrotik/ppp-status";
const DHCP: &str = "/api/webhooks/mikrotik/dhcp-status";
const SIGNALS: &str = "/api/v1/signals";

#[tokio::test(flavor = "multi_thread")]
async fn every_absurd_request_has_its_answer_and_its_figure() {
    let mut g = ground().await;
    g.config.get_forms = false;
    let router = g.router().await;
    let signals = g.token(Grant::Signals, &[]).await;
    let g = g.open().await;
    let long = "x".repeat(300);
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let many: Value = (0..1_001).map(|n| json!({"id": n.to_string(), "says": "up"})).collect();
    let form = |path: &str, body: &str| g.post(path, &router).body(body.to_owned());
    let list = |body: &str| g.post(SIGNALS, &signals).body(body.to_owned());

    let table = vec![
        ("malformed", 400, form(DEVICE, "")),
        ("malformed", 400, form(DEVICE, "id=a&status=down&boot=b&seq=-1")),
        ("malformed", 400, form(DEVICE, "id=a&status=down&boot=b&seq=18446744073709551616")),
        ("malformed", 400, form(DEVICE, "id=a&status=down&boot=b&seq=1e3")),
        ("malformed", 400, form(DEVICE, &format!("id={long}&status=down"))),
        ("malformed", 400, form(DEVICE, "id=a%00b&status=down")),
        ("malformed", 400, form(DEVICE, "id=%ff%fe&status=down")),
        ("malformed", 400, form(DEVICE, "id=a&status=down&id=b")),
        ("malformed", 400, form(&format!("{DEVICE}?status=up"), "id=a&status=down")),
        ("malformed", 400, form(DEVICE, "id=a&status=down&at=yesterday")),
        ("malformed", 400, form(PPP, &format!("user={long}&status=online"))),
        ("malformed", 400, form(PPP, "user=u&status=up")),
        ("malformed", 400, form(DHCP, "mac=nonsense&address=10.0.0.1&status=bound")),
        ("malformed", 400, form(DEVICE, "null").header(header::CONTENT_TYPE, "application/json")),
        ("malformed", 400, form(DEVICE, &deep).header(header::CONTENT_TYPE, "application/json")),
        ("malformed", 400, list(&deep)),
        ("malformed", 400, list("[{\"id\":\"a\",\"says\":\"down\"}")),
        ("malformed", 400, list("[{\"id\":\"a\",\"account\":\"b\",\"says\":\"down\"}]")),
        ("malformed", 400, list("[{\"id\":\"a\",\"says\":\"down\",\"source\":\"rumour\"}]")),
        ("malformed", 400, list("[{\"id\":{\"a\":1},\"says\":\"down\"}]")),
        ("malformed", 400, g.post(SIGNALS, &signals).body(vec![0xff_u8; 64])),
        ("own_source", 422, list("[{\"id\":\"a\",\"says\":\"down\",\"source\":\"heartbeat\"}]")),
        ("own_source", 422, list("[{\"id\":\"a\",\"says\":\"down\",\"source\":\"roll_call\"}]")),
        ("no_router", 422, list("[{\"user\":\"u\",\"says\":\"down\"}]")),
        ("other_router", 422, form(PPP, "user=u&status=online&router=core-9")),
        ("too_large", 413, g.post(SIGNALS, &signals).json(&many)),
        ("too_large", 413, form(DEVICE, &"y".repeat(20_000))),
        (
            "no_get",
            405,
            g.client
                .get(g.url(&format!("/api/webhooks/device-status?token={}&id=a&status=up", router.text()))),
        ),
        (
            "unauthorized",
            401,
            g.client.post(g.url(DEVICE)).bearer_auth("x".repeat(4_000)).body("id=a&status=up"),
        ),
        ("unauthorized", 401, g.client.post(g.url(DEVICE)).bearer_auth("mw_").body("id=a&status=up")),
    ];
    let mut wanted = std::collections::BTreeMap::<&str, f64>::new();
    for (n, (reason, status, request)) in table.into_iter().enumerate() {
        let (got, code, again) = refused(request).await;
        assert_eq!((got, again), (status, None), "{n}: {reason}, answered {code}");
        *wanted.entry(reason).or_default() += 1.0;
    }
    for (reason, count) in &wanted {
        let name = format!("mastwatch_ingest_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(g.figure(&name), *count, "{name}");
    }
    assert!(g.signals().await.is_empty(), "nothing of it was taken");
    g.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_times_are_bounded_and_absurd_names_stay_names() {
    let g = ground().await;
    let token = g.token(Grant::Signals, &[]).await;
    let g = g.open().await;
    for at in [
        json!(i64::MAX),
        json!(i64::MIN),
        json!(0),
        json!("9999-12-31T23:59:59Z"),
        json!("0001-01-01T00:00:00Z"),
    ] {
        let body = json!([{"id": "../../etc.>*", "says": "down", "at": at}]);
        let sent = g.post(SIGNALS, &token).json(&body).send().await.unwrap();
        assert_eq!(sent.status(), StatusCode::ACCEPTED, "{body}: {}", sent.text().await.unwrap());
    }
    let signals = g.signals().await;
    assert_eq!(signals.len(), 5);
    for (Heard { heard, at, tenant, .. }, signal) in signals {
        assert_eq!((tenant, signal.says), (g.tenant, Claim::Down));
        let ahead_ms = at.ms_since(heard);
        assert!((-7 * 86_400_000 - 5_000..=5_000).contains(&ahead_ms), "{ahead_ms} ms");
    }
    g.close().await;
}

/// A token is its tenant's: whatever it names, nothing of it reaches another tenant.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_tenant_says_nothing_of_another() {
    let g = ground().await;
    let valley = TenantId::of("valley");
    let foreign = FreshToken::random();
    g.grant(valley, events::Access::Token(kept(&foreign, Grant::Signals, &[]))).await;
    let own = g.router().await;
    let g = g.open().await;
    id(g.report(&own, "sector-1", "up", 1).send().await.unwrap()).await;
    for about in [json!({"id": "sector-1"}), json!({"id": g.tenant.to_string()}), json!({"account": "HW-1"})]
    {
        let mut claim = about;
        claim["says"] = "down".into();
        claim["tenant"] = g.tenant.to_string().into();
        let sent = g.post(SIGNALS, &foreign).header("x-tenant", g.tenant.to_string()).json(&json!([claim]));
        assert_eq!(sent.send().await.unwrap().status(), StatusCode::ACCEPTED);
    }
    for (heard, signal) in g.signals().await {
        let (tenant, says) =
            if heard.tenant == g.tenant { (g.tenant, Claim::Up) } else { (valley, Claim::Down) };
        assert_eq!((heard.tenant, signal.says), (tenant, says));
        if let events::About::Node(node) = signal.about {
            assert!(heard.tenant == g.tenant || node != NodeId::of(g.tenant, "sector-1"));
        }
    }
    g.close().await;
}
