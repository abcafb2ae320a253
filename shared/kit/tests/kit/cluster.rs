//! The kit's promises on three nats-servers, of which one is killed or frozen.

use crate::servers::{
    On, claim, eventually, insist, server, tenant,
    toy::{Habits, Toy, faults},
};
use events::{EventId, Heard, Noun};
use kit::{Decider, DeciderOptions, Filter, From, Leasing, Log};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

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
    let (servers, log) = server(On::Three).await;
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
    let killed = servers.leader().await;
    killed.kill();
    tokio::time::sleep(Duration::from_millis(6_000)).await;
    killed.restart().await.unwrap();
    let frozen = servers.leader().await;
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
