//! What the tests of the front desk stand on: a real log, a real Postgres, the projector and the desk itself.

pub(crate) mod hillside;
pub(crate) mod story;

use console::Config;
use embedded::{Nats, Postgres, Temporary};
use events::{EventId, Fact, Say, TenantId, Time};
use kit::{
    Log, LogConfig, Outgoing, Projection, Service, Stored,
    admin::{Board, Build, Metrics},
    config::{Common, Secret},
    postgres,
};
use network_file::{NetworkFile, Shape};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) struct Ground {
    _nats: Temporary<Nats>,
    pub(crate) postgres: Temporary<Postgres>,
    pub(crate) log: Log,
    pub(crate) url: String,
    /// The administrator's token.
    pub(crate) admin: String,
    pub(crate) http: reqwest::Client,
    pub(crate) stop: CancellationToken,
    pub(crate) running: Vec<JoinHandle<()>>,
}

pub(crate) async fn ground() -> Ground {
    ground_under(&vault::MasterKey::random().to_base64()).await
}

/// The same, where tenants' keys are wrapped under this master key.
pub(crate) async fn ground_under(master: &str) -> Ground {
    kit::telemetry::use_ring();
    let (nats, postgres) = tokio::join!(Nats::start_temporary(|_| {}), Postgres::start_temporary(|_| {}));
    let (nats, postgres) = (nats.unwrap(), postgres.unwrap());
    let log = Log::connect(LogConfig::new([nats.url()], "test")).await.unwrap();
    log.ensure().await.unwrap();
    let service_url = Secret::new(postgres.url());
    let owner_url = Secret::new(postgres.superuser_url());
    postgres::migrate(&owner_url, &service_url, &projector::MIGRATIONS).await.unwrap();

    let stop = CancellationToken::new();
    let common = Arc::new(Common { database_url: Some(service_url.clone()), ..Common::default() });
    let (board, metrics) = (Board::default(), Metrics::of_process(Build { version: "0", revision: "test" }));
    let service = |name: &'static str| Service {
        name,
        common: Arc::clone(&common),
        log: log.clone(),
        stop: stop.clone(),
        readiness: board.condition(name),
        metrics: metrics.under(name),
    };

    let pool = postgres::pool(&service_url, "projector", 4).unwrap();
    let (projecting, models) = (service("projector"), projector::ReadModels::new(log.clone()));
    let projection = tokio::spawn(async move {
        Projection::new(models).run(&projecting, pool).await.unwrap();
    });

    let admin = console::first_administrator(&log).await.unwrap().unwrap().to_string();
    assert!(console::first_administrator(&log).await.unwrap().is_none(), "there is one already");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = Config { master_keys: Some(Secret::new(master)), streams_max: 8, ..Config::default() };
    let desk = service("console");
    let desk = tokio::spawn(async move { console::serve(config, desk, listener).await.unwrap() });

    let http = reqwest::Client::builder().build().unwrap();
    Ground { _nats: nats, postgres, log, url, admin, http, stop, running: vec![projection, desk] }
}

impl Ground {
    pub(crate) fn request(&self, method: Method, token: &str, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(token)
    }

    pub(crate) fn get(&self, token: &str, path: &str) -> RequestBuilder {
        self.request(Method::GET, token, path)
    }

    pub(crate) fn post(&self, token: &str, path: &str) -> RequestBuilder {
        self.request(Method::POST, token, path)
    }

    /// Imports as the administrator.
    pub(crate) async fn import(&self, file: &str) -> (StatusCode, Value) {
        read(self.post(&self.admin, "/api/v1/import").body(file.to_owned())).await
    }

    /// Imports, which must succeed, and waits until it can be read.
    pub(crate) async fn imported(&self, file: &str) -> Value {
        let (status, done) = self.import(file).await;
        assert_eq!(status, 200, "{done:#}");
        self.settled(TenantId::of(done["tenant"].as_str().unwrap())).await;
        done
    }

    /// A token of a tenant's own.
    pub(crate) async fn token(&self, tenant: &str) -> String {
        let new = serde_json::json!({"name": format!("noc of {tenant}"), "opens": "console"});
        let path = format!("/api/v1/tokens?tenant={tenant}");
        let (status, made) = read(self.post(&self.admin, &path).json(&new)).await;
        assert_eq!(status, 201, "{made:#}");
        made["token"].as_str().unwrap().to_owned()
    }

    /// Waits until everything said about a tenant so far stands in the read models.
    pub(crate) async fn settled(&self, tenant: TenantId) {
        let part = events::partition_of(tenant);
        let mut end = 0;
        for noun in <projector::ReadModels<Log> as kit::Project>::HEARS {
            let last = self.log.last(&format!("mw.{part}.{tenant}.{}.>", noun.token())).await.unwrap();
            end = end.max(last.map_or(0, |raw| raw.seq));
        }
        let pool = postgres::pool(&Secret::new(self.postgres.url()), "test", 1).unwrap();
        until("the read models are written", async || {
            postgres::position(&pool, projector::MODEL, part).await.unwrap() >= end
        })
        .await;
    }

    /// Says something, as the service that would.
    pub(crate) async fn say(
        &self,
        tenant: TenantId,
        source: &str,
        cause: Option<EventId>,
        fact: Fact,
    ) -> (EventId, Stored) {
        let id = EventId(uuid::Uuid::new_v4());
        let at = Time::from_us(chrono::Utc::now().timestamp_micros());
        let say = Say { id, tenant, at, cause, fact };
        (id, self.log.publish(Outgoing::new(say, source)).await.unwrap())
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        for task in self.running {
            task.await.unwrap();
        }
    }
}

/// Sends, and reads the answer as JSON; null when it is none.
pub(crate) async fn read(request: RequestBuilder) -> (StatusCode, Value) {
    let response: Response = request.send().await.unwrap();
    let status = response.status();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Waits until `holds`; panics with `what` when it does not within 20 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A network of the tenant `slug`; another slug gives other tokens.
pub(crate) fn network(slug: &str, shape: Shape) -> NetworkFile {
    let seed = slug.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
    let mut file = network_file::generate(&Shape { seed, ..shape }).unwrap();
    file.tenant.slug = slug.to_owned();
    file
}

/// A small one, as text.
pub(crate) fn small(slug: &str) -> String {
    network(slug, Shape::default()).to_yaml()
}

/// Server-sent events, one by one.
pub(crate) struct Sse {
    response: Response,
    text: String,
}

/// One event: its name, its id and its data.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Sse {
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; none at the end of the stream. Panics when none comes within `within`.
    pub(crate) async fn next_within(&mut self, within: Duration) -> Option<Event> {
        tokio::time::timeout(within, self.read()).await.expect("an event comes in time")
    }

    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.next_within(Duration::from_secs(20)).await
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim_start_matches([':', ' ']).to_owned())
                };
                let found = field("event").map(|name| Event {
                    name,
                    id: field("id").unwrap_or_default(),
                    data: serde_json::from_str(&field("data").unwrap()).unwrap(),
                });
                let rest = rest.to_owned();
                self.text = rest;
                match found {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
