//! A tenant is a wall: two ISPs with the same names, addresses and user names know nothing of each other.

use events::{NodeId, Noun, TenantId};
use kit::{Filter, From};
use network_file::{Session, Shape};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use stack::{Stack, fleet::Fleet, isp::Isp, ledger, outage::Outage};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that names something of a tenant and of no other.
async fn marks(stack: &Stack, isp: &Isp, prefixes: &[String]) -> BTreeSet<String> {
    let mut marks: BTreeSet<String> = isp.names().into_keys().collect();
    marks.insert(isp.tenant.to_string());
    marks.extend(prefixes.iter().cloned());
    let end = stack.log.state().await.unwrap().last_seq;
    let filters = Noun::ALL.map(|noun| Filter::noun(noun).tenant(isp.tenant));
    let mut reader = stack.log.read(&filters, From::Start, Some(end));
    while let Some(raw) = reader.next().await.unwrap() {
        if let Some(id) = raw.header("ce-id") {
            marks.insert(id.to_owned());
        }
    }
    marks
}

/// A token of this tenant's, and its public part.
async fn token(stack: &Stack, isp: &Isp, opens: &str) -> (String, String) {
    let admin = stack.administrator();
    let made = reqwest::Client::new()
        .post(format!("http://{}/api/v1/tokens", stack.console))
        .bearer_auth(admin)
        .header("x-tenant", isp.slug())
        .json(&json!({ "name": format!("{opens} of {}", isp.slug()), "opens": opens }))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: Value = made.json().await.unwrap();
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    (text("token"), text("prefix"))
}

/// What comes over the live updates of whoever has this token.
async fn live_updates(stack: &Stack, token: &str) -> Arc<Mutex<String>> {
    let updates: Arc<Mutex<String>> = Arc::default();
    let url = format!("http://{}/api/v1/events", stack.console);
    let mut answer = reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let kept = Arc::clone(&updates);
    tokio::spawn(async move {
        while let Ok(Some(piece)) = answer.chunk().await {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&piece));
        }
    });
    updates
}

/// Each message of the log is of one tenant, and follows from messages of the same.
async fn nothing_follows_across(stack: &Stack, wrong: &mut Vec<String>) {
    let end = stack.log.state().await.unwrap().last_seq;
    let filters = Noun::ALL.map(Filter::noun);
    let mut reader = stack.log.read(&filters, From::Start, Some(end));
    let (mut whose, mut count): (BTreeMap<String, String>, usize) = (BTreeMap::new(), 0);
    while let Some(raw) = reader.next().await.unwrap() {
        let tenant = raw.subject.split('.').nth(2).unwrap_or_default().to_owned();
        for cause in [raw.cause(), raw.correlation()].into_iter().flatten() {
            count += 1;
            if let Some(other) = whose.get(&cause.to_string()).filter(|other| **other != tenant) {
                wrong.push(format!("log: `{}` follows from a message of {other}", raw.subject));
            }
        }
        if let Some(id) = raw.header("ce-id") {
            whose.insert(id.to_owned(), tenant);
        }
    }
    assert!(count > 100, "the log says what follows from what");
}

/// Every route of the API with the ids of `other`, by somebody of another tenant.
async fn no_route_leads_over(
    stack: &Stack,
    token: &str,
    other: &Isp,
    (incident, prefix): (&str, &str),
    marks: &BTreeSet<String>,
    wrong: &mut Vec<String>,
) {
    let http = reqwest::Client::new();
    let base = format!("http://{}", stack.console);
    let document: Value =
        http.get(format!("{base}/api/openapi.json")).send().await.unwrap().json().await.unwrap();
    let node = NodeId::of(other.tenant, "core-1").to_string();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let filled = path
            .replace("{node}", &node)
            .replace("{incident}", incident)
            .replace("{prefix}", prefix)
            .replace("{slug}", other.slug())
            .replace("{name}", "only-there");
        for method in methods.as_object().unwrap().keys() {
            let is_endless = path == "/api/v1/events";
            for as_other in [None, Some(other.slug().to_owned()), Some(other.tenant.to_string())] {
                let names_other = as_other.is_some();
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
                let mut request = http.request(method.clone(), format!("{base}{filled}")).bearer_auth(token);
                if let Some(other) = &as_other {
                    request = request.header("x-tenant", other).query(&[("tenant", other)]);
                } else if is_endless {
                    continue; // One's own live updates never end.
                }
                let answer = request.timeout(PATIENCE).send().await.unwrap();
                let status = answer.status();
                tried += 1;
                if is_endless && status.is_success() {
                    wrong.push(format!("{method} {path} as {as_other:?}: opened"));
                    continue;
                }
                let text = answer.text().await.unwrap();
                if let Some(mark) = marks.iter().find(|mark| text.contains(mark.as_str())) {
                    // What was asked for may be named in the refusal.
                    if status.is_success() || !filled.contains(mark.as_str()) {
                        wrong.push(format!("{method} {path} as {as_other:?}: {status} names {mark}: {text}"));
                    }
                }
                // It is about no tenant in particular, and shows those the token is for.
                let is_about_one = path != "/api/v1/tenants";
                if is_about_one && (names_other || filled != *path) && status.is_success() {
                    wrong.push(format!("{method} {path} as {as_other:?}: {status} {text}"));
                }
                if status.is_server_error() {
                    wrong.push(format!("{method} {path} as {as_other:?}: {status} {text}"));
                }
            }
        }
    }
    assert!(tried > 40, "the document lists the routes: {tried} requests");
}

/// What a session of the services' role sees, as whom it says it is.
async fn rows_are_walled(stack: &Stack, one: TenantId, other: TenantId, wrong: &mut Vec<String>) {
    let mut owner = PgConnection::connect(&stack.postgres.superuser_url()).await.unwrap();
    let mut session = PgConnection::connect(&stack.postgres.url()).await.unwrap();
    let mut tables: Vec<&str> = projector::TABLES.iter().map(|(table, _)| *table).collect();
    tables.push("projected_tenant");
    let mut walled = 0;
    for (said, may_see) in [(None, 0), (Some(one), 1)] {
        let setting = said.map(|tenant: TenantId| tenant.to_string()).unwrap_or_default();
        sqlx::query("select set_config('app.tenant_id', $1, false)")
            .bind(&setting)
            .execute(&mut session)
            .await
            .unwrap();
        for table in &tables {
            let count = |tenant: TenantId| {
                sqlx::AssertSqlSafe(format!("select count(*) from {table} where tenant = '{}'", tenant.0))
            };
            let there: i64 = sqlx::query(count(other)).fetch_one(&mut owner).await.unwrap().get(0);
            let seen: i64 = sqlx::query(count(other)).fetch_one(&mut session).await.unwrap().get(0);
            walled += i64::from(there > 0);
            if seen > 0 {
                wrong.push(format!("rows: {seen} of `{table}` are seen by a session that is {said:?}"));
            }
            let own_there: i64 = sqlx::query(count(one)).fetch_one(&mut owner).await.unwrap().get(0);
            let own: i64 = sqlx::query(count(one)).fetch_one(&mut session).await.unwrap().get(0);
            if own != own_there * may_see {
                wrong.push(format!("rows: {own} of {own_there} own rows of `{table}` are seen as {said:?}"));
            }
            // Nor can they be changed, or moved over.
            let taken = format!("update {table} set tenant = '{}' where tenant = '{}'", one.0, other.0);
            let taken = sqlx::query(sqlx::AssertSqlSafe(taken)).execute(&mut session).await;
            if taken.as_ref().is_ok_and(|done| done.rows_affected() > 0) {
                wrong.push(format!("rows: `{table}` was changed across"));
            }
            let given = format!("update {table} set tenant = '{}' where tenant = '{}'", other.0, one.0);
            let given = sqlx::query(sqlx::AssertSqlSafe(given)).execute(&mut session).await;
            if given.is_ok_and(|done| done.rows_affected() > 0) {
                wrong.push(format!("rows: rows of `{table}` were given away"));
            }
        }
    }
    assert!(walled > 15, "there is something behind the wall: {walled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_the_same_names_know_nothing_of_each_other() {
    let stack = Stack::start().await.unwrap();
    let mut fleet = Fleet::start(&stack).unwrap();
    let shape = Shape { heartbeat_s: 5, ..Shape::default() };
    let north = Isp::open(&stack, "north", 1, shape).await.unwrap();
    let south = Isp::open(&stack, "south", 2, shape).await.unwrap();
    let users = |isp: &Isp| -> Vec<String> {
        let user = |session: &Session| match session {
            Session::Pppoe(user) => user.reveal().to_owned(),
            other => panic!("{other:?} is no user name"),
        };
        isp.network.subscribers.iter().map(|one| user(&one.session)).collect()
    };
    assert_eq!(users(&north), users(&south), "they have the same user names");
    for isp in [&north, &south] {
        stack.settled(isp.slug(), PATIENCE).await.unwrap();
    }
    let mut wrong = Vec::new();

    // The south has an outage of its own. The north hears nothing of it.
    let (north_console, _) = token(&stack, &north, "console").await;
    let live = live_updates(&stack, &north_console).await;
    let quiet_from = stack.log.state().await.unwrap().last_seq + 1;
    let (strikes, is_poisoned) = (vec![], false);
    let outage = Outage { stack: &stack, fleet: &mut fleet, isp: &south, seed: 5, strikes, is_poisoned };
    wrong.extend(outage.run().await);
    let nouns = [Noun::Signal, Noun::Suspicion, Noun::Health, Noun::Incident, Noun::Notice];
    let filters = nouns.map(|noun| Filter::noun(noun).tenant(north.tenant));
    let end = stack.log.state().await.unwrap().last_seq;
    let mut reader = stack.log.read(&filters, From::Seq(quiet_from), Some(end));
    while let Some(raw) = reader.next().await.unwrap() {
        wrong.push(format!("log: `{}` was said while only the other had an outage", raw.subject));
    }
    if !stack.sink.calls_to("north").is_empty() {
        wrong.push(format!("told: {:?}", stack.sink.told_to("north")));
    }

    // Nobody speaks for what is the other's: what the north's tokens say is about the north's things.
    let (north_signals, _) = token(&stack, &north, "signals").await;
    let (south_console, south_prefix) = token(&stack, &south, "console").await;
    let souths_from = stack.log.state().await.unwrap().last_seq + 1;
    let souths_node = NodeId::of(south.tenant, "tower-1-sector-1").to_string();
    // It is true, so that the north sees something of its own.
    north.set_broken("tower-1", true).unwrap();
    let tower = north.network.node("tower-1").unwrap();
    let routers = tower.webhook.as_ref().unwrap().token.reveal().to_owned();
    let door = format!("http://{}", stack.ingest);
    let http = reqwest::Client::builder().local_address(tower.address).build().unwrap();
    for (token, path, body, wanted) in [
        (&routers, "device-status", format!("id={souths_node}&status=down"), 202),
        (&routers, "device-status", "id=tower-1-sector-1&status=down&tenant=south".to_owned(), 0),
        (&routers, "ppp-status", "user=pppoe-000001&status=offline".to_owned(), 202),
        (&routers, "device-status", "id=tower-2-sector-1&status=down&router=tower-2".to_owned(), 422),
        (&north_signals, "device-status", format!("id=tower-1&status=down&router={souths_node}"), 202),
        (&north_console, "device-status", "id=tower-1&status=down".to_owned(), 403),
        (&south_console, "device-status", "id=tower-1&status=down".to_owned(), 403),
    ] {
        let request = http
            .post(format!("{door}/api/webhooks/mikrotik/{path}"))
            .bearer_auth(token)
            .header("x-tenant", "south")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.clone());
        let status = request.send().await.unwrap().status();
        if wanted != 0 && status != StatusCode::from_u16(wanted).unwrap() {
            wrong.push(format!("door: `{path}` `{body}` was answered {status}, not {wanted}"));
        }
    }
    // The south's router's token is bound to an address that both have; from there it speaks for the south only.
    ledger::quiet(&stack.log, PATIENCE).await.unwrap();
    let end = stack.log.state().await.unwrap().last_seq;
    let filters = nouns.map(|noun| Filter::noun(noun).tenant(south.tenant));
    let mut reader = stack.log.read(&filters, From::Seq(souths_from), Some(end));
    while let Some(raw) = reader.next().await.unwrap() {
        wrong.push(format!("log: `{}` was said because the other's tokens were used", raw.subject));
    }

    let updates = live.lock().unwrap().clone();
    assert!(
        updates.contains(&NodeId::of(north.tenant, "tower-1").to_string()),
        "live updates come: {updates}"
    );

    // Nobody sees what is the other's.
    let began = Instant::now();
    let incident = loop {
        let page = stack.api_of("south").get("/api/v1/incidents?state=all").await.unwrap();
        if let Some(id) = page["items"][0]["id"].as_str() {
            break id.to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "the south's incident can be read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let marks = marks(&stack, &south, std::slice::from_ref(&south_prefix)).await;
    assert!(marks.contains(&souths_node));
    if let Some(mark) = marks.iter().find(|mark| updates.contains(mark.as_str())) {
        wrong.push(format!("live updates: {mark} of the other"));
    }
    no_route_leads_over(&stack, &north_console, &south, (&incident, &south_prefix), &marks, &mut wrong).await;
    rows_are_walled(&stack, north.tenant, south.tenant, &mut wrong).await;
    nothing_follows_across(&stack, &mut wrong).await;

    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), fleet.said(&["ingest", "console"]));
    north.lab.stop().await;
    south.lab.stop().await;
}
