//! What the kit's tests share: a private server, a toy that decides, and a wire that loses things.

pub(crate) mod process;
pub(crate) mod running;
pub(crate) mod toy;
pub(crate) mod wire;

pub(crate) use crate::nats::{On, Servers};
use embedded::{NatsCluster, NatsOptions};
use events::{
    About, Claim, EventId, Fact, Heard, NodeId, Noun, Say, Signal, SignalSource, TenantId, Time, partition_of,
};
use kit::{Filter, From, Log, LogConfig, Outgoing};
use std::{future::Future, time::Duration};

/// Private servers and a log on them, declared.
pub(crate) async fn server(on: On) -> (Servers, Log) {
    server_with(on, |_| {}).await
}

pub(crate) async fn server_with(on: On, change: impl FnOnce(&mut NatsOptions)) -> (Servers, Log) {
    let nats = Servers::start(on, change).await;
    let log = connect(&nats.urls()).await;
    log.ensure().await.unwrap();
    (nats, log)
}

pub(crate) fn config(urls: &[String]) -> LogConfig {
    LogConfig {
        replicas: if urls.len() == NatsCluster::MEMBERS { NatsCluster::MEMBERS } else { 1 },
        connect_within: Some(Duration::from_secs(20)),
        ack_timeout: Duration::from_secs(2),
        ..LogConfig::new(urls.to_vec(), "test")
    }
}

pub(crate) async fn connect(urls: &[String]) -> Log {
    Log::connect(config(urls)).await.unwrap()
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::of(name)
}

/// Two tenants whose facts lie in different partitions.
pub(crate) fn two_tenants() -> (TenantId, TenantId) {
    let a = tenant("hillside");
    let b =
        (0..).map(|n| tenant(&format!("valley-{n}"))).find(|b| partition_of(*b) != partition_of(a)).unwrap();
    (a, b)
}

/// The `n`th claim about a node: its id is the same whenever it is made.
pub(crate) fn claim(tenant: TenantId, node: &str, n: u64) -> Outgoing {
    claim_with(tenant, node, n, None)
}

pub(crate) fn claim_with(tenant: TenantId, node: &str, n: u64, detail: Option<String>) -> Outgoing {
    let node = NodeId::of(tenant, node);
    let signal = Signal {
        about: About::Node(node),
        says: Claim::Down,
        source: SignalSource::Netwatch,
        sender: None,
        boot: None,
        seq: None,
        sealed_name: None,
        detail,
    };
    let id = EventId::numbered(node, "boot", n);
    let say =
        Say { id, tenant, at: Time::from_ms(1_795_000_000_000), cause: None, fact: Fact::Signal(signal) };
    Outgoing::new(say, "ingest")
}

/// Everything of a noun, in order.
pub(crate) async fn all(log: &Log, noun: Noun) -> Vec<Heard> {
    let end = log.state().await.unwrap().last_seq;
    let mut reader = log.read(&[Filter::noun(noun)], From::Start, Some(end));
    let mut all = Vec::new();
    loop {
        let chunk = reader.next_chunk(500).await.unwrap();
        if chunk.is_empty() {
            return all;
        }
        all.extend(chunk.iter().map(|raw| raw.decode().unwrap()));
    }
}

/// Waits until `holds`, at most `within`.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> F,
) {
    let begun = tokio::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes however long it takes; the same facts are stored once.
pub(crate) async fn insist(log: &Log, outs: Vec<Outgoing>) {
    let begun = tokio::time::Instant::now();
    while let Err(error) = log.within(Duration::from_secs(5)).publish_all(outs.clone()).await {
        assert!(begun.elapsed() < Duration::from_secs(40), "not stored: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fills the store with something that is in the way, so that room can be made again.
pub(crate) struct Ballast {
    context: async_nats::jetstream::Context,
}

impl Ballast {
    pub(crate) async fn lay(url: &str, kib: usize) -> Ballast {
        let client = async_nats::connect(url).await.unwrap();
        let context = async_nats::jetstream::new(client);
        for _ in 0..kib {
            context.publish("metrics.ballast", vec![b'x'; 1_000].into()).await.unwrap().await.unwrap();
        }
        Ballast { context }
    }

    /// Of three servers only an operator takes it away again.
    pub(crate) async fn fill(url: &str) {
        let context = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
        let is_taken = async || match context.publish("metrics.ballast", vec![b'x'; 1_000].into()).await {
            Ok(acknowledgement) => acknowledgement.await.is_ok(),
            Err(_) => false,
        };
        for _ in 0..100_000 {
            if !is_taken().await {
                return;
            }
        }
        panic!("the store is never full");
    }

    pub(crate) async fn throw_off(self) {
        self.context.get_stream("METRICS").await.unwrap().purge().await.unwrap();
    }
}
