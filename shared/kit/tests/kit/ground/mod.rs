//! What the tests of running services stand on: a real log, and facts to lay into it.

pub(crate) use crate::nats::{On, Servers};
use events::{About, Claim, EventId, Fact, NodeId, Say, Signal, SignalSource, TenantId, Time};
use kit::{
    Log, LogConfig, Outgoing, Service, Stored,
    admin::{Board, Build, Metrics},
    config::{Common, Durability},
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// A log of its own, and the context a service would be given.
pub(crate) struct Ground {
    pub(crate) nats: Servers,
    pub(crate) log: Log,
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
}

pub(crate) async fn ground(on: On) -> Ground {
    let nats = Servers::start(on, |_| {}).await;
    let config = LogConfig { replicas: nats.replicas(), ..LogConfig::new(nats.urls(), "test") };
    let log = Log::connect(config).await.unwrap();
    log.ensure().await.unwrap();
    let metrics = Metrics::of_process(Build { version: "0", revision: "test" });
    Ground { nats, log, board: Board::default(), metrics }
}

impl Ground {
    /// What one replica of a service is given.
    pub(crate) fn service(&self) -> Service {
        Service {
            name: "test",
            common: Arc::new(Common::default()),
            log: self.log.clone(),
            stop: CancellationToken::new(),
            readiness: self.board.condition("test"),
            metrics: self.metrics.clone(),
        }
    }

    /// Says that the `n`th node of `tenant` is up, with `detail`.
    pub(crate) async fn say(&self, tenant: TenantId, n: u64, detail: &str) -> Stored {
        self.say_all(tenant, n..n + 1, detail).await[0]
    }

    /// Says it of many.
    pub(crate) async fn say_all(
        &self,
        tenant: TenantId,
        nodes: std::ops::Range<u64>,
        detail: &str,
    ) -> Vec<Stored> {
        self.log.publish_all(claims(tenant, nodes, detail)).await.unwrap()
    }

    /// The value of a figure.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Whether a condition was named and holds.
    pub(crate) fn holds(&self, condition: &str) -> bool {
        self.board.report(Durability::Always).conditions.get(condition) == Some(&None)
    }

    /// Everything in the dead letters, as subject and reason.
    pub(crate) async fn dead(&self) -> Vec<(String, String)> {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        let js = async_nats::jetstream::new(client);
        let stream = js.get_stream("DEAD").await.unwrap();
        let last = stream.get_info().await.unwrap().state.last_sequence;
        let mut found = vec![];
        for seq in 1..=last {
            let letter = stream.get_raw_message(seq).await.unwrap();
            let reason = letter.headers.get("Dead-Reason").unwrap().as_str().to_owned();
            found.push((letter.subject.to_string(), reason));
        }
        found
    }

    /// Lays a message into the log that is no fact.
    pub(crate) async fn lay_nonsense(&self, tenant: TenantId) {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        let js = async_nats::jetstream::new(client);
        let subject = format!("mw.{}.{tenant}.signal.nonsense", events::partition_of(tenant));
        js.publish(subject, "no fact".into()).await.unwrap().await.unwrap();
    }
}

/// That these nodes of `tenant` are up, not said yet.
pub(crate) fn claims(tenant: TenantId, nodes: std::ops::Range<u64>, detail: &str) -> Vec<Outgoing> {
    nodes.map(|n| Outgoing::new(signal(tenant, n, detail), "test")).collect()
}

fn signal(tenant: TenantId, n: u64, detail: &str) -> Say {
    let node = NodeId::of(tenant, &n.to_string());
    Say {
        id: EventId::numbered(node, detail, n),
        tenant,
        at: Time::EPOCH,
        cause: None,
        fact: Fact::Signal(Signal {
            about: About::Node(node),
            says: Claim::Up,
            source: SignalSource::Api,
            sender: None,
            boot: None,
            seq: Some(n),
            sealed_name: None,
            detail: Some(detail.to_owned()),
        }),
    }
}

/// Waits until `holds`; panics with `what` when it does not within 20 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
