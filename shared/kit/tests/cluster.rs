//! The kit's promises on three nats-servers, of which one is killed or frozen.

#![allow(clippy::unwrap_used)]

mod servers;

use embedded::{Nats, NatsCluster, Temporary};
use events::{EventId, Heard, Noun};
use kit::{Decider, DeciderOptions, Filter, From, Leasing, Log, LogConfig};
use servers::{
    claim, eventually, insist, tenant,
    toy::{Habits, Toy, faults},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn cluster() -> (Temporary<NatsCluster>, Log) {
    let cluster = NatsCluster::start_temporary(|_| {}).await.unwrap();
    let config = LogConfig { replicas: 3, ..servers::config(&cluster.urls()) };
    let log = Log::connect(config).await.unwrap();
    log.ensure().await.unwrap();
    (cluster, log)
}

/// Whoever leads the log now.
async fn leader<'a>(cluster: &'a NatsCluster, log: &Log) -> &'a Nats {
    for _ in 0..100 {
        let servers: Vec<async_nats::ServerAddr> =
            log.config().servers.iter().map(|server| server.parse().unwrap()).collect();
        let client = async_nats::connect(servers).await;
        if let Ok(client) = client
            && let Ok(stream) = async_nats::jetstream::new(client).get_stream("LOG").await
            && let Some(name) = stream.cached_info().cluster.as_ref().and_then(|c| c.leader.clone())
            && let Some(member) = cluster.members().iter().find(|member| member.server_name() == name)
        {
            return member;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody leads the log");
}

async fn everything(log: &Log, noun: Noun) -> (Vec<Heard>, Vec<Option<EventId>>) {
    let Ok(state) = log.state().await else { return (vec![], vec![]) };
    let mut reader = log.read(&[Filter::noun(noun)], From::Start, Some(state.last_seq));
    let (mut heard, mut causes) = (Vec::new(), Vec::new());
    loop {
        let chunk = reader.next_chunk(500).await.unwrap();
        if chunk.is_empty() {
            return (heard, causes);
        }
        for raw in chunk {
            heard.push(raw.decode().unwrap());
            causes.push(raw.cause());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_killed_and_then_frozen_costs_time_and_nothing_else() {
    let (cluster, log) = cluster().await;
    let t = tenant("hillside");
    let stop = CancellationToken::new();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        // Two that fight, over connections of their own.
        let own = Log::connect(log.config().clone()).await.unwrap();
        let options = DeciderOptions { leasing: Leasing::Alone, ..DeciderOptions::default() };
        let decider =
            Decider::new(own, |_| Toy::new(Habits { echoes: 2, ..Habits::default() })).with(options);
        replicas.push(tokio::spawn(decider.run(stop.clone())));
    }
    let (sender, enough) = (log.clone(), CancellationToken::new());
    let until = enough.clone();
    let sending = tokio::spawn(async move {
        let mut sent = 0_u64;
        while !until.is_cancelled() {
            insist(&sender, (sent..sent + 5).map(|n| claim(t, &format!("n{}", n % 9), n)).collect()).await;
            sent += 5;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        sent as usize
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    let killed = leader(&cluster, &log).await;
    killed.kill();
    tokio::time::sleep(Duration::from_millis(6_000)).await;
    killed.restart().await.unwrap();
    let frozen = leader(&cluster, &log).await;
    frozen.freeze().unwrap();
    tokio::time::sleep(Duration::from_millis(6_000)).await;
    frozen.thaw().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    enough.cancel();
    let sent = sending.await.unwrap();
    eventually("everything is counted", Duration::from_secs(40), || async {
        everything(&log, Noun::Delivery).await.0.len() >= sent * 2
    })
    .await;
    stop.cancel();
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
    let (claims, _) = everything(&log, Noun::Signal).await;
    let (counts, causes) = everything(&log, Noun::Delivery).await;
    let faults = faults(&claims, &counts, &causes, 2);
    assert!(faults.is_empty(), "{} faults: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
    assert_eq!(claims.len(), sent);
}
