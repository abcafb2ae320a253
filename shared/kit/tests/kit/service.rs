//! A tiny service that uses everything: configuration, a front door with quotas, the log, a worker, the
//! admin port, readiness, and an orderly end.

use crate::ground::until;
use anyhow::Context;
use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use embedded::Nats;
use events::{EventId, Fact, IncidentId, Noun, Order, OrderId, OrderSaid, Say, TenantId, Time};
use kit::{
    Outgoing, Service,
    admin::Build,
    config::{Check, Secret, Section, Settings},
    http::{Limits, Problem, listen, serve},
    quota::{Quota, Rate, Refused},
    run::Process,
    telemetry::Telemetry,
    worker::{Verdict, Worker},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: SocketAddr,
    token: Secret,
    burst: u32,
}

impl Section for Config {
    const NAME: &'static str = "desk";
    fn check(&self, check: &mut Check) {
        check.holds(self.burst > 0, "burst", "must be more than 0");
        check.holds(self.token.reveal().len() >= 8, "token", "must be 8 characters or more");
    }
}

/// What the worker has heard.
type Heard = Arc<Mutex<Vec<EventId>>>;

#[derive(Clone)]
struct Desk {
    service: Service,
    token: Secret,
    quota: Arc<Quota<IpAddr>>,
}

/// Takes the order to acknowledge an incident; 202 once the log has stored it.
async fn acknowledge(
    State(desk): State<Desk>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let given = headers.get("authorization").and_then(|given| given.to_str().ok());
    if given.and_then(|given| given.strip_prefix("Bearer ")) != Some(desk.token.reveal()) {
        return Err(Problem::unauthorized());
    }
    desk.quota.take(&peer.ip(), 1).map_err(|refused| match refused {
        Refused::Wait(wait) => Problem::over_quota(wait),
        Refused::TooMany => Problem::too_large(refused.to_string()),
    })?;
    let name = body["incident"]
        .as_str()
        .ok_or_else(|| Problem::impossible("no_incident", "`incident` is missing"))?;
    let id = EventId::idempotent("desk", name);
    let order = Order::Acknowledge { incident: IncidentId::of(id) };
    let fact = Fact::Order(OrderSaid { id: OrderId::of(id), order, by: "a person".into() });
    let say = Say { id, tenant: TenantId::of("a"), at: Time::EPOCH, cause: None, fact };
    let stored = desk.service.log.publish(Outgoing::new(say, desk.service.name)).await;
    stored.map_err(|error| Problem::unavailable(error.to_string(), Duration::from_secs(1)))?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))))
}

async fn run(
    config: Config,
    service: Service,
    bound: Arc<Mutex<Option<SocketAddr>>>,
    heard: Heard,
) -> anyhow::Result<()> {
    let listener = listen(config.listen).await.context("opening the front door")?;
    *bound.lock().unwrap() = Some(listener.local_addr()?);
    let rate = Rate { per_second: 0.001, burst: config.burst };
    let quota = Arc::new(Quota::new("senders", rate, 1_000, &service.metrics));
    let desk = Desk { service: service.clone(), token: config.token, quota };
    let routes = Router::new().route("/acknowledge", post(acknowledge)).with_state(desk);
    service.readiness.ready();

    let door = serve(listener, routes, Limits::default(), &service.metrics, service.stop.clone());
    let hands = Worker::new("clerk").hears(&[Noun::Order]).run_facts(&service, move |event, _job| {
        heard.lock().unwrap().push(event.id);
        async { Verdict::Done }
    });
    let (door, hands) = tokio::join!(door, hands);
    door.context("serving the front door")?;
    hands.context("doing the work")
}

fn settings(dir: &Path, nats_url: &str) -> Settings {
    std::fs::write(dir.join("token"), "correct horse\n").unwrap();
    let file = dir.join("mastwatch.toml");
    let toml = "admin_address = \"127.0.0.1:0\"\n[desk]\nlisten = \"127.0.0.1:0\"\nburst = 9\n";
    std::fs::write(&file, toml).unwrap();
    let token_file = dir.join("token").display().to_string();
    let variables = [
        ("MASTWATCH_NATS_URL".to_owned(), nats_url.to_owned()),
        ("MASTWATCH_DESK__BURST".to_owned(), "2".to_owned()),
        ("MASTWATCH_DESK__TOKEN_FILE".to_owned(), token_file),
    ];
    Settings::from_parts(Some(&file), variables).unwrap()
}

#[tokio::test]
async fn a_service_is_configured_serves_works_is_asked_how_it_is_and_ends() {
    let nats = Nats::start_temporary(|_| {}).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), &nats.url());
    settings.only(&[Config::NAME]).unwrap();
    let config: Config = settings.section().unwrap();

    let (bound, heard) = (Arc::<Mutex<Option<SocketAddr>>>::default(), Heard::default());
    let build = Build { version: "1.2.3", revision: "abc" };
    let process = Process::open(settings.common().unwrap(), build, Telemetry::default()).await.unwrap();
    let admin = format!("http://{}", process.admin_address());
    let (door, clerk, stop) = (Arc::clone(&bound), Arc::clone(&heard), process.stop());
    let process = process
        .service("desk", move |service| run(config.clone(), service, Arc::clone(&door), Arc::clone(&clerk)));
    let running = tokio::spawn(process.run());

    let client = reqwest::Client::new();
    let status = async |path: &str| {
        client.get(format!("{admin}{path}")).send().await.map(|answer| answer.status().as_u16()).ok()
    };
    until("it is alive", async || status("/healthz").await == Some(200)).await;
    until("it is ready", async || status("/readyz").await == Some(200)).await;
    let report: Value = client.get(format!("{admin}/readyz")).send().await.unwrap().json().await.unwrap();
    let conditions = json!({ "desk": null, "desk/clerk": null, "log": null });
    assert_eq!(report, json!({ "ready": true, "durability": "always", "conditions": conditions }));

    let front = format!("http://{}/acknowledge", bound.lock().unwrap().unwrap());
    let send = async |token: &str, body: Value| {
        let sent = client.post(&front).bearer_auth(token).json(&body).send().await.unwrap();
        (sent.status().as_u16(), sent.headers().clone(), sent.json::<Value>().await.unwrap())
    };
    let (refused, _, problem) = send("wrong horse", json!({})).await;
    assert_eq!((refused, &problem["code"]), (401, &json!("unauthorized")));
    let (refused, _, problem) = send("correct horse", json!({})).await;
    assert_eq!((refused, &problem["code"]), (422, &json!("no_incident")));
    let (accepted, _, answer) = send("correct horse", json!({ "incident": "i-1" })).await;
    assert_eq!(accepted, 202, "{answer}");
    let (refused, headers, problem) = send("correct horse", json!({ "incident": "i-2" })).await;
    assert_eq!((refused, &problem["code"]), (429, &json!("over_quota")));
    assert!(headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    until("the worker has heard it", async || heard.lock().unwrap().len() == 1).await;
    assert_eq!(answer["id"], heard.lock().unwrap()[0].to_string());

    let figures = async || client.get(format!("{admin}/metrics")).send().await.unwrap().text().await.unwrap();
    until("it is confirmed", async || figures().await.contains("clerk_done_total 1")).await;

    let text = figures().await;
    for line in [
        "mastwatch_build_info{version=\"1.2.3\",revision=\"abc\"} 1",
        "mastwatch_desk_senders_refused_total 1",
        "mastwatch_desk_clerk_done_total 1",
        "mastwatch_desk_http_answers_total{method=\"POST\",route=\"/acknowledge\",status=\"202\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    // With its log away it is alive, not ready, and says so to whoever asks for the impossible.
    nats.kill();
    until("it is not ready", async || status("/readyz").await == Some(503)).await;
    assert_eq!(status("/healthz").await, Some(200));
    nats.restart().await.unwrap();
    until("it is ready again", async || status("/readyz").await == Some(200)).await;

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
    assert_eq!(status("/healthz").await, None);
}
