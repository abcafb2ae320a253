//! What people are told: incidents and why, live updates, orders, routers, the status page.

use crate::ground::hillside::{SLUG, hillside, node, tenant};
use crate::ground::{Sse, ground, read, small, until};
use events::{Fact, Health, Learned, NodeId, Noun, Order};
use kit::{Filter, From};
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_explained_from_its_notice_back_to_the_first_claim() {
    let (g, token) = hillside().await;
    let below: Vec<_> =
        ["tower-1", "tower-2", "tower-1-sector-1", "tower-1-sector-2", "tower-2-sector-1"].map(node).into();
    let story = g.outage(tenant(), node("core-1"), &below, "Core-1 is down: 7 subscribers").await;
    // What has nothing to do with it is not part of the chain.
    g.up(tenant(), node("tower-2-sector-2")).await;
    g.settled(tenant()).await;

    let at = format!("/api/v1/incidents/{}/explain", story.incident);
    let (status, told) = read(g.get(&token, &format!("{at}?limit=2"))).await;
    assert_eq!(status, 200, "{told:#}");
    let chain = told["chain"].as_array().unwrap();
    let events: Vec<_> = chain.iter().map(|link| link["event"].as_str().unwrap().to_owned()).collect();
    let expected = [story.claim, story.suspicion, story.answer, story.verdict, story.opened, story.notice];
    assert_eq!(events, expected.map(|event| event.to_string()), "{told:#}");
    let nouns: Vec<_> = chain.iter().map(|link| link["noun"].as_str().unwrap()).collect();
    assert_eq!(nouns, ["signal", "suspicion", "answer", "health", "incident", "notice"]);
    assert!(chain.iter().all(|link| link["complete"] == true), "{told:#}");
    assert_eq!(told["missing"], json!([]));
    assert_eq!(chain[2]["what"], "3 tries went unanswered");
    // Everything but the first claim follows from something that stands before it.
    for link in &chain[1..] {
        let cause = link["cause"].as_str().unwrap();
        assert!(events.iter().position(|e| e == cause) < events.iter().position(|e| *e == link["event"]));
    }

    // Everybody who was cut off, each with the verdict that says why nobody was told, page by page.
    assert_eq!(told["suppressed_count"], 5);
    assert_eq!((told["sent_count"].as_u64(), told["unexplained_count"].as_u64()), (Some(1), Some(0)));
    assert!(told["suppressed"].as_array().unwrap().iter().all(|one| one["explained"] == true), "{told:#}");
    let (mut seen, mut cursor) = (vec![], String::new());
    loop {
        let (_, page) = read(g.get(&token, &format!("{at}?limit=2{cursor}"))).await;
        seen.extend(page["suppressed"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let seen: Vec<_> = seen.iter().map(|one| (one["node"].clone(), one["event"].clone())).collect();
    let expected: Vec<_> = story.cut_off.iter().map(|(node, event)| (json!(node), json!(event))).collect();
    assert_eq!(seen, expected);
    let unknown = format!("/api/v1/incidents/{}/explain", story.claim);
    assert_eq!(read(g.get(&token, &unknown)).await.0, 404);
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_may_have_failed_as_a_whole_is_named_beside_the_cause() {
    let (g, token) = hillside().await;
    let story = g.outage(tenant(), node("core-1"), &[], "Core-1 is down").await;
    g.settled(tenant()).await;
    let (status, told) = read(g.get(&token, &format!("/api/v1/incidents/{}", story.incident))).await;
    assert_eq!(status, 200, "{told:#}");
    let guess = &told["site_hypothesis"];
    assert_eq!((&guess["name"], &guess["confidence"]), (&json!("Mill Hill"), &json!(65)), "{told:#}");
    assert_eq!(guess["evidence"][0]["kind"], "site_silent");
    g.end().await;
}

/// N1: five hundred cut off, one told; and a silence that no event proves is counted as such.
#[tokio::test(flavor = "multi_thread")]
async fn one_sent_five_hundred_suppressed_none_unexplained() {
    let (g, token) = hillside().await;
    let below: Vec<NodeId> = (0..500).map(|n| node(&format!("s-{n}"))).collect();
    let story = g.outage(tenant(), node("core-1"), &below, "Core-1 is down").await;
    g.settled(tenant()).await;
    let at = format!("/api/v1/incidents/{}/explain", story.incident);
    let counts = |told: &serde_json::Value| {
        ["sent_count", "suppressed_count", "unexplained_count"].map(|key| told[key].as_u64().unwrap())
    };
    let (_, told) = read(g.get(&token, &at)).await;
    assert_eq!(counts(&told), [1, 500, 0], "{:#}", told["missing"]);
    g.impacted_by_nothing(tenant(), node("s-500"), story.root).await;
    let (_, told) = read(g.get(&token, &at)).await;
    assert_eq!(counts(&told), [1, 501, 1]);
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_a_session_is_named_with_the_verdict_that_says_so_and_the_rest_is_counted() {
    let (g, token) = hillside().await;
    let who: Vec<NodeId> = (0..12).map(|n| node(&format!("s-{n}"))).collect();
    // Whom another node accounts for is none of them.
    g.sessions_lost(tenant(), node("tower-2"), &[node("s-99")], 1).await;
    let (incident, verdicts) = g.sessions_lost(tenant(), node("tower-1"), &who, 10).await;
    g.settled(tenant()).await;
    let at = format!("/api/v1/incidents/{incident}/explain?limit=1");
    let (status, told) = read(g.get(&token, &at)).await;
    assert_eq!(
        (status.as_u16(), &told["lost_count"], &told["suppressed_count"]),
        (200, &json!(12), &json!(0))
    );
    let lost: Vec<_> =
        told["lost"].as_array().unwrap().iter().map(|one| (&one["node"], &one["event"])).collect();
    let expected: Vec<_> =
        verdicts.iter().take(10).map(|(node, event)| (json!(node), json!(event))).collect();
    assert_eq!(lost, expected.iter().map(|(node, event)| (node, event)).collect::<Vec<_>>(), "{told:#}");
    assert_eq!(told["lost"][0]["what"], "verdict: down, the cause undetermined");
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_stored_once_for_one_idempotency_key() {
    let (g, token) = hillside().await;
    let story = g.outage(tenant(), node("core-1"), &[], "Core-1 is down").await;
    let at = format!("/api/v1/incidents/{}/acknowledge", story.incident);
    let order = async || {
        let request = g.post(&token, &at).header("idempotency-key", "click-1").json(&json!({"by": "Ann"}));
        read(request).await
    };
    let (first, second) = (order().await, order().await);
    assert_eq!((first.0.as_u16(), &first), (202, &second));
    let end = g.log.state().await.unwrap().last_seq;
    let mut reader = g.log.read(&[Filter::noun(Noun::Order).tenant(tenant())], From::Start, Some(end));
    let heard = reader.next().await.unwrap().unwrap().decode().unwrap();
    let Fact::Order(said) = heard.fact else { panic!("only orders were asked for") };
    assert_eq!(said.order, Order::Acknowledge { incident: story.incident });
    assert_eq!(said.by, "Ann (noc of hillside)");
    assert!(reader.next().await.unwrap().is_none(), "it was stored once");
    let wrong = format!("/api/v1/incidents/{}/close-as-wrong", story.incident);
    assert_eq!(read(g.post(&token, &wrong)).await.0, 202);
    assert_eq!(read(g.post(&token, &wrong).json(&json!({"who": "x"}))).await.0, 400);
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_the_live_updates_misses_nothing() {
    let (g, token) = hillside().await;
    let mut events = Sse::open(g.get(&token, "/api/v1/events")).await;
    assert_eq!(events.next().await.unwrap().name, "open");
    let first = g.up(tenant(), node("core-1")).await;
    let heard = events.next().await.unwrap();
    assert_eq!((heard.name.as_str(), heard.id.clone()), ("health", first.to_string()));
    assert_eq!(heard.data["said"]["node"], json!(node("core-1")));
    drop(events);

    // Away for a while.
    let second = g.up(tenant(), node("tower-1")).await;
    let story = g.outage(tenant(), node("core-1"), &[], "Core-1 is down").await;
    let mut events = Sse::open(g.get(&token, "/api/v1/events").header("last-event-id", heard.id)).await;
    assert_eq!(events.next().await.unwrap().name, "open");
    assert_eq!(events.next().await.unwrap().id, second.to_string());
    assert_eq!(events.next().await.unwrap().data["said"]["health"], "down");
    let incident = events.next().await.unwrap();
    assert_eq!(incident.name, "incident");
    assert_eq!(incident.data["said"]["incident"]["id"], json!(story.incident));
    drop(events);

    // From another log, or no place at all: start again.
    for last in ["999999999", "x"] {
        let mut events = Sse::open(g.get(&token, "/api/v1/events").header("last-event-id", last)).await;
        assert_eq!(events.next().await.unwrap().name, "reset");
    }

    // As many as are allowed, no more; and places are given back.
    let mut open = vec![];
    for _ in 0..8 {
        open.push(Sse::open(g.get(&token, "/api/v1/events")).await);
    }
    assert_eq!(read(g.get(&token, "/api/v1/events")).await.0, 503);
    drop(open);
    until("a place is given back", async || {
        g.get(&token, "/api/v1/events").send().await.unwrap().status() == 200
    })
    .await;
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_trusted_as_far_as_it_tells_by_itself() {
    let (g, token) = hillside().await;
    let (pushed, polled, reconciled) = (Some(Learned::Push), Some(Learned::Poll), Some(Learned::Reconcile));
    for (name, down, up) in [
        ("tower-1-sector-1", pushed, pushed),
        ("tower-1-sector-1", pushed, reconciled),
        ("tower-1-sector-2", polled, None),
        ("tower-2-sector-1", reconciled, reconciled),
        ("core-1", polled, polled), // Nobody sees it but we ourselves.
    ] {
        for (health, by) in [(Health::Down, down), (Health::Up, up)] {
            g.learned(tenant(), node(name), health, by).await;
        }
    }
    g.settled(tenant()).await;
    let (status, told) = read(g.get(&token, "/api/v1/trust")).await;
    assert_eq!(status, 200, "{told:#}");
    let of = |router: &str| {
        let rows = told["items"].as_array().unwrap();
        let row = rows.iter().find(|row| row["file_id"] == router).unwrap_or_else(|| panic!("{told:#}"));
        let count = |name: &str| row[name].as_i64().unwrap();
        let share = |name: &str| (row[name].as_f64().unwrap() * 100.0).round() as i64;
        let counts = [count("pushed"), count("polled"), count("reconciled")];
        (counts, share("pushed_share"), share("missed_push_rate"))
    };
    assert_eq!(of("tower-1"), ([3, 1, 1], 60, 25));
    assert_eq!(of("tower-2"), ([0, 0, 2], 0, 100));
    assert_eq!(told["items"].as_array().unwrap().len(), 2, "{told:#}");

    let (_, one) = read(g.get(&token, "/api/v1/trust?router=tower-2&days=1")).await;
    assert_eq!(one["items"][0]["file_id"], "tower-2");
    let (_, first) = read(g.get(&token, "/api/v1/trust?limit=1")).await;
    let next = format!("/api/v1/trust?limit=1&cursor={}", first["next"].as_str().unwrap());
    let (_, second) = read(g.get(&token, &next)).await;
    assert_ne!(first["items"][0]["router"], second["items"][0]["router"]);
    assert_eq!(read(g.get(&token, "/api/v1/trust?days=0")).await.0, 400);
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_are_open_do_not_keep_the_desk_from_ending() {
    let (g, token) = hillside().await;
    let mut events = Sse::open(g.get(&token, "/api/v1/events")).await;
    assert_eq!(events.next().await.unwrap().name, "open");
    let began = Instant::now();
    g.end().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(events.next().await.is_none(), "it ends in good order");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_needs_nothing_from_elsewhere_and_hides_its_token_from_scripts() {
    let (g, token) = hillside().await;
    let title = "Core-1 <b>is</b> down";
    g.outage(tenant(), node("core-1"), &[node("tower-1")], title).await;
    g.settled(tenant()).await;
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let at = |path: &str| format!("{}{path}", g.url);

    let first = browser.get(at("/")).send().await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["location"].to_str().unwrap()), (303, "/login"));
    let log_in = |token: &str| {
        let request = browser.post(at("/login")).header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("token={token}")).send()
    };
    assert_eq!(log_in("mw_nosuchtoken0_x").await.unwrap().status(), 401);
    let entered = log_in(&token).await.unwrap();
    assert_eq!(entered.status(), 303);
    let cookie = entered.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();

    let page = browser.get(at("/")).header(COOKIE, &cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(html.contains("Core-1 &#60;b&#62;is&#60;/b&#62; down"), "{html}");
    assert!(html.contains("95% sure") && html.contains("1 open incident"), "{html}");
    assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("style="), "{html}");
    assert!(!html.contains("<script>") && !html.contains("onclick"), "{html}");
    for asset in ["/assets/status.js", "/assets/status.css"] {
        assert!(html.contains(asset), "{asset}");
        assert_eq!(browser.get(at(asset)).send().await.unwrap().status(), 200);
    }

    // The cookie opens what changes nothing, and nothing else.
    let mut events = Sse::open(browser.get(at("/api/v1/events")).header(COOKIE, &cookie)).await;
    assert_eq!(events.next().await.unwrap().name, "open");
    drop(events);
    assert_eq!(read(browser.get(at("/api/v1/tokens")).header(COOKIE, &cookie)).await.0, 401);
    assert_eq!(read(browser.post(at("/api/v1/import")).header(COOKIE, &cookie)).await.0, 401);

    // An administrator chooses; with Postgres away the page says so.
    let admin = format!("mastwatch_token={}", g.admin);
    let choose = browser.get(at("/")).header(COOKIE, &admin).send().await.unwrap().text().await.unwrap();
    assert!(choose.contains("/?tenant=hillside"), "{choose}");
    let page = browser.get(at("/?tenant=hillside")).header(COOKIE, &admin).send().await.unwrap();
    assert_eq!(page.status(), 200);
    g.postgres.kill();
    let away = browser.get(at("/")).header(COOKIE, &cookie).send().await.unwrap();
    assert_eq!(away.status(), 503);
    g.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_router_stands_and_what_was_changed_is_told_and_a_look_at_it_can_be_ordered() {
    let g = ground().await;
    let file = small(SLUG);
    let at = file.find("password: ").unwrap();
    let end = at + file[at..].find(['}', ',', '\n']).unwrap();
    g.imported(&format!("{}, manage: on{}", &file[..end], &file[end..])).await;
    let token = g.token(SLUG).await;
    let core = "/api/v1/routers/core-1";
    assert_eq!(read(g.get(&token, &format!("{core}/plan"))).await.0, 404, "nobody has looked yet");
    g.repaired(tenant(), node("core-1"), "mastwatch:ap-1").await;
    g.repaired(tenant(), node("core-1"), "mastwatch:ap-2").await;
    g.settled(tenant()).await;
    let (status, plan) = read(g.get(&token, &format!("{core}/plan"))).await;
    assert_eq!(
        (status.as_u16(), &plan["state"], &plan["file_id"]),
        (200, &json!("as_desired"), &json!("core-1"))
    );
    let (_, page) = read(g.get(&token, &format!("{core}/repairs?limit=1"))).await;
    assert_eq!(page["items"][0]["words"], "/tool netwatch set *1 interval=30s # mastwatch:ap-2", "{page:#}");
    let next = page["next"].as_str().unwrap();
    let (_, page) = read(g.get(&token, &format!("{core}/repairs?limit=1&cursor={next}"))).await;
    assert_eq!((&page["items"][0]["called"], &page["next"]), (&json!("mastwatch:ap-1"), &Value::Null));

    for (what, expected) in [("plan", "draw_plan"), ("repair", "repair")] {
        let (status, stored) = read(g.post(&token, &format!("{core}/{what}"))).await;
        assert_eq!(status, 202, "{stored:#}");
        let raw = g.log.at(stored["seq"].as_u64().unwrap()).await.unwrap().unwrap();
        let Fact::Order(said) = raw.decode().unwrap().fact else { panic!("it is an order") };
        assert_eq!(
            serde_json::to_value(&said.order).unwrap(),
            json!({"order": expected, "router": node("core-1")})
        );
        assert_eq!(said.by, "noc of hillside");
    }
    // Who has not allowed it to be changed may only have it looked at; what is no router, not even that.
    assert_eq!(read(g.post(&token, "/api/v1/routers/tower-1/plan")).await.0, 202);
    let (status, why) = read(g.post(&token, "/api/v1/routers/tower-1/repair")).await;
    assert!(status == 422 && why.to_string().contains("manage: on"), "{why:#}");
    assert_eq!(read(g.post(&token, "/api/v1/routers/tower-1-sector-1/plan")).await.0, 422);
    assert_eq!(read(g.post(&token, "/api/v1/routers/nothing/plan")).await.0, 404);
    assert_eq!(read(g.get(&token, "/api/v1/routers/nothing/repairs")).await.0, 404);
    g.end().await;
}
