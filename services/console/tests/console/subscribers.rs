//! What subscribers are entitled to, as billing systems say it and as network files do.

use crate::ground::{Ground, ground, read, small};
use events::{Entitlement, EntitlementSaid, Fact, NodeId, Noun, TenantId};
use kit::{Filter, From};
use serde_json::{Value, json};

const SLUG: &str = "hillside";
const ADDRESS: &str = "10.99.88.77";
const PASSWORD: &str = "hunter2-hunter2";

fn tenant() -> TenantId {
    TenantId::of(SLUG)
}

/// Every entitlement that was said, in order.
async fn said(g: &Ground) -> Vec<EntitlementSaid> {
    let end = g.log.state().await.unwrap().last_seq;
    let mut reader = g.log.read(&[Filter::noun(Noun::Entitlement)], From::Start, Some(end));
    let mut said = Vec::new();
    while let Some(raw) = reader.next().await.unwrap() {
        let Fact::Entitlement(one) = raw.decode().unwrap().fact else { panic!("an entitlement") };
        said.push(one);
    }
    said
}

/// The file of the tests with one more subscriber, of whom this is said.
fn with(service: &str) -> String {
    let line = format!("  - {{account: c-77, parent: tower-1-sector-1, user: seventy-seven{service}}}\n");
    let file = small(SLUG);
    let at = file.find("subscribers:\n").map(|at| at + "subscribers:\n".len());
    match at {
        Some(at) => format!("{}{line}{}", &file[..at], &file[at..]),
        None => format!("{file}\nsubscribers:\n{line}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn billing_says_what_a_subscriber_is_to_get_and_the_same_again_says_nothing() {
    let g = ground().await;
    g.imported(&with("")).await;
    let token = g.token(SLUG).await;
    let at = "/api/v1/subscribers/c-77";
    let put = |body: Value| g.request(reqwest::Method::PUT, &token, &format!("{at}/service")).json(&body);
    assert_eq!(read(g.get(&token, &format!("{at}/service"))).await.0, 404, "nothing was said yet");
    let body = json!({
        "state": "active", "profile": "gold", "rate": {"up_bps": 2_000_000, "down_bps": 20_000_000},
        "address": ADDRESS, "password": PASSWORD, "by": "ana",
    });
    let (status, first) = read(put(body.clone())).await;
    assert_eq!((status.as_u16(), &first["changed"]), (200, &json!(true)), "{first:#}");
    let (_, again) = read(put(body)).await;
    assert_eq!((&again["changed"], &again["seq"]), (&json!(false), &first["seq"]));

    // Suspended, everything else stays; on what is not the last word any more nothing is changed.
    let suspend = g.post(&token, &format!("{at}/suspend")).header("if-match", first["seq"].to_string());
    let (status, second) = read(suspend).await;
    assert_eq!((status.as_u16(), &second["changed"]), (200, &json!(true)), "{second:#}");
    let late = g.post(&token, &format!("{at}/resume")).header("if-match", first["seq"].to_string());
    assert_eq!(read(late).await.0, 409);
    g.settled(tenant()).await;
    let (_, shown) = read(g.get(&token, &format!("{at}/service"))).await;
    for (key, value) in [
        ("state", json!("suspended")),
        ("profile", json!("gold")),
        ("up_bps", json!(2_000_000)),
        ("has_address", json!(true)),
        ("has_password", json!(true)),
        ("account", json!("c-77")),
        ("set_by", json!("noc of hillside")),
        ("seq", second["seq"].clone()),
        ("at_routers", json!([])),
    ] {
        assert_eq!(shown[key], value, "{key} of {shown:#}");
    }
    // What is wrong is told, and what names a person does not come out again.
    for (wrong, code) in [
        (json!({"state": "gone"}), 422),
        (json!({"state": "active", "speed": 7}), 422),
        (json!({"state": "active", "address": "nowhere"}), 422),
        (json!({"state": "active", "rate": {"up_bps": 0, "down_bps": 1}}), 422),
        (json!({"state": "active", "profile": "a\nb"}), 422),
    ] {
        assert_eq!(read(put(wrong.clone())).await.0, code, "{wrong}");
    }
    assert_eq!(read(g.post(&token, "/api/v1/subscribers/nobody/suspend")).await.0, 404);
    let all = said(&g).await;
    assert_eq!((all.len(), all[0].by.as_str()), (2, "ana (noc of hillside)"));
    let everything = format!(
        "{}{shown}{first}",
        serde_json::to_string(&json!(
            all.iter().map(|said| serde_json::to_value(said).unwrap()).collect::<Vec<_>>()
        ))
        .unwrap()
    );
    assert!(!everything.contains(ADDRESS) && !everything.contains(PASSWORD), "{everything}");
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_said_at_once_or_none_of_them_and_cutting_off_can_be_halted() {
    let g = ground().await;
    g.imported(&with("")).await;
    let token = g.token(SLUG).await;
    let put = |path: &'static str, body: Value| g.request(reqwest::Method::PUT, &token, path).json(&body);
    let one = |account: &str, state: &str| json!({"account": account, "state": state});
    let (status, _) =
        read(put("/api/v1/services", json!([one("c-77", "suspended"), one("nobody", "active")]))).await;
    assert_eq!((status.as_u16(), said(&g).await.len()), (404, 0));
    let twice = json!([one("c-77", "suspended"), one("c-77", "active")]);
    assert_eq!(read(put("/api/v1/services", twice)).await.0, 422);
    let many: Vec<Value> = (0..501).map(|n| one(&n.to_string(), "active")).collect();
    assert_eq!(read(put("/api/v1/services", json!(many))).await.0, 413);
    let (status, done) = read(put("/api/v1/services", json!([one("c-77", "suspended")]))).await;
    assert_eq!((status.as_u16(), &done[0]["changed"]), (200, &json!(true)), "{done:#}");

    let (_, cutting) = read(g.get(&token, "/api/v1/cutting")).await;
    assert_eq!(cutting["is_halted"], false);
    let halt = json!({"halted": true, "why": "the books are wrong", "by": "ana"});
    assert_eq!(read(put("/api/v1/cutting", halt)).await.0, 200);
    g.settled(tenant()).await;
    let (_, cutting) = read(g.get(&token, "/api/v1/cutting")).await;
    assert_eq!((&cutting["is_halted"], &cutting["set_by"]), (&json!(true), &json!("ana (noc of hillside)")));
    let (_, shown) = read(g.get(&token, "/api/v1/subscribers/c-77/service")).await;
    assert_eq!((&shown["state"], &shown["cutting_halted"]), (&json!("suspended"), &json!(true)));

    // Yes is said to a router whose operator allows that anybody is cut off there.
    let held = json!({"plan": "7f1d2c3b-4a59-5e68-8776-95a4b3c2d1e0"});
    let (status, why) = read(g.post(&token, "/api/v1/routers/core-1/cut-held").json(&held)).await;
    assert!(status == 422 && why.to_string().contains("enforce: on"), "{why:#}");
    assert_eq!(read(g.get(&token, "/api/v1/routers/core-1/enforcement")).await.0, 404);
    assert_eq!(read(g.get(&token, "/api/v1/enforcement?state=held")).await.1["items"], json!([]));
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_imported_again_serves_nobody_who_was_suspended_since() {
    let g = ground().await;
    let served = with(&format!(", service: {{profile: gold, address: {ADDRESS}, rate: 2M/20M}}"));
    assert_eq!(g.imported(&served).await["entitlements_set"], 1);
    let token = g.token(SLUG).await;
    assert_eq!(read(g.post(&token, "/api/v1/subscribers/c-77/suspend")).await.0, 200);
    let again = g.imported(&served).await;
    assert_eq!((&again["entitlements_set"], &again["committed"]), (&json!(0), &json!(false)));
    let state = |said: &EntitlementSaid| match &said.now {
        Entitlement::Subscriber(now) => now.state.name(),
        Entitlement::Cutting(_) => "cutting",
    };
    let all = said(&g).await;
    assert_eq!(all.iter().map(state).collect::<Vec<_>>(), ["active", "suspended"]);
    assert!(!serde_json::to_string(&serde_json::to_value(&all[0]).unwrap()).unwrap().contains(ADDRESS));
    // What the file says anew counts, and what it does not say any more is nobody's business.
    assert_eq!(g.imported(&with(", service: {profile: silver}")).await["entitlements_set"], 1);
    assert_eq!(g.imported(&with("")).await["entitlements_set"], 1);
    let all = said(&g).await;
    assert_eq!(all.iter().map(state).collect::<Vec<_>>(), ["active", "suspended", "active", "released"]);

    // An address that billing gave stays with the person when the file is imported again.
    let node = NodeId::of_account(tenant(), "c-77");
    let before = g.log.person(tenant(), node).await.unwrap();
    let body = json!({"state": "active", "address": ADDRESS});
    let put = g.request(reqwest::Method::PUT, &token, "/api/v1/subscribers/c-77/service").json(&body);
    assert_eq!(read(put).await.0, 200);
    let given = g.log.person(tenant(), node).await.unwrap();
    assert_ne!(given, before);
    let again = g.imported(&with("")).await;
    assert_eq!((&again["persons_stored"], g.log.person(tenant(), node).await.unwrap()), (&json!(0), given));
    // Wrong ones are told where they stand.
    for (wrong, says) in [
        (", service: {state: gone}", "`gone` is no state"),
        (", service: {rate: fast}", "`rate` is no pair of speeds"),
        (", service: {rate: 1M/2M}", "needs an address that is always the same"),
    ] {
        let (status, told) = g.import(&with(wrong)).await;
        assert!(status == 422 && told.to_string().contains(says), "{wrong}: {told:#}");
    }
    g.end().await;
}
