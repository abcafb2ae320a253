//! A front door on a real log, and somebody to knock.

use embedded::{Nats, NatsOptions, Temporary};
use events::{
    Access, AccessSaid, EventId, Fact, Grant, Heard, NodeId, Noun, Say, Signal, TenantId, Time, Token,
};
use ingest::Config;
use kit::{
    Filter, From, Log, LogConfig, Outgoing, PublishLimits, Service,
    admin::{Board, Build, Metrics},
    config::{Common, Durability, Secret},
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use vault::{FreshToken, MasterKey, MasterKeys, TenantKeys};

pub(crate) struct Ground {
    pub(crate) nats: Temporary<Nats>,
    pub(crate) log: Log,
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
    pub(crate) tenant: TenantId,
    pub(crate) keys: TenantKeys,
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    running: Option<JoinHandle<anyhow::Result<()>>>,
}

/// A log with one tenant's keys in it; the door is opened by [`Ground::open`].
pub(crate) async fn ground() -> Ground {
    ground_on(|_| {}, PublishLimits::default()).await
}

/// The same on a server of other options, with other bounds on what may wait to be stored.
pub(crate) async fn ground_on(options: impl FnOnce(&mut NatsOptions), limits: PublishLimits) -> Ground {
    kit::telemetry::use_ring();
    let nats = Nats::start_temporary(options).await.unwrap();
    let log = Log::connect(LogConfig { limits, ..LogConfig::new([nats.url()], "ingest") }).await.unwrap();
    log.ensure().await.unwrap();
    let master = MasterKey::random();
    let tenant = TenantId::of("hillside");
    let (keys, wrapped) = MasterKeys::new(master.clone(), vec![]).new_tenant(tenant);
    let config = Config { master_keys: Some(Secret::new(master.to_base64().as_str())), ..Config::default() };
    let ground = Ground {
        nats,
        log,
        board: Board::default(),
        metrics: Metrics::of_process(Build { version: "0", revision: "test" }),
        tenant,
        keys,
        config,
        client: Client::new(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        stop: CancellationToken::new(),
        running: None,
    };
    ground.grant(tenant, Access::Keys(wrapped)).await;
    ground
}

impl Ground {
    /// Opens the door and waits until it is ready.
    pub(crate) async fn open(mut self) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.address = listener.local_addr().unwrap();
        let service = Service {
            name: "ingest",
            common: Arc::new(Common::default()),
            log: self.log.clone(),
            stop: self.stop.clone(),
            readiness: self.board.condition("ingest"),
            metrics: self.metrics.under("ingest"),
        };
        self.running = Some(tokio::spawn(ingest::run_on(listener, self.config.clone(), service)));
        until("the door is ready", async || self.board.report(Durability::Always).ready).await;
        self
    }

    /// Closes the door in good order.
    pub(crate) async fn close(mut self) {
        self.shut().await;
    }

    /// Closes the door and opens one that remembers nothing.
    pub(crate) async fn reopened(mut self) -> Self {
        self.shut().await;
        self.stop = CancellationToken::new();
        self.log = Log::connect(LogConfig::new([self.nats.url()], "ingest")).await.unwrap();
        self.open().await
    }

    async fn shut(&mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    pub(crate) fn core(&self) -> NodeId {
        NodeId::of(self.tenant, "core-1")
    }

    pub(crate) async fn grant(&self, tenant: TenantId, access: Access) {
        let fact = Fact::Access(AccessSaid { now: access, by: "a test".into() });
        let id = EventId(uuid::Uuid::now_v7());
        let say = Say { id, tenant, at: Time::EPOCH, cause: None, fact };
        self.log.publish(Outgoing::new(say, "console")).await.unwrap();
    }

    /// A token in the log.
    pub(crate) async fn token(&self, grant: Grant, networks: &[&str]) -> FreshToken {
        let fresh = FreshToken::random();
        self.grant(self.tenant, Access::Token(kept(&fresh, grant, networks))).await;
        fresh
    }

    /// The token of core-1.
    pub(crate) async fn router(&self) -> FreshToken {
        self.token(Grant::Router { router: self.core() }, &[]).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn post(&self, path: &str, token: &FreshToken) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(token.text())
    }

    /// Reports about a device, numbered.
    pub(crate) fn report(&self, token: &FreshToken, id: &str, status: &str, seq: u64) -> RequestBuilder {
        self.post("/api/webhooks/mikrotik/device-status", token)
            .body(format!("id={id}&status={status}&boot=b1&seq={seq}"))
    }

    /// Every signal in the log.
    pub(crate) async fn signals(&self) -> Vec<(Heard, Signal)> {
        let end = self.log.state().await.unwrap().last_seq;
        let mut reader = self.log.read(&[Filter::noun(Noun::Signal)], From::Start, Some(end));
        let mut found = vec![];
        while let Some(raw) = reader.next().await.unwrap() {
            let heard = raw.decode().unwrap();
            let Fact::Signal(signal) = heard.fact.clone() else { panic!("{heard:?}") };
            found.push((heard, signal));
        }
        found
    }

    pub(crate) fn figure(&self, name: &str) -> f64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(n, _)| n == name));
        line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }
}

pub(crate) fn kept(fresh: &FreshToken, grant: Grant, networks: &[&str]) -> Token {
    Token {
        prefix: fresh.prefix().to_owned(),
        sha256: fresh.sha256(),
        grant,
        networks: networks.iter().map(|n| (*n).to_owned()).collect(),
        name: "a test's".into(),
        revoked: false,
    }
}

/// The stored id of a 202.
pub(crate) async fn id(response: Response) -> EventId {
    let (status, body) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    body["id"].as_str().unwrap().parse().unwrap()
}

/// Sends, and returns the status, the problem's code and `Retry-After`.
pub(crate) async fn refused(request: RequestBuilder) -> (u16, String, Option<u64>) {
    let response = request.send().await.unwrap();
    let again = response.headers().get("retry-after").map(|s| s.to_str().unwrap().parse().unwrap());
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    (status, problem["code"].as_str().unwrap().to_owned(), again)
}

/// Waits until `holds`; panics with `what` when it does not within 30 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(30), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
